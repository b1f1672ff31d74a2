/* Requests over h2o: connections, exchanges and their ends, on one loop, with a client task on a socket pair.
 *
 * The application is a small one of this file; it stands in for the real one when the program is linked. */
#include <fcntl.h>
#include <h2o.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "async/fd.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/connection.h"
#include "daemon/http.h"
#include "tests/unit/async/async_fixture.h"

enum { BODY_LIMIT = 1000, MAX_REQUESTS = 3 };

static struct server {
	struct http http;
	struct exchange_limits limits;
	struct exchanges exchanges;
	struct connections connections;
	atomic_uint total;
	int log;       /* stderr, in memory */
	int cancelled; /* tasks that heard of it */
} server;

/* --- the application --- */

static void reply_text(struct exchange *x, unsigned status, const char *text)
{
	struct reply r = {.status = status};
	buf_str(&r.body, text);
	exchange_reply(x, &r);
}

static int task_reply(void *x)
{
	reply_text(x, 200, "{}");
	return 0;
}

static int task_sleep_long(void *x)
{
	int r = task_sleep_ms(60000);
	if (r == -ECANCELED)
		server.cancelled++;
	else if (r == 0)
		reply_text(x, 200, "{}");
	return r;
}

static int task_sleep_short(void *x)
{
	int r = task_sleep_ms(5);
	if (r == 0)
		reply_text(x, 200, "{}");
	return r;
}

static int task_linger(void *x)
{
	reply_text(x, 200, "{}");
	return task_sleep_ms(5);
}

static int task_fail(void *x)
{
	(void)x;
	return -EIO;
}

static int task_echo(void *arg)
{
	struct exchange *x = arg;
	struct reply r = {.status = 201};
	buf_append(&r.body, x->body.base, x->body.len);
	exchange_reply(x, &r);
	return 0;
}

static void handle_evil(struct exchange *x)
{
	struct reply r = {.status = 200, .header_count = 1};
	r.headers[0] = (struct header){{"x-a", 3}, {"b\r\nset-cookie: c", 16}};
	exchange_reply(x, &r);
}

static void handle_parts(struct exchange *x)
{
	struct reply r = {.status = 200};
	struct span a = exchange_header(x, "x-a");
	buf_printf(&r.body, "%d|%.*s|%.*s|%.*s", (int)x->method, (int)x->path.len, x->path.base, (int)x->query.len,
		   x->query.base ? x->query.base : "", (int)a.len, a.base ? a.base : "");
	exchange_reply(x, &r);
}

static void handle_problem(struct exchange *x)
{
	struct error e = ERROR_INIT;
	error_set(&e, -EBUSY, 503, "too \"much\"", "secret");
	e.retry_after_s = 7;
	snprintf(e.code, sizeof(e.code), "53300");
	exchange_problem(x, &e, "orders", "\"errors\":[]", &(struct header){{"allow", 5}, {"GET", 3}});
}

static void handle_empty(struct exchange *x)
{
	struct reply r = {.status = 204};
	exchange_reply(x, &r);
}

static const struct {
	const char *path;
	task_fn task;
	void (*handle)(struct exchange *x);
} routes[] = {
	{"/task", task_reply, NULL},    {"/long", task_sleep_long, NULL}, {"/short", task_sleep_short, NULL},
	{"/linger", task_linger, NULL}, {"/fail", task_fail, NULL},       {"/echo", task_echo, NULL},
	{"/evil", NULL, handle_evil},   {"/parts", NULL, handle_parts},   {"/problem", NULL, handle_problem},
	{"/empty", NULL, handle_empty},
};

size_t service_body_limit(const struct service *s, const char *method, size_t method_len, const char *target,
			  size_t target_len)
{
	(void)s, (void)method, (void)method_len, (void)target, (void)target_len;
	return BODY_LIMIT;
}

void service_handle(struct service *s, struct exchange *x)
{
	(void)s;
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (strlen(routes[i].path) != x->path.len || memcmp(routes[i].path, x->path.base, x->path.len) != 0)
			continue;
		if (routes[i].task)
			exchange_spawn(x, routes[i].task);
		else
			routes[i].handle(x);
		return;
	}
	reply_text(x, 200, "{\"a\":1}");
}

/* --- the server's side --- */

static void start_server(void)
{
	struct loop *l = loop_current();
	server = (struct server){.limits = {.max_requests = MAX_REQUESTS, .request_timeout_us = 10 * 1000000}};
	server.log = memfd_create("log", MFD_CLOEXEC);
	dup2(server.log, STDERR_FILENO);
	signal(SIGPIPE, SIG_IGN); /* as lifecycle_begin does */
	http_setup();
	http_init(&server.http, l, BODY_LIMIT);
	exchanges_init(&server.exchanges, l, &server.limits);
	connections_init(&server.connections, l);
	server.connections.accept = &server.http.accept;
	server.connections.exchanges = &server.exchanges;
	server.connections.body_limit = BODY_LIMIT;
	server.connections.total = &server.total;
}

/* Everything that was taken is given back once the clients are gone. */
static void stop_server(void)
{
	for (int i = 0; i < 500 && (server.connections.count || server.exchanges.live_count); i++)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_uint_eq(server.connections.count, 0);
	ck_assert_uint_eq(server.exchanges.live_count, 0);
	ck_assert_uint_eq(atomic_load(&server.total), 0);
	ck_assert_uint_eq(atomic_load(&server.limits.running), 0);
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 1); /* the test itself */
	connections_done(&server.connections);
	exchanges_done(&server.exchanges);
	http_done(&server.http);
}

static bool logged(const char *text)
{
	static char lines[64 * 1024];
	ssize_t n = pread(server.log, lines, sizeof(lines) - 1, 0);
	ck_assert_int_ge(n, 0);
	lines[n] = '\0';
	return strstr(lines, text) != NULL;
}

/* --- the client's side --- */

static int connect_client(void)
{
	int ends[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	struct sockaddr_storage peer = {.ss_family = AF_UNIX};
	struct entrance *entrance = entrance_new("test");
	connection_open(&server.connections, ends[0], &peer, false, false, entrance);
	entrance_leave(entrance);
	return ends[1];
}

static void send_text(int fd, const char *text, size_t len)
{
	ck_assert_int_eq(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

/* Read until the text holds `until` (NULL: until the server closes). */
static void read_until(int fd, struct buf *got, const char *until)
{
	while (!until || !strstr(buf_cstr(got), until)) {
		int r = await_fd(fd, EPOLLIN | EPOLLRDHUP, deadline_in_ms(5000));
		ck_assert_msg(r > 0, "no \"%s\" after: %s", until ? until : "(end)", buf_cstr(got));
		buf_reserve(got, 65536);
		ssize_t n = recv(fd, got->data + got->len, 65536, 0);
		if (n <= 0) {
			ck_assert_msg(!until, "closed without \"%s\" after: %s", until, buf_cstr(got));
			return;
		}
		got->len += (size_t)n;
	}
}

/* Send text on a connection of its own and read what comes until the server closes. */
static struct buf ask(const char *text)
{
	struct buf got = BUF_INIT;
	int fd = connect_client();
	send_text(fd, text, strlen(text));
	read_until(fd, &got, NULL);
	close(fd);
	(void)buf_cstr(&got);
	return got;
}

#define assert_has(got, text)                                                                                          \
	ck_assert_msg(strstr(buf_cstr(&(got)), (text)) != NULL, "no %s in: %s", (text), buf_cstr(&(got)))

#define TAIL " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
#define KEEP " HTTP/1.1\r\nHost: x\r\n\r\n"

static const struct {
	const char *request;
	const char *has[5];
} replies[] = {
	{"GET /" TAIL,
	 {"HTTP/1.1 200 OK\r\n", "Content-Length: 7\r\n", "content-type: application/json\r\n", "Connection: close\r\n",
	  "\r\n\r\n{\"a\":1}"}},
	{"GET / HTTP/1.0\r\n\r\n", {"HTTP/1.1 200 OK\r\n", "Connection: close\r\n", "\r\n\r\n{\"a\":1}"}},
	{"GET /task" TAIL, {"HTTP/1.1 200 OK\r\n", "\r\n\r\n{}"}},
	{"GET /short" TAIL, {"HTTP/1.1 200 OK\r\n", "\r\n\r\n{}"}},
	{"GET /linger" TAIL, {"HTTP/1.1 200 OK\r\n", "\r\n\r\n{}"}},
	{"GET /parts?a=b%00 HTTP/1.1\r\nHost: x\r\nX-A:  c  \r\nConnection: close\r\n\r\n",
	 {"\r\n\r\n0|/parts|a=b%00|c"}},
	{"DELETE http://y/parts" TAIL, {"\r\n\r\n5|/parts||"}},
	{"GET https://y?q" TAIL, {"\r\n\r\n{\"a\":1}"}},
	{"GET /fail" TAIL, {"HTTP/1.1 500 Internal", "application/problem+json", "\"status\":500"}},
	{"GET /evil" TAIL, {"HTTP/1.1 500 Internal", "application/problem+json"}},
	{"GET /problem" TAIL,
	 {"HTTP/1.1 503 Service Unavailable\r\n", "retry-after: 7\r\n", "allow: GET\r\n",
	  "\"detail\":\"too \\\"much\\\"\",\"instance\":\"",
	  "\",\"code\":\"53300\",\"step\":\"orders\",\"errors\":[]}"}},
	{"GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: my.id-1_a\r\nConnection: close\r\n\r\n",
	 {"x-request-id: my.id-1_a\r\n"}},
	{"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
	 {"HTTP/1.1 201 Created\r\n", "\r\n\r\nhello"}},
	{"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: "
	 "close\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
	 {"HTTP/1.1 201 Created\r\n", "\r\n\r\nhello"}},
	{"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: "
	 "close\r\n\r\nhello",
	 {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\n", "\r\n\r\nhello"}},
	{"OPTIONS *" TAIL, {"HTTP/1.1 204 No Content\r\n", "allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n"}},
	{"BREW /" TAIL, {"HTTP/1.1 501 Not Implemented\r\n", "application/problem+json"}},
	{"GET x" TAIL, {"HTTP/1.1 400 Bad Request\r\n", "application/problem+json"}},

	/* refused before h2o, or by it */
	{"GET / HTTP/1.1\r\n\r\n",
	 {"HTTP/1.1 400 Bad Request\r\n", "\r\nDate: ", "Connection: close\r\n",
	  "\r\nX-Request-Id: ", "\"detail\":\"There is no Host.\""}},
	{"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n",
	 {"HTTP/1.1 413 Content Too Large\r\n", "\"status\":413"}},
	{"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	 {"HTTP/1.1 400 Bad Request\r\n", "application/problem+json", "X-Request-Id: ", "Connection: close\r\n"}},
	{"GET /" KEEP "\x16\x03\x01", {"HTTP/1.1 200 OK\r\n", "{\"a\":1}HTTP/1.1 400 Bad Request\r\n"}},
};

LOOP_TEST(answers)
{
	start_server();
	for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
		struct buf got = ask(replies[i].request);
		for (size_t k = 0; k < ARRAY_SIZE(replies[i].has) && replies[i].has[k]; k++)
			assert_has(got, replies[i].has[k]);
		buf_done(&got);
	}
	ck_assert(!logged("a=b")); /* a query may hold secrets */
	ck_assert(logged("method=GET path=/parts status=200 bytes="));
	ck_assert(logged("code=\"53300\" error=secret"));
	stop_server();
	return 0;
}

LOOP_TEST(drops_bodies_that_must_not_be)
{
	start_server();
	struct buf got = ask("HEAD /" TAIL);
	assert_has(got, "Content-Length: 7\r\n");
	ck_assert_int_eq(strncmp(got.data + got.len - 4, "\r\n\r\n", 4), 0);
	buf_done(&got);
	got = ask("GET /empty" TAIL);
	assert_has(got, "HTTP/1.1 204 No Content\r\n");
	ck_assert_ptr_null(strstr(buf_cstr(&got), "ontent-"));
	ck_assert_int_eq(strncmp(got.data + got.len - 4, "\r\n\r\n", 4), 0);
	buf_done(&got);
	got = ask("HEAD / HTTP/1.1\r\n\r\n");
	assert_has(got, "HTTP/1.1 400 Bad Request\r\n");
	ck_assert_int_eq(strncmp(got.data + got.len - 4, "\r\n\r\n", 4), 0);
	buf_done(&got);
	stop_server();
	return 0;
}

/* A body that grows beyond the limit is refused, and the refusal arrives although the client goes on sending. */
LOOP_TEST(refuses_a_long_chunked_body)
{
	start_server();
	static const char head[] = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
	char data[100];
	memset(data, 'x', sizeof(data));
	struct buf got = BUF_INIT;
	int fd = connect_client();
	send_text(fd, head, sizeof(head) - 1);
	for (int i = 0; i < 12; i++) {
		send_text(fd, "64\r\n", 4);
		send_text(fd, data, sizeof(data));
		send_text(fd, "\r\n", 2);
	}
	read_until(fd, &got, "\"status\":413");
	close(fd);
	buf_done(&got);
	stop_server();
	return 0;
}

enum { PIPELINED = 200 };

/* Each request of a pipeline gets its own reply, in order, whatever size the pieces have in which they come. */
LOOP_TEST(answers_pipelines)
{
	static const size_t pieces[] = {1, 7, 100, 4096, 1 << 20};
	start_server();
	for (size_t p = 0; p < ARRAY_SIZE(pieces); p++) {
		struct buf requests = BUF_INIT, got = BUF_INIT;
		int count = pieces[p] < 100 ? 10 : PIPELINED;
		for (int i = 0; i < count; i++)
			buf_printf(&requests, "POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n<%06d>",
				   i % 3 ? "echo" : "echo?", i);
		buf_lit(&requests, "GET /empty" TAIL);
		int fd = connect_client();
		for (size_t at = 0; at < requests.len; at += pieces[p]) {
			size_t n = requests.len - at < pieces[p] ? requests.len - at : pieces[p];
			send_text(fd, requests.data + at, n);
			if (pieces[p] < 1000 && task_yield() < 0)
				return -1;
		}
		read_until(fd, &got, NULL);
		const char *at = buf_cstr(&got);
		for (int i = 0; i < count; i++) {
			char want[16];
			snprintf(want, sizeof(want), "<%06d>", i);
			at = strstr(at, want);
			ck_assert_msg(at != NULL, "no reply %d with pieces of %zu", i, pieces[p]);
		}
		ck_assert_ptr_nonnull(strstr(at, "204 No Content"));
		close(fd);
		buf_done(&requests);
		buf_done(&got);
	}
	stop_server();
	return 0;
}

/* --- clients that leave --- */

static void wait_cancelled(int count)
{
	for (int i = 0; i < 1000 && server.cancelled < count; i++)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(server.cancelled, count);
}

LOOP_TEST(leaving_cancels)
{
	start_server();
	int fd = connect_client();
	send_text(fd, "GET /long" KEEP, strlen("GET /long" KEEP));
	ck_assert_int_eq(task_sleep_ms(10), 0);
	ck_assert_uint_eq(atomic_load(&server.limits.running), 1);
	close(fd);
	wait_cancelled(1);
	/* … on a connection that was watched before, with bytes of a next request behind, and half-closed: it is there
	 * until it closes. */
	struct buf got = BUF_INIT;
	fd = connect_client();
	send_text(fd, "GET /short" KEEP "GET /long" KEEP "GET /", strlen("GET /short" KEEP "GET /long" KEEP "GET /"));
	read_until(fd, &got, "{}");
	ck_assert_int_eq(task_sleep_ms(10), 0);
	shutdown(fd, SHUT_WR);
	ck_assert_int_eq(task_sleep_ms(10), 0);
	ck_assert_int_eq(server.cancelled, 1);
	close(fd);
	wait_cancelled(2);
	buf_done(&got);
	ck_assert(logged("path=/long status=499 bytes=0"));
	stop_server();
	return 0;
}

static const char *const whole_requests[] = {
	"GET /" KEEP,
	"GET /short" KEEP,
	"GET /linger" KEEP,
	"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
	"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
	"GET /short" KEEP "GET /task" KEEP,
};

/* Cut the connection after the n-th byte, for every n: nothing is left behind. */
LOOP_TEST(cutting_anywhere_leaves_nothing)
{
	start_server();
	for (size_t i = 0; i < ARRAY_SIZE(whole_requests); i++) {
		size_t len = strlen(whole_requests[i]);
		for (size_t n = 0; n <= len; n++) {
			int fd = connect_client();
			if (n > 0)
				send_text(fd, whole_requests[i], n);
			ck_assert_int_eq(n % 2 ? task_yield() : task_sleep_ms(1), 0);
			close(fd);
		}
	}
	stop_server();
	return 0;
}

/* --- limits and the end --- */

LOOP_TEST(refuses_more_than_max_requests)
{
	start_server();
	int fds[MAX_REQUESTS];
	for (int i = 0; i < MAX_REQUESTS; i++) {
		fds[i] = connect_client();
		send_text(fds[i], "GET /long" KEEP, strlen("GET /long" KEEP));
	}
	ck_assert_int_eq(task_sleep_ms(10), 0);
	struct buf got = ask("GET /task" TAIL);
	assert_has(got, "HTTP/1.1 503 Service Unavailable\r\n");
	assert_has(got, "retry-after: 1\r\n");
	buf_done(&got);
	for (int i = 0; i < MAX_REQUESTS; i++)
		close(fds[i]);
	wait_cancelled(MAX_REQUESTS);
	got = ask("GET /task" TAIL);
	assert_has(got, "HTTP/1.1 200 OK\r\n");
	buf_done(&got);
	stop_server();
	return 0;
}

LOOP_TEST(answers_504_at_the_deadline)
{
	start_server();
	server.limits.request_timeout_us = 20 * 1000;
	struct buf got = ask("GET /long" TAIL);
	assert_has(got, "HTTP/1.1 504 Gateway Timeout\r\n");
	buf_done(&got);
	stop_server();
	return 0;
}

LOOP_TEST(drains)
{
	start_server();
	struct buf got = BUF_INIT;
	int idle = connect_client(), running = connect_client(), cancelled = connect_client();
	send_text(running, "GET /short" KEEP, strlen("GET /short" KEEP));
	send_text(cancelled, "GET /long" KEEP, strlen("GET /long" KEEP));
	ck_assert_int_eq(task_sleep_ms(2), 0);
	http_drain(&server.http);
	server.exchanges.draining = true;
	read_until(running, &got, NULL); /* it closes behind the reply */
	assert_has(got, "Connection: close\r\n");
	assert_has(got, "{}");
	close(running);
	ck_assert_int_eq(task_sleep_ms(300), 0);
	connections_drain(&server.connections);
	got.len = 0;
	read_until(idle, &got, NULL);
	ck_assert_uint_eq(got.len, 0);
	close(idle);
	exchanges_cancel(&server.exchanges, NULL, REASON_STOPPING);
	read_until(cancelled, &got, NULL);
	assert_has(got, "HTTP/1.1 503 Service Unavailable\r\n");
	close(cancelled);
	buf_done(&got);
	stop_server();
	return 0;
}

int main(void)
{
	Suite *suite = suite_create("http");
	TCase *tests = async_tcase(suite, "http");
	tcase_add_test(tests, answers);
	tcase_add_test(tests, drops_bodies_that_must_not_be);
	tcase_add_test(tests, refuses_a_long_chunked_body);
	tcase_add_test(tests, answers_pipelines);
	tcase_add_test(tests, leaving_cancels);
	tcase_add_test(tests, cutting_anywhere_leaves_nothing);
	tcase_add_test(tests, refuses_more_than_max_requests);
	tcase_add_test(tests, answers_504_at_the_deadline);
	tcase_add_test(tests, drains);
	return run_suite(suite);
}

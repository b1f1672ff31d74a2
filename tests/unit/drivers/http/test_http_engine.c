/* The HTTP engine against a server that misbehaves. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zlib.h>

#include "async/semaphore.h"
#include "config/config.h"
#include "drivers/http/request.h"

#include "async/gather.h"
#include "base/compiler.h"
#include "tests/unit/async/async_fixture.h"
#include "tests/unit/drivers/http/http_server.h"

/* --- the server ------------------------------------------------------------------------------------------------ */

static bool send_text(struct upstream_request *r, const char *text)
{
	return upstream_send(r->fd, text, strlen(text));
}

static bool answer_trickling(struct upstream_request *r)
{
	static const char whole[] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";

	for (size_t i = 0; i < sizeof(whole) - 1; i++) {
		if (!upstream_send(r->fd, whole + i, 1))
			return false;
		upstream_pause(r, 2);
	}
	return true;
}

static bool answer_endless(struct upstream_request *r)
{
	static char block[16384];

	memset(block, 'x', sizeof(block));
	if (!send_text(r, "HTTP/1.1 200 OK\r\n\r\n"))
		return false;
	while (upstream_send(r->fd, block, sizeof(block)))
		;
	return false;
}

/* 64 MiB of blanks, about 64 KiB compressed. */
static bool answer_bomb(struct upstream_request *r)
{
	static unsigned char in[65536], out[65536];
	z_stream z = {0};
	bool good = send_text(r, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n");

	memset(in, ' ', sizeof(in));
	deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
	for (int i = 0; i < 1024 && good; i++) {
		char size[16];
		z.next_in = in;
		z.avail_in = sizeof(in);
		z.next_out = out;
		z.avail_out = sizeof(out);
		deflate(&z, Z_SYNC_FLUSH);
		size_t n = sizeof(out) - z.avail_out;
		snprintf(size, sizeof(size), "%zx\r\n", n);
		good = send_text(r, size) && upstream_send(r->fd, out, n) && send_text(r, "\r\n");
	}
	deflateEnd(&z);
	return false;
}

static bool answer_gzip(struct upstream_request *r)
{
	unsigned char out[256];
	z_stream z = {
		.next_in = (unsigned char *)"{\"a\":1}", .avail_in = 7, .next_out = out, .avail_out = sizeof(out)};

	deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
	deflate(&z, Z_FINISH);
	deflateEnd(&z);
	return upstream_reply(r, "200 OK", "Content-Encoding: gzip\r\n", out, sizeof(out) - z.avail_out);
}

static bool answer_many_headers(struct upstream_request *r)
{
	bool good = send_text(r, "HTTP/1.1 200 OK\r\n");

	for (int i = 0; i < 1000 && good; i++)
		good = send_text(r, "X-Filler: 0123456789\r\n");
	return good && send_text(r, "Content-Length: 0\r\n\r\n");
}

static bool answer_interim(struct upstream_request *r)
{
	while (send_text(r, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"))
		;
	return false;
}

static bool answer_echo(struct upstream_request *r)
{
	char text[8192];
	int n = snprintf(text, sizeof(text), "%s %s %.*s", r->method, r->target, (int)r->body_len, r->body);

	return upstream_reply(r, "200 OK", upstream_saw(r, "\r\nX-Mine: yes\r\n") ? "X-Seen: 1\r\nX-Seen: 2\r\n" : "",
			      text, (size_t)n);
}

static bool answer_slow(struct upstream_request *r)
{
	upstream_pause(r, 100);
	return upstream_json(r, "{}");
}

static bool answer_hang(struct upstream_request *r)
{
	upstream_pause(r, 60000);
	return false;
}

/* Closed without a word as soon as another request comes on the same connection. */
static bool answer_stale(struct upstream_request *r)
{
	return r->nth == 1 && upstream_json(r, "{}");
}

static bool answer_location(struct upstream_request *r, const char *status, const char *location)
{
	char header[256];

	snprintf(header, sizeof(header), "Location: %s\r\n", location);
	return upstream_reply(r, status, header, "moved", 5);
}

static bool answer_text(struct upstream_request *r)
{
	static const struct {
		const char *path, *text;
		bool goes_on;
	} texts[] = {
		{"/ok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A:  b \r\n\r\nok", true},
		{"/short", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", false},
		{"/long", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok and more that was not announced", true},
		{"/lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nok", false},
		{"/negative", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", false},
		{"/enormous", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok", false},
		{"/promise", "HTTP/1.1 200 OK\r\nContent-Length: 8000000000\r\n\r\nok", false},
		{"/until-close", "HTTP/1.1 200 OK\r\n\r\nall of it", false},
		{"/chunked",
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: t\r\n\r\n", true},
		{"/chunked-garbage", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
		 false},
		{"/chunked-short", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", false},
		{"/chunked-enormous", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nok",
		 false},
		{"/not-http", "SSH-2.0-OpenSSH_9.2\r\n", false},
		{"/http-0.9", "hello", false},
		{"/http-9", "HTTP/9.9 200 OK\r\n\r\nok", false},
		{"/nothing", "", false},
		{"/half-head", "HTTP/1.1 200 OK\r\nContent-Le", false},
		{"/bad-gzip", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd", false},
		{"/bad-encoding", "HTTP/1.1 200 OK\r\nContent-Encoding: rot13\r\nContent-Length: 2\r\n\r\nbx", false},
		{"/continue",
		 "HTTP/1.1 100 Continue\r\nX-Not: this\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true},
		{"/no-content", "HTTP/1.1 204 No Content\r\n\r\n", true},
		{"/closes", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false},
		{"/closes-silently", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
		{"/nul-header", NULL, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (texts[i].text && strcmp(texts[i].path, r->path) == 0)
			return send_text(r, texts[i].text) && texts[i].goes_on;
	return upstream_reply(r, "404 Not Found", "", "no", 2);
}

static bool answer_redirection(struct upstream_request *r)
{
	char text[128];
	int left = atoi(r->path + strlen("/redirect/"));

	if (strcmp(r->path, "/redirect/elsewhere") == 0)
		return answer_location(r, "302 Found", "http://127.0.0.2:1/ok");
	if (strcmp(r->path, "/redirect/scheme") == 0)
		return answer_location(r, "302 Found", "file:///etc/passwd");
	if (strcmp(r->path, "/redirect/tls") == 0) {
		snprintf(text, sizeof(text), "https://127.0.0.1:%u/ok", r->server->port);
		return answer_location(r, "302 Found", text);
	}
	if (strcmp(r->path, "/redirect/user") == 0) {
		snprintf(text, sizeof(text), "http://a:b@127.0.0.1:%u/ok", r->server->port);
		return answer_location(r, "302 Found", text);
	}
	if (strcmp(r->path, "/redirect/absolute") == 0) {
		snprintf(text, sizeof(text), "http://127.0.0.1:%u/echo?x=1#f", r->server->port);
		return answer_location(r, "302 Found", text);
	}
	if (strcmp(r->path, "/redirect/nowhere") == 0)
		return upstream_reply(r, "302 Found", "", "", 0);
	if (strcmp(r->path, "/redirect/303") == 0)
		return answer_location(r, "303 See Other", "../echo");
	if (strcmp(r->path, "/redirect/307") == 0)
		return answer_location(r, "307 Temporary Redirect", "/echo");
	snprintf(text, sizeof(text), "/redirect/%d", left - 1);
	return left > 0 ? answer_location(r, "301 Moved", text) : upstream_json(r, "{}");
}

/* Two answers to one request, at once or not. */
static bool answer_twice(struct upstream_request *r)
{
	bool good = upstream_json(r, "\"mine\"");

	upstream_pause(r, strcmp(r->path, "/twice") == 0 ? 0 : 10);
	good = good && upstream_json(r, "\"nobody's\"");
	atomic_fetch_add(&r->server->counter, 1);
	return good;
}

/* What a server does with a connection when it has answered on it. No whole answer is among them: one that comes when
 * the next request is under way is its answer, as far as HTTP/1 can tell. */
static const struct last_word {
	const char *name, *text;
	bool goes_on, resets;
} last_words[] = {
	{.name = "closes", .text = ""},
	{.name = "resets", .text = "", .resets = true},
	{.name = "late", .text = "HTTP/1.1 408 Late\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"},
	{.name = "line", .text = "\r\n", .goes_on = true},
	{.name = "nonsense", .text = "nobody's"},
	{.name = "part", .text = "HTTP/1.1 200 O"},
	{.name = "part-and-resets", .text = "HTTP/1.1 200 O", .resets = true},
};

static atomic_uint answered_then, said_then; /* answers begun; last words that are out */

/* "/then/NAME/US": an answer, and so many microseconds later what is the last word. */
static bool answer_then(struct upstream_request *r)
{
	const struct last_word *last = last_words;
	int64_t since = monotonic_us();
	size_t len = strcspn(r->path + 6, "/");

	while (strlen(last->name) != len || strncmp(last->name, r->path + 6, len) != 0)
		last++;
	atomic_fetch_add(&answered_then, 1);
	bool good = upstream_json(r, "{}");
	while (monotonic_us() - since < atoi(r->path + 6 + len + 1))
		continue;
	good = good && send_text(r, last->text);
	atomic_fetch_add(&said_then, 1);
	return last->resets ? upstream_reset(r) : good && last->goes_on;
}

static bool answer(struct upstream_request *r)
{
	static const struct {
		const char *path;
		upstream_fn *answer;
	} special[] = {
		{"/trickle", answer_trickling},
		{"/endless", answer_endless},
		{"/bomb", answer_bomb},
		{"/gzip", answer_gzip},
		{"/headers", answer_many_headers},
		{"/interim", answer_interim},
		{"/echo", answer_echo},
		{"/slow", answer_slow},
		{"/hang", answer_hang},
		{"/stale", answer_stale},
		{"/reset", upstream_reset},
		{"/twice", answer_twice},
		{"/twice-later", answer_twice},
	};

	for (size_t i = 0; i < ARRAY_SIZE(special); i++)
		if (strcmp(special[i].path, r->path) == 0)
			return special[i].answer(r);
	if (strncmp(r->path, "/then/", 6) == 0)
		return answer_then(r);
	return strncmp(r->path, "/redirect/", 10) == 0 ? answer_redirection(r) : answer_text(r);
}

/* --- a test's own ---------------------------------------------------------------------------------------------- */

struct bench {
	struct upstream *upstream;
	struct arena arena;
	struct http_origin origin;
	struct executor *executor;
	struct shared_semaphore permits;
	struct http_engine *engine;
};

static struct bench f;

static const struct config_pool large = {.size = 256,
					 .max_waiting = 1024,
					 .acquire_timeout_us = 30000000,
					 .idle_timeout_us = 30000000,
					 .lifetime_us = 60000000};

static int open_at(const char *url, const struct http_settings *settings)
{
	struct http_settings s = settings ? *settings : (struct http_settings){0};
	struct error e;
	const char *why;

	arena_init(&f.arena);
	ck_assert_int_eq(executor_new(&f.executor, 2, 16), 0);
	ck_assert_int_eq(http_origin_parse(&f.origin, &f.arena, url, &why), 0);
	s.origin = &f.origin;
	s.executor = f.executor;
	s.pool = s.pool ? s.pool : &large;
	s.permits = &f.permits;
	shared_semaphore_init(&f.permits, s.pool->size, s.pool->max_waiting);
	return http_engine_new(&f.engine, &s, &e);
}

static void open_bench(const struct http_settings *settings)
{
	char url[64];

	f.upstream = upstream_start(answer);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", f.upstream->port);
	ck_assert_int_eq(open_at(url, settings), 0);
}

static void close_bench(void)
{
	ck_assert(http_engine_idle(f.engine));
	http_engine_free(f.engine);
	shared_semaphore_done(&f.permits);
	executor_free(f.executor);
	arena_done(&f.arena);
	if (f.upstream)
		upstream_stop(f.upstream);
	f.upstream = NULL;
}

/* A test with a server and an engine; no descriptor is left behind. */
#define HTTP_TEST(name)                                                                                                \
	static void name##_body(void);                                                                                 \
	LOOP_TEST(name)                                                                                                \
	{                                                                                                              \
		int fds = open_fds();                                                                                  \
		open_bench(NULL);                                                                                      \
		name##_body();                                                                                         \
		close_bench();                                                                                         \
		ck_assert_int_eq(open_fds(), fds);                                                                     \
		return 0;                                                                                              \
	}                                                                                                              \
	static void name##_body(void)

/* "200 body", or "-errno status outcome what". */
static const char *ask_request(const struct http_request *request, int64_t ms)
{
	static char text[4096];
	struct http_response r;
	struct error e = ERROR_INIT;
	int result = http_request(f.engine, request, &r, deadline_in_ms(ms), &e);

	if (result == 0)
		snprintf(text, sizeof(text), "%u %.*s", r.status, (int)r.body.len, r.body.data ? r.body.data : "");
	else
		snprintf(text, sizeof(text), "%d %d %d %s", result, e.status, (int)r.outcome, e.what);
	ck_assert_int_eq(result, result == 0 ? 0 : e.errnum);
	ck_assert(result != 0 || r.outcome == HTTP_ANSWERED);
	http_response_done(&r);
	return text;
}

static const char *ask(const char *target)
{
	return ask_request(&(struct http_request){.method = "GET", .target = target}, 5000);
}

static void expect_failure(const char *got, int errnum, int status, enum http_outcome outcome)
{
	char begin[64];

	snprintf(begin, sizeof(begin), "%d %d %d ", errnum, status, (int)outcome);
	ck_assert_msg(strncmp(got, begin, strlen(begin)) == 0, "%s", got);
}

/* --- answers --------------------------------------------------------------------------------------------------- */

HTTP_TEST(answers_come_whole)
{
	ck_assert_str_eq(ask("/ok"), "200 ok");
	ck_assert_str_eq(ask("/trickle"), "200 0123456789");
	ck_assert_str_eq(ask("/chunked"), "200 ok");
	ck_assert_str_eq(ask("/until-close"), "200 all of it");
	ck_assert_str_eq(ask("/gzip"), "200 {\"a\":1}");
	ck_assert_str_eq(ask("/continue"), "200 ok");
	ck_assert_str_eq(ask("/no-content"), "204 ");
	ck_assert_str_eq(ask("/missing"), "404 no");
	ck_assert_str_eq(ask("/long"), "200 ok");
	ck_assert_str_eq(ask("/ok"), "200 ok");
}

HTTP_TEST(requests_go_as_they_are)
{
	const char *lines[] = {"X-Mine: yes"};
	struct http_request r = {
		.method = "GET", .target = "/echo/../a%2fb//./c?x=%20&y#", .lines = lines, .line_count = 1};

	r.target = "/echo?x=%20&y=..";
	ck_assert_str_eq(ask_request(&r, 5000), "200 GET /echo?x=%20&y=.. ");
	for (int i = 0; i < 2; i++) {
		r = (struct http_request){.method = "POST", .target = "/echo", .body = "{\"a\":1}", .body_len = 7};
		ck_assert_str_eq(ask_request(&r, 5000), "200 POST /echo {\"a\":1}");
		r.method = "PUT";
		ck_assert_str_eq(ask_request(&r, 5000), "200 PUT /echo {\"a\":1}");
		r.method = "DELETE";
		ck_assert_str_eq(ask_request(&r, 5000), "200 DELETE /echo {\"a\":1}");
		r = (struct http_request){.method = "DELETE", .target = "/echo"};
		ck_assert_str_eq(ask_request(&r, 5000), "200 DELETE /echo ");
		r.method = "PATCH";
		ck_assert_str_eq(ask_request(&r, 5000), "200 PATCH /echo ");
		r.method = "HEAD";
		ck_assert_str_eq(ask_request(&r, 5000), "200 ");
		ck_assert_str_eq(ask("/echo"), "200 GET /echo ");
	}
	ck_assert_uint_eq(atomic_load(&f.upstream->connections), 1);
}

HTTP_TEST(a_large_body_is_sent_at_once)
{
	size_t len = 1500000;
	char *body = malloc(len);
	memset(body, 'b', len);
	struct http_request r = {.method = "POST", .target = "/ok", .body = body, .body_len = len};
	ck_assert_str_eq(ask_request(&r, 5000), "200 ok");
	free(body);
}

HTTP_TEST(headers_are_found)
{
	const char *lines[] = {"X-Mine: yes"};
	struct http_request request = {.method = "GET", .target = "/echo", .lines = lines, .line_count = 1};
	struct http_response r;
	struct http_header h;
	struct error e;
	unsigned seen = 0;

	ck_assert_int_eq(http_get(f.engine, "/ok", &r, DEADLINE_NEVER, &e), 0);
	ck_assert(http_header_find(&r, "x-a", &h));
	ck_assert(h.value_len == 1 && *h.value == 'b');
	ck_assert(!http_header_find(&r, "x-b", &h));
	http_response_done(&r);
	ck_assert_int_eq(http_request(f.engine, &request, &r, DEADLINE_NEVER, &e), 0);
	for (size_t at = 0; http_header_next(&r, &at, &h);)
		seen += h.name_len == 6 && memcmp(h.name, "X-Seen", 6) == 0;
	ck_assert_uint_eq(seen, 2);
	http_response_done(&r);
	ck_assert_int_eq(http_get(f.engine, "/continue", &r, DEADLINE_NEVER, &e), 0);
	ck_assert(!http_header_find(&r, "X-Not", &h));
	http_response_done(&r);
}

static const struct {
	const char *target;
	int errnum, status;
	enum http_outcome outcome;
} failures[] = {
	{"/short", -EPIPE, 502, HTTP_BROKEN},
	{"/negative", -EPIPE, 502, HTTP_NONSENSE},
	{"/promise", -EPIPE, 502, HTTP_BROKEN},
	{"/reset", -EPIPE, 502, HTTP_BROKEN},
	{"/nothing", -EPIPE, 502, HTTP_BROKEN},
	{"/half-head", -EPIPE, 502, HTTP_BROKEN},
	{"/chunked-garbage", -EPIPE, 502, HTTP_BROKEN},
	{"/chunked-short", -EPIPE, 502, HTTP_BROKEN},
	{"/chunked-enormous", -EPIPE, 502, HTTP_BROKEN},
	{"/not-http", -EPIPE, 502, HTTP_NONSENSE},
	{"/http-0.9", -EPIPE, 502, HTTP_NONSENSE},
	{"/http-9", -EPIPE, 502, HTTP_NONSENSE},
	{"/bad-gzip", -EPIPE, 502, HTTP_NONSENSE},
	{"/bad-encoding", -EPIPE, 502, HTTP_NONSENSE},
	{"/bomb", -EMSGSIZE, 502, HTTP_NONSENSE},
	{"/endless", -EMSGSIZE, 502, HTTP_NONSENSE},
	{"/headers", -EMSGSIZE, 502, HTTP_NONSENSE},
	{"/interim", -EMSGSIZE, 502, HTTP_NONSENSE},
};

HTTP_TEST(nonsense_is_a_502)
{
	long before = resident_kib();

	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
			const char *got = ask_request(&(struct http_request){.method = "GET",
									     .target = failures[i].target,
									     .max_size = 1 << 20},
						      5000);
			char begin[64];
			snprintf(begin, sizeof(begin), "%d %d %d ", failures[i].errnum, failures[i].status,
				 (int)failures[i].outcome);
			ck_assert_msg(strncmp(got, begin, strlen(begin)) == 0, "%s: %s", failures[i].target, got);
			ck_assert_str_eq(ask("/ok"), "200 ok");
		}
	/* Neither a promise nor a bomb makes it grow. */
	ck_assert_int_lt(resident_kib() - before, 64 << 10);
}

HTTP_TEST(max_size_is_exact)
{
	struct http_request r = {.method = "GET", .target = "/gzip", .max_size = 7};

	ck_assert_str_eq(ask_request(&r, 5000), "200 {\"a\":1}");
	r.max_size = 6;
	expect_failure(ask_request(&r, 5000), -EMSGSIZE, 502, HTTP_NONSENSE);
	r.target = "/ok";
	r.max_size = 1;
	expect_failure(ask_request(&r, 5000), -EMSGSIZE, 502, HTTP_NONSENSE);
}

HTTP_TEST(what_is_no_request_is_not_sent)
{
	const char *lines[] = {"X-A: b\r\nX-Evil: c"};
	struct http_request r = {.method = "GET", .target = "/ok", .lines = lines, .line_count = 1};

	expect_failure(ask_request(&r, 5000), -EINVAL, 500, HTTP_NOT_SENT);
	expect_failure(ask("/a b"), -EINVAL, 500, HTTP_NOT_SENT);
	expect_failure(ask("/a\r\nX: y"), -EINVAL, 500, HTTP_NOT_SENT);
	expect_failure(ask("http://elsewhere/"), -EINVAL, 500, HTTP_NOT_SENT);
	ck_assert_uint_eq(atomic_load(&f.upstream->requests), 0);
}

/* --- connections ----------------------------------------------------------------------------------------------- */

HTTP_TEST(connections_are_used_again)
{
	for (int i = 0; i < 20; i++)
		ck_assert_str_eq(ask("/ok"), "200 ok");
	ck_assert_uint_eq(atomic_load(&f.upstream->connections), 1);
	for (int i = 0; i < 3; i++) {
		ck_assert_str_eq(ask("/closes"), "200 ok");
		ck_assert_str_eq(ask("/closes-silently"), "200 ok");
		ck_assert_int_eq(task_sleep_ms(5), 0);
	}
	ck_assert_str_eq(ask("/ok"), "200 ok");
}

/* The server closes an idle connection while a request is on its way. */
HTTP_TEST(a_read_is_sent_again_once_a_write_never)
{
	struct http_request post = {.method = "POST", .target = "/stale", .body = "x", .body_len = 1};

	ck_assert_str_eq(ask("/stale"), "200 {}");
	ck_assert_str_eq(ask("/stale"), "200 {}");
	ck_assert_uint_eq(atomic_load(&f.upstream->requests), 3);
	expect_failure(ask_request(&post, 5000), -EPIPE, 502, HTTP_BROKEN);
	ck_assert_uint_eq(atomic_load(&f.upstream->requests), 4);
	ck_assert_str_eq(ask_request(&post, 5000), "200 {}");
	ck_assert_uint_eq(atomic_load(&f.upstream->requests), 5);
}

HTTP_TEST(broken_idle_connections_are_noticed)
{
	struct http_request post = {.method = "POST", .target = "/ok", .body = "x", .body_len = 1};

	for (int i = 0; i < 5; i++) {
		ck_assert_str_eq(ask_request(&post, 5000), "200 ok");
		upstream_hang_up(f.upstream);
		ck_assert_int_eq(task_sleep_ms(20), 0);
	}
}

/* An answer that nobody asked for is not the next one's. */
HTTP_TEST(unasked_answers_are_nobodys)
{
	static const char *const paths[] = {"/twice", "/twice-later"};
	struct http_request post = {.method = "POST", .target = "/ok", .body = "x", .body_len = 1};

	for (int i = 0; i < 6; i++) {
		ck_assert_str_eq(ask(paths[i % 2]), "200 \"mine\"");
		while (atomic_load(&f.upstream->counter) <= i)
			ck_assert_int_eq(task_sleep_ms(1), 0);
		ck_assert_int_eq(task_sleep_ms(5), 0);
		ck_assert_str_eq(ask_request(&post, 5000), "200 ok");
		ck_assert_str_eq(ask("/ok"), "200 ok");
	}
}

static int get_status(void *arg)
{
	struct http_response r;
	struct error e;
	int result = http_get(f.engine, arg, &r, DEADLINE_NEVER, &e);

	http_response_done(&r);
	return result < 0 ? result : (int)r.status;
}

/* The last word comes before, while and after the next request goes out: a read has its own answer all the same, a
 * write has it or fails, and is never sent twice. The handles of libcurl are used again for many of these. */
static void meet_last_words(const char *method)
{
	struct http_request request = {.method = method, .target = "/ok"};
	bool read = http_method_idempotent(method);
	unsigned asked = 0, before = atomic_load(&f.upstream->requests);

	for (size_t i = 0; i < ARRAY_SIZE(last_words); i++)
		for (int n = 0; n < 150; n++) {
			char path[64];
			snprintf(path, sizeof(path), "/then/%s/%d", last_words[i].name, n * 7 % 300);
			const char *got = ask(path);
			ck_assert_msg(strcmp(got, "200 {}") == 0, "%s: %s", path, got);
			for (int64_t since = monotonic_us(); monotonic_us() - since < n * 13 % 250;)
				continue;
			got = ask_request(&request, 5000);
			if (read || strcmp(got, "200 ok") == 0)
				ck_assert_msg(strcmp(got, "200 ok") == 0, "%s %s: %s", method, path, got);
			else if (strncmp(got, "408", 3) != 0)
				ck_assert_msg(strncmp(got, "-32 502 ", 8) == 0, "%s %s: %s", method, path, got);
			asked++;
		}
	ck_assert_uint_le(atomic_load(&f.upstream->posts), read ? 0 : asked);
	ck_assert_uint_le(atomic_load(&f.upstream->requests) - before, asked * (read ? 4 : 3));
}

HTTP_TEST(last_words_at_any_moment)
{
	meet_last_words("GET");
	meet_last_words("POST");
}

/* libcurl does not say which of the connections through a Unix socket it is about to use. */
LOOP_TEST(last_words_through_a_unix_socket)
{
	char path[64], url[96];

	snprintf(path, sizeof(path), "/tmp/gatherd-http-%d.sock", (int)getpid());
	snprintf(url, sizeof(url), "http+unix://%s", path);
	f.upstream = upstream_start_at(answer, path);
	ck_assert_int_eq(open_at(url, NULL), 0);
	meet_last_words("GET");
	meet_last_words("POST");
	close_bench();
	return 0;
}

/* Nothing was sent on it, so a write is not lost either. */
LOOP_TEST(writes_leave_what_is_known_to_be_stale)
{
	struct http_request post = {.method = "POST", .target = "/ok", .body = "x", .body_len = 1};
	struct gather g;

	open_bench(NULL);
	for (int n = 0; n < 3; n++) {
		gather_init(&g, GATHER_ALL);
		for (int i = 0; i < 20; i++)
			ck_assert_int_ge(gather_add(&g, "get", get_status, "/then/line/5000"), 0);
		ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
		gather_done(&g);
		while (atomic_load(&said_then) < atomic_load(&answered_then))
			usleep(1000); /* not the loop's: the lines are there, and it has not looked */
		for (int i = 0; i < 20; i++)
			ck_assert_str_eq(ask_request(&post, 5000), "200 ok");
	}
	close_bench();
	return 0;
}

HTTP_TEST(two_hundred_at_once)
{
	struct gather g;
	int64_t begin = monotonic_us();

	gather_init(&g, GATHER_ALL);
	for (int i = 0; i < 200; i++)
		ck_assert_int_ge(gather_add(&g, "get", get_status, "/slow"), 0);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	for (unsigned i = 0; i < 200; i++)
		ck_assert_int_eq(gather_result(&g, i), 200);
	gather_done(&g);
	ck_assert_uint_ge(atomic_load(&f.upstream->most_in_flight), 50);
	ck_assert_int_lt(monotonic_us() - begin, 30000000);
}

LOOP_TEST(calls_at_once_and_waiting_are_bounded)
{
	struct gather g;
	unsigned good = 0, refused = 0;

	open_bench(&(struct http_settings){
		.pool = &(struct config_pool){.size = 2, .max_waiting = 3, .acquire_timeout_us = 30000000}});
	gather_init(&g, GATHER_ALL);
	for (int i = 0; i < 10; i++)
		ck_assert_int_ge(gather_add(&g, "get", get_status, "/slow"), 0);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	for (unsigned i = 0; i < 10; i++) {
		good += gather_result(&g, i) == 200;
		refused += gather_result(&g, i) == -EBUSY;
	}
	gather_done(&g);
	ck_assert_uint_eq(good, 5);
	ck_assert_uint_eq(refused, 5);
	ck_assert_uint_eq(atomic_load(&f.upstream->most_in_flight), 2);
	close_bench();
	return 0;
}

/* What was not sent is a 503, and says so. */
LOOP_TEST(who_waits_for_too_long_was_not_sent)
{
	struct config_pool pool = {.size = 1, .max_waiting = 3, .acquire_timeout_us = 20000};
	struct http_request request = {.method = "GET", .target = "/ok"};
	struct http_response r;
	struct error e;

	open_bench(&(struct http_settings){.pool = &pool});
	struct task *t = spawn(get_status, (void *)"/hang");
	ck_assert_int_eq(task_sleep_ms(20), 0);
	for (int i = 0; i < 2; i++) {
		e = ERROR_INIT;
		pool.acquire_timeout_us = i ? 30000000 : 20000;
		ck_assert_int_eq(http_request(f.engine, &request, &r, i ? deadline_in_ms(20) : DEADLINE_NEVER, &e),
				 -EBUSY);
		ck_assert(e.status == 503 && r.outcome == HTTP_NOT_SENT);
		ck_assert_ptr_nonnull(strstr(e.what, "nothing was sent: 1 calls were under way"));
		ck_assert_ptr_nonnull(strstr(e.what, i ? "the deadline" : "pool.acquire_timeout"));
		http_response_done(&r);
	}
	task_cancel(t);
	ck_assert_int_eq(join(t), -ECANCELED);
	ck_assert_str_eq(ask("/ok"), "200 ok");
	ck_assert_uint_eq(atomic_load(&f.upstream->requests), 2);
	close_bench();
	return 0;
}

/* --- deadlines, cancellation ----------------------------------------------------------------------------------- */

HTTP_TEST(deadlines_hold)
{
	static const char *const targets[] = {"/hang", "/slow", "/trickle", "/endless"};

	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		struct http_request r = {.method = "GET", .target = targets[i], .max_size = SIZE_MAX / 2};
		int64_t begin = monotonic_us();
		expect_failure(ask_request(&r, 30), -ETIMEDOUT, 504, HTTP_INTERRUPTED);
		ck_assert_int_lt(monotonic_us() - begin, 20000000);
		ck_assert_str_eq(ask("/ok"), "200 ok");
	}
}

/* Cancel a call after n turns of the loop, for every n that it takes. */
static void cancel_sweep(const char *target)
{
	for (int turns = 0, done = 0; !done && turns < 400; turns++) {
		struct task *t = spawn(get_status, (void *)target);
		for (int i = 0; i < turns && !task_ended(t); i++)
			ck_assert_int_eq(task_yield(), 0);
		done = task_ended(t);
		task_cancel(t);
		int r = join(t);
		ck_assert_int_eq(done && r == -ECANCELED, 0);
		ck_assert(r == 200 || r == -EPIPE || r == -ECONNREFUSED || r == -ECANCELED);
	}
}

HTTP_TEST(cancelled_anywhere)
{
	cancel_sweep("/ok");
	cancel_sweep("/chunked");
	cancel_sweep("/reset");
	cancel_sweep("/stale");
	struct task *t = spawn(get_status, (void *)"/hang");
	ck_assert_int_eq(task_sleep_ms(20), 0);
	task_cancel(t);
	ck_assert_int_eq(join(t), -ECANCELED);
	ck_assert_str_eq(ask("/ok"), "200 ok");
}

static int get_cancelled(void *arg)
{
	task_cancel(task_self());
	return get_status(arg);
}

HTTP_TEST(a_cancelled_task_sends_nothing)
{
	ck_assert_int_eq(join(spawn(get_cancelled, (void *)"/ok")), -ECANCELED);
	ck_assert_uint_eq(atomic_load(&f.upstream->requests), 0);
}

LOOP_TEST(freeing_ends_what_runs)
{
	open_bench(NULL);
	struct task *t[3];
	for (size_t i = 0; i < 3; i++)
		t[i] = spawn(get_status, (void *)"/hang");
	ck_assert_int_eq(task_sleep_ms(20), 0);
	http_engine_free(f.engine);
	for (size_t i = 0; i < 3; i++)
		ck_assert_int_eq(join(t[i]), -ECONNREFUSED);
	executor_free(f.executor);
	arena_done(&f.arena);
	upstream_stop(f.upstream);
	f.upstream = NULL;
	return 0;
}

/* --- where to ------------------------------------------------------------------------------------------------- */

HTTP_TEST(redirections_stay_at_home)
{
	struct http_request r = {.method = "GET", .target = "/redirect/3"};
	static const char *const away[] = {"/redirect/elsewhere", "/redirect/scheme", "/redirect/tls", "/redirect/user",
					   "/redirect/nowhere"};

	ck_assert_str_eq(ask_request(&r, 5000), "301 moved");
	r.redirects = 3;
	ck_assert_str_eq(ask_request(&r, 5000), "200 {}");
	r.redirects = 2;
	expect_failure(ask_request(&r, 5000), -EPIPE, 502, HTTP_NONSENSE);
	for (size_t i = 0; i < ARRAY_SIZE(away); i++) {
		r.target = away[i];
		expect_failure(ask_request(&r, 5000), -EPIPE, 502, HTTP_NONSENSE);
	}
	r.target = "/redirect/absolute";
	ck_assert_str_eq(ask_request(&r, 5000), "200 GET /echo?x=1 ");
	r = (struct http_request){
		.method = "POST", .target = "/redirect/303", .body = "b", .body_len = 1, .redirects = 1};
	ck_assert_str_eq(ask_request(&r, 5000), "200 GET /echo ");
	r.target = "/redirect/307";
	ck_assert_str_eq(ask_request(&r, 5000), "200 POST /echo b");
}

LOOP_TEST(unix_sockets_are_upstreams)
{
	char path[64], url[128];

	snprintf(path, sizeof(path), "/tmp/test_http_engine.%d.sock", (int)getpid());
	f.upstream = upstream_start_at(answer, path);
	snprintf(url, sizeof(url), "http+unix://%s:/base", path);
	ck_assert_int_eq(open_at(url, NULL), 0);
	ck_assert_str_eq(f.origin.base, "/base");
	for (int i = 0; i < 3; i++)
		ck_assert_str_eq(ask("/echo?a"), "200 GET /echo?a ");
	ck_assert_uint_eq(atomic_load(&f.upstream->connections), 1);
	close_bench();
	ck_assert_int_eq(open_at("http+unix:/nonexistent/socket", NULL), 0);
	expect_failure(ask("/"), -ECONNREFUSED, 503, HTTP_NOT_SENT);
	close_bench();
	return 0;
}

LOOP_TEST(names_are_looked_up)
{
	char url[64];
	struct gather g;

	f.upstream = upstream_start(answer);
	snprintf(url, sizeof(url), "http://localhost:%u/x/", f.upstream->port);
	ck_assert_int_eq(open_at(url, NULL), 0);
	ck_assert_str_eq(f.origin.base, "/x");
	gather_init(&g, GATHER_ALL);
	for (int i = 0; i < 20; i++)
		ck_assert_int_ge(gather_add(&g, "get", get_status, "/ok"), 0);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(gather_result(&g, i), 200);
	gather_done(&g);
	close_bench();
	ck_assert_int_eq(open_at("http://nowhere.invalid/", NULL), 0);
	expect_failure(ask("/"), -ECONNREFUSED, 503, HTTP_NOT_SENT);
	cancel_sweep("/");
	close_bench();
	return 0;
}

/* A proxy hears the whole URL, and nobody looks up the name behind it. */
LOOP_TEST(proxies_are_asked)
{
	struct arena a;
	struct http_origin proxy;
	char url[64];
	const char *why;

	arena_init(&a);
	f.upstream = upstream_start(answer_echo);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", f.upstream->port);
	ck_assert_int_eq(http_origin_parse(&proxy, &a, url, &why), 0);
	ck_assert_int_eq(open_at("http://far.invalid/", &(struct http_settings){.proxy = &proxy}), 0);
	ck_assert_str_eq(ask("/a/../b?c"), "200 GET http://far.invalid/a/../b?c ");
	close_bench();
	setenv("http_proxy", url, 1);
	ck_assert_int_eq(open_at("http://127.0.0.1:1/", NULL), 0);
	expect_failure(ask("/"), -ECONNREFUSED, 503, HTTP_NOT_SENT);
	close_bench();
	arena_done(&a);
	return 0;
}

LOOP_TEST(nobody_listens)
{
	int fds = open_fds();

	ck_assert_int_eq(open_at("http://127.0.0.1:1", NULL), 0);
	for (int i = 0; i < 10; i++)
		expect_failure(ask("/"), -ECONNREFUSED, 503, HTTP_NOT_SENT);
	close_bench();
	ck_assert_int_eq(open_fds(), fds);
	return 0;
}

/* A listener whose queue is full lets nobody in and says nothing. */
LOOP_TEST(connecting_has_its_own_limit)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	int listener = socket(AF_INET, SOCK_STREAM, 0), filler[4];
	char url[64];

	ck_assert_int_eq(bind(listener, (struct sockaddr *)&in, len), 0);
	ck_assert_int_eq(listen(listener, 0), 0);
	getsockname(listener, (struct sockaddr *)&in, &len);
	for (size_t i = 0; i < ARRAY_SIZE(filler); i++) {
		filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		ck_assert(connect(filler[i], (struct sockaddr *)&in, len) == 0 || errno == EINPROGRESS);
	}
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", ntohs(in.sin_port));
	ck_assert_int_eq(open_at(url, &(struct http_settings){.connect_timeout_us = 50000}), 0);
	expect_failure(ask("/"), -ECONNREFUSED, 503, HTTP_NOT_SENT);
	cancel_sweep("/");
	close_bench();
	ck_assert_int_eq(open_at(url, NULL), 0);
	struct http_request r = {.method = "POST", .target = "/"};
	expect_failure(ask_request(&r, 30), -ETIMEDOUT, 503, HTTP_NOT_SENT);
	close_bench();
	for (size_t i = 0; i < ARRAY_SIZE(filler); i++)
		close(filler[i]);
	close(listener);
	return 0;
}

/* The first address refuses and its descriptor's number is used again for the second: it must be watched all the same.
 */
LOOP_TEST(the_second_address_is_tried)
{
	char url[64];

	f.upstream = upstream_start(answer);
	snprintf(url, sizeof(url), "http://localhost:%u", f.upstream->port);
	ck_assert_int_eq(open_at(url, NULL), 0); /* localhost is ::1, where nobody listens, and 127.0.0.1 */
	for (int i = 0; i < 20; i++)
		ck_assert_str_eq(ask("/closes"), "200 ok");
	close_bench();
	return 0;
}

static const struct {
	const char *url, *parsed, *base;
} urls[] = {
	{"http://a", "http://a:80/", ""},
	{"http://a/", "http://a:80/", ""},
	{"https://a:444/b/c//", "https://a:444/", "/b/c"},
	{"http://u:p%40@a/b", "http://a:80/", "/b"},
	{"http://A.Example./b", "http://A.Example:80/", "/b"},
	{"http://[::1]:8080/b", "http://[::1]:8080/", "/b"},
	{"http+unix:///run/x.sock", "http://localhost/", ""},
	{"http+unix:/run/x.sock:/", "http://localhost/", ""},
	{"http+unix:///run/x.sock:/b/", "http://localhost/", "/b"},
	{"", NULL, NULL},
	{"a", NULL, NULL},
	{"ftp://a", NULL, NULL},
	{"file:///etc/passwd", NULL, NULL},
	{"http://", NULL, NULL},
	{"http://a:99999", NULL, NULL},
	{"http://a b", NULL, NULL},
	{"http://a/\xc3\xa9", NULL, NULL},
	{"http://a?x=1", NULL, NULL},
	{"http://a/#x", NULL, NULL},
	{"http+unix:", NULL, NULL},
	{"http+unix:relative", NULL, NULL},
	{"http+unix:///run/x?y", NULL, NULL},
	{"https+unix:///run/x", NULL, NULL},
};

START_TEST(urls_are_taken_apart)
{
	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		struct http_origin o;
		struct arena a;
		const char *why = NULL;
		arena_init(&a);
		int r = http_origin_parse(&o, &a, urls[i].url, &why);
		ck_assert_msg((r == 0) == (urls[i].parsed != NULL), "%s: %d", urls[i].url, r);
		if (r == 0) {
			ck_assert_str_eq(o.url, urls[i].parsed);
			ck_assert_str_eq(o.base, urls[i].base);
		} else {
			ck_assert_ptr_nonnull(why);
		}
		arena_done(&a);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("http_engine");
	TCase *c = async_tcase(s, "answers");
	tcase_add_test(c, answers_come_whole);
	tcase_add_test(c, requests_go_as_they_are);
	tcase_add_test(c, a_large_body_is_sent_at_once);
	tcase_add_test(c, headers_are_found);
	tcase_add_test(c, nonsense_is_a_502);
	tcase_add_test(c, max_size_is_exact);
	tcase_add_test(c, what_is_no_request_is_not_sent);
	c = async_tcase(s, "connections");
	tcase_add_test(c, connections_are_used_again);
	tcase_add_test(c, a_read_is_sent_again_once_a_write_never);
	tcase_add_test(c, broken_idle_connections_are_noticed);
	tcase_add_test(c, unasked_answers_are_nobodys);
	tcase_add_test(c, last_words_at_any_moment);
	tcase_add_test(c, last_words_through_a_unix_socket);
	tcase_add_test(c, writes_leave_what_is_known_to_be_stale);
	tcase_add_test(c, two_hundred_at_once);
	tcase_add_test(c, calls_at_once_and_waiting_are_bounded);
	tcase_add_test(c, who_waits_for_too_long_was_not_sent);
	c = async_tcase(s, "interruptions");
	tcase_add_test(c, deadlines_hold);
	tcase_add_test(c, cancelled_anywhere);
	tcase_add_test(c, a_cancelled_task_sends_nothing);
	tcase_add_test(c, freeing_ends_what_runs);
	c = async_tcase(s, "where to");
	tcase_add_test(c, redirections_stay_at_home);
	tcase_add_test(c, unix_sockets_are_upstreams);
	tcase_add_test(c, names_are_looked_up);
	tcase_add_test(c, proxies_are_asked);
	tcase_add_test(c, nobody_listens);
	tcase_add_test(c, connecting_has_its_own_limit);
	tcase_add_test(c, the_second_address_is_tried);
	tcase_add_test(c, urls_are_taken_apart);
	return run_suite(s);
}

/* HTTPS: certificates are verified, HTTP/2 is spoken, one connection carries many calls. The server is h2o's. */
#include <arpa/inet.h>
#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "async/gather.h"
#include "async/semaphore.h"
#include "config/config.h"
#include "drivers/http/request.h"
#include "drivers/http/stream.h"
#include "drivers/http/trust.h"
#include "tests/unit/async/async_fixture.h"

/* --- certificates ---------------------------------------------------------------------------------------------- */

static const char make_certificates[] =
	"cd \"$0\" || exit 1\n"
	"key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $1.key; }\n"
	"authority() { key $1; openssl req -x509 -new -key $1.key -subj /CN=$1 -days 2 -out $1.pem; }\n"
	"server() { key $1; openssl req -new -key $1.key -subj /CN=$1 -out $1.csr; echo subjectAltName=$2 >$1.ext;"
	" openssl x509 -req -in $1.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile $1.ext -out "
	"$1.pem; }\n"
	"(authority ours && authority theirs && server good IP:127.0.0.1,DNS:localhost && server other "
	"DNS:other.example)"
	" >log 2>&1 || { cat log; exit 1; }\n";
static char folder[] = "/tmp/gatherd-test-XXXXXX";

static void run_shell(const char *script)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", script, folder, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		abort();
}

static const char *file_of(const char *name)
{
	static char path[4][128];
	static unsigned next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", folder, name);
	return p;
}

/* --- the server ------------------------------------------------------------------------------------------------ */

/* A process of its own: h2o keeps what it has for as long as the process lives. */
struct server {
	pid_t pid;
	atomic_uint *connections; /* shared with it */
	unsigned port;
	int fd;
	SSL_CTX *tls;
	h2o_globalconf_t config;
	h2o_context_t context;
	h2o_accept_ctx_t accept;
	h2o_socket_t *listener;
};

static struct server server;

enum { LARGE_BYTES = 4 << 20 };

/* The version that was spoken, and the path; or, of /large, many bytes. */
static int on_request(h2o_handler_t *self, h2o_req_t *req)
{
	static h2o_generator_t generator;
	char *text = h2o_mem_alloc_pool(&req->pool, req->path.len + 64);
	h2o_iovec_t body = {text, 0};

	(void)self;
	body.len = (size_t)sprintf(text, "%x %.*s", (unsigned)req->version, (int)req->path.len, req->path.base);
	if (req->path.len == 6 && memcmp(req->path.base, "/large", 6) == 0) {
		body = (h2o_iovec_t){h2o_mem_alloc_pool(&req->pool, LARGE_BYTES), LARGE_BYTES};
		memset(body.base, 'L', LARGE_BYTES);
	}
	req->res.status = 200;
	req->res.content_length = body.len;
	h2o_start_response(req, &generator);
	h2o_send(req, &body, 1, H2O_SEND_STATE_FINAL);
	return 0;
}

static void on_accept(h2o_socket_t *listener, const char *err)
{
	h2o_socket_t *sock;

	if (err || !(sock = h2o_evloop_socket_accept(listener)))
		return;
	atomic_fetch_add(server.connections, 1);
	h2o_accept(&server.accept, sock);
}

static _Noreturn void server_main(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	h2o_config_init(&server.config);
	h2o_hostconf_t *host = h2o_config_register_host(&server.config, h2o_iovec_init(H2O_STRLIT("default")), 65535);
	h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof(h2o_handler_t))->on_req = on_request;
	h2o_context_init(&server.context, h2o_evloop_create(), &server.config);
	server.accept = (h2o_accept_ctx_t){.ctx = &server.context, .hosts = server.config.hosts, .ssl_ctx = server.tls};
	server.listener = h2o_evloop_socket_create(server.context.loop, server.fd, H2O_SOCKET_FLAG_DONT_READ);
	h2o_socket_read_start(server.listener, on_accept);
	for (;;)
		h2o_evloop_run(server.context.loop, 1000);
}

static void server_start(const char *certificate, bool http2)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(in);
	char file[64];

	memset(&server, 0, sizeof(server));
	server.fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(server.fd, (struct sockaddr *)&in, len), 0);
	ck_assert_int_eq(listen(server.fd, 128), 0);
	getsockname(server.fd, (struct sockaddr *)&in, &len);
	server.port = ntohs(in.sin_port);
	server.tls = SSL_CTX_new(TLS_server_method());
	snprintf(file, sizeof(file), "%s.pem", certificate);
	ck_assert_int_eq(SSL_CTX_use_certificate_chain_file(server.tls, file_of(file)), 1);
	snprintf(file, sizeof(file), "%s.key", certificate);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(server.tls, file_of(file), SSL_FILETYPE_PEM), 1);
	if (http2)
		h2o_ssl_register_alpn_protocols(server.tls, h2o_http2_alpn_protocols);
	server.connections = mmap(NULL, sizeof(*server.connections), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				  -1, 0);
	ck_assert_ptr_ne(server.connections, MAP_FAILED);
	server.pid = fork();
	ck_assert_int_ge(server.pid, 0);
	if (server.pid == 0)
		server_main();
	close(server.fd);
}

static void server_stop(void)
{
	kill(server.pid, SIGKILL);
	waitpid(server.pid, NULL, 0);
	munmap(server.connections, sizeof(*server.connections));
	SSL_CTX_free(server.tls);
}

/* --- a test's own ---------------------------------------------------------------------------------------------- */

static struct {
	struct arena arena;
	struct executor *executor;
	struct http_origin origin;
	struct http_trust *trust;
	struct shared_semaphore permits;
	struct http_engine *engine;
	unsigned version; /* that answers are expected to be of */
} f;

static void open_engine(const char *host, const char *authority)
{
	char url[64];
	const char *why;
	struct error e;

	f.version = 0x200;
	arena_init(&f.arena);
	ck_assert_int_eq(executor_new(&f.executor, 1, 16), 0);
	snprintf(url, sizeof(url), "https://%s:%u", host, server.port);
	ck_assert_int_eq(http_origin_parse(&f.origin, &f.arena, url, &why), 0);
	ck_assert_int_eq(http_trust_new(&f.trust, authority ? file_of(authority) : NULL, &e), 0);
	static const struct config_pool pool = {.size = 256,
						.max_waiting = 100,
						.acquire_timeout_us = 30000000,
						.idle_timeout_us = 30000000,
						.lifetime_us = 60000000};
	shared_semaphore_init(&f.permits, pool.size, pool.max_waiting);
	struct http_settings settings = {
		.origin = &f.origin, .executor = f.executor, .trust = f.trust, .pool = &pool, .permits = &f.permits};
	ck_assert_int_eq(http_engine_new(&f.engine, &settings, &e), 0);
}

static void close_engine(void)
{
	http_engine_free(f.engine);
	shared_semaphore_done(&f.permits);
	http_trust_free(f.trust);
	executor_free(f.executor);
	arena_done(&f.arena);
}

static const char *ask(const char *target)
{
	static char text[1024];
	struct http_response r;
	struct error e;
	int result = http_get(f.engine, target, &r, deadline_in_ms(60000), &e);

	if (result == 0)
		snprintf(text, sizeof(text), "%u %.*s", r.status, (int)r.body.len, r.body.data);
	else
		snprintf(text, sizeof(text), "! %d %s", e.status, e.what);
	http_response_done(&r);
	return text;
}

static const struct {
	const char *certificate, *host, *authority, *outcome;
} cases[] = {
	{"good", "127.0.0.1", "ours.pem", "200 200 /a"},
	{"good", "localhost", "ours.pem", "200 200 /a"},
	{"good", "127.0.0.1", "theirs.pem", "! 502 SSL certificate problem"},
	{"good", "127.0.0.1", NULL, "! 502 SSL certificate problem"},
	{"other", "127.0.0.1", "ours.pem", "! 502 SSL: no alternative certificate subject name matches"},
	{"other", "localhost", "ours.pem", "! 502 SSL: no alternative certificate subject name matches"},
};

LOOP_TEST(certificates_are_verified)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		server_start(cases[i].certificate, true);
		open_engine(cases[i].host, cases[i].authority);
		for (int k = 0; k < 3; k++) {
			const char *got = ask("/a");
			ck_assert_msg(strncmp(got, cases[i].outcome, strlen(cases[i].outcome)) == 0, "%zu: %s", i, got);
		}
		close_engine();
		server_stop();
	}
	return 0;
}

static int get_one(void *arg)
{
	struct http_response r;
	struct error e;
	char target[32], expected[64];
	int n = *(int *)arg;

	snprintf(target, sizeof(target), "/n/%d", n);
	int result = http_get(f.engine, target, &r, deadline_in_ms(60000), &e);
	if (result == 0) {
		size_t len = (size_t)snprintf(expected, sizeof(expected), "%x %s", f.version, target);
		ck_assert_uint_eq(r.body.len, len);
		ck_assert_mem_eq(r.body.data, expected, len);
	}
	http_response_done(&r);
	return result;
}

/* Every call its own answer. */
static void many_at_once(void)
{
	struct gather g;
	int numbers[100];

	gather_init(&g, GATHER_ALL);
	for (int i = 0; i < 100; i++) {
		numbers[i] = i;
		ck_assert_int_ge(gather_add(&g, "get", get_one, &numbers[i]), 0);
	}
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(gather_result(&g, i), 0);
	gather_done(&g);
}

LOOP_TEST(one_connection_carries_many)
{
	server_start("good", true);
	open_engine("127.0.0.1", "ours.pem");
	for (int i = 0; i < 3; i++)
		many_at_once();
	ck_assert_uint_le(atomic_load(server.connections), 2);
	close_engine();
	server_stop();
	return 0;
}

LOOP_TEST(calls_among_many_are_cancelled)
{
	int zero = 0;

	server_start("good", true);
	open_engine("127.0.0.1", "ours.pem");
	for (int turns = 0; turns < 60; turns++) {
		struct task *t = spawn(get_one, &zero), *u = spawn(get_one, &zero);
		for (int i = 0; i < turns; i++)
			ck_assert_int_eq(task_yield(), 0);
		task_cancel(t);
		int r = join(t);
		ck_assert(r == 0 || r == -ECANCELED);
		ck_assert_int_eq(join(u), 0);
	}
	ck_assert_str_eq(ask("/a"), "200 200 /a");
	close_engine();
	server_stop();
	return 0;
}

/* Read to its end, which the other calls do not wait for. Returns how many bytes there were. */
static int64_t read_stream(const char *target, char *beginning, size_t room)
{
	struct http_request request = {.method = "GET", .target = target, .streamed = true};
	struct http_response r;
	struct error e;
	const void *p;
	int64_t n, sum = 0;

	ck_assert_int_eq(http_request(f.engine, &request, &r, deadline_in_ms(30000), &e), 0);
	for (int i = 0; (n = http_stream_read(r.stream, &p, deadline_in_ms(30000), &e)) > 0; i++) {
		if (i == 0)
			snprintf(beginning, room, "%.*s", (int)n, (const char *)p);
		if (i % 8 == 0)
			ck_assert_str_eq(ask("/a"), "200 200 /a");
		sum += n;
	}
	ck_assert_int_eq(n, 0);
	http_response_done(&r);
	return sum;
}

/* A slow reader on a connection that others share would hold them up: streams have their own. */
LOOP_TEST(streams_are_apart)
{
	char beginning[16];

	server_start("good", true);
	open_engine("127.0.0.1", "ours.pem");
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(read_stream("/s", beginning, sizeof(beginning)), 6);
		ck_assert_str_eq(beginning, "101 /s");
		ck_assert_int_eq(read_stream("/large", beginning, sizeof(beginning)), LARGE_BYTES);
		many_at_once();
	}
	close_engine();
	server_stop();
	return 0;
}

/* A server without HTTP/2: the calls that waited for the first connection get their own. */
LOOP_TEST(http1_over_tls)
{
	server_start("good", false);
	open_engine("127.0.0.1", "ours.pem");
	f.version = 0x101;
	many_at_once();
	ck_assert_str_eq(ask("/a"), "200 101 /a");
	close_engine();
	server_stop();
	return 0;
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	if (!mkdtemp(folder))
		abort();
	run_shell(make_certificates);
	Suite *s = suite_create("http_tls");
	TCase *c = async_tcase(s, "tls");
	tcase_add_test(c, certificates_are_verified);
	tcase_add_test(c, one_connection_carries_many);
	tcase_add_test(c, calls_among_many_are_cancelled);
	tcase_add_test(c, streams_are_apart);
	tcase_add_test(c, http1_over_tls);
	int failed = run_suite(s);
	run_shell("rm -r \"$0\"");
	return failed;
}

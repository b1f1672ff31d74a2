/* Answers that are read piece by piece: whole ones, ones that break off after any byte, slow and fast readers. */
#include <zlib.h>

#include "async/semaphore.h"
#include "config/config.h"
#include "drivers/http/stream.h"

#include "async/gather.h"
#include "base/compiler.h"
#include "drivers/http/request.h"
#include "tests/unit/async/async_fixture.h"
#include "tests/unit/drivers/http/http_server.h"

/* --- the server ------------------------------------------------------------------------------------------------ */

enum { LARGE = 8 << 20 };

static unsigned char byte_at(size_t i)
{
	return (unsigned char)(i * 2654435761u >> 13);
}

static size_t gzip(const void *data, size_t len, unsigned char *out, size_t room)
{
	z_stream z = {
		.next_in = (Bytef *)(uintptr_t)data, .avail_in = (uInt)len, .next_out = out, .avail_out = (uInt)room};

	deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
	ck_assert_int_eq(deflate(&z, Z_FINISH), Z_STREAM_END);
	deflateEnd(&z);
	return z.total_out;
}

/* A small answer of each kind, as it is on the wire. */
static size_t small_answer(const char *kind, char *out, size_t room)
{
	unsigned char packed[256];
	size_t n = gzip("hello, hello, hello", 19, packed, sizeof(packed));
	int head;

	if (strcmp(kind, "length") == 0)
		return (size_t)snprintf(out, room, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
	if (strcmp(kind, "chunked") == 0)
		return (size_t)snprintf(out, room,
					"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
					"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
	if (strcmp(kind, "gzip") == 0)
		head = snprintf(out, room, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n",
				n);
	else /* its end is the connection's: only the compression tells that it is whole */
		head = snprintf(out, room, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n");
	memcpy(out + head, packed, n);
	return (size_t)head + n;
}

/* /cut/KIND/N: the first N bytes of it. */
static bool answer_cut(struct upstream_request *r)
{
	char kind[16], whole[1024];
	size_t n;

	if (sscanf(r->path, "/cut/%15[a-z]/%zu", kind, &n) != 2)
		abort();
	size_t len = small_answer(kind, whole, sizeof(whole));
	upstream_send(r->fd, whole, n < len ? n : len);
	return false;
}

static bool answer_large(struct upstream_request *r)
{
	unsigned char *data = malloc(LARGE);

	for (size_t i = 0; i < LARGE; i++)
		data[i] = byte_at(i);
	bool good = upstream_reply(r, "200 OK", "", data, LARGE);
	free(data);
	return good;
}

/* 32 MiB of zeros in a few KiB. */
static bool answer_bomb(struct upstream_request *r)
{
	size_t len = 32 << 20;
	void *zeros = calloc(1, len);
	unsigned char *packed = malloc(1 << 20);
	size_t n = gzip(zeros, len, packed, 1 << 20);
	bool good = upstream_reply(r, "200 OK", "Content-Encoding: gzip\r\n", packed, n);

	free(packed);
	free(zeros);
	return good;
}

/* Until nobody takes it any more; how much went out is in the counter, in KiB. */
static bool answer_endless(struct upstream_request *r)
{
	static char block[16384];
	static const char head[] = "HTTP/1.1 200 OK\r\n\r\n";

	for (bool good = upstream_send(r->fd, head, sizeof(head) - 1); good; good = upstream_send(r->fd, block, 16384))
		atomic_fetch_add(&r->server->counter, 16);
	return false;
}

/* The head, and one byte every few milliseconds. */
static bool answer_trickling(struct upstream_request *r)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";

	for (bool good = upstream_send(r->fd, head, sizeof(head) - 1); good && !atomic_load(&r->server->stopping);
	     good = upstream_send(r->fd, "x", 1))
		upstream_pause(r, 5);
	return false;
}

static bool answer_hinted(struct upstream_request *r)
{
	static const char hint[] = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";

	upstream_send(r->fd, hint, sizeof(hint) - 1);
	upstream_pause(r, 20);
	return upstream_reply(r, "201 Created", "X-A: b\r\n", "late", 4);
}

static bool answer(struct upstream_request *r)
{
	static const struct {
		const char *path;
		upstream_fn *fn;
	} answers[] = {{"/large", answer_large},
		       {"/bomb", answer_bomb},
		       {"/endless", answer_endless},
		       {"/hinted", answer_hinted},
		       {"/trickling", answer_trickling}};

	if (strncmp(r->path, "/cut/", 5) == 0)
		return answer_cut(r);
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
		if (strcmp(r->path, answers[i].path) == 0)
			return answers[i].fn(r);
	if (strcmp(r->path, "/moved") == 0)
		return upstream_reply(r, "302 Found", "Location: /ok\r\n", "elsewhere", 9);
	return upstream_reply(r, "200 OK", "", "ok", strcmp(r->path, "/empty") == 0 ? 0 : 2);
}

/* --- the bench ------------------------------------------------------------------------------------------------- */

static struct {
	struct upstream *upstream;
	struct arena arena;
	struct executor *executor;
	struct http_origin origin;
	struct shared_semaphore permits;
	struct http_engine *engine;
} f;

static const struct config_pool few = {.size = 4,
				       .max_waiting = 100,
				       .acquire_timeout_us = 30000000,
				       .idle_timeout_us = 30000000,
				       .lifetime_us = 60000000};

static void open_bench(void)
{
	struct http_settings s = {.origin = &f.origin, .pool = &few, .permits = &f.permits};
	struct error e;
	const char *why;
	char url[64];

	f.upstream = upstream_start(answer);
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", f.upstream->port);
	arena_init(&f.arena);
	ck_assert_int_eq(executor_new(&f.executor, 2, 16), 0);
	ck_assert_int_eq(http_origin_parse(&f.origin, &f.arena, url, &why), 0);
	s.executor = f.executor;
	shared_semaphore_init(&f.permits, few.size, few.max_waiting);
	ck_assert_int_eq(http_engine_new(&f.engine, &s, &e), 0);
}

static void close_bench(void)
{
	ck_assert(http_engine_idle(f.engine));
	http_engine_free(f.engine);
	shared_semaphore_done(&f.permits);
	executor_free(f.executor);
	arena_done(&f.arena);
	upstream_stop(f.upstream);
}

/* A test with a server and an engine; no descriptor is left behind. */
#define STREAM_TEST(name)                                                                                              \
	static void name##_body(void);                                                                                 \
	LOOP_TEST(name)                                                                                                \
	{                                                                                                              \
		int fds = open_fds();                                                                                  \
		open_bench();                                                                                          \
		name##_body();                                                                                         \
		close_bench();                                                                                         \
		ck_assert_int_eq(open_fds(), fds);                                                                     \
		return 0;                                                                                              \
	}                                                                                                              \
	static void name##_body(void)

static int open_stream(struct http_response *r, const char *target, struct error *e)
{
	struct http_request request = {.method = "GET", .target = target, .streamed = true, .redirects = 1};

	return http_request(f.engine, &request, r, deadline_in_ms(30000), e);
}

/* Read to its end into out. Returns how it ended. */
static int64_t read_all(struct http_response *r, struct buf *out, struct error *e)
{
	const void *p;
	int64_t n;

	while ((n = http_stream_read(r->stream, &p, deadline_in_ms(30000), e)) > 0)
		buf_append(out, p, (size_t)n);
	return n;
}

/* "200 body", "-errno" where it was not answered, or "200 body -errno" where it broke off. */
static const char *ask(const char *target)
{
	static char text[256];
	struct http_response r;
	struct error e = ERROR_INIT;
	struct buf body = BUF_INIT;
	int opened = open_stream(&r, target, &e);

	if (opened < 0) {
		ck_assert_ptr_null(r.stream);
		ck_assert_int_eq(opened, e.errnum);
		snprintf(text, sizeof(text), "%d", opened);
	} else {
		int64_t ended = read_all(&r, &body, &e);
		const void *p;
		ck_assert_int_eq(http_stream_read(r.stream, &p, DEADLINE_NEVER, &e), ended);
		snprintf(text, sizeof(text), "%u %.*s", r.status, (int)body.len, body.data ? body.data : "");
		if (ended < 0)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), " %d", (int)ended);
	}
	buf_done(&body);
	http_response_done(&r);
	return text;
}

/* --- tests ----------------------------------------------------------------------------------------------------- */

STREAM_TEST(whole_answers)
{
	for (int i = 0; i < 3; i++) {
		ck_assert_str_eq(ask("/ok"), "200 ok");
		ck_assert_str_eq(ask("/empty"), "200 ");
		ck_assert_str_eq(ask("/moved"), "200 ok");
		ck_assert_str_eq(ask("/cut/length/1000"), "200 hello");
		ck_assert_str_eq(ask("/cut/chunked/1000"), "200 hello");
		ck_assert_str_eq(ask("/cut/gzip/1000"), "200 hello, hello, hello");
		ck_assert_str_eq(ask("/cut/open/1000"), "200 hello, hello, hello");
	}
}

STREAM_TEST(answers_cut_after_every_byte)
{
	static const char *const kinds[] = {"length", "chunked", "gzip", "open"};
	char target[64], whole[1024];

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		size_t len = small_answer(kinds[k], whole, sizeof(whole));
		size_t head = (size_t)(strstr(whole, "\r\n\r\n") + 4 - whole);
		for (size_t n = 0; n < len; n++) {
			snprintf(target, sizeof(target), "/cut/%s/%zu", kinds[k], n);
			const char *said = ask(target);
			if (n < head)
				ck_assert_msg(said[0] == '-', "%s: %s", target, said);
			else if (n == len - 1 && k == 1)
				ck_assert_str_eq(said, "200 hello"); /* the line break behind the last chunk */
			else if (n == head && k == 3)
				ck_assert_str_eq(said, "200 "); /* nothing is a whole body, too */
			else
				ck_assert_msg(strncmp(said, "200 ", 4) == 0 && strstr(said, " -32"), "%s: %s", target,
					      said);
		}
	}
}

STREAM_TEST(interim_answers_are_no_head)
{
	struct http_response r;
	struct http_header h;
	struct error e;

	ck_assert_int_eq(open_stream(&r, "/hinted", &e), 0);
	ck_assert_uint_eq(r.status, 201);
	ck_assert(http_header_find(&r, "X-A", &h));
	ck_assert(!http_header_find(&r, "Link", &h));
	http_response_done(&r);
}

/* Every byte comes, in its order, whether the reader stops now and then or not. */
static void read_large(unsigned pause_every)
{
	struct http_response r;
	struct error e = ERROR_INIT;
	const void *p;
	size_t at = 0;
	int64_t n;

	ck_assert_int_eq(open_stream(&r, "/large", &e), 0);
	for (unsigned i = 1; (n = http_stream_read(r.stream, &p, deadline_in_ms(30000), &e)) > 0; i++) {
		for (int64_t k = 0; k < n; k++)
			if (((const unsigned char *)p)[k] != byte_at(at++))
				ck_abort_msg("byte %zu is another one", at - 1);
		if (pause_every && i % pause_every == 0)
			ck_assert_int_eq(task_sleep_ms(3), 0);
	}
	ck_assert_int_eq(n, 0);
	ck_assert_uint_eq(at, LARGE);
	http_response_done(&r);
}

STREAM_TEST(fast_and_slow_readers_get_it_all)
{
	read_large(0);
	read_large(1);
	read_large(7);
	ck_assert_uint_eq(atomic_load(&f.upstream->connections), 1); /* it is used again after pauses */
}

STREAM_TEST(a_slow_reader_makes_the_service_wait)
{
	struct http_response r, other;
	struct error e;
	const void *p;
	const struct http_request ok = {.method = "GET", .target = "/ok"};

	ck_assert_int_eq(open_stream(&r, "/endless", &e), 0);
	int before, now = -1;
	do { /* until nothing goes out any more */
		before = now;
		ck_assert_int_eq(task_sleep_ms(200), 0);
		now = atomic_load(&f.upstream->counter);
	} while (now != before);
	ck_assert_int_lt(now, 32 << 10); /* what the kernel has room for, and no more */
	long resident = resident_kib();
	for (int i = 0; i < 100; i++) {
		int64_t n = http_stream_read(r.stream, &p, deadline_in_ms(30000), &e);
		ck_assert_int_gt(n, 0);
		ck_assert_int_le(n, 160 << 10);
		ck_assert_int_eq(http_request(f.engine, &ok, &other, deadline_in_ms(30000), &e), 0);
		http_response_done(&other);
	}
	ck_assert_int_gt(atomic_load(&f.upstream->counter), now);
	ck_assert_int_lt(resident_kib() - resident, 8 << 10);
	http_response_done(&r);
	ck_assert_int_eq(http_request(f.engine, &ok, &other, deadline_in_ms(30000), &e), 0);
	http_response_done(&other);
}

STREAM_TEST(a_bomb_goes_off_in_small_pieces)
{
	struct http_response r;
	struct error e;
	const void *p;
	int64_t n, sum = 0;

	ck_assert_int_eq(open_stream(&r, "/bomb", &e), 0);
	long resident = resident_kib();
	while ((n = http_stream_read(r.stream, &p, deadline_in_ms(30000), &e)) > 0) {
		ck_assert_int_le(n, 64 << 10);
		sum += n;
	}
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(sum, 32 << 20);
	ck_assert_int_lt(resident_kib() - resident, 16 << 10);
	http_response_done(&r);
}

STREAM_TEST(one_that_is_closed_early_takes_nothing_along)
{
	static const char *const targets[] = {"/endless", "/large", "/trickling", "/ok", "/bomb"};
	struct http_response r;
	struct error e;
	const void *p;

	for (int i = 0; i < 40; i++) { /* more than there are permits */
		ck_assert_int_eq(open_stream(&r, targets[i % 5], &e), 0);
		for (int k = 0; k < i % 4; k++)
			if (http_stream_read(r.stream, &p, deadline_in_ms(30000), &e) <= 0)
				break;
		if (i % 3 == 0)
			ck_assert_int_eq(task_sleep_ms(5), 0);
		http_response_done(&r);
		ck_assert(http_engine_idle(f.engine));
		ck_assert_str_eq(ask("/ok"), "200 ok");
	}
}

STREAM_TEST(a_deadline_ends_it_for_good)
{
	struct http_response r;
	struct error e;
	const void *p;
	int64_t n = 0;

	ck_assert_int_eq(open_stream(&r, "/trickling", &e), 0);
	deadline_t by = deadline_in_ms(60);
	while (n >= 0)
		n = http_stream_read(r.stream, &p, by, &e);
	ck_assert_int_eq(n, -ETIMEDOUT);
	ck_assert_int_eq(e.status, 504);
	e = ERROR_INIT;
	ck_assert_int_eq(http_stream_read(r.stream, &p, deadline_in_ms(1000), &e), -ETIMEDOUT);
	ck_assert_int_eq(e.errnum, -ETIMEDOUT);
	http_response_done(&r);
}

/* What a cancelled reader sees: nothing but -ECANCELED, and nothing stays behind. */
static int read_until_cancelled(void *arg)
{
	const char *target = arg;
	struct http_response r;
	struct error e;
	const void *p;
	int64_t n = open_stream(&r, target, &e);

	while (n >= 0)
		n = http_stream_read(r.stream, &p, DEADLINE_NEVER, &e);
	http_response_done(&r);
	return (int)n;
}

STREAM_TEST(readers_are_cancelled_at_any_moment)
{
	for (int turns = 0; turns < 60; turns++) {
		struct task *t = spawn(read_until_cancelled,
				       (void *)(uintptr_t)(turns % 2 ? "/endless" : "/trickling"));
		for (int i = 0; i < turns; i++)
			ck_assert_int_eq(i % 8 == 7 ? task_sleep_ms(1) : task_yield(), 0);
		task_cancel(t);
		ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
		ck_assert(http_engine_idle(f.engine));
	}
	ck_assert_str_eq(ask("/ok"), "200 ok");
}

static int read_until_refused(void *arg)
{
	(void)arg;
	return read_until_cancelled((void *)(uintptr_t) "/trickling");
}

STREAM_TEST(an_engine_that_is_freed_ends_its_readers)
{
	struct gather g;

	gather_init(&g, GATHER_ALL);
	for (int i = 0; i < 4; i++)
		ck_assert_int_ge(gather_add(&g, "reader", read_until_refused, NULL), 0);
	ck_assert_int_eq(task_sleep_ms(50), 0);
	ck_assert(!http_engine_idle(f.engine));
	http_engine_refuse(f.engine);
	ck_assert_int_eq(gather_wait(&g, deadline_in_ms(30000)), 0);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_int_eq(gather_result(&g, i), -ECONNREFUSED);
	gather_done(&g);
}

int main(void)
{
	Suite *s = suite_create("http stream");
	TCase *c = async_tcase(s, "stream");

	tcase_add_test(c, whole_answers);
	tcase_add_test(c, answers_cut_after_every_byte);
	tcase_add_test(c, interim_answers_are_no_head);
	tcase_add_test(c, fast_and_slow_readers_get_it_all);
	tcase_add_test(c, a_slow_reader_makes_the_service_wait);
	tcase_add_test(c, a_bomb_goes_off_in_small_pieces);
	tcase_add_test(c, one_that_is_closed_early_takes_nothing_along);
	tcase_add_test(c, a_deadline_ends_it_for_good);
	tcase_add_test(c, readers_are_cancelled_at_any_moment);
	tcase_add_test(c, an_engine_that_is_freed_ends_its_readers);
	return run_suite(s);
}

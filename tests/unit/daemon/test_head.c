/* Heads of requests: what is let through to h2o and what is refused, whole and byte by byte. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "daemon/head.h"

#define GET  "GET /a HTTP/1.1\r\n"
#define HOST "Host: x\r\n"
#define END  "\r\n"

static const struct {
	const char *text;
	int result; /* 0: right; else the status */
} heads[] = {
	{GET HOST END, 0},
	{"GET /a HTTP/1.0\r\n" END, 0},
	{"\r\n" GET HOST END, 0},
	{"GET http://x/a?b=c HTTP/1.1\r\n" HOST END, 0},
	{"OPTIONS * HTTP/1.1\r\n" HOST END, 0},
	{"CONNECT x:80 HTTP/1.1\r\n" HOST END, 0},
	{"GET /\xc3\xa9 HTTP/1.1\r\n" HOST END, 0},
	{GET "Host:\r\n" END, 0},
	{GET "hOST:[::1]:80\r\n" END, 0},
	{GET HOST "A:\r\nB: \t\r\nC:d\r\n" END, 0},
	{GET HOST "Content-Length: 0\r\n" END, 0},
	{GET HOST "Content-Length: 12 \t\r\n" END, 0},
	{GET HOST "Transfer-Encoding: Chunked\r\n" END, 0},
	{GET HOST "Expect: 100-Continue\r\n" END, 0},

	/* the request line */
	{"\r\n\r\n" GET HOST END, 400},
	{"GET /a\r\n" END, 400},
	{"GET  /a HTTP/1.1\r\n" HOST END, 400},
	{"GET /a  HTTP/1.1\r\n" HOST END, 400},
	{"GET /a HTTP/1.1 \r\n" HOST END, 400},
	{"GET /a b HTTP/1.1\r\n" HOST END, 400},
	{"GET /a#b HTTP/1.1\r\n" HOST END, 400},
	{"GET /a\x01 HTTP/1.1\r\n" HOST END, 400},
	{"GET /a\x7f HTTP/1.1\r\n" HOST END, 400},
	{"GET /a\tHTTP/1.1\r\n" HOST END, 400},
	{" GET /a HTTP/1.1\r\n" HOST END, 400},
	{"G\xc3\xa9T /a HTTP/1.1\r\n" HOST END, 400},
	{"G(T /a HTTP/1.1\r\n" HOST END, 400},
	{"GET /a HTTP/1.1x\r\n" HOST END, 400},
	{"GET /a HTTP/11\r\n" HOST END, 400},
	{"GET /a http/1.1\r\n" HOST END, 400},
	{"GET /a HTTP/1.1\n" HOST END, 400},
	{"GET /a HTTP/1.1\r" HOST END, 400},
	{"\n" GET HOST END, 400},
	{"GET /a HTTP/2.0\r\n" HOST END, 505},
	{"GET /a HTTP/0.9\r\n" HOST END, 505},
	{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
	{"METHODMETHODMETHODMETHODMETHODMETHOD / HTTP/1.1\r\n" HOST END, 501},
	{"\x16\x03\x01\x02", 400},

	/* fields */
	{GET END, 400},
	{GET HOST HOST END, 400},
	{"GET /a HTTP/1.0\r\n" HOST HOST END, 400},
	{GET "Host: a b\r\n" END, 400},
	{GET "Host: a/b\r\n" END, 400},
	{GET "Host: a@b\r\n" END, 400},
	{GET " " HOST END, 400},
	{GET HOST "A: b\r\n c\r\n" END, 400},
	{GET HOST "A: b\r\n\tc\r\n" END, 400},
	{GET HOST "A : b\r\n" END, 400},
	{GET HOST ": b\r\n" END, 400},
	{GET HOST "A\r\n" END, 400},
	{GET HOST "A(: b\r\n" END, 400},
	{GET HOST "A: b\x01\r\n" END, 400},
	{GET HOST "A: b\rc\r\n" END, 400},
	{GET HOST "A: b\x7f\r\n" END, 400},
	{GET HOST "A: b\n" END, 400},
	{GET HOST "A: b\r\n\n", 400},
	{GET HOST "Content-Length: 3\r\nContent-Length: 3\r\n" END, 400},
	{GET HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n" END, 400},
	{GET HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n" END, 400},
	{GET HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END, 400},
	{GET HOST "Transfer-Encoding: gzip, chunked\r\n" END, 400},
	{GET HOST "Transfer-Encoding: identity\r\n" END, 400},
	{GET HOST "Transfer-Encoding:\r\n" END, 400},
	{"GET /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n" END, 400},
	{GET HOST "Content-Length:\r\n" END, 400},
	{GET HOST "Content-Length: -1\r\n" END, 400},
	{GET HOST "Content-Length: +1\r\n" END, 400},
	{GET HOST "Content-Length: 1,1\r\n" END, 400},
	{GET HOST "Content-Length: 1 1\r\n" END, 400},
	{GET HOST "Content-Length: 0x1\r\n" END, 400},
	{GET HOST "Content-Length: 9999999999999999999\r\n" END, 413},
	{GET HOST "Expect: 200-ok\r\n" END, 417},
};

/* Give head_read the first n bytes in memory of exactly that size, as h2o's buffer might have moved. */
static int read_moved(struct head *h, struct buf *kept, const char *text, size_t n)
{
	char *copy = mem_alloc(n);
	memcpy(copy, kept->data, kept->len);
	memcpy(copy + kept->len, text + kept->len, n - kept->len);
	int r = head_read(h, copy, n);
	kept->len = 0;
	buf_append(kept, copy, n);
	free(copy);
	return r;
}

START_TEST(reads_whole)
{
	const char *text = heads[_i].text;
	size_t len = strlen(text);
	struct head h;
	char *copy = mem_strndup(text, len);
	head_init(&h);
	int r = head_read(&h, copy, len);
	ck_assert_msg(r == heads[_i].result, "%s: %d instead of %d (%s)", text, r, heads[_i].result, h.why);
	if (r == 0)
		ck_assert_uint_eq(h.size, len);
	else
		ck_assert_ptr_nonnull(h.why);
	free(copy);
}
END_TEST

START_TEST(reads_byte_by_byte)
{
	const char *text = heads[_i].text;
	size_t len = strlen(text);
	struct head h;
	struct buf kept = BUF_INIT;
	head_init(&h);
	buf_reserve(&kept, len + 1);
	int r = -EAGAIN;
	for (size_t n = 1; n <= len && r == -EAGAIN; n++) {
		r = read_moved(&h, &kept, text, n);
		ck_assert_msg(r != 0 || n == len, "%s: right after %zu bytes", text, n);
	}
	ck_assert_msg(r == heads[_i].result, "%s: %d instead of %d", text, r, heads[_i].result);
	buf_done(&kept);
}
END_TEST

static int read_text(struct head *h, struct buf *text)
{
	head_init(h);
	return head_read(h, text->data, text->len);
}

static void fill(struct buf *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_char(b, 'a');
}

START_TEST(says_what_it_read)
{
	struct head h;
	struct buf text = BUF_INIT;
	buf_lit(&text, "\r\nPOST /p?q HTTP/1.1\r\nhost: x\r\nContent-length: 12 \r\nconnection: TE, Close\r\n"
		       "X-Forwarded-For: y\r\nexpect: 100-continue\r\n\r\nrest");
	ck_assert_int_eq(read_text(&h, &text), 0);
	ck_assert_uint_eq(h.size, text.len - 4);
	ck_assert_uint_eq(h.start, 2);
	ck_assert_uint_eq(h.method_len, 4);
	ck_assert_int_eq(strncmp(text.data + h.target, "/p?q ", 5), 0);
	ck_assert_uint_eq(h.target_len, 4);
	ck_assert_uint_eq(h.minor, 1);
	ck_assert_uint_eq(h.content_length, 12);
	ck_assert(h.has_length && !h.chunked && h.close && h.forwarded && h.expect_continue);
	/* h2o takes a value up to its line's end: the blank has moved before it. */
	ck_assert_ptr_nonnull(strstr(buf_cstr(&text), "Content-length:  12\r\n"));
	buf_done(&text);
}
END_TEST

START_TEST(bounds_the_target)
{
	for (int over = 0; over < 2; over++) {
		struct head h;
		struct buf text = BUF_INIT;
		buf_lit(&text, "GET /");
		fill(&text, (size_t)(HEAD_MAX_TARGET_BYTES - 1 + over));
		buf_lit(&text, " HTTP/1.1\r\nHost: x\r\n\r\n");
		ck_assert_int_eq(read_text(&h, &text), over ? 414 : 0);
		buf_done(&text);
	}
}
END_TEST

/* A line that never ends is refused before it has used more memory than a right one could. */
START_TEST(bounds_what_does_not_end)
{
	struct head h;
	struct buf text = BUF_INIT;
	buf_lit(&text, "GET /");
	fill(&text, HEAD_MAX_TARGET_BYTES + 100);
	ck_assert_int_eq(read_text(&h, &text), 414);
	text.len = 0;
	buf_lit(&text, GET "A: ");
	fill(&text, HEAD_MAX_FIELDS_BYTES + 1);
	ck_assert_int_eq(read_text(&h, &text), 431);
	text.len = 0;
	fill(&text, 100);
	ck_assert_int_eq(read_text(&h, &text), 501);
	buf_done(&text);
}
END_TEST

START_TEST(bounds_the_fields)
{
	for (int over = 0; over < 2; over++) {
		struct head h;
		struct buf text = BUF_INIT;
		buf_lit(&text, GET HOST);
		for (int i = 0; i < HEAD_MAX_FIELDS - 1 + over; i++)
			buf_lit(&text, "A: b\r\n");
		buf_lit(&text, END);
		ck_assert_int_eq(read_text(&h, &text), over ? 431 : 0);
		buf_done(&text);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("head");
	TCase *tests = tcase_create("head");
	tcase_add_loop_test(tests, reads_whole, 0, (int)ARRAY_SIZE(heads));
	tcase_add_loop_test(tests, reads_byte_by_byte, 0, (int)ARRAY_SIZE(heads));
	tcase_add_test(tests, says_what_it_read);
	tcase_add_test(tests, bounds_the_target);
	tcase_add_test(tests, bounds_what_does_not_end);
	tcase_add_test(tests, bounds_the_fields);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

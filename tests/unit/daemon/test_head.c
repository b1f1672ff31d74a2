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
	{"\r\n\r\n" GET HOST END, 0},
	{"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" GET HOST END, 0},
	{"GET http://x/a?b=c HTTP/1.1\r\n" HOST END, 0},
	{"OPTIONS * HTTP/1.1\r\n" HOST END, 0},
	{"CONNECT x:80 HTTP/1.1\r\n" HOST END, 0},
	{"GET /a?b?c=\"|`{}<>\\^[] HTTP/1.1\r\n" HOST END, 0},
	{"GET http://x HTTP/1.1\r\n" HOST END, 0},
	{"GET http://x?a HTTP/1.1\r\n" HOST END, 0},
	{"GET HTTP://X:80/ HTTP/1.1\r\n" HOST END, 0},
	{"GET https://x:443/ HTTP/1.1\r\n" HOST END, 0},
	{"GET http://x:/ HTTP/1.1\r\nHost: X:80\r\n" END, 0},
	{"GET http://[::1]:8080/ HTTP/1.1\r\nHost: [::1]:08080\r\n" END, 0},
	{"GET http://y/ HTTP/1.0\r\n" END, 0},
	{"GET http://y/ HTTP/1.1\r\n" HOST END, 0},
	{"GET http://y/ HTTP/1.1\r\nHost:\r\n" END, 0},
	{GET "Host:\r\n" END, 0},
	{GET "hOST:[::1]:80\r\n" END, 0},
	{GET HOST "A:\r\nB: \t\r\nC:d\r\n" END, 0},
	{GET HOST "Content-Length: 0\r\n" END, 0},
	{GET HOST "Content-Length: 12 \t\r\n" END, 0},
	{GET HOST "Transfer-Encoding: Chunked\r\n" END, 0},
	{GET HOST "Expect: 100-Continue\r\n" END, 0},
	{"GET /a HTTP/1.0\r\nExpect: whatever\r\n" END, 0},
	{GET HOST "Content-Encoding: Identity\r\n" END, 0},
	{GET HOST "Content-Encoding:\r\nContent-Encoding: , identity ,identity\r\n" END, 0},
	{GET HOST "A: \x80\xff\r\n" END, 0},
	{GET HOST "!#$%&'*+-.^_`|~09azAZ: b\r\n" END, 0},
	{GET HOST "Content-Length: 003\r\n" END, 0},
	{GET HOST "Content-Length:\t42\t  \r\n" END, 0},

	/* the request line */
	{"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n" GET HOST END, 400},
	{"\r\r\n" GET HOST END, 400},
	{" \r\n" GET HOST END, 400},
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
	{"\r\n\n" GET HOST END, 400},
	{"GET /a HTTP/1.1\rHost: x\r\n" END, 400},
	{"GET /a ICE/1.0\r\n" HOST END, 400},
	{"GET /a RTSP/1.0\r\n" HOST END, 400},
	{"GET /a IHTTP/1.0\r\n" HOST END, 400},
	{"GET /a HTTP/1.\r\n" HOST END, 400},
	{"GET /a HTTP/.1\r\n" HOST END, 400},
	{"GET /a HTTP/1,1\r\n" HOST END, 400},
	{"GET /a HTTP/01.1\r\n" HOST END, 400},
	{"GET /\xc3\xa9 HTTP/1.1\r\n" HOST END, 400},
	{"GET /a?\xff HTTP/1.1\r\n" HOST END, 400},
	{"GET /a#b HTTP/1.1\r\n" HOST END, 400},
	{"GET\t/a HTTP/1.1\r\n" HOST END, 400},
	{"GET:/a HTTP/1.1\r\n" HOST END, 400},
	{"GET http:// HTTP/1.1\r\n" HOST END, 400},
	{"GET http:///a HTTP/1.1\r\n" HOST END, 400},
	{"GET http://x:99999/ HTTP/1.1\r\n" HOST END, 400},
	{"GET http://[::1/ HTTP/1.1\r\n" HOST END, 400},
	{"GET http://u:p@x/ HTTP/1.1\r\n" HOST END, 400},
	{"GET http://%zz/ HTTP/1.1\r\n" HOST END, 400},
	{"GET http://x/ HTTP/1.1\r\n" END, 400},
	{"GET /a HTTP/1.2\r\n" HOST END, 505},
	{"GET /a HTTP/1.9\r\n" HOST END, 505},
	{"GET /a HTTP/5.6\r\n" HOST END, 505},
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
	{GET HOST "Content-Length: 5,5\r\n" END, 400},
	{GET HOST "Content-Length: 5;a\r\n" END, 400},
	{GET HOST "Content-Length: 5.0\r\n" END, 400},
	{GET HOST "Content-Length: 1e1\r\n" END, 400},
	{GET HOST "Content-Length: \"5\"\r\n" END, 400},
	{GET HOST "Content-Length: 5\r\ncontent-length: 6\r\n" END, 400},
	{GET HOST "Content-Length : 5\r\n" END, 400},
	{GET HOST "Content-Length\t: 5\r\n" END, 400},
	{GET HOST "Content\rLength: 5\r\n" END, 400},
	{GET HOST "Content-Length: 1\r\nTransfer-Encoding: identity\r\n" END, 400},
	{GET HOST "Content-Length: 1\r\nTransfer-Encoding:\r\n" END, 400},
	{GET HOST "Transfer-Encoding: chunkedchunked\r\n" END, 400},
	{GET HOST "Transfer-Encoding: chunked, deflate\r\n" END, 400},
	{GET HOST "Transfer-Encoding: chunked, chunked\r\n" END, 400},
	{GET HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: deflate\r\n" END, 400},
	{GET HOST "Transfer-Encoding: deflate\r\nTransfer-Encoding: chunked\r\n" END, 400},
	{GET HOST "Transfer-Encoding: chunked;a=b\r\n" END, 400},
	{GET HOST "Transfer-Encoding: \"chunked\"\r\n" END, 400},
	{GET HOST "Transfer-Encoding: ,chunked\r\n" END, 400},
	{GET HOST "Transfer-Encoding : chunked\r\n" END, 400},
	{GET HOST "Transfer-Encoding: chunked\r\n  abc\r\n" END, 400},
	{GET HOST "Transfer_Encoding\v: chunked\r\n" END, 400},
	{GET HOST "A\x80: b\r\n" END, 400},
	{GET HOST "A b: c\r\n" END, 400},
	{GET HOST "A: b\fc\r\n" END, 400},
	{GET HOST "A:\rB: c\r\n" END, 400},
	{GET HOST "A:\nB: c\r\n" END, 400},
	{GET HOST "\rGET /evil: HTTP/1.1\r\n" END, 400},
	{GET HOST "A\r\n : b\r\n" END, 400},
	{GET HOST "Content-Encoding: gzip\r\n" END, 415},
	{GET HOST "Content-Encoding: identity, br\r\n" END, 415},
	{GET HOST "Content-Encoding: identity\r\nContent-Encoding: DEFLATE\r\n" END, 415},
	{GET HOST "Content-Encoding: identity;q=1\r\n" END, 415},
	{GET HOST "Content-Encoding: xidentity\r\n" END, 415},
	{GET HOST "Expect: 200-ok\r\n" END, 417},
};

static const struct {
	const char *value;
	bool good;
} hosts[] = {
	{"", true},
	{"x", true},
	{"x:80", true},
	{"x:", true},
	{"x:0", true},
	{"x:65535", true},
	{"x:0000080", true},
	{"a-b_c.d~.", true},
	{"!$&'()*+,;=", true},
	{"%41%zf", false},
	{"%41%7f", true},
	{"127.0.0.1:8080", true},
	{"0.0.0.0=5000", true},
	{"[::1]", true},
	{"[::1]:80", true},
	{"[::1]:", true},
	{"[::ffff:1.2.3.4]:1", true},
	{"[v1.a:b]", true},
	{"[::1", false},
	{"::1", false},
	{"::1]", false},
	{"[]", false},
	{"[]:80", false},
	{"[x]", false},
	{"[1.2.3.4]", false},
	{"[::1]x", false},
	{"[::1]80", false},
	{"[::1]:x", false},
	{"[::1]]", false},
	{"[[::1]]", false},
	{"[::1%25eth0]", false},
	{"[1:2:3:4:5:6:7:8:9]", false},
	{"[:::1]", false},
	{"[v.a]", false},
	{"[v1.]", false},
	{"[v1]", false},
	{"[1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111]", false},
	{"x:y", false},
	{"x:99999", false},
	{"x:65536", false},
	{"x:4294967376", false},
	{"x:80:80", false},
	{"x::80", false},
	{"x:-1", false},
	{"x:+80", false},
	{"x: 80", false},
	{"x :80", false},
	{"x:8 0", false},
	{"x:80/", false},
	{":80", false},
	{":", false},
	{"%zz", false},
	{"%", false},
	{"%4", false},
	{"a%", false},
	{"%4g", false},
	{"a b", false},
	{"a\tb", false},
	{"a/b", false},
	{"a?b", false},
	{"a@b", false},
	{"a\\b", false},
	{"a\"b", false},
	{"<a>", false},
	{"a|b", false},
	{"{a}", false},
	{"http://a", false},
	{"\xc3\xa9", false},
};

START_TEST(reads_hosts)
{
	struct buf text = BUF_INIT;
	struct head h;
	for (int field = 0; field < 2; field++) {
		text.len = 0;
		if (field)
			buf_printf(&text, GET "Host: %s\r\n" END, hosts[_i].value);
		else
			buf_printf(&text, "GET http://%s/ HTTP/1.0\r\n" END, hosts[_i].value);
		bool good = hosts[_i].good && (field || *hosts[_i].value);
		/* These end the authority of a target, or are part of another target. */
		if (!field && strpbrk(hosts[_i].value, "/?"))
			continue;
		head_init(&h);
		int r = head_read(&h, text.data, text.len);
		ck_assert_msg(r == (good ? 0 : 400), "%s: %d", hosts[_i].value, r);
	}
	buf_done(&text);
}
END_TEST

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
	ck_assert_msg(r == heads[_i].result, "%s: %d instead of %d (%s)", text, r, heads[_i].result,
		      reason_text(h.why));
	if (r == 0)
		ck_assert_uint_eq(h.size, len);
	else
		ck_assert_int_ne(h.why, REASON_NONE);
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

/* In HTTP/1.0 h2o sees no Expect, however often it stands there, and wherever. */
START_TEST(hides_expect_of_old_clients)
{
	static const char *const texts[] = {
		"POST /a HTTP/1.0\r\nExpect: 100-continue\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
		"POST /a HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\nEXPECT: 100-continue\r\n\r\n{}",
		"\r\nPOST /a HTTP/1.0\r\nExpect: a\r\nHost: x\r\nexpect:\r\nContent-Length: 2\r\n\r\n{}",
		"POST /a HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
	};
	static const char expected[] = "POST /a HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct head h;
		struct buf text = BUF_INIT;
		buf_str(&text, texts[i]);
		ck_assert_int_eq(read_text(&h, &text), 0);
		ck_assert_str_eq(buf_cstr(&text) + h.start, expected);
		ck_assert_int_eq(strncmp(text.data + h.target, "/a ", 3), 0);
		ck_assert(!h.expect_continue && h.content_length == 2);
		size_t start = h.start;
		head_drop_start(&h);
		ck_assert_uint_eq(h.start, 0);
		ck_assert_int_eq(strncmp(text.data + start + h.target, "/a ", 3), 0);
		ck_assert_uint_eq(h.size, strlen(expected) - 2);
		buf_done(&text);
	}
}
END_TEST

/* What is hidden counts. */
START_TEST(bounds_what_is_hidden)
{
	struct head h;
	struct buf text = BUF_INIT;
	buf_lit(&text, "GET /a HTTP/1.0\r\n");
	for (int i = 0; i < 3; i++) {
		buf_lit(&text, "Expect: ");
		fill(&text, HEAD_MAX_FIELDS_BYTES / 3);
		buf_lit(&text, "\r\n");
	}
	ck_assert_int_eq(read_text(&h, &text), 431);
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
	tcase_add_loop_test(tests, reads_hosts, 0, (int)ARRAY_SIZE(hosts));
	tcase_add_test(tests, says_what_it_read);
	tcase_add_test(tests, hides_expect_of_old_clients);
	tcase_add_test(tests, bounds_what_is_hidden);
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

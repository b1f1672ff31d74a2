/* Chunked bodies: which framing is let through to h2o and which is refused, whole, byte by byte, and cut in two
 * anywhere. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "daemon/chunks.h"

#define TWO  "2\r\n{}\r\n"
#define LAST "0\r\n\r\n"

static const struct {
	const char *text;
	int result; /* 0: right; -EAGAIN: not all; else the status */
} bodies[] = {
	{LAST, 0},
	{TWO LAST, 0},
	{TWO TWO "a\r\n\r\n\r\n0\r\n\r\n\n\r\n" LAST, 0},
	{"0002\r\n{}\r\n000\r\n\r\n", 0},
	{"B\r\n01234567890\r\n" LAST, 0},
	{"2;a\r\n{}\r\n0;b=c\r\n\r\n", 0},
	{"2;a=\"\xc3\xa9;\\\" ,\t\"\r\n{}\r\n" LAST, 0},
	{"2;a;b=c;d=\"\";e=\"f\";g\r\n{}\r\n" LAST, 0},
	{"2;!#$%&'*+-.^_`|~09azAZ=!#$%&'*+-.^_`|~09azAZ\r\n{}\r\n" LAST, 0},
	{TWO "0\r\nA: b\r\nC:\td \xff\r\n\r\n", 0},
	{TWO "0\r\nA:\r\nB::\r\nC:  \r\n\r\n", 0},
	{TWO "0\r\nContent-Length-: 1\r\nX-Content-Length: 2\r\nTransfer-Encodin: x\r\n\r\n", 0},
	{TWO "0;a=\"b\"\r\nA: b\r\n\r\n", 0},

	/* sizes */
	{"\r\n\r\n", 400},
	{"\r\n" TWO, 400},
	{";a\r\n", 400},
	{" 2\r\n", 400},
	{"+2\r\n", 400},
	{"-2\r\n", 400},
	{"0x2\r\n{}\r\n" LAST, 400},
	{"2g\r\n{}\r\n" LAST, 400},
	{"2 2\r\n{}\r\n" LAST, 400},
	{"1234567890abcde\r\n", -EAGAIN},
	{"1234567890abcdef\r\n", 413},
	{"0000000000000002\r\n", 413},

	{"2 \r\n{}\r\n" LAST, 400},
	{"2\t\r\n{}\r\n" LAST, 400},
	{"2 ;a\r\n{}\r\n" LAST, 400},
	{"2_\r\n{}\r\n" LAST, 400},
	{"2,\r\n{}\r\n" LAST, 400},
	{TWO "0 \r\n\r\n", 400},
	{TWO "\r\n", 400},

	/* extensions */
	{"2;\r\n{}\r\n" LAST, 400},
	{"2;;a\r\n{}\r\n" LAST, 400},
	{"2;a;\r\n{}\r\n" LAST, 400},
	{"2; a\r\n{}\r\n" LAST, 400},
	{"2;\ta\r\n{}\r\n" LAST, 400},
	{"2;a \r\n{}\r\n" LAST, 400},
	{"2;a b\r\n{}\r\n" LAST, 400},
	{"2;a =b\r\n{}\r\n" LAST, 400},
	{"2;a= b\r\n{}\r\n" LAST, 400},
	{"2;a=b \r\n{}\r\n" LAST, 400},
	{"2;a=\r\n{}\r\n" LAST, 400},
	{"2;=b\r\n{}\r\n" LAST, 400},
	{"2;a=b=c\r\n{}\r\n" LAST, 400},
	{"2;a=b\"c\"\r\n{}\r\n" LAST, 400},
	{"2;a,b\r\n{}\r\n" LAST, 400},
	{"2;a(\r\n{}\r\n" LAST, 400},
	{"2;\xc3\xa9\r\n{}\r\n" LAST, 400},
	{"2;a=\xc3\xa9\r\n{}\r\n" LAST, 400},
	{"2;a=\"\r\n{}\r\n" LAST, 400},
	{"2;a=\"b\r\n{}\r\n" LAST, 400},
	{"2;a=\"b\\\"\r\n{}\r\n" LAST, 400},
	{"2;a=\"b\\\r\n\"\r\n{}\r\n" LAST, 400},
	{"2;a=\"b\"c\r\n{}\r\n" LAST, 400},
	{"2;a=\"b\" \r\n{}\r\n" LAST, 400},
	{"2;a=\"b\"\"c\"\r\n{}\r\n" LAST, 400},
	{"2;a=\"\x7f\"\r\n{}\r\n" LAST, 400},
	{"2;a=\"\x01\"\r\n{}\r\n" LAST, 400},
	{TWO "0;\r\n\r\n", 400},

	/* line ends */
	{"2\n{}\r\n" LAST, 400},
	{"2;a\n{}\r\n" LAST, 400},
	{"2;\r\r\n{}\r\n" LAST, 400},
	{"2\r{}\r\n" LAST, 400},
	{"2\r\n{}\n" LAST, 400},
	{"2\r\n{}\r\r\n" LAST, 400},
	{"2\r\n{}" LAST, 400},
	{"2\r\n{} \r\n" LAST, 400},
	{TWO "0\n\n", 400},
	{TWO "0\r\n\n", 400},
	{TWO "0\r\n\rA: b\r\n\r\n", 400},
	{TWO "0\r\nA: b\n\r\n", 400},
	{TWO "0\r\nA: b\r\r\n\r\n", 400},

	/* what stands in them */
	{"2;a\x01\r\n{}\r\n" LAST, 400},
	{"2;a\x7f\r\n{}\r\n" LAST, 400},
	{TWO "0\r\nA: \x01\r\n\r\n", 400},
	{TWO "0\r\nA: \x7f\r\n\r\n", 400},
	{TWO "0\r\nA\r\n\r\n", 400},
	{TWO "0\r\nA: b\r\nC\r\n\r\n", 400},
	{TWO "0\r\nA : b\r\n\r\n", 400},
	{TWO "0\r\nA\t: b\r\n\r\n", 400},
	{TWO "0\r\nA B: c\r\n\r\n", 400},
	{TWO "0\r\n: b\r\n\r\n", 400},
	{TWO "0\r\nA(: b\r\n\r\n", 400},
	{TWO "0\r\n\xc3\xa9: b\r\n\r\n", 400},
	{TWO "0\r\nGET / HTTP/1.1\r\n\r\n", 400},
	{TWO "0\r\nContent-Length: 5\r\n\r\n", 400},
	{TWO "0\r\nA: b\r\ntransfer-ENCODING: chunked\r\n\r\n", 400},
	{TWO "0\r\n A: b\r\n\r\n", 400},
	{TWO "0\r\nA: b\r\n c\r\n\r\n", 400},
};

/* A copy of the bytes, so that reading beyond them is seen. */
static int read_piece(struct chunks *c, const char *text, size_t len)
{
	char *copy = mem_strndup(text, len);
	char *exact = mem_alloc(len + !len);
	memcpy(exact, copy, len);
	int r = chunks_read(c, exact, len);
	free(copy);
	free(exact);
	return r;
}

START_TEST(reads_whole_and_not_beyond)
{
	struct chunks c;
	const char *text = bodies[_i].text;
	chunks_init(&c);
	int r = read_piece(&c, text, strlen(text));
	ck_assert_msg(r == bodies[_i].result, "%s: %d instead of %d", text, r, bodies[_i].result);
	ck_assert(r <= 0 || c.why != REASON_NONE);
	if (r == 0) /* the next request is not looked at */
		ck_assert_int_eq(read_piece(&c, "\n\nGET", 5), 0);
}
END_TEST

START_TEST(reads_byte_by_byte)
{
	struct chunks c;
	const char *text = bodies[_i].text;
	size_t len = strlen(text);
	int r = -EAGAIN;
	chunks_init(&c);
	for (size_t i = 0; i < len && r == -EAGAIN; i++) {
		r = read_piece(&c, text + i, 1);
		ck_assert_msg(r != 0 || i + 1 == len, "%s: right after %zu bytes", text, i + 1);
	}
	ck_assert_msg(r == bodies[_i].result, "%s: %d instead of %d", text, r, bodies[_i].result);
}
END_TEST

START_TEST(reads_in_two_pieces)
{
	const char *text = bodies[_i].text;
	size_t len = strlen(text);
	for (size_t cut = 0; cut <= len; cut++) {
		struct chunks c;
		chunks_init(&c);
		int r = read_piece(&c, text, cut);
		if (r == -EAGAIN)
			r = read_piece(&c, text + cut, len - cut);
		ck_assert_msg(r == bodies[_i].result, "%s, cut at %zu: %d", text, cut, r);
	}
}
END_TEST

/* What follows `begin`, again and again, until it is refused; returns after how many bytes, and with what. */
static size_t endless(const char *begin, const char *more, int *status)
{
	struct chunks c;
	size_t len = 0;
	chunks_init(&c);
	*status = read_piece(&c, begin, strlen(begin));
	while (*status == -EAGAIN && len < 1000000) {
		*status = read_piece(&c, more, strlen(more));
		len += strlen(more);
	}
	return len;
}

START_TEST(bounds_what_does_not_end)
{
	int status;
	ck_assert_uint_eq(endless("2;", "a", &status), CHUNKS_MAX_LINE_BYTES - 1);
	ck_assert_int_eq(status, 400);
	ck_assert_uint_eq(endless("2;a=\"", " ", &status), CHUNKS_MAX_LINE_BYTES - 4);
	ck_assert_int_eq(status, 400);
	ck_assert_uint_eq(endless("0\r\n", "a", &status), CHUNKS_MAX_TRAILER_BYTES + 1);
	ck_assert_int_eq(status, 431);
	ck_assert_uint_eq(endless("0\r\n", "a:\r\n", &status), CHUNKS_MAX_TRAILER_BYTES + 4);
	ck_assert_int_eq(status, 431);
	/* A body may have any number of chunks. */
	ck_assert_uint_ge(endless("", TWO, &status), 1000000);
	ck_assert_int_eq(status, -EAGAIN);
}
END_TEST

int main(void)
{
	const int count = (int)ARRAY_SIZE(bodies);
	Suite *s = suite_create("chunks");
	TCase *c = tcase_create("chunks");
	tcase_add_loop_test(c, reads_whole_and_not_beyond, 0, count);
	tcase_add_loop_test(c, reads_byte_by_byte, 0, count);
	tcase_add_loop_test(c, reads_in_two_pieces, 0, count);
	tcase_add_test(c, bounds_what_does_not_end);
	suite_add_tcase(s, c);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

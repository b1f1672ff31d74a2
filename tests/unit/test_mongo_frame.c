/* What libmongoc is shown of a server's words: whole answers to what was asked, and nothing else. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/mongo/frame.h"

/* Number 7 asks; 16 bytes of header and a body of 9. */
static const uint8_t request[] = {25, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0xdd, 7, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

/* The document is {"a": null}. */
static const uint8_t message[] = {29, 0, 0, 0, 1, 0, 0, 0, 7, 0,  0,   0, 0xdd, 7, 0, 0, /* header */
				  0,  0, 0, 0, 0, 8, 0, 0, 0, 10, 'a', 0, 0};
static const uint8_t reply[] = {44, 0, 0, 0, 1,  0,   0, 0, 7, 0, 0, 0, 1, 0, 0, 0,             /* header */
				8,  0, 0, 0, 0,  0,   0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, /* one document */
				8,  0, 0, 0, 10, 'a', 0, 0};

/* Ask in pieces of `piece` bytes. */
static struct frames asked(size_t piece)
{
	struct frames f = {0};
	for (size_t at = 0; at < sizeof(request); at += piece)
		frames_sent(&f, request + at, at + piece < sizeof(request) ? piece : sizeof(request) - at);
	return f;
}

static int receive(struct frames *f, const uint8_t *data, size_t len, size_t piece)
{
	for (size_t at = 0; at < len; at += piece) {
		int r = frames_received(f, data + at, at + piece < len ? piece : len - at);
		if (r < 0)
			return r;
	}
	return 0;
}

START_TEST(answers_pass)
{
	for (size_t piece = 1; piece <= sizeof(reply); piece++) {
		struct frames f = asked(piece);
		for (int i = 0; i < 3; i++) {
			ck_assert_int_eq(receive(&f, message, sizeof(message), piece), 0);
			ck_assert_uint_eq(f.received.at, 0);
			ck_assert_int_eq(receive(&f, reply, sizeof(reply), piece), 0);
			ck_assert_uint_eq(f.received.at, 0);
		}
	}
}
END_TEST

/* Of each answer the bytes that may be anything: its own number, OP_MSG's optional flags, what OP_REPLY says of
 * cursors, and what is in the document. */
static bool may_be_anything(bool legacy, size_t at)
{
	if (at >= 4 && at < 8)
		return true;
	if (legacy)
		return (at >= 16 && at < 32) || (at >= 40 && at < sizeof(reply) - 1);
	return at == 18 || at == 19 || (at >= 25 && at < sizeof(message) - 1);
}

static void change_each_byte(const uint8_t *answer, size_t len, bool legacy)
{
	for (size_t at = 0; at < len; at++) {
		for (unsigned by = 1; by < 256; by++) {
			uint8_t *copy = malloc(len); /* of the exact size: a read beyond it is seen */
			memcpy(copy, answer, len);
			copy[at] = (uint8_t)(copy[at] ^ by);
			struct frames f = asked(sizeof(request));
			int r = receive(&f, copy, len, by % len + 1);
			ck_assert_msg((r == 0) == may_be_anything(legacy, at), "byte %zu ^ %u: %d", at, by, r);
			free(copy);
		}
	}
}

START_TEST(nothing_else_passes)
{
	change_each_byte(message, sizeof(message), false);
	change_each_byte(reply, sizeof(reply), true);
}
END_TEST

START_TEST(answers_to_other_requests_do_not_pass)
{
	uint8_t next[sizeof(request)];
	struct frames f = asked(sizeof(request));

	memcpy(next, request, sizeof(next));
	next[4] = 8;
	frames_sent(&f, next, sizeof(next));
	ck_assert_int_eq(receive(&f, message, sizeof(message), 1), -EPROTO);
	f = (struct frames){0};
	ck_assert_int_eq(receive(&f, message, sizeof(message), sizeof(message)), -EPROTO);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mongo frame");
	TCase *t = tcase_create("frames");
	tcase_add_test(t, answers_pass);
	tcase_add_test(t, nothing_else_passes);
	tcase_add_test(t, answers_to_other_requests_do_not_pass);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

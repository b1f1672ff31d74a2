/* What libmongoc is shown of a server's words: whole answers to what was asked, and nothing else. */
#include <bson/bson.h>
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/mongo/wire/frame.h"

/* Number 7 asks; 16 bytes of header and a body of 9. */
static const uint8_t request[] = {25, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0xdd, 7, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

/* The document is {"a": null}. */
static const uint8_t message[] = {29, 0, 0, 0, 1, 0, 0, 0, 7, 0,  0,   0, 0xdd, 7, 0, 0, /* header */
				  0,  0, 0, 0, 0, 8, 0, 0, 0, 10, 'a', 0, 0};
static const uint8_t reply[] = {44, 0, 0, 0, 1,  0,   0, 0, 7, 0, 0, 0, 1, 0, 0, 0,             /* header */
				8,  0, 0, 0, 0,  0,   0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, /* one document */
				8,  0, 0, 0, 10, 'a', 0, 0};

/* Ask in pieces of `piece` bytes. */
static struct mongo_frames asked(size_t piece)
{
	struct mongo_frames f = {0};
	for (size_t at = 0; at < sizeof(request); at += piece)
		mongo_frames_sent(&f, request + at, at + piece < sizeof(request) ? piece : sizeof(request) - at);
	return f;
}

static int receive(struct mongo_frames *f, const uint8_t *data, size_t len, size_t piece)
{
	for (size_t at = 0; at < len; at += piece) {
		int r = mongo_frames_received(f, data + at, at + piece < len ? piece : len - at);
		if (r < 0)
			return r;
	}
	return 0;
}

START_TEST(answers_pass)
{
	for (size_t piece = 1; piece <= sizeof(reply); piece++) {
		struct mongo_frames f = asked(piece);
		for (int i = 0; i < 3; i++) {
			ck_assert_int_eq(receive(&f, message, sizeof(message), piece), 0);
			ck_assert_uint_eq(f.received.at, 0);
			ck_assert_int_eq(receive(&f, reply, sizeof(reply), piece), 0);
			ck_assert_uint_eq(f.received.at, 0);
		}
		mongo_frames_done(&f);
	}
}
END_TEST

/* Of each answer the bytes that may be anything: its own number, OP_MSG's optional flags, what OP_REPLY says of
 * cursors. */
static bool may_be_anything(bool legacy, size_t at)
{
	return (at >= 4 && at < 8) || (legacy ? at >= 16 && at < 32 : at == 18 || at == 19);
}

/* Those in the document are libbson's to judge. */
static bool in_document(bool legacy, size_t at, size_t len)
{
	return at >= (legacy ? 40 : 25) && at < len - 1;
}

static void change_each_byte(const uint8_t *answer, size_t len, bool legacy)
{
	for (size_t at = 0; at < len; at++) {
		for (unsigned by = 1; by < 256; by++) {
			uint8_t *copy = malloc(len); /* of the exact size: a read beyond it is seen */
			memcpy(copy, answer, len);
			copy[at] = (uint8_t)(copy[at] ^ by);
			struct mongo_frames f = asked(sizeof(request));
			int r = receive(&f, copy, len, by % len + 1);
			if (!in_document(legacy, at, len))
				ck_assert_msg((r == 0) == may_be_anything(legacy, at), "byte %zu ^ %u: %d", at, by, r);
			mongo_frames_done(&f);
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
	struct mongo_frames f = asked(sizeof(request));

	memcpy(next, request, sizeof(next));
	next[4] = 8;
	mongo_frames_sent(&f, next, sizeof(next));
	ck_assert_int_eq(receive(&f, message, sizeof(message), 1), -EPROTO);
	mongo_frames_done(&f);
	f = (struct mongo_frames){0};
	ck_assert_int_eq(receive(&f, message, sizeof(message), sizeof(message)), -EPROTO);
	mongo_frames_done(&f);
}
END_TEST

/* As libmongoc reads it: the length, then the rest; and in pieces. */
static void expect(const bson_t *document, int result)
{
	size_t len = 21 + document->len;
	uint8_t *whole = malloc(len);

	memcpy(whole, message, 21);
	whole[0] = (uint8_t)len;
	whole[1] = (uint8_t)(len >> 8);
	memcpy(whole + 21, bson_get_data(document), document->len);
	struct mongo_frames f = asked(sizeof(request));
	ck_assert_int_eq(mongo_frames_received(&f, whole, 4), 0);
	ck_assert_int_eq(mongo_frames_received(&f, whole + 4, len - 4), result);
	ck_assert_uint_eq(f.pieces.cap, 0);
	mongo_frames_done(&f);
	for (size_t piece = 1; piece < len; piece++) {
		f = asked(sizeof(request));
		ck_assert_int_eq(receive(&f, whole, len, piece), result);
		mongo_frames_done(&f);
	}
	free(whole);
}

/* What libmongoc aborts on. */
START_TEST(answers_that_are_bugs_do_not_pass)
{
	static const struct {
		const char *json;
		int result;
	} cases[] = {
		{"{}", 0},
		{"{'ok': 1, 'code': 5, 'cursor': {'firstBatch': [{'code': 0}], 'code': 0}}", 0},
		{"{'ok': 0, 'code': 0}", -EPROTO},
		{"{'ok': 0, 'code': 0.5}", -EPROTO},
		{"{'ok': 0, 'code': 4294967296}", -EPROTO},
		{"{'ok': 0, 'code': '0'}", 0},
		{"{'ok': 0, 'writeConcernError': {'code': 0}}", -EPROTO},
		{"{'ok': 0, 'writeConcernError': {'a': 0, 'code': 1}}", 0},
		{"{'ok': 0, 'writeConcernError': 5}", -EPROTO},
		{"{'errorLabels': ['a', 'b'], 'hosts': [], 'tags': {'a': 'b'}}", 0},
		{"{'errorLabels': 'a'}", -EPROTO},
		{"{'compression': ['zlib', null]}", -EPROTO},
		{"{'speculativeAuthenticate': true}", -EPROTO},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char json[128];
		size_t n = strlen(cases[i].json);
		for (size_t k = 0; k <= n; k++)
			json[k] = cases[i].json[k] == '\'' ? '"' : cases[i].json[k];
		bson_t *document = bson_new_from_json((const uint8_t *)json, -1, NULL);
		ck_assert_ptr_nonnull(document);
		expect(document, cases[i].result);
		bson_destroy(document);
	}
}
END_TEST

START_TEST(inner_documents_end_where_they_say)
{
	bson_t *document = BCON_NEW("$clusterTime", "{", "a", BCON_INT32(1), "}", "hosts", "[", "b", "]");
	uint8_t *data = (uint8_t *)bson_get_data(document);

	expect(document, 0);
	data[document->len - 2] = 1; /* the end of hosts */
	expect(document, -EPROTO);
	bson_destroy(document);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mongo frame");
	TCase *t = tcase_create("frames");
	tcase_add_test(t, answers_pass);
	tcase_add_test(t, nothing_else_passes);
	tcase_add_test(t, answers_to_other_requests_do_not_pass);
	tcase_add_test(t, answers_that_are_bugs_do_not_pass);
	tcase_add_test(t, inner_documents_end_where_they_say);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

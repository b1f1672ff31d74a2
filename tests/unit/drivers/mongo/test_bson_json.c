/* BSON as JSON, plain and relaxed; documents that are damaged, deep or not UTF-8; dates. */
#include <bson/bson.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/utf8.h"
#include "drivers/mongo/bson/bson_json.h"
#include "tests/unit/async/async_fixture.h"

static void check_rendered(const bson_t *b, enum mongo_json mode, const char *expected)
{
	struct buf out = BUF_INIT;

	mongo_render_document(&out, bson_get_data(b), b->len, false, mode);
	ck_assert_str_eq(buf_cstr(&out), expected);
	buf_done(&out);
}

static void check_both(bson_t *b, const char *plain, const char *relaxed)
{
	check_rendered(b, MONGO_JSON_PLAIN, plain);
	check_rendered(b, MONGO_JSON_RELAXED, relaxed);
	bson_destroy(b);
}

/* From MongoDB's canonical extended JSON, so that each row shows all three. */
static const struct {
	const char *canonical, *plain, *relaxed;
} types[] = {
	{"{\"v\":{\"$oid\":\"56e1fc72e0c917e9c4714161\"}}", "{\"v\":\"56e1fc72e0c917e9c4714161\"}",
	 "{\"v\":{\"$oid\":\"56e1fc72e0c917e9c4714161\"}}"},
	{"{\"v\":{\"$date\":{\"$numberLong\":\"1356351330000\"}}}", "{\"v\":\"2012-12-24T12:15:30.000Z\"}",
	 "{\"v\":{\"$date\":\"2012-12-24T12:15:30Z\"}}"},
	{"{\"v\":{\"$date\":{\"$numberLong\":\"1356351330501\"}}}", "{\"v\":\"2012-12-24T12:15:30.501Z\"}",
	 "{\"v\":{\"$date\":\"2012-12-24T12:15:30.501Z\"}}"},
	{"{\"v\":{\"$date\":{\"$numberLong\":\"-284643869501\"}}}", "{\"v\":\"1960-12-24T12:15:30.499Z\"}",
	 "{\"v\":{\"$date\":{\"$numberLong\":\"-284643869501\"}}}"},
	{"{\"v\":{\"$date\":{\"$numberLong\":\"253402300800000\"}}}", "{\"v\":\"+010000-01-01T00:00:00.000Z\"}",
	 "{\"v\":{\"$date\":{\"$numberLong\":\"253402300800000\"}}}"},
	{"{\"v\":{\"$date\":{\"$numberLong\":\"-62198755200000\"}}}", "{\"v\":\"-000001-01-01T00:00:00.000Z\"}",
	 "{\"v\":{\"$date\":{\"$numberLong\":\"-62198755200000\"}}}"},
	{"{\"v\":{\"$numberInt\":\"-7\"}}", "{\"v\":-7}", "{\"v\":-7}"},
	{"{\"v\":{\"$numberLong\":\"9223372036854775807\"}}", "{\"v\":9223372036854775807}",
	 "{\"v\":9223372036854775807}"},
	{"{\"v\":{\"$numberDouble\":\"0.1\"}}", "{\"v\":0.1}", "{\"v\":0.1}"},
	{"{\"v\":{\"$numberDouble\":\"1.0\"}}", "{\"v\":1}", "{\"v\":1.0}"},
	{"{\"v\":{\"$numberDouble\":\"NaN\"}}", "{\"v\":\"NaN\"}", "{\"v\":{\"$numberDouble\":\"NaN\"}}"},
	{"{\"v\":{\"$numberDouble\":\"-Infinity\"}}", "{\"v\":\"-Infinity\"}",
	 "{\"v\":{\"$numberDouble\":\"-Infinity\"}}"},
	{"{\"v\":{\"$numberDecimal\":\"1234567890123456789012345678901.234\"}}",
	 "{\"v\":1234567890123456789012345678901.234}",
	 "{\"v\":{\"$numberDecimal\":\"1234567890123456789012345678901.234\"}}"},
	{"{\"v\":{\"$numberDecimal\":\"1E+3\"}}", "{\"v\":1E+3}", "{\"v\":{\"$numberDecimal\":\"1E+3\"}}"},
	{"{\"v\":{\"$numberDecimal\":\"NaN\"}}", "{\"v\":\"NaN\"}", "{\"v\":{\"$numberDecimal\":\"NaN\"}}"},
	{"{\"v\":{\"$numberDecimal\":\"-Infinity\"}}", "{\"v\":\"-Infinity\"}",
	 "{\"v\":{\"$numberDecimal\":\"-Infinity\"}}"},
	{"{\"v\":{\"$binary\":{\"base64\":\"aGVsbG8=\",\"subType\":\"80\"}}}", "{\"v\":\"aGVsbG8=\"}",
	 "{\"v\":{\"$binary\":{\"base64\":\"aGVsbG8=\",\"subType\":\"80\"}}}"},
	{"{\"v\":{\"$binary\":{\"base64\":\"\",\"subType\":\"00\"}}}", "{\"v\":\"\"}",
	 "{\"v\":{\"$binary\":{\"base64\":\"\",\"subType\":\"00\"}}}"},
	{"{\"v\":{\"$binary\":{\"base64\":\"c//SZESzTGmQ6OfR38A11A==\",\"subType\":\"04\"}}}",
	 "{\"v\":\"73ffd264-44b3-4c69-90e8-e7d1dfc035d4\"}",
	 "{\"v\":{\"$binary\":{\"base64\":\"c//SZESzTGmQ6OfR38A11A==\",\"subType\":\"04\"}}}"},
	{"{\"v\":{\"$regularExpression\":{\"pattern\":\"a\\\"b\",\"options\":\"im\"}}}", "{\"v\":\"/a\\\"b/im\"}",
	 "{\"v\":{\"$regularExpression\":{\"pattern\":\"a\\\"b\",\"options\":\"im\"}}}"},
	{"{\"v\":{\"$timestamp\":{\"t\":4294967295,\"i\":7}}}", "{\"v\":{\"t\":4294967295,\"i\":7}}",
	 "{\"v\":{\"$timestamp\":{\"t\":4294967295,\"i\":7}}}"},
	{"{\"v\":{\"$code\":\"f()\"}}", "{\"v\":\"f()\"}", "{\"v\":{\"$code\":\"f()\"}}"},
	{"{\"v\":{\"$code\":\"f()\",\"$scope\":{\"a\":{\"$numberInt\":\"1\"}}},\"w\":true}",
	 "{\"v\":\"f()\",\"w\":true}", "{\"v\":{\"$code\":\"f()\",\"$scope\":{\"a\":1}},\"w\":true}"},
	{"{\"v\":{\"$symbol\":\"s\"}}", "{\"v\":\"s\"}", "{\"v\":{\"$symbol\":\"s\"}}"},
	{"{\"v\":{\"$undefined\":true}}", "{\"v\":null}", "{\"v\":{\"$undefined\":true}}"},
	{"{\"v\":{\"$minKey\":1},\"w\":{\"$maxKey\":1}}", "{\"v\":\"MinKey\",\"w\":\"MaxKey\"}",
	 "{\"v\":{\"$minKey\":1},\"w\":{\"$maxKey\":1}}"},
	{"{\"v\":{\"$dbPointer\":{\"$ref\":\"b\",\"$id\":{\"$oid\":\"56e1fc72e0c917e9c4714161\"}}}}",
	 "{\"v\":\"56e1fc72e0c917e9c4714161\"}",
	 "{\"v\":{\"$dbPointer\":{\"$ref\":\"b\",\"$id\":{\"$oid\":\"56e1fc72e0c917e9c4714161\"}}}}"},
	{"{\"v\":null,\"t\":true,\"f\":false,\"\":\"\"}", "{\"v\":null,\"t\":true,\"f\":false,\"\":\"\"}",
	 "{\"v\":null,\"t\":true,\"f\":false,\"\":\"\"}"},
	{"{\"a\":[],\"b\":{},\"c\":[[],{\"d\":[{\"$numberInt\":\"1\"},{\"e\":\"x\"}]}],\"f\":{\"$numberInt\":\"2\"}}",
	 "{\"a\":[],\"b\":{},\"c\":[[],{\"d\":[1,{\"e\":\"x\"}]}],\"f\":2}",
	 "{\"a\":[],\"b\":{},\"c\":[[],{\"d\":[1,{\"e\":\"x\"}]}],\"f\":2}"},
};

START_TEST(each_type)
{
	bson_error_t error;
	bson_t *b = bson_new_from_json((const uint8_t *)types[_i].canonical, -1, &error);

	ck_assert_msg(b, "%s", error.message);
	check_both(b, types[_i].plain, types[_i].relaxed);
}
END_TEST

START_TEST(strings_become_utf8)
{
	bson_t *b = bson_new();
	static const char both[] = "a\xff"
				   "b\xc3\xa9\xe2\x82";

	bson_append_utf8(b, "k\xfe", 2, both, sizeof(both) - 1);
	bson_append_utf8(b, "n", 1, "x\0y\n", 4);
	check_rendered(b, MONGO_JSON_PLAIN,
		       "{\"k\xef\xbf\xbd\":\"a\xef\xbf\xbd"
		       "b\xc3\xa9\xef\xbf\xbd\xef\xbf\xbd\",\"n\":\"x\\u0000y\\n\"}");
	bson_destroy(b);
}
END_TEST

static bson_t *nested(int levels)
{
	bson_t *inner = bson_new();

	for (int i = 0; i < levels; i++) {
		bson_t *outer = bson_new();
		BSON_APPEND_DOCUMENT(outer, "d", inner);
		bson_destroy(inner);
		inner = outer;
	}
	return inner;
}

START_TEST(depth_is_bounded)
{
	struct buf out = BUF_INIT;
	bson_t *b = nested(5000);

	mongo_render_document(&out, bson_get_data(b), b->len, false, MONGO_JSON_PLAIN);
	ck_assert_uint_eq(out.len, BSON_DEPTH_MAX * strlen("{\"d\":}") + strlen("null"));
	bson_destroy(b);
	out.len = 0;
	b = nested(BSON_DEPTH_MAX - 1);
	mongo_render_document(&out, bson_get_data(b), b->len, false, MONGO_JSON_PLAIN);
	ck_assert_uint_eq(out.len, (BSON_DEPTH_MAX - 1) * strlen("{\"d\":}") + strlen("{}"));
	bson_destroy(b);
	buf_done(&out);
}
END_TEST

/* Whatever the bytes are: valid JSON comes out, and nothing outside of them is read (the sanitizer looks). */
static void check_damaged(const uint8_t *bytes, size_t len, enum mongo_json mode)
{
	struct buf out = BUF_INIT;
	struct arena a;
	struct json *j;
	char what[96];
	uint8_t *exact = malloc(len ? len : 1);

	memcpy(exact, bytes, len);
	arena_init(&a);
	mongo_render_document(&out, exact, len, false, mode);
	ck_assert(utf8_valid(out.data, out.len));
	ck_assert_msg(json_parse(&j, &a, out.data, out.len, 1000, what, sizeof(what)) == 0, "%s: %s", what,
		      buf_cstr(&out));
	arena_done(&a);
	buf_done(&out);
	free(exact);
}

START_TEST(damage_is_survived)
{
	bson_error_t error;
	uint64_t seed = 7;
	bson_t *b = bson_new_from_json((const uint8_t *)types[_i].canonical, -1, &error);
	size_t len = b->len;
	uint8_t *copy = malloc(len);

	for (size_t cut = 0; cut < len; cut++)
		check_damaged(bson_get_data(b), cut, MONGO_JSON_RELAXED);
	for (int round = 0; round < 2000; round++) {
		memcpy(copy, bson_get_data(b), len);
		for (uint32_t n = next_random(&seed) % 3 + 1; n > 0; n--)
			copy[next_random(&seed) % len] = (uint8_t)next_random(&seed);
		check_damaged(copy, len, round % 2 ? MONGO_JSON_PLAIN : MONGO_JSON_RELAXED);
	}
	free(copy);
	bson_destroy(b);
}
END_TEST

static const struct {
	const char *text;
	int64_t ms; /* INT64_MIN: none */
} dates[] = {
	{"1970-01-01", 0},
	{"2024-02-29", 1709164800000},
	{"2023-02-29", INT64_MIN},
	{"2000-02-29T00:00:00Z", 951782400000},
	{"1900-02-29", INT64_MIN},
	{"2024-02-29T12:34:56.789Z", 1709210096789},
	{"2024-02-29T12:34:56.7899999z", 1709210096789},
	{"2024-02-29 12:34:56+02:00", 1709202896000},
	{"2024-02-29T12:34:56-00:30", 1709211896000},
	{"2024-02-29T12:34:56", INT64_MIN},
	{"2024-02-29T12:34Z", INT64_MIN},
	{"2024-02-29T24:00:00Z", INT64_MIN},
	{"2024-02-29T12:34:56.Z", INT64_MIN},
	{"2024-02-29T12:34:56Zx", INT64_MIN},
	{"2024-13-01", INT64_MIN},
	{"2024-00-01", INT64_MIN},
	{"0000-01-01", -62167219200000},
	{"1969-12-31T23:59:59.999Z", -1},
	{"24-01-01", INT64_MIN},
	{"", INT64_MIN},
};

START_TEST(dates_are_read)
{
	int64_t ms = INT64_MIN;

	ck_assert_int_eq(mongo_date_parse(dates[_i].text, strlen(dates[_i].text), &ms), dates[_i].ms != INT64_MIN);
	if (dates[_i].ms != INT64_MIN)
		ck_assert_int_eq(ms, dates[_i].ms);
}
END_TEST

START_TEST(dates_come_back_as_they_were)
{
	struct buf out = BUF_INIT;
	uint64_t seed = 3;

	for (int i = 0; i < 20000; i++) {
		int64_t ms = (int64_t)(((uint64_t)next_random(&seed) << 31 | next_random(&seed)) % 315569520000000) -
			     62167219200000;
		int64_t back = 0;
		out.len = 0;
		mongo_date_format(&out, ms, true);
		ck_assert_msg(mongo_date_parse(out.data, out.len, &back), "%s", buf_cstr(&out));
		ck_assert_int_eq(back, ms);
	}
	out.len = 0;
	mongo_date_format(&out, INT64_MIN, true);
	mongo_date_format(&out, INT64_MAX, true);
	ck_assert_str_eq(buf_cstr(&out), "-292275055-05-16T16:47:04.192Z+292278994-08-17T07:12:55.807Z");
	buf_done(&out);
}
END_TEST

/* One element, "v", in a document whose length is right: its type and bytes. */
static const struct {
	const char *bytes;
	uint8_t type;
	uint8_t len;
	bool sound;
} elements[] = {
	{"\2\0\0\0a\0", BSON_TYPE_UTF8, 6, true},
	{"\1\0\0\0\0", BSON_TYPE_UTF8, 5, true},
	{"\3\0\0\0a\0\0", BSON_TYPE_UTF8, 7, true},
	{"\0\0\0\0\0", BSON_TYPE_UTF8, 5, false},
	{"\x7f\0\0\0a\0", BSON_TYPE_UTF8, 6, false},
	{"\3\0\0\0a\0", BSON_TYPE_UTF8, 6, false},
	{"\2\0\0\0ab", BSON_TYPE_UTF8, 6, false},
	{"\1\0\0\0\0\0", BSON_TYPE_UTF8, 6, false},
	{"\xff\xff\xff\xff\0", BSON_TYPE_UTF8, 5, false},
	{"\2\0\0\0\xff\0", BSON_TYPE_UTF8, 6, false},
	{"\2\0\0\0\xff\0", BSON_TYPE_CODE, 6, false},
	{"\2\0\0\0\xff\0", BSON_TYPE_SYMBOL, 6, false},
	{"\2\0\0\0a\0", BSON_TYPE_SYMBOL, 6, true},
	{"\0", BSON_TYPE_BOOL, 1, true},
	{"\1", BSON_TYPE_BOOL, 1, true},
	{"\2", BSON_TYPE_BOOL, 1, false},
	{"\5\0\0\0\0", BSON_TYPE_DOCUMENT, 5, true},
	{"\5\0\0\0\1", BSON_TYPE_DOCUMENT, 5, false},
	{"\6\0\0\0\0", BSON_TYPE_ARRAY, 5, false},
	{"\4\0\0\0\0", BSON_TYPE_ARRAY, 5, false},
	{"\x8\0\0\0\x8w\0\0", BSON_TYPE_DOCUMENT, 8, false},
	{"\x9\0\0\0\x8w\0\2\0", BSON_TYPE_DOCUMENT, 9, false},
	{"\x9\0\0\0\x8w\0\1\0", BSON_TYPE_DOCUMENT, 9, true},
	{"\x9\0\0\0\x8\xff\0\1\0", BSON_TYPE_DOCUMENT, 9, false},
	{"\2\0\0\0\0ab", BSON_TYPE_BINARY, 7, true},
	{"\6\0\0\0\2\2\0\0\0ab", BSON_TYPE_BINARY, 11, true},
	{"\6\0\0\0\2\3\0\0\0ab", BSON_TYPE_BINARY, 11, false},
	{"\6\0\0\0\2\1\0\0\0ab", BSON_TYPE_BINARY, 11, false},
	{"\3\0\0\0\2abc", BSON_TYPE_BINARY, 8, false},
	{"\x7f\0\0\0\0ab", BSON_TYPE_BINARY, 7, false},
	{"a\0i\0", BSON_TYPE_REGEX, 4, true},
	{"\xff\0i\0", BSON_TYPE_REGEX, 4, false},
	{"a\0\xff\0", BSON_TYPE_REGEX, 4, false},
	{"a\0b\0i\0", BSON_TYPE_REGEX, 6, false},
	{"\2\0\0\0a\0abcdefghijkl", BSON_TYPE_DBPOINTER, 18, true},
	{"\2\0\0\0\xff\0abcdefghijkl", BSON_TYPE_DBPOINTER, 18, false},
	{"\2\0\0\0a\0abcdefghijk", BSON_TYPE_DBPOINTER, 17, false},
	{"\xf\0\0\0\2\0\0\0a\0\5\0\0\0\0", BSON_TYPE_CODEWSCOPE, 15, true},
	{"\xf\0\0\0\2\0\0\0\xff\0\5\0\0\0\0", BSON_TYPE_CODEWSCOPE, 15, false},
	{"\xf\0\0\0\2\0\0\0a\0\6\0\0\0\0", BSON_TYPE_CODEWSCOPE, 15, false},
	{"\xf\0\0\0\1\0\0\0\0\0\5\0\0\0\0", BSON_TYPE_CODEWSCOPE, 15, false},
	{"\x10\0\0\0\2\0\0\0a\0\5\0\0\0\0\0", BSON_TYPE_CODEWSCOPE, 16, false},
	{"12345678", BSON_TYPE_DOUBLE, 8, true},
	{"1234567", BSON_TYPE_DOUBLE, 7, false},
	{"123456781", BSON_TYPE_INT64, 9, false},
	{"", BSON_TYPE_NULL, 0, true},
	{"", 0x14, 0, false},
	{"", 0x80, 0, false},
	{"", BSON_TYPE_MINKEY, 0, true},
};

START_TEST(soundness)
{
	uint8_t document[64] = {0};
	size_t len = 4 + 3 + elements[_i].len + 1;

	document[0] = (uint8_t)len;
	document[4] = elements[_i].type;
	document[5] = 'v';
	memcpy(document + 7, elements[_i].bytes, elements[_i].len);
	ck_assert_int_eq(mongo_bson_is_sound(document, len), elements[_i].sound);
	/* The document itself: its length, its end. */
	ck_assert(!mongo_bson_is_sound(document, len + 1));
	ck_assert(!mongo_bson_is_sound(document, len - 1));
	document[len - 1] = 1;
	ck_assert(!mongo_bson_is_sound(document, len));

	ck_assert(!mongo_bson_is_sound(document, 0));
	ck_assert(!mongo_bson_is_sound((const uint8_t *)"\4\0\0\0", 4));
}
END_TEST

/* Each level takes a length, a type, a name, and an end. */
START_TEST(soundness_of_depth)
{
	for (unsigned depth = BSON_DEPTH_MAX; depth <= BSON_DEPTH_MAX + 1; depth++) {
		size_t len = 5 + depth * 8;
		uint8_t *bytes = calloc(1, len);
		for (unsigned i = 0; i <= depth; i++) {
			uint32_t le = BSON_UINT32_TO_LE((uint32_t)(len - i * 8));
			memcpy(bytes + i * 7, &le, sizeof(le));
			if (i < depth)
				memcpy(bytes + i * 7 + 4, "\3v", 3);
		}
		ck_assert_int_eq(mongo_bson_is_sound(bytes, len), depth == BSON_DEPTH_MAX);
		free(bytes);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bson as json");
	TCase *c = async_tcase(s, "bson");

	tcase_add_loop_test(c, each_type, 0, (int)ARRAY_SIZE(types));
	tcase_add_test(c, strings_become_utf8);
	tcase_add_test(c, depth_is_bounded);
	tcase_add_loop_test(c, soundness, 0, (int)ARRAY_SIZE(elements));
	tcase_add_test(c, soundness_of_depth);
	tcase_add_loop_test(c, damage_is_survived, 0, (int)ARRAY_SIZE(types));
	tcase_add_loop_test(c, dates_are_read, 0, (int)ARRAY_SIZE(dates));
	tcase_add_test(c, dates_come_back_as_they_were);
	return run_suite(s);
}

/* JSON: what is and what is not, where it stops, what comes back; every truncation and many mutations of a sample. */
#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/decimal.h"
#include "base/json.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/value.h"

static struct arena arena;
static struct buf out;
static char what[128];

static void setup(void)
{
	arena_init(&arena);
	out = BUF_INIT;
}

static void teardown(void)
{
	arena_done(&arena);
	buf_done(&out);
}

/* The text stands in memory of exactly its size, so that the sanitizer sees every byte that is read beyond it. */
static int parse_exact(const char *text, size_t len, struct json **j)
{
	char *copy = mem_alloc(len ? len : 1);

	memcpy(copy, text, len);
	int r = json_parse(j, &arena, copy, len, 32, what, sizeof(what));
	free(copy);
	return r;
}

#define TEXT(s) s, sizeof(s) - 1
struct text {
	const char *text;
	size_t len;
};

static const struct text valid[] = {
	{TEXT("null")},
	{TEXT(" true ")},
	{TEXT("\t\r\n false\n")},
	{TEXT("0")},
	{TEXT("-0")},
	{TEXT("-0.0e-0")},
	{TEXT("123456789012345678901234567890.5E+999999999999")},
	{TEXT("1e1")},
	{TEXT("1E01")},
	{TEXT("20e1")},
	{TEXT("\"\"")},
	{TEXT("\"a\"")},
	{TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"")},
	{TEXT("\"\\u0000\"")},
	{TEXT("\"\\uD834\\uDd1e\"")},
	{TEXT("\"\\uFFFF\\uDBFF\\uDFFF\"")},
	{TEXT("\"\x7F\"")},
	{TEXT("\"\xE2\x82\xAC\xF0\x9D\x84\x9E\"")},
	{TEXT("\"\xEF\xBB\xBF\"")},
	{TEXT("\"\\\\a\"")},
	{TEXT("\"\\\\\"")},
	{TEXT("[]")},
	{TEXT("[ ]")},
	{TEXT("{}")},
	{TEXT("{ \n}")},
	{TEXT("[[],{}]")},
	{TEXT("[1,null,true,\"x\",[2],{\"a\":3}]")},
	{TEXT("{\"\":0}")},
	{TEXT("{\"a\":1,\"a\":2}")},
	{TEXT("{\"a\\u0062\" : { \"c\" : [ ] } }")},
	{TEXT("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]")}, /* 32 */
};

static const struct text invalid[] = {
	{TEXT("")},
	{TEXT(" ")},
	{TEXT("\0")},
	{TEXT("nul")},
	{TEXT("nulll")},
	{TEXT("True")},
	{TEXT("NaN")},
	{TEXT("Infinity")},
	{TEXT("-")},
	{TEXT("-a")},
	{TEXT("+1")},
	{TEXT("01")},
	{TEXT("-01")},
	{TEXT("1.")},
	{TEXT(".5")},
	{TEXT("-.5")},
	{TEXT("1.e1")},
	{TEXT("1e")},
	{TEXT("1e+")},
	{TEXT("1e1.5")},
	{TEXT("0x1")},
	{TEXT("1_000")},
	{TEXT("1 2")},
	{TEXT("\xEF\xBC\x91")}, /* a full-width 1 */
	{TEXT("\xEF\xBB\xBF{}")},
	{TEXT("\"")},
	{TEXT("\"a")},
	{TEXT("\"\\\"")},
	{TEXT("\"\\")},
	{TEXT("\"\\a\"")},
	{TEXT("\"\\x00\"")},
	{TEXT("\"\\u\"")},
	{TEXT("\"\\u12\"")},
	{TEXT("\"\\u123\"")},
	{TEXT("\"\\u123g\"")},
	{TEXT("\"\\U1234\"")},
	{TEXT("\"\\uD800\"")},
	{TEXT("\"\\uDC00\"")},
	{TEXT("\"\\uD800\\u0041\"")},
	{TEXT("\"\\uD800\\n\"")},
	{TEXT("\"\\uD800\\uD800\"")},
	{TEXT("\"\\uDC00\\uD800\"")},
	{TEXT("\"\\uD8\\u00\"")},
	{TEXT("\"\n\"")},
	{TEXT("\"\0\"")},
	{TEXT("\"\x1F\"")},
	{TEXT("\"\\\n\"")},
	{TEXT("\"\\n\t\"")},
	{TEXT("\"\xFF\"")},
	{TEXT("\"\xED\xA0\x80\"")},
	{TEXT("\"\xC0\xAF\"")},
	{TEXT("\"\xE2\x82\"")},
	{TEXT("'a'")},
	{TEXT("[")},
	{TEXT("]")},
	{TEXT("[1")},
	{TEXT("[1,")},
	{TEXT("[1,]")},
	{TEXT("[,1]")},
	{TEXT("[1,,2]")},
	{TEXT("[1 2]")},
	{TEXT("[1}")},
	{TEXT("[\"a\":1]")},
	{TEXT("[]]")},
	{TEXT("{")},
	{TEXT("}")},
	{TEXT("{]")},
	{TEXT("{1:2}")},
	{TEXT("{a:1}")},
	{TEXT("{\"a\"}")},
	{TEXT("{\"a\":}")},
	{TEXT("{\"a\":1,}")},
	{TEXT("{\"a\" 1}")},
	{TEXT("{\"a\":1 \"b\":2}")},
	{TEXT("{\"a\":1:2}")},
	{TEXT("{,}")},
	{TEXT("{\"a\":1}}")},
	{TEXT("{\"a\":1}#")},
	{TEXT("/**/1")},
	{TEXT("[1]//")},
	{TEXT("\f1")},
	{TEXT("\xC2\xA0"
	      "1")}, /* a no-break space */
};

START_TEST(accepts)
{
	struct json *j;

	ck_assert_msg(parse_exact(valid[_i].text, valid[_i].len, &j) == 0, "%s: %s", valid[_i].text, what);
	ck_assert_ptr_nonnull(j);
	ck_assert_ptr_null(j->next);
}
END_TEST

START_TEST(refuses)
{
	struct json *j;

	what[0] = '\0';
	ck_assert_msg(parse_exact(invalid[_i].text, invalid[_i].len, &j) == -EBADMSG, "%s", invalid[_i].text);
	ck_assert_ptr_null(j);
	ck_assert_ptr_nonnull(strstr(what, " (at byte "));
}
END_TEST

START_TEST(says_where)
{
	struct json *j;

	ck_assert_int_eq(parse_exact(TEXT("{\"a\": [1, 2,, 3]}"), &j), -EBADMSG);
	ck_assert_str_eq(what, "a value was expected (at byte 12)");
	ck_assert_int_eq(parse_exact(TEXT("{\"a\": \"\xFF\"}"), &j), -EBADMSG);
	ck_assert_str_eq(what, "bad UTF-8 (at byte 7)");
}
END_TEST

/* 100,000 levels are refused without touching the stack, and quickly; so are levels of objects. */
START_TEST(too_deep)
{
	enum { LEVELS = 100000 };
	char *text = mem_alloc(LEVELS * 5);
	struct json *j;

	memset(text, '[', LEVELS);
	ck_assert_int_eq(parse_exact(text, LEVELS, &j), -E2BIG);
	ck_assert_str_eq(what, "nested too deep (at byte 32)");
	memset(text + LEVELS, ']', LEVELS);
	ck_assert_int_eq(parse_exact(text, LEVELS * 2, &j), -E2BIG);
	for (int i = 0; i < LEVELS; i++)
		memcpy(text + i * 5, "{\"a\":", 5);
	ck_assert_int_eq(parse_exact(text, LEVELS * 5, &j), -E2BIG);

	/* Allowed by its caller, it is read, and the arena alone holds it. */
	memset(text, '[', LEVELS);
	memset(text + LEVELS, ']', LEVELS);
	ck_assert_int_eq(json_parse(&j, &arena, text, LEVELS * 2, LEVELS, what, sizeof(what)), 0);
	ck_assert_uint_eq(j->raw_len, LEVELS * 2);
	free(text);
}
END_TEST

static const struct json *member(const struct json *j, const char *name)
{
	return json_member(j, name, strlen(name));
}

START_TEST(tree)
{
	static const char text[] =
		" {\"a\" : [1, \"t\\u00e9\\n\", {}, -2.50e1],\"b\":{\"x\":null},\"a\\u0062\":true,\"n\":7,"
		"\"n\":8 } ";
	struct json *j;

	ck_assert_int_eq(json_parse(&j, &arena, text, sizeof(text) - 1, 3, what, sizeof(what)), 0);
	ck_assert_int_eq(j->kind, JSON_OBJECT);
	ck_assert_uint_eq(j->count, 5);
	ck_assert_ptr_eq(j->raw, text + 1);
	ck_assert_uint_eq(j->raw_len, sizeof(text) - 3);

	const struct json *a = member(j, "a");
	ck_assert_int_eq(a->kind, JSON_ARRAY);
	ck_assert_uint_eq(a->count, 4);
	ck_assert_mem_eq(a->raw, "[1, \"t\\u00e9\\n\", {}, -2.50e1]", a->raw_len);
	const struct json *e = a->child;
	ck_assert(e->kind == JSON_NUMBER && e->len == 1 && e->text[0] == '1');
	e = e->next;
	ck_assert(e->kind == JSON_STRING && e->len == 4 && memcmp(e->text, "t\xC3\xA9\n", 4) == 0);
	e = e->next;
	ck_assert(e->kind == JSON_OBJECT && e->count == 0 && !e->child && e->raw_len == 2);
	e = e->next;
	ck_assert(e->kind == JSON_NUMBER && e->len == 7 && memcmp(e->text, "-2.50e1", 7) == 0);
	ck_assert_ptr_null(e->next);

	ck_assert_int_eq(member(member(j, "b"), "x")->kind, JSON_NULL);
	ck_assert(member(j, "ab")->kind == JSON_BOOL && member(j, "ab")->boolean);
	ck_assert_int_eq(member(j, "n")->text[0], '8'); /* the last one wins */
	ck_assert_ptr_null(member(j, "x"));
	ck_assert_ptr_null(member(a, "x"));
}
END_TEST

static const char sample[] =
	"{\"id\":1,\"name\":\"J\\u00fcrgen \\\"x\\\" \\uD834\\uDD1E\",\"tags\":[\"a\",\"b\",[],{}],\"ok\":true,"
	"\"no\":false,\"nil\":null,\"n\":-12.5e+3,\"o\":{\"p\":{\"q\":[[1,2],[3]]}},\"\xC3\xBC\":\"\xE2\x82\xAC\"}";

START_TEST(truncated)
{
	struct json *j;

	for (size_t n = 0; n < sizeof(sample) - 1; n++)
		ck_assert_int_eq(parse_exact(sample, n, &j), -EBADMSG);
	ck_assert_int_eq(parse_exact(sample, sizeof(sample) - 1, &j), 0);
}
END_TEST

static uint64_t random_state = 42;
static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33) % n;
}

/* Whatever is done to the sample: it is read or refused, and what is read renders as JSON again. */
START_TEST(mutated)
{
	static const char pieces[] = "{}[]\",:\\u0dD8-+.eE19 \t\n\0\x1F\x80\xC3\xED\xF4tfn";
	size_t accepted = 0;

	for (int round = 0; round < 30000; round++) {
		char text[sizeof(sample)];
		struct json *j;
		size_t len = sizeof(sample) - 1 - random_below(3) * random_below(20);

		memcpy(text, sample, sizeof(sample));
		for (uint32_t i = random_below(4); i > 0; i--) {
			uint32_t at = random_below((uint32_t)len);

			if (random_below(2))
				text[at] = pieces[random_below(sizeof(pieces) - 1)];
			else
				memmove(text + at, text + at / 2, len - at);
		}
		arena_reset(&arena);
		if (json_parse(&j, &arena, text, len, 8, what, sizeof(what)) < 0)
			continue;
		accepted++;
		out.len = 0;
		json_compact(&out, j->raw, j->raw_len);
		ck_assert_int_eq(parse_exact(out.data, out.len, &j), 0);
	}
	ck_assert_uint_gt(accepted, 500);
}
END_TEST

START_TEST(compact)
{
	static const char text[] = " { \"a b\" : [ 1 ,\n\t2 ] , \"c\\\" \\\\\" : \" \\\" { } \" , \"\" : { } }\r\n";

	json_compact(&out, text, sizeof(text) - 1);
	ck_assert_str_eq(buf_cstr(&out), "{\"a b\":[1,2],\"c\\\" \\\\\":\" \\\" { } \",\"\":{}}");
}
END_TEST

static const char *string_of(const char *s, size_t len)
{
	out.len = 0;
	json_string(&out, s, len);
	return buf_cstr(&out);
}

START_TEST(strings_out)
{
	ck_assert_str_eq(string_of(TEXT("")), "\"\"");
	ck_assert_str_eq(string_of(TEXT("plain")), "\"plain\"");
	ck_assert_str_eq(string_of(TEXT("\b\f\n\r\t\"\\/")), "\"\\b\\f\\n\\r\\t\\\"\\\\/\"");
	ck_assert_str_eq(string_of(TEXT("\0\x01\x1F\x7F\xC3\xBC")), "\"\\u0000\\u0001\\u001f\x7F\xC3\xBC\"");
	json_escape(&out, "a\"", 2);
	ck_assert_str_eq(buf_cstr(&out), "\"\\u0000\\u0001\\u001f\x7F\xC3\xBC\"a\\\"");
}
END_TEST

/* One special character at every place of texts of every length up to some words, read back. */
START_TEST(strings_round_trip)
{
	static const char special[] = "\"\\\n\x01\x1F\x20\x21#[]\x7F";

	for (size_t len = 1; len < 40; len++)
		for (size_t at = 0; at < len; at++)
			for (size_t k = 0; k < sizeof(special); k++) {
				char text[40];
				struct json *j;

				memset(text, 'x', len);
				text[at] = special[k];
				arena_reset(&arena);
				string_of(text, len);
				ck_assert_int_eq(json_parse(&j, &arena, out.data, out.len, 1, what, sizeof(what)), 0);
				ck_assert_uint_eq(j->len, len);
				ck_assert_mem_eq(j->text, text, len);
			}
}
END_TEST

static const char *double_of(double d)
{
	out.len = 0;
	json_double(&out, d);
	return buf_cstr(&out);
}

START_TEST(doubles)
{
	static const struct {
		double d;
		const char *text;
	} table[] = {
		{0, "0"},
		{-0.0, "-0"},
		{1, "1"},
		{-1.5, "-1.5"},
		{0.1, "0.1"},
		{-0.05, "-0.05"},
		{0.3, "0.3"},
		{0.1 + 0.2, "0.30000000000000004"},
		{1.0 / 3, "0.3333333333333333"},
		{2.0 / 3, "0.6666666666666666"},
		{123456.789, "123456.789"},
		{0.000001, "0.000001"},
		{1e-7, "1e-07"},
		{999999999999999, "999999999999999"},
		{9007199254740991, "9007199254740991"},
		{1e20, "1e+20"},
		{1e300, "1e+300"},
		{5e-324, "5e-324"},
		{2.2250738585072014e-308, "2.2250738585072014e-308"},
		{1.7976931348623157e308, "1.7976931348623157e+308"},
		{NAN, "\"NaN\""},
		{INFINITY, "\"Infinity\""},
		{-INFINITY, "\"-Infinity\""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		ck_assert_str_eq(double_of(table[i].d), table[i].text);
}
END_TEST

START_TEST(doubles_round_trip)
{
	for (int i = 0; i < 100000; i++) {
		double d;

		if (i % 2) {
			uint64_t bits = (uint64_t)random_below(1u << 31) << 33 ^
					(uint64_t)random_below(1u << 31) << 11 ^ random_below(1u << 31);
			memcpy(&d, &bits, sizeof(d));
		} else {
			d = (double)((int64_t)random_below(1u << 31) - (1 << 30)) / (double)(1 + random_below(100000));
		}
		if (!isfinite(d))
			continue;
		const char *text = double_of(d);
		ck_assert(json_is_number(text, out.len));
		double back = strtod(text, NULL);
		ck_assert_msg(memcmp(&d, &back, sizeof(d)) == 0, "%a: %s", d, text);
	}
}
END_TEST

START_TEST(base64)
{
	static const char *const table[][2] = {
		{"", "\"\""},
		{"f", "\"Zg==\""},
		{"fo", "\"Zm8=\""},
		{"foo", "\"Zm9v\""},
		{"foob", "\"Zm9vYg==\""},
		{"fooba", "\"Zm9vYmE=\""},
		{"foobar", "\"Zm9vYmFy\""},
		{"\xFB\xFF\xFE", "\"+//+\""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		out.len = 0;
		json_base64(&out, table[i][0], strlen(table[i][0]));
		ck_assert_str_eq(buf_cstr(&out), table[i][1]);
	}
}
END_TEST

START_TEST(decimals)
{
	/* Each less than the next, whatever its exponent. */
	static const char *const ascending[][3] = {
		{"-1e999999999999999999999", "-1e999999999999999999999", "-1E+999999999999999999999"},
		{"-10000000000000000000", "-1e19", "-10000000000000000000.0"},
		{"-9223372036854775809", "-9223372036854775809.000", "-92233720368547758.09e2"},
		{"-9223372036854775808", "-9223372036854775808.0", "-9.223372036854775808e18"},
		{"-1.5", "-1.50", "-15e-1"},
		{"-1", "-1.0", "-10e-1"},
		{"-0.05", "-5e-2", "-0.0500"},
		{"0", "-0", "0.00e99"},
		{"1e-999999999999999999999", "1e-999999999999999999999", "1E-999999999999999999999"},
		{"0.0000001", "1e-7", "10e-8"},
		{"0.1", "1e-1", "0.10"},
		{"0.10000000000000000000000000000000000001", "0.10000000000000000000000000000000000001",
		 "10000000000000000000000000000000000001e-38"},
		{"1", "1.0", "100e-2"},
		{"9.99", "9.990", "999e-2"},
		{"10", "1e1", "10.000"},
		{"100", "1e2", "1000e-1"},
		{"9223372036854775807", "9223372036854775807.0", "9.223372036854775807e18"},
		{"9223372036854775808", "9223372036854775808.0", "9.223372036854775808e18"},
		{"1e400", "10e399", "0.1e401"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ascending); i++)
		for (size_t k = 0; k < ARRAY_SIZE(ascending); k++)
			for (size_t v = 0; v < 9; v++) {
				const char *a = ascending[i][v % 3], *b = ascending[k][v / 3];
				int c = decimal_compare(a, strlen(a), b, strlen(b));

				ck_assert_msg(i < k ? c < 0 : i > k ? c > 0 : c == 0, "%s %s: %d", a, b, c);
			}
}
END_TEST

START_TEST(integers)
{
	static const struct {
		const char *text;
		bool integer, fits;
		int64_t n;
	} table[] = {
		{"0", true, true, 0},
		{"-0", true, true, 0},
		{"0.0e5", true, true, 0},
		{"1", true, true, 1},
		{"1.0", true, true, 1},
		{"-12.5", false, false, 0},
		{"-12.5e1", true, true, -125},
		{"1e3", true, true, 1000},
		{"1000e-3", true, true, 1},
		{"1e-1", false, false, 0},
		{"0.05", false, false, 0},
		{"9223372036854775807", true, true, INT64_MAX},
		{"9223372036854775808", true, false, 0},
		{"-9223372036854775808", true, true, INT64_MIN},
		{"-9223372036854775809", true, false, 0},
		{"18446744073709551616", true, false, 0},
		{"1e18", true, true, 1000000000000000000},
		{"1e19", true, false, 0},
		{"1e999999999999999999", true, false, 0},
		{"1e-999999999999999999", false, false, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		int64_t n = 0;
		size_t len = strlen(table[i].text);

		ck_assert_msg(decimal_is_integer(table[i].text, len) == table[i].integer, "%s", table[i].text);
		ck_assert_msg(decimal_to_int64(table[i].text, len, &n) == table[i].fits, "%s", table[i].text);
		ck_assert_int_eq(n, table[i].n);
	}
}
END_TEST

/* What sources say and requests may not: halves of surrogate pairs, any bytes, any depth. */
START_TEST(lenient)
{
	static char deep[20001];
	struct json *j;

	static const char cut[] = "[\"\\ud800\", \"a\\udfffb\", \"\\ud83d\\ude00\", \"\\ud83d\\u0041\"]";
	ck_assert_int_eq(json_parse(&j, &arena, cut, strlen(cut), 4, what, sizeof(what)), -EBADMSG);
	ck_assert_int_eq(json_read(&j, &arena, cut, strlen(cut), 4, JSON_CUT_SURROGATES, what, sizeof(what)), 0);
	static const struct {
		const char *text, *raw;
		bool cut;
	} items[] = {
		{"\xEF\xBF\xBD", "\"\\ud800\"", true},
		{"a\xEF\xBF\xBD"
		 "b",
		 "\"a\\udfffb\"", true},
		{"\xF0\x9F\x98\x80", "\"\\ud83d\\ude00\"", false},
		{"\xEF\xBF\xBD"
		 "A",
		 "\"\\ud83d\\u0041\"", true},
	};
	const struct json *item = j->child;
	for (size_t i = 0; i < ARRAY_SIZE(items); i++, item = item->next) {
		struct value v = value_from_json(item);
		struct buf text = BUF_INIT, rendered = BUF_INIT;
		ck_assert(item->cut == items[i].cut);
		value_text(&v, &text);
		ck_assert_str_eq(buf_cstr(&text), items[i].text);
		ck_assert(value_looks(&v) == VALUE_STRING && !value_falsy(&v));
		struct value copy = value_copy(&v, &arena);
		value_render(&copy, &rendered);
		if (item->cut)
			ck_assert_str_eq(buf_cstr(&rendered), items[i].raw);
		buf_done(&text);
		buf_done(&rendered);
	}
	ck_assert_int_eq(json_read(&j, &arena, "\"\\udx00\"", 8, 4, JSON_CUT_SURROGATES, what, sizeof(what)), -EBADMSG);

	ck_assert_int_eq(json_read(&j, &arena, "\"\xff\"", 3, 4, JSON_STRICT, what, sizeof(what)), -EBADMSG);
	ck_assert_int_eq(json_read(&j, &arena, "\"\xff\"", 3, 4, JSON_ANY_BYTES, what, sizeof(what)), 0);

	memset(deep, '[', 10000);
	memset(deep + 10000, ']', 10000);
	ck_assert_int_eq(json_read(&j, &arena, deep, 20000, 4, JSON_STRICT, what, sizeof(what)), -E2BIG);
	ck_assert_int_eq(json_read(&j, &arena, deep, 20000, 4, JSON_ANY_DEPTH, what, sizeof(what)), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("json");
	TCase *in = tcase_create("in"), *text = tcase_create("out");

	tcase_add_checked_fixture(in, setup, teardown);
	tcase_add_loop_test(in, accepts, 0, ARRAY_SIZE(valid));
	tcase_add_loop_test(in, refuses, 0, ARRAY_SIZE(invalid));
	tcase_add_test(in, says_where);
	tcase_add_test(in, too_deep);
	tcase_add_test(in, tree);
	tcase_add_test(in, truncated);
	tcase_add_test(in, mutated);
	tcase_add_test(in, decimals);
	tcase_add_test(in, integers);
	tcase_add_test(in, lenient);
	suite_add_tcase(s, in);

	tcase_add_checked_fixture(text, setup, teardown);
	tcase_add_test(text, compact);
	tcase_add_test(text, strings_out);
	tcase_add_test(text, strings_round_trip);
	tcase_add_test(text, doubles);
	tcase_add_test(text, doubles_round_trip);
	tcase_add_test(text, base64);
	suite_add_tcase(s, text);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}

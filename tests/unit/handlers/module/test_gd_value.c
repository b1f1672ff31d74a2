/* The values of handlers: made, put together, looked into, handed from scope to scope, and what failures become. */
#include <limits.h>
#include <math.h>
#include <string.h>

#define GATHERD_DAEMON 1
#include "base/utf8.h"
#include "drivers/json_result.h"
#include "drivers/mongo/bson/bson.h"
#include "drivers/mongo/bson/convert.h"
#include "drivers/mongo/bson/follow.h"
#include "handlers/module/internal.h"
#include "tests/unit/async/async_fixture.h"

static const struct module_env env;
static const char *volatile no_text; /* NULL, which the compiler does not know */

/* A test whose body is a handler's task, in a scope of its own. */
#define SCOPE_TEST(name)                                                                                               \
	static void name##_body(void);                                                                                 \
	LOOP_TEST(name)                                                                                                \
	{                                                                                                              \
		struct gd_scope scope;                                                                                 \
		scope_open(&scope, &env, NULL, NULL);                                                                  \
		name##_body();                                                                                         \
		scope_close(&scope);                                                                                   \
		return 0;                                                                                              \
	}                                                                                                              \
	static void name##_body(void)

#define ck_json(v, json) ck_assert_str_eq(json_or_error(v), json)
/* The failure's errno, and that its text has those words in it. */
#define ck_failed(v, errnum, words)                                                                                    \
	do {                                                                                                           \
		const gd_value *failed = (v);                                                                          \
		ck_assert_int_eq(gd_failed(failed), errnum);                                                           \
		ck_assert_msg(strstr(gd_error_text(failed), words), "%s", gd_error_text(failed));                      \
	} while (0)

static const char *json_or_error(const gd_value *v)
{
	const char *json = gd_to_json(v);
	return json ? json : gd_error_text(v);
}

static gd_value *parsed(const char *json)
{
	return gd_parse(json, strlen(json));
}

/* A call of a gather that has not ended, as call.c makes it. */
static gd_value *pending(void)
{
	gd_value *v = gd_null();
	v->state = VALUE_PENDING;
	return v;
}

/* --- making --- */

SCOPE_TEST(scalar_values)
{
	ck_json(gd_null(), "null");
	ck_json(gd_bool(true), "true");
	ck_json(gd_int(INT64_MIN), "-9223372036854775808");
	ck_json(gd_double(0.1), "0.1");
	ck_json(gd_double(3), "3");
	ck_json(gd_number("12.50"), "12.50");
	ck_json(gd_number("123456789012345678901234567890"), "123456789012345678901234567890");
	ck_json(gd_string("a\"\xc3\xa4"), "\"a\\\"\xc3\xa4\"");
	ck_json(gd_string(NULL), "null");
	ck_json(gd_string_n("a\0b", 3), "\"a\\u0000b\"");
	ck_json(gd_bytes("\0\377", 2), "\"AP8=\"");
	ck_json(gd_object_id("0123456789abcdefABCDEF01"), "\"0123456789abcdefABCDEF01\"");
	ck_json(gd_datetime(1709164800123), "\"2024-02-29T00:00:00.123Z\"");
	ck_json(gd_datetime(-1), "\"1969-12-31T23:59:59.999Z\"");
	ck_json(gd_datetime(253402300799999), "\"9999-12-31T23:59:59.999Z\"");

	ck_assert_int_eq(gd_kind_of(gd_double(3)), GD_INT);
	ck_assert_int_eq(gd_kind_of(gd_number("0.5")), GD_NUMBER);
	ck_assert_int_eq(gd_kind_of(gd_bytes("", 0)), GD_BYTES);
	ck_assert_int_eq(gd_kind_of(gd_datetime(0)), GD_STRING);
	ck_assert_int_eq(gd_kind_of(parsed("[]")), GD_LIST);
	ck_assert_int_eq(gd_kind_of(parsed("{}")), GD_DOCUMENT);
	ck_assert_int_eq(gd_kind_of(pending()), GD_PENDING);
	ck_assert_int_eq(gd_kind_of(NULL), GD_FAILED);
}

SCOPE_TEST(bad_scalars)
{
	ck_failed(gd_double(NAN), -EINVAL, "NaN");
	ck_failed(gd_double(-INFINITY), -EINVAL, "infinity");
	ck_failed(gd_number("1."), -EINVAL, "\"1.\"");
	ck_failed(gd_number(NULL), -EINVAL, "gd_number");
	ck_failed(gd_string("\xff"), -EILSEQ, "UTF-8");
	ck_failed(gd_string_n("\xc3\xa4", 1), -EILSEQ, "UTF-8");
	ck_failed(gd_bytes(NULL, 1), -EINVAL, "gd_bytes");
	ck_failed(gd_object_id("0123456789abcdef0123456"), -EINVAL, "24");
	ck_failed(gd_object_id(NULL), -EINVAL, "gd_object_id");
	ck_failed(gd_datetime(253402300800000), -ERANGE, "9999");
	ck_failed(gd_datetime(INT64_MIN), -ERANGE, "0000");
	ck_failed(parsed("{\"a\":}"), -EBADMSG, "gd_parse");
	ck_failed(gd_parse(NULL, 0), -EINVAL, "NULL");
}

SCOPE_TEST(lists_and_documents)
{
	gd_value *inner = gd_list(gd_int(1), gd_string("two"));
	gd_value *doc = gd_doc("a", inner, "b", gd_null(), "a", gd_int(7), "$or", gd_list(), "", gd_doc());

	ck_json(doc, "{\"a\":7,\"b\":null,\"$or\":[],\"\":{}}");
	ck_json(gd_list(), "[]");
	ck_json(gd_list(gd_null()), "[null]");

	/* What is put in is a copy: neither appending nor setting is seen there. */
	gd_value *before = gd_list(inner, gd_doc("x", doc));
	ck_assert_int_eq(gd_append(inner, gd_int(3)), 0);
	ck_assert_int_eq(gd_set(doc, "a", gd_bool(false)), 0);
	ck_assert_int_eq(gd_set(doc, "new", gd_bool(true)), 0);
	ck_json(before, "[[1,\"two\"],{\"x\":{\"a\":7,\"b\":null,\"$or\":[],\"\":{}}}]");
	ck_json(inner, "[1,\"two\",3]");
	ck_json(doc, "{\"a\":false,\"b\":null,\"$or\":[],\"\":{},\"new\":true}");

	/* Into itself, too. */
	ck_assert_int_eq(gd_append(inner, inner), 0);
	ck_json(inner, "[1,\"two\",3,[1,\"two\",3]]");

	/* What was handed to a driver stays as it was. */
	struct error e;
	const struct value *used = value_use(doc, "the filter", &e);
	ck_assert_int_eq(gd_set(doc, "b", gd_int(1)), 0);
	ck_assert_int_eq(used->count, 5);
	ck_assert_int_eq(used->members[1].value.kind, VALUE_NULL);
}

SCOPE_TEST(many)
{
	enum { ITEMS = SLOWER(1000000), MEMBERS = SLOWER(100000) };
	gd_value *list = gd_list(), *doc = gd_doc(), *one = gd_int(1);

	for (int i = 0; i < ITEMS; i++)
		ck_assert_int_eq(gd_append(list, one), 0);
	ck_assert_uint_eq(gd_count(list), ITEMS);
	ck_assert_int_eq(gd_to_int(gd_at(list, ITEMS - 1), 0), 1);
	ck_assert_uint_eq(strlen(gd_to_json(list)), 2 * ITEMS + 1);
	for (int i = 0; i < 2 * MEMBERS; i++) {
		char name[16];
		snprintf(name, sizeof(name), "%d", i % MEMBERS);
		ck_assert_int_eq(gd_set(doc, name, gd_int(i)), 0);
	}
	ck_assert_uint_eq(gd_count(doc), MEMBERS);
	ck_assert_int_eq(gd_to_int(gd_get(doc, "77"), 0), MEMBERS + 77);
	ck_assert_str_eq(gd_name_at(doc, 77), "77");
}

SCOPE_TEST(bad_parts)
{
	gd_value *bad = gd_failure(-ENOENT, 404, "no %s", "customer"), *list = gd_list();

	ck_failed(gd_list(gd_int(1), bad, gd_int(2)), -ENOENT, "no customer");
	ck_failed(gd_list(gd_int(1), NULL), -EINVAL, "value 2 is NULL");
	ck_failed(gd_list(pending()), -EINPROGRESS, "has not ended");
	ck_failed(gd_doc("a", gd_int(1), "b", NULL), -EINVAL, "\"b\" is NULL");
	ck_failed(gd_doc("a", bad), -ENOENT, "no customer");
	ck_failed(gd_doc("a"), -EINVAL, "without a value");
	ck_failed(gd_doc(NULL, gd_int(1)), -EINVAL, "NULL");
	ck_failed(gd_doc("\xff", gd_int(1)), -EILSEQ, "UTF-8");
	ck_assert_int_eq(gd_error_status(gd_doc("a", gd_list(bad))), 404);

	ck_assert_int_eq(gd_append(NULL, bad), -EINVAL);
	ck_assert_int_eq(gd_append(gd_int(1), gd_int(1)), -EINVAL);
	ck_assert_int_eq(gd_append(gd_doc(), gd_int(1)), -EINVAL);
	ck_assert_int_eq(gd_append(parsed("[]"), gd_int(1)), -EINVAL);
	ck_assert_int_eq(gd_append(bad, gd_int(1)), -EINVAL);
	ck_assert_int_eq(gd_set(gd_list(), "a", gd_int(1)), -EINVAL);
	ck_assert_int_eq(gd_set(parsed("{}"), "a", gd_int(1)), -EINVAL);
	ck_assert_int_eq(gd_set(NULL, "a", gd_int(1)), -EINVAL);
	ck_assert_int_eq(gd_set(gd_doc(), NULL, gd_int(1)), -EINVAL);

	/* Who does not ask what gd_append said does not reply with half a list. */
	ck_assert_int_eq(gd_append(list, bad), -EINVAL);
	ck_failed(list, -ENOENT, "no customer");
	ck_assert_int_eq(gd_append(list, gd_int(1)), -EINVAL);
}

SCOPE_TEST(too_deep)
{
	gd_value *v = gd_int(1);

	for (int i = 0; i < 1000; i++)
		v = i % 2 ? gd_list(v) : gd_doc("d", v);
	ck_assert_int_eq(gd_failed(v), 0);
	ck_assert_uint_eq(strlen(gd_to_json(v)), 500 * strlen("[{\"d\":}]") + 1);
	ck_assert_str_eq(gd_to_json(gd_value_copy(v)), gd_to_json(v));
	ck_failed(gd_list(v), -E2BIG, "1000");
	ck_failed(gd_build("{a: %p}", v), -E2BIG, "1000");
	/* What is taken out of it is not less deep than it is. */
	ck_assert_int_eq(gd_failed(gd_list(gd_at(gd_at(v, 0), 0))), -E2BIG);
}

/* --- gd_build --- */

SCOPE_TEST(build)
{
	gd_value *v = gd_list(gd_int(1), gd_null());

	ck_json(gd_build("{}"), "{}");
	ck_json(gd_build(" [ ] "), "[]");
	ck_json(gd_build("null"), "null");
	ck_json(gd_build("-1.50e3"), "-1.50e3");
	ck_json(gd_build("'it is \\'so\\' \"here\" 100%%'"), "\"it is 'so' \\\"here\\\" 100%\"");
	ck_json(gd_build("{a: 1, 'b c': [true, false, null], \"d\": {e: \"\\u00e4\\n\"}}"),
		"{\"a\":1,\"b c\":[true,false,null],\"d\":{\"e\":\"\xc3\xa4\\n\"}}");
	ck_json(gd_build("{$set: {a.b-c: %d}, a: 1, a: 2}", 5), "{\"$set\":{\"a.b-c\":5},\"a\":2}");
	ck_json(gd_build("[%s, %d, %ld, %lld, %g, %p]", "x\"", INT_MIN, LONG_MAX, LLONG_MIN, 0.5, v),
		"[\"x\\\"\",-2147483648,9223372036854775807,-9223372036854775808,0.5,[1,null]]");
	ck_json(gd_build("{%s: %s, %s: %p}", "a b", "{\"$gt\": 1}", "c", v),
		"{\"a b\":\"{\\\"$gt\\\": 1}\",\"c\":[1,null]}");
	ck_json(gd_build("%s", no_text), "null");
	ck_assert_ptr_eq(gd_build("%p", v), v);
	ck_assert_int_eq(gd_append(gd_build("[1]"), v), 0);
	ck_json(gd_build("[[[[]]],{a:{}},{a:[{}]}]"), "[[[[]]],{\"a\":{}},{\"a\":[{}]}]");
}

SCOPE_TEST(build_mistakes)
{
	char deep[201];

	ck_failed(gd_build("{a: %p}", (gd_value *)NULL), -EINVAL, "byte 4: the value of %p is NULL");
	ck_failed(gd_build("{a: %p}", pending()), -EINPROGRESS, "byte 4");
	ck_failed(gd_build("[%p]", gd_failure(-ENOENT, 404, "gone")), -ENOENT, "gone");
	ck_failed(gd_build("%p", gd_failure(-ENOENT, 404, "gone")), -ENOENT, "gone");
	ck_failed(gd_build("[%g]", NAN), -EINVAL, "byte 1: %g is not finite");
	ck_failed(gd_build("[%s]", "\xff"), -EINVAL, "byte 1: %s is a text that is not UTF-8");
	ck_failed(gd_build("{%s: 1}", "$where"), -EINVAL, "byte 1: a name that is filled in begins with \"$\"");
	ck_failed(gd_build("{%s: 1}", no_text), -EINVAL, "byte 1: a name is NULL");
	ck_failed(gd_build("[%u]", 1u), -EINVAL, "byte 1: a filler is one of");
	ck_failed(gd_build("{%d: 1}", 1), -EINVAL, "byte 1: expected a name");
	ck_failed(gd_build("{a: '%s'}", "x"), -EINVAL, "byte 5: in quotes");
	memset(deep, '[', 200);
	deep[200] = '\0';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
	static const struct {
		const char *format, *words;
	} table[] = {
		{"", "byte 0: expected a value"},
		{"{", "byte 1: expected a name, at the end"},
		{"{a}", "byte 2: expected \":\""},
		{"{a:}", "byte 3: expected a value"},
		{"{a: 1,}", "byte 6: expected a name"},
		{"{a: 1 b: 2}", "byte 6: expected \",\" or \"}\""},
		{"{a: text}", "byte 4: expected a value (texts stand in quotes), at `text}`"},
		{"[1,]", "byte 3: expected a value"},
		{"[1 2]", "byte 3: expected \",\" or \"]\""},
		{"[1}", "byte 2: expected \",\" or \"]\""},
		{"[1", "byte 2: expected \",\" or \"]\", at the end"},
		{"[] []", "byte 3: expected the end"},
		{"]", "byte 0: expected a value"},
		{"01", "byte 0: expected a value"},
		{"'a", "byte 0: the quotes are not closed"},
		{"'a\\", "byte 0: the quotes are not closed"},
		{"'\\q'", "byte 0: a text that is not as in JSON"},
		{"'\xff'", "byte 0: a text that is not as in JSON"},
		{"{'a\\u0000': 1}", "byte 1: expected a name"},
		{"truely", "byte 0: expected a value"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		ck_failed(gd_build(table[i].format), -EINVAL, table[i].words);
	ck_failed(gd_build(deep), -EINVAL, "byte 64: nested too deeply");
	ck_failed(gd_build(NULL), -EINVAL, "NULL");
#pragma GCC diagnostic pop
}

/* --- looking --- */

static const char sample[] = "{\"a\": {\"b\": [10, {\"c d\": \"x\"}]}, \"rows\": [{\"id\": 1, \"t\": [1, 2]}, "
			     "{\"id\": 2.50, \"t\": []}, {\"t\": [3]}], \"$x\": 1, \"n\": null}";

SCOPE_TEST(ways)
{
	static const struct {
		const char *way, *json;
	} table[] = {
		{"a.b[0]", "10"},
		{"a.b[1][\"c d\"]", "\"x\""},
		{"a.b[1]['c d']", "\"x\""},
		{"a.b[2]", "null"},
		{"a.b[4294967295]", "null"},
		{"a.none.further[0]", "null"},
		{"rows[*].id", "[1,2.50,null]"},
		{"rows[*].t[*]", "[1,2,3]"},
		{"rows[1]", "{\"id\":2.50,\"t\":[]}"},
		{"$x", "1"},
		{"n", "null"},
	};
	gd_value *json = parsed(sample);
	gd_value *made = gd_doc("a", gd_doc("b", gd_list(gd_int(10), gd_doc("c d", gd_string("x")))), "rows",
				gd_list(gd_doc("id", gd_int(1), "t", parsed("[1, 2]")),
					gd_doc("id", gd_number("2.50"), "t", gd_list()),
					gd_doc("t", gd_list(gd_int(3)))),
				"$x", gd_int(1), "n", gd_null());

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		ck_json(gd_get(json, table[i].way), table[i].json);
		ck_json(gd_get(made, table[i].way), table[i].json);
	}
	ck_json(gd_get(parsed("[[1,2],[3]]"), "[0][1]"), "2");
	ck_json(gd_get(gd_int(1), "a"), "null");

	static const char *const bad[] = {"",      ".a",  "a.", "a..b", "a[",     "a[x]", "a[1",
					  "a[-1]", "a[]", "a]", "a b[", "a[\"x]", "[0]a", "a[4294967296]"};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(gd_failed(gd_get(json, bad[i])) == -EINVAL, "%s", bad[i]);
	ck_failed(gd_get(json, NULL), -EINVAL, "NULL");
	ck_failed(gd_get(NULL, "a"), -EINVAL, "gd_get: the value is NULL");
	ck_failed(gd_get(gd_failure(-ENOENT, 404, "gone"), "a.b"), -ENOENT, "gone");
	ck_failed(gd_get(pending(), "a"), -EINPROGRESS, "not ended");
}

SCOPE_TEST(parts)
{
	gd_value *json = parsed(sample), *rows = gd_get(json, "rows");
	gd_value *made = gd_doc("x", gd_int(1), "y", gd_list(gd_int(2), gd_int(3)));

	ck_assert_uint_eq(gd_count(json), 4);
	ck_assert_str_eq(gd_name_at(json, 0), "a");
	ck_assert_str_eq(gd_name_at(json, 2), "$x");
	ck_assert_ptr_null(gd_name_at(json, 4));
	ck_json(gd_at(json, 3), "null");
	ck_json(gd_at(json, 4), "null");
	ck_assert_uint_eq(gd_count(rows), 3);
	ck_json(gd_at(rows, 0), "{\"id\":1,\"t\":[1,2]}");
	ck_assert_ptr_null(gd_name_at(rows, 0));
	ck_assert_uint_eq(gd_count(made), 2);
	ck_assert_str_eq(gd_name_at(made, 1), "y");
	ck_json(gd_at(gd_at(made, 1), 1), "3");
	ck_json(gd_at(made, 2), "null");
	ck_assert_uint_eq(gd_count(gd_int(1)) + gd_count(NULL) + gd_count(pending()), 0);
	ck_json(gd_at(gd_int(1), 0), "null");
	ck_failed(gd_at(NULL, 0), -EINVAL, "NULL");
	ck_assert_ptr_null(gd_name_at(NULL, 0));

	/* A list of a document can't be appended to. */
	ck_assert_int_eq(gd_append(gd_at(made, 1), gd_int(1)), -EINVAL);
}

SCOPE_TEST(conversions)
{
	static const struct {
		const char *json;
		int64_t whole; /* -1: none */
		double d;      /* -1: none */
		const char *text;
		bool truthy;
	} table[] = {
		{"null", -1, -1, NULL, false},
		{"true", -1, -1, "true", true},
		{"0", 0, 0, "0", false},
		{"42", 42, 42, "42", true},
		{"42.0", 42, 42, "42.0", true},
		{"0.5", -1, 0.5, "0.5", true},
		{"9223372036854775807", INT64_MAX, -1, "9223372036854775807", true},
		{"-9223372036854775808", INT64_MIN, -0x1p63, "-9223372036854775808", true},
		{"9007199254740993", 9007199254740993, -1, "9007199254740993", true},
		{"1e400", -1, -1, "1e400", true},
		{"\"42\"", 42, 42, "42", true},
		{"\"4 2\"", -1, -1, "4 2", true},
		{"\"\"", -1, -1, "", false},
		{"[]", -1, -1, "[]", false},
		{"{\"a\": 1}", -1, -1, "{\"a\":1}", true},
	};
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		gd_value *v = parsed(table[i].json);
		ck_assert_int_eq(gd_to_int(v, -1), table[i].whole);
		ck_assert_msg(gd_to_double(v, -1) == table[i].d, "%s: %g", table[i].json, gd_to_double(v, -1));
		ck_assert_pstr_eq(gd_to_text(v), table[i].text);
		ck_assert_int_eq(gd_truthy(v), table[i].truthy);
	}
	ck_assert_int_eq(memcmp(gd_to_bytes(gd_bytes("\0\1\2", 3), &len), "\0\1\2", 3), 0);
	ck_assert_uint_eq(len, 3);
	ck_assert_int_eq(memcmp(gd_to_bytes(gd_string_n("a\0b", 3), &len), "a\0b", 4), 0);
	ck_assert_uint_eq(len, 3);
	ck_assert_ptr_null(gd_to_bytes(gd_null(), &len));
	ck_assert_uint_eq(len, 0);
	ck_assert_ptr_nonnull(gd_to_bytes(gd_bytes(NULL, 0), &len));
	ck_assert_str_eq(gd_to_text(gd_bytes("abc", 3)), "YWJj");
	ck_assert_int_eq(gd_to_int(gd_bytes("\xd7\x6d\xf8", 3), -1), -1); /* base64 of digits alone is no number */

	gd_value *bad = gd_failure(-EIO, 502, "bad");
	ck_assert_int_eq(gd_to_int(bad, 5) + gd_to_int(NULL, 5) + gd_to_int(pending(), 5), 15);
	ck_assert(!gd_truthy(bad) && !gd_truthy(NULL) && !gd_truthy(pending()));
	ck_assert_ptr_null(gd_to_text(bad));
	ck_assert_ptr_null(gd_to_json(NULL));
	ck_assert_ptr_null(gd_to_json(pending()));
}

/* --- scopes --- */

SCOPE_TEST(scopes)
{
	gd_value *kept = gd_list();

	for (int i = 0; i < 100; i++) {
		gd_scope *inner = gd_scope_begin();
		gd_value *v = gd_doc("i", gd_int(i), "text", gd_string(gd_format("number %d", i)), "json",
				     parsed("{\"a\": [\"deep\"]}"), "bytes", gd_bytes("\1\2", 2));
		ck_assert_int_eq(gd_append(kept, v), 0);
		ck_assert_int_eq(gd_append(kept, gd_get(v, "json.a")), 0);
		gd_scope_end(inner);
	}
	ck_assert_uint_eq(gd_count(kept), 200);
	ck_json(gd_at(kept, 198), "{\"i\":99,\"text\":\"number 99\",\"json\":{\"a\":[\"deep\"]},\"bytes\":\"AQI=\"}");
	ck_json(gd_at(kept, 199), "[\"deep\"]");

	/* gd_copy: from one scope into the current one, appendable as before. */
	struct gd_scope *outer = scope_here("test"), other;
	scope_open(&other, &env, NULL, NULL);
	gd_value *there = gd_doc("a", gd_list(gd_string("x")), "b", gd_bytes("y", 1));
	gd_value *seen = gd_at(there, 0);
	scope_enter(outer);
	gd_value *here = gd_value_copy(there);
	gd_value *found = gd_get(there, "a"), *first = gd_at(seen, 0);
	gd_value *list = gd_list(there);
	scope_close(&other);
	scope_enter(outer);
	ck_json(here, "{\"a\":[\"x\"],\"b\":\"eQ==\"}");
	ck_json(list, "[{\"a\":[\"x\"],\"b\":\"eQ==\"}]");
	ck_json(found, "[\"x\"]");
	ck_json(first, "\"x\"");
	ck_assert_int_eq(gd_set(here, "c", gd_int(1)), 0);
	ck_json(here, "{\"a\":[\"x\"],\"b\":\"eQ==\",\"c\":1}");
	ck_failed(gd_value_copy(gd_failure(-EIO, 502, "bad")), -EIO, "bad");
	ck_failed(gd_value_copy(NULL), -EINVAL, "NULL");
}

/* What a cursor gave is copied where it is put into something, and is gone when the cursor moves on. */
SCOPE_TEST(fleeting)
{
	struct arena row;
	char text[] = "{\"a\": [1, \"one\"]}";
	struct json *j;
	char why[64];

	arena_init(&row);
	ck_assert_int_eq(json_parse(&j, &row, arena_strdup(&row, text), strlen(text), 8, why, sizeof(why)), 0);
	gd_value *current = value_new(scope_here("test"), value_from_json(j));
	current->fleeting = &row;
	gd_value *a = gd_get(current, "a");
	ck_assert_uint_eq(gd_count(a), 2);
	gd_value *list = gd_list(current, a, gd_at(a, 1));
	struct error e;
	const struct value *used = value_use(a, "an argument", &e);
	arena_done(&row);
	ck_json(list, "[{\"a\":[1,\"one\"]},[1,\"one\"],\"one\"]");
	ck_json(value_new(scope_here("test"), *used), "[1,\"one\"]");
}

/* --- results --- */

static int freed;

static void drop_text(void *owner)
{
	(void)owner;
	freed++;
}

LOOP_TEST(results)
{
	static const char text[] = "[{\"id\":1},{\"id\":2}]";
	struct gd_scope scope;

	scope_open(&scope, &env, NULL, NULL);
	gd_value *v = value_of_result(&scope, json_result_new(text, sizeof(text) - 1, 2, drop_text, NULL));
	ck_assert_int_eq(gd_kind_of(v), GD_LIST);
	ck_assert_uint_eq(gd_count(v), 2);
	ck_json(gd_get(v, "[*].id"), "[1,2]");
	ck_json(gd_list(v), "[[{\"id\":1},{\"id\":2}]]");
	ck_json(value_of_result(&scope, NULL), "null");
	ck_assert_int_eq(freed, 0);
	scope_close(&scope);
	ck_assert_int_eq(freed, 1);
	return 0;
}

/* v as BSON and, as MongoDB's driver brings it, back. */
static gd_value *stored(const gd_value *v)
{
	struct gd_scope *s = scope_here("test");
	struct buf *bytes = arena_zalloc(s->arena, sizeof(*bytes));
	struct mongo_out out;
	struct mongo_converter c = {.out = &out, .arena = s->arena};

	mongo_out_init(&out, bytes);
	mongo_out_document(&out);
	if (mongo_convert(&c, "v", 1, &v->v, AS_IS, NULL) < 0) {
		buf_done(bytes);
		return gd_failure(-EINVAL, 500, "it %s", c.why);
	}
	mongo_out_end(&out);
	const char *document = arena_strndup(s->arena, bytes->data, bytes->len);
	struct value whole = {.kind = VALUE_FOREIGN,
			      .subtype = BSON_TYPE_DOCUMENT,
			      .foreign = document,
			      .len = bytes->len,
			      .ops = &mongo_value_ops_plain};
	buf_done(bytes);
	return gd_get(value_new(s, whole), "v");
}

SCOPE_TEST(bson)
{
	gd_value *doc = gd_doc("id", gd_object_id("0123456789abcdef01234567"), "at", gd_datetime(1709164800123),
			       "price", gd_number("12.50"), "ratio", gd_double(0.5), "raw", gd_bytes("\0\377", 2),
			       "list", gd_list(gd_int(1), gd_doc("$gt", gd_int(2)), gd_list(gd_list())), "json",
			       parsed("{\"a\": [1.5]}"));
	static const char json[] = "{\"id\":\"0123456789abcdef01234567\",\"at\":\"2024-02-29T00:00:00.123Z\","
				   "\"price\":12.50,\"ratio\":0.5,\"raw\":\"AP8=\",\"list\":[1,{\"$gt\":2},[[]]],"
				   "\"json\":{\"a\":[1.5]}}";
	static const struct {
		const char *name;
		int type;
		gd_kind kind;
	} table[] = {
		{"id", BSON_TYPE_OID, GD_STRING},           {"at", BSON_TYPE_DATE_TIME, GD_STRING},
		{"price", BSON_TYPE_DECIMAL128, GD_NUMBER}, {"raw", BSON_TYPE_BINARY, GD_BYTES},
		{"list", BSON_TYPE_ARRAY, GD_LIST},         {"json", BSON_TYPE_DOCUMENT, GD_DOCUMENT},
	};
	gd_value *back = stored(doc);
	size_t len;

	ck_json(back, json);
	ck_assert_uint_eq(gd_count(back), 7);
	ck_assert_int_eq(gd_kind_of(back), GD_DOCUMENT);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		/* Out of a result, into a document of one's own, out of the scope, and into BSON again: the types stay.
		 */
		gd_value *part = gd_get(back, table[i].name);
		ck_assert_int_eq(gd_kind_of(part), table[i].kind);
		gd_value *again = table[i].type == BSON_TYPE_ARRAY
					  ? gd_value_copy(part)
					  : gd_get(stored(gd_value_copy(gd_doc("x", part))), "x");
		ck_assert_int_eq(again->v.kind, VALUE_FOREIGN);
		ck_assert_int_eq(again->v.subtype, table[i].type);
		ck_assert_str_eq(gd_to_json(again), gd_to_json(part));
	}
	ck_assert_str_eq(gd_name_at(back, 2), "price");
	ck_json(gd_at(back, 2), "12.50");
	ck_assert_uint_eq(gd_count(gd_get(back, "list")), 3);
	ck_json(gd_at(gd_get(back, "list"), 1), "{\"$gt\":2}");
	ck_assert_int_eq(memcmp(gd_to_bytes(gd_get(back, "raw"), &len), "\0\377", 2), 0);
	ck_assert_uint_eq(len, 2);
	ck_assert_double_eq(gd_to_double(gd_get(back, "price"), 0), 12.5);
	/* A stored document with operators in it is data, and refused as such. */
	ck_failed(stored(gd_doc("x", gd_get(back, "list"))), -EINVAL, "begins with \"$\"");
}

SCOPE_TEST(bson_trust)
{
	gd_value *given = parsed("{\"a\": {\"$gt\": 1}}"), *plain = parsed("{\"a\": 1}"), *text = gd_string("$x");

	given->v.from_request = given->v.structured = true;
	plain->v.from_request = true;
	text->v.from_request = true;
	ck_failed(stored(gd_doc("x", given)), -EINVAL, "begins with \"$\"");
	ck_failed(stored(gd_doc("$or", gd_list(gd_doc("x", gd_get(given, "a"))))), -EINVAL, "begins with \"$\"");
	ck_failed(stored(gd_doc("x", gd_at(given, 0))), -EINVAL, "begins with \"$\"");
	ck_failed(stored(gd_doc("x", gd_value_copy(given))), -EINVAL, "begins with \"$\"");
	ck_failed(stored(gd_doc("x", plain)), -EINVAL, "declared");
	plain->v.structured = true;
	ck_json(stored(gd_doc("x", plain)), "{\"x\":{\"a\":1}}");
	ck_json(stored(gd_doc("$x", text)), "{\"$x\":\"$x\"}");

	struct buf bytes = BUF_INIT;
	struct mongo_out out;
	struct mongo_converter c = {.out = &out, .arena = scope_here("test")->arena};
	mongo_out_init(&out, &bytes);
	mongo_out_document(&out);
	ck_assert_int_eq(mongo_convert(&c, "v", 1, &gd_list(gd_string("$own"))->v, AS_IS, NULL), 0);
	ck_assert(c.dollar);
	buf_done(&bytes);

	/* A document whose names a stranger gave: a form. */
	gd_value *form = gd_doc("$where", gd_int(1), "a", gd_doc("b", gd_string("x")));
	form->v.from_request = true;
	ck_failed(stored(gd_doc("x", form)), -EINVAL, "declared");
	form->v.structured = true;
	ck_failed(stored(gd_doc("x", form)), -EINVAL, "begins with \"$\"");
	ck_assert(gd_get(form, "a.b")->v.from_request && gd_at(gd_at(form, 1), 0)->v.from_request);

	/* What a source, or JSON text, has brought is known by any way to it. */
	gd_value *found = parsed("{\"a\": [\"$x\", {\"b\": \"$y\"}]}"),
		 *own = gd_doc("own", gd_string("$z"), "found", found);
	ck_assert(gd_get(found, "a[0]")->v.brought && gd_at(gd_at(found, 0), 0)->v.brought);
	ck_assert(gd_get(own, "found.a[1].b")->v.brought && gd_get(own, "found.a[*]")->v.brought);
	ck_assert(gd_value_copy(gd_get(found, "a[0]"))->v.brought);
	ck_assert(!gd_get(own, "own")->v.brought && !gd_at(own, 0)->v.brought && !gd_value_copy(own)->v.brought);

	gd_value *deep = gd_int(1);
	for (int i = 0; i < 200; i++)
		deep = gd_doc("d", deep);
	ck_failed(stored(deep), -EINVAL, "nested too deeply");
	ck_failed(stored(gd_number("0.12345678901234567890123456789012345678")), -EINVAL, "34 digits");
}

/* --- failures --- */

SCOPE_TEST(failures)
{
	static const struct {
		int errnum, status;
	} table[] = {
		{-ENOENT, 404},       {-ETIMEDOUT, 504}, {-ECANCELED, 503}, {-EBUSY, 503},  {-EAGAIN, 503},
		{-ECONNREFUSED, 503}, {-EINVAL, 500},    {-EPERM, 500},     {-EPROTO, 502}, {-ENOMEM, 500},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		ck_assert_int_eq(gd_error_status(gd_failure(table[i].errnum, 0, NULL)), table[i].status);
		ck_assert_int_eq(gd_failed(gd_failure(table[i].errnum, 0, NULL)), table[i].errnum);
	}
	gd_value *v = gd_failure(-EIO, 418, "%d %s", 5, "pots");
	ck_assert_int_eq(gd_error_status(v), 418);
	ck_assert_str_eq(gd_error_text(v), "5 pots");
	ck_assert_str_eq(v->error->public, "5 pots");
	ck_assert_str_eq(gd_error_code(v), "");
	ck_assert_int_eq(gd_failed(gd_failure(7, 200, "x")), -EINVAL);
	ck_assert_int_eq(gd_error_status(gd_failure(7, 200, "x")), 500);

	ck_assert_int_eq(gd_failed(gd_null()), 0);
	ck_assert_str_eq(gd_error_text(gd_null()), "");
	ck_assert_int_eq(gd_error_status(gd_null()), 0);
	ck_assert_str_eq(gd_error_code(NULL), "");
	ck_assert_int_eq(gd_failed(NULL), -EINVAL);
	ck_assert_int_eq(gd_failed(pending()), -EINPROGRESS);
	ck_assert_int_eq(gd_error_status(NULL), 500);

	/* What the handler then returns is what the reply says. */
	struct error e;
	struct gd_scope *s = scope_here("test");
	ck_assert_int_eq(gd_fail(-ENOENT, 404, "No such %s.", "customer"), -ENOENT);
	scope_error(s, -ENOENT, &e);
	ck_assert_str_eq(e.public, "No such customer.");
	ck_assert_int_eq(gd_fail_with(v), -EIO);
	scope_error(s, -EIO, &e);
	ck_assert_int_eq(e.status, 418);
	ck_assert_int_eq(gd_fail_with(NULL), -EINVAL);
	ck_assert_int_eq(gd_fail_with(gd_null()), 0);
	ck_assert_int_eq(gd_failed(gd_list(v)), -EIO);
	scope_error(s, -EIO, &e);
	ck_assert_str_eq(e.public, "5 pots");

	/* A detail that is too long ends between two characters. */
	char long_text[600];
	for (size_t i = 0; i < sizeof(long_text) - 2; i += 2)
		memcpy(long_text + i, "\xc3\xa4", 2);
	long_text[sizeof(long_text) - 2] = '\0';
	v = gd_failure(-EIO, 502, "x%s", long_text);
	ck_assert(utf8_valid(v->error->public, strlen(v->error->public)));
	ck_assert(utf8_valid(v->error->what, strlen(v->error->what)));
}

START_TEST(outside)
{
	ck_assert_int_eq(gd_failed(gd_int(1)), -EPERM);
	ck_assert_int_eq(gd_failed(gd_list(gd_int(1))), -EPERM);
	ck_assert_int_eq(gd_failed(gd_build("{a: %d}", 1)), -EPERM);
	ck_assert_int_eq(gd_failed(gd_get(NULL, "a")), -EPERM);
	ck_assert_int_eq(gd_append(NULL, NULL), -EPERM);
	ck_assert_int_eq(gd_fail(-EIO, 500, "x"), -EPERM);
	ck_assert_ptr_null(gd_to_json(gd_int(1)));
	ck_assert_int_eq(gd_error_status(gd_null()), 500);
}
END_TEST

/* --- any tree --- */

static void random_json(struct buf *out, uint64_t *state, int depth)
{
	static const char *const scalars[] = {"null", "true", "false",        "0",  "-17",
					      "0.25", "\"\"", "\"a\\\"\\n\"", "1e3"};
	uint32_t kind = next_random(state) % 12, count = next_random(state) % 5;

	if (kind < ARRAY_SIZE(scalars) || depth == 0) {
		buf_str(out, scalars[kind % ARRAY_SIZE(scalars)]);
		return;
	}
	bool list = kind % 2;
	buf_char(out, list ? '[' : '{');
	for (uint32_t i = 0; i < count; i++) {
		if (i)
			buf_char(out, ',');
		if (!list)
			buf_printf(out, "\"k%u\":", i);
		random_json(out, state, depth - 1);
	}
	buf_char(out, list ? ']' : '}');
}

/* The same tree, put together by hand out of what gd_at and gd_name_at say. */
static gd_value *rebuilt(const gd_value *v)
{
	gd_kind kind = gd_kind_of(v);

	if (kind != GD_LIST && kind != GD_DOCUMENT)
		return gd_value_copy(v);
	gd_value *out = kind == GD_LIST ? gd_list() : gd_doc();
	for (size_t i = 0; i < gd_count(v); i++) {
		gd_value *part = rebuilt(gd_at(v, i));
		ck_assert_int_eq(kind == GD_LIST ? gd_append(out, part) : gd_set(out, gd_name_at(v, i), part), 0);
	}
	return out;
}

SCOPE_TEST(any_tree)
{
	uint64_t state = 5;

	for (int i = 0; i < SLOWER(2000); i++) {
		struct buf text = BUF_INIT;
		gd_scope *s = gd_scope_begin();
		random_json(&text, &state, 6);
		const char *json = buf_cstr(&text);
		gd_value *v = parsed(json), *made = rebuilt(v);
		ck_json(v, json);
		ck_json(made, json);
		ck_json(gd_value_copy(made), json);
		ck_json(gd_build("%p", gd_list(made)), gd_format("[%s]", json));
		ck_json(rebuilt(made), json);
		if (!strstr(json, "1e3")) /* BSON has the number, not its digits */
			ck_json(stored(made), json);
		if (!strstr(json, "1e3"))
			ck_json(rebuilt(stored(v)), json);
		gd_scope_end(s);
		buf_done(&text);
	}
}

/* Whatever the format and the way: a value whose JSON can be read again, or a failure that says so. */
SCOPE_TEST(any_format)
{
	static const char characters[] = "{}{}[][],,::'\"ab$1 \\.-0u*";
	uint64_t state = 7;
	char text[24];
	int good = 0;

	for (int i = 0; i < SLOWER(100000); i++) {
		gd_scope *s = gd_scope_begin();
		size_t len = next_random(&state) % (sizeof(text) - 1);
		for (size_t k = 0; k < len; k++)
			text[k] = characters[next_random(&state) % (sizeof(characters) - 1)];
		text[len] = '\0';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
		gd_value *v = gd_build(text);
#pragma GCC diagnostic pop
		if (gd_failed(v) == 0) {
			good++;
			ck_json(parsed(gd_to_json(v)), gd_to_json(v));
		} else {
			ck_assert_int_eq(gd_failed(v), -EINVAL);
			ck_assert_int_eq(strncmp(gd_error_text(v), "gd_build: byte ", 15), 0);
		}
		gd_value *found = gd_get(gd_doc("a", gd_list(gd_doc("b", gd_int(1)))), text);
		ck_assert(gd_failed(found) == 0 || gd_failed(found) == -EINVAL);
		gd_scope_end(s);
	}
	ck_assert_int_gt(good, 0);
}

int main(void)
{
	Suite *s = suite_create("gd_value");
	TCase *t = async_tcase(s, "values");

	tcase_add_test(t, scalar_values);
	tcase_add_test(t, bad_scalars);
	tcase_add_test(t, lists_and_documents);
	tcase_add_test(t, many);
	tcase_add_test(t, bad_parts);
	tcase_add_test(t, too_deep);
	tcase_add_test(t, build);
	tcase_add_test(t, build_mistakes);
	tcase_add_test(t, ways);
	tcase_add_test(t, parts);
	tcase_add_test(t, conversions);
	tcase_add_test(t, scopes);
	tcase_add_test(t, fleeting);
	tcase_add_test(t, results);
	tcase_add_test(t, bson);
	tcase_add_test(t, bson_trust);
	tcase_add_test(t, failures);
	tcase_add_test(t, outside);
	tcase_add_test(t, any_tree);
	tcase_add_test(t, any_format);
	return run_suite(s);
}

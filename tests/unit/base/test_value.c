/* Values: how each kind renders, reads as text and counts as false; paths into JSON. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/value.h"

static struct arena arena;
static struct buf out;

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

static const struct json *parse(const char *text)
{
	char what[128];
	struct json *j;

	ck_assert_int_eq(json_parse(&j, &arena, text, strlen(text), 16, what, sizeof(what)), 0);
	return j;
}

static const char *rendered(struct value v)
{
	out.len = 0;
	value_render(&v, &out);
	return buf_cstr(&out);
}

static const char *as_text(struct value v)
{
	out.len = 0;
	value_text(&v, &out);
	return buf_cstr(&out);
}

START_TEST(from_json)
{
	static const struct {
		const char *json, *rendered, *text;
		enum value_kind kind;
		bool falsy;
	} table[] = {
		{"null", "null", "", VALUE_NULL, true},
		{"true", "true", "true", VALUE_BOOL, false},
		{"false", "false", "false", VALUE_BOOL, true},
		{"0", "0", "0", VALUE_INT, true},
		{"-7", "-7", "-7", VALUE_INT, false},
		{"9223372036854775807", "9223372036854775807", "9223372036854775807", VALUE_INT, false},
		{"-9223372036854775808", "-9223372036854775808", "-9223372036854775808", VALUE_INT, false},
		{"9223372036854775808", "9223372036854775808", "9223372036854775808", VALUE_NUMBER, false},
		{"-0", "-0", "-0", VALUE_NUMBER, true},
		{"0.000", "0.000", "0.000", VALUE_NUMBER, true},
		{"0e7", "0e7", "0e7", VALUE_NUMBER, true},
		{"0.001", "0.001", "0.001", VALUE_NUMBER, false},
		{"1.0", "1.0", "1.0", VALUE_NUMBER, false},
		{"1e3", "1e3", "1e3", VALUE_NUMBER, false},
		{"0.1000000000000000000000000001", "0.1000000000000000000000000001", "0.1000000000000000000000000001",
		 VALUE_NUMBER, false},
		{"\"\"", "\"\"", "", VALUE_STRING, true},
		{"\"a\\u0022b\"", "\"a\\\"b\"", "a\"b", VALUE_STRING, false},
		{"[]", "[]", "[]", VALUE_JSON, true},
		{"{ }", "{}", "{}", VALUE_JSON, true},
		{"[ 1, { \"a b\" : 1.50 } ]", "[1,{\"a b\":1.50}]", "[1,{\"a b\":1.50}]", VALUE_JSON, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct value v = value_from_json(parse(table[i].json));

		ck_assert_int_eq(v.kind, table[i].kind);
		ck_assert_str_eq(rendered(v), table[i].rendered);
		ck_assert_str_eq(as_text(v), table[i].text);
		ck_assert_msg(value_falsy(&v) == table[i].falsy, "%s", table[i].json);
	}
}
END_TEST

START_TEST(lists)
{
	struct value inner[] = {value_int(1), value_string("a\n", 2)};
	struct value empty = {.kind = VALUE_LIST};
	struct value items[] = {
		empty, VALUE_OF_NULL, {.kind = VALUE_LIST, .list = inner, .count = 2}, value_bool(true), empty};
	struct value list = {.kind = VALUE_LIST, .list = items, .count = ARRAY_SIZE(items)};

	ck_assert_str_eq(rendered(empty), "[]");
	ck_assert_str_eq(rendered(list), "[[],null,[1,\"a\\n\"],true,[]]");
	ck_assert_str_eq(as_text(list), "[[],null,[1,\"a\\n\"],true,[]]");
	ck_assert(value_falsy(&empty));
	ck_assert(!value_falsy(&list));
}
END_TEST

START_TEST(deep_lists)
{
	enum { LEVELS = 50000 };
	struct value *levels = arena_array(&arena, LEVELS, sizeof(*levels));

	levels[0] = (struct value){.kind = VALUE_LIST};
	for (int i = 1; i < LEVELS; i++)
		levels[i] = (struct value){.kind = VALUE_LIST, .list = &levels[i - 1], .count = 1};
	value_render(&levels[LEVELS - 1], &out);
	ck_assert_uint_eq(out.len, 2 * LEVELS);
	for (int i = 0; i < LEVELS; i++)
		ck_assert(out.data[i] == '[' && out.data[LEVELS + i] == ']');
}
END_TEST

static void foreign_render(const struct value *v, struct buf *to)
{
	buf_printf(to, "{\"$oid\":\"%s\"}", (const char *)v->foreign);
}

static void foreign_text(const struct value *v, struct buf *to)
{
	buf_str(to, v->foreign);
}

static bool foreign_falsy(const struct value *v)
{
	return *(const char *)v->foreign == '\0';
}

START_TEST(foreign)
{
	static const struct value_ops ops = {foreign_render, foreign_text, foreign_falsy, NULL, NULL, NULL, NULL, NULL};
	struct value v = {.kind = VALUE_FOREIGN, .foreign = "ab", .ops = &ops};

	ck_assert_str_eq(rendered(v), "{\"$oid\":\"ab\"}");
	ck_assert_str_eq(rendered((struct value){.kind = VALUE_LIST, .list = &v, .count = 1}), "[{\"$oid\":\"ab\"}]");
	ck_assert_str_eq(as_text(v), "ab");
	ck_assert(!value_falsy(&v));
}
END_TEST

#define MEMBER(s)                                                                                                      \
	{                                                                                                              \
		.kind = PATH_MEMBER, .name = s, .name_len = sizeof(s) - 1                                              \
	}
#define INDEX(n)                                                                                                       \
	{                                                                                                              \
		.kind = PATH_INDEX, .index = n                                                                         \
	}
#define EACH                                                                                                           \
	{                                                                                                              \
		.kind = PATH_EACH                                                                                      \
	}

START_TEST(paths)
{
	static const char text[] = "{\"rows\": [{\"a\": 1, \"t\": [1, 2]}, {\"a\": null, \"t\": []}, {\"t\": [3]}, 5],"
				   " \"o\": {\"p\": {\"q\": \"deep\"}}, \"n\": null}";
	static const struct {
		struct path_segment segments[5];
		size_t count;
		const char *rendered;
	} table[] = {
		{{MEMBER("o"), MEMBER("p"), MEMBER("q")}, 3, "\"deep\""},
		{{MEMBER("o"), MEMBER("p")}, 2, "{\"q\":\"deep\"}"},
		{{MEMBER("rows"), INDEX(0), MEMBER("a")}, 3, "1"},
		{{MEMBER("rows"), INDEX(3)}, 2, "5"},
		{{MEMBER("rows"), INDEX(4)}, 2, "null"},
		{{MEMBER("rows"), MEMBER("a")}, 2, "null"},
		{{MEMBER("o"), INDEX(0)}, 2, "null"},
		{{MEMBER("none"), MEMBER("a"), INDEX(1)}, 3, "null"},
		{{MEMBER("rows"), EACH, MEMBER("a")}, 3, "[1,null,null,null]"},
		{{MEMBER("rows"), EACH, MEMBER("t")}, 3, "[[1,2],[],[3],null]"},
		{{MEMBER("rows"), EACH, MEMBER("t"), INDEX(0)}, 4, "[1,null,3,null]"},
		{{MEMBER("rows"), EACH, MEMBER("t"), EACH}, 4, "[1,2,3]"},
		{{MEMBER("none"), EACH}, 2, "[]"},
		{{MEMBER("n"), EACH, MEMBER("a")}, 3, "[]"},
		{{EACH}, 1, "[]"},
	};
	const struct json *j = parse(text);

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		ck_assert_str_eq(rendered(json_follow(j, table[i].segments, table[i].count, &arena)),
				 table[i].rendered);
	ck_assert_int_eq(json_follow(j, NULL, 0, &arena).kind, VALUE_JSON);
}
END_TEST

/* {"name": …}, of which each name is a literal. */
#define NAMED(s, ...)                                                                                                  \
	{                                                                                                              \
		.name = s, .len = sizeof(s) - 1, .value = __VA_ARGS__                                                  \
	}

static struct value document(const struct value_member *members, uint32_t count)
{
	return (struct value){.kind = VALUE_DOCUMENT, .members = members, .count = count};
}

START_TEST(documents)
{
	const struct value_member inner[] = {NAMED("n", value_int(1)), NAMED("b", value_bytes_of("\0\1\377", 3))};
	struct value items[] = {document(inner, 2), value_from_json(parse("{\"n\": [2, 3]}")), document(NULL, 0)};
	struct value list = {.kind = VALUE_LIST, .list = items, .count = 3};
	const struct value_member members[] = {
		NAMED("a\"b", value_string("x", 1)),
		NAMED("list", list),
		NAMED("", VALUE_OF_NULL),
	};
	struct value v = document(members, 3), empty = document(NULL, 0);

	ck_assert_str_eq(rendered(v),
			 "{\"a\\\"b\":\"x\",\"list\":[{\"n\":1,\"b\":\"AAH/\"},{\"n\":[2,3]},{}],\"\":null}");
	ck_assert_str_eq(as_text(v), rendered(v));
	ck_assert_str_eq(rendered(empty), "{}");
	ck_assert(value_falsy(&empty) && !value_falsy(&v));
	ck_assert_int_eq(value_looks(&v), VALUE_DOCUMENT);
	ck_assert_int_eq(value_looks(&items[1]), VALUE_DOCUMENT);

	struct value copied = value_copy(&v, &arena);
	ck_assert(copied.members != v.members && copied.members[1].value.list != items);
	ck_assert_str_eq(rendered(copied),
			 "{\"a\\\"b\":\"x\",\"list\":[{\"n\":1,\"b\":\"AAH/\"},{\"n\":[2,3]},{}],\"\":null}");
}
END_TEST

START_TEST(bytes)
{
	struct value v = value_bytes_of("\0abc", 4), none = value_bytes_of(NULL, 0);
	const void *p;
	size_t len;

	ck_assert_str_eq(rendered(v), "\"AGFiYw==\"");
	ck_assert_str_eq(as_text(v), "AGFiYw==");
	ck_assert_str_eq(rendered(none), "\"\"");
	ck_assert_str_eq(as_text(none), "");
	ck_assert(value_falsy(&none) && !value_falsy(&v));
	ck_assert(value_bytes(&v, &arena, &p, &len) && len == 4 && memcmp(p, "\0abc", 4) == 0);
	struct value text = value_string("abc", 3);
	ck_assert(!value_bytes(&text, &arena, &p, &len));
}
END_TEST

/* One list and one document around the other, and so on: neither rendering nor copying takes stack for it. */
START_TEST(deep_documents)
{
	enum { LEVELS = 20000 };
	struct value v = VALUE_OF_NULL;

	for (int i = 0; i < LEVELS; i++) {
		struct value_member *m = arena_zalloc(&arena, sizeof(*m));
		struct value *item = arena_alloc(&arena, sizeof(*item));
		*m = (struct value_member)NAMED("d", v);
		*item = document(m, 1);
		v = (struct value){.kind = VALUE_LIST, .list = item, .count = 1};
	}
	struct value copied = value_copy(&v, &arena);
	value_render(&copied, &out);
	ck_assert_uint_eq(out.len, LEVELS * strlen("[{\"d\":}]") + strlen("null"));
}
END_TEST

/* Whoever supplied a part stays known, wherever the way goes. */
START_TEST(supplied_by)
{
	struct value given = value_from_json(parse("{\"a\": [{\"b\": [1]}, {\"b\": [2]}]}"));
	given.from_request = given.structured = true;
	const struct value_member members[] = {NAMED("given", given), NAMED("own", value_int(1))};
	struct value v = document(members, 2), list = {.kind = VALUE_LIST, .list = &v, .count = 1};
	static const struct path_segment way[] = {EACH, MEMBER("given"), MEMBER("a"), EACH, MEMBER("b"), EACH};
	static const struct path_segment own[] = {INDEX(0), MEMBER("own")};
	const struct value_member *parts;

	struct value found = value_follow(&list, way, 6, &arena);
	ck_assert_str_eq(rendered(found), "[1,2]");
	ck_assert(found.list[0].from_request && found.list[1].from_request);
	found = value_follow(&list, own, 2, &arena);
	ck_assert_int_eq(found.integer, 1);
	ck_assert(!found.from_request);

	ck_assert_uint_eq(value_parts(&given, &arena, &parts), 1);
	ck_assert_str_eq(parts[0].name, "a");
	ck_assert(parts[0].value.from_request && parts[0].value.structured);
	ck_assert(value_copy(&given, &arena).from_request);
}
END_TEST

/* What has no operations for it is looked at by way of JSON. */
START_TEST(foreign_parts)
{
	static const struct value_ops ops = {foreign_render, foreign_text, foreign_falsy, NULL, NULL, NULL, NULL, NULL};
	struct value v = {.kind = VALUE_FOREIGN, .foreign = "ab", .ops = &ops, .from_request = true};
	const struct value_member *parts;

	ck_assert_int_eq(value_looks(&v), VALUE_DOCUMENT);
	ck_assert_uint_eq(value_parts(&v, &arena, &parts), 1);
	ck_assert_str_eq(parts[0].name, "$oid");
	ck_assert_str_eq(rendered(parts[0].value), "\"ab\"");
	ck_assert(parts[0].value.from_request);
	struct value copied = value_copy(&v, &arena);
	ck_assert(copied.kind == VALUE_JSON && copied.from_request);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("value");
	TCase *t = tcase_create("value");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, from_json);
	tcase_add_test(t, lists);
	tcase_add_test(t, deep_lists);
	tcase_add_test(t, foreign);
	tcase_add_test(t, paths);
	tcase_add_test(t, documents);
	tcase_add_test(t, bytes);
	tcase_add_test(t, deep_documents);
	tcase_add_test(t, supplied_by);
	tcase_add_test(t, foreign_parts);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}

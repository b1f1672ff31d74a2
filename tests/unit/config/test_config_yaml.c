/* YAML to nodes: what scalars mean, where things stand, aliases, variables; and what is nearest among names. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "config/reference.h"
#include "config/scalar.h"
#include "config/yaml.h"

static struct arena arena;
static struct diagnostics d;

static void setup(void)
{
	arena_init(&arena);
	diagnostics_init(&d);
	setenv("TEST_WORD", "word", 1);
	setenv("TEST_NUMBER", "3", 1);
	setenv("TEST_YAML", "{ a: [ 1, *x ] } # ${TEST_WORD}", 1);
	setenv("TEST_EMPTY", "", 1);
	unsetenv("TEST_NOT_SET");
}

static void teardown(void)
{
	diagnostics_done(&d);
	arena_done(&arena);
}

static const struct node *parse(const char *yaml)
{
	const struct node *n = yaml_parse(&arena, "t.yaml", yaml, strlen(yaml), &d);
	ck_assert_msg(n && d.errors == 0, "%s: %s", yaml, d.count ? d.items[0].text : "");
	return n;
}

static const char *json_of(const struct node *n)
{
	struct buf out = BUF_INIT;
	node_render(n, &out);
	const char *text = arena_strndup(&arena, out.data, out.len);
	buf_done(&out);
	return text;
}

static const struct {
	const char *yaml;
	enum node_kind kind;
	const char *json;
} scalars[] = {
	{"null", NODE_NULL, "null"},
	{"~", NODE_NULL, "null"},
	{"Null", NODE_NULL, "null"},
	{"- ", NODE_SEQUENCE, "[null]"},
	{"true", NODE_BOOL, "true"},
	{"False", NODE_BOOL, "false"},
	{"yes", NODE_STRING, "\"yes\""},
	{"on", NODE_STRING, "\"on\""},
	{"tRue", NODE_STRING, "\"tRue\""},
	{"nULL", NODE_STRING, "\"nULL\""},
	{"0", NODE_INT, "0"},
	{"-17", NODE_INT, "-17"},
	{"012", NODE_INT, "12"},
	{"00", NODE_INT, "0"},
	{"-007", NODE_INT, "-7"},
	{"+1", NODE_INT, "1"},
	{"-0", NODE_INT, "-0"},
	{"0o14", NODE_INT, "12"},
	{"0o18", NODE_STRING, "\"0o18\""},
	{"0x1F", NODE_INT, "31"},
	{"0xffffffffffffffff", NODE_FLOAT, "18446744073709551615"},
	{"0x00", NODE_INT, "0"},
	{"0x", NODE_STRING, "\"0x\""},
	{"0X1F", NODE_STRING, "\"0X1F\""},
	{"-0x1F", NODE_STRING, "\"-0x1F\""},
	{"0b11", NODE_STRING, "\"0b11\""},
	{"1_000", NODE_STRING, "\"1_000\""},
	{"9223372036854775807", NODE_INT, "9223372036854775807"},
	{"9223372036854775808", NODE_FLOAT, "9223372036854775808"},
	{"1.10", NODE_FLOAT, "1.10"},
	{"1e3", NODE_FLOAT, "1e3"},
	{".5", NODE_FLOAT, "0.5"},
	{"-.5", NODE_FLOAT, "-0.5"},
	{"+.5e-3", NODE_FLOAT, "0.5e-3"},
	{"1.", NODE_FLOAT, "1.0"},
	{"01.E2", NODE_FLOAT, "1.0E2"},
	{"1e+3", NODE_FLOAT, "1e+3"},
	{".", NODE_STRING, "\".\""},
	{"+", NODE_STRING, "\"+\""},
	{"-", NODE_SEQUENCE, "[null]"},
	{".e1", NODE_STRING, "\".e1\""},
	{"1e", NODE_STRING, "\"1e\""},
	{"1.2.3", NODE_STRING, "\"1.2.3\""},
	{"0.1.", NODE_STRING, "\"0.1.\""},
	{"++1", NODE_STRING, "\"++1\""},
	{"12:30", NODE_STRING, "\"12:30\""},
	{"2026-01-02", NODE_STRING, "\"2026-01-02\""},
	{"'1'", NODE_STRING, "\"1\""},
	{"\"null\"", NODE_STRING, "\"null\""},
	{"!!str 1", NODE_STRING, "\"1\""},
	{"! 1", NODE_STRING, "\"1\""},
	{"!!int '1'", NODE_INT, "1"},
	{"!!int 0x10", NODE_INT, "16"},
	{"!!float 0x10", NODE_FLOAT, "16"},
	{"!!str 0x10", NODE_STRING, "\"0x10\""},
	{"!!float 1", NODE_FLOAT, "1"},
	{"!!null ''", NODE_NULL, "null"},
	{"!!bool 'true'", NODE_BOOL, "true"},
	{"!!seq [ 1 ]", NODE_SEQUENCE, "[1]"},
	{"!!map { a: 1 }", NODE_MAPPING, "{\"a\":1}"},
	{"|\n  a\n   b\n\n", NODE_STRING, "\"a\\n b\\n\""},
	{">-\n  a\n  b\n", NODE_STRING, "\"a b\""},
	{"{ 1: a, null: b, true: c, 1.5: d }", NODE_MAPPING,
	 "{\"1\":\"a\",\"null\":\"b\",\"true\":\"c\",\"1.5\":\"d\"}"},
	{"${TEST_WORD}", NODE_STRING, "\"word\""},
	{"${TEST_NUMBER}", NODE_INT, "3"},
	{"'${TEST_NUMBER}'", NODE_STRING, "\"3\""},
	{"1${TEST_NUMBER}.5", NODE_FLOAT, "13.5"},
	{"a${TEST_WORD}b${TEST_WORD}", NODE_STRING, "\"awordbword\""},
	{"${TEST_YAML}", NODE_STRING, "\"{ a: [ 1, *x ] } # ${TEST_WORD}\""},
	{"${TEST_NOT_SET:-5}", NODE_INT, "5"},
	{"${TEST_NOT_SET:-}", NODE_NULL, "null"},
	{"${TEST_EMPTY:-5}", NODE_INT, "5"},
	{"a${TEST_EMPTY}", NODE_STRING, "\"a\""},
	{"${TEST_WORD:-5}", NODE_STRING, "\"word\""},
	{"$${TEST_WORD}", NODE_STRING, "\"${TEST_WORD}\""},
	{"$$${TEST_WORD}", NODE_STRING, "\"$${TEST_WORD}\""},
	{"$1 $$ $x$ $", NODE_STRING, "\"$1 $$ $x$ $\""},
	{"{ \"${TEST_WORD}\": 1 }", NODE_MAPPING, "{\"${TEST_WORD}\":1}"},
};

START_TEST(scalar)
{
	const struct node *n = parse(scalars[_i].yaml);
	ck_assert_msg(n->kind == scalars[_i].kind, "%s is %s", scalars[_i].yaml, node_kind_name(n));
	ck_assert_str_eq(json_of(n), scalars[_i].json);
}
END_TEST

START_TEST(tree)
{
	const struct node *n = parse("a: 1\nb: [ x, { y: z } ]\nc:\n  d: [ ]\n");
	ck_assert_str_eq(json_of(n), "{\"a\":1,\"b\":[\"x\",{\"y\":\"z\"}],\"c\":{\"d\":[]}}");
	ck_assert_int_eq(node_member(n, "a")->integer, 1);
	ck_assert_ptr_null(node_member(n, "e"));
	ck_assert_ptr_null(node_member(node_member(n, "a"), "e"));
	struct value v = node_value(node_member(n, "b"), &arena);
	ck_assert(v.kind == VALUE_JSON && v.json->count == 2);
	ck_assert_int_eq(node_value(node_member(n, "a"), &arena).kind, VALUE_INT);
}
END_TEST

START_TEST(aliases)
{
	const struct node *n = parse("a: &x [ &y 1, 2 ]\nb: *x\nc: [ *y, *x ]\nd: &x 5\ne: *x\n");
	ck_assert_str_eq(json_of(n), "{\"a\":[1,2],\"b\":[1,2],\"c\":[1,[1,2]],\"d\":5,\"e\":5}");
	ck_assert_ptr_eq(node_member(n, "a"), node_member(n, "b"));
}
END_TEST

/* Just within the bounds of depth: 64 levels. */
START_TEST(deepest)
{
	char text[2 * NODE_MAX_DEPTH + 1] = {0};
	memset(text, '[', NODE_MAX_DEPTH);
	memset(text + NODE_MAX_DEPTH, ']', NODE_MAX_DEPTH);
	ck_assert_int_eq(parse(text)->kind, NODE_SEQUENCE);
}
END_TEST

/* The place of the letter X in each scalar. */
static const struct {
	const char *yaml;
	unsigned line, column;
} places[] = {
	{"a X", 1, 3},
	{"- aX", 1, 4},
	{"- 'aX'", 1, 5},
	{"- \"\xC3\xA4X\"", 1, 5},
	{"# c\n- |\n  a\n  bX", 4, 4},
	{"- |\n\n\n    a X", 4, 7},
	{"- |2\n    a\n   X", 3, 4},
	{"- |-\r\n  a\r\n  X\r\n", 3, 3},
	/* Not verbatim: the place of the scalar. */
	{"- \"\\ta X\"", 1, 3},
	{"- 'it''s X'", 1, 3},
	{"- >\n  a\n  X", 1, 3},
	{"- a\n  X", 1, 3},
	{"- ${TEST_WORD} X", 1, 3},
};

START_TEST(place)
{
	const struct node *n = parse(places[_i].yaml);
	if (n->kind == NODE_SEQUENCE)
		n = n->items[0];
	struct mark at = node_mark_at(n, (size_t)(strchr(n->text, 'X') - n->text));
	ck_assert_msg(at.line == places[_i].line && at.column == places[_i].column, "%s: %u:%u", places[_i].yaml,
		      at.line, at.column);
}
END_TEST

START_TEST(body_of_folded)
{
	const struct node *n = parse("- >\n   a\n   b\n")->items[0];
	ck_assert(n->at.line == 1 && n->body_at.line == 2 && n->body_at.column == 4);
}
END_TEST

/* --- sizes and durations --------------------------------------------------------------------------------------- */

START_TEST(sizes)
{
	int64_t n = -1;
	ck_assert(scalar_size("0", &n) && n == 0);
	ck_assert(scalar_size("17B", &n) && n == 17);
	ck_assert(scalar_size("1KiB", &n) && n == 1024);
	ck_assert(scalar_size("1.5MiB", &n) && n == 1572864);
	ck_assert(scalar_size("8589934591GiB", &n) && n == 9223372035781033984);
	static const char *const wrong[] = {"",
					    "1",
					    "KiB",
					    "1 KiB",
					    "-1B",
					    "1kB",
					    "1KB",
					    ".5KiB",
					    "1.B",
					    "1e3B",
					    "1KiBx",
					    "0x1B",
					    "99999999999999999999B",
					    "8589934592GiB",
					    "1.0000000001KiB"};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		ck_assert_msg(!scalar_size(wrong[i], &n), "%s", wrong[i]);
}
END_TEST

START_TEST(durations)
{
	int64_t us = -1;
	ck_assert(scalar_duration("0", &us) && us == 0);
	ck_assert(scalar_duration("800ms", &us) && us == 800000);
	ck_assert(scalar_duration("1.5s", &us) && us == 1500000);
	ck_assert(scalar_duration("0.25ms", &us) && us == 250);
	ck_assert(scalar_duration("2m", &us) && us == 120000000);
	ck_assert(scalar_duration("1.5h", &us) && us == 5400000000);
	ck_assert(!scalar_duration("10", &us));
	ck_assert(!scalar_duration("10S", &us));
	ck_assert(!scalar_duration("1d", &us));
	ck_assert(!scalar_duration("9999999999999999h", &us));
}
END_TEST

/* --- diagnostics ----------------------------------------------------------------------------------------------- */

START_TEST(sorted_once)
{
	struct buf out = BUF_INIT;
	diagnostics_error(&d, (struct mark){"b.yaml", 1, 1}, "five");
	diagnostics_error(&d, (struct mark){"a.yaml", 10, 2}, "four");
	diagnostics_error(&d, (struct mark){"a.yaml", 2, 10}, "two");
	diagnostics_warning(&d, (struct mark){"a.yaml", 10, 1}, "three");
	diagnostics_error(&d, (struct mark){"a.yaml", 2, 9}, "one\x1b[31m %.2s", "a\xC3\xA4");
	diagnostics_error(&d, (struct mark){"a.yaml", 2, 10}, "two");
	ck_assert_uint_eq(d.errors, 5);
	diagnostics_sort(&d);
	ck_assert_uint_eq(d.errors, 4);
	diagnostics_print(&d, &out);
	ck_assert_str_eq(buf_cstr(&out), "a.yaml:2:9: one\\x1b[31m a?\na.yaml:2:10: two\na.yaml:10:1: warning: three\n"
					 "a.yaml:10:2: four\nb.yaml:1:1: five\n");
	buf_done(&out);
}
END_TEST

static const struct {
	const char *word, *nearest;
} words[] = {
	{"postgres", "postgres"},
	{"postgress", "postgres"},
	{"psotgres", "postgres"},
	{"Postgres", "postgres"},
	{"postgrse", "postgres"},
	{"mongo", NULL},
	{"mongdb", "mongodb"},
	{"mongoDB", "mongodb"},
	{"max_wating", "max_waiting"},
	{"maxWaiting", "max_waiting"},
	{"in", "in"},
	{"im", "in"},
	{"x", NULL},
	{"", NULL},
	{"something_else", NULL},
	{"a-word-that-is-so-long-that-nobody-can-have-meant-anything-by-it-at-all", NULL},
};

START_TEST(nearest)
{
	static const char *const names[] = {"postgres", "mongodb", "max_waiting", "in"};
	const char *found = nearest_name(words[_i].word, names, ARRAY_SIZE(names));
	const char *wanted = words[_i].nearest;
	ck_assert_msg(found == wanted || (found && wanted && strcmp(found, wanted) == 0), "%s: %s", words[_i].word,
		      found ? found : "nothing");
}
END_TEST

/* --- the merge key --------------------------------------------------------------------------------------------- */

static const struct {
	const char *yaml, *json;
} merges[] = {
	{"[ &a { x: 1, y: 2 }, { <<: *a, y: 3, z: 4 } ]", "[{\"x\":1,\"y\":2},{\"y\":3,\"z\":4,\"x\":1}]"},
	{"[ &a { x: 1, y: 2 }, { y: 3, <<: *a } ]", "[{\"x\":1,\"y\":2},{\"y\":3,\"x\":1}]"},
	/* Of a list the first wins. */
	{"{ <<: [ { x: 1 }, { x: 2, y: 2 }, {} ] }", "{\"x\":1,\"y\":2}"},
	{"{ <<: { <<: { x: 1 }, y: 2 }, z: 3 }", "{\"z\":3,\"y\":2,\"x\":1}"},
	{"{ <<: [] , a: 1 }", "{\"a\":1}"},
	{"{ \"<<\": { x: 1 } }", "{\"<<\":{\"x\":1}}"},
	/* A merged mapping is not merged into: what is below is taken whole. */
	{"{ <<: { a: { x: 1 } }, a: { y: 2 } }", "{\"a\":{\"y\":2}}"},
};

START_TEST(merging)
{
	ck_assert_str_eq(json_of(parse(merges[_i].yaml)), merges[_i].json);
}
END_TEST

/* What was merged stands where it was written. */
START_TEST(merged_places)
{
	const struct node *n = parse("base: &base\n  key: value\nother:\n  <<: *base\n");
	const struct node *value = node_member(node_member(n, "other"), "key");
	ck_assert_uint_eq(value->at.line, 2);
	ck_assert_uint_eq(value->at.column, 8);
}
END_TEST

/* Merging counts as its aliases expand, and costs no square of the keys. */
START_TEST(merging_is_bounded)
{
	struct buf text = BUF_INIT;
	buf_lit(&text, "- &a {");
	for (int i = 0; i < 10000; i++)
		buf_printf(&text, "k%d: 1, ", i);
	buf_lit(&text, "}\n- { <<: [ *a, *a, *a ] }\n");
	const struct node *n = parse(buf_cstr(&text));
	ck_assert_uint_eq(n->items[1]->count, 10000);
	for (int i = 0; i < 33; i++)
		buf_lit(&text, "- { <<: [ *a, *a, *a ] }\n");
	ck_assert_ptr_null(yaml_parse(&arena, "t.yaml", text.data, text.len, &d));
	ck_assert_str_eq(d.items[0].text, "too large: the aliases up to here add more than 1000000 values");
	buf_done(&text);
}
END_TEST

/* The texts of t in one, references as <name>. */
static const char *shape_of(const struct template *t)
{
	struct buf out = BUF_INIT;
	for (size_t i = 0; i < t->count; i++) {
		const struct template_piece *p = &t->pieces[i];
		if (p->text)
			buf_append(&out, p->text, p->len);
		else
			buf_printf(&out, "<%s>", p->reference.root);
	}
	const char *copy = arena_strdup(&arena, buf_cstr(&out));
	buf_done(&out);
	return copy;
}

static const struct {
	const char *value, *yaml, *shape; /* shape: NULL: refused */
} supplied[] = {
	{"{id}", "'${TEST_DATA}'", "{id}"},
	{"{id}", "'a{x}${TEST_DATA}{y}'", "a<x>{id}<y>"},
	{"}}{{{}", "'${TEST_DATA}{{${TEST_DATA}}}'", "}}{{{}{}}{{{}}"},
	{"{", "'{${TEST_DATA}{x}'", NULL},
	{"{", "'{{${TEST_DATA}{x}'", "{{<x>"},
	{"}", "'{x${TEST_DATA}'", NULL},
	{"x", "'{${TEST_DATA}}'", NULL},
	{"x", "'{a.${TEST_DATA}}'", NULL},
	{"$${x} \"'#*: \n-", "\"${TEST_DATA}{x}\"", "$${x} \"'#*: \n-<x>"},
	{"{a: [1", "- ${TEST_DATA}", "{a: [1"},
};

/* What a variable supplies is data: no reference, no part of one, no literal brace of the file's. */
START_TEST(variables_are_data)
{
	setenv("TEST_DATA", supplied[_i].value, 1);
	const struct node *n = parse(supplied[_i].yaml);
	struct template t;
	if (n->kind == NODE_SEQUENCE)
		n = n->items[0];
	bool good = template_parse(&t, &arena, n, &d);
	unsetenv("TEST_DATA");
	ck_assert_int_eq(good, supplied[_i].shape != NULL);
	if (good)
		ck_assert_str_eq(shape_of(&t), supplied[_i].shape);
	for (size_t i = 0; i < d.count; i++)
		ck_assert_ptr_null(strstr(d.items[i].text, "a.x"));
}
END_TEST

/* Text that says nothing is an absent value. */
START_TEST(nothing)
{
	ck_assert(node_is_absent(parse("")));
	ck_assert(node_is_absent(parse("# a comment\n---\n...\n")));
	ck_assert(!node_is_absent(parse("null")));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config_yaml");
	TCase *t = tcase_create("yaml");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, scalar, 0, ARRAY_SIZE(scalars));
	tcase_add_test(t, tree);
	tcase_add_test(t, aliases);
	tcase_add_test(t, deepest);
	tcase_add_loop_test(t, place, 0, ARRAY_SIZE(places));
	tcase_add_test(t, body_of_folded);
	tcase_add_test(t, sizes);
	tcase_add_test(t, durations);
	tcase_add_test(t, sorted_once);
	tcase_add_loop_test(t, nearest, 0, ARRAY_SIZE(words));
	tcase_add_loop_test(t, merging, 0, (int)ARRAY_SIZE(merges));
	tcase_add_test(t, merged_places);
	tcase_add_test(t, merging_is_bounded);
	tcase_add_loop_test(t, variables_are_data, 0, ARRAY_SIZE(supplied));
	tcase_add_test(t, nothing);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

/* Joins of results that are made of JSON text: keys as JSON values, one and many, joins into joins, the ways into what
 * was joined, sides without rows. And the canonical form of numbers that keys are compared by. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "handlers/gather/join.h"
#include "handlers/gather/text_result.h"
#include "tests/unit/async/async_fixture.h"

static struct arena arena;

static void set_up(void)
{
	arena_init(&arena);
}

static void tear_down(void)
{
	arena_done(&arena);
}

/* --- results --- */

struct side {
	struct outcome outcome;
	struct config_step step;
};

/* json NULL: there is no result. */
static struct side side_of(const char *json, enum expect expect)
{
	struct side s = {.outcome.kind = OUTCOME_RESULT, .step.expect = expect};
	if (json)
		s.outcome.result = text_result_new(cached_new(json, strlen(json), NULL, 0));
	return s;
}

static struct side rows(const char *json)
{
	return side_of(json, EXPECT_MANY);
}

static void apply(struct side *into, struct side *from, const char *key, const char *equals, const char *as, bool many)
{
	const struct config_join join = {.key = key, .equals = equals, .as = as, .many = many};
	ck_assert_int_eq(join_apply(&join, (struct join_side){&into->outcome, &into->step},
				    (struct join_side){&from->outcome, &from->step}, &arena),
			 0);
}

static void release(struct side *s)
{
	result_free(s->outcome.result);
}

static void check_text(struct side *s, const char *expected)
{
	struct buf out = BUF_INIT;
	s->outcome.result->ops->render(s->outcome.result, &out);
	ck_assert_str_eq(buf_cstr(&out), expected);
	buf_done(&out);
}

static void check_join(const char *into, const char *from, bool many, const char *expected)
{
	struct side i = rows(into), f = rows(from);
	apply(&i, &f, "k", "k", "x", many);
	check_text(&i, expected);
	release(&i);
	release(&f);
}

/* --- keys --- */

/* Do two JSON texts match each other as keys? In both directions. */
static bool keys_match(const char *a, const char *b)
{
	char into[256], from[256], matched[512];
	snprintf(into, sizeof(into), "[{\"k\":%s}]", a);
	snprintf(from, sizeof(from), "[{\"k\":%s}]", b);
	struct side i = rows(into), f = rows(from);
	struct buf out = BUF_INIT;
	apply(&i, &f, "k", "k", "x", true);
	i.outcome.result->ops->render(i.outcome.result, &out);
	snprintf(matched, sizeof(matched), "\"x\":[{\"k\":%s}]}]", b);
	bool match = strstr(buf_cstr(&out), matched);
	if (!match)
		ck_assert_ptr_nonnull(strstr(buf_cstr(&out), "\"x\":[]}]"));
	buf_done(&out);
	release(&i);
	release(&f);
	return match;
}

static const struct {
	const char *a, *b;
	bool match;
} keys[] = {
	{"1", "1", true},
	{"1", "1.0", true},
	{"1", "10e-1", true},
	{"100", "1e2", true},
	{"100", "1E+2", true},
	{"0.5", "5e-1", true},
	{"0", "-0", true},
	{"0", "0.000", true},
	{"0", "0e9", true},
	{"1200", "12e2", true},
	{"-1200", "-1.2e3", true},
	{"-9223372036854775808", "-9223372036854775808.0", true},
	{"-9223372036854775808", "9223372036854775808", false},
	{"10", "100", false},
	{"-1.50", "-1.5", true},
	{"1", "-1", false},
	{"1", "10", false},
	{"1", "0.1", false},
	{"0.01", "0.1", false},
	{"12345678901234567890.10", "12345678901234567890.1", true},
	{"9007199254740993", "9007199254740992", false}, /* one as a double */
	{"1", "\"1\"", false},
	{"1", "true", false},
	{"0", "false", false},
	{"\"\"", "null", false},
	{"null", "null", false},
	{"true", "true", true},
	{"true", "false", false},
	{"true", "\"true\"", false},
	{"\"a\"", "\"a\"", true},
	{"\"a\"", "\"A\"", false},
	{"\"a\"", "\"\\u0061\"", true}, /* the same value, spelled in another way */
	{"\"a\\u0000b\"", "\"a\\u0000c\"", false},
	{"\"a\\u0000b\"", "\"a\\u0000b\"", true},
	{"[1,2]", "[1,2]", true},
	{"[1]", "1", false},
	{"{\"a\":1}", "\"{\\\"a\\\":1}\"", false},
	{"\"n1e1\"", "1", false}, /* what the forms look like inside must not matter */
	{"\"\"", "\"\"", true},
};

START_TEST(keys_are_compared_as_json_values)
{
	const char *a = keys[_i].a, *b = keys[_i].b;
	ck_assert_msg(keys_match(a, b) == keys[_i].match, "%s and %s", a, b);
	ck_assert_msg(keys_match(b, a) == keys[_i].match, "%s and %s", b, a);
}
END_TEST

START_TEST(a_row_without_the_key_matches_nothing)
{
	check_join("[{\"a\":1},{\"k\":null},{\"k\":2}]", "[{\"b\":1},{\"k\":null},{\"k\":2}]", true,
		   "[{\"a\":1,\"x\":[]},{\"k\":null,\"x\":[]},{\"k\":2,\"x\":[{\"k\":2}]}]");
}
END_TEST

/* --- one and many --- */

START_TEST(one_is_the_first_that_matches_or_null)
{
	check_join("[{\"k\":1},{\"k\":3},{\"k\":1},{\"k\":2}]",
		   "[{\"k\":2,\"n\":\"a\"},{\"k\":1,\"n\":\"b\"},{\"k\":1,\"n\":\"c\"}]", false,
		   "[{\"k\":1,\"x\":{\"k\":1,\"n\":\"b\"}},{\"k\":3,\"x\":null},"
		   "{\"k\":1,\"x\":{\"k\":1,\"n\":\"b\"}},{\"k\":2,\"x\":{\"k\":2,\"n\":\"a\"}}]");
}
END_TEST

START_TEST(many_are_all_that_match_in_their_order)
{
	check_join("[{\"k\":1},{\"k\":3},{\"k\":2}]",
		   "[{\"k\":2,\"n\":\"a\"},{\"k\":1,\"n\":\"b\"},{\"k\":2,\"n\":\"c\"},{\"k\":2.0,\"n\":\"d\"}]", true,
		   "[{\"k\":1,\"x\":[{\"k\":1,\"n\":\"b\"}]},{\"k\":3,\"x\":[]},"
		   "{\"k\":2,\"x\":[{\"k\":2,\"n\":\"a\"},{\"k\":2,\"n\":\"c\"},{\"k\":2.0,\"n\":\"d\"}]}]");
}
END_TEST

START_TEST(many_rows_find_their_own)
{
	enum { COUNT = 2000 };
	struct buf into = BUF_INIT, from = BUF_INIT, expected = BUF_INIT;
	buf_char(&into, '[');
	buf_char(&from, '[');
	buf_char(&expected, '[');
	for (int i = 0; i < COUNT; i++) {
		const char *comma = i ? "," : "";
		buf_printf(&into, "%s{\"k\":%d}", comma, i);
		buf_printf(&from, "%s{\"k\":\"%d\"},{\"k\":%d.0,\"n\":1},{\"k\":%d,\"n\":2}", comma, i, COUNT - 1 - i,
			   COUNT - 1 - i);
		buf_printf(&expected, "%s{\"k\":%d,\"x\":[{\"k\":%d.0,\"n\":1},{\"k\":%d,\"n\":2}]}", comma, i, i, i);
	}
	buf_char(&into, ']');
	buf_char(&from, ']');
	buf_char(&expected, ']');
	check_join(buf_cstr(&into), buf_cstr(&from), true, buf_cstr(&expected));
	buf_done(&into);
	buf_done(&from);
	buf_done(&expected);
}
END_TEST

/* --- what may stand on the two sides --- */

static const struct {
	enum expect into_expect, from_expect;
	const char *into, *from; /* NULL: the step brought nothing */
	const char *one, *many;
} sides[] = {
	{EXPECT_MANY, EXPECT_MANY, "[]", "[{\"k\":1}]", "[]", "[]"},
	{EXPECT_MANY, EXPECT_MANY, "[{\"k\":1}]", "[]", "[{\"k\":1,\"x\":null}]", "[{\"k\":1,\"x\":[]}]"},
	{EXPECT_MANY, EXPECT_MANY, "[{\"k\":1}]", NULL, "[{\"k\":1,\"x\":null}]", "[{\"k\":1,\"x\":[]}]"},
	{EXPECT_MANY, EXPECT_MAYBE, "[{\"k\":1}]", "null", "[{\"k\":1,\"x\":null}]", "[{\"k\":1,\"x\":[]}]"},
	{EXPECT_MANY, EXPECT_ONE, "[{\"k\":1}]", "{\"k\":1}", "[{\"k\":1,\"x\":{\"k\":1}}]",
	 "[{\"k\":1,\"x\":[{\"k\":1}]}]"},
	{EXPECT_ONE, EXPECT_MANY, "{\"k\":1}", "[{\"k\":1},{\"k\":1}]", "{\"k\":1,\"x\":{\"k\":1}}",
	 "{\"k\":1,\"x\":[{\"k\":1},{\"k\":1}]}"},
	{EXPECT_MAYBE, EXPECT_MANY, "null", "[{\"k\":1}]", "null", "null"},
	{EXPECT_ONE, EXPECT_MANY, "{}", "[{\"k\":1}]", "{\"x\":null}", "{\"x\":[]}"},
	/* the JSON of a service: an array, an object, or something that has no rows */
	{EXPECT_JSON, EXPECT_JSON, "[{\"k\":1}]", "[{\"k\":1}]", "[{\"k\":1,\"x\":{\"k\":1}}]",
	 "[{\"k\":1,\"x\":[{\"k\":1}]}]"},
	{EXPECT_JSON, EXPECT_JSON, "{\"k\":1}", "{\"k\":1}", "{\"k\":1,\"x\":{\"k\":1}}",
	 "{\"k\":1,\"x\":[{\"k\":1}]}"},
	{EXPECT_JSON, EXPECT_JSON, "7", "[{\"k\":1}]", "7", "7"},
	{EXPECT_JSON, EXPECT_JSON, "\"}\"", "[{\"k\":1}]", "\"}\"", "\"}\""},
	{EXPECT_JSON, EXPECT_JSON, "[1,\"}\",[],{\"k\":1}]", "[4,{\"k\":1}]", "[1,\"}\",[],{\"k\":1,\"x\":{\"k\":1}}]",
	 "[1,\"}\",[],{\"k\":1,\"x\":[{\"k\":1}]}]"},
	{EXPECT_JSON, EXPECT_JSON, "[{\"k\":1}]", "null", "[{\"k\":1,\"x\":null}]", "[{\"k\":1,\"x\":[]}]"},
};

START_TEST(sides_of_every_shape)
{
	for (int many = 0; many < 2; many++) {
		struct side i = side_of(sides[_i].into, sides[_i].into_expect);
		struct side f = side_of(sides[_i].from, sides[_i].from_expect);
		apply(&i, &f, "k", "k", "x", many);
		check_text(&i, many ? sides[_i].many : sides[_i].one);
		release(&i);
		release(&f);
	}
}
END_TEST

START_TEST(into_a_step_that_brought_nothing)
{
	struct side i = side_of(NULL, EXPECT_MANY), f = rows("[{\"k\":1}]");
	apply(&i, &f, "k", "k", "x", false);
	ck_assert_ptr_null(i.outcome.result);
	release(&f);
}
END_TEST

START_TEST(the_names_need_escaping)
{
	struct side i = rows("[{\"a\\\"b\":1}]"), f = rows("[{\"\xc3\xa4\":1}]");
	apply(&i, &f, "a\"b", "\xc3\xa4", "x\"\n", false);
	check_text(&i, "[{\"a\\\"b\":1,\"x\\\"\\n\":{\"\xc3\xa4\":1}}]");
	release(&i);
	release(&f);
}
END_TEST

/* --- joins of joins --- */

START_TEST(several_are_joined_into_one_in_their_order)
{
	struct side i = rows("[{\"k\":1},{\"k\":2}]"), f = rows("[{\"k\":1,\"f\":0}]"), g = rows("[{\"k\":2,\"g\":0}]");
	apply(&i, &f, "k", "k", "f", false);
	apply(&i, &g, "k", "k", "g", true);
	check_text(&i, "[{\"k\":1,\"f\":{\"k\":1,\"f\":0},\"g\":[]},{\"k\":2,\"f\":null,\"g\":[{\"k\":2,\"g\":0}]}]");
	release(&i);
	release(&f);
	release(&g);
}
END_TEST

/* c into b, then b into a: whatever the steps were expected to bring. */
static void check_chain(enum expect expect)
{
	struct side a = side_of("[{\"k\":1}]", expect), b = side_of("[{\"k\":1,\"c\":7},{\"k\":1,\"c\":8}]", expect),
		    c = side_of("[{\"id\":8}]", expect);
	apply(&b, &c, "c", "id", "c2", false);
	apply(&a, &b, "k", "k", "b", true);
	check_text(&a, "[{\"k\":1,\"b\":[{\"k\":1,\"c\":7,\"c2\":null},{\"k\":1,\"c\":8,\"c2\":{\"id\":8}}]}]");
	release(&a);
	release(&b);
	release(&c);
}

START_TEST(what_was_joined_into_is_joined_itself)
{
	check_chain(EXPECT_MANY);
	check_chain(EXPECT_JSON);
}
END_TEST

/* --- the ways into what was joined --- */

#define MEMBER(s)                                                                                                      \
	{                                                                                                              \
		.kind = PATH_MEMBER, .name = (s), .name_len = sizeof(s) - 1                                            \
	}
#define EACH                                                                                                           \
	{                                                                                                              \
		.kind = PATH_EACH                                                                                      \
	}
#define INDEX(i)                                                                                                       \
	{                                                                                                              \
		.kind = PATH_INDEX, .index = (i)                                                                       \
	}

static const struct {
	struct path_segment segments[4];
	size_t count;
	const char *expected;
} ways[] = {
	{{EACH, MEMBER("x"), MEMBER("n")}, 3, "[\"a\",null]"},
	{{EACH, MEMBER("x")}, 2, "[{\"k\":1,\"n\":\"a\"},null]"},
	{{EACH, MEMBER("k")}, 2, "[1,2]"},
	{{EACH, MEMBER("y"), EACH, MEMBER("n")}, 4, "[\"p\",\"q\"]"}, /* what is in lists becomes one list */
	{{INDEX(1), MEMBER("y")}, 2, "[{\"k\":2,\"n\":\"p\"},{\"k\":2,\"n\":\"q\"}]"},
	{{INDEX(1), MEMBER("y"), INDEX(1), MEMBER("n")}, 4, "\"q\""},
	{{INDEX(0), MEMBER("y")}, 2, "[]"},
	{{INDEX(0), MEMBER("x"), MEMBER("n")}, 3, "\"a\""},
	{{INDEX(0)}, 1, "{\"k\":1,\"x\":{\"k\":1,\"n\":\"a\"},\"y\":[]}"},
	{{INDEX(2)}, 1, "null"},
	{{MEMBER("k")}, 1, "null"},
	{{INDEX(0), MEMBER("nope")}, 2, "null"},
	{{INDEX(0), MEMBER("x"), MEMBER("n"), MEMBER("deeper")}, 4, "null"},
	{{EACH},
	 1,
	 "[{\"k\":1,\"x\":{\"k\":1,\"n\":\"a\"},\"y\":[]},"
	 "{\"k\":2,\"x\":null,\"y\":[{\"k\":2,\"n\":\"p\"},{\"k\":2,\"n\":\"q\"}]}]"},
	{{EACH},
	 0,
	 "[{\"k\":1,\"x\":{\"k\":1,\"n\":\"a\"},\"y\":[]},"
	 "{\"k\":2,\"x\":null,\"y\":[{\"k\":2,\"n\":\"p\"},{\"k\":2,\"n\":\"q\"}]}]"},
};

static struct value get(const struct side *s, const struct path_segment *segments, size_t count)
{
	const struct path path = {.segments = segments, .count = count};
	return s->outcome.result->ops->get(s->outcome.result, &path, &arena);
}

START_TEST(ways_into_what_was_joined)
{
	struct side i = rows("[{\"k\":1},{\"k\":2}]"), f = rows("[{\"k\":1,\"n\":\"a\"}]"),
		    g = rows("[{\"k\":2,\"n\":\"p\"},{\"k\":2,\"n\":\"q\"}]");
	apply(&i, &f, "k", "k", "x", false);
	apply(&i, &g, "k", "k", "y", true);
	struct buf out = BUF_INIT;
	struct value v = get(&i, ways[_i].segments, ways[_i].count);
	value_render(&v, &out);
	ck_assert_str_eq(buf_cstr(&out), ways[_i].expected);

	/* The same in two steps: to the value, and from it. */
	struct value whole = get(&i, NULL, 0);
	v = value_follow(&whole, ways[_i].segments, ways[_i].count, &arena);
	out.len = 0;
	value_render(&v, &out);
	ck_assert_str_eq(buf_cstr(&out), ways[_i].expected);
	buf_done(&out);
	release(&i);
	release(&f);
	release(&g);
}
END_TEST

START_TEST(ways_into_a_single_row)
{
	static const struct path_segment name[] = {MEMBER("x"), MEMBER("n")}, each[] = {EACH};
	struct side i = side_of("{\"k\":1}", EXPECT_ONE), f = rows("[{\"k\":1,\"n\":\"a\"}]");
	apply(&i, &f, "k", "k", "x", false);
	struct value v = get(&i, name, 2);
	ck_assert_int_eq(v.kind, VALUE_STRING);
	ck_assert_int_eq((int)v.len, 1);
	v = get(&i, NULL, 0);
	ck_assert(!value_falsy(&v));
	v = get(&i, each, 1);
	ck_assert(value_falsy(&v));
	release(&i);
	release(&f);
}
END_TEST

START_TEST(an_added_member_hides_one_of_the_row)
{
	static const struct path_segment x[] = {INDEX(0), MEMBER("x"), MEMBER("k")};
	struct side i = rows("[{\"k\":1,\"x\":5}]"), f = rows("[{\"k\":1}]");
	apply(&i, &f, "k", "k", "x", false);
	/* Of two members of a name the last wins, as a reader of the JSON would have it. */
	check_text(&i, "[{\"k\":1,\"x\":5,\"x\":{\"k\":1}}]");
	ck_assert_int_eq(get(&i, x, 3).integer, 1);
	release(&i);
	release(&f);
}
END_TEST

/* --- numbers --- */

static const struct {
	const char *number, *canonical;
} numbers[] = {
	{"0", "e0"},          {"-0", "e0"},
	{"0.00", "e0"},       {"0e99", "e0"},
	{"1", "1e1"},         {"1.0", "1e1"},
	{"10e-1", "1e1"},     {"0.1", "1e0"},
	{"0.01", "1e-1"},     {"100", "1e3"},
	{"-12.50", "-125e2"}, {"1e400", "1e401"},
	{"1E-400", "1e-399"}, {"120e-1", "12e2"},
	{"0.120", "12e0"},    {"123456789012345678901234567890", "12345678901234567890123456789e30"},
};

START_TEST(equal_numbers_have_one_form)
{
	struct buf out = BUF_INIT;
	decimal_canonical(&out, numbers[_i].number, strlen(numbers[_i].number));
	ck_assert_str_eq(buf_cstr(&out), numbers[_i].canonical);
	buf_done(&out);
}
END_TEST

/* Random pairs: the forms are equal where the comparison says so, and nowhere else. */
START_TEST(the_form_agrees_with_the_comparison)
{
	uint64_t state = 7;
	unsigned equal = 0;
	for (int i = 0; i < 20000; i++) {
		char text[2][32];
		struct buf form[2] = {BUF_INIT, BUF_INIT};
		for (int k = 0; k < 2; k++) {
			snprintf(text[k], sizeof(text[k]), "%s%u.%0*ue%d", next_random(&state) % 2 ? "-" : "",
				 next_random(&state) % 12, 1 + (int)(next_random(&state) % 3),
				 next_random(&state) % 4 * 10, (int)(next_random(&state) % 5) - 2);
			decimal_canonical(&form[k], text[k], strlen(text[k]));
		}
		bool same = decimal_compare(text[0], strlen(text[0]), text[1], strlen(text[1])) == 0;
		ck_assert_msg((strcmp(buf_cstr(&form[0]), buf_cstr(&form[1])) == 0) == same, "%s %s", text[0], text[1]);
		equal += same;
		buf_done(&form[0]);
		buf_done(&form[1]);
	}
	ck_assert_uint_gt(equal, 30);
}
END_TEST

/* --- what multiplies --- */

/* count rows with the same key. */
static struct side alike(unsigned count)
{
	struct buf text = BUF_INIT;
	for (unsigned i = 0; i < count; i++)
		buf_str(&text, i ? ",{\"k\":1}" : "[{\"k\":1}");
	buf_char(&text, ']');
	struct side s = rows(buf_cstr(&text));
	buf_done(&text);
	return s;
}

START_TEST(more_matches_than_can_be_joined)
{
	const struct config_join join = {.key = "k", .equals = "k", .as = "x", .many = true};
	struct side i = alike(JOIN_MAX_MATCHES >> 12), f = alike((1 << 12) + 1);
	struct join_side into = {&i.outcome, &i.step};
	ck_assert_int_eq(join_apply(&join, into, (struct join_side){&f.outcome, &f.step}, &arena), -EMSGSIZE);
	release(&f);
	f = alike(1 << 12);
	ck_assert_int_eq(join_apply(&join, into, (struct join_side){&f.outcome, &f.step}, &arena), 0);
	release(&i);
	release(&f);
}
END_TEST

/* Can all of what the way gives be rendered? */
static bool listed(struct side *s, const struct path_segment *segments, size_t count)
{
	const struct path path = {segments, count};
	struct buf out = {.limit = 64 << 20};
	struct value v = s->outcome.result->ops->get(s->outcome.result, &path, &arena);
	value_render(&v, &out);
	bool whole = !buf_over(&out);
	buf_done(&out);
	return whole;
}

START_TEST(ways_that_multiply)
{
	static const struct path_segment way[] = {EACH, MEMBER("x"), EACH, MEMBER("x"),
						  EACH, MEMBER("x"), EACH, MEMBER("k")};
	struct side a = alike(32), more = alike(33), b = alike(32), c = alike(32), d = alike(32);
	apply(&c, &d, "k", "k", "x", true);
	apply(&b, &c, "k", "k", "x", true);
	apply(&a, &b, "k", "k", "x", true);
	apply(&more, &b, "k", "k", "x", true);
	ck_assert_msg(listed(&a, way, ARRAY_SIZE(way)), "32^4 are as many as may be");
	ck_assert_msg(listed(&a, way, 7), "as many rows");
	ck_assert_msg(!listed(&more, way, ARRAY_SIZE(way)), "33 * 32^3");
	ck_assert_msg(!listed(&more, way, 6), "as many rows in lists");
	ck_assert_msg(listed(&more, way, 4), "33 * 32^2");
	release(&a);
	release(&more);
	release(&b);
	release(&c);
	release(&d);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("join");
	TCase *c = async_tcase(s, "join");
	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_add_loop_test(c, keys_are_compared_as_json_values, 0, ARRAY_SIZE(keys));
	tcase_add_test(c, a_row_without_the_key_matches_nothing);
	tcase_add_test(c, one_is_the_first_that_matches_or_null);
	tcase_add_test(c, many_are_all_that_match_in_their_order);
	tcase_add_test(c, many_rows_find_their_own);
	tcase_add_loop_test(c, sides_of_every_shape, 0, ARRAY_SIZE(sides));
	tcase_add_test(c, into_a_step_that_brought_nothing);
	tcase_add_test(c, the_names_need_escaping);
	tcase_add_test(c, several_are_joined_into_one_in_their_order);
	tcase_add_test(c, what_was_joined_into_is_joined_itself);
	tcase_add_loop_test(c, ways_into_what_was_joined, 0, ARRAY_SIZE(ways));
	tcase_add_test(c, ways_into_a_single_row);
	tcase_add_test(c, an_added_member_hides_one_of_the_row);
	tcase_add_test(c, more_matches_than_can_be_joined);
	tcase_add_test(c, ways_that_multiply);
	tcase_add_loop_test(c, equal_numbers_have_one_form, 0, ARRAY_SIZE(numbers));
	tcase_add_test(c, the_form_agrees_with_the_comparison);
	return run_suite(s);
}

/* Documents with references: what becomes of values, and what they may not bring. */
#include "base/json.h"
#include "tests/unit/drivers/mongo/mongo_fixture.h"

#include "drivers/mongo/bson/bson_json.h"
#include "drivers/mongo/bson/follow.h"
#include "drivers/mongo/bson/template.h"

static struct fixture *f;

static void setup(void)
{
	f = malloc(sizeof(*f));
	fixture_config(f);
}

static void teardown(void)
{
	arena_done(&f->arena);
	diagnostics_done(&f->diagnostics);
	free(f);
}

static bool compile_text(struct mongo_template *t, const char *text, enum mongo_template_use use, bool read_only)
{
	struct slots slots = {.sink.add = add_slot};
	struct action_env env = {
		.arena = &f->arena,
		.diagnostics = &f->diagnostics,
		.references = &slots.sink,
		.endpoint = &f->endpoint,
		.read_only = read_only,
	};
	return mongo_template_compile(t, yaml(f, text), use, &env);
}

/* The document in relaxed JSON, or "! status public". */
static const char *fill(const struct mongo_template *t, const struct value *args, bool array)
{
	struct buf bytes = BUF_INIT, json = BUF_INIT;
	struct error e = ERROR_INIT;
	const char *out;
	bson_t b;

	if (mongo_template_fill(t, args, &f->arena, &bytes, &e) < 0) {
		ck_assert_int_eq(e.errnum, -EINVAL);
		out = arena_printf(&f->arena, "! %d %s", e.status, e.public);
	} else {
		ck_assert(bson_init_static(&b, (uint8_t *)bytes.data, bytes.len));
		ck_assert(bson_validate(&b, BSON_VALIDATE_NONE, NULL));
		mongo_render_document(&json, (uint8_t *)bytes.data, bytes.len, array, MONGO_JSON_RELAXED);
		out = arena_strndup(&f->arena, json.data, json.len);
	}
	buf_done(&bytes);
	buf_done(&json);
	return out;
}

static const char *fill_text(const char *text, enum mongo_template_use use, const struct value *args)
{
	struct mongo_template t;

	for (size_t i = 0; !compile_text(&t, text, use, true);)
		ck_abort_msg("%s: %s", text, f->diagnostics.items[i].text);
	return fill(&t, args, use == TEMPLATE_PIPELINE);
}

/* JSON as a value of the request. */
static struct value request(const char *json, bool structured)
{
	struct json *j;
	char what[96];

	ck_assert_msg(json_parse(&j, &f->arena, json, strlen(json), 200, what, sizeof(what)) == 0, "%s", what);
	struct value v = value_from_json(j);
	v.from_request = true;
	v.structured = structured;
	v.undeclared = !structured;
	return v;
}

static const struct {
	const char *text, *json;
} literals[] = {
	{"{}", "{}"},
	{"{ a: 1, b: 2147483648, c: 1.5, d: x, e: null, f: true, g: [ 1, [ 2 ], { h: 3 } ] }",
	 "{\"a\":1,\"b\":2147483648,\"c\":1.5,\"d\":\"x\",\"e\":null,\"f\":true,\"g\":[1,[2],{\"h\":3}]}"},
	{"{ a: { $gt: 1, $in: [ 1, 2 ] } }", "{\"a\":{\"$gt\":1,\"$in\":[1,2]}}"},
	{"{ a: { $oid: 0123456789abcdef01234567 } }", "{\"a\":{\"$oid\":\"0123456789abcdef01234567\"}}"},
	{"{ a: { $date: 2024-02-29 } }", "{\"a\":{\"$date\":\"2024-02-29T00:00:00Z\"}}"},
	{"{ a: { $date: { $numberLong: \"1000\" } } }", "{\"a\":{\"$date\":\"1970-01-01T00:00:01Z\"}}"},
	{"{ a: { $numberDecimal: 1.10 } }", "{\"a\":{\"$numberDecimal\":\"1.10\"}}"},
	{"{ a: { $numberDecimal: \"0.1\" } }", "{\"a\":{\"$numberDecimal\":\"0.1\"}}"},
	{"{ a: { $numberLong: \"5\" }, b: { $numberInt: 6 }, c: { $numberDouble: 7 } }", "{\"a\":5,\"b\":6,\"c\":7.0}"},
	{"{ a: { $numberDecimal: \"NaN\" } }", "{\"a\":{\"$numberDecimal\":\"NaN\"}}"},
	{"{ a: { $numberDecimal: \"Infinity\" } }", "{\"a\":{\"$numberDecimal\":\"Infinity\"}}"},
	{"{ a: { $numberDecimal: \"-Infinity\" } }", "{\"a\":{\"$numberDecimal\":\"-Infinity\"}}"},
	{"{ a: { $numberDecimal: 1E+3 } }", "{\"a\":{\"$numberDecimal\":\"1E+3\"}}"},
	{"{ a: { $binary: { base64: \"AP8=\", subType: \"02\" } } }",
	 "{\"a\":{\"$binary\":{\"base64\":\"AP8=\",\"subType\":\"02\"}}}"},
	{"{ a: { $numberDouble: \"NaN\" } }", "{\"a\":{\"$numberDouble\":\"NaN\"}}"},
	{"{ a: { $binary: aGVsbG8= } }", "{\"a\":{\"$binary\":{\"base64\":\"aGVsbG8=\",\"subType\":\"00\"}}}"},
	{"{ a: { $binary: { base64: aGVsbG8=, subType: \"80\" } } }",
	 "{\"a\":{\"$binary\":{\"base64\":\"aGVsbG8=\",\"subType\":\"80\"}}}"},
	{"{ a: { $uuid: 73ffd264-44b3-4c69-90e8-e7d1dfc035d4 } }",
	 "{\"a\":{\"$binary\":{\"base64\":\"c//SZESzTGmQ6OfR38A11A==\",\"subType\":\"04\"}}}"},
	{"{ a: { $regularExpression: { pattern: ^x, options: im } } }",
	 "{\"a\":{\"$regularExpression\":{\"pattern\":\"^x\",\"options\":\"im\"}}}"},
	{"{ a: { $timestamp: { t: 1, i: 2 } }, b: { $minKey: 1 }, c: { $maxKey: 1 } }",
	 "{\"a\":{\"$timestamp\":{\"t\":1,\"i\":2}},\"b\":{\"$minKey\":1},\"c\":{\"$maxKey\":1}}"},
	{"{ $where: \"this.a > 1\", \"a{{b}}\": \"{{x}}\" }", "{\"$where\":\"this.a > 1\",\"a{b}\":\"{x}\"}"},
};

START_TEST(literals_are_encoded)
{
	ck_assert_str_eq(fill_text(literals[_i].text, TEMPLATE_FILTER, NULL), literals[_i].json);
}
END_TEST

static const struct {
	const char *text;
	enum mongo_template_use use;
	const char *why;
} mistakes[] = {
	{"[ 1 ]", TEMPLATE_FILTER, "expected a mapping"},
	{"{ a: 1 }", TEMPLATE_PIPELINE, "expected a sequence"},
	{"[ { $match: {}, $limit: 1 } ]", TEMPLATE_PIPELINE, "one key"},
	{"[ { match: {} } ]", TEMPLATE_PIPELINE, "one key"},
	{"{ \"{x}\": 1 }", TEMPLATE_FILTER, "never for a key"},
	{"{ a: { \"b{x}\": 1 } }", TEMPLATE_FILTER, "never for a key"},
	{"{ a: { $oid: 123 } }", TEMPLATE_FILTER, "not an ObjectId"},
	{"{ a: { $oid: [ 1 ] } }", TEMPLATE_FILTER, "unexpected"},
	{"{ a: { $date: yesterday } }", TEMPLATE_FILTER, "not a date"},
	{"{ a: { $numberDecimal: x } }", TEMPLATE_FILTER, "not a decimal"},
	{"{ a: { $numberInt: 2147483648 } }", TEMPLATE_FILTER, "32 bits"},
	{"{ a: { $binary: \"!\" } }", TEMPLATE_FILTER, "not base64"},
	{"{ a: { $binary: { base64: aa, subType: xx } } }", TEMPLATE_FILTER, "hexadecimal"},
	{"{ a: { $uuid: x } }", TEMPLATE_FILTER, "not a UUID"},
	{"{ a: { $regularExpression: { pattern: x, options: z } } }", TEMPLATE_FILTER, "options"},
	{"{ a: { $timestamp: { t: x, i: 1 } } }", TEMPLATE_FILTER, "expected"},
	{"{ $where: \"this.a == {x}\" }", TEMPLATE_FILTER, "JavaScript"},
	{"[ { $project: { a: { $function: { body: f, args: [ \"{x}\" ], lang: js } } } } ]", TEMPLATE_PIPELINE,
	 "JavaScript"},
	{"[ { $group: { _id: 1, a: { $accumulator: { init: \"{x}\" } } } } ]", TEMPLATE_PIPELINE, "JavaScript"},
	{"[ { $project: { a: \"$b.{x}\" } } ]", TEMPLATE_PIPELINE, "names a field"},
	{"{ $expr: { $eq: [ \"$$ROOT.{x}\", 1 ] } }", TEMPLATE_FILTER, "names a field"},
	{"[ { $out: elsewhere } ]", TEMPLATE_PIPELINE, "$out writes"},
	{"[ { $match: {} }, { $merge: { into: elsewhere } } ]", TEMPLATE_PIPELINE, "$merge writes"},
	{"{ a: \"{x\" }", TEMPLATE_FILTER, ""},
};

START_TEST(mistakes_are_found_at_load)
{
	struct mongo_template t;

	ck_assert(!compile_text(&t, mistakes[_i].text, mistakes[_i].use, true));
	ck_assert_uint_ge(f->diagnostics.errors, 1);
	ck_assert_msg(strstr(f->diagnostics.items[0].text, mistakes[_i].why), "%s", f->diagnostics.items[0].text);
	ck_assert_uint_ge(f->diagnostics.items[0].at.line, 1);
}
END_TEST

START_TEST(writing_stages_where_writing_is_allowed)
{
	struct mongo_template t;

	ck_assert(compile_text(&t, "[ { $match: {} } ]", TEMPLATE_PIPELINE, false));
	ck_assert(!t.writes);
	ck_assert(compile_text(&t, "[ { $out: elsewhere } ]", TEMPLATE_PIPELINE, false));
	ck_assert(t.writes);
}
END_TEST

START_TEST(deep_configurations_are_refused)
{
	struct mongo_template t;
	struct buf text = BUF_INIT;

	for (int i = 0; i < 80; i++)
		buf_lit(&text, "{a: ");
	buf_lit(&text, "1");
	for (int i = 0; i < 80; i++)
		buf_lit(&text, "}");
	const struct node *n = yaml_parse(&f->arena, "step", text.data, text.len, &f->diagnostics);
	/* Refused by the parser of YAML, or here. */
	if (n)
		ck_assert(!compile_text(&t, buf_cstr(&text), TEMPLATE_FILTER, true));
	ck_assert_uint_ge(f->diagnostics.errors, 1);
	buf_done(&text);
}
END_TEST

/* --- values --- */

/* `v` is JSON as the request's parameter; refused: the beginning of the message. */
static const struct {
	const char *text, *v;
	bool structured;
	const char *json;
} values[] = {
	{"{ a: \"{v}\" }", "5", false, "{\"a\":5}"},
	{"{ a: \"{v}\", b: 1 }", "\"x\"", false, "{\"a\":\"x\",\"b\":1}"},
	{"{ a: \"{v}\" }", "1.5", false, "{\"a\":1.5}"},
	{"{ a: \"{v}\" }", "1e999", false, "! 400 {v} is a number"},
	{"{ a: \"{v}\" }", "12345678901234567890", false, "{\"a\":1.2345678901234567e+19}"},
	{"{ a: \"{v}\" }", "null", false, "{\"a\":null}"},
	{"{ a: \"{v}\" }", "true", false, "{\"a\":true}"},
	{"{ a: \"<{v}>\" }", "5", false, "{\"a\":\"<5>\"}"},
	{"{ a: \"<{v}{v}>\" }", "null", false, "{\"a\":\"<>\"}"},
	{"{ a: \"{v}\" }", "\"$gt\"", false, "{\"a\":\"$gt\"}"},
	{"{ a: \"{v}\" }", "\"a\\u0000b\"", false, "! 400 {v} holds a NUL"},
	{"{ a: \"<{v}>\" }", "\"a\\u0000b\"", false, "! 400 {v} holds a NUL"},
	/* operators never come from the request */
	{"{ a: \"{v}\" }", "{\"$gt\":\"\"}", false, "! 400 {v} is an object or array"},
	{"{ a: \"{v}\" }", "[1]", false, "! 400 {v} is an object or array"},
	{"{ a: \"{v}\" }", "{\"$gt\":\"\"}", true, "! 400 {v} has a member"},
	{"{ a: \"{v}\" }", "{\"b\":[1,{\"c\":{\"$gt\":\"\"}}]}", true, "! 400 {v} has a member"},
	{"{ a: \"{v}\" }", "{\"b\\u0000\":1}", true, "! 400 {v} has a member"},
	{"{ a: \"{v}\" }", "{\"b\":\"\\u0000\"}", true, "! 400 {v} holds a NUL"},
	{"{ a: \"{v}\" }", "{\"b\":[1,{\"c\":\"$gt\"}],\"d\":{}}", true,
	 "{\"a\":{\"b\":[1,{\"c\":\"$gt\"}],\"d\":{}}}"},
	{"{ a: { $in: \"{v}\" } }", "[1,\"x\",null]", true, "{\"a\":{\"$in\":[1,\"x\",null]}}"},
	{"{ a: { $oid: \"{v}\" } }", "{\"$gt\":1}", true, "! 400 {v} is neither"},
	/* extended forms */
	{"{ a: { $oid: \"{v}\" } }", "\"0123456789abcdef01234567\"", false,
	 "{\"a\":{\"$oid\":\"0123456789abcdef01234567\"}}"},
	{"{ a: { $oid: \"{v}\" } }", "\"0123456789abcdef0123456x\"", false, "! 400 {v} is not an ObjectId"},
	{"{ a: { $oid: \"{v}\" } }", "\"012345678901\"", false, "! 400 {v} is not an ObjectId"},
	{"{ a: { $oid: \"{v}\" } }", "null", false, "{\"a\":null}"},
	{"{ a: { $date: \"{v}\" } }", "\"2024-02-29T12:00:00+01:00\"", false,
	 "{\"a\":{\"$date\":\"2024-02-29T11:00:00Z\"}}"},
	{"{ a: { $date: \"{v}T00:00:00Z\" } }", "\"2024-02-29\"", false,
	 "{\"a\":{\"$date\":\"2024-02-29T00:00:00Z\"}}"},
	{"{ a: { $date: \"{v}\" } }", "86400000", false, "{\"a\":{\"$date\":\"1970-01-02T00:00:00Z\"}}"},
	{"{ a: { $date: \"{v}\" } }", "\"soon\"", false, "! 400 {v} is not a date"},
	{"{ a: { $numberDecimal: \"{v}\" } }", "1.10", false, "{\"a\":{\"$numberDecimal\":\"1.10\"}}"},
	{"{ a: { $numberLong: \"{v}\" } }", "\"7\"", false, "{\"a\":7}"},
	{"{ a: { $numberLong: \"{v}\" } }", "7.5", false, "! 400 {v} is not an integer"},
	{"{ a: { $numberDouble: \"{v}\" } }", "7", false, "{\"a\":7.0}"},
	{"{ a: { $uuid: \"{v}\" } }", "\"nope\"", false, "! 400 {v} is not a UUID"},
	{"{ a: { $binary: \"{v}\" } }", "\"aGk\"", false,
	 "{\"a\":{\"$binary\":{\"base64\":\"aGk=\",\"subType\":\"00\"}}}"},
	{"{ a: { $regularExpression: { pattern: \"{v}\", options: i } } }", "\"x\"", false,
	 "{\"a\":{\"$regularExpression\":{\"pattern\":\"x\",\"options\":\"i\"}}}"},
	{"{ a: { $oid: \"{v}\" } }", "[\"0123456789abcdef01234567\"]", false, "! 400 {v} is an object or array"},
	{"{ a: { $in: { $oid: \"{v}\" } } }", "[\"0123456789abcdef01234567\",null]", true,
	 "{\"a\":{\"$in\":[{\"$oid\":\"0123456789abcdef01234567\"},null]}}"},
	/* in expressions a text could name a field */
	{"{ $expr: { $eq: [ \"$a\", \"{v}\" ] } }", "\"$password\"", false,
	 "{\"$expr\":{\"$eq\":[\"$a\",{\"$literal\":\"$password\"}]}}"},
	{"{ $expr: { $eq: [ \"$a\", \"{v}\" ] } }", "\"plain\"", false, "{\"$expr\":{\"$eq\":[\"$a\",\"plain\"]}}"},
	{"{ $expr: { $eq: [ \"$a\", \"{v}x\" ] } }", "\"$b\"", false,
	 "{\"$expr\":{\"$eq\":[\"$a\",{\"$literal\":\"$bx\"}]}}"},
	{"{ $expr: { $in: [ \"$a\", \"{v}\" ] } }", "[1,{\"b\":\"$c\"}]", true,
	 "{\"$expr\":{\"$in\":[\"$a\",{\"$literal\":[1,{\"b\":\"$c\"}]}]}}"},
};

START_TEST(values_take_their_places)
{
	struct value v = request(values[_i].v, values[_i].structured);
	const char *got = fill_text(values[_i].text, TEMPLATE_FILTER, &v);

	if (values[_i].json[0] == '!')
		ck_assert_msg(strncmp(got, values[_i].json, strlen(values[_i].json)) == 0, "%s", got);
	else
		ck_assert_str_eq(got, values[_i].json);
}
END_TEST

static const struct {
	const char *text, *json;
} pipelines[] = {
	{"[ { $match: { a: \"{v}\" } } ]", "[{\"$match\":{\"a\":\"$x\"}}]"},
	{"[ { $addFields: { a: \"{v}\" } } ]", "[{\"$addFields\":{\"a\":{\"$literal\":\"$x\"}}}]"},
	{"[ { $addFields: { query: { b: \"{v}\" } } } ]",
	 "[{\"$addFields\":{\"query\":{\"b\":{\"$literal\":\"$x\"}}}}]"},
	{"[ { $geoNear: { query: { b: \"{v}\" } } } ]", "[{\"$geoNear\":{\"query\":{\"b\":\"$x\"}}}]"},
	{"[ { $facet: { f: [ { $match: { a: \"{v}\" } }, { $project: { b: \"{v}\" } } ] } } ]",
	 "[{\"$facet\":{\"f\":[{\"$match\":{\"a\":\"$x\"}},{\"$project\":{\"b\":{\"$literal\":\"$x\"}}}]}}]"},
	{"[ { $match: { $expr: { $eq: [ \"$a\", \"{v}\" ] } } } ]",
	 "[{\"$match\":{\"$expr\":{\"$eq\":[\"$a\",{\"$literal\":\"$x\"}]}}}]"},
};

START_TEST(a_text_in_a_pipeline_is_never_a_field)
{
	struct value v = request("\"$x\"", false);

	ck_assert_str_eq(fill_text(pipelines[_i].text, TEMPLATE_PIPELINE, &v), pipelines[_i].json);
}
END_TEST

/* Nor is what a variable brings; what the file says is. */
START_TEST(a_variable_in_a_pipeline_is_never_a_field)
{
	struct value args[] = {VALUE_OF_NULL};
	setenv("TEST_DATA", "$ssn", 1);
	ck_assert_str_eq(
		fill_text("[ { $project: { a: '${TEST_DATA}', b: '$x.${TEST_DATA}' } } ]", TEMPLATE_PIPELINE, args),
		"[{\"$project\":{\"a\":{\"$literal\":\"$ssn\"},\"b\":\"$x.$ssn\"}}]");
	ck_assert_str_eq(fill_text("{ a: '${TEST_DATA}' }", TEMPLATE_FILTER, args), "{\"a\":\"$ssn\"}");
	unsetenv("TEST_DATA");
}
END_TEST

/* What another step brought is data, too; a fault of it is no fault of the request. */
START_TEST(values_of_other_steps)
{
	struct value items[] = {value_int(1), value_string("x", 1), VALUE_OF_NULL};
	struct value list = {.kind = VALUE_LIST, .count = 3, .list = items};
	struct value stored = request("{\"a\":{\"$gt\":1}}", true);
	struct value ids[] = {value_string("0123456789abcdef01234567", 24), VALUE_OF_NULL};
	struct value id_list = {.kind = VALUE_LIST, .count = 2, .list = ids};

	stored.from_request = false;
	ck_assert_str_eq(fill_text("{ a: { $in: \"{s[*].v}\" } }", TEMPLATE_FILTER, &list),
			 "{\"a\":{\"$in\":[1,\"x\",null]}}");
	ck_assert_str_eq(fill_text("{ a: { $in: { $oid: \"{s[*].v}\" } } }", TEMPLATE_FILTER, &id_list),
			 "{\"a\":{\"$in\":[{\"$oid\":\"0123456789abcdef01234567\"},null]}}");
	ck_assert_str_eq(fill_text("{ a: \"{s.v}\" }", TEMPLATE_FILTER, &stored), "! 500 ");
}
END_TEST

START_TEST(bson_of_other_steps_is_looked_through)
{
	bson_error_t error;
	static const struct {
		const char *json, *result;
	} cases[] = {
		{"{\"a\":[1,{\"b\":{\"$gt\":1}}]}", "! 500 "},
		{"{\"a\":[1,{\"b\":2}],\"c\":3}", "{\"x\":{\"a\":[1,{\"b\":2}],\"c\":3}}"},
		{"{\"$ref\":\"c\",\"$id\":7}", "{\"x\":{\"$ref\":\"c\",\"$id\":7}}"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bson_t *b = bson_new_from_json((const uint8_t *)cases[i].json, -1, &error);
		struct value v = {.kind = VALUE_FOREIGN,
				  .subtype = BSON_TYPE_DOCUMENT,
				  .foreign = bson_get_data(b),
				  .len = b->len,
				  .ops = &mongo_value_ops_plain};
		ck_assert_str_eq(fill_text("{ x: \"{s}\" }", TEMPLATE_FILTER, &v), cases[i].result);
		bson_destroy(b);
	}
}
END_TEST

START_TEST(a_parameter_with_format_objectid_is_one)
{
	struct value v = request("\"0123456789abcdef01234567\"", false);

	v.subtype = FORMAT_OBJECTID;
	ck_assert_str_eq(fill_text("{ _id: \"{v}\" }", TEMPLATE_FILTER, &v),
			 "{\"_id\":{\"$oid\":\"0123456789abcdef01234567\"}}");
}
END_TEST

START_TEST(deep_values_are_refused)
{
	struct buf text = BUF_INIT;

	for (int i = 0; i < 150; i++)
		buf_lit(&text, "[");
	for (int i = 0; i < 150; i++)
		buf_lit(&text, "]");
	struct value v = request(arena_strndup(&f->arena, text.data, text.len), true);
	ck_assert_int_eq(strncmp(fill_text("{ a: \"{v}\" }", TEMPLATE_FILTER, &v), "! 400 {v} is nested", 19), 0);
	buf_done(&text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mongo templates");
	TCase *c = async_tcase(s, "templates");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_loop_test(c, literals_are_encoded, 0, (int)ARRAY_SIZE(literals));
	tcase_add_loop_test(c, mistakes_are_found_at_load, 0, (int)ARRAY_SIZE(mistakes));
	tcase_add_test(c, writing_stages_where_writing_is_allowed);
	tcase_add_test(c, deep_configurations_are_refused);
	tcase_add_loop_test(c, values_take_their_places, 0, (int)ARRAY_SIZE(values));
	tcase_add_loop_test(c, a_text_in_a_pipeline_is_never_a_field, 0, (int)ARRAY_SIZE(pipelines));
	tcase_add_test(c, a_variable_in_a_pipeline_is_never_a_field);
	tcase_add_test(c, values_of_other_steps);
	tcase_add_test(c, bson_of_other_steps_is_looked_through);
	tcase_add_test(c, a_parameter_with_format_objectid_is_one);
	tcase_add_test(c, deep_values_are_refused);
	return run_suite(s);
}

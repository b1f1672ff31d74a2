/* JSON Schema (2020-12): what each word lets through and what it does not, what is said of it, defaults, and that a
 * hostile body costs no more than it may. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "drivers/drivers.h"
#include "handlers/web/duplicates.h"
#include "handlers/web/schema/schema.h"

static struct config *config;
static struct arena arena;
static struct buf errors;
static struct json *document;

static void teardown(void)
{
	config_free(config);
	config = NULL;
	arena_done(&arena);
	buf_done(&errors);
}

static void setup(void)
{
	arena_init(&arena);
}

/* schema: JSON, or YAML's flow style. */
static const struct config_schema *load(const char *schemas, const char *schema)
{
	struct diagnostics d;
	struct buf text = BUF_INIT, said = BUF_INIT;

	diagnostics_init(&d);
	buf_printf(&text, "schemas: %s\nendpoints:\n  \"POST /a\":\n    body: %s\n    respond: 1\n", schemas, schema);
	config_free(config);
	config = config_load_text("test.yaml", text.data, text.len, &drivers_language, &d);
	diagnostics_print(&d, &said);
	ck_assert_msg(d.errors == 0, "%s\n%s", schema, buf_cstr(&said));
	buf_done(&said);
	buf_done(&text);
	diagnostics_done(&d);
	return config->endpoints[0].body;
}

static bool fits(const struct config_schema *s, const char *text)
{
	char what[96];
	struct mistakes m = {.json = &errors};
	size_t values;

	errors.len = 0;
	arena_reset(&arena);
	ck_assert_int_eq(json_parse(&document, &arena, text, strlen(text), JSON_MAX_DEPTH, what, sizeof(what)), 0);
	ck_assert(duplicates_none(&m, document, &arena, &values));
	struct schema_check *c = schema_check_begin(&m, &arena);
	schema_check_allow(c, values);
	bool right = schema_check(c, s, document, "", IN_BODY);
	schema_check_end(c);
	ck_assert(right == (m.count == 0));
	return right;
}

/* What fits, what does not: lists of JSON texts, with | in between. */
static const struct {
	const char *schema, *right, *wrong;
} words[] = {
	{"{type: string}", "\"\"|\"a\"", "1|null|true|[]|{}"},
	{"{type: integer}", "1|-0|1.0|1e2|10e-1|9223372036854775807", "1.5|\"1\"|null|1e-1|9223372036854775808"},
	{"{type: number}", "1|1.5|-1e300|123456789012345678901234567890", "\"1\"|null|[]"},
	{"{type: boolean}", "true|false", "0|\"true\"|null"},
	{"{type: array}", "[]|[1]", "{}|\"\"|null"},
	{"{type: object}", "{}|{\"a\":1}", "[]|null|\"\""},
	{"{type: \"null\"}", "null", "0|false|\"\"|[]"},
	{"{type: [string, integer]}", "\"a\"|1|2.0", "1.5|null|true|{}"},
	{"{type: [object, array, \"null\"]}", "{}|[]|null", "1|\"\"|true"},
	{"true", "null|1|{}|[1]", NULL},
	{"false", NULL, "null|1|{}|\"\""},
	{"{}", "null|1|{}|[1]", NULL},
	{"{enum: [1, \"a\", null, [1, {\"b\": 2}], {\"x\": 1, \"y\": 2}]}",
	 "1|1.0|10e-1|\"a\"|null|[1,{\"b\":2.0}]|{\"y\":2,\"x\":1}",
	 "2|\"b\"|false|[1]|[1,{\"b\":3}]|{\"x\":1}|{\"x\":1,\"y\":3}|{\"x\":1,\"y\":2,\"z\":3}"},
	{"{enum: [0]}", "0|0.0|-0", "false|\"0\"|null|[]"},
	{"{enum: [false]}", "false", "0|null"},
	{"{const: {\"a\": [1, 2]}}", "{\"a\":[1,2]}|{\"a\":[1.0,2]}", "{\"a\":[2,1]}|{}|{\"a\":[1,2],\"b\":1}|[1,2]"},
	{"{const: null}", "null", "0|false|\"\""},
	{"{const: 9007199254740993}", "9007199254740993|9007199254740993.0", "9007199254740992"},
	{"{type: [string, \"null\"], enum: [a]}", "\"a\"", "null|\"b\""},
	{"{minimum: 1.1}", "1.1|2|\"x\"|null", "1.09|0|-5"},
	{"{maximum: 300}", "300|300.0|-1|\"a\"", "300.5|301|1e3"},
	{"{exclusiveMinimum: 1.1}", "1.2|1.1000000000000000000001", "1.1|1.10|1|0"},
	{"{exclusiveMaximum: 3}", "2.999|-1|{}", "3|3.0|4"},
	{"{multipleOf: 2}", "0|10|-4|1e20|\"a\"|2.0", "7|1|1e-1|2.5"},
	{"{multipleOf: 0.01}", "0|4.02|0.01|1e300|-0.07|19.99", "0.00751|0.011|1e-3"},
	{"{multipleOf: 0.0001}", "0.0075|1", "0.00751"},
	{"{multipleOf: 1.5}", "0|4.5|-3", "35|1"},
	{"{multipleOf: 7}", "7e99999999|0e5|14.0", "1|1e20|8e99999999"},
	{"{multipleOf: 123456789012345678}", "123456789012345678000|0", "123456789012345679|1e17"},
	{"{minLength: 2}", "\"ab\"|\"\\u00e9\\u00e9\"|1|\"\\ud83d\\ude00a\"", "\"a\"|\"\"|\"\\ud83d\\ude00\""},
	{"{maxLength: 2}", "\"ab\"|\"\"|100|\"\\ud83d\\ude00\\ud83d\\ude00\"", "\"abc\""},
	{"{pattern: \"^a*$\"}", "\"\"|\"aaa\"|true|null|{}", "\"abc\"|\"a\\n\"|\"a\\nb\""},
	{"{pattern: \"a+\"}", "\"xxaayy\"", "\"xxyy\""},
	{"{format: date}", "\"2024-02-29\"|1", "\"2023-02-29\"|\"\""},
	{"{minItems: 1}", "[1]|[1,2]|\"\"|{}", "[]"},
	{"{maxItems: 2}", "[1,2]|[]|\"foobar\"", "[1,2,3]"},
	{"{uniqueItems: true}",
	 "[]|[1]|[1,2]|[1,true]|[0,false]|[\"1\",1]|[{\"a\":1},{\"a\":2}]|[[1],[true]]|[{\"a\":0},{\"a\":false}]|"
	 "[\"a\",\"A\"]|{}|[1,null,\"\",[],{}]|[[\"a\",\"b\"],[\"ab\"]]",
	 "[1,1]|[1,2,1]|[1.0,1]|[1,1.00,2]|[\"a\",\"b\",\"\\u0061\"]|[{\"a\":1,\"b\":2},{\"b\":2,\"a\":1}]|[[1],[1]]|"
	 "[null,1,null]|[{},[],{}]|[-0,0]"},
	{"{items: {type: integer}}", "[]|[1,2.0]|{\"foo\":\"bar\"}", "[1,\"x\"]|[null]"},
	{"{items: false}", "[]|1", "[1]"},
	{"{prefixItems: [{type: integer}, {type: string}]}", "[1,\"a\"]|[1]|[]|[1,\"a\",true]|{\"0\":\"x\"}",
	 "[1,2]|[\"a\"]"},
	{"{prefixItems: [{type: integer}], items: {type: string}}", "[1]|[1,\"a\",\"b\"]|[]", "[1,2]|[\"a\"]"},
	{"{prefixItems: [true, false]}", "[]|[1]", "[1,2]"},
	{"{prefixItems: [{}, {}], items: false}", "[1,2]", "[1,2,3]"},
	{"{contains: {minimum: 5}}", "[3,4,5]|[5]|1|{}", "[]|[1,4]"},
	{"{contains: {const: 1}, minContains: 2}", "[1,1]|[1,2,1,1]", "[]|[1]|[1,2]"},
	{"{contains: {const: 1}, maxContains: 2}", "[1]|[1,1,2]", "[]|[1,1,1]|[2]"},
	{"{contains: {const: 1}, minContains: 0, maxContains: 1}", "[]|[2]|[1,2]", "[1,1]"},
	{"{properties: {a: {type: integer}, \"b c\": {type: string}}}", "{}|{\"a\":1,\"b c\":\"x\",\"d\":[]}|[]|1",
	 "{\"a\":\"x\"}|{\"b c\":1}"},
	{"{properties: {a: true, b: false}}", "{}|{\"a\":1}", "{\"b\":1}|{\"a\":1,\"b\":2}"},
	{"{required: [a, \"~/\"]}", "{\"a\":1,\"~/\":2}|[]|\"a\"", "{}|{\"a\":1}|{\"~/\":1}"},
	{"{patternProperties: {\"f.*o\": {type: integer}}}",
	 "{}|{\"foo\":1}|{\"foo\":1,\"foooooo\":2}|{\"x\":\"y\"}|[\"foo\"]",
	 "{\"foo\":\"bar\"}|{\"foo\":1,\"foooooo\":\"baz\"}|{\"a foo b\":\"\"}"},
	{"{patternProperties: {\"a*\": {type: integer}, \"aaa*\": {maximum: 20}}}", "{\"a\":21}|{\"aaaa\":18}",
	 "{\"a\":\"bar\"}|{\"aaaa\":31}|{\"aaa\":\"foo\",\"aaaa\":31}"},
	{"{patternProperties: {\"^b\": false}}", "{\"ab\":1}|{}", "{\"b\":1}|{\"a\":1,\"bc\":1}"},
	{"{properties: {foo: {}, bar: {}}, patternProperties: {\"^v\": {}}, additionalProperties: false}",
	 "{\"foo\":1}|{\"foo\":1,\"vroom\":2}|[1]|\"x\"|{}", "{\"foo\":1,\"quux\":2}|{\"av\":1}"},
	{"{properties: {foo: {}}, additionalProperties: {type: boolean}}", "{\"foo\":1}|{\"foo\":1,\"b\":true}|{}",
	 "{\"foo\":1,\"b\":12}"},
	{"{additionalProperties: false}", "{}|[1]", "{\"a\":1}"},
	{"{propertyNames: {maxLength: 3}}", "{\"f\":{},\"foo\":{}}|{}|[1,2,3,4]|\"foobar\"",
	 "{\"foo\":{},\"foobar\":{}}"},
	{"{propertyNames: {pattern: \"^a+$\"}}", "{\"a\":{},\"aa\":{}}|{}", "{\"aaA\":{}}"},
	{"{propertyNames: {enum: [a, b]}}", "{\"a\":1}|{\"b\":1,\"a\":2}", "{\"c\":1}"},
	{"{propertyNames: false}", "{}", "{\"a\":1}"},
	{"{minProperties: 1}", "{\"a\":1}|[]|\"\"|12", "{}"},
	{"{maxProperties: 1}", "{\"a\":1}|{}|[1,2,3]", "{\"a\":1,\"b\":2}"},
	{"{dependentRequired: {bar: [foo]}}", "{}|{\"foo\":1}|{\"foo\":1,\"bar\":2}|[\"bar\"]|\"foobar\"",
	 "{\"bar\":2}"},
	{"{dependentRequired: {q: [foo, bar], e: []}}", "{\"e\":1}|{\"foo\":1,\"bar\":2,\"q\":3}",
	 "{\"foo\":1,\"q\":2}|{\"q\":1}"},
	{"{allOf: [{properties: {bar: {type: integer}}, required: [bar]}, {properties: {foo: {type: string}}, "
	 "required: [foo]}]}",
	 "{\"foo\":\"baz\",\"bar\":2}", "{\"foo\":\"baz\"}|{\"bar\":2}|{\"foo\":\"baz\",\"bar\":\"quux\"}"},
	{"{allOf: [true, false]}", NULL, "1|{}"},
	{"{allOf: [{}, {type: number}]}", "1", "\"foo\""},
	{"{anyOf: [{type: integer}, {minimum: 2}]}", "1|2.5|3|\"a\"", "1.5"},
	{"{type: string, anyOf: [{maxLength: 2}, {minLength: 4}]}", "\"foobar\"|\"a\"", "3|\"foo\""},
	{"{anyOf: [true, false]}", "1", NULL},
	{"{anyOf: [false, false]}", NULL, "1"},
	{"{anyOf: [{required: [a]}, {required: [b]}]}", "{\"a\":1}|{\"b\":1}|{\"a\":1,\"b\":1}", "{}|{\"c\":1}"},
	{"{oneOf: [{type: integer}, {minimum: 2}]}", "1|2.5", "3|1.5"},
	{"{oneOf: [true, true, true]}", NULL, "1"},
	{"{oneOf: [true, false, false]}", "1", NULL},
	{"{oneOf: [{required: [foo, bar]}, {required: [foo, baz]}]}", "{\"foo\":1,\"bar\":2}|{\"foo\":1,\"baz\":3}",
	 "{\"bar\":2}|{\"foo\":1,\"bar\":2,\"baz\":3}"},
	{"{not: {type: integer}}", "\"foo\"|1.5|null", "1|2.0"},
	{"{not: {type: [integer, boolean]}}", "\"foo\"", "1|true"},
	{"{not: {type: object, properties: {foo: {type: string}}}}", "1|{\"foo\":1}", "{\"foo\":\"bar\"}|{}"},
	{"{not: {not: {}}}", "1|{}", NULL},
	{"{not: false}", "1", NULL},
	{"{if: {exclusiveMaximum: 0}, then: {minimum: -10}}", "-1|3|0", "-100"},
	{"{if: {exclusiveMaximum: 0}, else: {multipleOf: 2}}", "-1|4", "3"},
	{"{if: {exclusiveMaximum: 0}, then: {minimum: -10}, else: {multipleOf: 2}}", "-1|4", "-100|3"},
	{"{if: true, then: {const: a}, else: {const: b}}", "\"a\"", "\"b\""},
	{"{if: false, then: {const: a}, else: {const: b}}", "\"b\"", "\"a\""},
	{"{if: {properties: {kind: {const: x}}, required: [kind]}, then: {required: [y]}}",
	 "{}|{\"kind\":\"z\"}|{\"kind\":\"x\",\"y\":1}", "{\"kind\":\"x\"}"},
	{"{$defs: {pos: {exclusiveMinimum: 0}}, properties: {a: {$ref: \"#/$defs/pos\"}}}", "{\"a\":1}|{}",
	 "{\"a\":0}"},
	{"{$defs: {\"a~/b\": {type: integer}}, $ref: \"#/$defs/a~0~1b\"}", "1", "\"x\""},
	{"{$defs: {a: {$ref: \"#/$defs/b\"}, b: {$ref: \"#/$defs/c\"}, c: {type: integer}}, items: {$ref: "
	 "\"#/$defs/a\"}}",
	 "[1,2]", "[\"x\"]"},
	{"{properties: {foo: {$ref: \"#\"}}, additionalProperties: false}", "{\"foo\":{\"foo\":false}}|{\"foo\":1}",
	 "{\"bar\":false}|{\"foo\":{\"bar\":false}}"},
	{"{$defs: {r: {maxItems: 2}}, properties: {foo: {$ref: \"#/$defs/r\", minItems: 1}}}", "{\"foo\":[1]}",
	 "{\"foo\":[]}|{\"foo\":[1,2,3]}"},
	{"{$ref: \"#/schemas/Node\"}", "{\"v\":1}|{\"v\":1,\"kids\":[{\"v\":2,\"kids\":[]},{\"v\":3}]}",
	 "{}|{\"v\":\"x\"}|{\"v\":1,\"kids\":[{\"v\":2,\"kids\":[{\"v\":null}]}]}"},
	{"{properties: {$ref: {type: string}}}", "{\"$ref\":\"a\"}", "{\"$ref\":2}"},
	{"{type: object, properties: {id: {type: integer, readOnly: true}}}", "{}", "{\"id\":1}"},
	{"{title: a, description: b, examples: [1], deprecated: true, writeOnly: true, $comment: c, contentEncoding: "
	 "base64, "
	 "contentMediaType: text/plain}",
	 "1|\"x\"", NULL},
	{"{items: {properties: {a: {}, b: {}, c: {}, d: {}, e: {}, f: {type: integer}}, additionalProperties: false}}",
	 "[{\"f\":1,\"e\":2,\"a\":3}]|[{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1}]|[]",
	 "[{\"f\":\"x\"}]|[{\"g\":1}]|[{\"a\":1},{\"ff\":1}]|[{\"\":1}]"},
};

static const char node[] = "{Node: {type: object, required: [v], properties: {v: {type: integer}, kids: {type: array, "
			   "items: {$ref: \"#/schemas/Node\"}}}}}";

static void each(const struct config_schema *s, const char *schema, const char *list, bool expected)
{
	char text[1024];

	while (list && *list) {
		size_t len = strcspn(list, "|");

		snprintf(text, sizeof(text), "%.*s", (int)len, list);
		ck_assert_msg(fits(s, text) == expected, "%s: %s: %s", schema, text, buf_cstr(&errors));
		list += len + (list[len] == '|');
	}
}

START_TEST(what_each_word_means)
{
	const struct config_schema *s = load(node, words[_i].schema);

	each(s, words[_i].schema, words[_i].right, true);
	each(s, words[_i].schema, words[_i].wrong, false);
}
END_TEST

/* --- what is said --- */

#define AT(name, pointer, keyword, detail)                                                                             \
	"{\"in\":\"body\",\"name\":\"" name "\",\"pointer\":\"" pointer "\",\"keyword\":\"" keyword                    \
	"\",\"detail\":\"" detail "\"}"
#define SHOP                                                                                                           \
	"{type: object, required: [lines], properties: {lines: {type: array, items: {type: object, required: [sku], "  \
	"properties: {sku: {type: string}, pieces: {type: integer, maximum: 9}}, additionalProperties: false}}}}"
#define KINDS                                                                                                          \
	"{oneOf: [{properties: {kind: {const: a}, x: {type: integer}}, required: [kind, x]}, "                         \
	"{properties: {kind: {const: b}, y: {type: object, properties: {z: {type: integer}}}}, required: [kind, y]}]}"

static const struct {
	const char *schema, *body, *errors;
} said[] = {
	{SHOP, "{\"lines\":[{\"sku\":\"a\"},{\"sku\":\"b\",\"pieces\":10},{\"sku\":1}]}",
	 AT("lines[1].pieces", "#/lines/1/pieces", "maximum",
	    "must be at most 9") "," AT("lines[2].sku", "#/lines/2/sku", "type", "must be a string")},
	{SHOP, "{\"lines\":[{\"a b/~\\u00e9\\\"%\":1,\"sku\":\"\"}]}",
	 AT("lines[0].a b/~\xC3\xA9\\\"%", "#/lines/0/a%20b~1~0%C3%A9%22%25", "additionalProperties", "is not known")},
	{SHOP, "{\"lines\":[{}]}", AT("lines[0].sku", "#/lines/0/sku", "required", "is required")},
	{SHOP, "{}", AT("lines", "#/lines", "required", "is required")},
	{SHOP, "[]", AT("body", "#", "type", "must be an object")},
	{"{properties: {\"~/\": {type: integer}}}", "{\"~/\":\"x\"}", AT("~/", "#/~0~1", "type", "must be an integer")},
	{"{properties: {\"\": {type: integer}}}", "{\"\":\"x\"}", AT("", "#/", "type", "must be an integer")},
	{"{type: [string, integer, \"null\"]}", "[]", AT("body", "#", "type", "must be a string, an integer or null")},
	{"{type: [integer, \"null\"]}", "[]", AT("body", "#", "type", "must be an integer")},
	{"{const: 3}", "4", AT("body", "#", "const", "must be 3")},
	{"{enum: [a, 1]}", "4", AT("body", "#", "enum", "must be one of: a, 1")},
	{"{exclusiveMinimum: 1.50, multipleOf: 2}", "1.5",
	 AT("body", "#", "exclusiveMinimum", "must be above 1.50") "," AT("body", "#", "multipleOf",
									  "must be a multiple of 2")},
	{"{contains: {const: 1}}", "[]", AT("body", "#", "contains", "must have at least 1 fitting item")},
	{"{maxProperties: 0}", "{\"a\":1}", AT("body", "#", "maxProperties", "must have at most 0 members")},
	{"{dependentRequired: {a: [b]}}", "{\"a\":1}", AT("b", "#/b", "dependentRequired", "is required beside `a`")},
	{"{uniqueItems: true}", "[1,1]", AT("body", "#", "uniqueItems", "must not have equal items")},
	{"{not: {type: integer}}", "1", AT("body", "#", "not", "must not fit the schema of `not`")},
	{"{anyOf: [{type: integer}, {type: string}]}", "[]", AT("body", "#", "anyOf", "fits none of the alternatives")},
	{"{oneOf: [{minimum: 1}, {minimum: 2}]}", "5",
	 AT("body", "#", "oneOf", "fits more than one of the alternatives")},
	{KINDS, "{\"kind\":\"a\",\"x\":\"1\"}", AT("x", "#/x", "type", "must be an integer")},
	{KINDS, "{\"kind\":\"b\",\"y\":{\"z\":true}}", AT("y.z", "#/y/z", "type", "must be an integer")},
	{KINDS, "{\"kind\":\"b\"}", AT("y", "#/y", "required", "is required")},
	{"{properties: {a: {anyOf: [{type: string}, {items: {anyOf: [{type: string}, {type: object, required: "
	 "[q]}]}}]}}}",
	 "{\"a\":[{}]}", AT("a[0].q", "#/a/0/q", "required", "is required")},
	{"{propertyNames: {maxLength: 2}}", "{\"abc\":1}",
	 AT("abc", "#/abc", "maxLength", "must have at most 2 characters")},
	{"{properties: {id: {readOnly: true}}}", "{\"id\":1}", AT("id", "#/id", "readOnly", "must not be sent")},
	{"{prefixItems: [{type: string}]}", "[1]", AT("[0]", "#/0", "type", "must be a string")},
	{"{if: {type: string}, then: {minLength: 2}, else: {type: integer}}", "true",
	 AT("body", "#", "type", "must be an integer")},
};

START_TEST(what_is_said)
{
	ck_assert(!fits(load("{}", said[_i].schema), said[_i].body));
	ck_assert_str_eq(buf_cstr(&errors), said[_i].errors);
}
END_TEST

/* --- defaults --- */

static const struct {
	const char *schema, *body, *becomes;
} filled[] = {
	{"{properties: {a: {default: 1}, b: {type: string}}}", "{ \"b\" : \"x\" }", "{\"b\":\"x\",\"a\":1}"},
	{"{properties: {a: {default: 1}}}", "{\"a\": null}", "{\"a\":null}"},
	{"{properties: {a: {default: [1, {x: 2}]}}, required: [a]}", "{}", "{\"a\":[1,{\"x\":2}]}"},
	{"{properties: {a: {properties: {b: {default: \"q\\\"\"}}}}}", "{\"z\": [ 1.50 ],\"a\":{}}",
	 "{\"z\":[1.50],\"a\":{\"b\":\"q\\\"\"}}"},
	{"{items: {properties: {n: {type: integer, default: 7}}}}", "[{},{\"n\":1},{}]",
	 "[{\"n\":7},{\"n\":1},{\"n\":7}]"},
	{"{$defs: {d: {properties: {a: {default: null}}}}, properties: {x: {$ref: \"#/$defs/d\"}}}", "{\"x\":{}}",
	 "{\"x\":{\"a\":null}}"},
	{"{anyOf: [{properties: {a: {default: 1}}}, {}]}", "{}", "{}"},
	{"{properties: {a: {default: 1}}}", "[ 1, 2 ]", "[1,2]"},
};

START_TEST(defaults_are_put_in_where_a_property_is_absent)
{
	struct buf out = BUF_INIT;

	ck_assert(fits(load("{}", filled[_i].schema), filled[_i].body));
	json_render(&out, document);
	ck_assert_str_eq(buf_cstr(&out), filled[_i].becomes);
	buf_done(&out);
}
END_TEST

/* --- bounds --- */

/* anyOf in anyOf, each of which looks at all of what is below twice. */
START_TEST(a_hostile_body_ends)
{
	struct buf body = BUF_INIT;
	const struct config_schema *s = load(
		"{}", "{$defs: {t: {anyOf: [{properties: {a: {$ref: \"#/$defs/t\"}}, required: [x]}, "
		      "{properties: {a: {$ref: \"#/$defs/t\"}}, required: [y]}]}}, $ref: \"#/$defs/t\"}");

	for (int i = 0; i < 20; i++)
		buf_lit(&body, "{\"a\":");
	buf_lit(&body, "{}");
	for (int i = 0; i < 20; i++)
		buf_char(&body, '}');
	ck_assert(!fits(s, buf_cstr(&body)));
	ck_assert_str_eq(
		buf_cstr(&errors),
		"{\"in\":\"body\",\"name\":\"body\",\"pointer\":\"#\",\"detail\":\"takes too many steps to check\"}");
	buf_done(&body);
}
END_TEST

/* The bound is for what schemas multiply, not for what is long. */
START_TEST(a_long_body_is_checked_whole)
{
	struct buf body = BUF_INIT;
	const struct config_schema *s = load("{}",
					     "{type: array, maxItems: 200000, uniqueItems: true, items: {type: object, "
					     "properties: {a: {type: integer}, b: {type: integer}}}}");

	buf_char(&body, '[');
	for (int i = 0; i < 60000; i++)
		buf_printf(&body, "%s{\"a\":%d,\"b\":1}", i ? "," : "", i);
	buf_lit(&body, ",{\"a\":0,\"b\":true}]");
	ck_assert(!fits(s, buf_cstr(&body)));
	ck_assert_str_eq(buf_cstr(&errors), AT("[60000].b", "#/60000/b", "type", "must be an integer"));
	buf_done(&body);
}
END_TEST

START_TEST(an_array_body_has_ten_thousand_items_at_most)
{
	struct buf body = BUF_INIT;
	const struct config_schema *s = load("{}", "{type: array}");

	buf_char(&body, '[');
	for (int i = 0; i < 10000; i++)
		buf_lit(&body, "1,");
	body.data[body.len - 1] = ']';
	ck_assert(fits(s, buf_cstr(&body)));
	body.data[body.len - 1] = ',';
	buf_lit(&body, "1]");
	ck_assert(!fits(s, buf_cstr(&body)));
	ck_assert_str_eq(buf_cstr(&errors), AT("body", "#", "maxItems", "must have at most 10000 items"));
	buf_done(&body);
}
END_TEST

/* Random schemas of all words against random values: whatever comes out, it ends, and twice the same. */
static unsigned seed;

static unsigned below(unsigned n)
{
	seed = seed * 1103515245u + 12345u;
	return (seed >> 16) % n;
}

static void random_value(struct buf *out, unsigned depth)
{
	static const char *const scalars[] = {"null", "true", "1", "2.0", "1e400", "-0.5", "\"a\"", "\"ab\"", "\"\""};
	unsigned kind = depth == 0 ? 0 : below(3);

	if (kind == 0) {
		buf_str(out, scalars[below(ARRAY_SIZE(scalars))]);
		return;
	}
	unsigned n = below(5);
	buf_char(out, kind == 1 ? '[' : '{');
	for (unsigned i = 0; i < n; i++) {
		if (i)
			buf_char(out, ',');
		if (kind == 2)
			buf_printf(out, "\"%c\":", 'a' + (char)i);
		random_value(out, depth - 1);
	}
	buf_char(out, kind == 1 ? ']' : '}');
}

static void random_schema(struct buf *out, unsigned depth)
{
	static const char *const leaves[] = {
		"true",
		"false",
		"{type: string}",
		"{type: [object, array]}",
		"{minimum: 1}",
		"{minLength: 2}",
		"{const: 1}",
		"{enum: [a, [], {}]}",
		"{required: [a]}",
		"{multipleOf: 0.5}",
		"{maxItems: 2}",
		"{pattern: a}",
		"{uniqueItems: true}",
		"{minProperties: 1}",
		"{$ref: \"#/$defs/d\"}",
	};
	static const char *const single[] = {"items", "contains", "not", "additionalProperties", "propertyNames"};
	static const char *const lists[] = {"allOf", "anyOf", "oneOf", "prefixItems"};

	if (depth == 0 || below(5) == 0) {
		buf_str(out, leaves[below(ARRAY_SIZE(leaves))]);
	} else if (below(2)) {
		buf_printf(out, "{%s: ", single[below(ARRAY_SIZE(single))]);
		random_schema(out, depth - 1);
		buf_lit(out, ", properties: {a: ");
		random_schema(out, depth - 1);
		buf_lit(out, ", b: {default: 5}}}");
	} else {
		buf_printf(out, "{%s: [", lists[below(ARRAY_SIZE(lists))]);
		random_schema(out, depth - 1);
		buf_lit(out, ", ");
		random_schema(out, depth - 1);
		buf_lit(out, "], if: ");
		random_schema(out, 0);
		buf_lit(out, ", then: ");
		random_schema(out, depth - 1);
		buf_char(out, '}');
	}
}

START_TEST(any_schema_and_any_value_end)
{
	struct buf schema = BUF_INIT, value = BUF_INIT, first = BUF_INIT;

	for (seed = 1; seed < 400000000u; seed += 2000003u) {
		unsigned begun = seed;

		schema.len = 0;
		buf_lit(&schema, "{$defs: {d: {items: {$ref: \"#\"}}}, allOf: [");
		random_schema(&schema, 4);
		buf_lit(&schema, "]}");
		const struct config_schema *s = load("{}", buf_cstr(&schema));
		for (int i = 0; i < 10; i++) {
			value.len = first.len = 0;
			random_value(&value, 4);
			bool right = fits(s, buf_cstr(&value));
			buf_append(&first, errors.data, errors.len);
			ck_assert(fits(s, buf_cstr(&value)) == right);
			ck_assert(first.len == errors.len && memcmp(first.data, errors.data, first.len) == 0);
		}
		seed = begun;
	}
	buf_done(&first);
	buf_done(&value);
	buf_done(&schema);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("schema");
	TCase *t = tcase_create("schema");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, what_each_word_means, 0, ARRAY_SIZE(words));
	tcase_add_loop_test(t, what_is_said, 0, ARRAY_SIZE(said));
	tcase_add_loop_test(t, defaults_are_put_in_where_a_property_is_absent, 0, ARRAY_SIZE(filled));
	tcase_add_test(t, a_hostile_body_ends);
	tcase_add_test(t, a_long_body_is_checked_whole);
	tcase_add_test(t, an_array_body_has_ten_thousand_items_at_most);
	tcase_add_test(t, any_schema_and_any_value_end);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}

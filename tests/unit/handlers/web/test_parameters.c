/* Parameters: what is accepted and as what value, what is refused and with which words, from every place that they come
 * from; formats; patterns that would run for ever; random queries and bodies. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/format.h"
#include "base/mem.h"
#include "drivers/drivers.h"
#include "handlers/web/mistakes.h"
#include "handlers/web/parameters.h"

/* --- what is declared --- */

#define STRING(...)  ((struct config_schema){.type = TYPE_STRING, __VA_ARGS__})
#define INTEGER(...) ((struct config_schema){.type = TYPE_INTEGER, __VA_ARGS__})
#define NUMBER(...)  ((struct config_schema){.type = TYPE_NUMBER, __VA_ARGS__})
#define BOOLEAN(...) ((struct config_schema){.type = TYPE_BOOLEAN, __VA_ARGS__})
#define ARRAY(...)   ((struct config_schema){.type = TYPE_ARRAY, __VA_ARGS__})
#define OBJECT(...)  ((struct config_schema){.type = TYPE_OBJECT, __VA_ARGS__})
#define MIN(text)    .has_minimum = true, .minimum = (text)
#define MAX(text)    .has_maximum = true, .maximum = (text)
#define LEAST(n)     .has_min_length = true, .min_length = (n)
#define MOST(n)      .has_max_length = true, .max_length = (n)
#define FEWEST(n)    .has_min_items = true, .min_items = (n)
#define ITEMS(n)     .has_max_items = true, .max_items = (n)
#define LIST(a)      .parameters = (a), .parameter_count = ARRAY_SIZE(a)

static struct config_schema text_items, integer_items, oid_items, thing_items;
static struct value colours[2], sizes[3];
static struct config_parameter thing_properties[2], meta_properties[2];
static struct config_parameter query_parameters[10], other_parameters[8], body_parameters[6];
static struct config_schema body_schema, nullable_body_schema;

static struct config_endpoint with_query = {
	.method = METHOD_GET, .path = "/items/{id}", .name = "GET /items/{id}", LIST(query_parameters)};
static struct config_endpoint with_others = {
	.method = METHOD_GET, .path = "/o", .name = "GET /o", LIST(other_parameters)};
static struct config_endpoint with_body = {
	.method = METHOD_POST, .path = "/b", .name = "POST /b", LIST(body_parameters)};
static struct config_endpoint with_schema = {
	.method = METHOD_POST, .path = "/s", .name = "POST /s", .body = &body_schema};
static struct config_endpoint with_nullable = {
	.method = METHOD_POST, .path = "/s", .name = "POST /s", .body = &nullable_body_schema};
static struct config_endpoint with_nothing = {.method = METHOD_POST, .path = "/n", .name = "POST /n"};
static struct config_endpoint with_anything = {
	.method = METHOD_GET, .path = "/a", .name = "GET /a", .additional = true};

static void *pattern(const char *text)
{
	int error;
	size_t at;
	pcre2_code *code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &error, &at,
					 NULL);

	ck_assert_ptr_nonnull(code);
	return code;
}

static void declare_query(void)
{
	const struct config_parameter p[] = {
		{.name = "id", .in = IN_PATH, .required = true, .schema = INTEGER(MIN("1"))},
		{.name = "limit",
		 .in = IN_QUERY,
		 .has_default = true,
		 .default_value = value_int(20),
		 .schema = INTEGER(MAX("100"))},
		{.name = "q", .in = IN_QUERY, .schema = STRING(LEAST(2), MOST(5))},
		{.name = "tag", .in = IN_QUERY, .schema = ARRAY(ITEMS(3), .items = &text_items)},
		{.name = "n", .in = IN_QUERY, .schema = ARRAY(FEWEST(1), .items = &integer_items)},
		{.name = "price", .in = IN_QUERY, .schema = NUMBER(MIN("0.1"), MAX("0.3"))},
		{.name = "all", .in = IN_QUERY, .schema = BOOLEAN()},
		{.name = "colour", .in = IN_QUERY, .schema = STRING(.enumeration = colours, .enumeration_count = 2)},
		{.name = "X-Tenant", .in = IN_HEADER, .schema = STRING(LEAST(1))},
		{.name = "X-List", .in = IN_HEADER, .schema = ARRAY(.items = &integer_items)},
	};
	memcpy(query_parameters, p, sizeof(p));
}

static void declare_others(void)
{
	const struct config_parameter p[] = {
		{.name = "must", .in = IN_QUERY, .required = true, .schema = STRING()},
		{.name = "size", .in = IN_QUERY, .schema = NUMBER(.enumeration = sizes, .enumeration_count = 3)},
		{.name = "day", .in = IN_QUERY, .schema = STRING(.format = FORMAT_DATE)},
		{.name = "oid", .in = IN_QUERY, .has_default = true, .schema = STRING(.format = FORMAT_OBJECTID)},
		{.name = "code",
		 .in = IN_QUERY,
		 .schema = STRING(.pattern = "^[A-Z]{2}$", .pattern_compiled = pattern("^[A-Z]{2}$"))},
		{.name = "evil",
		 .in = IN_QUERY,
		 .schema = STRING(.pattern = "^(a+)+$", .pattern_compiled = pattern("^(a+)+$"))},
		{.name = "space",
		 .in = IN_QUERY,
		 .schema = STRING(.pattern = "\\s+$", .pattern_compiled = pattern("\\s+$"))},
		{.name = "loose", .in = IN_QUERY, .schema = {.type = TYPE_ANY}},
	};
	memcpy(other_parameters, p, sizeof(p));
	other_parameters[3].default_value = value_string("507f1f77bcf86cd799439011", 24);
}

static void declare_body(void)
{
	const struct config_parameter thing[] = {
		{.name = "c", .required = true, .schema = NUMBER(MAX("10"))},
		{.name = "s", .schema = STRING(.nullable = true)},
	};
	const struct config_parameter meta[] = {
		{.name = "a", .required = true, .schema = INTEGER()},
		{.name = "b", .schema = ARRAY(.items = &thing_items)},
	};
	const struct config_parameter p[] = {
		{.name = "name", .in = IN_BODY, .required = true, .schema = STRING(MOST(3))},
		{.name = "count",
		 .in = IN_BODY,
		 .has_default = true,
		 .default_value = value_int(1),
		 .schema = INTEGER()},
		{.name = "oids", .in = IN_BODY, .schema = ARRAY(.items = &oid_items)},
		{.name = "meta", .in = IN_BODY, .schema = OBJECT(.properties = meta_properties, .property_count = 2)},
		{.name = "any", .in = IN_BODY, .schema = {.type = TYPE_ANY, .additional = true}},
		{.name = "note", .in = IN_BODY, .schema = STRING(.nullable = true)},
	};
	memcpy(thing_properties, thing, sizeof(thing));
	memcpy(meta_properties, meta, sizeof(meta));
	memcpy(body_parameters, p, sizeof(p));
	thing_items = OBJECT(.properties = thing_properties, .property_count = 2, .additional = true);
	body_schema = ARRAY(FEWEST(1), .items = &thing_items);
	nullable_body_schema = OBJECT(.nullable = true, .additional = true);
}

/* --- one request --- */

struct request {
	const struct config_endpoint *to;
	const char *query;
	const char *body;
	const char *type; /* NULL: application/json */
	const char *id;   /* of the path; NULL: 7 */
	const char *tenant, *list;
};

static struct exchange exchange;
static struct parameters parameters;
static struct error error;
static struct buf errors, out;
static const struct request *current;

/* Stands in for the one of handlers/web/exchange.c, which needs a connection. */
struct span exchange_header_list(struct exchange *x, const char *name)
{
	const char *value = strcmp(name, "x-tenant") == 0 ? current->tenant
			    : strcmp(name, "x-list") == 0 ? current->list
							  : NULL;

	if (!value)
		return (struct span){0};
	return (struct span){arena_strdup(&x->arena, value), strlen(value)};
}

static void setup(void)
{
	text_items = STRING();
	integer_items = INTEGER();
	oid_items = STRING(.format = FORMAT_OBJECTID);
	colours[0] = value_string("red", 3);
	colours[1] = value_string("blue", 4);
	sizes[0] = value_int(1);
	sizes[1] = value_number("2.5", 3);
	sizes[2] = value_int(-3);
	declare_query();
	declare_others();
	declare_body();
	arena_init(&exchange.arena);
}

static void teardown(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(other_parameters); i++)
		pcre2_code_free(other_parameters[i].schema.pattern_compiled);
	arena_done(&exchange.arena);
	buf_done(&errors);
	buf_done(&out);
}

static struct span text_span(const char *text)
{
	return (struct span){text, strlen(text)};
}

static struct span exact_copy(const char *text, size_t len)
{
	char *copy = mem_alloc(len ? len : 1);

	memcpy(copy, text, len);
	return (struct span){copy, len};
}

/* Texts of the request stand in memory of exactly their size, which is gone when the values are looked at. */
static int send_bytes(const struct request *r, const char *body, size_t body_len)
{
	const char *type = r->type ? r->type : "application/json";
	const char *id = r->id ? r->id : "7";
	struct route_match match = {.endpoint = r->to};
	struct span query = r->query ? exact_copy(r->query, strlen(r->query)) : (struct span){0};
	struct span text = exact_copy(body, body_len);

	current = r;
	arena_reset(&exchange.arena);
	errors.len = 0;
	error = ERROR_INIT;
	exchange.always_count = 0;
	exchange.method = r->to->method;
	exchange.query = query;
	exchange.body = text;
	exchange.has_body = body_len > 0;
	exchange.content_type = (struct span){type, strlen(type)};
	if (r->to == &with_query) {
		match.count = 1;
		match.names[0] = "id";
		match.values[0] = (struct span){arena_strdup(&exchange.arena, id), strlen(id)};
	}
	int result = parameters_parse(&parameters, &exchange, &match, &error, &errors);
	free((char *)query.base);
	free((char *)text.base);
	return result;
}

static int send_request(const struct request *r)
{
	return send_bytes(r, r->body ? r->body : "", r->body ? strlen(r->body) : 0);
}

/* The values as "name=json;…" without those that are null, the body last. */
static const char *values_of(const struct config_endpoint *e)
{
	out.len = 0;
	for (size_t i = 0; i < e->parameter_count; i++) {
		if (parameters.values[i].kind == VALUE_NULL)
			continue;
		buf_printf(&out, "%s=", e->parameters[i].name);
		value_render(&parameters.values[i], &out);
		buf_char(&out, ';');
	}
	if (parameters.body.kind != VALUE_NULL) {
		buf_lit(&out, "body=");
		value_render(&parameters.body, &out);
	}
	return buf_cstr(&out);
}

/* The errors as "in name: detail;…": easier to read than JSON. */
static const char *errors_of(void)
{
	char what[128];
	struct json *j;
	struct buf text = BUF_INIT;

	buf_printf(&text, "{%.*s}", (int)errors.len, errors.len ? errors.data : "");
	char *copy = arena_strndup(&exchange.arena, text.data, text.len);
	ck_assert_int_eq(json_parse(&j, &exchange.arena, copy, text.len, 8, what, sizeof(what)), 0);
	buf_done(&text);
	out.len = 0;
	for (const struct json *e = json_member(j, "errors", 6)->child; e; e = e->next) {
		const struct json *in = json_member(e, "in", 2), *name = json_member(e, "name", 4);
		const struct json *detail = json_member(e, "detail", 6);

		buf_printf(&out, "%.*s %.*s: %.*s;", (int)in->len, in->text, (int)name->len, name->text,
			   (int)detail->len, detail->text);
	}
	return buf_cstr(&out);
}

static const struct {
	struct request request;
	const char *values;
} right[] = {
	{{.to = &with_query}, "id=7;limit=20;"},
	{{.to = &with_query, .query = ""}, "id=7;limit=20;"},
	{{.to = &with_query, .query = "&&limit=5&"}, "id=7;limit=5;"},
	{{.to = &with_query, .query = "limit=%31%30"}, "id=7;limit=10;"},
	{{.to = &with_query, .query = "limit=-5"}, "id=7;limit=-5;"},
	{{.to = &with_query, .query = "limit=1.0e1"}, "id=7;limit=10;"},
	{{.to = &with_query, .query = "q=a+b%20c"}, "id=7;limit=20;q=\"a b c\";"},
	{{.to = &with_query, .query = "q=a%2Bb"}, "id=7;limit=20;q=\"a+b\";"},
	{{.to = &with_query, .query = "q=a=b=c"}, "id=7;limit=20;q=\"a=b=c\";"},
	{{.to = &with_query, .query = "q=a;b"}, "id=7;limit=20;q=\"a;b\";"},
	{{.to = &with_query, .query = "q=%C3%BC%C3%BC%C3%BC%C3%BC%C3%BC"}, "id=7;limit=20;q=\"üüüüü\";"},
	{{.to = &with_query, .query = "%71=12"}, "id=7;limit=20;q=\"12\";"},
	{{.to = &with_query, .query = "tag=a&q=xy&tag=&tag=c"}, "id=7;limit=20;q=\"xy\";tag=[\"a\",\"\",\"c\"];"},
	{{.to = &with_query, .query = "tag"}, "id=7;limit=20;tag=[\"\"];"},
	{{.to = &with_query, .query = "n=1&n=2.0"}, "id=7;limit=20;n=[1,2];"},
	{{.to = &with_query, .query = "price=0.1"}, "id=7;limit=20;price=0.1;"},
	{{.to = &with_query, .query = "price=0.3"}, "id=7;limit=20;price=0.3;"},
	{{.to = &with_query, .query = "price=0.2000000000000000000000000000001"},
	 "id=7;limit=20;price=0.2000000000000000000000000000001;"},
	{{.to = &with_query, .query = "all=true"}, "id=7;limit=20;all=true;"},
	{{.to = &with_query, .query = "all=false"}, "id=7;limit=20;all=false;"},
	{{.to = &with_query, .query = "colour=blue"}, "id=7;limit=20;colour=\"blue\";"},
	{{.to = &with_query, .id = "9223372036854775807"}, "id=9223372036854775807;limit=20;"},
	{{.to = &with_query, .tenant = " acme\t"}, "id=7;limit=20;X-Tenant=\"acme\";"},
	{{.to = &with_query, .list = "1, 2 ,,3,"}, "id=7;limit=20;X-List=[1,2,3];"},
	{{.to = &with_query, .list = ""}, "id=7;limit=20;"},
	{{.to = &with_others, .query = "must="}, "must=\"\";oid=\"507f1f77bcf86cd799439011\";"},
	{{.to = &with_others, .query = "must=x&size=2.50&day=2024-02-29&oid=FFFFFFFFFFFFFFFFFFFFFFFF&code=DE&loose=1"},
	 "must=\"x\";size=2.50;day=\"2024-02-29\";oid=\"FFFFFFFFFFFFFFFFFFFFFFFF\";code=\"DE\";loose=\"1\";"},
	{{.to = &with_others, .query = "must=x&size=1.0&evil=aaa&space=a+"},
	 "must=\"x\";size=1.0;oid=\"507f1f77bcf86cd799439011\";evil=\"aaa\";space=\"a \";"},
	{{.to = &with_anything, .query = "x=1&x=2&%FF&y=%00"}, ""},
	{{.to = &with_body, .body = "{\"name\":\"a\"}"}, "name=\"a\";count=1;body={\"name\":\"a\"}"},
	{{.to = &with_body, .body = " { \"name\" : \"a\\u00fcb\", \"more\" : [ ] } "},
	 "name=\"aüb\";count=1;body={\"name\":\"a\\u00fcb\",\"more\":[]}"},
	{{.to = &with_body, .body = "{\"name\":\"x\",\"Name\":\"y\",\"count\":2e0,\"note\":null}"},
	 "name=\"x\";count=2;body={\"name\":\"x\",\"Name\":\"y\",\"count\":2e0,\"note\":null}"},
	{{.to = &with_body, .body = "{\"name\":\"x\",\"oids\":[\"507f1f77bcf86cd799439011\"],\"any\":{\"b\":1}}"},
	 "name=\"x\";count=1;oids=[\"507f1f77bcf86cd799439011\"];any={\"b\":1};"
	 "body={\"name\":\"x\",\"oids\":[\"507f1f77bcf86cd799439011\"],\"any\":{\"b\":1}}"},
	{{.to = &with_body, .body = "{\"name\":\"x\",\"meta\":{\"a\":1,\"b\":[{\"c\":10,\"s\":null,\"z\":0}]}}"},
	 "name=\"x\";count=1;meta={\"a\":1,\"b\":[{\"c\":10,\"s\":null,\"z\":0}]};"
	 "body={\"name\":\"x\",\"meta\":{\"a\":1,\"b\":[{\"c\":10,\"s\":null,\"z\":0}]}}"},
	{{.to = &with_body, .body = "{\"name\":\"a\"}", .type = "Application/JSON; charset=utf-8"},
	 "name=\"a\";count=1;body={\"name\":\"a\"}"},
	{{.to = &with_body, .body = "{\"name\":\"a\"}", .type = "application/vnd.x+json ;v=1"},
	 "name=\"a\";count=1;body={\"name\":\"a\"}"},
	{{.to = &with_schema, .body = "[{\"c\":1}, {\"c\":-1e300}]"}, "body=[{\"c\":1},{\"c\":-1e300}]"},
	{{.to = &with_nullable}, ""},
	{{.to = &with_nullable, .body = "null"}, ""},
	{{.to = &with_nullable, .body = "{}"}, "body={}"},
	{{.to = &with_nothing}, ""},
	{{.to = &with_nothing, .body = "[1]"}, "body=[1]"},
	{{.to = &with_nothing, .body = "\"x\""}, "body=\"x\""},
	{{.to = &with_nothing, .body = "<xml/>", .type = "text/xml"}, ""},
	{{.to = &with_nothing, .body = "{", .type = ""}, ""},
};

START_TEST(accepted)
{
	int r = send_request(&right[_i].request);

	ck_assert_msg(r == 0, "%s %s: %.*s", right[_i].request.query, right[_i].request.body, (int)errors.len,
		      errors.data);
	ck_assert_str_eq(values_of(right[_i].request.to), right[_i].values);
	ck_assert_uint_eq(errors.len, 0);
}
END_TEST

#define DEEP16 "[[[[[[[[[[[[[[[["
static const struct {
	struct request request;
	const char *errors;
} bad[] = {
	{{.to = &with_query, .id = "0"}, "path id: must be at least 1;"},
	{{.to = &with_query, .id = "x"}, "path id: must be an integer;"},
	{{.to = &with_query, .id = "01"}, "path id: must be an integer;"},
	{{.to = &with_query, .id = "+1"}, "path id: must be an integer;"},
	{{.to = &with_query, .id = " 1"}, "path id: must be an integer;"},
	{{.to = &with_query, .id = "1.5"}, "path id: must be an integer;"},
	{{.to = &with_query, .id = "0x10"}, "path id: must be an integer;"},
	{{.to = &with_query, .id = "9223372036854775808"},
	 "path id: must be between -9223372036854775808 and 9223372036854775807;"},
	{{.to = &with_query, .id = "1e400"}, "path id: must be between -9223372036854775808 and 9223372036854775807;"},
	{{.to = &with_query, .query = "limit=101"}, "query limit: must be at most 100;"},
	{{.to = &with_query, .query = "limit=100.0000000000000000000000001"}, "query limit: must be an integer;"},
	{{.to = &with_query, .query = "limit="}, "query limit: must be an integer;"},
	{{.to = &with_query, .query = "limit"}, "query limit: must be an integer;"},
	{{.to = &with_query, .query = "limit=1&limit=2&limit=3"}, "query limit: must be given once;"},
	{{.to = &with_query, .query = "limit=1&limit=%"},
	 "query limit: must be percent-encoded UTF-8 text without NUL;"},
	{{.to = &with_query, .query = "q=a"}, "query q: must have at least 2 characters;"},
	{{.to = &with_query, .query = "q=abcdef"}, "query q: must have at most 5 characters;"},
	{{.to = &with_query, .query = "q=%FF"}, "query q: must be percent-encoded UTF-8 text without NUL;"},
	{{.to = &with_query, .query = "q=a%00b"}, "query q: must be percent-encoded UTF-8 text without NUL;"},
	{{.to = &with_query, .query = "q=ab%2"}, "query q: must be percent-encoded UTF-8 text without NUL;"},
	{{.to = &with_query, .query = "q=ab%zz"}, "query q: must be percent-encoded UTF-8 text without NUL;"},
	{{.to = &with_query, .query = "%FF=1"}, "query : a name is not percent-encoded UTF-8 text;"},
	{{.to = &with_query, .query = "tag=1&tag=2&tag=3&tag=4"}, "query tag: must have at most 3 items;"},
	{{.to = &with_query, .query = "n=1&n=x&n=3&n="},
	 "query n[1]: must be an integer;query n[3]: must be an integer;"},
	{{.to = &with_query, .query = "price=0.0999999999999999999999999"}, "query price: must be at least 0.1;"},
	{{.to = &with_query, .query = "price=0.3000000000000000000000001"}, "query price: must be at most 0.3;"},
	{{.to = &with_query, .query = "price=NaN"}, "query price: must be a number;"},
	{{.to = &with_query, .query = "price=.2"}, "query price: must be a number;"},
	{{.to = &with_query, .query = "all=TRUE"}, "query all: must be true or false;"},
	{{.to = &with_query, .query = "all=1"}, "query all: must be true or false;"},
	{{.to = &with_query, .query = "colour=green"}, "query colour: must be one of: red, blue;"},
	{{.to = &with_query, .query = "nope=1&x%22y=2&nope=3&=4"},
	 "query nope: is not known;query x\"y: is not known;query : is not known;"},
	{{.to = &with_query, .query = "id=8"}, "query id: is not known;"},
	{{.to = &with_query, .query = "LIMIT=8"}, "query LIMIT: is not known;"},
	{{.to = &with_query, .query = "limit=x&q=a&more=1", .id = "-1", .tenant = ""},
	 "query more: is not known;path id: must be at least 1;query limit: must be an integer;"
	 "query q: must have at least 2 characters;header X-Tenant: must have at least 1 character;"},
	{{.to = &with_query, .tenant = "\xFF"}, "header X-Tenant: must be UTF-8 text;"},
	{{.to = &with_query, .list = "1,x"}, "header X-List[1]: must be an integer;"},
	{{.to = &with_others}, "query must: is required;"},
	{{.to = &with_others, .query = "must=%FF"}, "query must: must be percent-encoded UTF-8 text without NUL;"},
	{{.to = &with_others, .query = "must=&size=2"}, "query size: must be one of: 1, 2.5, -3;"},
	{{.to = &with_others, .query = "must=&day=2023-02-29"}, "query day: must be a date (YYYY-MM-DD);"},
	{{.to = &with_others, .query = "must=&oid=7"}, "query oid: must be an ObjectId (24 hexadecimal digits);"},
	{{.to = &with_others, .query = "must=&code=de"}, "query code: must match `^[A-Z]{2}$`;"},
	{{.to = &with_others, .query = "must=&evil=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"},
	 "query evil: takes too long to check;"},
	{{.to = &with_body}, "body name: is required;"},
	{{.to = &with_body, .body = "{}"}, "body name: is required;"},
	{{.to = &with_body, .body = "[]"}, "body body: must be an object;"},
	{{.to = &with_body, .body = "null"}, "body body: must be an object;"},
	{{.to = &with_body, .body = "{\"name\":}"}, "body body: is not valid JSON: a value was expected (at byte 8);"},
	{{.to = &with_body, .body = "{\"name\":\"\xFF\"}"}, "body body: is not valid JSON: bad UTF-8 (at byte 9);"},
	{{.to = &with_body, .body = DEEP16 DEEP16 DEEP16 DEEP16 "["},
	 "body body: is not valid JSON: nested too deep (at byte 64);"},
	{{.to = &with_body, .body = "{\"name\":null}"}, "body name: must be a string;"},
	{{.to = &with_body, .body = "{\"name\":\"abcd\",\"count\":\"1\"}"},
	 "body name: must have at most 3 characters;body count: must be an integer;"},
	{{.to = &with_body, .body = "{\"name\":\"a\\u0000\"}"}, "body name: must not have a NUL character;"},
	{{.to = &with_body,
	  .body = "{\"name\":\"a\",\"count\":1.5,\"oids\":[1,\"x\",\"507f1f77bcf86cd799439011\",null]}"},
	 "body count: must be an integer;body oids[0]: must be a string;"
	 "body oids[1]: must be an ObjectId (24 hexadecimal digits);body oids[3]: must be a string;"},
	{{.to = &with_body, .body = "{\"name\":\"a\",\"meta\":[]}"}, "body meta: must be an object;"},
	{{.to = &with_body, .body = "{\"name\":\"a\",\"meta\":{}}"}, "body meta.a: is required;"},
	{{.to = &with_body,
	  .body = "{\"name\":\"a\",\"meta\":{\"a\":1,\"$where\":1,\"b\":[{\"c\":1},{\"c\":11,\"s\":1},{},7]}}"},
	 "body meta.$where: is not known;body meta.b[1].c: must be at most 10;body meta.b[1].s: must be a string;"
	 "body meta.b[2].c: is required;body meta.b[3]: must be an object;"},
	{{.to = &with_body, .body = "{\"name\":\"a\",\"meta\":{\"a\":1,\"a\":\"x\"}}"},
	 "body meta.a: must be given once;"},
	{{.to = &with_body, .body = "{\"name\":\"x\",\"b\":1,\"name\":1,\"b\":2}"},
	 "body name: must be given once;body b: must be given once;"},
	{{.to = &with_schema, .body = "[{\"c\":1},{\"c\":1,\"c\":1}]"}, "body [1].c: must be given once;"},
	{{.to = &with_nothing, .body = "{\"a\":{\"\":1,\"\\u0061\":1,\"a\":1,\"\":2}}"},
	 "body a.: must be given once;body a.a: must be given once;"},
	{{.to = &with_schema}, "body body: is required;"},
	{{.to = &with_schema, .body = "{}"}, "body body: must be an array;"},
	{{.to = &with_schema, .body = "[]"}, "body body: must have at least 1 item;"},
	{{.to = &with_schema, .body = "[{\"c\":1},{\"c\":\"1\"},{}]"},
	 "body [1].c: must be a number;body [2].c: is required;"},
	{{.to = &with_nothing, .query = "x=1"}, "query x: is not known;"},
	{{.to = &with_nothing, .body = "{"},
	 "body body: is not valid JSON: a member's name in quotes was expected (at byte 1);"},
};

START_TEST(refused)
{
	int r = send_request(&bad[_i].request);

	ck_assert_msg(r == -EINVAL, "%s %s: %s", bad[_i].request.query, bad[_i].request.body,
		      values_of(bad[_i].request.to));
	ck_assert_str_eq(errors_of(), bad[_i].errors);
	ck_assert_int_eq(error.errnum, -EINVAL);
	ck_assert_int_eq(error.status, 400);
}
END_TEST

START_TEST(media_types)
{
	static const char *const types[] = {"",
					    "text/plain",
					    "application/jsonp",
					    "application/x-www-form-urlencoded",
					    "json",
					    "+json",
					    "text/json;x",
					    ";application/json",
					    "a/b+jsonx",
					    "application/json, text/plain"};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		ck_assert_int_eq(
			send_request(&(struct request){.to = &with_body, .body = "{\"name\":\"a\"}", .type = types[i]}),
			-EMEDIUMTYPE);
		ck_assert_int_eq(error.status, 415);
		ck_assert_int_eq(send_request(&(struct request){.to = &with_schema, .body = "[1]", .type = types[i]}),
				 -EMEDIUMTYPE);
	}
}
END_TEST

START_TEST(marks)
{
	static const char body[] = "{\"name\":\"a\",\"oids\":[\"507f1f77bcf86cd799439011\"],\"meta\":{\"a\":1},"
				   "\"any\":{\"$gt\":1}}";
	const struct value *v;

	ck_assert_int_eq(send_request(&(struct request){.to = &with_body, .body = body}), 0);
	v = parameters.values;
	ck_assert(v[0].from_request && !v[0].structured && v[0].subtype == FORMAT_NONE);
	ck_assert(!v[1].from_request); /* the default */
	ck_assert(v[2].from_request && v[2].structured && v[2].kind == VALUE_LIST);
	ck_assert(v[2].list[0].from_request && v[2].list[0].subtype == FORMAT_OBJECTID);
	ck_assert(v[3].from_request && v[3].structured && v[3].kind == VALUE_JSON);
	ck_assert(v[4].from_request && !v[4].structured && v[4].kind == VALUE_JSON);
	ck_assert(v[5].kind == VALUE_NULL && !v[5].from_request);
	ck_assert(parameters.body.from_request && !parameters.body.structured);

	ck_assert_int_eq(send_request(&(struct request){.to = &with_schema, .body = "[{\"c\":1}]"}), 0);
	ck_assert(parameters.body.from_request && parameters.body.structured);

	ck_assert_int_eq(send_request(&(struct request){.to = &with_others, .query = "must="}), 0);
	ck_assert(parameters.values[3].subtype == FORMAT_OBJECTID && !parameters.values[3].from_request);
}
END_TEST

/* However many mistakes there are, the reply is short; and long names are cut between characters. */
START_TEST(many_mistakes)
{
	struct buf text = BUF_INIT;

	for (int i = 0; i < 5000; i++)
		buf_printf(&text, "u%d=1&", i);
	ck_assert_int_eq(send_request(&(struct request){.to = &with_query, .query = buf_cstr(&text)}), -EINVAL);
	ck_assert_uint_lt(errors.len, 64 * MISTAKES_MAX);

	text.len = 0;
	buf_char(&text, '[');
	for (int i = 0; i < 100000; i++)
		buf_lit(&text, "0,");
	buf_lit(&text, "0]");
	ck_assert_int_eq(send_request(&(struct request){.to = &with_schema, .body = buf_cstr(&text)}), -EINVAL);
	ck_assert_uint_lt(errors.len, 120 * MISTAKES_MAX);
	ck_assert_ptr_nonnull(strstr(buf_cstr(&errors), "],\"more\":99951"));

	text.len = 0;
	for (int i = 0; i < 5000; i++)
		buf_lit(&text, "\xE2\x82\xAC");
	ck_assert_int_eq(send_request(&(struct request){.to = &with_query, .query = buf_cstr(&text)}), -EINVAL);
	ck_assert_uint_lt(errors.len, 300);
	ck_assert_ptr_nonnull(strstr(errors_of(), "\xAC\xE2\x80\xA6: is not known;"));
	buf_done(&text);
}
END_TEST

/* A search that would take a square of a long text's length ends early. */
START_TEST(slow_patterns)
{
	enum { LEN = 400000 };
	struct buf text = BUF_INIT;

	buf_lit(&text, "must=&space=");
	buf_reserve(&text, LEN + 2);
	memset(text.data + text.len, '+', LEN);
	text.len += LEN;
	ck_assert_int_eq(send_request(&(struct request){.to = &with_others, .query = buf_cstr(&text)}), 0);
	buf_char(&text, 'x');
	int64_t before = monotonic_us();
	ck_assert_int_eq(send_request(&(struct request){.to = &with_others, .query = buf_cstr(&text)}), -EINVAL);
	ck_assert_str_eq(errors_of(), "query space: takes too long to check;");
	ck_assert_int_lt(monotonic_us() - before, 20000000);
	buf_done(&text);
}
END_TEST

/* The same words, declared in YAML. */
static const char yaml[] = "server: { listen: [ 127.0.0.1:0 ] }\n"
			   "endpoints:\n"
			   "  \"POST /items/{id}\":\n"
			   "    parameters:\n"
			   "      id: { type: string, format: objectid }\n"
			   "      limit: { type: integer, default: 20, maximum: 100, in: query }\n"
			   "      kind: { type: string, enum: [ a, b ], default: b, in: query }\n"
			   "      code: { type: string, pattern: \"^[A-Z]+$\", required: false, in: query }\n"
			   "      names: { type: array, items: { type: string, maxLength: 3 }, required: false }\n"
			   "      pair: { type: array, enum: [ [ 1, 2 ] ], required: false }\n"
			   "    respond: { id: \"{id}\" }\n";

START_TEST(from_yaml)
{
	struct diagnostics d;
	diagnostics_init(&d);
	struct config *c = config_load_text("test.yaml", yaml, sizeof(yaml) - 1, &drivers_language, &d);
	ck_assert_msg(c != NULL, "%s", d.count ? d.items[0].text : "");

	struct router *router = router_new(c, &exchange.arena, &d);
	struct route_match m;
	struct span path = text_span("/items/507f1f77bcf86cd799439011");
	ck_assert_int_eq(router_match(router, METHOD_POST, path, &exchange.arena, &m), 0);
	current = &(struct request){0};
	exchange.content_type = text_span("application/json");
	exchange.query = text_span("code=X");
	exchange.body = text_span("{\"names\":[\"abc\"],\"pair\":[ 1, 2 ]}");
	ck_assert_int_eq(parameters_parse(&parameters, &exchange, &m, &error, &errors), 0);
	ck_assert_str_eq(values_of(m.endpoint), "id=\"507f1f77bcf86cd799439011\";limit=20;kind=\"b\";code=\"X\";"
						"names=[\"abc\"];pair=[1,2];"
						"body={\"names\":[\"abc\"],\"pair\":[1,2]}");
	ck_assert_int_eq(parameters.values[0].subtype, FORMAT_OBJECTID);

	exchange.query = text_span("code=x&kind=c");
	exchange.body = text_span("{\"names\":[\"abcd\"],\"pair\":[2,1]}");
	ck_assert_int_eq(parameters_parse(&parameters, &exchange, &m, &error, &errors), -EINVAL);
	ck_assert_str_eq(errors_of(),
			 "query kind: must be one of: a, b;query code: must match `^[A-Z]+$`;"
			 "body names[0]: must have at most 3 characters;body pair: must be one of: [1,2];");
	config_free(c);
	diagnostics_done(&d);
}
END_TEST

static const struct {
	enum value_format format;
	const char *text;
	bool valid;
} texts[] = {
	{FORMAT_NONE, "", true},
	{FORMAT_DATE, "2024-02-29", true},
	{FORMAT_DATE, "2000-02-29", true},
	{FORMAT_DATE, "1900-02-29", false},
	{FORMAT_DATE, "2023-02-29", false},
	{FORMAT_DATE, "2023-04-31", false},
	{FORMAT_DATE, "2023-12-31", true},
	{FORMAT_DATE, "2023-13-01", false},
	{FORMAT_DATE, "2023-00-01", false},
	{FORMAT_DATE, "2023-01-00", false},
	{FORMAT_DATE, "2023-1-1", false},
	{FORMAT_DATE, "23-01-01", false},
	{FORMAT_DATE, "2023-01-01 ", false},
	{FORMAT_DATE, "2023-01-01T00:00:00Z", false},
	{FORMAT_DATE, "", false},
	{FORMAT_DATE_TIME, "2023-01-01T00:00:00Z", true},
	{FORMAT_DATE_TIME, "2023-01-01t23:59:59.123456789z", true},
	{FORMAT_DATE_TIME, "2023-01-01T00:00:00+05:30", true},
	{FORMAT_DATE_TIME, "2016-12-31T23:59:60Z", true},
	{FORMAT_DATE_TIME, "2016-12-31T23:58:60Z", false},
	{FORMAT_DATE_TIME, "2023-01-01T24:00:00Z", false},
	{FORMAT_DATE_TIME, "2023-01-01T00:60:00Z", false},
	{FORMAT_DATE_TIME, "2023-01-01T00:00:00", false},
	{FORMAT_DATE_TIME, "2023-01-01T00:00:00.Z", false},
	{FORMAT_DATE_TIME, "2023-01-01T00:00Z", false},
	{FORMAT_DATE_TIME, "2023-01-01 00:00:00Z", false},
	{FORMAT_DATE_TIME, "2023-01-01T00:00:00+0530", false},
	{FORMAT_DATE_TIME, "2023-01-01T00:00:00+24:00", false},
	{FORMAT_DATE_TIME, "2023-01-01", false},
	{FORMAT_UUID, "123e4567-e89b-12d3-A456-426614174000", true},
	{FORMAT_UUID, "123e4567e89b12d3a456426614174000", false},
	{FORMAT_UUID, "123e4567-e89b-12d3-a456-42661417400", false},
	{FORMAT_UUID, "123e4567-e89b-12d3-a456-4266141740000", false},
	{FORMAT_UUID, "{23e4567-e89b-12d3-a456-426614174000}", false},
	{FORMAT_UUID, "g23e4567-e89b-12d3-a456-426614174000", false},
	{FORMAT_EMAIL, "a@b", true},
	{FORMAT_EMAIL, "first.last+tag@sub.example.org", true},
	{FORMAT_EMAIL, "o'hara@example.org", true},
	{FORMAT_EMAIL, "@example.org", false},
	{FORMAT_EMAIL, "a@", false},
	{FORMAT_EMAIL, "a", false},
	{FORMAT_EMAIL, "a@b@c", false},
	{FORMAT_EMAIL, ".a@b", false},
	{FORMAT_EMAIL, "a.@b", false},
	{FORMAT_EMAIL, "a..b@c", false},
	{FORMAT_EMAIL, "a b@c", false},
	{FORMAT_EMAIL, "a@-b.c", false},
	{FORMAT_EMAIL, "a@b-.c", false},
	{FORMAT_EMAIL, "a@b..c", false},
	{FORMAT_EMAIL, "a@b.", false},
	{FORMAT_EMAIL, "a@b_c", false},
	{FORMAT_EMAIL, "a@b\r\nBcc: c", false},
	{FORMAT_URI, "http://example.org", true},
	{FORMAT_URI, "https://u:p@example.org:8080/a/b?c=d&e#f?/", true},
	{FORMAT_URI, "http://[::1]:80/", true},
	{FORMAT_URI, "http://[::g]/", false},
	{FORMAT_URI, "urn:isbn:0451450523", true},
	{FORMAT_URI, "mailto:a@b.c", true},
	{FORMAT_URI, "file:///etc/passwd", true},
	{FORMAT_URI, "a:", true},
	{FORMAT_URI, "/relative", false},
	{FORMAT_URI, "//host/path", false},
	{FORMAT_URI, "1http://x", false},
	{FORMAT_URI, ":x", false},
	{FORMAT_URI, "http://a b", false},
	{FORMAT_URI, "http://a/%zz", false},
	{FORMAT_URI, "http://a/%4", false},
	{FORMAT_URI, "http://a/%41", true},
	{FORMAT_URI, "http://a/#b#c", false},
	{FORMAT_URI, "http://a:b/", false},
	{FORMAT_URI, "http://a/<script>", false},
	{FORMAT_URI, "http://a/\xC3\xBC", false},
	{FORMAT_URI, "", false},
	{FORMAT_IPV4, "127.0.0.1", true},
	{FORMAT_IPV4, "256.0.0.1", false},
	{FORMAT_IPV4, "1.2.3", false},
	{FORMAT_IPV4, "01.2.3.4", false},
	{FORMAT_IPV4, "1.2.3.4 ", false},
	{FORMAT_IPV4, "::1", false},
	{FORMAT_IPV6, "::1", true},
	{FORMAT_IPV6, "2001:db8::ff00:42:8329", true},
	{FORMAT_IPV6, "::ffff:1.2.3.4", true},
	{FORMAT_IPV6, "fe80::1%eth0", false},
	{FORMAT_IPV6, "1::2::3", false},
	{FORMAT_IPV6, "[::1]", false},
	{FORMAT_IPV6, "1.2.3.4", false},
	{FORMAT_IPV6, "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", false},
	{FORMAT_OBJECTID, "507f1f77bcf86cd799439011", true},
	{FORMAT_OBJECTID, "507F1F77BCF86CD799439011", true},
	{FORMAT_OBJECTID, "507f1f77bcf86cd79943901", false},
	{FORMAT_OBJECTID, "507f1f77bcf86cd7994390111", false},
	{FORMAT_OBJECTID, "507f1f77bcf86cd79943901g", false},
};

START_TEST(formats)
{
	struct span text = exact_copy(texts[_i].text, strlen(texts[_i].text));

	ck_assert_msg(format_valid(texts[_i].format, text.base, text.len) == texts[_i].valid, "%s", texts[_i].text);
	for (size_t n = 0; n < text.len; n++) /* prefixes: whatever they are, nothing is read beyond them */
		(void)format_valid(texts[_i].format, text.base, n);
	free((char *)text.base);
}
END_TEST

static uint64_t random_state = 99;
static uint32_t random_below(uint32_t n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(random_state >> 33) % n;
}

static void random_text(struct buf *text, const char *const *pieces, uint32_t count)
{
	text->len = 0;
	for (uint32_t i = random_below(16); i > 0; i--)
		buf_str(text, pieces[random_below(count)]);
}

/* Whatever comes, it is values or mistakes, and the mistakes are JSON. */
static void check_random(const struct request *r)
{
	int result = send_request(r);

	if (result == 0)
		values_of(r->to);
	else if (result == -EINVAL)
		errors_of();
	else
		ck_assert_int_eq(result, -EMEDIUMTYPE);
}

START_TEST(random_queries)
{
	static const char *const pieces[] = {"limit=",
					     "q=",
					     "tag=",
					     "n=",
					     "price=",
					     "all=",
					     "colour=",
					     "&",
					     "&",
					     "=",
					     "%",
					     "%41",
					     "%00",
					     "%C3",
					     "%BC",
					     "+",
					     "1",
					     "-2.5e1",
					     "true",
					     "red",
					     "xx",
					     "\xFF",
					     "\xC3\xBC",
					     "must=",
					     "day=",
					     "2024-02-29",
					     "evil=",
					     "aaaa",
					     "99999999999999999999",
					     "code=",
					     "DE",
					     "\"",
					     "\\",
					     "\x01"};
	struct buf text = BUF_INIT;

	for (int i = 0; i < 15000; i++) {
		random_text(&text, pieces, ARRAY_SIZE(pieces));
		check_random(&(struct request){
			.to = i % 2 ? &with_query : &with_others, .query = buf_cstr(&text), .id = i % 3 ? "1" : "x"});
	}
	buf_done(&text);
}
END_TEST

START_TEST(random_bodies)
{
	static const char *const pieces[] = {"{",           "}",
					     "[",           "]",
					     ",",           ":",
					     "\"",          "\"name\":",
					     "\"count\":",  "\"oids\":",
					     "\"meta\":",   "\"a\":",
					     "\"b\":",      "\"c\":",
					     "\"any\":",    "\"note\":",
					     "null",        "1",
					     "2.5",         "\"x\"",
					     "\"\\u0000\"", "{\"name\":\"a\",",
					     "{\"a\":1,",   "[{\"c\":1}]",
					     "{}",          "[]",
					     " ",           "true",
					     "1e999",       "}}"};
	struct buf text = BUF_INIT;

	for (int i = 0; i < 30000; i++) {
		random_text(&text, pieces, ARRAY_SIZE(pieces));
		check_random(&(struct request){.to = i % 2 ? &with_body : &with_schema, .body = buf_cstr(&text)});
	}
	buf_done(&text);
}
END_TEST

/* Right bodies with bytes changed: most stay JSON. */
START_TEST(mutated_bodies)
{
	static const char sample[] = "{\"name\":\"abc\",\"count\":12,\"oids\":[\"507f1f77bcf86cd799439011\"],\"meta\":"
				     "{\"a\":1,\"b\":[{\"c\":1,\"s\":\"x\"},{\"c\":2}]},\"any\":[1,{}],\"note\":null}";

	for (int i = 0; i < 20000; i++) {
		char text[sizeof(sample)];

		memcpy(text, sample, sizeof(sample));
		for (uint32_t n = 1 + random_below(3); n > 0; n--)
			text[random_below(sizeof(sample) - 1)] = random_below(3)
									 ? sample[random_below(sizeof(sample) - 1)]
									 : (char)random_below(256);
		int r = send_bytes(&(struct request){.to = &with_body}, text, sizeof(sample) - 1);
		ck_assert(r == 0 || r == -EINVAL);
		if (r < 0)
			errors_of();
		else
			values_of(&with_body);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("parameters");
	TCase *t = tcase_create("parameters"), *random = tcase_create("random"), *f = tcase_create("formats");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, accepted, 0, ARRAY_SIZE(right));
	tcase_add_loop_test(t, refused, 0, ARRAY_SIZE(bad));
	tcase_add_test(t, media_types);
	tcase_add_test(t, marks);
	tcase_add_test(t, many_mistakes);
	tcase_add_test(t, slow_patterns);
	tcase_add_test(t, from_yaml);
	suite_add_tcase(s, t);

	tcase_add_checked_fixture(random, setup, teardown);
	tcase_add_test(random, random_queries);
	tcase_add_test(random, random_bodies);
	tcase_add_test(random, mutated_bodies);
	suite_add_tcase(s, random);

	tcase_add_loop_test(f, formats, 0, ARRAY_SIZE(texts));
	suite_add_tcase(s, f);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}

/* No text makes a reader of texts misbehave: what strangers send (JSON, forms), what handlers give (gd_build, gd_get,
 * SQL) and what stands in configurations (YAML, SQL, documents of MongoDB).
 *
 * Texts are drawn from each reader's own words, so that they come far into it. The sanitized build is the one that
 * looks: each text is a copy of its exact size. FUZZ_ROUNDS in the environment is how many each reader gets, else few;
 * FUZZ_SEED begins elsewhere. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GATHERD_DAEMON 1
#include "async/run.h"
#include "base/json.h"
#include "config/yaml.h"
#include "drivers/drivers.h"
#include "drivers/mongo/bson/template.h"
#include "drivers/postgres/statements/sql.h"
#include "handlers/generation.h"
#include "handlers/module/internal.h"
#include "handlers/web/form.h"
#include "tests/unit/async/async_fixture.h"

enum { ROUNDS = 3000, MOST_WORDS = 40 };

static uint64_t state;

/* splitmix64 */
static uint64_t draw(void)
{
	uint64_t z = state += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static size_t below(size_t n)
{
	return draw() % n;
}

/* A reader of texts, and the words that are put together for it. */
struct reader {
	const char *name;
	const char *const *words; /* the last one NULL */
	void (*read)(const char *text, size_t len);
	bool terminated; /* its texts end in a NUL, and have none within */
};

/* --- words --- */

static const char *const json_words[] = {
	"{",       "}",        "[",    "]",      ":",       ",",       "\"a\"", "\"\\u00e4\"", "\"",   "\\",
	"\\ud83d", "\\u0000",  "null", "true",   "false",   "-1.5e+3", "0",     "1e",          "01",   " ",
	"\n",      "\xc3\xa4", "\xff", "\"\\\"", "{\"a\":", "[[[",     "]]]",   "}}",          "\x01", NULL};
static const char *const format_words[] = {
	"{",      "}",    "[",    "]",  ":",      ",",       "a",        "b: ",  "\"q\"", "\"",
	"\\",     "%s",   "%s",   "%%", "\"%%\"", "\"%s\"",  "%",        "%l",   "%ll",   "1",
	"-2.5e3", "null", "true", " ",  "$set",   "\"$in\"", "\xc3\xa4", "\xff", NULL};
static const char *const value_words[] = {"{",  "}",  "[",  "]",  ":", ",", "a",    "b: ", "\"q\"",
					  "%p", "%p", "%p", "%%", "%", "1", "null", " ",   NULL};
static const char *const path_words[] = {"a",       "b",   ".",        "[",    "]",      "[0]",         "[*]", "[1]",
					 "[\"a\"]", "[\"", "\"]",      "\\",   "*",      "99999999999", "-1",  " ",
					 "{",       "}",   "\xc3\xa4", "\xff", "a.b[0]", NULL};
static const char *const sql_words[] = {"select ",
					"insert into t values (",
					"$1",
					"$2",
					"$65536",
					"$99999999999",
					"{id}",
					"{x.y[0]}",
					"{",
					"}",
					"'",
					"''",
					"\"",
					"E'",
					"\\'",
					"$$",
					"$a$",
					"--",
					"\n",
					"/*",
					"*/",
					";",
					"(",
					")",
					"copy t ",
					"copy (",
					"from stdin",
					" to stdout",
					" with (format csv)",
					"program 'x'",
					"u&'",
					"::int",
					"x",
					"1",
					" ",
					"\xc3\xa4",
					"\xff",
					",",
					"{{",
					"}}",
					NULL};
static const char *const document_words[] = {"{",      "}",      "[",        "]",  ": ", ", ",   "a",  "$set",
					     "$where", "'{id}'", "\"{x}\"",  "'",  "\"", "{id}", "1",  "1.5",
					     "null",   "$match", "$literal", "- ", "\n", "&a ",  "*a", "!!str ",
					     "$oid",   "$date",  "a.b",      "~",  NULL};
static const char *const pair_words[] = {"a", "=",      "&",   "%41",      "%",    "%zz", "%00",  "+",
					 ";", "%c3%a4", "%ff", "\xc3\xa4", "\xff", "&&",  "a=1&", NULL};
static const char *const part_words[] = {"--x",
					 "--x--",
					 "\r\n",
					 "\r\n--x\r\n",
					 "\r\n--x--\r\n",
					 "Content-Disposition: form-data; name=\"a\"\r\n",
					 "Content-Disposition: form-data; name=a; filename=\"b\"\r\n",
					 "; filename*=UTF-8''%41",
					 "\"",
					 "\\\"",
					 ";",
					 "=",
					 "name=",
					 "Content-Type: text/plain\r\n",
					 ":",
					 "a",
					 "\r\n\r\n",
					 "\n",
					 "\r",
					 "\xff",
					 " ",
					 "\t",
					 NULL};
static const char *const type_words[] = {"multipart/form-data",
					 "application/x-www-form-urlencoded",
					 ";",
					 " ",
					 "boundary=",
					 "x",
					 "\"",
					 "\\",
					 "charset=",
					 "utf-8",
					 "=",
					 ",",
					 "\t",
					 "\xff",
					 NULL};
static const char *const yaml_words[] = {"server: ",
					 "sources: ",
					 "endpoints: ",
					 "\n",
					 "\n ",
					 "\n  ",
					 "{ ",
					 " }",
					 "[ ",
					 " ]",
					 ", ",
					 "'GET /a/{id}'",
					 ": ",
					 "handler: ",
					 "m.so:f",
					 "m.so:",
					 ":f",
					 "'",
					 "\"",
					 "gather: ",
					 "respond: ",
					 "p",
					 "postgres: 'postgresql:///p'",
					 "from: p",
					 "sql: ",
					 "select {id}",
					 "find: c",
					 "{a.b}",
					 "parameters: ",
					 "id: ",
					 "type: integer",
					 "semaphores: ",
					 "s: 3",
					 "&a ",
					 "*a",
					 "<<: ",
					 "!!str ",
					 "| ",
					 "- ",
					 "modules: ",
					 "${A:-b}",
					 "1",
					 "~",
					 "#",
					 NULL};

/* --- readers --- */

static void must_be_sound(gd_value *v)
{
	if (gd_failed(v) < 0) {
		ck_assert(gd_error_text(v)[0] && gd_error_status(v) >= 400);
		return;
	}
	const char *json = gd_to_json(v);
	ck_assert_ptr_nonnull(json);
	gd_value *again = gd_parse(json, strlen(json));
	ck_assert_msg(gd_failed(again) == 0, "%s: %s", json, gd_error_text(again));
	ck_assert_str_eq(gd_to_json(again), json);
}

static void read_json(const char *text, size_t len)
{
	char what[100];
	bool spaced;
	gd_value *v = gd_parse(text, len);
	must_be_sound(v);
	ck_assert_int_eq(json_check(text, len, JSON_MAX_DEPTH, JSON_STRICT, &spaced, what, sizeof(what)) == 0,
			 gd_failed(v) == 0);
	must_be_sound(gd_string_n(text, len));
	must_be_sound(gd_bytes(text, len));
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
/* As many arguments as a text has words. */
#define TEN(a)   a, a, a, a, a, a, a, a, a, a
#define FORTY(a) TEN(a), TEN(a), TEN(a), TEN(a)

static void read_format(const char *text, size_t len)
{
	(void)len;
	if (!strchr(text, 'd') && !strchr(text, 'g') && !strchr(text, 'p'))
		must_be_sound(gd_build(text, FORTY("a \"text\"")));
}

static void read_format_of_values(const char *text, size_t len)
{
	gd_value *v = below(8) ? gd_doc("a", gd_list(gd_int(1), gd_string("x"))) : gd_failure(-ENOENT, 404, "Gone.");
	(void)len;
	must_be_sound(gd_build(text, FORTY(v)));
}
#pragma GCC diagnostic pop

static void read_path(const char *text, size_t len)
{
	(void)len;
	gd_value *v = gd_build("{a: [{b: 1, a: [2, [3]]}, null], b: {a: \"x\", b: []}}");
	must_be_sound(gd_get(v, text));
	must_be_sound(gd_set(v, text, gd_int(1)) == 0 ? v : gd_null());
	must_be_sound(gd_number(text));
	must_be_sound(gd_object_id(text));
}

static void read_form_as(const char *type, size_t type_len, const char *body, size_t len)
{
	struct arena a;
	struct form form;
	const char *why;
	arena_init(&a);
	int r = form_parse(&form, &a, (struct span){type, type_len}, (struct span){body, len}, &why);
	for (size_t i = 0; r == 0 && i < form.count; i++)
		must_be_sound(gd_doc("name", gd_string_n(form.fields[i].name.base, form.fields[i].name.len), "type",
				     gd_string_n(form.fields[i].type.base, form.fields[i].type.len)));
	arena_done(&a);
}

static void read_pairs(const char *text, size_t len)
{
	static const char type[] = "application/x-www-form-urlencoded";
	read_form_as(type, strlen(type), text, len);
}

static void read_parts(const char *text, size_t len)
{
	static const char type[] = "multipart/form-data; boundary=x";
	read_form_as(type, strlen(type), text, len);
}

static void read_type(const char *text, size_t len)
{
	read_form_as(text, len, "--x\r\n\r\na\r\n--x--", 15);
}

struct sink {
	struct reference_sink base;
	int count;
};

static int add(struct reference_sink *base, const struct reference *ref)
{
	(void)ref;
	return container_of(base, struct sink, base)->count++;
}

/* What an action of the configuration is compiled with. */
struct compiling {
	struct arena arena;
	struct diagnostics diagnostics;
	struct sink sink;
	struct config_parameter parameters[2];
	struct config_endpoint endpoint;
	struct action_env env;
};

static void compiling_init(struct compiling *c)
{
	*c = (struct compiling){.sink.base.add = add, .parameters = {{.name = "id"}, {.name = "x"}}};
	arena_init(&c->arena);
	diagnostics_init(&c->diagnostics);
	c->endpoint = (struct config_endpoint){.parameters = c->parameters, .parameter_count = 2};
	c->env = (struct action_env){.arena = &c->arena,
				     .diagnostics = &c->diagnostics,
				     .references = &c->sink.base,
				     .endpoint = &c->endpoint,
				     .read_only = below(2)};
}

static void compiling_done(struct compiling *c)
{
	arena_done(&c->arena);
	diagnostics_done(&c->diagnostics);
}

static void read_sql(const char *text, size_t len)
{
	struct pg_sql sql = {0};
	struct pg_copy_sql copy = {0};
	const char *why = NULL;
	struct compiling c;
	if (pg_sql_scan(&sql, text, len, &why))
		free((char *)sql.text);
	else
		ck_assert_ptr_nonnull(why);
	why = NULL;
	if (pg_sql_scan_copy(&copy, text, len, &why))
		free(copy.text);
	else
		ck_assert_ptr_nonnull(why);
	compiling_init(&c);
	struct node node = {.kind = NODE_STRING,
			    .text = arena_strndup(&c.arena, text, len),
			    .len = len,
			    .verbatim = true,
			    .at = {"t.yaml", 5, 3},
			    .body_at = {"t.yaml", 6, 7}};
	if (pg_sql_parse(&sql, &node, &c.env)) {
		for (size_t at = 0; at <= strlen(sql.text) + 1; at++)
			ck_assert(pg_sql_mark(&sql, at).line >= 5);
	} else {
		ck_assert_uint_gt(c.diagnostics.errors, 0);
	}
	compiling_done(&c);
}

static void read_document(const char *text, size_t len)
{
	static const struct value args[2 * MOST_WORDS];
	struct mongo_template t;
	struct compiling c;
	compiling_init(&c);
	const struct node *n = yaml_parse(&c.arena, "t.yaml", text, len, &c.diagnostics);
	if (n && mongo_template_compile(&t, n, (enum mongo_template_use)below(3), &c.env)) {
		struct buf out = BUF_INIT;
		struct error e = ERROR_INIT;
		int r = mongo_template_fill(&t, args, &c.arena, &out, &e);
		ck_assert(r == 0 || (r == e.errnum && e.what[0]));
		buf_done(&out);
	} else {
		ck_assert_uint_gt(c.diagnostics.errors, 0);
	}
	compiling_done(&c);
}

static void read_yaml(const char *text, size_t len)
{
	struct diagnostics d;
	diagnostics_init(&d);
	struct config *c = config_load_text("fuzz.yaml", text, len, &drivers_language, &d);
	ck_assert_msg(c || d.errors > 0, "no configuration, and no word why");
	if (c)
		generation_drop(generation_compile(c, &d));
	diagnostics_done(&d);
}

static const struct reader readers[] = {
	{"json", json_words, read_json, false},
	{"gd_build of texts", format_words, read_format, true},
	{"gd_build of values", value_words, read_format_of_values, true},
	{"paths", path_words, read_path, true},
	{"forms", pair_words, read_pairs, false},
	{"forms of parts", part_words, read_parts, false},
	{"types of forms", type_words, read_type, false},
	{"sql", sql_words, read_sql, false},
	{"documents", document_words, read_document, false},
	{"yaml", yaml_words, read_yaml, false},
};

/* --- texts --- */

static size_t count_words(const struct reader *r)
{
	size_t n = 1;
	while (r->words[n])
		n++;
	return n;
}

/* Of its exact size, so that a look beyond its end is seen. */
static void read_one(const struct reader *r, size_t words)
{
	struct buf text = BUF_INIT;
	for (size_t left = below(MOST_WORDS); left > 0; left--) {
		const char *word = r->words[below(words)];
		buf_append(&text, word, strlen(word));
		if (below(200) == 0)
			buf_append(&text, &(char){(char)below(256)}, 1);
	}
	if (r->terminated)
		text.len = text.data ? strnlen(text.data, text.len) : 0;
	char *copy = malloc(text.len + 1);
	memcpy(copy, text.data ? text.data : "", text.len);
	copy[text.len] = '\0';
	if (!r->terminated)
		copy = realloc(copy, text.len ? text.len : 1);
	buf_done(&text);
	r->read(copy, r->terminated ? strlen(copy) : text.len);
	free(copy);
}

static const struct module_env env;

static uint64_t number_from(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	return text ? strtoull(text, NULL, 10) : otherwise;
}

static int read_many(void *arg)
{
	const struct reader *r = arg;
	size_t words = count_words(r);
	state = number_from("FUZZ_SEED", 0);
	for (uint64_t left = number_from("FUZZ_ROUNDS", ROUNDS); left > 0; left--) {
		struct gd_scope scope;
		scope_open(&scope, &env, NULL, NULL);
		read_one(r, words);
		scope_close(&scope);
	}
	return 0;
}

START_TEST(reads)
{
	ck_assert_int_eq(loop_run_main(read_many, (void *)&readers[_i]), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("text_fuzz");
	TCase *c = async_tcase(s, "readers");
	tcase_add_loop_test(c, reads, 0, ARRAY_SIZE(readers));
	return run_suite(s);
}

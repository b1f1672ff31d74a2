/* Compiling declared endpoints: references, the graph, the reply; and what is wrong with them, with its place. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "drivers/drivers.h"
#include "handlers/gather/plan.h"
#include "tests/unit/async/async_fixture.h"

static const char head[] = "sources:\n"
			   "  pg: { postgres: \"postgresql:///x?host=/tmp\" }\n"
			   "  mongo: { mongodb: \"mongodb://127.0.0.1/x\" }\n"
			   "endpoints:\n"
			   "  \"GET /t/{id}\":\n"; /* 5 lines */
enum { HEAD_LINES = 5 };

struct compiled {
	struct diagnostics d;
	struct config *config;
	struct arena arena;
	struct plan *plan;
	uint64_t sources[8]; /* their identities */
};

/* c->sources is the caller's. */
static void compile(struct compiled *c, const char *endpoint)
{
	struct buf text = BUF_INIT;
	buf_str(&text, head);
	buf_str(&text, endpoint);
	diagnostics_init(&c->d);
	arena_init(&c->arena);
	c->plan = NULL;
	c->config = config_load_text("t.yaml", text.data, text.len, &drivers_language, &c->d);
	if (c->config)
		c->plan = plan_compile(c->config, &c->config->endpoints[0], c->sources, &c->arena, &c->d);
	diagnostics_sort(&c->d);
	buf_done(&text);
}

static void release(struct compiled *c)
{
	config_free(c->config);
	arena_done(&c->arena);
	diagnostics_done(&c->d);
}

static const struct {
	const char *endpoint;
	unsigned line, column; /* within the endpoint */
	const char *text;      /* in the message */
} mistakes[] = {
	{"    gather:\n"
	 "      a: { from: pg, sql: \"select {idd}\" }\n",
	 2, 35, "did you mean 'id'"},
	{"    gather:\n"
	 "      a: { from: pg, sql: \"select {a.x}\" }\n",
	 2, 35, "a step can't refer to itself"},
	{"    gather:\n"
	 "      a: { from: pg, sql: \"select {b.x}\" }\n"
	 "      b: { from: pg, sql: \"select {a.x}\" }\n",
	 2, 7, "in a circle"},
	{"    gather:\n"
	 "      a: { from: pg, sql: \"select 1\", when: \"x\" }\n",
	 2, 45, "expected one reference"},
	{"    gather:\n"
	 "      a: { from: pg, sql: \"select 1\", on_error: { default: \"{id}\" } }\n",
	 2, 60, "a default is a constant"},
	{"    gather:\n"
	 "      a: { from: pg, sql: \"select 1\" }\n"
	 "    respond: { x: \"{request.nothing}\" }\n",
	 3, 20, "expected request.method"},
	{"    gather:\n"
	 "      a: { from: pg, sql: \"select 1\" }\n"
	 "    respond: { x: \"{claims.sub}\" }\n",
	 3, 20, "not supported by this build"},
	{"    gather:\n"
	 "      a: { from: mongo, find: things, filter: { x: \"{nope}\" } }\n",
	 2, 53, "refers to nothing"},
};

START_TEST(a_mistake_is_reported_at_its_place)
{
	struct compiled c = {0};
	compile(&c, mistakes[_i].endpoint);
	ck_assert_ptr_null(c.plan);
	ck_assert_uint_eq(c.d.errors, 1);
	ck_assert_msg(strstr(c.d.items[0].text, mistakes[_i].text) != NULL, "%s", c.d.items[0].text);
	ck_assert_uint_eq(c.d.items[0].at.line, mistakes[_i].line + HEAD_LINES);
	ck_assert_uint_eq(c.d.items[0].at.column, mistakes[_i].column);
	release(&c);
}
END_TEST

START_TEST(references_make_the_graph)
{
	struct compiled c = {0};
	compile(&c, "    gather:\n"
		    "      a: { from: pg, sql: \"select {id}\" }\n"
		    "      b: { from: mongo, find: x, filter: { y: \"{a.y}\", z: \"{a.y}\" }, when: \"{c}\" }\n"
		    "      c: { from: pg, sql: \"select 2\" }\n");
	ck_assert_ptr_nonnull(c.plan);
	ck_assert_uint_eq(c.plan->steps[0].needs, 0);
	ck_assert_uint_eq(c.plan->steps[1].needs, 1 | 4);
	ck_assert_uint_eq(c.plan->steps[1].arg_count, 1); /* the same reference twice is one */
	ck_assert_uint_eq(c.plan->steps[2].needs, 0);
	release(&c);
}
END_TEST

/* --- replies --- */

static void fake_render(const struct result *r, struct buf *out)
{
	(void)r;
	buf_lit(out, "[1,2]");
}

static struct value fake_get(const struct result *r, const struct path *path, struct arena *a)
{
	(void)r, (void)a;
	return path->count ? value_string("q\"uote", 6) : VALUE_OF_NULL;
}

static void fake_free(struct result *r)
{
	(void)r;
}

static const struct result_ops fake_ops = {.render = fake_render, .get = fake_get, .free = fake_free};

static const struct {
	const char *respond;
	enum outcome_kind outcome; /* of step b, which is omitted on error */
	const char *json;
} replies[] = {
	{"", OUTCOME_RESULT, "{\"a\":[1,2],\"b\":[1,2]}"},
	{"", OUTCOME_OMITTED, "{\"a\":[1,2]}"},
	{"    respond: { b: \"{b}\", a: \"{a}\" }\n", OUTCOME_OMITTED, "{\"a\":[1,2]}"},
	{"    respond: [ \"{b}\", \"{a}\", { } ]\n", OUTCOME_OMITTED, "[[1,2],{}]"},
	{"    respond: { x: { y: \"{b.z}\", n: null, t: true, f: 1.50 }, s: \"<{a.s}|{b.s}>\" }\n", OUTCOME_OMITTED,
	 "{\"x\":{\"n\":null,\"t\":true,\"f\":1.50},\"s\":\"<q\\\"uote|>\"}"},
	{"    respond: \"{a}\"\n", OUTCOME_RESULT, "[1,2]"},
	{"    respond: { literal: \"{{id}}\", list: [1, \"x\"] }\n", OUTCOME_RESULT,
	 "{\"literal\":\"{id}\",\"list\":[1,\"x\"]}"},
	{"    respond: { id: \"{id}\", path: \"{request.path}\", h: \"{headers.x-y}\" }\n", OUTCOME_RESULT,
	 "{\"id\":\"seven\",\"path\":\"/t/seven\",\"h\":null}"},
};

START_TEST(replies_are_rendered)
{
	struct compiled c = {0};
	struct buf endpoint = BUF_INIT, out = BUF_INIT;
	buf_str(&endpoint, "    gather:\n"
			   "      a: { from: pg, sql: \"select 1\" }\n"
			   "      b: { from: pg, sql: \"select 1\", on_error: omit }\n");
	buf_str(&endpoint, replies[_i].respond);
	compile(&c, buf_cstr(&endpoint));
	ck_assert_ptr_nonnull(c.plan);

	struct result result = {.ops = &fake_ops};
	struct exchange x = {.method = METHOD_GET, .path = {"/t/seven", 8}};
	struct value id = value_string("seven", 5);
	struct span header = {NULL, 0};
	struct outcome outcomes[] = {
		{.kind = OUTCOME_RESULT, .result = &result},
		{.kind = replies[_i].outcome, .result = replies[_i].outcome == OUTCOME_RESULT ? &result : NULL}};
	struct evaluation e = {.exchange = &x,
			       .parameters = {.values = &id},
			       .headers = &header,
			       .outcomes = outcomes,
			       .arena = &c.arena};
	ck_assert_int_eq(respond_render(&c.plan->respond, &e, &out, NULL), 0);
	ck_assert_str_eq(buf_cstr(&out), replies[_i].json);
	buf_done(&endpoint);
	buf_done(&out);
	release(&c);
}
END_TEST

START_TEST(a_reply_without_references_is_one_piece)
{
	struct compiled c = {0};
	compile(&c, "    respond: { a: [1, { b: \"x\\\"\" }], c: null }\n");
	ck_assert_ptr_nonnull(c.plan);
	ck_assert(c.plan->respond.constant);
	struct buf out = BUF_INIT;
	ck_assert_int_eq(respond_render(&c.plan->respond, NULL, &out, NULL), 0);
	ck_assert_str_eq(buf_cstr(&out), "{\"a\":[1,{\"b\":\"x\\\"\"}],\"c\":null}");
	buf_done(&out);
	release(&c);
}
END_TEST

/* --- what the cache knows them by --- */

static uint64_t identity_of(const char *endpoint, uint64_t source, bool step)
{
	struct compiled c = {.sources = {source}};
	compile(&c, endpoint);
	ck_assert_ptr_nonnull(c.plan);
	uint64_t identity = step ? c.plan->steps[0].identity : c.plan->identity;
	release(&c);
	return identity;
}

START_TEST(a_text_or_a_source_that_changes_changes_the_identity)
{
	static const char one[] = "    gather: { a: { from: pg, sql: \"select 1\" } }\n";
	static const char two[] = "    gather: { a: { from: pg, sql: \"select 2\" } }\n";
	static const char other[] = "    gather: { a: { from: pg, sql: \"select 1\" } }\n    respond: { b: \"{a}\" }\n";
	for (int step = 0; step < 2; step++) {
		uint64_t identity = identity_of(one, 7, step);
		ck_assert_uint_eq(identity, identity_of(one, 7, step));
		ck_assert_uint_ne(identity, identity_of(two, 7, step));
		ck_assert_uint_ne(identity, identity_of(one, 8, step));
		ck_assert_int_eq(identity == identity_of(other, 7, step), step); /* the step is the same one */
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("plan");
	TCase *c = async_tcase(s, "plan");
	tcase_add_loop_test(c, a_mistake_is_reported_at_its_place, 0, (int)ARRAY_SIZE(mistakes));
	tcase_add_test(c, references_make_the_graph);
	tcase_add_loop_test(c, replies_are_rendered, 0, (int)ARRAY_SIZE(replies));
	tcase_add_test(c, a_reply_without_references_is_one_piece);
	tcase_add_test(c, a_text_or_a_source_that_changes_changes_the_identity);
	return run_suite(s);
}

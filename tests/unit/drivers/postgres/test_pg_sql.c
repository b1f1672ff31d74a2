/* The lexer of SQL: what becomes a parameter, what is left alone, what is refused. */
#include <check.h>
#include <stdlib.h>

#include "base/compiler.h"
#include "drivers/postgres/statements/sql.h"
#include "tests/unit/async/async_fixture.h"

struct sink {
	struct reference_sink base;
	const char *texts[16];
	int count;
};

static int add(struct reference_sink *base, const struct reference *ref)
{
	struct sink *s = container_of(base, struct sink, base);
	for (int i = 0; i < s->count; i++) {
		if (strcmp(s->texts[i], ref->text) == 0)
			return i;
	}
	s->texts[s->count] = ref->text;
	return s->count++;
}

static struct config_parameter parameters[] = {{.name = "id"}, {.name = "x"}, {.name = "q"}};
static const struct config_endpoint endpoint = {.parameters = parameters, .parameter_count = 3};

struct parsed {
	struct arena arena;
	struct diagnostics diagnostics;
	struct sink sink;
	struct node node;
	struct pg_sql sql;
	bool fine;
};

static void parse(struct parsed *p, const char *text, bool read_only)
{
	*p = (struct parsed){.sink.base.add = add};
	arena_init(&p->arena);
	diagnostics_init(&p->diagnostics);
	p->node = (struct node){.kind = NODE_STRING,
				.text = text,
				.len = strlen(text),
				.verbatim = true,
				.at = {"t.yaml", 5, 3},
				.body_at = {"t.yaml", 6, 7}};
	struct action_env env = {.arena = &p->arena,
				 .diagnostics = &p->diagnostics,
				 .references = &p->sink.base,
				 .endpoint = &endpoint,
				 .read_only = read_only};
	p->fine = pg_sql_parse(&p->sql, &p->node, &env);
}

static void parsed_done(struct parsed *p)
{
	arena_done(&p->arena);
	diagnostics_done(&p->diagnostics);
}

static const struct {
	const char *text, *sql;
	unsigned parameters;
} taken[] = {
	{"select {id}", "select  $1 ", 1},
	{"select {id}, {x}, {id}", "select  $1 ,  $2 ,  $1 ", 2},
	{"select 1 limit{id}", "select 1 limit $1 ", 1},
	{"select {id}5", "select  $1 5", 1},
	{"select 1;", "select 1 ", 0},
	{"select 1; -- done", "select 1  -- done", 0},
	{"select 1 ; /* a */ ; ", "select 1   /* a */   ", 0},
	{"select '{id}'", "select '{id}'", 0},
	{"select 'it''s {id}', {x}", "select 'it''s {id}',  $1 ", 1},
	{"select E'it\\'s {id}', {x}", "select E'it\\'s {id}',  $1 ", 1},
	{"select e'\\\\', {x}", "select e'\\\\',  $1 ", 1},
	{"select 'back\\', {x}", "select 'back\\',  $1 ", 1},
	{"select date'2024-01-01' + {x}", "select date'2024-01-01' +  $1 ", 1},
	{"select \"a {id} \"\"b\"\"\", {x}", "select \"a {id} \"\"b\"\"\",  $1 ", 1},
	{"select U&'\\0041 {id}', {x}", "select U&'\\0041 {id}',  $1 ", 1},
	{"select $$ {id} $$, {x}", "select $$ {id} $$,  $1 ", 1},
	{"select $a$ {id} $$ $b$ $a$, {x}", "select $a$ {id} $$ $b$ $a$,  $1 ", 1},
	{"select a$1 from t where b = {x}", "select a$1 from t where b =  $1 ", 1},
	{"select 1 -- {id}\n, {x}", "select 1 -- {id}\n,  $1 ", 1},
	{"select /* {id} /* nested */ {id} */ {x}", "select /* {id} /* nested */ {id} */  $1 ", 1},
	{"select 1 -- {id}\r, {x}", "select 1 -- {id}\r,  $1 ", 1},
	{"select E'a'\n 'it\\'s {id}', {x}", "select E'a'\n 'it\\'s {id}',  $1 ", 1},
	{"select E'a' -- {id}\n 'it\\'s {id}', {x}", "select E'a' -- {id}\n 'it\\'s {id}',  $1 ", 1},
	{"select E'a' -- one\n -- it's two\n\n'it\\'s {id}', {x}",
	 "select E'a' -- one\n -- it's two\n\n'it\\'s {id}',  $1 ", 1},
	{"select E'a'-- one\r'\\'', {x}", "select E'a'-- one\r'\\'',  $1 ", 1},
	{"select E'a' /* one */\n 'b\\', {x}", "select E'a' /* one */\n 'b\\',  $1 ", 1},
	{"select E'a' -- 'b\\', {x}\n, {id}", "select E'a' -- 'b\\', {x}\n,  $1 ", 1},
	{"select E'a' -\n'b\\', {x}", "select E'a' -\n'b\\',  $1 ", 1},
	{"select E'a'\n -- 'b\\' {id}", "select E'a'\n -- 'b\\' {id}", 0},
	{"select U&'!0041' UESCAPE '!' , {x}", "select U&'!0041' UESCAPE '!' ,  $1 ", 1},
	{"select U&\"d\\0061t\" , {x}", "select U&\"d\\0061t\" ,  $1 ", 1},
	{"select E'a' , 'b\\', {x}", "select E'a' , 'b\\',  $1 ", 1},
	{"select 'a'\n 'b\\', {x}", "select 'a'\n 'b\\',  $1 ", 1},
	{"select 1 - -{x}", "select 1 - - $1 ", 1},
	{"select 4 / {x}", "select 4 /  $1 ", 1},
	{"select '{{1,2},{3,4}}'::int[]", "select '{{1,2},{3,4}}'::int[]", 0},
	{"select {x.a.b}, {x[0].c}, {x[*].d}", "select  $1 ,  $2 ,  $3 ", 3},
	{"select ';' , \";\" , $$;$$ /*;*/ -- ;", "select ';' , \";\" , $$;$$ /*;*/ -- ;", 0},
	{"(select 1) union (select {id})", "(select 1) union (select  $1 )", 1},
	{"select data #> '{a,b}' from t", "select data #> '{a,b}' from t", 0},
	{"select 1e5, 1.5, {x}", "select 1e5, 1.5,  $1 ", 1},
};

START_TEST(references_become_parameters)
{
	struct parsed p;
	parse(&p, taken[_i].text, true);
	ck_assert_msg(p.fine, "%s: %s", taken[_i].text,
		      p.diagnostics.count ? p.diagnostics.items[0].text : "no diagnostic");
	ck_assert_str_eq(p.sql.text, taken[_i].sql);
	ck_assert_uint_eq(p.sql.parameter_count, taken[_i].parameters);
	parsed_done(&p);
}
END_TEST

static const struct {
	const char *text, *why;
} refused[] = {
	{"", "expected an SQL statement"},
	{" \n ; ", "expected an SQL statement"},
	{"-- nothing", "expected an SQL statement"},
	{"select 1; select 2", "one statement"},
	{"select 1;select {id}", "one statement"},
	{"select 'open", "no end"},
	{"select 'open\\'' || {id}", "no end"},
	{"select \"open", "no end"},
	{"select $$open", "no end"},
	{"select /* /* */", "no end"},
	{"select $1", "{name}"},
	{"select }", "lone }"},
	{"select {}", ""},
	{"select {id", ""},
	{"begin", "transaction"},
	{"COMMIT", "transaction"},
	{"-- harmless\rcommit and chain", "transaction"},
	{"copy t to stdout", "COPY"},
	{"set datestyle = iso", "set_config"},
	{"listen x", "shared"},
};

START_TEST(what_is_refused)
{
	struct parsed p;
	parse(&p, refused[_i].text, true);
	ck_assert_msg(!p.fine, "%s", refused[_i].text);
	ck_assert_uint_ge(p.diagnostics.errors, 1);
	ck_assert_msg(strstr(p.diagnostics.items[0].text, refused[_i].why), "%s: %s", refused[_i].text,
		      p.diagnostics.items[0].text);
	parsed_done(&p);
}
END_TEST

static const struct {
	const char *text;
	size_t warnings;
} warned[] = {
	{"select '{id}'", 1},
	{"select '{id} {x}', \"{q}\"", 3},
	{"select 1 -- {id}", 1},
	{"select $$ {id} $$ /* {x} */", 2},
	{"select '{unknown}', '{a,b}', '{\"id\": 1}'", 0},
	{"insert into t values ({id})", 1},
	{"select {id}", 0},
};

START_TEST(what_is_warned_of)
{
	struct parsed p;
	parse(&p, warned[_i].text, true);
	ck_assert(p.fine);
	ck_assert_uint_eq(p.diagnostics.errors, 0);
	ck_assert_uint_eq(p.diagnostics.count, warned[_i].warnings);
	parsed_done(&p);
}
END_TEST

START_TEST(marks_say_where)
{
	struct parsed p;
	parse(&p, "select 1,\n  '{id}',\n    }", true);
	ck_assert(!p.fine);
	diagnostics_sort(&p.diagnostics);
	ck_assert_uint_eq(p.diagnostics.count, 2);
	ck_assert_uint_eq(p.diagnostics.items[0].at.line, 7);
	ck_assert_uint_eq(p.diagnostics.items[0].at.column, 10);
	ck_assert_uint_eq(p.diagnostics.items[1].at.line, 8);
	ck_assert_uint_eq(p.diagnostics.items[1].at.column, 11);
	parsed_done(&p);
}
END_TEST

/* The server names a character of the rewritten text: where that is in the scalar. */
static const struct {
	const char *text, *word;
	unsigned line, column;
} places[] = {
	{"select nope", "nope", 6, 14},
	{"select {id}, nope", "nope", 6, 20},
	{"select {id}, {x},\n  nope", "nope", 7, 9},
	{"select {id} + {x}", "$2", 6, 21},
	{"select {id}nope", "nope", 6, 18},
	{"select a[{{1}}], nope", "nope", 6, 24},
	{"select 'äöü€', {q}, nope", "nope", 6, 27},
	{"/* {{ */ select {id};", "select", 6, 16},
	{"select 1 from\n  \n", "", 6, 20},
	{"select {id} from {x}\n", "", 6, 24},
};

START_TEST(positions_lead_back)
{
	struct parsed p;
	parse(&p, places[_i].text, true);
	ck_assert(p.fine);
	const char *at = strstr(p.sql.text, places[_i].word);
	ck_assert_ptr_nonnull(at);
	if (!*places[_i].word)
		at = p.sql.text + strlen(p.sql.text);
	size_t position = 1;
	for (const char *c = p.sql.text; c < at; c++)
		position += ((unsigned char)*c & 0xC0) != 0x80;
	struct mark mark = pg_sql_mark(&p.sql, position);
	ck_assert_msg(mark.line == places[_i].line && mark.column == places[_i].column, "%s: %u:%u", places[_i].text,
		      mark.line, mark.column);
	mark = pg_sql_mark(&p.sql, 0);
	ck_assert_uint_eq(mark.line, 6);
	ck_assert_uint_eq(mark.column, 7);
	parsed_done(&p);
}
END_TEST

START_TEST(keywords_are_found)
{
	struct parsed p;
	parse(&p, "/* a */ -- b\n ( INSERT into t values (1)) returning {id}", false);
	ck_assert(p.fine);
	ck_assert_str_eq(p.sql.keyword, "insert");
	ck_assert(p.sql.modifies);
	ck_assert_uint_eq(p.diagnostics.count, 0);
	parsed_done(&p);
}
END_TEST

static const struct {
	const char *text;
	enum action_effect effect;
} effects[] = {
	{"select a, count(*) from t where a in (1, 2) and (b or c) group by a", ACTION_READS},
	{"select a from t where b = {id} for update", ACTION_READS},
	{"select a from t for no key update", ACTION_READS},
	{"with q as (select 1) select * from q", ACTION_READS},
	{"values (1, 2)", ACTION_READS},
	{"table t", ACTION_READS},
	{"select 'insert into t' as \"delete\" /* update */", ACTION_READS},
	{"select f(1)", ACTION_MAY_WRITE},
	{"select * from shop.f (1)", ACTION_MAY_WRITE},
	{"select \"F\"(1)", ACTION_MAY_WRITE},
	{"select set_config('a', 'b', true)", ACTION_MAY_WRITE},
	{"select nextval('s')", ACTION_MAY_WRITE},
	{"insert into t values (1)", ACTION_WRITES},
	{"WITH q AS (UPDATE t SET a = 1 RETURNING a) SELECT * FROM q", ACTION_WRITES},
	{"select a into u from t", ACTION_WRITES},
	{"explain analyze delete from t", ACTION_WRITES},
	{"call p()", ACTION_WRITES},
	{"do 'begin end'", ACTION_WRITES},
	{"truncate t", ACTION_WRITES},
};

START_TEST(what_a_statement_may_do_is_told)
{
	struct parsed p;
	parse(&p, effects[_i].text, false);
	ck_assert(p.fine);
	ck_assert_msg(p.sql.effect == effects[_i].effect, "%s: %d", effects[_i].text, p.sql.effect);
	parsed_done(&p);
}
END_TEST

/* No text makes the lexer read beyond its end: every prefix and every suffix of everything above. */
START_TEST(any_cut_is_survived)
{
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
		size_t len = strlen(taken[i].text);
		for (size_t cut = 0; cut <= len; cut++) {
			struct parsed p;
			char *prefix = strndup(taken[i].text, cut);
			parse(&p, prefix, true);
			parsed_done(&p);
			free(prefix);
			parse(&p, taken[i].text + cut, true);
			parsed_done(&p);
		}
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("postgres: sql");
	TCase *c = async_tcase(s, "sql");
	tcase_add_loop_test(c, references_become_parameters, 0, (int)ARRAY_SIZE(taken));
	tcase_add_loop_test(c, what_is_refused, 0, (int)ARRAY_SIZE(refused));
	tcase_add_loop_test(c, what_is_warned_of, 0, (int)ARRAY_SIZE(warned));
	tcase_add_test(c, marks_say_where);
	tcase_add_loop_test(c, positions_lead_back, 0, (int)ARRAY_SIZE(places));
	tcase_add_test(c, keywords_are_found);
	tcase_add_loop_test(c, what_a_statement_may_do_is_told, 0, (int)ARRAY_SIZE(effects));
	tcase_add_test(c, any_cut_is_survived);
	return run_suite(s);
}

/* Which statements are taken for ones that change one row at most, by their text. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "drivers/postgres/statements/single.h"

/* "row", "table|column=1|other=0" with `only`'s "only " before it, or "". */
static const char *judged(const char *text)
{
	static char out[512];
	struct pg_single s;
	size_t n = 0;

	pg_single_parse(&s, text);
	if (s.kind != PG_SINGLE_KEY)
		return s.kind == PG_SINGLE_ROW ? "row" : "";
	n += (size_t)snprintf(out, sizeof(out), "%s%.*s", s.only ? "only " : "", (int)s.table_len, text + s.table);
	for (unsigned i = 0; i < s.column_count; i++)
		n += (size_t)snprintf(out + n, sizeof(out) - n, "|%.*s=%u", (int)s.columns[i].len,
				      text + s.columns[i].at, s.columns[i].parameter);
	return out;
}

static const struct {
	const char *text, *expected;
} cases[] = {
	{"insert into t values ($1)", "row"},
	{"INSERT INTO s.\"T\" (a, \"b\") VALUES ( $1 ,  $2 ::numeric(10,2)) RETURNING *", ""},
	{"INSERT INTO s.\"T\" (a, \"b\") VALUES ( $1 ,  $2 ::text, 'it''s', default, 12) RETURNING *", "row"},
	{"insert into t as x (a[1], b.c) values (now(), coalesce($1, lower('A')))", "row"},
	{"insert into t values ($1) on conflict (a) do update set b = excluded.b where t.c < 5", "row"},
	{"insert into t values ($1) -- one\n", "row"},
	{"insert into t values ($1), ($2)", ""},
	{"insert into t values (generate_series(1, 3))", ""},
	{"insert into t values (1, (select 1))", ""},
	{"insert into t values ($1 + 1)", ""},
	{"insert into t values (array[1])", ""},
	{"insert into t values (E'a\\'', '), (')", ""},
	{"insert into t values ($$a$$)", ""},
	{"insert into t values (1 /* , ( */)", ""},
	{"insert into t select 1", ""},
	{"insert into t default values", ""},
	{"insert into t values (1", ""},
	{"insert into t values ('a)", ""},
	{"insert into", ""},
	{"with x as (select 1) insert into t values (1)", ""},
	{"update t set a = 1 where id = $1", "t|id=1"},
	{"update only s.t as x set a = (select b from c where d = 1), e = $1 where x.id =  $2  and v < $3 returning id",
	 "only s.t|id=2"},
	{"update t x set a = 1 where \"Id\" = $12 and b = 'x' and c = 5", "t|\"Id\"=12|b=0|c=0"},
	{"update t set a = 1 where a in (1, 2) and id = $1", "t|id=1"},
	{"update t set a = case when b or c then 1 end where id = $1", "t|id=1"},
	{"update t set a = 1 where not b = $1 and id = $2", "t|id=2"},
	{"update t set a = 1 where (b = 1 or c = 2) and id = $1", "t|id=1"},
	{"update t set a = 1 where id = $1 or id = $2", ""},
	{"update t set a = 1 where a between 1 and id = $1", ""},
	{"update t set a = 1 where case when a and id = $1 then b end", ""},
	{"update t set a = 1 where id = $1::float8", ""},
	{"update t set a = 1 where id = $1 + 1", ""},
	{"update t set a = 1 where id >= $1", ""},
	{"update t set a = 1 where id = 1.5", ""},
	{"update t set a = 1 where id = any($1)", ""},
	{"update t set a = 1 where id = e'5'", ""},
	{"update t set a = 1 where (id = $1)", ""},
	{"update t set a = 1 where current of c", ""},
	{"update t set a = 1 from u where t.id = $1", ""},
	{"update t set a = 1", ""},
	{"update t set a = 1 where id = $1 and (", ""},
	{"update (t) set a = 1 where id = $1", ""},
	{"delete from t where id = $1 returning *", "t|id=1"},
	{"delete from only t as x where x.a = $1 and b = $2", "only t|a=1|b=2"},
	{"delete from t using u where t.id = $1", ""},
	{"delete from t", ""},
	{"delete from t where a=1 and b=2 and c=3 and d=4 and e=5 and f=6 and g=7 and h=8 and i=9",
	 "t|a=0|b=0|c=0|d=0|e=0|f=0|g=0|h=0"},
	{"select 1", ""},
	{"merge into t using u on t.id = u.id when matched then delete", ""},
	{"", ""},
};

START_TEST(by_its_text)
{
	ck_assert_msg(strcmp(judged(cases[_i].text), cases[_i].expected) == 0, "%s: %s", cases[_i].text,
		      judged(cases[_i].text));
}
END_TEST

/* Nothing is read beyond the end of what was cut off, wherever that is. */
START_TEST(cut_anywhere)
{
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (size_t len = strlen(cases[i].text); len-- > 0;) {
			char *text = strndup(cases[i].text, len);
			judged(text);
			free(text);
		}
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("single");
	TCase *tc = tcase_create("text");
	tcase_add_loop_test(tc, by_its_text, 0, (int)ARRAY_SIZE(cases));
	tcase_add_test(tc, cut_anywhere);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}

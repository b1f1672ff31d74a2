/* Arguments in, rows out: the ends of a run that queries and transactions have in common. */
#include "drivers/postgres/calls/ask.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/postgres/statements/cache.h"
#include "drivers/postgres/statements/result.h"
#include "drivers/value_result.h"

int pg_ask_statement(struct pg_client *c, const struct pg_ask *ask, const struct pg_place *place,
		     struct pg_statement **out, struct error *e)
{
	const char *why;
	struct pg_statement *st = pg_text_of(c, ask->sql, ask->len, !ask->writes, &why);

	if (!st)
		return pg_error_at(e, -EINVAL, 500, NULL, place, why);
	unsigned takes = st->action->sql.parameter_count;
	if (takes != ask->count) {
		char text[100];
		snprintf(text, sizeof(text), "the statement takes %u parameter%s, and %u value%s given", takes,
			 takes == 1 ? "" : "s", ask->count, ask->count == 1 ? " was" : "s were");
		pg_statement_drop(c, st);
		return pg_error_at(e, -EINVAL, 500, NULL, place, text);
	}
	*out = st;
	return 0;
}

static const struct value *argument(const struct pg_arguments *args, unsigned i)
{
	return &args->values[args->sql->slots ? args->sql->slots[i] : (int)i];
}

static int refuse_argument(const struct pg_sql *sql, unsigned i, const struct value *v, int r, const char *why,
			   const struct pg_place *place, struct error *e)
{
	char text[160];

	if (sql->references)
		snprintf(text, sizeof(text), "%s holds %s.", sql->references[i].text, why);
	else
		snprintf(text, sizeof(text), "$%u holds %s.", i + 1, why);
	return pg_error_at(e, r, v->from_request ? 400 : 500,
			   !v->from_request  ? NULL
			   : sql->references ? text
					     : reason_text(REASON_PARAMETER_UNFIT),
			   place, text);
}

int pg_bind(struct pg_parameters *p, const struct pg_statement *st, const struct pg_arguments *args,
	    struct pg_place *place, struct error *e)
{
	const struct pg_sql *sql = args->sql;

	pg_parameters_begin(p, sql->parameter_count);
	for (unsigned i = 0; i < sql->parameter_count; i++) {
		const struct value *v = argument(args, i);
		const char *why;
		int r = pg_parameters_add(p, &st->parameters[i], v, &why);
		if (r < 0)
			return refuse_argument(sql, i, v, r, why, place, e);
	}
	pg_parameters_end(p);
	place->from_request = p->from_request;
	place->reads_data = sql->reads_data;
	place->parameters = p;
	return 0;
}

bool pg_is_stale(const PGresult *failure, bool unparsed)
{
	const char *function = PQresultErrorField(failure, PG_DIAG_SOURCE_FUNCTION);

	if (pg_sqlstate_is(failure, "26000") || pg_sqlstate_is(failure, "42P05"))
		return true;
	/* It was fine when it was learned: what it speaks of has changed. */
	if (unparsed && strncmp(pg_sqlstate(failure), "42", 2) == 0)
		return true;
	/* "cached plan must not change result type": the only message of that function, in whatever language. */
	return pg_sqlstate_is(failure, "0A000") && function && strcmp(function, "RevalidateCachedQuery") == 0;
}

bool pg_is_suspect(const char *sqlstate)
{
	if (strncmp(sqlstate, "42", 2) == 0)
		return strcmp(sqlstate, "42501") != 0;
	return strncmp(sqlstate, "22", 2) == 0 || strcmp(sqlstate, "XX000") == 0;
}

int64_t pg_changed_rows(const PGresult *result)
{
	return strtoll(PQcmdTuples((PGresult *)result), NULL, 10);
}

/* Do the rows, or the count of what was changed without any, keep what `expect` promises? */
int pg_check_expect(enum expect expect, const PGresult *result, const struct pg_place *place, struct error *e)
{
	bool counts = PQresultStatus(result) == PGRES_COMMAND_OK;
	int64_t rows = counts ? pg_changed_rows(result) : PQntuples(result);
	const char *what = NULL;

	if (counts && !*PQcmdTuples((PGresult *)result))
		return 0; /* CALL, DO, TRUNCATE: there is nothing to count */
	if (expect == EXPECT_ONE && rows == 0)
		return pg_error_at(e, -ENOENT, 404, NULL, place, "no row");
	if ((expect == EXPECT_ONE || expect == EXPECT_MAYBE || (expect == EXPECT_VALUE && !counts)) && rows > 1)
		what = "more than one row";
	else if (expect == EXPECT_VALUE && !counts && PQnfields(result) != 1)
		what = "not exactly one column";
	return what ? pg_error_at(e, -EBADMSG, 500, NULL, place, what) : 0;
}

int pg_check_affected(const struct pg_action *action, const struct value *args, const PGresult *result,
		      const struct pg_place *place, struct error *e)
{
	char where[160];

	if (!action->affected.given)
		return 0;
	snprintf(where, sizeof(where), "step %.60s, source %.60s", place->step, place->source);
	return affected_check(&action->affected, args, pg_changed_rows(result), where, e);
}

struct result *pg_changed_result(enum expect expect, int64_t n)
{
	struct value_result *r = value_result_new();
	struct value_member *m = arena_alloc(&r->arena, sizeof(*m));

	r->base.rows = (size_t)n;
	*m = (struct value_member){"changed", sizeof("changed") - 1, value_int(n)};
	if (expect == EXPECT_VALUE)
		r->value = m->value;
	else if (expect != EXPECT_NONE)
		r->value = (struct value){.kind = VALUE_DOCUMENT, .count = 1, .members = m};
	return &r->base;
}

struct pg_layout *pg_layout_of(struct pg_client *c, struct pg_statement *st, uint32_t generation,
			       const struct pg_brought *brought, bool *as_learned)
{
	*as_learned = !brought->retyped && !brought->names && pg_layout_fits(st->layout, brought->rows);
	if (*as_learned)
		return pg_layout_keep(st->layout);
	if (brought->retyped)
		pg_statement_forget_types(c, st, generation);
	else
		pg_statement_forget(st, generation);
	return brought->names ? pg_layout_renamed(brought->names, brought->rows, &c->types)
			      : pg_layout_new(brought->rows, &c->types);
}

int pg_take_answer(PGresult **rows, struct pg_layout *layout, const struct pg_ask *ask, const struct pg_place *place,
		   struct pg_answer *out, struct error *e)
{
	if (ask->writes && PQresultStatus(*rows) == PGRES_COMMAND_OK) {
		*out = (struct pg_answer){.changed = pg_changed_rows(*rows)};
		PQclear(*rows);
		*rows = NULL;
		return 0;
	}
	int r = pg_check_expect(ask->expect, *rows, place, e);
	if (r < 0)
		return r;
	*out = (struct pg_answer){.result = pg_result_new(*rows, layout, ask->expect)};
	*rows = NULL;
	return 0;
}

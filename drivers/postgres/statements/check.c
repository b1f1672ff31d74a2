/* A statement is learned the way it is at run time; then what the server said of it is turned into diagnostics: why it
 * refused it, and where; which parameters it takes for something else than they were declared to be. */
#include "drivers/postgres/statements/check.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/postgres/statements/learn.h"
#include "drivers/postgres/statements/sql.h"
#include "drivers/postgres/statements/steps.h"
#include "drivers/postgres/types/fit.h"
#include "drivers/postgres/wire/sqlstate.h"
#include "drivers/postgres/wire/statement.h"

#define LOOK_MS 2 /* how often the pool is asked for a connection */

/* Suspends until there is an idle connection. The first failure to get one is the answer: nobody waits for a server to
 * come back. */
static int await_connection(struct pg_client *c, struct error *e)
{
	const char *name = c->source->base.name;
	int r = 0;

	while (r == 0 && c->count[PG_IDLE] == 0) {
		if (c->failures > 0 && c->down.errnum) {
			*e = c->down;
			return e->errnum;
		}
		r = task_sleep_ms(LOOK_MS);
	}
	if (r == -ETIMEDOUT)
		return error_set(e, r, 503, NULL, "source %s: can't connect: no answer in time", name);
	return r < 0 ? error_set(e, r, 503, NULL, "source %s: cancelled", name) : 0;
}

/* Did the server judge the statement, or is something wrong with the server? */
static bool is_judgement(const PGresult *refusal)
{
	static const char *const troubles[] = {"08", "40", "53", "55", "57", "58", "XX"};
	const char *sqlstate = pg_sqlstate(refusal);

	for (size_t i = 0; i < ARRAY_SIZE(troubles); i++) {
		if (strncmp(sqlstate, troubles[i], 2) == 0)
			return false;
	}
	return *sqlstate;
}

static void report_refusal(const struct pg_client *c, const struct pg_action *a, const struct pg_statement *st,
			   struct diagnostics *d)
{
	const struct pg_sql *sql = &a->sql;
	const char *position = PQresultErrorField(st->refusal, PG_DIAG_STATEMENT_POSITION);
	const char *message = PQresultErrorField(st->refusal, PG_DIAG_MESSAGE_PRIMARY);
	const char *hint = PQresultErrorField(st->refusal, PG_DIAG_MESSAGE_HINT);
	struct mark at = pg_sql_mark(sql, position ? strtoul(position, NULL, 10) : 0);

	/* The message quotes the statement. */
	if (sql->node->expanded)
		diagnostics_error(d, at,
				  "source %s refuses the statement, part of which is from the environment: "
				  "SQLSTATE %s",
				  c->source->base.name, pg_sqlstate(st->refusal));
	else
		diagnostics_error(d, at, "source %s: %s%s%s", c->source->base.name, message ? message : "refused",
				  hint ? "; hint: " : "", hint ? hint : "");
}

/* Parameter i, which the server takes as that type. */
static void report_misfit(const struct pg_client *c, const struct pg_action *a, unsigned i, const struct pg_type *type,
			  struct diagnostics *d)
{
	const struct config_schema *schema = a->schemas[i];
	const struct reference *ref = &a->sql.references[i];
	enum pg_fit fit = schema ? pg_fit(schema, type) : PG_FITS;
	struct buf declared = BUF_INIT, wanted = BUF_INIT;

	if (fit == PG_FITS)
		return;
	pg_declared_name(&declared, schema);
	pg_type_name(&wanted, type);
	if (fit == PG_CANNOT_FIT)
		diagnostics_error(d, ref->at, "source %s takes %s as %s, and it is declared as %s: no value of it fits",
				  c->source->base.name, ref->text, buf_cstr(&wanted), buf_cstr(&declared));
	else
		diagnostics_warning(
			d, ref->at,
			"source %s takes %s as %s, and it is declared as %s: the values that do not fit fail "
			"in the database",
			c->source->base.name, ref->text, buf_cstr(&wanted), buf_cstr(&declared));
	buf_done(&declared);
	buf_done(&wanted);
}

static bool has_name(const struct pg_layout *layout, unsigned i, const struct pg_column *c)
{
	const struct pg_column *other = &layout->columns[i];

	return other->name_len == c->name_len && memcmp(other->name, c->name, c->name_len) == 0;
}

/* Rows become objects: of two columns of one name readers see one. Each name is told once. */
static void report_doubles(const struct pg_action *a, const struct pg_layout *layout, struct diagnostics *d)
{
	for (unsigned i = 1; i < layout->count; i++) {
		unsigned before = 0;
		for (unsigned k = 0; k < i; k++)
			before += has_name(layout, k, &layout->columns[i]);
		if (before == 1)
			diagnostics_warning(d, pg_sql_mark(&a->sql, 0),
					    "the statement of step \"%s\" has several columns with the name \"%.60s\": "
					    "only the last of them can be told by it; name the others with `as`",
					    a->step, layout->columns[i].name);
	}
}

/* It was learned. */
static void report_types(const struct pg_client *c, const struct pg_action *a, const struct pg_statement *st,
			 struct diagnostics *d)
{
	for (unsigned i = 0; i < a->sql.parameter_count; i++)
		report_misfit(c, a, i, &st->parameters[i], d);
	if (a->expect != EXPECT_VALUE && a->expect != EXPECT_NONE)
		report_doubles(a, st->layout, d);
	if (a->expect == EXPECT_VALUE && st->layout->count != 1)
		diagnostics_error(d, pg_sql_mark(&a->sql, 0),
				  "expect: value takes one column, and the statement of step \"%s\" has %u", a->step,
				  st->layout->count);
}

/* Suspends. */
static int check_action(struct pg_client *c, const struct pg_action *a, struct diagnostics *d, struct error *e)
{
	struct pg_statement *st = pg_statement_of(c, a);
	struct pg_limit limit = {.by = DEADLINE_NEVER};

	int r = pg_statement_learn(c, st, &limit, e);
	if (r == 0) {
		report_types(c, a, st, d);
	} else if (st->refusal && is_judgement(st->refusal)) {
		report_refusal(c, a, st, d);
		r = 0;
	} else {
		r = pg_error_called(e, &(struct pg_place){.source = c->source->base.name, .step = a->step});
	}
	return r;
}

int pg_check(struct pg_client *c, const struct pg_action *const *actions, size_t count, int64_t patience_us,
	     struct diagnostics *d, struct error *e)
{
	deadline_t before = deadline_push(deadline_in_us(patience_us));
	int r = await_connection(c, e);

	deadline_pop(before);
	for (size_t i = 0; i < count && r == 0; i++) {
		before = deadline_push(deadline_in_us(patience_us));
		/* It comes back to the pool at the end of a turn. */
		r = await_connection(c, e);
		if (r == 0)
			r = check_action(c, actions[i], d, e);
		deadline_pop(before);
	}
	return r;
}

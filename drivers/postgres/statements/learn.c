/* Learning a statement: it is prepared with the types that the server infers, its columns are looked at, and, if one
 * of them can't be rendered from its text, it is prepared again inside a query that lets the server render it. One task
 * of a worker does this, on a connection of its own; the others wait for it. */
#include "drivers/postgres/statements/learn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/postgres/wire/connection.h"
#include "drivers/postgres/wire/pipeline.h"
#include "drivers/postgres/wire/pool.h"

#define MAX_LOOKED_UP 64 /* type oids a round */

struct lesson {
	struct pg_client *client;
	struct pg_statement *statement;
	struct pg_call *lease;
	struct pg_limit *limit;
	struct error *error;
	struct pg_place place;
	bool within; /* a transaction that has begun and must go on */
	bool lost;   /* the connection broke: it was not the statement's fault */
};

/* Suspends. Wait for what was sent on the lease. *out (may be NULL) takes what came; the caller clears it. A failure of
 * the server comes as -EIO with *out set. */
static int exchange(struct lesson *l, PGresult **out)
{
	struct pg_call *lease = l->lease;

	*out = NULL;
	lease->signs.aborted = false;
	int r = pg_call_wait(lease, l->limit, l->error);
	if (r < 0)
		return r;
	l->lost = lease->phase == PG_CALL_ENDED || !lease->result;
	if (lease->outcome == PG_BROKEN)
		return pg_error_broken(l->error, &l->place, lease->error.what);
	*out = lease->result;
	lease->result = NULL;
	if (pg_failed(*out)) {
		l->lost |= pg_sqlstate_ends_connection(*out);
		return -EIO;
	}
	if (l->lost)
		return pg_error_broken(l->error, &l->place, "the connection was lost");
	return 0;
}

/* Turn a failure of exchange into the caller's error. */
static int explain(struct lesson *l, int r, PGresult *result)
{
	if (result)
		r = pg_error_from_result(l->error, result, &l->place);
	PQclear(result);
	return r;
}

/* What is sent together runs in a transaction where the server behind a pooler changes with it; within one that is
 * under way a savepoint keeps its failure from it. */
static void begin_exchange(struct lesson *l)
{
	const struct pg_source *source = l->client->source;
	struct pg_connection *conn = l->lease->connection;

	if (l->within) {
		pg_pipeline_command(conn, l->lease, "savepoint gatherd_learn");
	} else if (!source->prepare) {
		pg_pipeline_command(conn, l->lease, "begin read only");
		pg_pipeline_command(conn, l->lease, l->client->settings);
	}
}

static void end_exchange(struct lesson *l)
{
	if (l->within)
		pg_pipeline_command(l->lease->connection, l->lease, "release savepoint gatherd_learn");
	else if (!l->client->source->prepare)
		pg_pipeline_command(l->lease->connection, l->lease, "commit");
}

/* Suspends. What was sent has failed: make the transaction around it go on. */
static int restore(struct lesson *l)
{
	PGresult *result;

	pg_pipeline_command(l->lease->connection, l->lease, "rollback to savepoint gatherd_learn");
	pg_pipeline_query(l->lease->connection, l->lease, "release savepoint gatherd_learn", 0, NULL);
	int r = exchange(l, &result);
	if (r < 0)
		return explain(l, r, result);
	PQclear(result);
	return 0;
}

/* Suspends. PREPARE and DESCRIBE in one exchange; before them what had the name's index goes. */
static int prepare_once(struct lesson *l, const char *sql, PGresult **out)
{
	struct pg_statement *st = l->statement;
	struct pg_connection *conn = l->lease->connection;

	pg_statement_renew(l->client, st);
	begin_exchange(l);
	pg_pipeline_deallocate(conn, l->lease, st);
	pg_pipeline_prepare(conn, l->lease, st->name, sql, st->action->sql.parameter_count, st->types);
	pg_pipeline_describe(conn, l->lease, st->name);
	end_exchange(l);
	int r = exchange(l, out);
	if (r == 0 && *st->name)
		pg_connection_prepared(conn, st);
	if (!l->within || !*out || !pg_failed(*out) || l->lost)
		return r;
	int restored = restore(l);
	if (restored == 0)
		return r;
	PQclear(*out);
	*out = NULL;
	return restored;
}

/* Suspends. The server may have lost what was to go: then there is nothing to do for it any more. */
static int prepare(struct lesson *l, const char *sql, PGresult **out)
{
	int r = prepare_once(l, sql, out);

	if (r == 0 || !*out || !pg_sqlstate_is(*out, "26000") || l->lease->phase == PG_CALL_ENDED)
		return r;
	PQclear(*out);
	return prepare_once(l, sql, out);
}

/* Which parameter can't the server type? The message is in the server's language, but $n is not. */
static unsigned untyped_parameter(const PGresult *result)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *dollar = message ? strchr(message, '$') : NULL;
	return dollar ? (unsigned)strtoul(dollar + 1, NULL, 10) : 0;
}

static Oid declared_type(const struct pg_action *action, unsigned i)
{
	return action->declared && action->declared[i] ? action->declared[i] : PG_OID_TEXT;
}

static bool is_array(Oid oid)
{
	static const Oid arrays[] = {
		PG_OID_BOOL_ARRAY,    PG_OID_BYTEA_ARRAY, PG_OID_TEXT_ARRAY,
		PG_OID_INT8_ARRAY,    PG_OID_DATE_ARRAY,  PG_OID_TIMESTAMPTZ_ARRAY,
		PG_OID_NUMERIC_ARRAY, PG_OID_UUID_ARRAY,  PG_OID_JSONB_ARRAY,
	};

	for (size_t i = 0; i < ARRAY_SIZE(arrays); i++) {
		if (arrays[i] == oid)
			return true;
	}
	return false;
}

/* Give the parameters that were declared as lists their types. False: there is nothing to give. */
static bool declare_lists(struct pg_statement *st)
{
	bool more = false;

	for (unsigned i = 0; i < st->action->sql.parameter_count; i++) {
		Oid type = declared_type(st->action, i);
		if (st->types[i] || !is_array(type))
			continue;
		st->types[i] = type;
		more = true;
	}
	return more;
}

/* Give the parameter that the server asks about its declared type; all of them where it does not say which. False:
 * there is nothing more to give. */
static bool declare_more(struct pg_statement *st, const PGresult *result)
{
	unsigned count = st->action->sql.parameter_count;
	unsigned n = untyped_parameter(result);
	bool more = false;

	if (n >= 1 && n <= count && !st->types[n - 1]) {
		st->types[n - 1] = declared_type(st->action, n - 1);
		return true;
	}
	for (unsigned i = 0; i < count; i++) {
		if (st->types[i])
			continue;
		st->types[i] = declared_type(st->action, i);
		more = true;
	}
	return more;
}

/* Suspends. Prepare with the types that the server infers, and, only if it can't, with declared ones. */
static int prepare_typed(struct lesson *l, PGresult **description)
{
	struct pg_statement *st = l->statement;

	memset(st->types, 0, st->action->sql.parameter_count * sizeof(*st->types));
	PQclear(st->refusal);
	st->refusal = NULL;
	for (;;) {
		int r = prepare(l, st->action->sql.text, description);
		if (r == 0)
			return 0;
		const PGresult *failure = *description;
		/* Indeterminate, ambiguous, or (`{x} + {x}`) such that several operators would do. */
		bool untyped = failure && (pg_sqlstate_is(failure, "42P18") || pg_sqlstate_is(failure, "42P08") ||
					   pg_sqlstate_is(failure, "42725"));
		/* Taken for a text, although it is a list: `{x} is null or y = any({x})`. */
		bool unlisted = failure && pg_sqlstate_is(failure, "42809");
		bool more = (untyped || unlisted) && l->lease->phase != PG_CALL_ENDED &&
			    (unlisted ? declare_lists(st) : declare_more(st, failure));
		if (!more) {
			if (failure)
				r = pg_error_from_result(l->error, failure, &l->place);
			st->refusal = *description;
			*description = NULL;
			return r;
		}
		PQclear(*description);
	}
}

/* The next oids of parameters and columns that nobody knows yet. */
static unsigned unknown_types(struct lesson *l, const PGresult *description, Oid *out)
{
	int parameters = PQnparams(description), columns = PQnfields(description);
	unsigned count = 0;

	for (int i = 0; i < parameters + columns && count < MAX_LOOKED_UP; i++) {
		Oid oid = i < parameters ? PQparamtype(description, i) : PQftype(description, i - parameters);
		struct pg_type known;
		if (!pg_types_find(&l->client->types, oid, &known))
			out[count++] = oid;
	}
	return count;
}

/* Suspends. */
static int look_up_types(struct lesson *l, const PGresult *description)
{
	Oid oids[MAX_LOOKED_UP];
	unsigned count;
	int r = 0;

	while (r == 0 && (count = unknown_types(l, description, oids)) > 0) {
		struct buf list = BUF_INIT;
		PGresult *rows;
		for (unsigned i = 0; i < count; i++)
			buf_printf(&list, "%c%u", i ? ',' : '{', oids[i]);
		buf_char(&list, '}');
		const char *value = buf_cstr(&list);
		struct pg_connection *conn = l->lease->connection;
		begin_exchange(l);
		pg_pipeline_query(conn, l->lease, pg_types_query, 1, &value);
		end_exchange(l);
		buf_done(&list);
		r = exchange(l, &rows);
		if (r < 0)
			return explain(l, r, rows);
		pg_types_learn(&l->client->types, rows, oids, count);
		PQclear(rows);
	}
	return r;
}

/* Suspends. What its own types are now, for connections to other servers. */
static int look_at_own_types(struct lesson *l, const PGresult *description)
{
	struct pg_statement *st = l->statement;
	int parameters = PQnparams(description), columns = PQnfields(description);
	struct buf list = BUF_INIT;
	PGresult *rows = NULL;
	int r = 0;

	free(st->own_types);
	free(st->own_types_text);
	st->own_types = st->own_types_text = NULL;
	for (int i = 0; i < parameters + columns; i++) {
		Oid oid = i < parameters ? PQparamtype(description, i) : PQftype(description, i - parameters);
		if (pg_type_is_own(oid))
			buf_printf(&list, "%c%u", list.len ? ',' : '{', oid);
	}
	if (list.len) {
		buf_char(&list, '}');
		const char *value = buf_cstr(&list);
		begin_exchange(l);
		pg_pipeline_query(l->lease->connection, l->lease, pg_types_text_query, 1, &value);
		end_exchange(l);
		r = exchange(l, &rows);
		if (r == 0) {
			st->own_types = mem_strdup(value);
			st->own_types_text = mem_strdup(PQntuples(rows) ? PQgetvalue(rows, 0, 0) : "");
			PQclear(rows);
		} else {
			r = explain(l, r, rows);
		}
	}
	buf_done(&list);
	return r;
}

static void wrapped_columns(struct buf *sql, const struct pg_layout *layout, bool rendered)
{
	for (unsigned i = 0; i < layout->count; i++) {
		bool server = rendered && layout->columns[i].type.shape == PG_SHAPE_SERVER;
		buf_printf(sql, server ? "%spg_catalog.to_json(c%u)" : "%sc%u", i ? ", " : "", i + 1);
	}
}

/* The statement inside one that renders what only the server can. Where it modifies it must stand in a WITH. */
static char *wrap(const struct pg_statement *st, const struct pg_layout *layout, bool modifies)
{
	struct buf sql = BUF_INIT;

	if (modifies) {
		buf_lit(&sql, "with gatherd_q (");
		wrapped_columns(&sql, layout, false);
		buf_printf(&sql, ") as (\n%s\n) select ", st->action->sql.text);
		wrapped_columns(&sql, layout, true);
		buf_lit(&sql, " from gatherd_q");
	} else {
		buf_lit(&sql, "select ");
		wrapped_columns(&sql, layout, true);
		buf_printf(&sql, " from (\n%s\n) gatherd_q (", st->action->sql.text);
		wrapped_columns(&sql, layout, false);
		buf_char(&sql, ')');
	}
	char *text = mem_strdup(buf_cstr(&sql));
	buf_done(&sql);
	return text;
}

/* Suspends. Try the statement wrapped; if the server does not take it so, it stays as it was and those columns are
 * strings. */
static int try_wrapped(struct lesson *l, struct pg_layout *layout, bool modifies, bool *taken)
{
	struct pg_statement *st = l->statement;
	PGresult *description;
	char *sql = wrap(st, layout, modifies);

	int r = prepare(l, sql, &description);
	*taken = r == 0;
	if (r == 0) {
		free(st->wrapped);
		st->wrapped = sql;
		st->sql = sql;
		for (unsigned i = 0; i < layout->count; i++) {
			if (layout->columns[i].type.shape == PG_SHAPE_SERVER)
				layout->columns[i].type = (struct pg_type){.oid = PG_OID_JSON, .shape = PG_SHAPE_JSON};
		}
		layout->wrapped = true;
	} else {
		free(sql);
		if (description && l->lease->phase != PG_CALL_ENDED)
			r = 0;
		else
			r = explain(l, r, description), description = NULL;
	}
	PQclear(description);
	return r;
}

static bool needs_server(const struct pg_layout *layout)
{
	for (unsigned i = 0; i < layout->count; i++) {
		if (layout->columns[i].type.shape == PG_SHAPE_SERVER)
			return true;
	}
	return false;
}

static int wrap_where_needed(struct lesson *l, struct pg_layout *layout)
{
	struct pg_statement *st = l->statement;
	bool taken = false;
	int r = 0;

	if (!needs_server(layout))
		return 0;
	if (!st->action->sql.modifies)
		r = try_wrapped(l, layout, false, &taken);
	if (r == 0 && !taken && (st->action->sql.modifies || strcmp(st->action->sql.keyword, "with") == 0))
		r = try_wrapped(l, layout, true, &taken);
	/* The failed attempt has taken the name. */
	if (r == 0 && !taken)
		pg_statement_renew(l->client, st);
	return r;
}

static void take_parameters(struct lesson *l, const PGresult *description)
{
	struct pg_statement *st = l->statement;
	unsigned count = st->action->sql.parameter_count;

	for (unsigned i = 0; i < count && (int)i < PQnparams(description); i++) {
		st->types[i] = PQparamtype(description, (int)i);
		if (!pg_types_find(&l->client->types, st->types[i], &st->parameters[i]))
			st->parameters[i] = (struct pg_type){.shape = PG_SHAPE_STRING};
	}
}

/* Suspends. All of it, on a lease that has its connection. */
static int learn_on_lease(struct lesson *l)
{
	struct pg_statement *st = l->statement;
	PGresult *description;

	st->sql = st->action->sql.text;
	int r = prepare_typed(l, &description);
	if (r < 0)
		return r;
	r = look_up_types(l, description);
	if (r == 0)
		r = look_at_own_types(l, description);
	struct pg_layout *layout = NULL;
	if (r == 0) {
		memcpy(st->given, st->types, st->action->sql.parameter_count * sizeof(*st->types));
		take_parameters(l, description);
		layout = pg_layout_new(description, &l->client->types);
		r = wrap_where_needed(l, layout);
	}
	if (r == 0) {
		PQclear(st->description);
		st->description = description;
		pg_layout_drop(st->layout);
		st->layout = layout;
		st->measured = st->is_short = false;
		st->judged_us = INT64_MIN / 2;
	} else {
		PQclear(description);
		pg_layout_drop(layout);
	}
	return r;
}

/* Suspends. 1: it is not what it was; 0: it is. */
static int recheck_on_lease(struct lesson *l)
{
	struct pg_statement *st = l->statement;
	struct pg_connection *conn = l->lease->connection;
	PGresult *description;

	begin_exchange(l);
	pg_pipeline_prepare(conn, l->lease, "", st->action->sql.text, st->action->sql.parameter_count, st->given);
	pg_pipeline_describe(conn, l->lease, "");
	end_exchange(l);
	int r = exchange(l, &description);
	if (r == 0)
		r = !pg_statement_is_described(st, description);
	else if (description && !l->lost)
		r = 1;
	PQclear(description);
	return r;
}

/* Suspends. Take a connection; again: one that was opened after the last one broke. */
static int take_lease(struct lesson *l, bool again)
{
	int r = 0;

	l->lost = false;
	l->lease = pg_call_new(l->client, NULL);
	if (again)
		pg_pool_resubmit(l->lease, PG_QUEUE_FRESH);
	else
		r = pg_pool_submit(l->lease, l->error);
	if (r == 0)
		r = pg_call_wait(l->lease, l->limit, l->error);
	if (r < 0 || l->lease->phase != PG_CALL_ENDED)
		return r;
	if (l->lease->outcome == PG_REFUSED) {
		*l->error = l->lease->error;
		return l->lease->error.errnum;
	}
	l->lost = true;
	return pg_error_broken(l->error, &l->place, l->lease->error.what);
}

static struct lesson lesson_of(struct pg_client *c, struct pg_statement *st, struct pg_limit *limit, struct error *e)
{
	return (struct lesson){
		.client = c,
		.statement = st,
		.limit = limit,
		.error = e,
		.place = {.source = c->source->base.name, .read_only = true},
	};
}

int pg_statement_recheck(struct pg_client *c, struct pg_statement *st, uint32_t generation, struct pg_limit *limit,
			 struct error *e)
{
	struct lesson l = lesson_of(c, st, limit, e);

	if (st->knowledge != PG_KNOWN || st->generation != generation)
		return 1;
	int r = take_lease(&l, false);
	if (r == 0)
		r = recheck_on_lease(&l);
	pg_call_leave(l.lease);
	if (r == 1)
		pg_statement_forget(st, generation);
	return r;
}

/* Suspends. */
static int learn(struct pg_client *c, struct pg_statement *st, struct pg_limit *limit, struct error *e)
{
	struct lesson l = lesson_of(c, st, limit, e);
	int r = 0;

	for (int tries = 0; tries < 2; tries++) {
		r = take_lease(&l, tries > 0);
		if (r == 0)
			r = learn_on_lease(&l);
		pg_call_leave(l.lease);
		if (r == 0 || !l.lost || c->closing)
			break;
	}
	return r;
}

/* The last attempt to learn st has ended so. */
static void learned(struct pg_statement *st, int r)
{
	st->knowledge = r == 0 ? PG_KNOWN : PG_UNKNOWN;
	st->learn_result = r;
	st->learned++;
	while (!list_empty(&st->learners))
		task_wake(container_of(st->learners.next, struct waiter, link), 0);
}

int pg_statement_learn_within(struct pg_client *c, struct pg_statement *st, struct pg_call *lease,
			      const struct pg_place *place, struct pg_limit *limit, struct error *e)
{
	struct lesson l = {
		.client = c,
		.statement = st,
		.lease = lease,
		.limit = limit,
		.error = e,
		.place = *place,
		.within = true,
	};

	st->knowledge = PG_LEARNING;
	/* What fails here may be fine elsewhere: those who wait look for themselves. */
	st->learn_error = ERROR_INIT;
	int r = learn_on_lease(&l);
	learned(st, r);
	return r;
}

/* Suspends. Wait for the task that learns st. Returns 1: look again; or the failure that the server gave it. */
static int wait_for_learner(struct pg_client *c, struct pg_statement *st, const struct pg_limit *limit, struct error *e)
{
	/* As long as the learner may take. */
	int64_t longest_us = c->base.config->pool.acquire_timeout_us + limit->timeout_us;
	deadline_t by = limit->timeout_us ? deadline_in_us(longest_us) : DEADLINE_NEVER;
	unsigned round = st->learned;
	struct waiter w;

	waiter_init(&w, NULL, "the types of a PostgreSQL statement");
	list_append(&st->learners, &w.link);
	int r = task_suspend(&w, by);
	if (r < 0)
		return error_set(e, r, r == -ETIMEDOUT ? 504 : 503, NULL,
				 "source %s: the statement's types were not known in time", c->source->base.name);
	if (st->learned != round && st->learn_result < 0 && st->learn_error.code[0]) {
		if (e)
			*e = st->learn_error;
		return st->learn_result;
	}
	return 1;
}

int pg_statement_learn(struct pg_client *c, struct pg_statement *st, struct pg_limit *limit, struct error *e)
{
	while (st->knowledge != PG_KNOWN) {
		if (st->knowledge == PG_LEARNING) {
			int r = wait_for_learner(c, st, limit, e);
			if (r < 0)
				return r;
			continue;
		}
		st->knowledge = PG_LEARNING;
		st->learn_error = ERROR_INIT;
		int r = learn(c, st, limit, &st->learn_error);
		learned(st, r);
		if (r < 0 && e)
			*e = st->learn_error;
		if (r < 0)
			return r;
	}
	return 0;
}

/* A declared transaction: its statements in order on one connection, in as few round trips as they allow.
 *
 * Statements are put on the lease one after another and leave together. A flush comes before a statement that refers to
 * a result which is still on its way, and behind one whose result is looked at before anything else may happen:
 * `expect` and `affected`, and `on_error`, which has a savepoint. BEGIN leaves with the first flush, COMMIT with the
 * last one, unless there is something to look at first.
 *
 * Whatever fails before COMMIT was sent has changed nothing. After serialization failures, deadlocks and connections
 * that broke before COMMIT was sent it begins again, up to `attempts` times; after COMMIT was sent, only if the server
 * says that it was rolled back. What was learned of a statement and is not true any more begins it again, too. */
#include "drivers/postgres/calls/steps.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/etag.h"
#include "drivers/postgres/calls/transaction.h"
#include "drivers/postgres/keys.h"
#include "drivers/postgres/statements/learn.h"
#include "drivers/postgres/statements/result.h"
#include "drivers/postgres/statements/steps.h"
#include "drivers/postgres/wire/call.h"
#include "drivers/postgres/wire/connection.h"
#include "drivers/postgres/wire/pipeline.h"
#include "drivers/postgres/wire/pool.h"

enum {
	MOST_IN_A_FLUSH = 256,
	MOST_LESSONS = 3, /* attempts that end because something was not as it had been learned */
};

/* A statement that was put on the lease. */
struct queued {
	const struct pg_inner *inner;
	struct pg_statement *statement;
	uint32_t generation; /* of statement, as it was put there */
	const struct value *args;
};

/* The results of a step with `each`. */
struct elements {
	struct result **items;
	unsigned count, total;
};

struct steps_run {
	struct pg_client *client;
	const struct pg_action *action;
	const struct pg_plan *steps;
	const struct value *args; /* of the plan */
	struct arena *arena;
	struct pg_limit limit;
	struct pg_transaction tx;
	struct error *error;
	struct inner_outcome *outcomes;                /* of the steps that have ended */
	struct elements *elements;                     /* of each step */
	struct pg_statement *statements[PG_MAX_INNER]; /* in use */
	struct queued *queue;
	struct pg_brought *brought; /* of the queue */
	struct pg_batch batch;
	unsigned queued, room;
	uint32_t pending;     /* bits of the steps whose statements are queued */
	bool look;            /* the results that come next are looked at before anything else may happen */
	bool committing;      /* COMMIT was sent */
	bool begun;           /* the server has begun the transaction */
	bool broken, unsound; /* the connection broke; something was not what it had been learned to be */
	bool on_standby;
	struct queued suspect; /* it failed, perhaps as it was learned when tables and types were others */
};

static unsigned index_of(const struct steps_run *run, const struct pg_inner *inner)
{
	return (unsigned)(inner - run->steps->inner);
}

/* --- what came --- */

static bool has_a_check(const struct pg_inner *in)
{
	const struct pg_action *a = in->action;

	return in->match >= 0 || a->affected.given || a->expect == EXPECT_ONE || a->expect == EXPECT_MAYBE ||
	       a->expect == EXPECT_VALUE;
}

/* The result of one statement that was answered, which takes b's rows. */
static int take_one(struct steps_run *run, const struct queued *q, struct pg_brought *b, struct result **out)
{
	const struct pg_action *a = q->inner->action;
	struct pg_place *place = &run->tx.place;
	bool as_learned;

	place->step = a->step;
	int r = pg_check_affected(a, q->args, b->rows, place, run->error);
	if (r == 0)
		r = pg_check_expect(a->expect, b->rows, place, run->error);
	if (r < 0)
		return r;
	if (PQresultStatus(b->rows) == PGRES_COMMAND_OK) {
		*out = pg_changed_result(a->expect, pg_changed_rows(b->rows));
		return 0;
	}
	struct pg_layout *layout = pg_layout_of(run->client, q->statement, q->generation, b, &as_learned);
	*out = pg_result_new(b->rows, layout, a->expect);
	b->rows = NULL;
	pg_layout_drop(layout);
	return 0;
}

static void keep(struct steps_run *run, const struct pg_inner *in, struct result *result)
{
	struct inner_outcome *o = &run->outcomes[index_of(run, in)];
	struct elements *all = &run->elements[index_of(run, in)];

	if (in->each < 0) {
		o->result = result;
		return;
	}
	all->items[all->count++] = result;
	if (all->count < all->total)
		return;
	o->result = inner_list(all->items, all->count);
	all->count = 0;
}

static struct value value_of(const struct steps_run *run, int slot, const struct pg_inner *in, const struct value *item)
{
	return inner_value(&in->slots[slot], run->args, run->outcomes, item, run->arena);
}

/* Is it one of the versions that the request wants, if it says which? */
static int check_version(struct steps_run *run, const struct pg_inner *in)
{
	struct value tags = value_of(run, in->tags, in, NULL), version = value_of(run, in->match, in, NULL);
	struct buf text = BUF_INIT, tag = BUF_INIT;
	bool wanted = tags.kind != VALUE_LIST;

	value_text(&version, &text);
	etag_append(&tag, text.data, text.len);
	for (uint32_t i = 0; i < tags.count && !wanted; i++)
		wanted = tag.len > 0 && tags.list[i].len == tag.len &&
			 memcmp(tags.list[i].text, tag.data, tag.len) == 0;
	buf_done(&text);
	buf_done(&tag);
	return wanted ? 0
		      : error_say(run->error, -ESTALE, REASON_OTHER_VERSION,
				  "step %s, source %s: match: another version", in->action->step,
				  run->client->source->base.name);
}

static void drop_result(struct steps_run *run, unsigned i)
{
	struct elements *all = &run->elements[i];

	while (all->count > 0)
		result_free(all->items[--all->count]);
	result_free(run->outcomes[i].result);
	run->outcomes[i] = (struct inner_outcome){0};
}

/* The results of the first `count` statements of the queue. */
static int take_results(struct steps_run *run, unsigned count)
{
	int r = 0;

	for (unsigned i = 0; i < count && r == 0; i++) {
		const struct queued *q = &run->queue[i];
		struct result *result = NULL;
		r = take_one(run, q, &run->brought[i], &result);
		if (r == 0)
			keep(run, q->inner, result);
		if (r == 0 && q->inner->match >= 0)
			r = check_version(run, q->inner);
	}
	return r;
}

static void drop_brought(struct steps_run *run)
{
	for (unsigned i = 0; i < run->batch.count; i++) {
		PQclear(run->brought[i].rows);
		PQclear(run->brought[i].names);
	}
	PQclear(run->batch.next.names);
	run->batch = (struct pg_batch){.items = run->brought};
	run->queued = 0;
	run->pending = 0;
	run->look = false;
}

/* --- a flush --- */

static int bind_args(struct steps_run *run, const struct queued *q, struct error *e)
{
	const struct pg_arguments args = {q->args, &q->inner->action->sql};

	return pg_bind(&run->tx.lease->parameters, q->statement, &args, &run->tx.place, e);
}

/* The server has refused the statement q, or COMMIT (NULL). */
static int refused(struct steps_run *run, const struct queued *q, const PGresult *failure)
{
	struct pg_call *lease = run->tx.lease;
	struct pg_place *place = &run->tx.place;
	struct error ignored = ERROR_INIT;

	place->step = q ? q->inner->action->step : run->action->step;
	place->parameters = NULL;
	place->from_request = false;
	/* One of its values may be to blame. */
	if (q && bind_args(run, q, &ignored) < 0)
		place->parameters = NULL;
	int r = pg_error_from_result(run->error, failure, place);
	place->parameters = NULL;
	if (q && pg_is_stale(failure, lease->signs.unparsed)) {
		pg_statement_forget(q->statement, q->generation);
		run->unsound = true;
	} else if (q && pg_is_suspect(pg_sqlstate(failure)))
		run->suspect = *q;
	run->unsound |= lease->signs.unfreed;
	if (run->committing && pg_sqlstate_is_uncertain(failure))
		error_uncertain(run->error);
	return r;
}

/* What the wait has ended with, when COMMIT was or was not among what was sent. */
static int lost(struct steps_run *run, int r)
{
	if (run->committing && run->action->writes)
		error_uncertain(run->error);
	return r;
}

/* Suspends until all that was put on the lease was answered. Returns 0, or -errno with the error filled: *failed is
 * then the first that failed of the queue, or as many as that has. */
static int exchange(struct steps_run *run, unsigned *failed)
{
	struct pg_call *lease = run->tx.lease;

	lease->signs.aborted = lease->signs.unparsed = lease->signs.unfreed = false;
	lease->batch = &run->batch;
	int r = pg_call_wait(lease, &run->limit, run->error);
	bool placed = pg_call_is_placed(lease);
	if (r == -ETIMEDOUT && placed && run->committing)
		r = pg_last_word(lease, r);
	lease->batch = NULL;
	*failed = run->queued;
	if (r < 0)
		return lost(run, r);
	if (lease->outcome == PG_REFUSED) {
		*run->error = lease->error;
		return lost(run, lease->error.errnum);
	}
	if (lease->outcome == PG_BROKEN)
		return lost(run, pg_error_broken(run->error, &run->tx.place, lease->error.what));
	*failed = run->batch.count;
	PGresult *result = lease->result;
	lease->result = NULL;
	if (pg_failed(result))
		r = refused(run, *failed < run->queued ? &run->queue[*failed] : NULL, result);
	PQclear(result);
	if (r == 0 && lease->phase == PG_CALL_ENDED)
		return lost(run, pg_error_broken(run->error, &run->tx.place, "the connection was lost"));
	return r;
}

/* Suspends. What is queued leaves, and is answered. */
static int flush(struct steps_run *run)
{
	unsigned failed;

	if (run->queued == 0)
		return 0;
	int r = exchange(run, &failed);
	if (r == 0)
		r = take_results(run, run->queued);
	drop_brought(run);
	return r;
}

/* --- one statement --- */

static const struct value *args_of(const struct steps_run *run, const struct pg_inner *in, const struct value *item)
{
	struct value *args = arena_array(run->arena, in->slot_count + 1, sizeof(*args));

	for (unsigned i = 0; i < in->slot_count; i++)
		args[i] = value_of(run, (int)i, in, item);
	return args;
}

/* A command without parameters, before the next statement. */
static int put_command(struct steps_run *run, const char *sql)
{
	int r = pg_transaction_begin(&run->tx, run->error);

	if (r == 0)
		pg_pipeline_command(run->tx.lease->connection, run->tx.lease, sql);
	return r;
}

/* Suspends if there is no room. Put the statement on the lease, for one element. */
static int put(struct steps_run *run, const struct pg_inner *in, const struct value *item)
{
	struct pg_call *lease = run->tx.lease;
	struct pg_place *place = &run->tx.place;
	struct pg_statement *st = run->statements[index_of(run, in)];
	int r = run->queued == run->room ? flush(run) : 0;

	if (r < 0)
		return r;
	if (st->knowledge != PG_KNOWN) { /* not any more */
		run->unsound = true;
		return pg_error_at(run->error, -EAGAIN, 503, NULL, place, "the statement was forgotten meanwhile");
	}
	struct queued q = {in, st, st->generation, args_of(run, in, item)};
	place->step = in->action->step;
	r = pg_transaction_begin(&run->tx, run->error);
	if (r == 0)
		r = bind_args(run, &q, run->error);
	place->parameters = NULL;
	if (r < 0)
		return r;
	pg_call_run(lease, st);
	pg_pipeline_run(lease->connection, lease);
	run->queue[run->queued++] = q;
	run->pending |= UINT32_C(1) << index_of(run, in);
	return 0;
}

/* Suspends. The statement once for each element. */
static int put_each(struct steps_run *run, const struct pg_inner *in)
{
	const struct value_member *elements = NULL;
	struct value list = value_of(run, in->each, in, NULL);
	int count = inner_elements(&list, in->each_text, run->arena, &elements, run->error);

	if (count < 0)
		return count;
	struct elements *all = &run->elements[index_of(run, in)];
	*all = (struct elements){.items = arena_array(run->arena, (size_t)count + 1, sizeof(struct result *)),
				 .total = (unsigned)count};
	if (count == 0)
		run->outcomes[index_of(run, in)].result = inner_list(all->items, 0);
	int r = 0;
	for (int i = 0; i < count && r == 0; i++)
		r = put(run, in, &elements[i].value);
	return r;
}

/* --- one step --- */

/* A failure that `on_error` replaces: what the step did is undone. Not if its connection has gone, or its time. */
static int replace(struct steps_run *run, const struct pg_inner *in, int r)
{
	struct pg_call *lease = run->tx.lease;
	struct inner_outcome *o = &run->outcomes[index_of(run, in)];
	char sql[80];

	bool usable = pg_call_is_placed(lease) && lease->pending == 0;
	if (!usable || run->unsound || task_check() < 0 || strncmp(run->error->code, "40", 2) == 0)
		return r;
	drop_result(run, index_of(run, in));
	*o = (struct inner_outcome){.replaced = true, .omitted = in->on_error == ON_ERROR_OMIT};
	if (in->on_error == ON_ERROR_DEFAULT)
		o->substitute = &in->substitute;
	*run->error = ERROR_INIT;
	snprintf(sql, sizeof(sql), "rollback to savepoint gatherd_%u", index_of(run, in));
	return put_command(run, sql);
}

/* Suspends. Within a savepoint. */
static int run_replaceable(struct steps_run *run, const struct pg_inner *in)
{
	char sql[40];

	snprintf(sql, sizeof(sql), "savepoint gatherd_%u", index_of(run, in));
	int r = flush(run);
	if (r == 0)
		r = put_command(run, sql);
	if (r < 0)
		return r;
	r = in->each >= 0 ? put_each(run, in) : put(run, in, NULL);
	if (r == 0)
		r = flush(run);
	if (r < 0) {
		/* Statements that are queued and were not sent go with the savepoint, and are answered. */
		unsigned failed;
		struct error first = *run->error;
		if (pg_call_is_placed(run->tx.lease) && run->tx.lease->pending > 0)
			(void)exchange(run, &failed);
		*run->error = first;
		drop_brought(run);
		return replace(run, in, r);
	}
	return 0;
}

/* Suspends at a reference to what is on its way, and behind what is to be looked at. */
static int run_inner(struct steps_run *run, const struct pg_inner *in)
{
	bool wait = run->look || (in->needs & run->pending);
	int r = wait ? flush(run) : 0;

	if (r < 0)
		return r;
	if (in->when >= 0) {
		struct value when = value_of(run, in->when, in, NULL);
		if (value_falsy(&when))
			return 0;
	}
	if (in->on_error != ON_ERROR_FAIL)
		return run_replaceable(run, in);
	r = in->each >= 0 ? put_each(run, in) : put(run, in, NULL);
	run->look = run->queued > 0 && has_a_check(in);
	return r;
}

/* --- an attempt --- */

/* Suspends. COMMIT alone, or behind what is queued if that is not looked at. */
static int commit(struct steps_run *run)
{
	struct pg_call *lease = run->tx.lease;
	unsigned failed;
	int r = run->look ? flush(run) : 0;

	if (r < 0)
		return r;
	if (run->queued == 0) {
		r = pg_transaction_commit(&run->tx, run->error);
		run->committing = run->tx.uncertain;
		return r;
	}
	pg_leaving_tidy_within(lease->connection, lease);
	pg_pipeline_command(lease->connection, lease, "commit");
	run->committing = true;
	r = exchange(run, &failed);
	if (r == 0)
		r = take_results(run, run->queued);
	drop_brought(run);
	return r;
}

/* Suspends. */
static int run_all(struct steps_run *run)
{
	int r = 0;

	for (unsigned i = 0; i < run->steps->count && r == 0; i++)
		r = run_inner(run, &run->steps->inner[i]);
	return r == 0 ? commit(run) : r;
}

/* Suspends. Their types are known before a connection is taken. */
static int learn_all(struct steps_run *run)
{
	struct pg_place place = {.source = run->client->source->base.name};

	for (unsigned i = 0; i < run->steps->count; i++) {
		place.step = run->steps->inner[i].action->step;
		if (pg_statement_learn(run->client, run->statements[i], &run->limit, run->error) < 0)
			return pg_error_called(run->error, &place);
	}
	return 0;
}

static void note_end(struct steps_run *run, int r)
{
	const struct pg_call *lease = run->tx.lease;
	bool ended = r < 0 && (!lease || lease->phase == PG_CALL_ENDED);

	run->begun = !lease || lease->signs.begun;
	run->broken = ended && (!lease || lease->outcome != PG_REFUSED);
}

/* Suspends. */
static int attempt(struct steps_run *run)
{
	struct pg_transaction_options options = {
		.isolation = run->steps->isolation,
		.read_only = run->action->read_only,
		.timeout_us = run->limit.timeout_us,
	};
	bool fresh = run->broken;

	run->broken = run->unsound = run->committing = run->begun = false;
	run->suspect.statement = NULL;
	*run->error = ERROR_INIT;
	int r = learn_all(run);
	if (r == 0)
		r = pg_transaction_open(&run->tx, run->client, &options, fresh, run->error);
	if (r < 0)
		return r;
	struct pg_connection *conn = run->tx.lease->connection;
	run->on_standby = conn->role == ROLE_STANDBY;
	run->tx.place.step = run->action->step;
	run->tx.place.advice = NULL;
	if (run->limit.timeout_us && run->limit.by.us == DEADLINE_NEVER.us)
		run->limit.by = deadline_in_us(run->limit.timeout_us);
	r = run_all(run);
	drop_brought(run);
	note_end(run, r);
	pg_transaction_close(&run->tx);
	for (unsigned i = 0; i < run->steps->count && r < 0; i++)
		drop_result(run, i);
	return r;
}

/* Suspends. Nothing was done, and that was no fault of the statements: something has changed since they were learned,
 * or the server has ended the session instead of beginning. */
static bool is_lesson(struct steps_run *run)
{
	const struct queued *q = &run->suspect;
	struct error ignored = ERROR_INIT;

	if (run->error->change == CHANGE_UNKNOWN || run->client->closing || task_check() < 0)
		return false;
	if (run->unsound || (run->broken && !run->begun && strncmp(run->error->code, "57P0", 4) == 0))
		return true;
	return q->statement &&
	       pg_statement_recheck(run->client, q->statement, q->generation, &run->limit, &ignored) == 1;
}

/* It was rolled back: may it begin again? */
static bool is_repeatable(const struct steps_run *run)
{
	const char *code = run->error->code;

	if (run->error->change == CHANGE_UNKNOWN || run->on_standby || run->client->closing || task_check() < 0)
		return false;
	return run->broken || strcmp(code, "40001") == 0 || strcmp(code, "40P01") == 0;
}

/* Suspends. */
static int run_attempts(struct steps_run *run)
{
	unsigned failures = 0, lessons = 0;

	for (;;) {
		int r = attempt(run);
		if (r == 0)
			return 0;
		if (is_lesson(run) && ++lessons < MOST_LESSONS)
			continue;
		if (!is_repeatable(run) || ++failures >= run->steps->attempts ||
		    !pg_back_off(failures, run->steps->backoff_us))
			return r;
	}
}

static struct result *result_of(struct steps_run *run)
{
	unsigned count = run->steps->count;
	const char **names = arena_array(run->arena, count, sizeof(*names));

	if (run->steps->single)
		return run->outcomes[0].result;
	for (unsigned i = 0; i < count; i++)
		names[i] = run->steps->inner[i].name;
	return inner_document(run->outcomes, names, count, run->action->step);
}

static struct steps_run *run_new(struct pg_client *c, const struct pg_action *action, const struct value *args,
				 const struct run_options *options, struct error *e)
{
	const struct pg_plan *steps = action->steps;
	struct arena *a = options->arena;
	struct steps_run *run = arena_zalloc(a, sizeof(*run));

	run->client = c;
	run->action = action;
	run->steps = steps;
	run->args = args;
	run->arena = a;
	run->limit = (struct pg_limit){.timeout_us = options->timeout_us, .by = DEADLINE_NEVER};
	run->error = e;
	run->room = steps->count;
	for (unsigned i = 0; i < steps->count; i++) {
		if (steps->inner[i].each >= 0)
			run->room = MOST_IN_A_FLUSH;
	}
	run->queue = arena_array(a, run->room, sizeof(*run->queue));
	run->brought = arena_array(a, run->room, sizeof(*run->brought));
	run->batch.items = run->brought;
	run->outcomes = arena_zalloc(a, steps->count * sizeof(*run->outcomes));
	run->elements = arena_zalloc(a, steps->count * sizeof(*run->elements));
	return run;
}

int pg_run_steps(struct pg_client *c, const struct pg_action *action, const struct value *args,
		 const struct run_options *options, struct result **out, struct error *e)
{
	const struct pg_plan *steps = action->steps;
	struct pg_place place = {.source = c->source->base.name, .step = action->step};
	int r = task_check();

	if (r < 0)
		return pg_error_at(e, r, r == -ETIMEDOUT ? 504 : 503, NULL, &place, "not begun");
	struct steps_run *run = run_new(c, action, args, options, e);
	c->callers++;
	for (unsigned i = 0; i < steps->count; i++) {
		run->statements[i] = pg_statement_of(c, steps->inner[i].action);
		pg_statement_keep(run->statements[i]);
	}
	r = run_attempts(run);
	for (unsigned i = 0; i < steps->count; i++)
		pg_statement_drop(c, run->statements[i]);
	c->callers--;
	if (r == 0)
		*out = result_of(run);
	return r;
}

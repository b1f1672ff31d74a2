/* What is sent and how its answers are told apart.
 *
 * Every command that goes in has an entry in the ring; libpq hands the answers out in the same order, a NULL after
 * those of each command, and one PGRES_PIPELINE_SYNC for each Sync. The commands between two Syncs are a group: one
 * implicit transaction on the server, of which one failure aborts the rest, and whose answers come together. */
#include "drivers/postgres/wire/pipeline.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/postgres/wire/sqlstate.h"
#include "drivers/postgres/wire/statement.h"

/* What the call runs. */
static struct pg_statement *running(const struct pg_call *call)
{
	return call->statement ? call->statement : call->running;
}

static void push(struct pg_connection *conn, struct pg_call *call, enum pg_role role)
{
	if (conn->entries == conn->ring_size) {
		unsigned size = conn->ring_size ? 2 * conn->ring_size : 32;
		struct pg_entry *ring = mem_array(size, sizeof(*ring));
		for (unsigned i = 0; i < conn->entries; i++)
			ring[i] = conn->ring[(conn->first + i) & (conn->ring_size - 1)];
		free(conn->ring);
		conn->ring = ring;
		conn->ring_size = size;
		conn->first = 0;
	}
	struct pg_statement *st = call ? running(call) : NULL;
	conn->ring[(conn->first + conn->entries++) & (conn->ring_size - 1)] = (struct pg_entry){
		.call = call, .statement = st, .index = st ? st->index : 0, .role = (uint8_t)role};
	if (call)
		call->pending++;
}

/* A command went to libpq's buffer, or libpq has refused it. */
static void pushed(struct pg_connection *conn, struct pg_call *call, enum pg_role role, int accepted)
{
	push(conn, call, role);
	if (!accepted)
		conn->broken = true;
	conn->unsynced = true;
	loop_defer(conn->client->loop, &conn->flush);
}

void pg_pipeline_command(struct pg_connection *conn, struct pg_call *call, const char *sql)
{
	pushed(conn, call, PG_OTHER, PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0));
}

void pg_pipeline_reset_end(struct pg_connection *conn, struct pg_call *call, const char *sql)
{
	pushed(conn, call, PG_RESET, PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0));
}

void pg_pipeline_judge(struct pg_connection *conn, const char *sql, unsigned parameters, const char *const *values)
{
	pushed(conn, NULL, PG_JUDGE, PQsendQueryParams(conn->pg, sql, (int)parameters, NULL, values, NULL, NULL, 0));
}

void pg_pipeline_prepare(struct pg_connection *conn, struct pg_call *lease, const char *name, const char *sql,
			 unsigned parameters, const Oid *types)
{
	pushed(conn, lease, PG_PREPARE, PQsendPrepare(conn->pg, name, sql, (int)parameters, types));
}

void pg_pipeline_describe(struct pg_connection *conn, struct pg_call *lease, const char *name)
{
	pushed(conn, lease, PG_DESCRIBE, PQsendDescribePrepared(conn->pg, name));
}

void pg_pipeline_query(struct pg_connection *conn, struct pg_call *lease, const char *sql, unsigned parameters,
		       const char *const *values)
{
	pushed(conn, lease, PG_EXECUTE, PQsendQueryParams(conn->pg, sql, (int)parameters, NULL, values, NULL, NULL, 0));
}

/* If a FETCH is at the head now, its rows come one by one. libpq refuses that only if none come: the group was
 * aborted before it. */
static void ask_for_rows(struct pg_connection *conn)
{
	const struct pg_entry *head = pg_connection_head(conn);

	if (head && head->role == PG_FETCH)
		(void)PQsetSingleRowMode(conn->pg);
}

void pg_pipeline_fetch(struct pg_connection *conn, struct pg_call *lease, const char *sql, struct pg_rows *rows)
{
	rows->came = 0;
	rows->came_bytes = 0;
	rows->all = false;
	lease->rows = rows;
	lease->fetching = true;
	pushed(conn, lease, PG_FETCH, PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0));
	if (conn->entries == 1)
		ask_for_rows(conn);
}

void pg_pipeline_deallocate(struct pg_connection *conn, struct pg_call *call, const struct pg_statement *st)
{
	uint32_t old = st->nameless ? 0 : pg_connection_prepared_generation(conn, st);
	char name[32], sql[64];

	if (!old)
		return;
	pg_statement_name(name, sizeof(name), st->index, old);
	snprintf(sql, sizeof(sql), "deallocate %s", name);
	pushed(conn, call, PG_DEALLOCATE, PQsendQueryParams(conn->pg, sql, 0, NULL, NULL, NULL, NULL, 0));
	pg_connection_unprepared(conn, st->index);
}

/* --- COPY --- */

void pg_pipeline_copy(struct pg_connection *conn, struct pg_call *lease, const char *sql)
{
	bool free = conn->entries == 0 && !conn->unsynced;

	/* Nobody has judged its triggers and functions. */
	pg_leaving_note_unknown(conn);
	push(conn, lease, PG_COPY);
	if (!free || !PQexitPipelineMode(conn->pg) || !PQsendQuery(conn->pg, sql))
		conn->broken = true;
	loop_defer(conn->client->loop, &conn->flush);
}

void pg_pipeline_copy_end(struct pg_connection *conn, const char *why)
{
	conn->copying = PG_COPYING_NOT;
	if (PQputCopyEnd(conn->pg, why) != 1)
		conn->broken = true;
	loop_defer(conn->client->loop, &conn->flush);
}

void pg_pipeline_copied(struct pg_connection *conn)
{
	conn->copying = PG_COPYING_NOT;
	conn->paused = false;
	loop_defer(conn->client->loop, &conn->flush);
}

static void begin_copy(struct pg_connection *conn, const struct pg_call *call, const PGresult *result)
{
	conn->copying = PQresultStatus(result) == PGRES_COPY_IN ? PG_COPYING_IN : PG_COPYING_OUT;
	conn->said_us = 0;
	if (call->waiter)
		task_wake(call->waiter, 0);
}

/* Is the data at the head of the pipe still somebody's? What nobody wants is not stored, and dropped as it comes. */
static bool copy_goes_on(struct pg_connection *conn)
{
	char *data;
	int n;

	if (!pg_call_is_unwanted(pg_connection_head(conn)->call))
		return true;
	if (conn->copying == PG_COPYING_IN) {
		pg_pipeline_copy_end(conn, "given up");
		return false;
	}
	while ((n = PQgetCopyData(conn->pg, &data, 1)) > 0)
		PQfreemem(data);
	if (n == 0)
		return true;
	pg_pipeline_copied(conn);
	return false;
}

/* The COPY at the head of the pipe was answered. */
static void end_copy(struct pg_connection *conn)
{
	conn->copying = PG_COPYING_NOT;
	conn->paused = false;
	if (!PQenterPipelineMode(conn->pg))
		conn->broken = true;
	else if (!conn->lease)
		pg_pipeline_end_transaction(conn);
}

/* Is an oid still what it was? The connection may lead to another server than the one that was asked. Once a
 * connection; behind a pooler each time. */
static void ask_for_types(struct pg_connection *conn, struct pg_call *call)
{
	const struct pg_statement *st = running(call);
	const char *value = st->own_types;

	if (value)
		pushed(conn, call, PG_TYPES,
		       PQsendQueryParams(conn->pg, pg_types_text_query, 1, NULL, &value, NULL, NULL, 0));
}

static void take_types(const struct pg_entry *entry, const PGresult *result)
{
	struct pg_call *call = entry->call;
	const struct pg_statement *st = pg_call_is_unwanted(call) ? NULL : entry->statement;
	const char *text = PQntuples(result) == 1 ? PQgetvalue(result, 0, 0) : "";

	if (!st || !st->own_types_text || strcmp(text, st->own_types_text) == 0)
		return;
	if (call->batch)
		call->batch->next.retyped = true;
	else
		call->signs.retyped = true;
}

/* Prepare the call's statement where this connection does not know it. */
static void prepare_once(struct pg_connection *conn, struct pg_call *call)
{
	const struct pg_statement *st = running(call);

	if (*st->name && pg_connection_has(conn, st))
		return;
	ask_for_types(conn, call);
	if (!*st->name)
		return;
	pg_pipeline_deallocate(conn, call, st);
	pg_pipeline_prepare(conn, call, st->name, st->sql, st->action->sql.parameter_count, st->types);
	pg_connection_prepared(conn, st);
}

/* The columns of a statement inside another have no names of their own: a table whose columns were renamed would not be
 * noticed. So the server describes it once more, in the same group, as it is now; others say that themselves. */
static void ask_for_names(struct pg_connection *conn, struct pg_call *call)
{
	const struct pg_statement *st = running(call);

	if (!st->layout->wrapped)
		return;
	pushed(conn, call, PG_OTHER,
	       PQsendPrepare(conn->pg, "", st->action->sql.text, (int)st->action->sql.parameter_count, st->types));
	pushed(conn, call, PG_NAMES, PQsendDescribePrepared(conn->pg, ""));
}

static void take_names(const struct pg_entry *entry, PGresult *description)
{
	struct pg_call *call = entry->call;
	const struct pg_statement *st = pg_call_is_unwanted(call) ? NULL : entry->statement;
	PGresult **names = call->batch ? &call->batch->next.names : &call->names;

	if (st && st->description && !pg_statement_is_described(st, description)) {
		PQclear(*names);
		*names = description;
	} else {
		PQclear(description);
	}
}

static void execute(struct pg_connection *conn, struct pg_call *call)
{
	const struct pg_statement *st = running(call);

	ask_for_names(conn, call);
	const struct pg_parameters *p = &call->parameters;
	int sent = *st->name ? PQsendQueryPrepared(conn->pg, st->name, (int)p->count, p->values, NULL, NULL, 0)
			     : PQsendQueryParams(conn->pg, st->sql, (int)p->count, st->types, p->values, NULL, NULL, 0);

	pg_leaving_note(conn, running(call));
	pushed(conn, call, PG_EXECUTE, sent);
}

void pg_pipeline_run(struct pg_connection *conn, struct pg_call *lease)
{
	prepare_once(conn, lease);
	execute(conn, lease);
}

void pg_pipeline_bound(struct pg_connection *conn, struct pg_call *lease, const char *sql)
{
	const struct pg_parameters *p = &lease->parameters;

	ask_for_names(conn, lease);
	pg_leaving_note(conn, lease->running);
	pushed(conn, lease, PG_OTHER,
	       PQsendQueryParams(conn->pg, sql, (int)p->count, lease->running->types, p->values, NULL, NULL, 0));
}

void pg_pipeline_send(struct pg_connection *conn, struct pg_call *call)
{
	const struct pg_source *source = conn->client->source;
	bool read_only = call->statement->action->read_only;

	call->connection = conn;
	pg_call_move(call, PG_CALL_SENT);
	call->placed_us = loop_now_us(conn->client->loop);
	call->begun_us = call->begun_us ? call->begun_us : call->placed_us;
	conn->calls++;
	if (source->prepare && read_only) {
		pg_leaving_prepare(conn, call->statement);
		prepare_once(conn, call);
		execute(conn, call);
		return;
	}
	pg_pipeline_command(conn, call, read_only ? "begin read only" : "begin read write");
	if (!source->prepare)
		pg_pipeline_command(conn, call, conn->client->settings);
	pg_leaving_prepare(conn, call->statement);
	prepare_once(conn, call);
	execute(conn, call);
	pg_leaving_tidy_within(conn, call);
	pg_pipeline_command(conn, call, "commit");
}

void pg_pipeline_flush(struct pg_connection *conn)
{
	if (conn->unsynced) {
		/* A lease waits for the Sync too: its next command finds the connection as it was. */
		push(conn, conn->lease, PG_SYNC);
		conn->unsynced = false;
		if (!PQpipelineSync(conn->pg))
			conn->broken = true;
	}
	int left = conn->broken ? -1 : PQflush(conn->pg);
	uint32_t events = (conn->paused ? 0 : (uint32_t)EPOLLIN) | (left > 0 ? (uint32_t)EPOLLOUT : 0);
	if (left < 0 || watch_set(&conn->watch, loop_poller(conn->client->loop), PQsocket(conn->pg), events) < 0)
		conn->broken = true;
}

/* What each statement of the group at the head has taken: they run one after another, and their answers come
 * together. */
static void begin_group(struct pg_connection *conn, const struct pg_call *call, int64_t now)
{
	unsigned count = 0;

	for (unsigned i = 0; i < conn->entries; i++) {
		enum pg_role role = conn->ring[(conn->first + i) & (conn->ring_size - 1)].role;
		if (role == PG_SYNC)
			break;
		count += role == PG_EXECUTE;
	}
	int64_t since = call && call->placed_us > conn->answered_us ? call->placed_us : conn->answered_us;
	conn->group_left = count;
	conn->group_share_us = (now - since) / (count ? count : 1);
}

static void executed(struct pg_connection *conn, const struct pg_call *call)
{
	if (conn->group_left == 0)
		begin_group(conn, call, loop_now_us(conn->client->loop));
	conn->group_left--;
	if (call && call->statement && !call->signs.aborted)
		pg_statement_took(call->statement, conn->group_share_us);
}

void pg_pipeline_overflow(struct pg_connection *conn)
{
	const struct pg_entry *head = pg_connection_head(conn);

	if (head && head->call)
		pg_call_overflow(head->call);
	conn->broken = true;
}

static void append(struct pg_rows *rows, PGresult *row, size_t bytes)
{
	if (rows->first > 0 && rows->first + rows->count == rows->capacity) {
		memmove(rows->items, rows->items + rows->first, rows->count * sizeof(*rows->items));
		rows->first = 0;
	}
	if (rows->count == rows->capacity) {
		rows->capacity = rows->capacity ? 2 * rows->capacity : 64;
		rows->items = mem_realloc_array(rows->items, rows->capacity, sizeof(*rows->items));
	}
	rows->items[rows->first + rows->count++] = row;
	rows->bytes += bytes;
	rows->came++;
	rows->came_bytes += bytes;
}

static void take_row(struct pg_connection *conn, struct pg_call *call, PGresult *row)
{
	struct pg_rows *rows = pg_call_is_unwanted(call) ? NULL : call->rows;
	size_t bytes = PQresultMemorySize(row);
	bool too_large = rows && rows->bytes + bytes > conn->client->result_max;

	if (too_large)
		pg_pipeline_overflow(conn);
	if (!rows || too_large) {
		PQclear(row);
		return;
	}
	append(rows, row, bytes);
	conn->paused = !rows->all && rows->bytes >= PG_ROWS_BYTES;
	if (call->waiter)
		task_wake(call->waiter, 0);
}

/* Rows of a batch's statement, which are taken over. */
static void take_brought(struct pg_connection *conn, struct pg_batch *batch, PGresult *rows)
{
	batch->bytes += PQresultMemorySize(rows);
	batch->next.rows = rows;
	batch->items[batch->count++] = batch->next;
	batch->next = (struct pg_brought){0};
	if (batch->bytes > conn->client->result_max)
		pg_pipeline_overflow(conn);
}

/* One result of the command that is at the head of the pipe, which is taken over.
 *
 * A call sends several commands in one flush: perhaps BEGIN, DEALLOCATE and PREPARE, a look at names and types, the
 * statement, COMMIT. Each brings one result (a FETCH, one for each row), and the call gets one: the first failure, or
 * else what the statement or the description brought. So a result goes one of three ways:
 *
 * - The connection's own commands (PG_JUDGE, PG_RESET) have no call: leaving.c looks at the first, and what resets the
 *   session must not fail, or the connection is closed.
 * - Some results are looked at on their way: rows of a FETCH go to the lease's queue, names and types are compared with
 *   what was learned of the statement, the begin of a COPY changes what the connection does next. A COPY that nobody
 *   asked for, or a FETCH that brings its rows at once, would upset the order of the pipe: the connection is closed.
 * - The rest is kept if it is wanted and nothing has failed before it.
 *
 * After a failure the server skips what is left of the group, and each skipped command comes as PIPELINE_ABORTED. That
 * says only that nothing of it has happened: it is no failure of this call's own (a neighbour may have caused it, and
 * the call is run again, `aborted`), but what a skipped PREPARE or DEALLOCATE was to do was not done. If PREPARE itself
 * was refused the call is `unparsed`, if DEALLOCATE was it is `unfreed`: in both, the statement has not run, and its
 * caller may try again. */
static void take_result(struct pg_connection *conn, struct pg_entry *entry, PGresult *result)
{
	struct pg_call *call = entry->call;
	ExecStatusType status = PQresultStatus(result);
	bool failed = pg_failed(result);
	bool wanted = failed || entry->role == PG_EXECUTE || entry->role == PG_DESCRIBE || entry->role == PG_COPY ||
		      entry->role == PG_FETCH;
	bool data = status == PGRES_COPY_IN || status == PGRES_COPY_OUT;

	if (entry->role == PG_JUDGE) {
		pg_leaving_judge(conn, result);
		PQclear(result);
		return;
	}
	if (entry->role == PG_RESET)
		pg_leaving_reset_done(conn, result);
	if (data && entry->role == PG_COPY) {
		begin_copy(conn, call, result);
		PQclear(result);
		return;
	}
	conn->broken |= data || status == PGRES_COPY_BOTH; /* it would come forever */
	conn->broken |= entry->role == PG_FETCH && PQntuples(result) > 0 && status != PGRES_SINGLE_TUPLE;
	if (!call) {
		conn->broken |= failed;
		PQclear(result);
		return;
	}
	if (status == PGRES_SINGLE_TUPLE) {
		take_row(conn, call, result);
		return;
	}
	if (entry->role == PG_OTHER && status == PGRES_COMMAND_OK)
		call->signs.begun = true;
	if (entry->role == PG_NAMES && !failed && status != PGRES_PIPELINE_ABORTED) {
		take_names(entry, result);
		return;
	}
	if (entry->role == PG_TYPES && status == PGRES_TUPLES_OK)
		take_types(entry, result);
	bool undone = failed || status == PGRES_PIPELINE_ABORTED;
	if (entry->role == PG_PREPARE && entry->statement && undone) {
		pg_connection_unprepared(conn, entry->index);
		call->signs.unparsed = failed;
	}
	if (entry->role == PG_DEALLOCATE && undone) {
		/* Its name may still be there, and nobody will use it. */
		conn->prepared_stale++;
		call->signs.unfreed = failed;
	}
	if (status == PGRES_PIPELINE_ABORTED)
		call->signs.aborted = true;
	if (status == PGRES_PIPELINE_ABORTED || !wanted || pg_call_is_unwanted(call) || pg_failed(call->result)) {
		PQclear(result);
		return;
	}
	if (PQresultMemorySize(result) > conn->client->result_max) {
		pg_pipeline_overflow(conn);
		PQclear(result);
		return;
	}
	if (call->batch && entry->role == PG_EXECUTE && !failed) {
		take_brought(conn, call->batch, result);
		return;
	}
	PQclear(call->result);
	call->result = result;
}

static void pop(struct pg_connection *conn)
{
	struct pg_entry entry = *pg_connection_head(conn);

	if (entry.role == PG_EXECUTE)
		executed(conn, entry.call);
	conn->first++;
	conn->entries--;
	ask_for_rows(conn);
	if (entry.call && --entry.call->pending == 0)
		pg_call_answered(entry.call);
}

void pg_pipeline_end_transaction(struct pg_connection *conn)
{
	PGTransactionStatusType status = PQtransactionStatus(conn->pg);

	if (status == PQTRANS_INTRANS || status == PQTRANS_INERROR)
		pg_pipeline_command(conn, NULL, "rollback");
	else if (status != PQTRANS_IDLE)
		conn->broken = true;
}

bool pg_pipeline_drain(struct pg_connection *conn)
{
	unsigned before = conn->entries;

	while (conn->entries > 0 && !conn->broken && !conn->paused && !PQisBusy(conn->pg)) {
		struct pg_entry *head = pg_connection_head(conn);
		if (conn->copying) {
			if (copy_goes_on(conn))
				break;
			continue;
		}
		PGresult *result = PQgetResult(conn->pg);
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC) {
			PQclear(result);
			if (head->role != PG_SYNC)
				return false;
			if (conn->entries == 1 && !(conn->lease && conn->lease->transaction))
				pg_pipeline_end_transaction(conn);
			pop(conn);
		} else if (result) {
			conn->unfinished = 0;
			take_result(conn, head, result);
		} else if (PQstatus(conn->pg) == CONNECTION_BAD || head->role == PG_SYNC) {
			return false;
		} else {
			if (head->role == PG_COPY)
				end_copy(conn);
			pop(conn);
		}
	}
	if (conn->entries != before)
		conn->answered_us = loop_now_us(conn->client->loop);
	return !conn->broken && PQstatus(conn->pg) != CONNECTION_BAD;
}

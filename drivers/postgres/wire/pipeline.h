/* The pipe of a connection: commands in, answers out in the same order. Loop thread only. */
#pragma once

#include "drivers/postgres/wire/connection.h"

/* Put call's commands on conn: its statement, prepared before where conn does not know it yet; in a transaction of its
 * own where it writes. They leave at the end of the turn. A failure shows then. */
void pg_pipeline_send(struct pg_connection *conn, struct pg_call *call);

/* Commands of a lease; pg_call_wait waits for all of them. */
void pg_pipeline_prepare(struct pg_connection *conn, struct pg_call *lease, const char *name, const char *sql,
			 unsigned parameters, const Oid *types);
/* Drop what is prepared on conn with st's index, which was an earlier self of it or a statement that has gone. */
void pg_pipeline_deallocate(struct pg_connection *conn, struct pg_call *call, const struct pg_statement *st);
void pg_pipeline_describe(struct pg_connection *conn, struct pg_call *lease, const char *name);
void pg_pipeline_query(struct pg_connection *conn, struct pg_call *lease, const char *sql, unsigned parameters,
		       const char *const *values);
void pg_pipeline_command(struct pg_connection *conn, struct pg_call *call, const char *sql);
/* The last command of a reset (leaving.h), and a question about words, whose answers are the connection's own. */
void pg_pipeline_reset_end(struct pg_connection *conn, struct pg_call *call, const char *sql);
void pg_pipeline_judge(struct pg_connection *conn, const char *sql, unsigned parameters, const char *const *values);
/* FETCH: its rows go to rows. */
void pg_pipeline_fetch(struct pg_connection *conn, struct pg_call *lease, const char *sql, struct pg_rows *rows);
/* Its statement (lease->running) with its parameters, prepared before where conn does not know it yet. */
void pg_pipeline_run(struct pg_connection *conn, struct pg_call *lease);
/* sql instead of it, with the same parameters. */
void pg_pipeline_bound(struct pg_connection *conn, struct pg_call *lease, const char *sql);

/* A COPY by lease, which has nothing in the pipe: the connection is not a pipe before all of it was answered. Its task
 * is woken when conn->copying says which way the data goes, and again when there is some, or room for some. */
void pg_pipeline_copy(struct pg_connection *conn, struct pg_call *lease, const char *sql);
/* PG_COPYING_IN: there is no more data; or, with why, nothing of it shall be stored. */
void pg_pipeline_copy_end(struct pg_connection *conn, const char *why);
/* PG_COPYING_OUT: all of it was taken. */
void pg_pipeline_copied(struct pg_connection *conn);

/* End the group: Sync, flush. Called at the end of the turn. */
void pg_pipeline_flush(struct pg_connection *conn);
/* A transaction that is still open must not meet the next call: roll it back. Everything was answered. */
void pg_pipeline_end_transaction(struct pg_connection *conn);
/* More comes for the command at the head than may be held: the connection is to be closed. */
void pg_pipeline_overflow(struct pg_connection *conn);
/* Take in what has come, unless conn is paused, or until it is. False: the connection is gone (and not closed yet). */
bool pg_pipeline_drain(struct pg_connection *conn);

/* What a statement may leave on the session that ran it, and how that is removed before anybody else has the
 * connection.
 *
 * DESIGN. What a statement runs is in doubt at first: it has its connection to itself, and when it has ended, however
 * it did, the session is reset before the connection goes to the next call. One that runs a second time is judged, on
 * the connection that it just had. Every word of its text that is the name of something is looked up: of views and
 * policies and, if it writes, of defaults, constraints and the tables that a change goes on to, the server gives the
 * text, whose words are looked up in turn. It leaves nothing if there are no triggers, and if all the functions are the
 * server's own and known to be harmless, or an extension's in C that promise to change nothing. Such a statement costs
 * nothing from then on, and may share connections. Words are taken from literals and comments, too: a mistake costs
 * time, and is never in favour of a statement.
 *
 * Most of what moves a sequence is an INSERT into a table with a key that numbers itself, and next to nobody asks for
 * currval or lastval afterwards. So the state of sequences is discarded not behind the statement that moved one, but
 * before the next one that may look at it: one in doubt, one whose texts name these functions, a transaction of
 * several.
 *
 * A judgement is good for a while, because tables get triggers and policies and views are replaced. A function that
 * users wrote is in doubt whatever it says now: it may be replaced before it runs next. Loop thread only. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pg_call;
struct pg_connection;
struct pg_statement;

enum pg_leaving {
	PG_LEAVES_NOTHING,
	PG_LEAVES_SEQUENCES, /* what currval and lastval say */
	PG_LEAVES_SETTINGS,  /* settings, roles, locks, temporary tables, cursors, what it listens to */
	PG_LEAVES_MORE,      /* what cannot be reset: the session ends */
};

/* st runs on conn now: what it may leave is noted, and whether it is to be judged. */
void pg_leaving_note(struct pg_connection *conn, struct pg_statement *st);
/* Something that is not a statement we know runs on conn. */
void pg_leaving_note_unknown(struct pg_connection *conn);

/* st is to run on conn next, or what a transaction that has begun there runs (NULL): put on it what discards the
 * sequences that others have moved, if it may look at them. Behind BEGIN: what stands before that is of its
 * transaction, too. */
void pg_leaving_prepare(struct pg_connection *conn, const struct pg_statement *st);
/* conn is free: put on it what resets the session, or what a judgement asks next. False: there is nothing to do. */
bool pg_leaving_tidy(struct pg_connection *conn);
/* Behind a pooler the session goes to somebody else with COMMIT: put what resets it on conn before that, as commands of
 * call. */
void pg_leaving_tidy_within(struct pg_connection *conn, struct pg_call *call);
/* The last command of a reset was answered. */
void pg_leaving_reset_done(struct pg_connection *conn, const PGresult *result);
/* A question of the judgement was answered. */
void pg_leaving_judge(struct pg_connection *conn, const PGresult *rows);
/* conn is closed: a judgement that is under way is dropped. */
void pg_leaving_drop(struct pg_connection *conn);

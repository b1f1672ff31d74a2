/* Beginning, committing, aborting transactions, and running them again. */
#include "drivers/mongo/calls/transaction.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/backoff.h"
#include "drivers/mongo/calls/send.h"
#include "drivers/mongo/wire/errors.h"

#define COMMIT_US      INT64_C(10000000)
#define ABORT_US       INT64_C(1000000)
#define PAUSE_FIRST_US INT64_C(5000)
#define PAUSE_MOST_US  INT64_C(500000)
#define CONFIRMED_MS   10000 /* how long the second commit waits for a majority of the servers */

struct mongo_transaction {
	struct list link; /* in its client's `transactions` */
	struct mongo_client *client;
	const struct mongo_transaction_options *options;
	struct task *owner;
	struct mongo_connection *connection;
	unsigned consequences; /* for the connection */
	bool failed;
	bool transient; /* what it failed with may be gone the next time */
	struct error failure;
	struct list parts;
};

/* --- what runs within --- */

struct mongo_transaction *mongo_transaction_here(const struct mongo_client *client)
{
	struct task *self = task_self();

	list_for_each (node, &client->transactions) {
		struct mongo_transaction *tx = container_of(node, struct mongo_transaction, link);
		if (tx->owner == self)
			return tx;
	}
	return NULL;
}

void mongo_transaction_join(struct mongo_transaction *tx, struct mongo_transaction_part *p,
			    void (*end)(struct mongo_transaction_part *p))
{
	p->transaction = tx;
	p->end = end;
	list_append(&tx->parts, &p->link);
}

void mongo_transaction_leave(struct mongo_transaction_part *p)
{
	list_remove(&p->link);
	p->transaction = NULL;
}

int mongo_transaction_enter(const struct mongo_transaction *tx, struct error *e)
{
	if (tx->owner != task_self())
		return error_set(e, -EBUSY, 500, NULL, "the transaction is another task's");
	if (tx->failed)
		*e = tx->failure;
	return tx->failed ? e->errnum : 0;
}

void mongo_transaction_fail(struct mongo_transaction *tx, unsigned consequences, const struct error *e)
{
	tx->consequences |= consequences;
	if (tx->failed)
		return;
	tx->failed = true;
	tx->transient = (consequences & MONGO_AGAIN) || (tx->connection->labels & LABEL_TRANSIENT);
	tx->failure = *e;
}

int mongo_transaction_run(struct mongo_transaction *tx, struct mongo_operation *a)
{
	unsigned consequences = 0;
	int r = mongo_transaction_enter(tx, a->error);

	if (r < 0)
		return r;
	deadline_t before = deadline_push(a->timeout_us ? deadline_in_us(a->timeout_us) : DEADLINE_NEVER);
	tx->connection->labels = 0;
	r = a->run(a, tx->connection, &consequences);
	deadline_pop(before);
	if (r < 0)
		mongo_transaction_fail(tx, consequences, a->error);
	if (r == 0 && a->hold) {
		a->connection = tx->connection;
		a->transaction = tx;
	}
	return r;
}

/* --- the connection --- */

/* consequences: for the connection. */
static int check_server(const struct mongo_connection *c, unsigned *consequences, struct error *e)
{
	if (!c->limits.transactions)
		return error_set(e, -EOPNOTSUPP, 500, NULL,
				 "the source's server has no transactions: it is no replica set or sharded cluster, or "
				 "older than MongoDB 4.0 (sharded: 4.2)");
	if (!c->limits.writable) {
		*consequences = mongo_connection_unwritable(c);
		return error_set(e, -EROFS, 500, NULL,
				 "the source's URL leads to a secondary (readPreference, directConnection), which has "
				 "no transactions");
	}
	if (!mongoc_write_concern_is_acknowledged(mongoc_client_get_write_concern(c->client)))
		return error_set(e, -EINVAL, 500, NULL,
				 "the source's URL asks for no answers to writes (w=0): there are no such "
				 "transactions");
	return 0;
}

static void give_back(struct mongo_transaction *tx)
{
	mongo_session_close(&tx->connection->session, tx->connection->client);
	mongo_pool_release(&tx->client->pool, tx->connection, tx->consequences);
	tx->connection = NULL;
	tx->consequences = 0;
}

/* Suspends. identity: of the one that is to be committed there; NULL: a new one. Returns 0, or -errno with e filled:
 * there is no connection then. */
static int take_connection(struct mongo_transaction *tx, const struct mongo_session_identity *identity, struct error *e)
{
	bson_error_t error = {0};
	int r = mongo_pool_acquire(&tx->client->pool, &tx->connection, e);

	if (r < 0)
		return r;
	struct mongo_connection *c = tx->connection;
	r = check_server(c, &tx->consequences, e);
	if (r == 0 && !mongo_session_open(&c->session, c->client, c->options, identity, &error))
		r = error_set(e, -EOPNOTSUPP, 500, NULL, "the source's server has no sessions: %.200s", error.message);
	c->session.snapshot = tx->options->snapshot;
	if (r < 0)
		give_back(tx);
	return r;
}

/* --- its end --- */

enum outcome {
	COMMITTED,
	UNCONFIRMED, /* committed, but not as the URL asks */
	REFUSED,     /* it did not happen */
	RETRY_ALL,   /* it did not happen, and may the next time */
	UNKNOWN,
};

static void make_commit(bson_t *command, const struct mongo_session *s, const bson_t *recovery, bool again)
{
	BSON_APPEND_INT32(command, "commitTransaction", 1);
	if (recovery)
		BSON_APPEND_DOCUMENT(command, "recoveryToken", recovery);
	mongoc_write_concern_t *concern = mongoc_write_concern_copy(s->concern);
	if (again)
		mongoc_write_concern_set_wmajority(concern, CONFIRMED_MS);
	if (!mongoc_write_concern_is_default(concern))
		mongoc_write_concern_append(concern, command);
	mongoc_write_concern_destroy(concern);
}

/* Suspends. */
static enum outcome commit_once(struct mongo_transaction *tx, const bson_t *recovery, bool again, struct error *e)
{
	struct mongo_connection *c = tx->connection;
	struct mongo_sending sending = {
		.connection = c, .database = "admin", .error = e, .consequences = &tx->consequences};
	struct mongo_answer answer = {0};
	bson_t command = BSON_INITIALIZER;

	make_commit(&command, &c->session, recovery, again);
	c->labels = 0;
	int r = mongo_send(&sending, &command, &answer);
	bson_destroy(&command);
	if (r == 0) {
		r = mongo_answer_concern(&sending, &answer);
		bson_free(answer.data);
		return r == 0 ? COMMITTED : UNCONFIRMED;
	}
	if (c->labels & LABEL_TRANSIENT)
		return RETRY_ALL;
	bool unknown = c->streams.fault || (c->labels & LABEL_UNKNOWN_COMMIT) || (tx->consequences & MONGO_AGAIN) ||
		       r == -ETIMEDOUT;
	return unknown ? UNKNOWN : REFUSED;
}

/* Suspends. On another connection from now on. Returns 0, or -errno with e filled: there is none then. */
static int move(struct mongo_transaction *tx, struct error *e)
{
	struct mongo_session_identity identity = tx->connection->session.now;

	give_back(tx);
	return take_connection(tx, &identity, e);
}

/* Suspends. Once more, on another connection where this one is spoilt. A second commit of what is committed does
 * nothing. */
static enum outcome commit_again(struct mongo_transaction *tx, const bson_t *recovery, struct error *e)
{
	if ((tx->consequences || tx->connection->streams.fault || tx->connection->lost) && move(tx, e) < 0)
		return UNKNOWN;
	enum outcome outcome = commit_once(tx, recovery, true, e);
	return outcome == REFUSED ? UNKNOWN : outcome;
}

static int tell_unknown(struct error *e)
{
	char why[sizeof(e->what)];

	memcpy(why, e->what, sizeof(why));
	error_say(e, -EIO, REASON_COMMIT_UNKNOWN, "the transaction may or may not have happened: %.250s", why);
	e->change = CHANGE_UNKNOWN;
	return e->errnum;
}

/* UnsatisfiableWriteConcern, UnknownReplWriteConcern: no second answer is another one. */
static bool concern_is_impossible(const struct error *e)
{
	return strcmp(e->code, "100") == 0 || strcmp(e->code, "79") == 0;
}

/* Suspends (shielded). Returns 0 or -errno with e filled; *again: it did not happen, and may the next time. */
static int commit(struct mongo_transaction *tx, bool *again, struct error *e)
{
	int64_t timeout_us = tx->options->timeout_us ? tx->options->timeout_us : COMMIT_US;
	struct mongo_session *s = &tx->connection->session;
	struct shield shield;

	if (!s->begun)
		return 0;
	bson_t *recovery = s->recovery ? bson_copy(s->recovery) : NULL;
	task_shield(&shield, deadline_in_us(timeout_us));
	enum outcome outcome = commit_once(tx, recovery, false, e);
	task_unshield(&shield);
	if (outcome == UNKNOWN || (outcome == UNCONFIRMED && !concern_is_impossible(e))) {
		task_shield(&shield, deadline_in_us(timeout_us));
		outcome = commit_again(tx, recovery, e);
		task_unshield(&shield);
	}
	bson_destroy(recovery);
	*again = outcome == RETRY_ALL;
	if (outcome == COMMITTED)
		return 0;
	return outcome == UNKNOWN ? tell_unknown(e) : e->errnum;
}

/* Suspends. */
static void abort_once(struct mongo_transaction *tx, const bson_t *recovery)
{
	struct error e = ERROR_INIT;
	struct mongo_sending sending = {
		.connection = tx->connection, .database = "admin", .error = &e, .consequences = &tx->consequences};
	bson_t command = BSON_INITIALIZER;
	struct mongo_answer answer = {0};

	BSON_APPEND_INT32(&command, "abortTransaction", 1);
	if (recovery)
		BSON_APPEND_DOCUMENT(&command, "recoveryToken", recovery);
	if (mongo_send(&sending, &command, &answer) == 0)
		bson_free(answer.data);
	bson_destroy(&command);
}

/* Suspends (shielded). Also if the connection broke, or was broken off with the task: the server would go on holding
 * what was changed against all others, for a minute. What comes of it does not matter: then it gives it up by itself,
 * as one does that is not a primary any more. */
static void abort_transaction(struct mongo_transaction *tx)
{
	struct mongo_connection *c = tx->connection;
	struct error e = ERROR_INIT;
	struct shield shield;

	if (!c->session.begun || (c->lost && !c->streams.fault))
		return;
	bson_t *recovery = c->session.recovery ? bson_copy(c->session.recovery) : NULL;
	task_shield(&shield, deadline_in_us(ABORT_US));
	if (!c->streams.fault || move(tx, &e) == 0)
		abort_once(tx, recovery);
	task_unshield(&shield);
	bson_destroy(recovery);
}

static void end_parts(struct mongo_transaction *tx)
{
	list_for_each_safe (node, &tx->parts) {
		struct mongo_transaction_part *p = container_of(node, struct mongo_transaction_part, link);
		p->end(p);
	}
}

/* --- the whole --- */

/* r: what fn returned. Suspends. */
static int finish(struct mongo_transaction *tx, int r, bool *again, struct error *e)
{
	bool failed = tx->failed;

	*again = false;
	end_parts(tx);
	if (failed) {
		*e = tx->failure;
		*again = tx->transient;
		r = r < 0 ? r : e->errnum;
	} else if (r >= 0) {
		int gone = task_check();
		if (gone < 0)
			r = error_set(e, gone, gone == -ETIMEDOUT ? 504 : 503, NULL,
				      gone == -ETIMEDOUT ? "the deadline passed before the transaction's end"
							 : "cancelled before the transaction's end");
	}
	if (r >= 0) {
		int committed = commit(tx, again, e);
		return committed < 0 ? committed : r;
	}
	abort_transaction(tx);
	return r;
}

static int run_once(struct mongo_transaction *tx, int (*fn)(void *arg), void *arg, bool *again, struct error *e)
{
	*again = false;
	*e = ERROR_INIT;
	tx->failed = tx->transient = false;
	int r = take_connection(tx, NULL, e);
	if (r < 0)
		return r;
	list_append(&tx->client->transactions, &tx->link);
	r = fn(arg);
	list_remove(&tx->link);
	r = finish(tx, r, again, e);
	if (tx->connection)
		give_back(tx);
	return r;
}

/* With jitter, so that those who were in each other's way are not again. */
static bool back_off(unsigned failures)
{
	return task_sleep(deadline_in_us(backoff_us(failures, PAUSE_FIRST_US, PAUSE_MOST_US))) == 0;
}

int mongo_transact(struct client *client, const struct mongo_transaction_options *options, int (*fn)(void *arg),
		   void *arg, struct error *e)
{
	struct mongo_transaction tx = {.client = mongo_client_of(client), .options = options, .owner = task_self()};
	unsigned failures = 0;
	bool again;
	int r;

	if (mongo_transaction_here(tx.client))
		return error_set(e, -EBUSY, 500, NULL, "this task has a transaction on this source already");
	list_init(&tx.parts);
	do {
		r = run_once(&tx, fn, arg, &again, e);
	} while (again && ++failures < options->attempts && back_off(failures));
	return r;
}

/* Transactions: what a task asks of a source between their beginning and their end happens altogether or not at all.
 *
 * DESIGN. A transaction has a connection to itself, and belongs to the task that began it: every operation of that task
 * on that source goes there (mongo_run asks), those of other tasks go their own way. One that fails makes the
 * transaction fail: the server has given it up. Loop thread only. */
#pragma once

#include "drivers/mongo/calls/run.h"

struct mongo_transaction;

struct mongo_transaction_options {
	unsigned attempts;  /* in all; 0: 1 */
	bool snapshot;      /* all reads see the same moment */
	int64_t timeout_us; /* of the commit; 0: ten seconds */
};

/* Suspends. Run fn(arg) as a transaction of the calling task: committed where it returns 0 or more, else aborted.
 * Returns what fn returned; or the failure, with e filled where it is not fn's own: -EBUSY (the task has one on this
 * client), -EOPNOTSUPP (the server has none), -EIO (it may or may not have happened). */
int mongo_transact(struct client *client, const struct mongo_transaction_options *options, int (*fn)(void *arg),
		   void *arg, struct error *e) must_check;

/* The calling task's on this client, or NULL. */
struct mongo_transaction *mongo_transaction_here(const struct mongo_client *client);
/* Suspends. Run an operation within tx, as mongo_run. */
int mongo_transaction_run(struct mongo_transaction *tx, struct mongo_operation *a) must_check;

/* Something that stays open within a transaction: a cursor; embedded. */
struct mongo_transaction_part {
	struct mongo_transaction *transaction; /* NULL: of none */
	struct list link;
	/* tx ends: leave it. May suspend. */
	void (*end)(struct mongo_transaction_part *p);
};
void mongo_transaction_join(struct mongo_transaction *tx, struct mongo_transaction_part *p,
			    void (*end)(struct mongo_transaction_part *p));
void mongo_transaction_leave(struct mongo_transaction_part *p);
/* May the calling task ask something within tx? Returns 0, -EBUSY (it is another task's), or what tx failed with; with
 * e filled. */
int mongo_transaction_enter(const struct mongo_transaction *tx, struct error *e) must_check;
/* What was asked within tx failed. */
void mongo_transaction_fail(struct mongo_transaction *tx, unsigned consequences, const struct error *e);

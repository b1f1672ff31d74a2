/* The way of every operation: a connection of the pool, the time-out, and a second attempt if that is right. */
#pragma once

#include "config/config.h"
#include "drivers/driver.h"
#include "drivers/mongo/keys.h"
#include "drivers/mongo/wire/pool.h"

/* A worker's share of a source: what a `struct client` of this kind is. */
struct mongo_client {
	struct client base;
	struct mongo_pool pool;
	struct list transactions; /* transaction.h: those that run */
	enum mongo_json json;     /* how results are rendered */
};

static inline struct mongo_client *mongo_client_of(struct client *c)
{
	return container_of(c, struct mongo_client, base);
}

/* Embedded in what the operation needs. */
struct mongo_operation {
	struct mongo_client *client;
	/* Suspends. The operation on c, within the time-out: task_deadline() is when the server is to give up. A second
	 * call forgets what the first one brought. Returns 0 or -errno with the error filled; *consequences as in
	 * errors.h. */
	int (*run)(struct mongo_operation *a, struct mongo_connection *c, unsigned *consequences);
	int64_t timeout_us; /* from when it first has a connection; 0: none but the task's own deadline */
	bool once;          /* it writes: no second attempt */
	bool hold;          /* if it succeeds the connection is kept, for the caller to release */
	bool alone;         /* it is never part of a transaction */
	struct error *error;
	struct mongo_connection *connection;   /* held */
	struct mongo_transaction *transaction; /* whose connection it is; NULL: the caller's own */
	deadline_t by;                         /* begins as DEADLINE_NEVER */
};

/* Suspends. If the calling task has a transaction on the client, the operation is part of it, and run once. Else
 * what reads is run once more where its connection broke or its server has stepped down. Returns 0, or -errno with the
 * error filled. */
int mongo_run(struct mongo_operation *a) must_check;

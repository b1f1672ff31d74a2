/* Change streams: what happens to a collection or a database, as it happens.
 *
 * A stream has a connection of its own, if a getMore waits at the server for a second at a time, so that no wait is
 * without a bound. It is resumed behind the last change that was handed out where its connection breaks, its server
 * steps down, or the server says that it may be. Loop thread only; one task at a time. */
#pragma once

#include "drivers/mongo/calls/batch.h"
#include "drivers/mongo/calls/read.h"

struct mongo_watch {
	struct mongo_client *client;
	struct mongo_connection *connection; /* NULL: there is none */
	int64_t timeout_us;
	int64_t batch_size;
	bool from_request;
	bool over;                  /* the server has ended it */
	char *collection;           /* NULL: the database */
	struct buf stages;          /* an array: the handler's */
	struct buf options;         /* elements of $changeStream */
	struct buf token;           /* one element of $changeStream: where to begin, or empty */
	struct buf latest;          /* the token behind this batch: a document, or empty */
	bool starts_after;          /* nothing was handed out yet, and it began with startAfter */
	struct mongo_answer answer; /* the memory of the batch */
	struct mongo_element_iter at;
	int64_t cursor;            /* 0: the server has ended it */
	unsigned failures;         /* since the last answer */
	char name[COLLECTION_MAX]; /* the cursor's collection */
};

/* Suspends until the server watches. pipeline may be NULL. Returns 0: w is to be closed; or -errno with e filled. */
int mongo_watch(struct mongo_watch *w, const struct mongo_target *t, const struct value *pipeline,
		const struct value *options, struct error *e) must_check;
/* Suspends until something happens, or the task's deadline. Returns 1 with *out, a document that stays valid until the
 * next call; 0: what was watched is gone; or -errno with e filled, which ends it, but for -ETIMEDOUT: it goes on. */
int mongo_watch_next(struct mongo_watch *w, struct mongo_element *out, struct error *e) must_check;
/* Suspends (shielded), for half a second at most: the server is told. Idempotent. */
void mongo_watch_close(struct mongo_watch *w);

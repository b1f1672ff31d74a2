/* A stream of documents: however many there are, with one batch of them in memory.
 *
 * The connection on which a cursor was opened is its own until its last batch has come, or it is closed: its getMores
 * go there. The first command is sent again if its connection breaks, as every read is; after that a break is the
 * stream's end, with an error. In a transaction it is the transaction's connection, and the cursor ends with it. The
 * source's time-out holds for each answer. Loop thread only; one task at a time. */
#pragma once

#include "drivers/mongo/calls/batch.h"
#include "drivers/mongo/calls/read.h"
#include "drivers/mongo/calls/transaction.h"

struct mongo_cursor {
	struct mongo_client *client;
	struct mongo_connection *connection; /* NULL: given back */
	struct mongo_transaction_part part;  /* of whose transaction it is */
	int64_t timeout_us;
	int32_t batch_size;
	bool from_request;
	bool outlived;              /* its transaction ended before it */
	struct mongo_answer answer; /* the memory of the batch */
	struct mongo_element_iter at;
	int64_t cursor; /* 0: there are no more batches */
	char collection[COLLECTION_MAX];
};

/* Suspends until the first documents are there. Returns 0: c is to be closed; or -errno with e filled. Options as those
 * of mongo_find and mongo_aggregate. */
int mongo_cursor_find(struct mongo_cursor *c, const struct mongo_target *t, const struct value *filter,
		      const struct value *options, struct error *e) must_check;
int mongo_cursor_aggregate(struct mongo_cursor *c, const struct mongo_target *t, const struct value *pipeline,
			   const struct value *options, struct error *e) must_check;
/* Suspends if a batch is through. Returns 1 with *out, a document that stays valid until the next call; 0: there are
 * no more; or -errno with e filled, which ends it. */
int mongo_cursor_next(struct mongo_cursor *c, struct mongo_element *out, struct error *e) must_check;
/* Suspends (shielded), for half a second at most: the server is told where there would be more. Idempotent. */
void mongo_cursor_close(struct mongo_cursor *c);

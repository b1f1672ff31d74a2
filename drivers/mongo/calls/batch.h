/* The batches in which a server hands out a cursor's documents. */
#pragma once

#include "drivers/mongo/calls/send.h"

enum { COLLECTION_MAX = 256 }; /* what MongoDB allows for a namespace, and a NUL */

struct mongo_batch {
	int64_t cursor;                 /* 0: the last one */
	struct mongo_element documents; /* an array, in the answer */
	const char *collection;         /* the cursor's, in the answer */
	struct mongo_element token;     /* of a change stream: where it is after this batch; type 0: none */
};

/* name is "firstBatch" or "nextBatch". Returns 0 or -errno with the error filled. */
int mongo_batch_read(const struct mongo_sending *a, const struct mongo_answer *answer, const char *name,
		     struct mongo_batch *out) must_check;
/* Suspends. The next batch of a cursor; size 0: as large as the server likes; await_ms above 0: for how long the
 * server waits for documents. Returns as mongo_send, and as mongo_batch_read (the answer is the caller's then, too). */
int mongo_batch_next(const struct mongo_sending *a, int64_t cursor, const char *collection, int32_t size,
		     int64_t await_ms, struct mongo_answer *answer, struct mongo_batch *out) must_check;
/* Suspends (shielded), for half a second at most: the server may forget the cursor. 0: there is none. */
void mongo_batch_kill(const struct mongo_sending *a, int64_t cursor, const char *collection);

/* The batches in which a server hands out a cursor's documents. */
#pragma once

#include "drivers/mongo/calls/ask.h"

enum { COLLECTION_MAX = 256 }; /* what MongoDB allows for a namespace, and a NUL */

struct batch {
	int64_t cursor;           /* 0: the last one */
	struct element documents; /* an array, in the answer */
	const char *collection;   /* the cursor's, in the answer */
	struct element token;     /* of a change stream: where it is after this batch; type 0: none */
};

/* name is "firstBatch" or "nextBatch". Returns 0 or -errno with the error filled. */
int batch_read(const struct asking *a, const struct answer *answer, const char *name, struct batch *out) must_check;
/* Suspends. The next batch of a cursor; size 0: as large as the server likes; await_ms above 0: for how long the
 * server waits for documents. Returns as mongo_ask, and as batch_read (the answer is the caller's then, too). */
int batch_next(const struct asking *a, int64_t cursor, const char *collection, int32_t size, int64_t await_ms,
	       struct answer *answer, struct batch *out) must_check;
/* Suspends (shielded), for half a second at most: the server may forget the cursor. 0: there is none. */
void batch_kill(const struct asking *a, int64_t cursor, const char *collection);

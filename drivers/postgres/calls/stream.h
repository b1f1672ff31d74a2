/* Rows one by one, however many there are: a cursor on the server, from which batches are fetched that are about as
 * large in bytes, whatever the rows are; of one that is larger no more than PG_ROWS_BYTES, a row and what libpq reads
 * at once are in memory, unless something else is asked in the transaction meanwhile: then all of it, up to
 * RESULT_MAX_BYTES. In a read-only transaction of its own, or within one. Loop thread only; one task at a time. */
#pragma once

#include "drivers/postgres/calls/transaction.h"

struct pg_stream {
	struct pg_held held;       /* by the transaction */
	struct pg_transaction *tx; /* NULL: it was never open, or is closed */
	struct pg_transaction own; /* where it is not within another */
	const char *call;          /* the public function, for messages: static */
	struct pg_layout *layout;
	struct result *current; /* the row that was handed out last */
	struct pg_rows rows;    /* that have come */
	unsigned number;        /* of the cursor */
	unsigned wanted;        /* rows, in the batch that is under way, or in the next one */
	bool fetched;           /* a batch was asked for, and its end was not seen yet */
	bool checked;           /* layout is that of the batch's rows */
	bool last;              /* there is no other batch */
};

/* Suspends. Begin to read on a connection of the stream's own. Returns 0, or -errno with e filled: it is closed then.
 * ask->expect and ask->writes are not used. */
int pg_stream_open(struct pg_stream *s, struct pg_client *c, const struct pg_ask *ask, struct error *e) must_check;
/* Suspends. The same within tx; tx's statements may be run while it is open. */
int pg_stream_open_within(struct pg_stream *s, struct pg_transaction *tx, const struct pg_ask *ask,
			  struct error *e) must_check;
/* Suspends. The next row, valid until the next call: 1; 0: there are no more; or -errno with e filled. */
int pg_stream_next(struct pg_stream *s, struct value *out, struct error *e) must_check;
/* Suspends if it is within a transaction. Idempotent. */
void pg_stream_close(struct pg_stream *s);

/* COPY: rows in bulk, into a table or out of one, in the form that the statement says. In a transaction of its own, or
 * within one, in which nothing else runs meanwhile. A connection that copies is not a pipe: it becomes one again when
 * the COPY was answered, whoever is there to see it. Little of the data is in memory: who writes waits for the server,
 * and what is not read yet is not taken from the socket. Loop thread only; one task at a time. */
#pragma once

#include "drivers/postgres/calls/transaction.h"
#include "drivers/postgres/types/bind.h"

struct pg_copy {
	struct pg_transaction *tx; /* NULL: it was never open, or is closed */
	struct pg_transaction own; /* where it is not within another */
	const char *call;          /* the public function, for messages: static */
	bool in;                   /* FROM STDIN */
	bool plain;                /* rows can be written */
	bool ended;                /* the server has answered it */
	bool from_request;         /* a stranger supplied some of the rows */
	size_t unflushed;          /* bytes, since the last look whether the server keeps up */
	char *data;                /* what was read last; libpq's */
	struct pg_parameters values;
	struct buf row;
};

/* What a COPY is asked for. */
struct pg_copy_ask {
	const char *call, *sql;
	size_t len;
	int64_t timeout_us; /* of each wait for the server; 0: none */
};

/* Suspends. Begin it on a connection of its own; TO STDOUT only reads. Returns 0, or -errno with e filled: it is closed
 * then. */
int pg_copy_open(struct pg_copy *c, struct pg_client *client, const struct pg_copy_ask *ask,
		 struct error *e) must_check;
/* Suspends. The same within tx, whose time-out holds. */
int pg_copy_open_within(struct pg_copy *c, struct pg_transaction *tx, const struct pg_copy_ask *ask,
			struct error *e) must_check;
/* Suspends. Bytes, as they are; rows may be cut anywhere. What the server has against them may show only at the end. */
int pg_copy_write(struct pg_copy *c, const void *p, size_t len, struct error *e) must_check;
/* Suspends. A row: the parts of list, which looks like one, in the text format. */
int pg_copy_row(struct pg_copy *c, const struct value *list, struct error *e) must_check;
/* Suspends. What comes next, a row or a part of the header, valid until the next call: its bytes; 0: the end. */
int64_t pg_copy_read(struct pg_copy *c, const void **out, struct error *e) must_check;
/* Suspends. All was written; what was not read is dropped. It is closed, whatever comes of it. Returns 0 with *rows, or
 * -errno with e filled: nothing of it was stored; or -EIO, saying that it may have been. */
int pg_copy_end(struct pg_copy *c, int64_t *rows, struct error *e) must_check;
/* Suspends (shielded) if it is within a transaction, which fails where that was too early. Nothing is stored, unless
 * pg_copy_end has. Idempotent. */
void pg_copy_close(struct pg_copy *c);

/* The statements that handlers write as text at run time, as a worker knows them. They are found by what they say: a
 * bounded number of them, the one that was used longest ago making room for a new one. What a server knows of one that
 * has gone is dropped when another takes its place (pg_pipeline_deallocate). Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "drivers/postgres/wire/statement.h"

enum {
	PG_TEXTS_KEPT = 1024,
	PG_TEXT_BYTES_KEPT = 8 << 20, /* of texts, in all */
	PG_TEXT_BUCKETS = 1024,
};

struct pg_text {
	struct list recent;   /* in its client's list */
	struct pg_text *next; /* in its bucket */
	struct pg_action action;
	struct pg_statement *statement;
	uint64_t hash;
	bool kept; /* it can be found: else it goes with its last user */
	size_t len;
	char text[]; /* as the handler wrote it */
};

struct pg_texts {
	struct list recent; /* the one that was used last is the first */
	unsigned count;
	size_t bytes;
	struct pg_text *buckets[PG_TEXT_BUCKETS];
};

/* The statement of that text, for reading or for what may write; pg_statement_drop gives it back. NULL: *why (static)
 * says what is wrong with it. */
struct pg_statement *pg_text_of(struct pg_client *c, const char *text, size_t len, bool read_only, const char **why);
/* A statement of its own for one run of st's text, without a name on the server; pg_statement_drop gives it back. */
struct pg_statement *pg_text_copy(struct pg_client *c, const struct pg_statement *st);
void pg_texts_done(struct pg_client *c);

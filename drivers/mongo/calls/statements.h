/* Writes: any number of inserts, updates and deletes, sent in as few commands as MongoDB's limits allow, each once.
 *
 * Each statement is encoded when it is added; the commands are put together of runs of statements of one kind. Ordered,
 * they are sent in their order, and the first that fails is the last that is tried; unordered, all inserts go first,
 * then updates, then deletes, and all are tried. Loop thread only. */
#pragma once

#include "drivers/mongo/calls/options.h"
#include "drivers/mongo/calls/result.h"
#include "drivers/mongo/calls/run.h"

enum statement_kind { STATEMENT_INSERT, STATEMENT_UPDATE, STATEMENT_DELETE, STATEMENT_KINDS };

struct statement {
	enum statement_kind kind;
	size_t at, len; /* of its document in `bytes` */
};

struct statements {
	struct document_maker maker; /* writes to bytes */
	struct buf bytes;
	struct buf beside; /* elements of every command: comment, let */
	struct statement *items;
	uint32_t count, capacity;
	bool ordered;
	/* What came of them. */
	int64_t inserted, matched, modified, deleted;
	struct buf upserted_bytes;
	struct bson_out upserted; /* an array of {index, id}, in upserted_bytes */
	uint32_t upserts;
};

/* What a filter is to be done to. */
struct statement_change {
	const struct value *filter;
	const struct value *change; /* NULL: it deletes */
	enum document_use use;      /* DOCUMENT_UPDATE or DOCUMENT_STORED */
	bool many;
	const struct value *options;
	enum option_set set;
	const char *const *besides; /* options_put's */
};

/* Ordered, until said otherwise. */
void statements_init(struct statements *s, struct error *e);
void statements_done(struct statements *s);
/* The options that stand beside the statements, and `ordered`. These and the next return 0; or -EINVAL with the error
 * filled, as document_put does. */
int statements_options(struct statements *s, const struct value *options, enum option_set set) must_check;
/* An _id is made for a document that has none. */
int statements_insert(struct statements *s, const struct value *document) must_check;
int statements_update(struct statements *s, const struct statement_change *c) must_check;
int statements_delete(struct statements *s, const struct statement_change *c) must_check;
/* Suspends. Send them all. Returns 0 with the outcome in s; or -errno with e filled: it says which one failed and how
 * many were done. */
int statements_run(struct statements *s, const struct mongo_target *t, struct error *e) must_check;

/* The _id of an insert. */
struct element statements_id(const struct statements *s, uint32_t index);

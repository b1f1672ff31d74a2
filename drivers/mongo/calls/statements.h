/* Writes: any number of inserts, updates and deletes, sent in as few commands as MongoDB's limits allow, each once.
 *
 * Each statement is encoded when it is added; the commands are put together of runs of statements of one kind. Ordered,
 * they are sent in their order, and the first that fails is the last that is tried; unordered, all inserts go first,
 * then updates, then deletes, and all are tried. Loop thread only. */
#pragma once

#include "drivers/mongo/calls/options.h"
#include "drivers/mongo/calls/read.h"
#include "drivers/mongo/calls/result.h"

enum mongo_statement_kind { STATEMENT_INSERT, STATEMENT_UPDATE, STATEMENT_DELETE, STATEMENT_KINDS };

struct mongo_statement {
	enum mongo_statement_kind kind;
	size_t at, len; /* of its document in `bytes` */
};

struct mongo_statements {
	struct mongo_document_maker maker; /* writes to bytes */
	struct buf bytes;
	struct buf beside; /* elements of every command: comment, let */
	struct mongo_statement *items;
	uint32_t count, capacity;
	bool ordered;
	bool listed; /* a client gave them as a list: a failure says which of them it is about */
	/* What came of them. */
	int64_t inserted, matched, modified, deleted;
	struct buf upserted_bytes;
	struct mongo_out upserted; /* an array of {index, id}, in upserted_bytes */
	uint32_t upserts;
};

/* What a filter is to be done to. */
struct mongo_statement_change {
	const struct value *filter;
	const struct value *change;  /* NULL: it deletes */
	enum mongo_document_use use; /* DOCUMENT_UPDATE or DOCUMENT_STORED */
	bool many;
	const struct value *options;
	enum mongo_option_set set;
	const char *const *besides; /* mongo_options_put's */
};

/* Ordered, until said otherwise. */
void mongo_statements_init(struct mongo_statements *s, struct error *e);
void mongo_statements_done(struct mongo_statements *s);
/* The options that stand beside the statements, and `ordered`. These and the next return 0; or -EINVAL with the error
 * filled, as mongo_document_put does. */
int mongo_statements_options(struct mongo_statements *s, const struct value *options,
			     enum mongo_option_set set) must_check;
/* An _id is made for a document that has none. */
int mongo_statements_insert(struct mongo_statements *s, const struct value *document) must_check;
int mongo_statements_update(struct mongo_statements *s, const struct mongo_statement_change *c) must_check;
int mongo_statements_delete(struct mongo_statements *s, const struct mongo_statement_change *c) must_check;
/* The same for a document that the caller writes to s->bytes itself, between the two: begin returns where it stands,
 * end takes that. An insert's gets an _id, as above. What a failure leaves behind begin is ended by statements_done. */
size_t mongo_statements_begin(struct mongo_statements *s);
void mongo_statements_end(struct mongo_statements *s, enum mongo_statement_kind kind, size_t at);

/* The _id of an insert. */
struct mongo_element mongo_statements_id(const struct mongo_statements *s, uint32_t index);

/* Documents that a handler built, as BSON: filters, updates, pipelines, what is to be stored.
 *
 * What a handler made itself (VALUE_DOCUMENT, VALUE_LIST) is trusted: its names may be operators. Everything in it that
 * a request, a database or a JSON text brought is data: it brings no operators at any depth, names no field where
 * MongoDB expects an expression, and never runs as JavaScript; a request's objects and arrays are refused unless they
 * were declared as such. Loop thread; nothing here suspends. */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "base/value.h"
#include "drivers/mongo/bson/bson.h"

enum mongo_document_use {
	DOCUMENT_STORED,     /* inserted, or put in place of another: no operators */
	DOCUMENT_FILTER,     /* texts are texts */
	DOCUMENT_UPDATE,     /* {"$set": …}, or a pipeline */
	DOCUMENT_EXPRESSION, /* a text that begins with "$" names a field: projection, sort */
	DOCUMENT_PIPELINE,   /* a list of stages */
};

struct document_level;

struct mongo_document_maker {
	struct mongo_out out;
	struct buf *bytes;
	struct arena scratch; /* of one document */
	struct document_level *levels;
	const char *what;  /* that is being written: "the filter" */
	bool from_request; /* a value of the request was written */
	bool writes;       /* a pipeline with $out or $merge was written */
	struct error *error;
};

/* Begin to write to bytes. */
void mongo_document_maker_init(struct mongo_document_maker *m, struct buf *bytes, struct error *e);
void mongo_document_maker_done(struct mongo_document_maker *m);

/* Append v under that name. NULL and null are refused: no filter at all would be every document. what is static: "the
 * filter". Returns 0; or -EINVAL with the error filled: 400 if a value of the request is wrong, 500 if the
 * handler's own is. */
int mongo_document_put(struct mongo_document_maker *m, const char *name, const struct value *v,
		       enum mongo_document_use use, const char *what) must_check;
/* The same for any value, which is data. */
int mongo_document_put_value(struct mongo_document_maker *m, const char *name, const struct value *v,
			     const char *what) must_check;
/* The failure of the document that is being written; theirs: a request's value is wrong. Returns -EINVAL. */
/* In a format after UNFIT_NOT_LIST and UNFIT_NOT_DOCUMENT: it came from elsewhere, whole. */
#define MADE_HERE " that the handler made"
int mongo_document_refuse(struct mongo_document_maker *m, bool theirs, const char *format, ...) printf_like(3, 4);

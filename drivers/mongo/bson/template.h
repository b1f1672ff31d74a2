/* Documents with references in them: checked and mostly encoded when the configuration is loaded, filled in a request.
 *
 * A document that a step declares (filter, projection, sort, a pipeline) becomes a list of parts: runs of elements that
 * are encoded already, the beginnings and ends of documents that hold references, and the references themselves. */
#pragma once

#include "base/arena.h"
#include "base/error.h"
#include "config/node.h"
#include "drivers/driver.h"
#include "drivers/mongo/bson/convert.h"

enum mongo_template_use {
	TEMPLATE_FILTER,          /* texts are texts */
	TEMPLATE_FILTERS,         /* an array of filters */
	TEMPLATE_EXPRESSION,      /* a text that begins with "$" names a field: projection, sort */
	TEMPLATE_PIPELINE,        /* an array of stages */
	TEMPLATE_STORED,          /* a document without operators, or one reference to it */
	TEMPLATE_STORED_LIST,     /* an array of these, or one reference to it */
	TEMPLATE_PATCH,           /* as TEMPLATE_STORED: names are parts of paths, and _id is refused */
	TEMPLATE_UPDATE,          /* { $set: … }: what stands below an operator is paths and values */
	TEMPLATE_UPDATE_PIPELINE, /* an array of the stages that may update */
	TEMPLATE_USES
};

struct template_part;

struct mongo_template {
	const struct template_part *parts; /* of one document's elements, or of one array's */
	size_t count;
	bool writes;   /* TEMPLATE_PIPELINE: has $out or $merge */
	uint8_t whole; /* it is one reference: the BSON type that its value must have; 0: it is not */
	bool patch;
};

/* Check n and compile it. What is wrong goes to env->diagnostics; false then. Main thread. */
bool mongo_template_compile(struct mongo_template *out, const struct node *n, enum mongo_template_use use,
			    struct action_env *env);
/* Append the document (or array) to out. Returns 0; or -EINVAL with e filled: 400 if a value of the request is
 * wrong, 500 if another step's is. Any thread; does not suspend. */
int mongo_template_fill(const struct mongo_template *t, const struct value *args, struct arena *scratch,
			struct buf *out, struct error *e) must_check;

/* A number that is not negative: limit, skip. */
struct mongo_number_template {
	bool present;
	int slot; /* of the reference; -1: fixed */
	const char *reference;
	int64_t fixed;
};

/* n may be NULL: absent. The configuration has judged a fixed one already. */
bool mongo_number_compile(struct mongo_number_template *out, const struct node *n, const char *name,
			  struct action_env *env);
/* *out is -1 if the number is absent or null. Returns 0 or -EINVAL with e filled. */
int mongo_number_fill(const struct mongo_number_template *t, const struct value *args, int64_t *out,
		      struct error *e) must_check;

/* A name that may hold no reference: a collection, a field. NULL if it is wrong. */
const char *mongo_name_compile(const struct node *n, const char *what, struct action_env *env);

/* What handlers ask of a source whose documents they change.
 *
 * Every write is sent once: if the connection breaks, or the time is over, before its answer has come, the error
 * says that it may or may not have happened. */
#pragma once

#include "drivers/mongo/calls/read.h"

/* Each suspends, and returns 0 and *out, a document that the caller frees, or -errno with e filled: -EEXIST (409) if
 * a key exists already, -EINVAL (422) if a document does not conform to the collection's rules. options may be NULL;
 * which there are: options.c. */

/* {inserted_id}: the document's _id, made here where it has none. */
int mongo_insert_one(const struct mongo_target *t, const struct value *document, struct result **out,
		     struct error *e) must_check;
/* {inserted_count, inserted_ids}. */
int mongo_insert_many(const struct mongo_target *t, const struct value *documents, const struct value *options,
		      struct result **out, struct error *e) must_check;

enum mongo_update { UPDATE_ONE, UPDATE_MANY, REPLACE_ONE };
/* {matched_count, modified_count, upserted_id}. */
int mongo_update(const struct mongo_target *t, enum mongo_update kind, const struct value *filter,
		 const struct value *change, const struct value *options, struct result **out,
		 struct error *e) must_check;
/* {deleted_count}. */
int mongo_delete(const struct mongo_target *t, bool many, const struct value *filter, struct result **out,
		 struct error *e) must_check;

/* Many writes of all kinds in one call. Sent once, as every write (write.h). */
#pragma once

#include "drivers/mongo/calls/read.h"

/* operations: a list of {insert_one: {document}}, {update_one: {filter, update, …}}, {update_many: …}, {replace_one:
 * {filter, replacement, …}}, {delete_one: {filter, …}}, {delete_many: …}. {inserted_count, matched_count,
 * modified_count, deleted_count, upserted_ids}, the last a list of {index, id}. */
int mongo_bulk(const struct mongo_target *t, const struct value *operations, const struct value *options,
	       struct result **out, struct error *e) must_check;

/* Changing one document and getting it in one step. Sent once, as every write (write.h). */
#pragma once

#include "drivers/mongo/calls/read.h"

enum mongo_find_one_and { AND_UPDATE, AND_REPLACE, AND_DELETE };
/* The document as it was before (or, if the options ask for it, after) the change, or null. change: NULL with
 * AND_DELETE. */
int mongo_find_one_and(const struct mongo_target *t, enum mongo_find_one_and kind, const struct value *filter,
		       const struct value *change, const struct value *options, struct result **out,
		       struct error *e) must_check;

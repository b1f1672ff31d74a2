/* Changing one document and getting it in one step. Sent once, as every write (write.h). */
#pragma once

#include "drivers/mongo/calls/read.h"

enum mongo_find_one_and { AND_UPDATE, AND_REPLACE, AND_DELETE };
/* The document as it was before (or, if the options ask for it, after) the change, or null. change: NULL with
 * AND_DELETE. */
int mongo_find_one_and(const struct mongo_target *t, enum mongo_find_one_and kind, const struct value *filter,
		       const struct value *change, const struct value *options, struct result **out,
		       struct error *e) must_check;

/* The same for a command that was made (findAndModify); takes it over. *n: how many documents it has changed, stored or
 * removed: 0 or 1. */
int mongo_modify(struct client *client, const struct run_options *options, struct mongo_command *command, int64_t *n,
		 struct result **out, struct error *e) must_check;

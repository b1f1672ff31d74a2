/* Commands that read, made at run time from what a handler gives: as action.h's from what a step declares. */
#pragma once

#include "drivers/mongo/calls/action.h"
#include "drivers/mongo/calls/options.h"

struct mongo_reading {
	struct mongo_action action; /* its kind, what is expected, whether it writes */
	struct mongo_command command;
	struct mongo_choices choices;
};

/* What a stream of documents asks for: batches of its size, and no maxTimeMS, which would be counted over the whole
 * life of its cursor. */
enum mongo_delivery { DELIVER_WHOLE, DELIVER_STREAM };

/* Each returns 0; or -EINVAL with e filled: 400 if a value of the request is wrong, 500 if the handler's own is.
 * mongo_reading_done also after a failure. Nothing suspends. */
int mongo_reading_find(struct mongo_reading *r, const char *collection, const struct value *filter,
		       const struct value *options, bool one, enum mongo_delivery delivery, struct error *e) must_check;
int mongo_reading_aggregate(struct mongo_reading *r, const char *collection, const struct value *pipeline,
			    const struct value *options, enum mongo_delivery delivery, struct error *e) must_check;
/* one_by_one: even if all of a collection are wanted: transactions have no `count`. */
int mongo_reading_count(struct mongo_reading *r, const char *collection, const struct value *filter,
			const struct value *options, bool one_by_one, struct error *e) must_check;
int mongo_reading_distinct(struct mongo_reading *r, const char *collection, const char *field,
			   const struct value *filter, struct error *e) must_check;
void mongo_reading_done(struct mongo_reading *r);

/* A collection's name, or a field's. Returns 0 or -EINVAL with e filled. */
int mongo_name_check(const char *name, const char *what, struct error *e) must_check;

/* The size of a stream's first batch, which should be there soon, and of those that follow, if none was asked for.
 */
enum { FIRST_BATCH = 32, NEXT_BATCH = 256 };

/* The options of a handler's operations: a document of names that are documented, each translated into MongoDB's own.
 * An unknown one is refused, with the nearest right one. */
#pragma once

#include "drivers/mongo/bson/document.h"

/* Those that are not simply written into the command. */
struct mongo_choices {
	int64_t limit, skip, batch_size; /* -1: not given */
	bool ordered;                    /* true unless given */
	bool upsert;
	bool after; /* return: "after" */
};

/* Which operation has which. */
enum mongo_option_set {
	OPTIONS_FIND = 1 << 0,
	OPTIONS_AGGREGATE = 1 << 1,
	OPTIONS_COUNT = 1 << 2,
	OPTIONS_INSERT = 1 << 3,
	OPTIONS_UPDATE = 1 << 4,
	OPTIONS_REPLACE = 1 << 5,
	OPTIONS_FIND_AND_UPDATE = 1 << 6,
	OPTIONS_FIND_AND_REPLACE = 1 << 7,
	OPTIONS_FIND_AND_DELETE = 1 << 8,
	OPTIONS_BULK = 1 << 9,
	OPTIONS_BULK_UPDATE = 1 << 10, /* of one update in a bulk */
	OPTIONS_BULK_REPLACE = 1 << 11,
	OPTIONS_BULK_DELETE = 1 << 12,
	OPTIONS_WATCH = 1 << 13,
};

enum mongo_option_target {
	OPTION_OF_COMMAND = 1,   /* comment, let: stand beside the statements */
	OPTION_OF_STATEMENT = 2, /* hint, collation, array_filters: stand in each */
	OPTION_OF_STAGE = 4,     /* of $changeStream */
	OPTION_OF_START = 8,     /* the same, but only of the first one: where a change stream begins */
};

/* A choice of nothing. */
#define MONGO_CHOICES_NONE ((struct mongo_choices){.limit = -1, .skip = -1, .batch_size = -1, .ordered = true})

/* Judge the options, which may be NULL, and write those of `targets` to m. Members of the names in `besides` (which
 * ends with NULL; NULL: none) are the caller's. Returns 0 or -EINVAL with m's error filled. */
int mongo_options_put(struct mongo_document_maker *m, const struct value *options, enum mongo_option_set set,
		      unsigned targets, const char *const *besides, struct mongo_choices *out) must_check;

/* What a configuration says of a mongodb source and of its steps, beside what it says of any. */
#pragma once

#include "config/config.h"

enum mongo_json { MONGO_JSON_PLAIN, MONGO_JSON_RELAXED };

/* What `own` of its config_source points to. */
struct mongo_source_keys {
	enum mongo_json json;
};

/* Of a step; action_value is the collection's name. */
enum mongo_action_kind {
	ACTION_FIND,
	ACTION_FIND_ONE,
	ACTION_AGGREGATE,
	ACTION_COUNT,
	ACTION_DISTINCT,
	ACTION_INSERT_ONE, /* this one and those that follow write */
	ACTION_INSERT_MANY,
	ACTION_UPDATE_ONE,
	ACTION_UPDATE_MANY,
	ACTION_REPLACE_ONE,
	ACTION_DELETE_ONE,
	ACTION_DELETE_MANY,
	ACTION_FIND_ONE_AND_UPDATE,
	ACTION_FIND_ONE_AND_REPLACE,
	ACTION_FIND_ONE_AND_DELETE,
	ACTION_TRANSACTION, /* the steps stand in `inner` */
};

/* Which document find_one_and_update and find_one_and_replace bring. */
enum mongo_return { RETURN_BEFORE, RETURN_AFTER };

/* What `own` of a config_step points to. NULL: absent. */
struct mongo_step_keys {
	const struct node *filter, *projection, *sort, *limit, *skip, *pipeline;
	const struct node *key; /* of distinct */
	const struct node *document, *documents, *update, *replacement, *array_filters, *hint;
	bool upsert, ordered;
	enum mongo_return returned;
	unsigned attempts; /* of a transaction; 0: not given */
};

extern const struct source_kind mongo_kind;

/* BSON values on their way between steps: what has a native form takes it, the rest stays a foreign value. */
#pragma once

#include "base/value.h"
#include "drivers/mongo/bson/bson.h"
#include "drivers/mongo/keys.h"

/* As value_follow; count may be 0. The value points into e's bytes or into a. */
struct value mongo_follow(const struct mongo_element *e, enum mongo_json mode, const struct path_segment *segments,
			  size_t count, struct arena *a);
/* The value operations of BSON values on their way between steps: `foreign` points to the value, `len` is its length,
 * `subtype` its type. One for each of the two renderings. */
extern const struct value_ops mongo_value_ops_plain, mongo_value_ops_relaxed;
bool mongo_value_is_bson(const struct value *v);
struct mongo_element mongo_value_element(const struct value *v);

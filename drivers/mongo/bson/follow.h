/* The way of a reference into BSON: what has a native form takes it, the rest stays a foreign value. */
#pragma once

#include "base/value.h"
#include "config/config.h"
#include "drivers/mongo/bson/bson.h"

/* As value_follow; count may be 0. The value points into e's bytes or into a. */
struct value bson_follow(const struct element *e, enum mongo_json mode, const struct path_segment *segments,
			 size_t count, struct arena *a);
/* For the value_ops of BSON that stays BSON. */
struct value bson_value_follow_plain(const struct value *v, const struct path_segment *segments, size_t count,
				     struct arena *a);
struct value bson_value_follow_relaxed(const struct value *v, const struct path_segment *segments, size_t count,
				       struct arena *a);
/* The same for their parts: of documents, arrays and timestamps ({t, i}). */
size_t bson_value_parts_plain(const struct value *v, struct arena *a, const struct value_member **out);
size_t bson_value_parts_relaxed(const struct value *v, struct arena *a, const struct value_member **out);

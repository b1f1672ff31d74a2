/* Values of references as BSON: what they may bring, and what they become.
 *
 * A value is data, wherever it comes from: an object with a member that begins with "$" is refused at any depth, and an
 * object or array of a request is refused altogether unless its parameter was declared as such; in a step's document it
 * must have been declared itself, and not only what it stands in. A VALUE_DOCUMENT that is not from_request is what a
 * handler wrote: its own names may be operators, and what is in it is judged value by value.
 *
 * Numbers: integers become int32 or int64, whatever else JSON or a driver brought the nearest double; the digits that a
 * handler gave (NUMBER_EXACT) Decimal128, refused beyond its 34. Bytes are binary of the generic subtype. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/value.h"
#include "drivers/mongo/bson/bson.h"

/* What a value becomes: what it is, or what an extended form around it says. */
enum mongo_conversion {
	AS_IS,
	AS_OBJECTID,
	AS_DATE,
	AS_DECIMAL,
	AS_INT64,
	AS_INT32,
	AS_DOUBLE,
	AS_BINARY, /* base64 */
	AS_UUID,
	AS_REGEX,
	CONVERSIONS
};

/* What the names in a value may be. None ever begins with "$". */
enum mongo_names {
	NAMES_ANY,
	NAMES_BELOW, /* a request's are not empty, and have no "." */
	NAMES_PATHS, /* nor have those on the top level, whoever brought them: each is a path */
};

struct mongo_converter {
	struct mongo_out *out;
	struct arena *arena; /* scratch */
	bool strict;         /* what of a request has parts must have been declared itself */
	enum mongo_names names;
	const char *why; /* after a failure: what is wrong with the value, "is not an ObjectId" */
	bool dollar;     /* a string that begins with "$" was written: in an expression it would name a field */
};

/* Write v under that key. `detail`: AS_BINARY: the subtype as one byte; AS_REGEX: the options; else NULL. Null stays
 * null whatever the conversion. Returns 0 or -EINVAL with c->why. What was written before a failure stays. */
int mongo_convert(struct mongo_converter *c, const char *key, size_t key_len, const struct value *v,
		  enum mongo_conversion as, const char *detail) must_check;

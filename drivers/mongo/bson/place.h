/* Where a value stands in a query or a pipeline: what MongoDB would make of a text there. Any thread. */
#pragma once

#include <stdbool.h>

struct mongo_place {
	bool expression;        /* a text that begins with "$" would name a field */
	const char *top;        /* the outermost operator around; "" */
	const char *around;     /* the key of the document it stands in; "" */
	const char *javascript; /* the operator around that runs JavaScript, or NULL */
};

/* What stands below key, by the operators on the way. key outlives the place. */
struct mongo_place mongo_place_below(const struct mongo_place *around, const char *key, bool pipeline);
/* Is key a stage that writes ($out, $merge)? */
bool mongo_place_is_writing_stage(const char *key);

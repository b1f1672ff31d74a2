/* The operators that change what a value below them means. */
#include "drivers/mongo/bson/place.h"

#include <stddef.h>
#include <string.h>

#include "base/compiler.h"

struct mongo_place mongo_place_below(const struct mongo_place *around, const char *key, bool pipeline)
{
	static const struct {
		const char *around, *key; /* around NULL: anywhere */
	} queries[] = {{NULL, "$match"}, {"$geoNear", "query"}, {"$graphLookup", "restrictSearchWithMatch"}};
	static const char *const scripts[] = {"$where", "$function", "$accumulator"};
	struct mongo_place below = {.expression = around->expression, .around = key, .javascript = around->javascript};

	below.top = around->top && *around->top ? around->top : *key == '$' ? key : "";

	for (size_t i = 0; pipeline && i < ARRAY_SIZE(queries); i++) {
		if (strcmp(key, queries[i].key) == 0 &&
		    (!queries[i].around || strcmp(queries[i].around, around->around) == 0))
			below.expression = false;
	}
	if (strcmp(key, "$expr") == 0)
		below.expression = true;
	if (strcmp(key, "$literal") == 0)
		below.expression = false;
	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		if (strcmp(key, scripts[i]) == 0)
			below.javascript = scripts[i];
	}
	return below;
}

bool mongo_place_is_writing_stage(const char *key)
{
	return strcmp(key, "$out") == 0 || strcmp(key, "$merge") == 0;
}

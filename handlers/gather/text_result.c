/* Cached values as results. */
#include "handlers/gather/text_result.h"

#include "drivers/json_result.h"

static void drop(void *owner)
{
	cached_drop(owner);
}

struct result *text_result_new(struct cached *v)
{
	return json_result_new(v->text, v->len, v->rows, drop, v);
}

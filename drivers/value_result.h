/* A result that is one value, made once: what handlers get where JSON text would not do (bytes, a text as it is). */
#pragma once

#include "drivers/result.h"

struct value_result {
	struct result base;
	struct value value;
	struct arena arena; /* what value points into: this … */
	struct buf text;    /* … or this, on the heap */
};

/* With null in it, and both memories empty: to be filled. result_free(&r->base) frees it. */
struct value_result *value_result_new(void);

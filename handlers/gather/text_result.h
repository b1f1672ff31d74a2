/* A cached value as a step's result: JSON text, parsed only if a reference looks inside. */
#pragma once

#include "drivers/result.h"
#include "handlers/web/cache.h"

/* Takes v over. */
struct result *text_result_new(struct cached *v);

/* POST /-/reload: read the configuration again, and answer with what became of that. */
#pragma once

#include "handlers/web/exchange.h"

/* The body, which may be empty: {"force": true, "check": true, "timeout_ms": 60000}. Answers 200 with the generation
 * that serves; 422 if it was refused, with every diagnostic; 409 if a reload is still under way at the time-out; 503 if
 * the daemon ends. From a task. */
void reload_page(struct exchange *x);

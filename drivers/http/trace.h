/* W3C Trace Context: the traceparent that a call takes along. */
#pragma once

#include <stdint.h>

#include "base/arena.h"

/* A random number; *state is not 0. Not for secrets. */
uint64_t trace_random(uint64_t *state);
/* parent with a new span id, in a; NULL where it is no traceparent. */
const char *trace_child(const char *parent, struct arena *a, uint64_t *random);

/* W3C Trace Context: the traceparent and the tracestate that a call takes along. */
#pragma once

#include <stdint.h>

#include "base/arena.h"

enum {
	TRACE_MAX_MEMBERS = 32,
	TRACE_MAX_KEY_BYTES = 256,
	TRACE_MAX_VALUE_BYTES = 256,
};

/* A random number; *state is not 0. Not for secrets. */
uint64_t trace_random(uint64_t *state);
/* parent with a new span id, in a, as version 00 spells it; of the flags those that are defined. NULL: it is not a
 * traceparent, of version 00 or a later one. */
const char *trace_child(const char *parent, struct arena *a, uint64_t *random);
/* The members of a tracestate as one list, in a, without empty members and blanks around them. NULL: there are none, or
 * one is not well-formed, or they are more than 32: then nothing of it is passed on. */
const char *trace_state(const char *list, struct arena *a);

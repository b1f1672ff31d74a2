/* What a request, a background task or a module's start has taken and not given back yet: semaphores and mutexes. In
 * debug mode only. */
#pragma once

#include "handlers/module/scope.h"

/* A permit of a semaphore, or a mutex, was taken; what is its address, kind "semaphore". */
void hold_taken(struct gd_scope *s, const char *kind, const void *what);
/* … and given back, by whoever has it: taking and giving back may be done by different tasks of one request. */
void hold_given(struct gd_scope *s, const void *what);
/* The scope's end has closed what was left open; kind: "cursor". */
void hold_left_open(const char *kind);

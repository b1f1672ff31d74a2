/* A result that is JSON text, parsed only if a reference looks inside. */
#pragma once

#include "drivers/result.h"

/* text must be valid JSON and live until drop(owner) is called, when the result is freed. */
struct result *json_result_new(const char *text, size_t len, size_t rows, void (*drop)(void *owner), void *owner);
/* The same of bytes on the heap, which are taken over. */
struct result *json_result_take(struct buf *text, size_t rows);

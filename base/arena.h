/* Memory that is freed all at once: a request's values, a configuration.
 *
 * An arena hands out pieces of large blocks; nothing is freed on its own. One thread at a time. Pieces are aligned for
 * any object. arena_reset keeps a
 * block of moderate size, so that a pooled arena costs no malloc a request. */
#pragma once

#include <stddef.h>

#include "base/compiler.h"

struct arena_block;

struct arena {
	struct arena_block *head; /* the block that is being filled; older ones behind it */
	size_t used;              /* bytes handed out, all blocks */
};

void arena_init(struct arena *a);
void arena_done(struct arena *a);
/* Forget everything that was handed out. */
void arena_reset(struct arena *a);

void *arena_alloc(struct arena *a, size_t size) __attribute__((alloc_size(2), returns_nonnull));
void *arena_zalloc(struct arena *a, size_t size) __attribute__((alloc_size(2), returns_nonnull));
void *arena_array(struct arena *a, size_t count, size_t size) __attribute__((alloc_size(2, 3), returns_nonnull));
/* Copies end with a NUL that is not counted. */
char *arena_strndup(struct arena *a, const char *s, size_t n) __attribute__((returns_nonnull));
char *arena_strdup(struct arena *a, const char *s) __attribute__((returns_nonnull));
char *arena_printf(struct arena *a, const char *format, ...) printf_like(2, 3) __attribute__((returns_nonnull));

/* Memory that is freed all at once. Blocks grow with what was used, so that a large configuration takes few of them. */
#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { FIRST_BLOCK_BYTES = 4096 - 64, LARGEST_STEP_BYTES = 256 * 1024, LARGEST_KEPT_BYTES = 32 * 1024 };

struct arena_block {
	struct arena_block *older;
	size_t size, used;
	_Alignas(max_align_t) char data[];
};

void arena_init(struct arena *a)
{
	*a = (struct arena){0};
}

void arena_done(struct arena *a)
{
	for (struct arena_block *b = a->head, *older; b; b = older) {
		older = b->older;
		free(b);
	}
	arena_init(a);
}

void arena_reset(struct arena *a)
{
	/* The newest block is the largest: next time it may hold everything. */
	struct arena_block *kept = a->head;
	while (kept && kept->size > LARGEST_KEPT_BYTES) {
		struct arena_block *older = kept->older;
		free(kept);
		kept = older;
	}
	for (struct arena_block *b = kept ? kept->older : NULL, *older; b; b = older) {
		older = b->older;
		free(b);
	}
	if (kept) {
		kept->older = NULL;
		kept->used = 0;
	}
	a->head = kept;
	a->used = 0;
}

static struct arena_block *add_block(struct arena *a, size_t at_least)
{
	size_t size = a->head ? a->head->size * 2 : FIRST_BLOCK_BYTES;
	if (size > LARGEST_STEP_BYTES)
		size = LARGEST_STEP_BYTES;
	if (size < at_least)
		size = at_least;
	struct arena_block *b = mem_alloc(sizeof(*b) + size);
	*b = (struct arena_block){.older = a->head, .size = size};
	a->head = b;
	return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
	size_t rounded = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
	struct arena_block *b = a->head;
	if (rounded < size)
		mem_overflow();
	if (!b || b->size - b->used < rounded)
		b = add_block(a, rounded);
	void *p = b->data + b->used;
	b->used += rounded;
	a->used += rounded;
	return p;
}

void *arena_zalloc(struct arena *a, size_t size)
{
	return memset(arena_alloc(a, size), 0, size);
}

void *arena_array(struct arena *a, size_t count, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, size, &bytes))
		mem_overflow();
	return arena_zalloc(a, bytes);
}

char *arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *copy = arena_alloc(a, n + 1);
	if (n)
		memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
	return arena_strndup(a, s, strlen(s));
}

char *arena_printf(struct arena *a, const char *format, ...)
{
	va_list ap, again;
	va_start(ap, format);
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, format, ap);
	va_end(ap);
	size_t size = n < 0 ? 1 : (size_t)n + 1;
	char *text = arena_alloc(a, size);
	text[0] = '\0';
	vsnprintf(text, size, format, again);
	va_end(again);
	return text;
}

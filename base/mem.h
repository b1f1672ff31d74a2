/* Heap memory that is there or ends the process.
 *
 * h2o and libmongoc abort when malloc fails, so no caller of theirs can survive it; what a stranger can make us
 * allocate is bounded by limits instead (body_limit, max_requests, pool sizes). These wrappers keep that one policy in
 * one place: they never return NULL. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
void *mem_zalloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull)); /* zeroed */
void *mem_realloc(void *p, size_t size) __attribute__((alloc_size(2), returns_nonnull));
/* For count objects of size bytes; a product that overflows ends the process too. */
void *mem_array(size_t count, size_t size) __attribute__((malloc, alloc_size(1, 2), returns_nonnull));
void *mem_realloc_array(void *p, size_t count, size_t size) __attribute__((alloc_size(2, 3), returns_nonnull));
/* Make room for `needed` items in the array `items`, which has `capacity`: at least twice what it had. Both are
 * assigned to. */
#define mem_reserve(items, capacity, needed)                                                                           \
	do {                                                                                                           \
		if ((capacity) < (needed)) {                                                                           \
			(capacity) = (__typeof__(capacity))mem_capacity((capacity), (needed));                         \
			(items) = mem_realloc_array((items), (capacity), sizeof(*(items)));                            \
		}                                                                                                      \
	} while (0)
/* What an array that has that capacity grows to. */
static inline size_t mem_capacity(size_t capacity, size_t needed)
{
	size_t doubled = capacity ? 2 * capacity : 16;
	return doubled > needed ? doubled : needed;
}
/* A size that does not fit size_t: ends the process. */
_Noreturn void mem_overflow(void);
/* Give memory that was freed some seconds ago back to the kernel: what is due by now, a little in each call, so that
 * none takes long. jemalloc does this by itself only while it is called; an idle process calls it here. Cheap if
 * another thread has just done it. */
void mem_decay(void);
/* The calling thread will allocate nothing for a while: give up what is kept for it. It is due later. */
void mem_rest(void);
/* The process is quiet: give back at once what mem_decay has left. */
void mem_purge(void);
char *mem_strdup(const char *s) __attribute__((malloc, returns_nonnull));
char *mem_strndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));

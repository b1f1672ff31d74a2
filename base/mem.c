/* Heap memory that is there or ends the process: see mem.h for why. And how what is free of it goes back to the kernel:
 * jemalloc keeps freed pages for a while, and returns them while it is called. */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/deadline.h"

static _Noreturn void out_of_memory(size_t size)
{
	fprintf(stderr, "gatherd: out of memory (%zu bytes)\n", size);
	abort();
}

void *mem_alloc(size_t size)
{
	void *p = malloc(size ? size : 1);
	if (!p)
		out_of_memory(size);
	return p;
}

void *mem_zalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);
	if (!p)
		out_of_memory(size);
	return p;
}

void *mem_realloc(void *p, size_t size)
{
	void *grown = realloc(p, size ? size : 1);
	if (!grown)
		out_of_memory(size);
	return grown;
}

_Noreturn void mem_overflow(void)
{
	out_of_memory(SIZE_MAX);
}

static size_t product(size_t count, size_t size)
{
	size_t bytes;
	if (__builtin_mul_overflow(count, size, &bytes))
		mem_overflow();
	return bytes;
}

void *mem_array(size_t count, size_t size)
{
	return mem_alloc(product(count, size));
}

void *mem_realloc_array(void *p, size_t count, size_t size)
{
	return mem_realloc(p, product(count, size));
}

char *mem_strndup(const char *s, size_t n)
{
	char *copy = mem_alloc(n + 1);
	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

char *mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

/* --- back to the kernel --- */

#define DECAY_STEP_US 90000         /* between two calls of mem_decay that do something */
#define ALL_ARENAS    "arena.4096." /* MALLCTL_ARENAS_ALL */

/* jemalloc's; NULL in the sanitizers' builds, which have none. */
int mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len) __attribute__((weak));
/* Read by jemalloc when it starts; $MALLOC_CONF comes after it. Freed pages go back over these four seconds. */
extern const char *malloc_conf;
const char *malloc_conf = "dirty_decay_ms:4000,muzzy_decay_ms:0";

static void control(const char *name)
{
	if (mallctl)
		(void)mallctl(name, NULL, NULL, NULL, 0);
}

void mem_decay(void)
{
	static _Atomic int64_t last_us;
	int64_t now_us = monotonic_us();

	if (now_us - atomic_load_explicit(&last_us, memory_order_relaxed) < DECAY_STEP_US)
		return;
	atomic_store_explicit(&last_us, now_us, memory_order_relaxed);
	control(ALL_ARENAS "decay");
}

void mem_rest(void)
{
	control("thread.tcache.flush");
}

void mem_purge(void)
{
	control(ALL_ARENAS "purge");
}

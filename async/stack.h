/* Stacks of tasks: mapped once, reused, committed lazily by the kernel, each with a guard below it.
 *
 * The guard is wider than a page. Below it lies the next stack, and a frame that is larger than the guard may step over
 * it, into the frames of another task: libraries have buffers of 16 KiB and more on their stacks. What probes each page
 * of its frames (-fstack-clash-protection: gatherd, and modules by gatherd.pc) can't step over a guard of any size; on
 * aarch64 compilers take it to be of 64 KiB.
 *
 * The pool is a loop's own. Stacks above the number that is kept warm go back to the kernel. A guarded stack takes two
 * mappings of the process's vm.max_map_count: at the limit stack_get fails, and the request is refused rather than the
 * process ended. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "async/context.h"
#include "base/compiler.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define STACK_SIZE ((size_t)512 * 1024) /* instrumented frames are several times larger */
#else
#define STACK_SIZE ((size_t)128 * 1024) /* libmongoc with TLS needs the most */
#endif
#define STACK_GUARD_SIZE ((size_t)64 * 1024)

/* Stands at the top of the memory that it describes. */
struct stack {
	void *mapping;      /* begins with the guard */
	void *base;         /* lowest usable address */
	size_t size;        /* usable bytes, up to this struct */
	struct stack *next; /* in the pool */
	bool clean;         /* no page of it was touched since the kernel gave it; stack_use.c's */
	struct fiber fiber; /* kept with the stack: gcc 12's TSan can't make more than some 8,000 */
	unsigned valgrind_id;
};

struct stack_pool {
	struct stack *free;
	unsigned idle, in_use;
	unsigned unused; /* the least that were idle since the last stack_pool_unused */
	unsigned keep;   /* idle ones that stay mapped */
	unsigned mapped; /* so far */
};

void stack_pool_init(struct stack_pool *p, unsigned keep);
/* None may be in use. */
void stack_pool_done(struct stack_pool *p);
/* NULL: no mapping is to be had. */
struct stack *stack_get(struct stack_pool *p) must_check;
void stack_put(struct stack_pool *p, struct stack *s);
/* The same for the stack that the caller stands on, and leaves for good before anything else happens. Returns false
 * if the pool is full: then s is still in use, to be put back from another stack. */
bool stack_leave(struct stack_pool *p, struct stack *s) must_check;
/* How many of the idle stacks were not needed since the last call. */
unsigned stack_pool_unused(struct stack_pool *p);
/* Unmap up to `count` idle stacks. */
void stack_pool_trim(struct stack_pool *p, unsigned count);

/* How deep the stacks of tasks were used, by the tasks' names: measured on a sample of them, in debug mode.
 *
 * A stack whose pages were given back to the kernel shows, when its task has ended, which of them the task has touched.
 * Giving back and looking are a system call each, and then come page faults: so a loop takes a task every 10 ms
 * or so. A stack that was never used before needs no giving back, and its first task is always measured. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct task;

/* Which task is next; embedded by the watch of a loop. */
struct stack_sampler {
	unsigned left; /* tasks until then; 0: not before due_us */
	uint32_t random;
	int64_t due_us;
};

void stack_sampler_init(struct stack_sampler *s, uint32_t seed);
/* t was spawned: is it the next one? Loop thread only; nothing stands on its stack yet. */
void stack_use_spawned(struct stack_sampler *s, struct task *t);
/* t has ended; its stack is as it left it. Logs a warning when it came nearer to its stack's end than any of its name,
 * and too near. Loop thread only. */
void stack_use_ended(struct task *t);

struct stack_use {
	const char *name;
	size_t size_bytes;    /* of the stack */
	size_t deepest_bytes; /* whole pages: up to one too many */
	uint64_t measured;    /* tasks */
};

/* Call fn for each name that was measured. fn must not call back here. Any thread. */
void stack_use_each(void (*fn)(const struct stack_use *u, void *arg), void *arg);
/* Forget what was measured. */
void stack_use_done(void);

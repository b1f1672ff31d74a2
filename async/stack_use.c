/* High-water marks of stacks: which pages of a stack the kernel had to find for a task. */
#include "async/stack_use.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "async/internal.h"
#include "base/log.h"
#include "base/mem.h"

enum {
	NAMES_MAX = 512,  /* what comes beyond is counted under OTHERS */
	PAUSE_US = 10000, /* between two samples of a loop: one may cost 20 us, most of it in page faults */
	SPREAD = 32,      /* and up to that many tasks: the first of a turn would always be of the same kind */
	WARN_PERCENT = 75,
	PAGE_LEAST = 4096,
	CONTEXT_BYTES = 256,
};

static const char others[] = "(others)";

static struct {
	pthread_mutex_t lock;
	struct stack_use uses[NAMES_MAX]; /* under lock; the names are copies */
	size_t count;                     /* under lock */
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

void stack_sampler_init(struct stack_sampler *s, uint32_t seed)
{
	*s = (struct stack_sampler){.random = seed};
}

/* Is it this task's turn? */
static bool is_sample(struct stack_sampler *s, int64_t now)
{
	if (s->left == 0) {
		if (now < s->due_us)
			return false;
		s->random = s->random * 1664525u + 1013904223u;
		s->left = 1 + (s->random >> 16) % SPREAD;
	}
	if (--s->left > 0)
		return false;
	s->due_us = now + PAUSE_US;
	return true;
}

/* The entry of that name; under the lock. */
static struct stack_use *use_of(const char *name)
{
	for (size_t i = 0; i < table.count; i++)
		if (strcmp(table.uses[i].name, name) == 0)
			return &table.uses[i];
	if (table.count == NAMES_MAX)
		return &table.uses[NAMES_MAX - 1];
	struct stack_use *u = &table.uses[table.count++];
	u->name = mem_strdup(table.count == NAMES_MAX ? others : name);
	return u;
}

static void record(const char *name, size_t size, size_t deepest)
{
	pthread_mutex_lock(&table.lock);
	struct stack_use *u = use_of(name);
	bool deeper = deepest > u->deepest_bytes;
	u->measured++;
	u->size_bytes = size;
	if (deeper)
		u->deepest_bytes = deepest;
	pthread_mutex_unlock(&table.lock);
	if (deeper && deepest * 100 > size * WARN_PERCENT) {
		struct buf quoted = BUF_INIT;
		logfmt_value(&quoted, name, strlen(name));
		log_line(LOG_LINE_WARNING, "a task nearly fills its stack", "task=%s used_bytes=%zu stack_bytes=%zu",
			 buf_cstr(&quoted), deepest, size);
		buf_done(&quoted);
	}
}

/* t stands above, and the first words of its context. */
static char *floor_of(const struct task *t)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	return (char *)(((uintptr_t)t - CONTEXT_BYTES) & ~(page - 1));
}

static void measure(const struct task *t)
{
	unsigned char present[STACK_SIZE / PAGE_LEAST];
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *base = t->stack->base;
	char *low = base;
	size_t len = (size_t)(floor_of(t) - base);
	if (mincore(base, len, present) < 0)
		return;
	for (size_t i = 0; i < len / page && !(present[i] & 1); i++)
		low += page;
	record(task_name(t), t->stack->size, t->stack->size - (size_t)(low - base));
}

void stack_use_spawned(struct stack_sampler *s, struct task *t)
{
	if (!is_sample(s, t->born_us) || t->stack->clean)
		return;
	char *base = t->stack->base;
	t->stack->clean = madvise(base, (size_t)(floor_of(t) - base), MADV_DONTNEED) == 0;
}

void stack_use_ended(struct task *t)
{
	if (t->stack->clean)
		measure(t);
	t->stack->clean = false;
}

void stack_use_each(void (*fn)(const struct stack_use *u, void *arg), void *arg)
{
	pthread_mutex_lock(&table.lock);
	for (size_t i = 0; i < table.count; i++)
		fn(&table.uses[i], arg);
	pthread_mutex_unlock(&table.lock);
}

void stack_use_done(void)
{
	pthread_mutex_lock(&table.lock);
	for (size_t i = 0; i < table.count; i++)
		free((char *)(uintptr_t)table.uses[i].name);
	memset(table.uses, 0, sizeof(table.uses));
	table.count = 0;
	pthread_mutex_unlock(&table.lock);
}

/* Tallies by their names. */
#include "base/tally.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { CACHE_LINE = 64 };

_Thread_local unsigned tally_worker;

static struct {
	pthread_mutex_t lock;
	struct list all;  /* under lock */
	unsigned workers; /* written before there is a tally */
} tallies = {.lock = PTHREAD_MUTEX_INITIALIZER, .all = {&tallies.all, &tallies.all}, .workers = 1};

void tally_set_workers(unsigned count)
{
	tallies.workers = count;
}

static struct tally *tally_new(const struct tally_kind *kind, const char *name)
{
	unsigned workers = tallies.workers;
	size_t block = (kind->size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
	struct tally *t = mem_zalloc(sizeof(*t) + workers * sizeof(t->blocks[0]));
	t->kind = kind;
	t->name = mem_strdup(name);
	t->workers = workers;
	t->memory = mem_zalloc(workers * block + CACHE_LINE);
	char *first = (char *)t->memory + (CACHE_LINE - (uintptr_t)t->memory % CACHE_LINE);
	for (unsigned i = 0; i < workers; i++)
		t->blocks[i] = first + i * block;
	return t;
}

static struct tally *find(const struct tally_kind *kind, const char *name)
{
	list_for_each (link, &tallies.all) {
		struct tally *t = container_of(link, struct tally, link);
		if (t->kind == kind && strcmp(t->name, name) == 0)
			return t;
	}
	return NULL;
}

struct tally *tally_take(const struct tally_kind *kind, const char *name)
{
	pthread_mutex_lock(&tallies.lock);
	struct tally *t = find(kind, name);
	if (!t) {
		t = tally_new(kind, name);
		list_append(&tallies.all, &t->link);
	}
	t->users++;
	pthread_mutex_unlock(&tallies.lock);
	return t;
}

void tally_drop(struct tally *t)
{
	if (!t)
		return;
	pthread_mutex_lock(&tallies.lock);
	bool last = --t->users == 0;
	if (last)
		list_remove(&t->link);
	pthread_mutex_unlock(&tallies.lock);
	if (!last)
		return;
	for (unsigned i = 0; i < t->workers && t->kind->done; i++)
		t->kind->done(t->blocks[i]);
	free(t->name);
	free(t->memory);
	free(t);
}

void tally_each(const struct tally_kind *kind, void (*fn)(const struct tally *t, void *arg), void *arg)
{
	pthread_mutex_lock(&tallies.lock);
	list_for_each (link, &tallies.all) {
		const struct tally *t = container_of(link, struct tally, link);
		if (t->kind == kind)
			fn(t, arg);
	}
	pthread_mutex_unlock(&tallies.lock);
}

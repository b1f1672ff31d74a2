/* Task-local values: a counted array that a task shares with its children. Who shares it gets an array of its own to
 * set something, who has it alone sets it there. The values are counted by themselves: they are in many arrays. Each
 * stands in the memory of the array that it was set in, so that a request's first values cost one allocation. */
#include "async/local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "async/internal.h"
#include "base/mem.h"

enum { OWN = 2 /* values that an array has memory for */ };

struct local {
	unsigned holders; /* arrays */
	const struct task_local *key;
	void *value;
	struct locals *home; /* whose memory this is */
};

struct locals {
	unsigned tasks;  /* that share it */
	unsigned values; /* of `own` that some array holds */
	unsigned used;   /* of `own`, ever */
	unsigned count;
	struct local own[OWN];
	struct local *items[]; /* room for what it was made with, and for OWN more */
};

static void free_unused(struct locals *l)
{
	if (l->tasks == 0 && l->values == 0)
		free(l);
}

static void local_release(struct local *item)
{
	struct locals *home = item->home;
	if (--item->holders > 0)
		return;
	if (item->value && item->key->drop)
		item->key->drop(item->value);
	home->values--;
	free_unused(home);
}

struct locals *locals_share(struct locals *l)
{
	if (l)
		l->tasks++;
	return l;
}

void locals_release(struct locals *l)
{
	if (!l || --l->tasks > 0)
		return;
	l->values++; /* it stays until all were released */
	for (unsigned i = 0; i < l->count; i++)
		local_release(l->items[i]);
	l->values--;
	free_unused(l);
}

/* Where key is, or would be. */
static unsigned find(const struct locals *l, const struct task_local *key)
{
	unsigned i = 0;
	while (l && i < l->count && l->items[i]->key != key)
		i++;
	return i;
}

/* An array with the values of before (NULL: none), and after it that many bytes. */
static struct locals *locals_new(const struct locals *before, size_t extra)
{
	unsigned count = before ? before->count : 0;
	struct locals *now = mem_alloc(sizeof(*now) + (count + OWN) * sizeof(now->items[0]) + extra);
	*now = (struct locals){.tasks = 1, .count = count};
	for (unsigned i = 0; i < count; i++) {
		now->items[i] = before->items[i];
		now->items[i]->holders++;
	}
	return now;
}

/* l is the calling task's alone, and has memory for it. */
static void put(struct locals *l, const struct task_local *key, void *value)
{
	unsigned at = find(l, key);
	struct local *before = at < l->count ? l->items[at] : NULL;
	struct local *item = &l->own[l->used++];
	*item = (struct local){.holders = 1, .key = key, .value = value, .home = l};
	l->values++;
	l->items[at] = item;
	if (before)
		local_release(before);
	else
		l->count++;
}

int task_local_set(const struct task_local *key, void *value)
{
	struct task *t = task_self();
	if (!t)
		return -EPERM;
	struct locals *before = t->locals;
	if (before && before->tasks == 1 && before->used < OWN) {
		put(before, key, value);
		return 0;
	}
	t->locals = locals_new(before, 0);
	put(t->locals, key, value);
	locals_release(before);
	return 0;
}

int task_local_set_copy(const struct task_local *key, const void *data, size_t size)
{
	struct task *t = task_self();
	if (!t)
		return -EPERM;
	struct locals *before = t->locals;
	t->locals = locals_new(before, size);
	void *copy = &t->locals->items[t->locals->count + OWN];
	memcpy(copy, data, size);
	put(t->locals, key, copy);
	locals_release(before);
	return 0;
}

void *task_local_of(const struct task *t, const struct task_local *key)
{
	unsigned at = find(t->locals, key);
	return t->locals && at < t->locals->count ? t->locals->items[at]->value : NULL;
}

void *task_local_get(const struct task_local *key)
{
	struct task *t = task_self();
	return t ? task_local_of(t, key) : NULL;
}

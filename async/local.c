/* Task-local values: an immutable, counted array that a task shares with its children until one of them sets
 * something, which makes an array of its own. The values are counted by themselves: they live in many arrays. */
#include "async/local.h"

#include <errno.h>
#include <stdlib.h>

#include "async/internal.h"
#include "base/mem.h"

struct local {
	unsigned holders; /* arrays */
	const struct task_local *key;
	void *value;
};

struct locals {
	unsigned holders; /* tasks */
	unsigned count;
	struct local *items[];
};

static void local_release(struct local *item)
{
	if (--item->holders > 0)
		return;
	if (item->value && item->key->drop)
		item->key->drop(item->value);
	free(item);
}

struct locals *locals_share(struct locals *l)
{
	if (l)
		l->holders++;
	return l;
}

void locals_release(struct locals *l)
{
	if (!l || --l->holders > 0)
		return;
	for (unsigned i = 0; i < l->count; i++)
		local_release(l->items[i]);
	free(l);
}

/* Where key is, or would be. */
static unsigned find(const struct locals *l, const struct task_local *key)
{
	unsigned i = 0;
	while (l && i < l->count && l->items[i]->key != key)
		i++;
	return i;
}

static struct local *local_new(const struct task_local *key, void *value)
{
	struct local *item = mem_alloc(sizeof(*item));
	*item = (struct local){.holders = 1, .key = key, .value = value};
	return item;
}

int task_local_set(const struct task_local *key, void *value)
{
	struct task *t = task_self();
	if (!t)
		return -EPERM;
	struct locals *before = t->locals;
	unsigned old_count = before ? before->count : 0, at = find(before, key);
	unsigned count = at < old_count ? old_count : old_count + 1;
	struct locals *now = mem_alloc(sizeof(*now) + count * sizeof(now->items[0]));
	*now = (struct locals){.holders = 1, .count = count};
	for (unsigned i = 0; i < old_count; i++) {
		if (i == at)
			continue;
		now->items[i] = before->items[i];
		now->items[i]->holders++;
	}
	now->items[at] = local_new(key, value);
	t->locals = now;
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

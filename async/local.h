/* Values that belong to a task and are inherited by those that it spawns (contextvars): a request's id, a trace.
 *
 * A key is a static variable. A child has what its spawner had at the moment of the spawn; what either sets later, the
 * other does not see. A value lives until the last task that sees it has ended and was awaited, or has set another
 * one. Loop thread only: values are not shared between loops. */
#pragma once

#include <stddef.h>

#include "async/task.h"

struct task_local {
	const char *name;          /* for people to read */
	void (*drop)(void *value); /* frees a value that no task sees any more; must not suspend; NULL: nothing to do */
};

/* For the calling task and what it spawns from now on. value is the tasks' from now on; NULL: none.
 * Returns 0, or -EPERM: outside any task (value stays the caller's). */
int task_local_set(const struct task_local *key, void *value);
/* The same for a copy of size bytes, which are freed with it: key has no `drop`. */
int task_local_set_copy(const struct task_local *key, const void *data, size_t size);
/* Of the calling task; NULL if nothing was set, or outside any task. It stays as long as the task does not set
 * another one. */
void *task_local_get(const struct task_local *key);
/* Of another task of this loop. */
void *task_local_of(const struct task *t, const struct task_local *key);

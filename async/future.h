/* A result that is not there yet. One is resolved or failed once and may be awaited by many tasks, also late. */
#pragma once

#include <stdbool.h>

#include "async/loop.h"
#include "async/task.h"

struct future {
	bool done; /* loop thread only */
	int result;
	struct list waiters;
	struct loop *loop;
	struct message message; /* for future_post */
	int posted;
};

/* Embedded by its owner, on the thread of the current loop. */
void future_init(struct future *f);
/* 0 or more, or -errno for a failure. Only the first call counts. Loop thread only. */
void future_resolve(struct future *f, int result);
/* The same from any thread, at most once, and then nobody else resolves f, which must live until it is done. */
void future_post(struct future *f, int result);
static inline bool future_done(const struct future *f)
{
	return f->done;
}
/* Suspends. Returns the result, -ETIMEDOUT or -ECANCELED (future_done tells them apart from a result). */
int future_await(struct future *f, deadline_t by) must_check;

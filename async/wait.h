/* A call with a time limit (asyncio.wait_for). Of several tasks at once, gather_next waits for the next one to end. */
#pragma once

#include "async/task.h"

/* Run fn(arg) as a task, with a deadline of `by`, and wait for it to end. Suspends. At `by`, or if the caller is
 * cancelled, the task is cancelled, and it has ended when this returns, however long it takes to clean up. name as in
 * task_options. Loop thread only.
 * Returns the task's result, one that it brought in spite of its cancellation too; -ETIMEDOUT or -ECANCELED in place
 * of its own -ECANCELED; or -EAGAIN (no stack). If `by` has passed or the caller is cancelled, fn is not called. */
int wait_for(const char *name, task_fn fn, void *arg, deadline_t by) must_check;

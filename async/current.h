/* What runs on the calling thread. Included by loop.h and task.h. */
#pragma once

#include <stdint.h>

struct loop;
struct task;

/* The loop that runs on this thread, or NULL. Any thread. */
struct loop *loop_current(void);
/* The task that is running on this thread, or NULL. Any thread. */
struct task *task_self(void);
/* CLOCK_MONOTONIC as of this turn of the loop (microseconds): cheap, and not older than the turn. Loop thread only. */
int64_t loop_now_us(const struct loop *l);

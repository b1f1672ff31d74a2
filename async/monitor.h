/* Debug mode: reports what blocks a loop, and where, while it is blocked; and calls from a wrong thread.
 *
 * DESIGN. A turn of a loop is what it runs between two polls. Its loop notes when one begins and that it has ended: a
 * reading of the clock or two a turn, none a task or a callback. A watchdog thread looks at those notes some times in
 * slow_callback; of a turn that has lasted that long it asks by a signal, whose handler, on the loop's own thread and
 * an alternate stack, takes the running task's name and a back-trace. The watchdog turns them into words and logs them:
 * once a turn, while it lasts, so that a loop which hangs for good has been reported. When such a turn ends a second
 * line says how long it took. A thread that can't be interrupted (it waits for a disk) takes the signal when that is
 * over, still where it was blocked: that place is reported then. While the whole process is stopped (SIGSTOP, a
 * debugger), nothing is blocked: that the watchdog itself comes late tells of it.
 *
 * The signal restarts system calls, but a few (nanosleep, poll) end early by one: only in a turn that blocks anyway. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "async/loop.h"
#include "base/buf.h"

/* Start the watchdog: turns of slow_us and longer are slow. Main thread, before any loop. Returns 0 or -errno. */
int monitor_start(int64_t slow_us) must_check;
/* Without debug mode: loops are known, so that monitor_describe can ask them, and cost nothing otherwise. Main thread,
 * before any loop, instead of monitor_start. Returns 0 or -errno. */
int monitor_stand_by(void) must_check;
/* End either. No loop may be watched. Nothing if none was started. */
void monitor_stop(void);
/* Is debug mode on? Any thread. */
bool monitor_running(void);

/* Watch l, of that worker, from now on; does nothing if neither was started. On l's thread, which has an
 * alternate signal stack (overflow.h). Returns 0 or -errno. */
int monitor_watch(struct loop *l, unsigned worker) must_check;
/* Not any more. On l's thread. Idempotent. */
void monitor_unwatch(struct loop *l);

/* Ask that worker's thread where it is at the moment, and append it to a log line: " task=… task_id=… where=…". Takes
 * up to 100 ms. Any thread but a loop's. */
void monitor_describe(unsigned worker, struct buf *line);

/* `function`, which is for a loop's thread (or a task) only, was called on another one: log it with a back-trace, once
 * for each way of calls that leads there. Returns whether it was logged. Any thread. */
bool monitor_wrong_thread(const char *function);

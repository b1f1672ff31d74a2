/* asyncio.run: a loop for one task. */
#pragma once

#include "base/compiler.h"

/* Make main_fn a task on a loop of its own, run the loop until it has ended, cancel the tasks that it left and wait for
 * them, and free the loop: asyncio.run. Returns what main_fn returned, or -errno. */
int loop_run_main(int (*main_fn)(void *arg), void *arg) must_check;

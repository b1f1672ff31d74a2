/* The signals of the process. Main thread only. */
#pragma once

#include <stdbool.h>

#include "base/compiler.h"
#include "base/deadline.h"

/* Take the signals from all threads that will be started, and ignore SIGPIPE. Before any thread, those of modules
 * included, which may start some when they are loaded. Returns 0 or -errno. */
int signals_begin(void) must_check;
/* While the main thread waits for signals, call tick again and again; it returns when it wants to be called next. */
void signals_tick(deadline_t (*tick)(void *arg), void *arg);
/* Wait for a signal, or until changed_fd, an eventfd, was written to, or until `by`. Returns the signal, or 0: none
 * came. */
int signals_next(int changed_fd, deadline_t by) must_check;
/* The same, for whoever only asks whether to go on. Returns whether the end was asked for, by this signal or one
 * before. */
bool signals_wait(int changed_fd, deadline_t by);
/* Did SIGHUP come in signals_wait since the last call? */
bool signals_took_hup(void);
/* The signal that first asked for the end: SIGTERM or SIGINT; 0: none. */
int signals_asked(void);

/* `gatherd tasks`: what a running daemon's tasks are waiting for, in the terminal. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

struct tasks_view {
	const char *address; /* HOST:PORT or unix:/path */
	bool once;           /* print it once and return */
	int64_t interval_us; /* between two looks */
};

/* Where the daemon of that configuration answers /-/tasks, for `address`; of the configuration's arena. NULL: it can't
 * be known (port 0). */
const char *tasks_view_address(struct config *c);
/* Show it until `q`, Ctrl-C, Ctrl-\ or SIGTERM. On a terminal: a page that is drawn again, as large as the terminal;
 * else plain text. Returns an exit code: 0, or EX_UNAVAILABLE if nobody answers, EX_USAGE for an address that is
 * none; why is then said on stderr. Before any thread; takes the signals. */
int tasks_view(const struct tasks_view *v);

/* What operators ask a running daemon: /-/live, /-/ready, /-/metrics and /-/tasks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "handlers/web/exchange.h"

/* What the pages say of this worker and the process. */
struct admin_view {
	bool draining;
	size_t source_count;
	/* The name of the i-th source where it is down, else NULL. */
	const char *(*source_down)(const void *arg, size_t i);
	/* The metrics of the process. */
	void (*metrics)(const void *arg, struct buf *out);
	const void *arg;
};

/* Answer x where its path is below /-/ or it came in on the admin listener. Returns whether it did. With `server.admin`
 * those paths answer there only; without it /-/live and /-/ready answer on every listener, and the rest only to
 * loopback peers whose request carries no X-Forwarded-For or Forwarded. */
bool admin_handle(struct exchange *x, const struct config *c, const struct admin_view *view);

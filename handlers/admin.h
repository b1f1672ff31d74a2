/* What operators ask a running daemon: /-/live and /-/ready. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "handlers/exchange.h"

/* What /-/ready says of this worker. */
struct readiness {
	bool draining;
	size_t source_count;
	/* The name of the i-th source where it is down, else NULL. */
	const char *(*source_down)(const void *arg, size_t i);
	const void *arg;
};

/* Answer x where its path is below /-/ or it came in on the admin listener. Returns whether it did. With `server.admin`
 * those paths answer there only; without it /-/live and /-/ready answer on every listener. */
bool admin_handle(struct exchange *x, const struct config *c, const struct readiness *readiness);

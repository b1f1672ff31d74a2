/* What operators ask a running daemon: the pages below /-/. */
#pragma once

#include <stdbool.h>

#include "config/config.h"
#include "handlers/admin/ready.h"
#include "handlers/web/exchange.h"

/* What the pages say of the process. */
struct admin_view {
	const struct config *config;
	struct source *const *sources; /* one for each of config's */
	struct readiness *readiness;
	unsigned generation;
	/* Answer x with the metrics of the process. */
	void (*metrics)(const void *arg, struct exchange *x);
	const void *arg;
};

/* Answer x where its path is below /-/ or it came in on the admin listener or the control socket. Returns whether it
 * did. The control socket has all pages, and alone what changes something. With `server.admin` the others answer there
 * only. Without it /-/live and /-/ready answer on every listener, and the rest only to loopback peers whose request
 * shows no proxy and names a loopback host (421 if not: a browser may have been led here by DNS). */
bool admin_handle(struct exchange *x, const struct admin_view *view);

/* /-/status.json, which says what the process is like (handlers/admin/status/schema.json), and /-/status, the same for
 * people. */
#pragma once

#include "config/config.h"
#include "drivers/driver.h"
#include "handlers/admin/ready.h"
#include "handlers/web/exchange.h"

/* What x is answered with; all of it lives as long as x. */
struct status_view {
	const struct config *config;
	struct source *const *sources; /* one for each of config's */
	const struct readiness *readiness;
	unsigned generation;
};

/* Answer x, in a task, with the document, or with the page that shows it. */
void status_answer(struct exchange *x, const struct status_view *view, bool page);

/* A reload was refused, with that as its first line; NULL: one has succeeded. Main thread. */
void status_refused(const char *why);

/* What changes from one configuration to the next, for people. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "config/config.h"
#include "config/diagnostics.h"
#include "daemon/bound.h"

/* "1 source changed (shop: pool.size), 2 endpoints new, 1 changed, 1 gone, 1 listener new (127.0.0.1:8081)", or
 * "nothing has changed". No values: some are secrets. */
void changes_describe(const struct config *before, const struct config *after, const struct listeners *rows_before,
		      const struct listeners *rows_after, struct buf *out);
/* What holds for as long as the process lives. */
struct fixed_settings {
	unsigned threads;
	char control[108]; /* a path; "": none */
	bool debug;
	int64_t slow_callback_us;
	struct config_log log;
	struct histogram_bounds buckets;
};

void fixed_settings_take(struct fixed_settings *f, const struct config *c);
/* Warn of what of c only a restart brings. Returns whether there is any. */
bool fixed_settings_warn(const struct fixed_settings *f, const struct config *c, struct diagnostics *d);

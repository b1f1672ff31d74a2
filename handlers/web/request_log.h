/* The log line of a request, also of one that never became an exchange. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "config/config.h"
#include "handlers/web/exchange.h"

struct request_line {
	const char *id, *peer;
	struct span method, path;
	unsigned status;
	size_t bytes;
	int64_t us;                                           /* how long it took; below 0: unknown */
	const char *endpoint, *step, *missing, *code, *error; /* NULL or "": none */
};

/* Which requests have a line from now on. most: of those that neither failed nor were slow; count 0: no bound. Before
 * any worker. */
void request_log_configure(const struct config_log *config, struct config_rate most);
/* Log r, unless the configuration leaves it out; line is memory to be used again. Any thread. */
void request_log(struct buf *line, const struct request_line *r);
/* How many lines the bound has left out since the last call. Any thread. */
uint64_t request_log_left_out(void);
/* … since the start. Any thread. */
uint64_t request_log_left_out_in_all(void);

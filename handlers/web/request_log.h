/* The log line of a request, also of one that never became an exchange. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "handlers/web/exchange.h"

struct request_line {
	const char *id, *peer;
	struct span method, path;
	unsigned status;
	size_t bytes;
	int64_t us;                                           /* how long it took; below 0: unknown */
	const char *endpoint, *step, *missing, *code, *error; /* NULL or "": none */
};

/* Log r; line is memory to be used again. Any thread. */
void request_log(struct buf *line, const struct request_line *r);

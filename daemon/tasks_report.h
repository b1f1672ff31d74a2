/* What /-/tasks says, as text for a terminal or a file. */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "base/compiler.h"

struct tasks_report_size {
	unsigned lines, columns; /* 0: as many as it takes */
};

/* Append to out: totals of each worker, of each name, then the tasks, the oldest first; lines that end with \n, no more
 * and no longer than size says; if it says how long, texts are cut to their columns. Text of the daemon's is shown
 * without its control characters. Returns 0, or -EBADMSG: json is not what /-/tasks answers. */
int tasks_report(struct buf *out, const char *json, size_t len, const char *address,
		 struct tasks_report_size size) must_check;

/* How the log's lines leave the process: to stderr as they are or as JSON, or to the journal by fields. The log's
 * writer thread only. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum log_output { LOG_OUTPUT_LOGFMT, LOG_OUTPUT_JSON, LOG_OUTPUT_JOURNAL };

void log_output_begin(enum log_output output);
/* Write what is held back, and forget everything. */
void log_output_end(void);
/* Write whole lines, each with its newline. May block as long as the reader does; the journal for a second a batch. */
void log_output_write(const char *lines, size_t len);
/* Write the repeats whose time is up. Returns how long until the next ones are (microseconds; INT64_MAX: there are
 * none). */
int64_t log_output_tick(void);
/* How many lines were lost on their way since the last call. */
size_t log_output_lost(void);
/* All of it to stderr, or as much as that takes: a failure could be reported to nobody. Any thread. */
void log_output_stderr(const char *p, size_t n);

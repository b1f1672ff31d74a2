/* The log: logfmt lines, written by a thread of its own, so that a slow reader never blocks a loop. They go to stderr,
 * as they are or as JSON, or to the journal by fields (log_output.h).
 *
 * A line is appended to a bounded buffer; the writer takes what has gathered every 10 ms. When the buffer is full lines
 * are dropped and counted, and the count is logged. Warnings and errors of one kind that repeat become one line
 * (log_repeat.h). Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/log_output.h"

enum log_severity { LOG_LINE_DEBUG, LOG_LINE_INFO, LOG_LINE_WARNING, LOG_LINE_ERROR };

/* Start the writer; lines below `least` are dropped. Before it, and after log_stop, lines are written at once, to
 * stderr, as they are. */
void log_start(enum log_severity least, enum log_output output);
/* Write what is left and end the writer. */
void log_stop(void);
/* Lines that were dropped since the start, by why: the buffer was full, the journal did not take them. Any thread. */
enum log_loss { LOG_LOST_FULL, LOG_LOST_JOURNAL, LOG_LOSSES };
uint64_t log_lost(enum log_loss why);
/* Would a line of that severity be written? */
int log_enabled(enum log_severity severity);

/* A line: time=… level=… msg="…", then what `format` renders, which is logfmt already ("key=value key=value") or "". */
void log_line(enum log_severity severity, const char *msg, const char *format, ...) printf_like(3, 4);
/* A whole line as it is, its newline included. */
void log_raw(enum log_severity severity, const char *line, size_t len);
/* The beginning of a line, "time=… level=… msg=…", for one that is put together piece by piece and given to log_raw. */
void log_begin(struct buf *line, enum log_severity severity, const char *msg);
/* A text for a logfmt line: in quotes, and control characters escaped, if it needs that or looks like a number. */
void logfmt_value(struct buf *out, const char *s, size_t len);
/* The time as RFC 3339 in UTC with milliseconds, at least 25 bytes of room. Returns its length. */
size_t log_time(char *out);

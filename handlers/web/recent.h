/* The last requests that failed and the slowest of the last ten minutes, of all workers: for the status page. A request
 * that is neither costs a look at one number. Any thread. */
#pragma once

#include "base/buf.h"
#include "handlers/web/request_log.h"

/* A request has ended. steps(of, out) appends the times of its parts, a JSON list; NULL: it has none. */
void recent_note(const struct request_line *r, void (*steps)(const void *of, struct buf *out), const void *of);
/* Forget what is no longer of the last ten minutes. Now and then. */
void recent_age(void);

/* Append JSON lists: the newest first; the slowest first. */
void recent_errors(struct buf *out);
void recent_slowest(struct buf *out);
void recent_done(void);

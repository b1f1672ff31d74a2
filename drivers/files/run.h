/* Actions on files whose path is given when they run: what handlers ask for. */
#pragma once

#include "drivers/driver.h"
#include "drivers/files/keys.h"

/* Suspends. `read`, `stat`, `list`, `write`, `append` or `remove` of the file at path below the source's folder, of a
 * client of files_driver. What is read is a text if it is UTF-8 without a NUL, else bytes; the other results are
 * those of steps. content (of write and append, else NULL): texts and bytes as they are, other values as JSON with a
 * line break behind it; it may change as soon as the call suspends. Returns 0 and *out, or -errno with e filled as for
 * steps; -ENOENT (404): the path leads out of the folder; -EPERM (500): the source lacks `write: true`. */
int files_run(struct client *c, enum files_action_kind kind, const char *path, const struct value *content,
	      const struct run_options *options, struct result **out, struct error *e) must_check;

/* A handler's path, to out: relative, without ".."; the empty one is the folder itself. Returns 0, or with e filled
 * -EINVAL (it is NULL or no UTF-8; 500) or -ENOENT (it leads out of the folder; 404). */
int files_take_path(const char *path, struct buf *out, struct error *e) must_check;

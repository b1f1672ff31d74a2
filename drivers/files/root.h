/* The folder of a source, and the one way to open what lies in it: never outside, never through a link, never waiting.
 *
 * It is a descriptor, opened once: a folder that is renamed or replaced later does not lead anywhere else. Jobs of the
 * executor may outlive the source, so it is counted. Any thread. */
#pragma once

#include <sys/stat.h>

#include "base/compiler.h"
#include "base/error.h"

struct root;

/* Returns 0 or -errno: no such folder. */
int root_open(struct root **out, const char *folder) must_check;
struct root *root_hold(struct root *r);
/* NULL is allowed. */
void root_drop(struct root *r);

/* Open path below the root with open(2)'s flags. No link is followed, a FIFO does not block. Blocks on the disk.
 * Returns the descriptor or -errno. */
int root_open_at(const struct root *r, const char *path, int flags, mode_t mode) must_check;
/* The same for a regular file, described by st; what is none is -ENOENT. */
int root_open_regular(const struct root *r, const char *path, int flags, mode_t mode, struct stat *st) must_check;
/* The folder that path's last segment stands in; *name points at that segment. -ENOENT if it names no file. */
int root_open_parent(const struct root *r, const char *path, const char **name) must_check;

/* Fill e with what -errno of a file's operation means to a client, and return it. `doing`: "open", for the log. */
int file_error(struct error *e, int errnum, const char *doing);

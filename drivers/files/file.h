/* An open file that is read piece by piece: what `send` answers with. Loop thread only; the disk is the executor's. */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "drivers/driver.h"

struct file;

struct file_info {
	const char *name; /* its last segment; lives as long as the file */
	uint64_t size, inode;
	int64_t modified_s; /* since 1970 */
	long modified_ns;
};

/* Suspends. Open the file that an action of a client of files_driver names, and read its first `ahead` bytes along with
 * that: a small file costs one job. Returns 0 and *out, for file_close; or -errno with e filled: 404 for what is no
 * regular file. */
int file_open(struct file **out, struct file_info *info, struct client *c, const struct action *a,
	      const struct value *args, const struct run_options *options, size_t ahead, struct error *e) must_check;
/* Suspends. The same for a path that is given by a handler (run.h). */
int file_open_at(struct file **out, struct file_info *info, struct client *c, const char *path,
		 const struct run_options *options, size_t ahead, struct error *e) must_check;
/* Suspends, unless they were read ahead. Append len bytes from offset on to b. Returns 0; or -errno with e filled (but
 * for -ECANCELED): the file is closed then, *f NULL, and b empty. A file that has become shorter is -EIO. */
int file_read(struct file **f, uint64_t offset, size_t len, struct buf *b, deadline_t by, struct error *e) must_check;
/* Does not wait. NULL is allowed. */
void file_close(struct file *f);

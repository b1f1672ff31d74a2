/* An open file of a handler: read and written at a position that is kept here, piece by piece.
 *
 * What works on the disk is a job of the executor that has the descriptor and the bytes (open.c). One job at a time: a
 * second caller is refused. A caller that leaves while a job runs (deadline, cancellation) leaves the file to the job,
 * which closes it. Loop thread only. */
#pragma once

#include <stdint.h>

#include "drivers/driver.h"

enum open_mode {
	OPEN_READ,
	OPEN_WRITE,      /* an empty file, made where there is none */
	OPEN_READ_WRITE, /* one that is there, as it is */
	OPEN_APPEND,     /* made where there is none; all that is written goes to its end */
};

struct open_file;

/* Suspends. The regular file at path (run.h) below the folder of a client of files_driver, which outlives *out. Returns
 * 0 and *out, for open_file_free; or -errno with e filled, -EPERM (500) if it is to be written and the source lacks
 * `write: true`. Each call has timeout_us from options; 0: only the task's deadline. */
int open_file_new(struct open_file **out, struct client *c, const char *path, enum open_mode mode,
		  const struct run_options *options, struct error *e) must_check;
/* Suspend. Return 0 or more as said below; or, with e filled, -EBADF (it is closed, or was not opened for that),
 * -EBUSY (another task is at it, or the executor's queue is full; 503), -ETIMEDOUT (504), -ECANCELED; after the last
 * three of a call of one's own the file is closed. The position is where it was after a failure, or behind what was
 * done. */
/* As many bytes as there are, up to len: less than that at the end only. */
int64_t open_file_read(struct open_file *f, void *p, size_t len, struct error *e) must_check;
/* All len bytes. -EFBIG (500): the file would be larger than the source's max_size; nothing was written. */
int64_t open_file_write(struct open_file *f, const void *p, size_t len, struct error *e) must_check;
/* The new position. whence is SEEK_SET, SEEK_CUR or SEEK_END; only the last suspends. -EINVAL: it is another, or the
 * position would be below 0. */
int64_t open_file_seek(struct open_file *f, int64_t offset, int whence, struct error *e) must_check;
/* 0. The file is closed in any case. sync: what was written is on the disk, as is its name. */
int open_file_close(struct open_file *f, bool sync, struct error *e) must_check;
/* Does not wait: close it where it is open. No task is at it any more. NULL is allowed. */
void open_file_free(struct open_file *f);

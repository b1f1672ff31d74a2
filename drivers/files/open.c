/* Open files of handlers. `struct deed` is the job: the descriptor, the bytes, and what to do with them. It is the open
 * file's between two calls, and the executor's during one; whoever waited and left has lost it, and with it the file.
 * The caller's bytes are copied to and from the job's. */
#include "drivers/files/open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "drivers/files/run.h"
#include "drivers/files/source.h"

enum { PIECE = 1 << 20 }; /* what one job reads or writes, at most */

struct deed {
	struct job job;
	struct root *root; /* held */
	struct buf path;   /* NUL-terminated */
	int flags;         /* of open(2) */
	int fd;            /* -1: not open */
	size_t max_size;
	bool sync;      /* of a close */
	int64_t offset; /* where to read or write; when it has run: where the next one begins */
	size_t len;     /* how much to read, or how much is still to be written */
	struct buf bytes;
	int result;
	struct error error;
};

struct open_file {
	struct files_client *client;
	struct deed *deed; /* NULL: a job has it, or it is closed */
	bool busy;         /* a job has it */
	enum open_mode mode;
	int64_t position, timeout_us;
	char *shown; /* for messages */
};

/* --- on the executor --- */

static void free_deed(struct job *j)
{
	struct deed *d = container_of(j, struct deed, job);

	if (d->fd >= 0)
		close(d->fd);
	root_drop(d->root);
	buf_done(&d->path);
	buf_done(&d->bytes);
	free(d);
}

static struct deed *deed_of(struct job *j)
{
	return container_of(j, struct deed, job);
}

static int too_large(struct deed *d)
{
	return error_set(&d->error, -EFBIG, 500, NULL, "the file would be larger than max_size (%zu bytes)",
			 d->max_size);
}

static void do_open(struct job *j)
{
	struct deed *d = deed_of(j);
	struct stat st;

	d->fd = root_open_regular(d->root, d->path.data, d->flags, 0666, &st);
	d->result = d->fd < 0 ? file_error(&d->error, d->fd, "open") : 0;
}

static void do_read(struct job *j)
{
	struct deed *d = deed_of(j);

	d->bytes.len = 0;
	buf_reserve(&d->bytes, d->len);
	while (d->bytes.len < d->len) {
		ssize_t n = pread(d->fd, d->bytes.data + d->bytes.len, d->len - d->bytes.len, (off_t)d->offset);
		if (n == 0)
			break;
		if (n < 0 && errno != EINTR) {
			d->result = file_error(&d->error, -errno, "read");
			return;
		}
		d->bytes.len += n > 0 ? (size_t)n : 0;
		d->offset += n > 0 ? n : 0;
	}
	d->result = 0;
}

static int file_size(struct deed *d, int64_t *out)
{
	struct stat st;

	if (fstat(d->fd, &st) < 0)
		return file_error(&d->error, -errno, "stat");
	*out = st.st_size;
	return 0;
}

/* The bytes at offset, or at the end of a file that is appended to. */
static int write_bytes(struct deed *d)
{
	bool appends = d->flags & O_APPEND;
	int r = appends ? file_size(d, &d->offset) : 0;

	if (r < 0)
		return r;
	if (d->offset > (int64_t)d->max_size || d->len > d->max_size - (size_t)d->offset)
		return too_large(d);
	for (size_t at = 0; at < d->bytes.len;) {
		const char *p = d->bytes.data + at;
		ssize_t n = appends ? write(d->fd, p, d->bytes.len - at)
				    : pwrite(d->fd, p, d->bytes.len - at, (off_t)d->offset);
		if (n < 0 && errno != EINTR)
			return file_error(&d->error, -errno, "write");
		at += n > 0 ? (size_t)n : 0;
		d->offset += n > 0 ? n : 0;
	}
	return 0;
}

static void do_write(struct job *j)
{
	struct deed *d = deed_of(j);

	d->result = write_bytes(d);
}

static void do_find_end(struct job *j)
{
	struct deed *d = deed_of(j);

	d->result = file_size(d, &d->offset);
}

static int sync_folder(const struct deed *d)
{
	const char *name;
	int folder = root_open_parent(d->root, d->path.data, &name);

	if (folder < 0)
		return folder;
	int r = fsync(folder) < 0 ? -errno : 0;
	close(folder);
	return r;
}

static void do_close(struct job *j)
{
	struct deed *d = deed_of(j);
	int r = d->sync && fsync(d->fd) < 0 ? -errno : 0;

	if (close(d->fd) < 0 && r == 0)
		r = -errno;
	d->fd = -1;
	if (r == 0 && d->sync && d->flags & O_CREAT)
		r = sync_folder(d);
	d->result = r < 0 ? file_error(&d->error, r, "close") : 0;
}

static void do_nothing(struct job *j)
{
	(void)j;
}

/* --- on the loop --- */

static int locate(const struct open_file *f, int r, const char *verb, struct error *e)
{
	const struct files_place place = {NULL, verb, f->shown};

	return files_locate(e, r, f->client, &place);
}

/* What the caller may run next; NULL: e says why it may not. */
static struct deed *take(const struct open_file *f, const char *verb, bool allowed, struct error *e)
{
	*e = ERROR_INIT;
	if (f->busy)
		error_set(e, -EBUSY, 500, NULL, "another task is using the file");
	else if (!f->deed)
		error_set(e, -EBADF, 500, NULL, "the file is closed");
	else if (!allowed)
		error_set(e, -EBADF, 500, NULL, "it was not opened for that");
	else
		return f->deed;
	locate(f, e->errnum, verb, e);
	return NULL;
}

/* Suspends. d is f's. Returns what the job has; if the caller left, f is closed. */
static int run_deed(struct open_file *f, struct deed *d, void (*run)(struct job *j), const char *verb, struct error *e)
{
	d->job.run = run;
	f->deed = NULL;
	f->busy = true;
	f->client->callers++;
	int r = executor_run(f->client->source->executor, &d->job,
			     f->timeout_us ? deadline_in_us(f->timeout_us) : DEADLINE_NEVER);
	f->client->callers--;
	f->busy = false;
	if (r < 0)
		return locate(f, r, verb, e); /* the job frees itself */
	f->deed = d;
	if (d->result < 0) {
		*e = d->error;
		locate(f, d->result, verb, e);
	}
	return d->result;
}

static const int open_flags[] = {
	[OPEN_READ] = O_RDONLY,
	[OPEN_WRITE] = O_WRONLY | O_CREAT | O_TRUNC,
	[OPEN_READ_WRITE] = O_RDWR,
	[OPEN_APPEND] = O_WRONLY | O_CREAT | O_APPEND,
};

static int open_it(struct open_file *f, const char *path, struct error *e)
{
	const struct files_source *source = f->client->source;
	struct deed *d = mem_zalloc(sizeof(*d));

	d->job.free = free_deed;
	d->root = root_hold(source->root);
	d->flags = open_flags[f->mode];
	d->fd = -1;
	d->max_size = files_client_keys(f->client)->max_size;
	f->deed = d;
	int r = files_take_path(path, &d->path, e);
	if (r == 0 && f->mode != OPEN_READ && !files_client_keys(f->client)->write)
		r = error_set(e, -EPERM, 500, NULL, "it may only be read: the source has no `write: true`");
	if (r < 0)
		return locate(f, r, "open", e);
	(void)buf_cstr(&d->path);
	return run_deed(f, d, do_open, "open", e);
}

int open_file_new(struct open_file **out, struct client *client, const char *path, enum open_mode mode,
		  const struct run_options *options, struct error *e)
{
	struct open_file *f = mem_zalloc(sizeof(*f));

	f->client = files_client_of(client);
	f->mode = mode;
	f->timeout_us = options->timeout_us;
	f->shown = mem_strdup(path ? path : "NULL");
	*e = ERROR_INIT;
	int r = open_it(f, path, e);
	if (r < 0)
		open_file_free(f);
	else
		*out = f;
	return r;
}

int64_t open_file_read(struct open_file *f, void *p, size_t len, struct error *e)
{
	struct deed *d = take(f, "read", f->mode == OPEN_READ || f->mode == OPEN_READ_WRITE, e);
	size_t done = 0;

	if (!d)
		return e->errnum;
	while (done < len) {
		d->offset = f->position;
		d->len = len - done < PIECE ? len - done : PIECE;
		int r = run_deed(f, d, do_read, "read", e);
		if (r < 0)
			return r;
		if (d->bytes.len)
			memcpy((char *)p + done, d->bytes.data, d->bytes.len);
		done += d->bytes.len;
		f->position = d->offset;
		if (d->bytes.len < d->len)
			break;
	}
	return (int64_t)done;
}

int64_t open_file_write(struct open_file *f, const void *p, size_t len, struct error *e)
{
	struct deed *d = take(f, "write", f->mode != OPEN_READ, e);

	if (!d)
		return e->errnum;
	for (size_t done = 0; done < len;) {
		size_t piece = len - done < PIECE ? len - done : PIECE;
		d->bytes.len = 0;
		buf_append(&d->bytes, (const char *)p + done, piece);
		d->offset = f->position;
		d->len = len - done; /* all of it has to fit */
		int r = run_deed(f, d, do_write, "write", e);
		if (f->deed == d)
			f->position = d->offset;
		if (r < 0)
			return r;
		done += piece;
	}
	return (int64_t)len;
}

int64_t open_file_seek(struct open_file *f, int64_t offset, int whence, struct error *e)
{
	int64_t base = whence == SEEK_CUR ? f->position : 0, to;
	struct deed *d = take(f, "seek", true, e);

	if (!d)
		return e->errnum;
	if (whence == SEEK_END) {
		int r = run_deed(f, d, do_find_end, "seek", e);
		if (r < 0)
			return r;
		base = d->offset;
	}
	bool known = whence == SEEK_SET || whence == SEEK_CUR || whence == SEEK_END;
	if (!known || __builtin_add_overflow(base, offset, &to) || to < 0) {
		error_set(e, -EINVAL, 500, NULL, "there is no such position");
		return locate(f, -EINVAL, "seek", e);
	}
	f->position = to;
	return to;
}

int open_file_close(struct open_file *f, bool sync, struct error *e)
{
	struct deed *d = take(f, "close", true, e);

	if (!d)
		return e->errnum;
	d->sync = sync && f->mode != OPEN_READ;
	int r = run_deed(f, d, do_close, "close", e);
	if (f->deed)
		free_deed(&f->deed->job);
	f->deed = NULL;
	return r;
}

/* Closing the last descriptor of a file that was removed frees its blocks, which may take long. */
void open_file_free(struct open_file *f)
{
	if (!f)
		return;
	if (f->deed && f->deed->fd >= 0) {
		f->deed->job.run = do_nothing;
		int r = executor_submit(f->client->source->executor, &f->deed->job);
		(void)r; /* the queue is full: it is closed at once */
	} else if (f->deed) {
		free_deed(&f->deed->job);
	}
	free(f->shown);
	free(f);
}

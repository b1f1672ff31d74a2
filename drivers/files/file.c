/* A file as a job of the executor that is run again and again: whoever has the job has the descriptor and the bytes, so
 * that a task may leave at any time. */
#include "drivers/files/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "drivers/files/run.h"
#include "drivers/files/source.h"

struct file {
	struct job job;
	struct executor *executor;
	struct root *root; /* held */
	struct buf path;   /* NUL-terminated */
	int fd;            /* -1: not open */
	struct stat stat;
	struct buf ahead; /* its first bytes, until others are read */
	uint64_t offset;  /* what is to be read … */
	size_t len;
	struct buf bytes; /* … and to what it is appended */
	int result;
	struct error error;
};

/* --- on the executor --- */

/* Append the piece to out. */
static int read_into(struct file *f, struct buf *out)
{
	buf_reserve(out, f->len);
	while (f->len > 0) {
		ssize_t n = pread(f->fd, out->data + out->len, f->len, (off_t)f->offset);
		if (n == 0)
			return error_set(&f->error, -EIO, 502, NULL, "the file became shorter while it was sent");
		if (n < 0 && errno != EINTR)
			return file_error(&f->error, -errno, "read");
		if (n < 0)
			continue;
		out->len += (size_t)n;
		f->len -= (size_t)n;
		f->offset += (size_t)n;
	}
	return 0;
}

static void open_file(struct job *j)
{
	struct file *f = container_of(j, struct file, job);

	f->fd = root_open_regular(f->root, f->path.data, O_RDONLY, 0, &f->stat);
	if (f->fd < 0) {
		f->result = file_error(&f->error, f->fd, "open");
		return;
	}
	bool whole = (uint64_t)f->stat.st_size <= f->len;
	if (whole)
		f->len = (size_t)f->stat.st_size;
	f->result = f->len > 0 ? read_into(f, &f->ahead) : 0;
	if (whole) {
		close(f->fd);
		f->fd = -1;
	}
}

static void read_piece(struct job *j)
{
	struct file *f = container_of(j, struct file, job);

	f->result = read_into(f, &f->bytes);
}

static void do_nothing(struct job *j)
{
	(void)j;
}

static void free_file(struct job *j)
{
	struct file *f = container_of(j, struct file, job);

	if (f->fd >= 0)
		close(f->fd);
	root_drop(f->root);
	buf_done(&f->path);
	buf_done(&f->ahead);
	buf_done(&f->bytes);
	free(f);
}

/* --- on the loop --- */

/* path is taken over. */
static int open_it(struct file **out, const struct files_client *c, struct buf *path, const struct run_options *options,
		   size_t ahead, struct error *e)
{
	struct file *f = mem_zalloc(sizeof(*f));

	f->job = (struct job){.run = open_file, .free = free_file};
	f->executor = c->source->executor;
	f->root = root_hold(c->source->root);
	f->fd = -1;
	f->len = ahead;
	f->path = *path;
	*path = BUF_INIT;
	(void)buf_cstr(&f->path);
	deadline_t by = options->timeout_us ? deadline_in_us(options->timeout_us) : DEADLINE_NEVER;
	int r = executor_run(f->executor, &f->job, by);
	if (r < 0)
		return r;
	r = f->result;
	if (r < 0) {
		*e = f->error;
		free_file(&f->job);
		return r;
	}
	*out = f;
	return 0;
}

static void describe(const struct file *f, struct file_info *info)
{
	const struct stat *st = &f->stat;
	const char *path = f->path.data, *slash = strrchr(path, '/');
	*info = (struct file_info){
		.name = slash ? slash + 1 : path,
		.size = (uint64_t)st->st_size,
		.inode = (uint64_t)st->st_ino,
		.modified_s = st->st_mtim.tv_sec,
		.modified_ns = st->st_mtim.tv_nsec,
	};
}

int file_open(struct file **out, struct file_info *info, struct client *client, const struct action *action,
	      const struct value *args, const struct run_options *options, size_t ahead, struct error *e)
{
	struct files_client *c = files_client_of(client);
	const struct files_action *a = (const struct files_action *)action;
	struct buf path = BUF_INIT;

	c->callers++;
	int r = file_path_fill(&a->path, args, &path, e);
	if (r == 0)
		r = open_it(out, c, &path, options, ahead, e);
	c->callers--;
	buf_done(&path);
	if (r < 0)
		return files_locate(e, r, c, &a->place);
	describe(*out, info);
	return 0;
}

int file_open_at(struct file **out, struct file_info *info, struct client *client, const char *path,
		 const struct run_options *options, size_t ahead, struct error *e)
{
	struct files_client *c = files_client_of(client);
	const struct files_place place = {NULL, files_verb(ACTION_SEND), path ? path : "NULL"};
	struct buf copy = BUF_INIT;

	c->callers++;
	int r = files_take_path(path, &copy, e);
	if (r == 0)
		r = open_it(out, c, &copy, options, ahead, e);
	c->callers--;
	buf_done(&copy);
	if (r < 0)
		return files_locate(e, r, c, &place);
	describe(*out, info);
	return 0;
}

int file_read(struct file **file, uint64_t offset, size_t len, struct buf *b, deadline_t by, struct error *e)
{
	struct file *f = *file;

	if (offset <= f->ahead.len && len <= f->ahead.len - offset) {
		buf_append(b, f->ahead.data + offset, len);
		return 0;
	}
	buf_done(&f->ahead);
	f->job.run = read_piece;
	f->offset = offset;
	f->len = len;
	f->bytes = *b;
	*b = BUF_INIT;
	*file = NULL;
	int r = executor_run(f->executor, &f->job, by);
	if (r == -ECANCELED)
		return r;
	if (r < 0)
		return error_set(e, r, r == -ETIMEDOUT ? 504 : 503, NULL, "reading the file: %s", strerror(-r));
	r = f->result;
	if (r < 0) {
		*e = f->error;
		file_close(f);
		return r;
	}
	*b = f->bytes;
	f->bytes = BUF_INIT;
	*file = f;
	return 0;
}

/* Closing the last descriptor of a file that was removed frees its blocks, which may take long. */
void file_close(struct file *f)
{
	if (!f)
		return;
	if (f->fd < 0) {
		free_file(&f->job);
		return;
	}
	f->job.run = do_nothing;
	int r = executor_submit(f->executor, &f->job);
	(void)r; /* the queue is full: it is closed at once */
}

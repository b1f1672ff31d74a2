/* Changing files: write, append, remove. What was answered is on the disk: files and their folders are synced.
 *
 * `write` never shows a half-written file: the content goes to a file beside it that then takes its name. A crash may
 * leave that file, under a name that `list` does not show. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "drivers/files/entry.h"
#include "drivers/files/work.h"

/* What went wrong with a path that is to be changed. */
static int change_error(struct work *w, int r, const char *doing)
{
	if (r == -ENAMETOOLONG)
		return error_say(&w->error, r, w->from_request ? REASON_FILE_NAME_LONG : REASON_NONE,
				 "%s: the name is too long", doing);
	return file_error(&w->error, r, doing);
}

static int too_large(struct work *w)
{
	return error_say(&w->error, -EFBIG, w->from_request ? REASON_FILE_WOULD_BE_LARGE : REASON_NONE,
			 "the file would be larger than max_size (%zu bytes)", w->max_size);
}

/* The change was made, but it is not known to be on the disk. Returns r. */
static int unsynced(struct work *w, int r, bool done)
{
	if (done)
		error_uncertain(&w->error);
	return r;
}

static int sync_fd(int fd)
{
	return fsync(fd) < 0 ? -errno : 0;
}

/* The file of that name in folder. -ENOENT: there is none, or it is not a regular file (*there). */
static int stat_in(int folder, const char *name, struct stat *st, bool *there)
{
	*there = fstatat(folder, name, st, AT_SYMLINK_NOFOLLOW) == 0;
	if (!*there)
		return -errno;
	return S_ISREG(st->st_mode) ? 0 : -ENOENT;
}

static int write_all(int fd, const struct buf *content)
{
	for (size_t at = 0; at < content->len;) {
		ssize_t n = write(fd, content->data + at, content->len - at);
		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* --- write --- */

/* A new file in folder, with the permissions of the one that it replaces. */
static int create_unfinished(int folder, char *name, size_t size, const struct stat *old)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return -EAGAIN;
	snprintf(name, size, ENTRY_UNFINISHED "%016llx", (unsigned long long)random);
	int fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, old ? 0600 : 0666);
	if (fd < 0)
		return -errno;
	if (old && fchmod(fd, old->st_mode & 0777) < 0) {
		int r = -errno;
		close(fd);
		unlinkat(folder, name, 0);
		return r;
	}
	return fd;
}

/* *done: the file is there under its name. */
static int replace(struct work *w, int folder, const char *name, const struct stat *old, struct stat *st, bool *done)
{
	char unfinished[sizeof(ENTRY_UNFINISHED) + 16];
	int fd = create_unfinished(folder, unfinished, sizeof(unfinished), old);
	if (fd < 0)
		return fd;

	int r = write_all(fd, &w->content);
	if (r == 0)
		r = sync_fd(fd);
	if (r == 0 && fstat(fd, st) < 0)
		r = -errno;
	if (close(fd) < 0 && r == 0)
		r = -errno;
	if (r == 0 && renameat(folder, unfinished, folder, name) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(folder, unfinished, 0);
		return r;
	}
	*done = true;
	return sync_fd(folder);
}

int work_write(struct work *w)
{
	struct stat old, st;
	const char *name;
	bool there, done = false;

	if (w->content.len > w->max_size)
		return too_large(w);
	int folder = root_open_parent(w->root, w->path.data, &name);
	if (folder < 0)
		return change_error(w, folder, "open the folder");
	int r = stat_in(folder, name, &old, &there);
	if (r == 0 || (r == -ENOENT && !there))
		r = replace(w, folder, name, there ? &old : NULL, &st, &done);
	close(folder);
	if (r < 0)
		return unsynced(w, change_error(w, r, "write"), done);
	entry_render(&w->json, name, &st);
	w->rows = 1;
	return 0;
}

/* --- append --- */

/* One write, so that what others append at the same time does not mix with it. */
static int append(struct work *w, int fd, struct stat *st)
{
	ssize_t n;

	if ((uint64_t)st->st_size + w->content.len > w->max_size)
		return too_large(w);
	do
		n = w->content.len ? write(fd, w->content.data, w->content.len) : 0;
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return file_error(&w->error, -errno, "append");
	if ((size_t)n < w->content.len) {
		int part = file_error(&w->error, -ENOSPC, "append: only a part was written");
		w->error.change = CHANGE_PARTIAL;
		return part;
	}
	int r = sync_fd(fd);
	if (r == 0 && fstat(fd, st) < 0)
		r = -errno;
	return r < 0 ? unsynced(w, file_error(&w->error, r, "append"), true) : 0;
}

static int sync_parent(struct work *w)
{
	const char *name;
	int folder = root_open_parent(w->root, w->path.data, &name);
	if (folder < 0)
		return folder;
	int r = sync_fd(folder);
	close(folder);
	return r;
}

int work_append(struct work *w)
{
	const int flags = O_WRONLY | O_APPEND;
	struct stat st;
	bool created = false;

	if (w->content.len > w->max_size)
		return too_large(w);
	int fd = root_open_regular(w->root, w->path.data, flags, 0, &st);
	if (fd == -ENOENT) {
		fd = root_open_regular(w->root, w->path.data, flags | O_CREAT, 0666, &st);
		created = true;
	}
	if (fd < 0)
		return change_error(w, fd, "open");
	int r = append(w, fd, &st);
	close(fd);
	if (r < 0)
		return r;
	r = created ? sync_parent(w) : 0;
	if (r < 0)
		return unsynced(w, change_error(w, r, "sync the folder"), true);
	entry_render(&w->json, w->path.data, &st);
	w->rows = 1;
	return 0;
}

/* --- remove --- */

int work_remove(struct work *w)
{
	struct stat st;
	const char *name;
	bool there;
	int folder = root_open_parent(w->root, w->path.data, &name);
	if (folder < 0)
		return change_error(w, folder, "open the folder");

	int r = stat_in(folder, name, &st, &there);
	if (r == 0 && unlinkat(folder, name, 0) < 0)
		r = -errno;
	bool done = r == 0;
	if (done)
		r = sync_fd(folder);
	close(folder);
	if (r < 0)
		return unsynced(w, change_error(w, r, "remove"), done);
	entry_render(&w->json, name, &st);
	w->rows = 1;
	return 0;
}

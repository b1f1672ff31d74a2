/* Opening below a folder, by openat2: the kernel itself refuses "..", links and mounts of /proc that lead out.
 *
 * systemd answers openat2 with ENOSYS under RestrictSUIDSGID= and DynamicUser=, as it can't look at its arguments. Then
 * the path is walked, a segment an openat: no link is followed, no ".." is taken, so nothing leads out either. */
#include "drivers/files/root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

enum { RACES = 8 }; /* how often the kernel may say that a folder moved while it looked */

struct root {
	atomic_uint users;
	int fd; /* O_PATH */
	bool walks;
};

/* O_NONBLOCK: opening a FIFO must not wait for its other end. openat2 refuses it beside O_PATH, which opens nothing. */
static int with_always(int flags)
{
	return flags | (flags & O_PATH ? O_CLOEXEC : O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

static int open_beneath(const struct root *r, const char *path, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (unsigned)with_always(flags),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};

	for (int tries = 0;; tries++) {
		long fd = syscall(SYS_openat2, r->fd, path, &how, sizeof(how));
		if (fd >= 0)
			return (int)fd;
		if (errno != EINTR && (errno != EAGAIN || tries == RACES))
			return -errno;
	}
}

/* --- the walk --- */

static int open_segment(int folder, const char *name, int flags, mode_t mode)
{
	int fd;

	if (strcmp(name, "..") == 0)
		return -EXDEV;
	do {
		fd = openat(folder, name, flags | O_NOFOLLOW, mode);
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

/* The last segment. O_PATH opens a link itself, which is refused as the others are. */
static int open_last(int folder, const char *name, int flags, mode_t mode)
{
	struct stat st;
	int fd = open_segment(folder, *name ? name : ".", with_always(*name ? flags : flags | O_DIRECTORY), mode);

	if (fd < 0 || !(flags & O_PATH))
		return fd;
	int r = fstat(fd, &st) < 0 ? -errno : S_ISLNK(st.st_mode) ? -ELOOP : 0;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

static int walk(const struct root *r, const char *path, int flags, mode_t mode)
{
	char name[NAME_MAX + 1];
	int folder = r->fd;
	const char *slash;

	if (*path == '/')
		return -EXDEV;
	if (*path == '\0')
		return -ENOENT;
	for (; (slash = strchr(path, '/')); path = slash + 1) {
		size_t len = (size_t)(slash - path);
		if (len == 0)
			continue;
		int next = -ENAMETOOLONG;
		if (len <= NAME_MAX) {
			memcpy(name, path, len);
			name[len] = '\0';
			next = open_segment(folder, name, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
		}
		if (folder != r->fd)
			close(folder);
		if (next < 0)
			return next;
		folder = next;
	}
	int fd = open_last(folder, path, flags, mode);
	if (folder != r->fd)
		close(folder);
	return fd;
}

int root_open_at(const struct root *r, const char *path, int flags, mode_t mode)
{
	return r->walks ? walk(r, path, flags, mode) : open_beneath(r, path, flags, mode);
}

/* GATHERD_NO_OPENAT2=1: as if the kernel had none, for the tests. */
static bool must_walk(void)
{
	const char *word = getenv("GATHERD_NO_OPENAT2");
	return word && strcmp(word, "1") == 0;
}

int root_open(struct root **out, const char *folder)
{
	int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;

	struct root *r = mem_zalloc(sizeof(*r));
	atomic_init(&r->users, 1);
	r->fd = fd;
	r->walks = must_walk();
	int probe = root_open_at(r, ".", O_PATH, 0);
	if (probe == -ENOSYS) {
		r->walks = true;
		probe = root_open_at(r, ".", O_PATH, 0);
	}
	if (probe < 0) {
		root_drop(r);
		return probe;
	}
	close(probe);
	*out = r;
	return 0;
}

struct root *root_hold(struct root *r)
{
	atomic_fetch_add_explicit(&r->users, 1, memory_order_relaxed);
	return r;
}

void root_drop(struct root *r)
{
	if (!r || atomic_fetch_sub_explicit(&r->users, 1, memory_order_acq_rel) != 1)
		return;
	close(r->fd);
	free(r);
}

int root_open_regular(const struct root *r, const char *path, int flags, mode_t mode, struct stat *st)
{
	int fd = root_open_at(r, path, flags, mode);
	if (fd < 0)
		return fd;

	int error = fstat(fd, st) < 0 ? -errno : 0;
	if (error == 0 && !S_ISREG(st->st_mode))
		error = -ENOENT;
	if (error < 0) {
		close(fd);
		return error;
	}
	return fd;
}

int root_open_parent(const struct root *r, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	int fd;

	*name = slash ? slash + 1 : path;
	if (**name == '\0' || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0)
		return -ENOENT;
	if (!slash)
		return root_open_at(r, ".", O_RDONLY | O_DIRECTORY, 0);
	char *folder = mem_strndup(path, (size_t)(slash - path));
	fd = root_open_at(r, folder, O_RDONLY | O_DIRECTORY, 0);
	free(folder);
	return fd;
}

/* --- errors --- */

/* What is not here is 502: the disk broke. */
static const struct {
	int errnum, status;
	enum reason reason; /* REASON_NONE: the status says enough */
} meanings[] = {
	{ENOENT, 404, REASON_FILE_MISSING}, {ENOTDIR, 404, REASON_FILE_MISSING},
	{EISDIR, 404, REASON_FILE_MISSING}, {ELOOP, 404, REASON_FILE_MISSING},
	{EXDEV, 404, REASON_FILE_MISSING},  {ENXIO, 404, REASON_FILE_MISSING},
	{ENODEV, 404, REASON_FILE_MISSING}, {ENAMETOOLONG, 404, REASON_FILE_MISSING},
	{EACCES, 500, REASON_NONE},         {EPERM, 500, REASON_NONE},
	{EROFS, 500, REASON_NONE},          {EINVAL, 500, REASON_NONE},
	{EAGAIN, 503, REASON_NONE},         {EBUSY, 503, REASON_NONE},
	{EMFILE, 503, REASON_NONE},         {ENFILE, 503, REASON_NONE},
	{ENOMEM, 503, REASON_NONE},         {ENOSPC, 503, REASON_NONE},
	{EDQUOT, 503, REASON_NONE},
};

int file_error(struct error *e, int errnum, const char *doing)
{
	char text[64];
	const char *why = strerror_r(-errnum, text, sizeof(text));

	for (size_t i = 0; i < ARRAY_SIZE(meanings); i++) {
		if (meanings[i].errnum == -errnum)
			return error_set(e, errnum, meanings[i].status, reason_text(meanings[i].reason), "%s: %s",
					 doing, why);
	}
	return error_set(e, errnum, 502, NULL, "%s: %s", doing, why);
}

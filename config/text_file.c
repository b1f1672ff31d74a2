/* Files that a configuration names: secrets, SQL, other configurations. Regular files only: a FIFO would make the load
 * wait, and so would a device. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/language.h"

/* Read all of fd, at most max bytes. Returns the length or -errno; -EFBIG, -EINVAL (no regular file). */
static ssize_t read_all(struct arena *a, int fd, size_t max, char **out)
{
	struct stat st;
	size_t len = 0;
	ssize_t n = 1;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	/* One byte more tells a file that has grown since. */
	size_t size = (size_t)st.st_size + 1;
	*out = arena_alloc(a, size + 1);
	while (n > 0 && len < size) {
		n = read(fd, *out + len, size - len);
		if (n < 0)
			return -errno;
		len += (size_t)n;
	}
	(*out)[len] = '\0';
	return len == size ? -EBUSY : (ssize_t)len;
}

static const char *why_of(struct decoder *dc, int error, size_t max)
{
	if (error == EFBIG)
		return arena_printf(&dc->diagnostics->arena, "larger than %zu KiB", max >> 10);
	return error == EINVAL ? "no regular file" : error == EBUSY ? "it changes while it is read" : strerror(error);
}

const char *read_text_file(struct decoder *dc, const struct node *name, const char *path, size_t max, size_t *len)
{
	char *text = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -errno : read_all(dc->arena, fd, max, &text);

	if (fd >= 0)
		close(fd);
	if (n < 0) {
		decode_error(dc, name->at, "%.200s: %s", name->expanded ? "a file from the environment" : path,
			     why_of(dc, (int)-n, max));
		return NULL;
	}
	*len = (size_t)n;
	return text;
}

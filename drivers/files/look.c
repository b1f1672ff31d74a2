/* Looking at files: read, stat, list. What is made of the bytes is made here, on the executor's thread: checking and
 * escaping megabytes takes longer than a loop may stand still. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "drivers/files/entry.h"
#include "drivers/files/work.h"

enum {
	PIECE = 64 * 1024, /* read at least so much at once */
	LIST_MAX = 10000,  /* entries of a folder */
};

/* --- read --- */

/* All of fd, whatever its size was said to be: files of /proc have none, others grow meanwhile. */
static int read_all(int fd, size_t expected, size_t max, struct buf *out)
{
	ssize_t n;

	do {
		size_t room = expected > out->len ? expected - out->len + 1 : PIECE;
		if (room > max - out->len + 1)
			room = max - out->len + 1;
		buf_reserve(out, room);
		do
			n = read(fd, out->data + out->len, room);
		while (n < 0 && errno == EINTR);
		if (n < 0)
			return -errno;
		out->len += (size_t)n;
		if (out->len > max)
			return -EFBIG;
	} while (n > 0);
	return 0;
}

static int too_large(struct work *w)
{
	return error_say(&w->error, -EFBIG, REASON_FILE_LARGE, "it is larger than max_size (%zu bytes)", w->max_size);
}

static int text_to_json(struct work *w, const struct buf *bytes)
{
	if (bytes->len && memchr(bytes->data, '\0', bytes->len))
		return error_say(&w->error, -EBADMSG, REASON_FILE_NOT_TEXT,
				 "it holds a NUL: it is no text (as: base64 reads it)");
	size_t good = utf8_prefix(bytes->data, bytes->len);
	if (good < bytes->len)
		return error_say(&w->error, -EBADMSG, REASON_FILE_NOT_UTF8, "it is not UTF-8: wrong at byte %zu", good);
	json_string(&w->json, bytes->data, bytes->len);
	return 0;
}

static int json_to_json(struct work *w, struct buf *bytes)
{
	static const char mark[] = "\xEF\xBB\xBF"; /* a byte order mark, as some editors write it */
	size_t skip = bytes->len >= 3 && memcmp(bytes->data, mark, 3) == 0 ? 3 : 0;
	const char *text = bytes->data + skip;
	size_t len = bytes->len - skip;
	char why[128];
	bool spaced;

	if (json_check(text, len, JSON_MAX_DEPTH, JSON_CUT_SURROGATES, &spaced, why, sizeof(why)) < 0)
		return error_say(&w->error, -EBADMSG, REASON_FILE_NOT_JSON, "it is not JSON: %s", why);
	if (spaced || skip) {
		json_compact(&w->json, text, len);
	} else {
		w->json = *bytes;
		*bytes = BUF_INIT;
	}
	return 0;
}

static void keep_bytes(struct work *w, struct buf *bytes)
{
	w->is_text = !bytes->len || (!memchr(bytes->data, '\0', bytes->len) && utf8_valid(bytes->data, bytes->len));
	w->bytes = *bytes;
	*bytes = BUF_INIT;
}

static int convert(struct work *w, struct buf *bytes)
{
	if (w->as_value) {
		keep_bytes(w, bytes);
		return 0;
	}
	/* An empty file has no memory. */
	buf_reserve(bytes, 1);
	switch (w->as) {
	case FILE_AS_TEXT:
		return text_to_json(w, bytes);
	case FILE_AS_JSON:
		return json_to_json(w, bytes);
	case FILE_AS_BASE64:
		json_base64(&w->json, bytes->data, bytes->len);
		return 0;
	}
	return -EINVAL;
}

int work_read(struct work *w)
{
	struct stat st;
	struct buf bytes = BUF_INIT;
	int fd = root_open_regular(w->root, w->path.data, O_RDONLY, 0, &st);
	if (fd < 0)
		return file_error(&w->error, fd, "open");

	int r;
	if ((uint64_t)st.st_size > w->max_size) {
		r = too_large(w);
	} else {
		r = read_all(fd, (size_t)st.st_size, w->max_size, &bytes);
		if (r == -EFBIG)
			r = too_large(w);
		else if (r < 0)
			r = file_error(&w->error, r, "read");
		else
			r = convert(w, &bytes);
	}
	w->rows = 1;
	close(fd);
	buf_done(&bytes);
	return r;
}

/* --- stat --- */

int work_stat(struct work *w)
{
	struct stat st;
	int fd = root_open_at(w->root, w->path.data, O_PATH, 0);
	if (fd < 0)
		return file_error(&w->error, fd, "open");

	int r = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -ENOENT;
	close(fd);
	if (r < 0)
		return file_error(&w->error, r, "stat");
	entry_render(&w->json, w->path.data, &st);
	w->rows = 1;
	return 0;
}

/* --- list --- */

struct entry {
	char *name;
	struct stat st;
};

static void free_entries(struct entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(entries[i].name);
	free(entries);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* Files and folders with a name that JSON can carry; a file that is being written is not there yet. */
static bool is_shown(int folder, const char *name, struct stat *st)
{
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || entry_is_unfinished(name) ||
	    !utf8_valid(name, strlen(name)))
		return false;
	return fstatat(folder, name, st, AT_SYMLINK_NOFOLLOW) == 0 && (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode));
}

/* Returns how many entries there are in *out, or -errno; -E2BIG: too many. */
static int read_entries(DIR *dir, struct entry **out)
{
	size_t count = 0, capacity = 0;
	struct entry *entries = NULL;
	const struct dirent *d;
	int r = 0;

	while (r == 0 && (errno = 0, d = readdir(dir))) {
		struct stat st;
		if (!is_shown(dirfd(dir), d->d_name, &st))
			continue;
		if (count == LIST_MAX) {
			r = -E2BIG;
			break;
		}
		mem_reserve(entries, capacity, count + 1);
		entries[count++] = (struct entry){.name = mem_strdup(d->d_name), .st = st};
	}
	if (r == 0 && errno)
		r = -errno;
	if (r < 0) {
		free_entries(entries, count);
		return r;
	}
	*out = entries;
	return (int)count;
}

int work_list(struct work *w)
{
	struct entry *entries = NULL;
	int fd = root_open_at(w->root, w->path.data, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return file_error(&w->error, fd, "open");
	DIR *dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return file_error(&w->error, -ENOMEM, "open");
	}

	int count = read_entries(dir, &entries);
	closedir(dir);
	if (count == -E2BIG)
		return error_say(&w->error, -E2BIG, REASON_FOLDER_LARGE, "the folder has more than %d entries",
				 LIST_MAX);
	if (count < 0)
		return file_error(&w->error, count, "list");
	if (count)
		qsort(entries, (size_t)count, sizeof(*entries), by_name);
	buf_char(&w->json, '[');
	for (int i = 0; i < count; i++) {
		if (i)
			buf_char(&w->json, ',');
		entry_render(&w->json, entries[i].name, &entries[i].st);
	}
	buf_char(&w->json, ']');
	free_entries(entries, (size_t)count);
	w->rows = (size_t)count;
	return 0;
}

/* Secrets: a text, or where it is to be found. What was read is shown in no message. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/language.h"

#define SECRET_MAX 65536 /* bytes of a file */

/* Read the file at path into *out. Returns its length or -errno; -EFBIG, -EINVAL (no regular file). */
static ssize_t read_file(const char *path, char *out, size_t size)
{
	struct stat st;
	size_t len = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	ssize_t r = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 1 : -EINVAL;
	while (r > 0 && len < size) {
		r = read(fd, out + len, size - len);
		if (r < 0)
			r = -errno;
		else
			len += (size_t)r;
	}
	close(fd);
	return r < 0 ? r : len == size ? -EFBIG : (ssize_t)len;
}

static const char *from_file(struct decoder *dc, struct mark at, const char *path)
{
	const char *place = *path == '/' ? path : arena_printf(dc->arena, "%s/%s", dc->directory, path);
	char *text = arena_alloc(dc->arena, SECRET_MAX + 2);
	ssize_t len = read_file(place, text, SECRET_MAX + 2);

	if (len == -EFBIG || len == -EINVAL) {
		diagnostics_error(dc->diagnostics, at, "%.200s: %s", place,
				  len == -EFBIG ? "too large for a secret" : "a secret must be a regular file");
		return NULL;
	}
	if (len < 0) {
		diagnostics_error(dc->diagnostics, at, "%.200s: %s", place, strerror((int)-len));
		return NULL;
	}
	if (len > 0 && text[len - 1] == '\n')
		len -= len > 1 && text[len - 2] == '\r' ? 2 : 1;
	if (memchr(text, '\0', (size_t)len)) {
		diagnostics_error(dc->diagnostics, at, "%.200s: a secret can't hold a NUL byte", place);
		return NULL;
	}
	text[len] = '\0';
	return text;
}

static const char *from_credential(struct decoder *dc, struct mark at, const char *name)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");

	if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		diagnostics_error(dc->diagnostics, at, "credential: expected a name, not a path");
		return NULL;
	}
	if (!directory || *directory != '/') {
		diagnostics_error(
			dc->diagnostics, at,
			"credential %.100s: $CREDENTIALS_DIRECTORY is not set: the service manager sets it for "
			"LoadCredential=",
			name);
		return NULL;
	}
	return from_file(dc, at, arena_printf(dc->arena, "%s/%s", directory, name));
}

static const char *from_environment(struct decoder *dc, struct mark at, const char *name)
{
	const char *value = getenv(name);
	if (!value)
		diagnostics_error(dc->diagnostics, at, "the environment variable %.100s is not set", name);
	return value ? arena_strdup(dc->arena, value) : NULL;
}

static const char *look_up(struct decoder *dc, const struct node *n, const char *name)
{
	struct secret_words words = {0};

	if (n->kind != NODE_MAPPING) {
		bool text = n->kind == NODE_STRING || n->kind == NODE_INT || n->kind == NODE_FLOAT;
		if (!text)
			diagnostics_error(dc->diagnostics, n->at,
					  "%s: expected a text, { env: NAME }, { file: PATH } or { credential: NAME }",
					  name);
		return text ? n->text : NULL;
	}
	size_t before = dc->diagnostics->errors;
	decode_section(dc, &section_secret, name, n, &words);
	if (!!words.env + !!words.file + !!words.credential != 1) {
		if (dc->diagnostics->errors == before)
			diagnostics_error(dc->diagnostics, n->at,
					  "%s: expected one of { env: NAME }, { file: PATH } or { credential: NAME }",
					  name);
		return NULL;
	}
	struct mark at = n->members[0].value->at;
	return words.env    ? from_environment(dc, at, words.env)
	       : words.file ? from_file(dc, at, words.file)
			    : from_credential(dc, at, words.credential);
}

void decode_secret(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_secret *secret = (struct config_secret *)(void *)((char *)object + k->offset);
	const char *value = look_up(dc, n, k->name);

	if (value && !*value) {
		diagnostics_error(dc->diagnostics, n->at, "%s: it is empty", k->name);
		return;
	}
	if (value)
		*secret = (struct config_secret){.set = true, .value = value, .at = n->at};
}

/* A handler's call is the same job as a step's (work.h), with its path and content taken from the call. */
#include "drivers/files/run.h"

#include <errno.h>
#include <string.h>

#include "base/utf8.h"
#include "drivers/files/source.h"
#include "drivers/files/work.h"

static bool leads_out(const char *path)
{
	if (*path == '/')
		return true;
	for (const char *segment = path; segment; segment = strchr(segment, '/')) {
		segment += *segment == '/';
		if (strncmp(segment, "..", 2) == 0 && (segment[2] == '/' || segment[2] == '\0'))
			return true;
	}
	return false;
}

int files_take_path(const char *path, struct buf *out, struct error *e)
{
	if (!path)
		return error_set(e, -EINVAL, 500, NULL, "the path is NULL");
	if (!utf8_valid(path, strlen(path)))
		return error_set(e, -EINVAL, 500, NULL, "the path is not UTF-8");
	if (leads_out(path))
		return error_say(e, -ENOENT, REASON_FILE_MISSING, "the path leads out of the folder");
	buf_str(out, *path ? path : ".");
	return 0;
}

static void take_content(const struct value *v, struct buf *out)
{
	struct arena scratch;
	const void *p;
	size_t len;

	arena_init(&scratch);
	if (value_bytes(v, &scratch, &p, &len)) {
		buf_append(out, p, len);
	} else if (value_looks(v) == VALUE_STRING) {
		value_text(v, out);
	} else {
		value_render(v, out);
		buf_char(out, '\n');
	}
	arena_done(&scratch);
}

/* The job; NULL: e says why. */
static struct work *prepare(const struct files_client *c, enum files_action_kind kind, const char *path,
			    const struct value *content, struct error *e)
{
	const struct files_source_keys *keys = files_client_keys(c);
	struct work *w = work_new(c->source->root, kind);
	bool writes = kind == ACTION_WRITE || kind == ACTION_APPEND || kind == ACTION_REMOVE;
	int r = files_take_path(path, &w->path, e);

	if (r == 0 && writes && !keys->write)
		r = error_set(e, -EPERM, 500, NULL, "it may only be read: the source has no `write: true`");
	if (r < 0) {
		work_free(w);
		return NULL;
	}
	(void)buf_cstr(&w->path);
	w->as_value = kind == ACTION_READ;
	w->max_size = keys->max_size;
	w->from_request = content && content->from_request;
	if (content)
		take_content(content, &w->content);
	return w;
}

int files_run(struct client *client, enum files_action_kind kind, const char *path, const struct value *content,
	      const struct run_options *options, struct result **out, struct error *e)
{
	struct files_client *c = files_client_of(client);
	const struct files_place place = {NULL, files_verb(kind), path ? path : "NULL"};
	struct error inner = ERROR_INIT;
	struct work *w = prepare(c, kind, path, content, &inner);
	int r = w ? files_run_work(c, w, options->timeout_us, out, &inner) : inner.errnum;

	if (r == 0)
		return 0;
	*e = inner;
	return files_locate(e, r, c, &place);
}

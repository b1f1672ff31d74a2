/* Paths are a flat list of texts and values. */
#include "drivers/files/path.h"

#include "base/reason.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct path_part {
	const char *text; /* literal; or the reference, for messages */
	size_t len;
	int slot;  /* -1: literal */
	bool rest; /* it may hold "/" */
};

/* Is it the parameter that takes the rest of the endpoint's path? */
static bool is_rest(const struct reference *reference, const struct config_endpoint *endpoint)
{
	char wanted[160];
	int n = snprintf(wanted, sizeof(wanted), "{%s*}", reference->root);

	return reference->path.count == 0 && (size_t)n < sizeof(wanted) && strstr(endpoint->path, wanted);
}

bool file_path_compile(struct file_path *out, const struct node *n, struct action_env *env)
{
	struct template t;

	if (strlen(n->text) != n->len) {
		diagnostics_error(env->diagnostics, n->at, "a file's name can't hold a NUL");
		return false;
	}
	if (!template_parse(&t, env->arena, n, env->diagnostics))
		return false;
	struct path_part *parts = arena_array(env->arena, t.count, sizeof(*parts));
	bool good = true;
	for (size_t i = 0; i < t.count; i++) {
		const struct template_piece *piece = &t.pieces[i];
		parts[i] = (struct path_part){.text = piece->text, .len = piece->len, .slot = -1};
		if (piece->text)
			continue;
		parts[i].slot = env->references->add(env->references, &piece->reference);
		parts[i].text = piece->reference.text;
		parts[i].rest = is_rest(&piece->reference, env->endpoint);
		good &= parts[i].slot >= 0;
	}
	*out = (struct file_path){.parts = parts, .count = t.count};
	return good;
}

/* --- filling --- */

static int wrong(struct error *e, const char *what, bool from_request, const char *why)
{
	char text[160];

	snprintf(text, sizeof(text), "%.80s %s.", what, why);
	return error_set(e, -EINVAL, from_request ? 400 : 500, from_request ? text : NULL, "%s", text);
}

static bool is_dots(const char *segment, size_t len)
{
	return len <= 2 && memcmp(segment, "..", len) == 0;
}

/* What keeps a value from being (segments of) a file's name; NULL: nothing. */
static const char *why_not(const char *text, size_t len, bool rest)
{
	const char *end = text + len, *slash;

	if (len && memchr(text, '\0', len))
		return UNFIT_NUL_IN_FILE_NAME;
	if (!rest && len && memchr(text, '/', len))
		return UNFIT_SLASH_IN_FILE_NAME;
	do {
		slash = text < end ? memchr(text, '/', (size_t)(end - text)) : NULL;
		size_t segment = (size_t)((slash ? slash : end) - text);
		if (segment == 0 || is_dots(text, segment))
			return UNFIT_DOTS_IN_FILE_NAME;
		text += segment + 1;
	} while (slash);
	return NULL;
}

static int put_value(const struct path_part *part, const struct value *v, struct buf *out, struct error *e)
{
	size_t begin = out->len;

	if (v->kind == VALUE_NULL)
		return wrong(e, part->text, v->from_request, UNFIT_NULL_IN_FILE_NAME);
	if (v->kind == VALUE_LIST || v->kind == VALUE_JSON || v->kind == VALUE_DOCUMENT || v->kind == VALUE_BYTES)
		return wrong(e, part->text, v->from_request, UNFIT_STRUCTURED_IN_FILE_NAME);
	value_text(v, out);
	const char *why = why_not(out->data + begin, out->len - begin, part->rest);
	return why ? wrong(e, part->text, v->from_request, why) : 0;
}

/* The literal text has no "..": values made it. */
static bool has_way_up(const struct buf *path)
{
	for (size_t at = 0; at < path->len;) {
		const char *slash = memchr(path->data + at, '/', path->len - at);
		size_t len = slash ? (size_t)(slash - path->data) - at : path->len - at;
		if (len == 2 && is_dots(path->data + at, len))
			return true;
		at += len + 1;
	}
	return false;
}

int file_path_fill(const struct file_path *p, const struct value *args, struct buf *out, struct error *e)
{
	bool from_request = false;

	for (size_t i = 0; i < p->count; i++) {
		const struct path_part *part = &p->parts[i];
		if (part->slot < 0) {
			buf_append(out, part->text, part->len);
			continue;
		}
		from_request |= args[part->slot].from_request;
		int r = put_value(part, &args[part->slot], out, e);
		if (r < 0)
			return r;
	}
	return has_way_up(out) ? wrong(e, "The file's name", from_request, UNFIT_LEADS_OUT) : 0;
}

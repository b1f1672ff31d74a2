/* Bodies: which types they come in, and what becomes of their bytes. */
#include "handlers/web/body.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/reason.h"
#include "base/utf8.h"
#include "handlers/web/typed.h"

/* --- types --- */

/* accept: NULL: any type; the first is the one that is meant. */
static const struct {
	const char *accept;
	enum reason refusal;
} kinds[] = {
	[BODY_AS_JSON] = {"application/json", REASON_BODY_NOT_JSON},
	[BODY_AS_FORM] = {"multipart/form-data, application/x-www-form-urlencoded", REASON_BODY_NOT_FORM},
	[BODY_AS_BYTES] = {NULL, REASON_NONE},
	[BODY_AS_TEXT] = {"text/plain", REASON_BODY_NOT_TEXT},
	[BODY_AS_NDJSON] = {"application/x-ndjson, application/ndjson, application/jsonl", REASON_BODY_NOT_NDJSON},
	[BODY_AS_CSV] = {"text/csv", REASON_BODY_NOT_CSV},
};

/* Without its parameters. */
static struct span media_type(struct span type)
{
	const char *semicolon = type.len ? memchr(type.base, ';', type.len) : NULL;

	if (semicolon)
		type.len = (size_t)(semicolon - type.base);
	while (type.len > 0 && (*type.base == ' ' || *type.base == '\t'))
		type = (struct span){type.base + 1, type.len - 1};
	while (type.len > 0 && (type.base[type.len - 1] == ' ' || type.base[type.len - 1] == '\t'))
		type.len--;
	return type;
}

static bool is(struct span type, const char *name, size_t len)
{
	return type.len == len && strncasecmp(type.base, name, len) == 0;
}

/* application/json, application/problem+json and the like. A JSON Patch says what to do with a document that is
 * elsewhere: nothing here does that. */
static bool is_json(struct span type)
{
	if (is(type, "application/json", 16))
		return true;
	return type.len > 5 && memchr(type.base, '/', type.len) &&
	       strncasecmp(type.base + type.len - 5, "+json", 5) == 0 && !is(type, "application/json-patch+json", 27);
}

bool body_is_of_type(enum body_as as, struct span type)
{
	const char *name = kinds[as].accept;

	type = media_type(type);
	if (as == BODY_AS_JSON)
		return is_json(type);
	while (name && *name) {
		size_t len = strcspn(name, ",");

		if (is(type, name, len))
			return true;
		name += len + strspn(name + len, ", ");
	}
	return name == NULL;
}

int body_refuse_type(struct exchange *x, const struct config_endpoint *to, struct error *e)
{
	const char *accept = kinds[to->body_as].accept;

	x->always[x->always_count++] = (struct header){{"accept", 6}, {accept, strlen(accept)}};
	return error_say(e, -EMEDIUMTYPE, kinds[to->body_as].refusal, "%s: a body of another Content-Type is expected",
			 to->name);
}

/* --- JSON --- */

static void refuse(struct mistakes *m, const struct mistake_step *line, const char *what)
{
	struct mistake_place at = mistake_at(IN_BODY, "");

	at.steps = line;
	at.depth = line ? 1 : 0;
	mistake_add(m, &at, NULL, MISTAKE_BODY_JSON, what);
}

static bool read_json(struct body *out, struct span text, struct arena *a, struct mistakes *m)
{
	char what[96];

	if (json_parse(&out->tree, a, text.base, text.len, JSON_MAX_DEPTH, what, sizeof(what)) == 0)
		return true;
	refuse(m, NULL, what);
	return false;
}

/* A value a line; lines of white space are none. */
static bool read_lines(struct body *out, struct span text, struct arena *a, struct mistakes *m)
{
	const char *end = text.base + text.len;
	struct json **last;
	char what[96];

	out->tree = arena_zalloc(a, sizeof(*out->tree));
	out->tree->kind = JSON_ARRAY;
	last = &out->tree->child;
	for (const char *s = text.base; s < end;) {
		const char *newline = memchr(s, '\n', (size_t)(end - s));
		size_t len = (size_t)((newline ? newline : end) - s);
		size_t blank = 0;

		while (blank < len && strchr(" \t\r", s[blank]))
			blank++;
		if (blank < len) {
			/* One level is the list's. */
			if (json_parse(last, a, s, len, JSON_MAX_DEPTH - 1, what, sizeof(what)) < 0) {
				refuse(m, &(struct mistake_step){.index = out->tree->count, .item = true}, what);
				return false;
			}
			last = &(*last)->next;
			out->tree->count++;
		}
		s += len + 1;
	}
	return true;
}

/* --- all of them --- */

static bool read_text(struct body *out, struct span text, struct arena *a, struct mistakes *m)
{
	const struct mistake_place at = mistake_at(IN_BODY, "");

	if (!utf8_valid(text.base, text.len)) {
		mistake_add(m, &at, NULL, MISTAKE_UTF8);
		return false;
	}
	out->tree = typed_text(a, text, &typed_any_text);
	return true;
}

bool body_read(struct body *out, const struct config_endpoint *to, struct exchange *x, struct mistakes *m)
{
	struct arena *a = &x->arena;
	struct span text = {arena_strndup(a, x->body.base, x->body.len), x->body.len};

	switch (to->body_as) {
	case BODY_AS_JSON:
		return read_json(out, text, a, m);
	case BODY_AS_FORM:
		return body_read_form(out, to->body, x->content_type, text, a, m);
	case BODY_AS_BYTES:
		out->bytes = text;
		return true;
	case BODY_AS_TEXT:
		return read_text(out, text, a, m);
	case BODY_AS_NDJSON:
		return read_lines(out, text, a, m);
	case BODY_AS_CSV:
		return body_read_csv(out, to->body, text, a, m);
	}
	return false;
}

struct value body_value(const struct body *b, const struct config_endpoint *to, struct arena *a)
{
	struct value v;

	if (to->body_as == BODY_AS_FORM)
		return body_form_value(b, to->body, a);
	if (b->tree)
		return typed_scalar(typed_schema(to->body), b->tree);
	v = value_bytes_of(b->bytes.base, b->bytes.len);
	v.from_request = true;
	return v;
}

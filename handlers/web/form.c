/* Forms, read in one pass over the body, with bounds on what they may hold. */
#include "handlers/web/form.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "handlers/web/percent.h"

enum {
	MAX_BOUNDARY = 70, /* RFC 2046, 5.1.1 */
	MAX_PART_HEAD = 8 * 1024,
};

struct reader {
	struct form *form;
	struct arena *arena;
	size_t room;
	const char *why;
};

static int refuse(struct reader *r, int errnum, const char *why)
{
	r->why = why;
	return errnum;
}

static struct form_field *add_field(struct reader *r)
{
	struct form *f = r->form;
	if (f->count == FORM_MAX_FIELDS)
		return NULL;
	if (f->count == r->room) {
		r->room = r->room ? r->room * 2 : 16;
		struct form_field *more = arena_array(r->arena, r->room, sizeof(*more));
		if (f->count)
			memcpy(more, f->fields, f->count * sizeof(*more));
		f->fields = more;
	}
	struct form_field *field = &f->fields[f->count++];
	*field = (struct form_field){0};
	return field;
}

static bool is_text(struct span s)
{
	return !memchr(s.base, '\0', s.len) && utf8_valid(s.base, s.len);
}

/* --- application/x-www-form-urlencoded --- */

static int decode(struct reader *r, struct span raw, struct span *out)
{
	char *text = arena_alloc(r->arena, raw.len + 1);
	ssize_t n = percent_decode(text, raw.base, raw.len, true);
	if (n < 0)
		return refuse(r, -EBADMSG, "a name or a value is not percent-encoded UTF-8");
	*out = (struct span){text, (size_t)n};
	return 0;
}

static int read_pair(struct reader *r, struct span pair)
{
	const char *equals = memchr(pair.base, '=', pair.len);
	size_t name_len = equals ? (size_t)(equals - pair.base) : pair.len;
	struct span value = {equals ? equals + 1 : "", equals ? pair.len - name_len - 1 : 0};
	struct form_field *field = add_field(r);
	if (!field)
		return refuse(r, -E2BIG, "there are too many fields");
	int result = decode(r, (struct span){pair.base, name_len}, &field->name);
	return result < 0 ? result : decode(r, value, &field->content);
}

static int read_urlencoded(struct reader *r, struct span body)
{
	while (body.len > 0) {
		const char *end = memchr(body.base, '&', body.len);
		size_t len = end ? (size_t)(end - body.base) : body.len;
		if (len > 0) {
			int result = read_pair(r, (struct span){body.base, len});
			if (result < 0)
				return result;
		}
		size_t skip = end ? len + 1 : len;
		body = (struct span){body.base + skip, body.len - skip};
	}
	return 0;
}

/* --- header values with parameters: `form-data; name="a"; filename="b.txt"` --- */

static struct span trimmed(struct span s)
{
	while (s.len > 0 && (s.base[0] == ' ' || s.base[0] == '\t'))
		s = (struct span){s.base + 1, s.len - 1};
	while (s.len > 0 && (s.base[s.len - 1] == ' ' || s.base[s.len - 1] == '\t'))
		s.len--;
	return s;
}

static bool same(struct span s, const char *text)
{
	return s.len == strlen(text) && strncasecmp(s.base, text, s.len) == 0;
}

/* What stands before the first semicolon; the rest moves to *s. */
static struct span take_main(struct span *s)
{
	const char *semicolon = memchr(s->base, ';', s->len);
	size_t len = semicolon ? (size_t)(semicolon - s->base) : s->len;
	struct span main = {s->base, len};
	*s = (struct span){s->base + len, s->len - len};
	return trimmed(main);
}

/* A quoted string that begins at s; \" is a quote, any other backslash is itself, as browsers write file names. NULL:
 * it has no end. */
static const char *take_quoted(struct arena *a, struct span s, struct span *out)
{
	size_t end = 1;
	while (end < s.len && s.base[end] != '"')
		end += s.base[end] == '\\' && end + 1 < s.len && s.base[end + 1] == '"' ? 2 : 1;
	if (end >= s.len)
		return NULL;
	char *text = arena_alloc(a, end);
	size_t n = 0;
	for (size_t i = 1; i < end; i++) {
		if (s.base[i] == '\\' && s.base[i + 1] == '"')
			i++;
		text[n++] = s.base[i];
	}
	*out = (struct span){text, n};
	return s.base + end + 1;
}

/* The next `; name=value` of *s. 1: there was one, 0: no more, -EBADMSG. */
static int take_parameter(struct arena *a, struct span *s, struct span *name, struct span *value)
{
	*s = trimmed(*s);
	if (s->len == 0)
		return 0;
	if (s->base[0] != ';')
		return -EBADMSG;
	struct span rest = trimmed((struct span){s->base + 1, s->len - 1});
	const char *end = rest.base + rest.len, *equals = memchr(rest.base, '=', rest.len);
	if (!equals)
		return -EBADMSG;
	*name = trimmed((struct span){rest.base, (size_t)(equals - rest.base)});
	struct span text = trimmed((struct span){equals + 1, (size_t)(end - equals - 1)});
	const char *next;
	if (text.len > 0 && text.base[0] == '"') {
		next = take_quoted(a, text, value);
		if (!next)
			return -EBADMSG;
	} else {
		next = memchr(text.base, ';', text.len);
		next = next ? next : end;
		*value = trimmed((struct span){text.base, (size_t)(next - text.base)});
	}
	*s = (struct span){next, (size_t)(end - next)};
	return 1;
}

/* --- multipart/form-data --- */

/* A client's path is no business of ours, and a danger: only what follows the last slash of either kind stays. */
static struct span last_segment(struct span path)
{
	size_t begin = path.len;
	while (begin > 0 && path.base[begin - 1] != '/' && path.base[begin - 1] != '\\')
		begin--;
	struct span name = {path.base + begin, path.len - begin};
	if (same(name, ".") || same(name, ".."))
		name.len = 0;
	return name;
}

static int read_disposition(struct reader *r, struct span value, struct form_field *field)
{
	if (!same(take_main(&value), "form-data"))
		return refuse(r, -EBADMSG, "a part is no form-data");
	struct span name, text;
	int more;
	while ((more = take_parameter(r->arena, &value, &name, &text)) > 0) {
		if (same(name, "name"))
			field->name = text;
		else if (same(name, "filename"))
			field->filename = last_segment(text);
	}
	return more < 0 ? refuse(r, -EBADMSG, "a part's Content-Disposition is not well-formed") : 0;
}

static int read_part_header(struct reader *r, struct span line, struct form_field *field)
{
	const char *colon = memchr(line.base, ':', line.len);
	if (!colon)
		return refuse(r, -EBADMSG, "a part's header has no colon");
	struct span name = {line.base, (size_t)(colon - line.base)};
	struct span value = trimmed((struct span){colon + 1, line.len - name.len - 1});
	if (same(name, "content-disposition"))
		return read_disposition(r, value, field);
	if (same(name, "content-type"))
		field->type = value;
	return 0;
}

/* The headers of a part, up to the empty line; *part moves behind it. */
static int read_part_head(struct reader *r, struct span *part, struct form_field *field)
{
	struct span rest = *part;
	for (;;) {
		const char *end = memmem(rest.base, rest.len, "\r\n", 2);
		if (!end || (size_t)(end - part->base) > MAX_PART_HEAD)
			return refuse(r, -EBADMSG, "a part's headers have no end");
		struct span line = {rest.base, (size_t)(end - rest.base)};
		rest = (struct span){end + 2, rest.len - line.len - 2};
		if (line.len == 0)
			break;
		int result = read_part_header(r, line, field);
		if (result < 0)
			return result;
	}
	*part = rest;
	return 0;
}

static int read_part(struct reader *r, struct span part)
{
	struct form_field *field = add_field(r);
	if (!field)
		return refuse(r, -E2BIG, "there are too many fields");
	int result = read_part_head(r, &part, field);
	if (result < 0)
		return result;
	field->content = part;
	if (!field->name.base || !is_text(field->name) || (field->filename.base && !is_text(field->filename)))
		return refuse(r, -EBADMSG, "a part has no name, or one that is not UTF-8");
	if (!field->filename.base && !is_text(field->content))
		return refuse(r, -EBADMSG, "a field is not UTF-8");
	if (field->type.len == 0 || !is_text(field->type))
		field->type = (struct span){"application/octet-stream", 24};
	return 0;
}

/* Behind a delimiter: the end of the form, or the rest of the line (blanks). 1: a part follows, 0: it was the last. */
static int pass_delimiter(struct reader *r, struct span *rest)
{
	if (rest->len >= 2 && memcmp(rest->base, "--", 2) == 0)
		return 0;
	while (rest->len > 0 && (rest->base[0] == ' ' || rest->base[0] == '\t'))
		*rest = (struct span){rest->base + 1, rest->len - 1};
	if (rest->len < 2 || memcmp(rest->base, "\r\n", 2) != 0)
		return refuse(r, -EBADMSG, "a delimiter is followed by something else");
	*rest = (struct span){rest->base + 2, rest->len - 2};
	return 1;
}

static int read_multipart(struct reader *r, struct span body, struct span boundary)
{
	char delimiter[4 + MAX_BOUNDARY] = "\r\n--";
	size_t len = 4 + boundary.len;
	memcpy(delimiter + 4, boundary.base, boundary.len);

	/* What stands before the first delimiter is for readers that know no MIME. */
	bool at_once = body.len >= len - 2 && memcmp(body.base, delimiter + 2, len - 2) == 0;
	const char *at = at_once ? body.base : memmem(body.base, body.len, delimiter, len);
	const char *next = at ? at + (at_once ? len - 2 : len) : NULL, *end = body.base + body.len;
	while (next) {
		struct span rest = {next, (size_t)(end - next)};
		int more = pass_delimiter(r, &rest);
		if (more <= 0)
			return more;
		at = memmem(rest.base, rest.len, delimiter, len);
		if (!at)
			break;
		int result = read_part(r, (struct span){rest.base, (size_t)(at - rest.base)});
		if (result < 0)
			return result;
		next = at + len;
	}
	return refuse(r, -EBADMSG, "the last delimiter is missing");
}

/* --- both --- */

static int find_boundary(struct reader *r, struct span parameters, struct span *out)
{
	struct span name, value;
	while (take_parameter(r->arena, &parameters, &name, &value) > 0) {
		if (same(name, "boundary") && value.len > 0 && value.len <= MAX_BOUNDARY) {
			*out = value;
			return 0;
		}
	}
	return refuse(r, -EBADMSG, "the Content-Type has no boundary");
}

int form_parse(struct form *out, struct arena *a, struct span content_type, struct span body, const char **why)
{
	struct reader r = {.form = out, .arena = a, .why = ""};
	*out = (struct form){0};
	struct span parameters = content_type, boundary;
	struct span type = content_type.len ? take_main(&parameters) : content_type;
	int result = -EMEDIUMTYPE;
	if (same(type, "application/x-www-form-urlencoded")) {
		result = read_urlencoded(&r, body);
	} else if (same(type, "multipart/form-data")) {
		result = find_boundary(&r, parameters, &boundary);
		if (result == 0)
			result = read_multipart(&r, body, boundary);
	}
	*why = r.why;
	return result;
}

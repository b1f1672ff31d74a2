/* Targets are a flat list of parts: text that is encoded already, values, and the ends of segments that hold values. */
#include "drivers/http/target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/ascii.h"
#include "base/mem.h"
#include "base/reason.h"

enum part_kind {
	PART_TEXT,        /* as it is */
	PART_SEGMENT,     /* a segment begins */
	PART_IN_SEGMENT,  /* a value in it */
	PART_SEGMENT_END, /* a segment with values in it has ended */
	PART_PARAMETER,   /* a query parameter begins: its name, with "=" where it has one */
	PART_IN_VALUE,    /* a value in the parameter's */
	PART_WHOLE,       /* a parameter whose value is one reference: its name with "=" */
};

struct target_part {
	enum part_kind kind;
	const char *text; /* PART_TEXT, PART_PARAMETER, PART_WHOLE; else the reference, for messages */
	size_t len;
	int slot;
};

/* --- encoding --- */

static bool is_unreserved(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
	       c == '_' || c == '~';
}

static void encode_byte(struct buf *out, unsigned char c)
{
	static const char hex[] = "0123456789ABCDEF";

	buf_append(out, (char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
}

/* As a value is. */
void target_encode(struct buf *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (is_unreserved((unsigned char)s[i]))
			buf_char(out, s[i]);
		else
			encode_byte(out, (unsigned char)s[i]);
	}
}

/* A piece of what the configuration says: delimiters and %XX stay, what can't stand in a URL is encoded. */
static void encode_literal(struct buf *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool escape = s[i] == '%' && len - i > 2 && ascii_hex_value(s[i + 1]) >= 0 &&
			      ascii_hex_value(s[i + 2]) >= 0;

		if (is_unreserved((unsigned char)s[i]) || escape || (s[i] && strchr("!$&'()*+,;=:@/?", s[i])))
			buf_char(out, s[i]);
		else
			encode_byte(out, (unsigned char)s[i]);
	}
}

/* --- compiling --- */

struct builder {
	struct action_env *env;
	struct target_part *parts; /* on the heap while it grows */
	size_t count, capacity;
	bool good;
};

static struct target_part *emit(struct builder *b, enum part_kind kind)
{
	mem_reserve(b->parts, b->capacity, b->count + 1);
	b->parts[b->count] = (struct target_part){.kind = kind, .slot = -1};
	return &b->parts[b->count++];
}

static void emit_text(struct builder *b, enum part_kind kind, const struct buf *text)
{
	struct target_part *last = b->count ? &b->parts[b->count - 1] : NULL;
	const char *data = text->len ? text->data : "";

	if (kind == PART_TEXT && last && last->kind == PART_TEXT) {
		last->text = arena_printf(b->env->arena, "%s%.*s", last->text, (int)text->len, data);
		last->len += text->len;
		return;
	}
	struct target_part *part = emit(b, kind);
	part->text = arena_strndup(b->env->arena, data, text->len);
	part->len = text->len;
}

static void emit_reference(struct builder *b, enum part_kind kind, const struct reference *reference)
{
	int slot = b->env->references->add(b->env->references, reference);
	struct target_part *part = emit(b, kind);

	part->slot = slot;
	part->text = reference->text;
	b->good &= slot >= 0;
}

static void refuse(struct builder *b, struct mark at, const char *why)
{
	diagnostics_error(b->env->diagnostics, at, "%s", why);
	b->good = false;
}

/* Where the path's template is being read. */
struct cursor {
	const struct template_piece *piece, *end;
	size_t at; /* in a literal piece */
};

/* The literal text up to one of `stops` or a reference, encoded, to out. Returns the stop, which is taken; 0 at a
 * reference or the end. What a variable supplied is encoded as a value is, but for the "/" of a path. */
static char take_literal(struct cursor *c, const char *stops, struct buf *out)
{
	while (c->piece < c->end && c->piece->text) {
		const char *from = c->piece->text + c->at;
		size_t len;
		if (c->piece->supplied) {
			len = *stops == '/' ? strcspn(from, "/") : c->piece->len - c->at;
			target_encode(out, from, len);
		} else {
			len = strcspn(from, stops);
			encode_literal(out, from, len);
		}
		c->at += len;
		if (c->at < c->piece->len)
			return c->piece->text[c->at++];
		c->piece++;
		c->at = 0;
	}
	return 0;
}

static const struct reference *take_reference(struct cursor *c)
{
	c->at = 0;
	return c->piece < c->end ? &c->piece++->reference : NULL;
}

/* The path, a segment at a time. Returns whether a query follows. */
static bool compile_path(struct builder *b, struct cursor *c)
{
	struct buf text = BUF_INIT;
	char stop = '/';

	while (stop == '/') {
		bool has_value = false;
		const struct reference *reference;
		size_t begin = b->count;

		emit(b, PART_SEGMENT);
		text.len = 0;
		while ((stop = take_literal(c, "/?", &text)) == 0 && (reference = take_reference(c))) {
			emit_text(b, PART_TEXT, &text);
			emit_reference(b, PART_IN_SEGMENT, reference);
			text.len = 0;
			has_value = true;
		}
		if (!has_value)
			b->count = begin;
		emit_text(b, PART_TEXT, &text);
		if (has_value)
			emit(b, PART_SEGMENT_END);
		if (stop == '/')
			emit_text(b, PART_TEXT, &(struct buf){.data = (char *)"/", .len = 1});
	}
	buf_done(&text);
	return stop == '?';
}

/* The values behind a parameter's name, up to "&" or the end. Returns whether another parameter follows. */
static bool compile_value(struct builder *b, struct cursor *c, struct buf *text)
{
	size_t name = b->count - 1, references = 0;
	const struct reference *reference;
	bool literal = false;
	char stop;

	while (text->len = 0, (stop = take_literal(c, "&", text)) == 0 && (reference = take_reference(c))) {
		literal |= text->len > 0;
		if (text->len)
			emit_text(b, PART_TEXT, text);
		emit_reference(b, PART_IN_VALUE, reference);
		references++;
	}
	literal |= text->len > 0;
	if (text->len)
		emit_text(b, PART_TEXT, text);
	if (references == 1 && !literal) {
		b->parts[name].kind = PART_WHOLE;
		b->parts[name].slot = b->parts[name + 1].slot;
		b->count = name + 1;
	}
	return stop == '&';
}

static void compile_path_query(struct builder *b, struct cursor *c, struct mark at)
{
	struct buf text = BUF_INIT;
	bool more = true;

	while (more) {
		text.len = 0;
		char stop = take_literal(c, "=&", &text);
		if (stop == 0 && c->piece < c->end) {
			refuse(b, at, "a query parameter's name can't be a reference: only its value can");
			break;
		}
		if (stop == '=')
			buf_char(&text, '=');
		if (text.len)
			emit_text(b, PART_PARAMETER, &text);
		more = stop == '=' ? compile_value(b, c, &text) : stop == '&';
	}
	buf_done(&text);
}

/* One value of `query:`. */
static void compile_member_value(struct builder *b, const struct buf *name, const struct node *n)
{
	struct template t;
	struct buf text = BUF_INIT;

	if (n->kind == NODE_NULL)
		return;
	if (!node_is_scalar(n)) {
		refuse(b, n->at, "a query parameter is a text, a number, true, false, null or a list of these");
		return;
	}
	if (!template_parse(&t, b->env->arena, n, b->env->diagnostics)) {
		b->good = false;
		return;
	}
	emit_text(b, template_is_reference(&t) ? PART_WHOLE : PART_PARAMETER, name);
	for (size_t i = 0; i < t.count; i++) {
		text.len = 0;
		if (template_is_reference(&t)) {
			int slot = b->env->references->add(b->env->references, &t.pieces[i].reference);
			b->parts[b->count - 1].slot = slot;
			b->good &= slot >= 0;
		} else if (t.pieces[i].text) {
			target_encode(&text, t.pieces[i].text, t.pieces[i].len);
			emit_text(b, PART_TEXT, &text);
		} else {
			emit_reference(b, PART_IN_VALUE, &t.pieces[i].reference);
		}
	}
	buf_done(&text);
}

static void compile_query(struct builder *b, const struct node *query)
{
	struct buf name = BUF_INIT;

	for (size_t i = 0; i < query->count; i++) {
		const struct node *value = query->members[i].value;
		name.len = 0;
		target_encode(&name, query->members[i].key->text, query->members[i].key->len);
		buf_char(&name, '=');
		if (value->kind != NODE_SEQUENCE) {
			compile_member_value(b, &name, value);
			continue;
		}
		for (size_t k = 0; k < value->count; k++)
			compile_member_value(b, &name, value->items[k]);
	}
	buf_done(&name);
}

static void check_path(struct builder *b, const struct node *path)
{
	const char *text = path->text;

	if (text[0] && text[0] != '/' && text[0] != '?')
		refuse(b, path->at, "expected a path below the source's URL: it begins with \"/\"");
	for (const char *c = text; *c; c++) {
		bool control = (unsigned char)*c < ' ' || *c == 0x7F;
		if ((*c != '#' && !control) || node_is_supplied(path, (size_t)(c - text), 1))
			continue;
		refuse(b, path->at,
		       control ? "control characters can't stand in a path"
			       : "a fragment (#) is never sent to a server; a literal # is written %23");
		break;
	}
}

bool target_compile(struct target *out, const char *base, const struct node *path, const struct node *query,
		    struct action_env *env)
{
	struct builder b = {.env = env, .good = true};
	struct template t;

	check_path(&b, path);
	if (!template_parse(&t, env->arena, path, env->diagnostics))
		return false;
	struct cursor c = {.piece = t.pieces, .end = t.pieces + t.count};
	/* The bare origin is "/". */
	struct buf begin = {.data = (char *)base, .len = strlen(base)};
	if (begin.len == 0 && path->text[0] != '/')
		begin = (struct buf){.data = (char *)"/", .len = 1};
	emit_text(&b, PART_TEXT, &begin);
	if (compile_path(&b, &c))
		compile_path_query(&b, &c, path->at);
	if (query)
		compile_query(&b, query);
	struct target_part *parts = arena_array(env->arena, b.count, sizeof(*parts));
	memcpy(parts, b.parts, b.count * sizeof(*parts));
	free(b.parts);
	*out = (struct target){.parts = parts, .count = b.count};
	return b.good;
}

/* --- filling --- */

struct filler {
	const struct value *args;
	struct buf *out;
	struct buf text; /* scratch */
	struct error *error;
	size_t segment;     /* where it begins in out */
	bool segment_taint; /* a value of the request stands in it */
	bool has_query;
};

static int wrong(struct filler *f, const char *reference, bool from_request, const char *what)
{
	char text[160];

	snprintf(text, sizeof(text), "%s %s.", reference, what);
	return error_set(f->error, -EINVAL, from_request ? 400 : 500, from_request ? text : NULL, "%s", text);
}

/* v, as text, encoded. */
static int put_value(struct filler *f, const struct target_part *part, const struct value *v)
{
	f->text.len = 0;
	value_text(v, &f->text);
	if (f->text.len && memchr(f->text.data, '\0', f->text.len))
		return wrong(f, part->text, v->from_request, UNFIT_HOLDS_NUL);
	target_encode(f->out, f->text.data, f->text.len);
	return 0;
}

static int put_in_segment(struct filler *f, const struct target_part *part)
{
	const struct value *v = &f->args[part->slot];

	if (v->kind == VALUE_NULL)
		return wrong(f, part->text, v->from_request, UNFIT_NULL_IN_PATH);
	f->segment_taint |= v->from_request;
	return put_value(f, part, v);
}

/* What a value makes of its segment: nothing, "." and ".." would lead to another place than the one that is meant. */
static int end_segment(struct filler *f)
{
	size_t len = f->out->len - f->segment;

	if (len > 2 || (len > 0 && memcmp(f->out->data + f->segment, "..", len) != 0))
		return 0;
	return wrong(f, "A part of the path", f->segment_taint, UNFIT_DOTS_IN_PATH);
}

static void begin_parameter(struct filler *f, const struct target_part *part)
{
	buf_char(f->out, f->has_query ? '&' : '?');
	f->has_query = true;
	buf_append(f->out, part->text, part->len);
}

static int put_parameter(struct filler *f, const struct target_part *part, struct value v, bool from_request)
{
	if (v.kind == VALUE_NULL)
		return 0;
	v.from_request = from_request;
	begin_parameter(f, part);
	return put_value(f, part, &v);
}

static int put_whole(struct filler *f, const struct target_part *part)
{
	const struct value *v = &f->args[part->slot];
	int r = 0;

	if (v->kind == VALUE_LIST) {
		for (uint32_t i = 0; i < v->count && r == 0; i++)
			r = put_parameter(f, part, v->list[i], v->from_request);
		return r;
	}
	if (v->kind != VALUE_JSON || v->json->kind != JSON_ARRAY)
		return put_parameter(f, part, *v, v->from_request);
	for (const struct json *j = v->json->child; j && r == 0; j = j->next)
		r = put_parameter(f, part, value_from_json(j), v->from_request);
	return r;
}

static int put(struct filler *f, const struct target_part *part)
{
	switch (part->kind) {
	case PART_TEXT:
		buf_append(f->out, part->text, part->len);
		return 0;
	case PART_SEGMENT:
		f->segment = f->out->len;
		f->segment_taint = false;
		return 0;
	case PART_IN_SEGMENT:
		return put_in_segment(f, part);
	case PART_SEGMENT_END:
		return end_segment(f);
	case PART_PARAMETER:
		begin_parameter(f, part);
		return 0;
	case PART_IN_VALUE:
		return put_value(f, part, &f->args[part->slot]);
	case PART_WHOLE:
		return put_whole(f, part);
	}
	return 0;
}

int target_fill(const struct target *t, const struct value *args, struct buf *out, struct error *e)
{
	struct filler f = {.args = args, .out = out, .error = e};
	int r = 0;

	for (size_t i = 0; i < t->count && r == 0; i++)
		r = put(&f, &t->parts[i]);
	buf_done(&f.text);
	return r;
}

/* --- at run time --- */

/* What keeps a handler's path from being one; NULL: nothing. */
static const char *why_not(const char *path)
{
	if (!path)
		return "it is NULL";
	if (*path != '/')
		return "it does not begin with \"/\"";
	for (const char *c = path; *c; c++) {
		if (*c == '%' && (ascii_hex_value(c[1]) < 0 || ascii_hex_value(c[2]) < 0))
			return "a \"%\" in it is no percent-encoding";
		if (*c != '%' && !is_unreserved((unsigned char)*c) && !strchr("!$&'()*+,;=:@/?", *c))
			return "it holds what has to be percent-encoded";
	}
	return NULL;
}

/* How many dots a segment is, percent-encoded or not; 0: it is something else. */
static unsigned dots_of(const char **at)
{
	unsigned dots = 0;
	bool others = false;

	while (**at && **at != '/' && **at != '?') {
		bool encoded = strncasecmp(*at, "%2e", 3) == 0;
		others |= !encoded && **at != '.';
		dots++;
		*at += encoded ? 3 : 1;
	}
	return others ? 0 : dots;
}

static bool has_dots(const char *path)
{
	while (*path == '/') {
		path++;
		unsigned dots = dots_of(&path);
		if (dots == 1 || dots == 2)
			return true;
	}
	return false;
}

/* A parameter of one value, or of each in a list. */
static int put_member(struct filler *f, const struct value_member *m, struct arena *a)
{
	const struct value_member *items = m;
	struct buf name = BUF_INIT;
	size_t count = 1;
	int r = 0;

	target_encode(&name, m->name, m->len);
	buf_char(&name, '=');
	struct target_part part = {.kind = PART_WHOLE, .text = buf_cstr(&name), .len = name.len};
	if (value_looks(&m->value) == VALUE_LIST)
		count = value_parts(&m->value, a, &items);
	for (size_t i = 0; i < count && r == 0; i++)
		r = put_parameter(f, &part, items[i].value, m->value.from_request || items[i].value.from_request);
	buf_done(&name);
	return r;
}

static int put_members(struct filler *f, const struct value *query)
{
	const struct value_member *members;
	struct arena a;
	int r = 0;

	arena_init(&a);
	size_t count = value_parts(query, &a, &members);
	for (size_t i = 0; i < count && r == 0; i++)
		r = put_member(f, &members[i], &a);
	arena_done(&a);
	buf_done(&f->text);
	return r;
}

int target_make(const char *base, const char *path, const struct value *query, struct buf *out, struct error *e)
{
	const char *why = why_not(path);
	struct filler f = {.out = out, .error = e};

	if (!why && has_dots(path))
		why = "a segment of it is \".\" or \"..\"";
	if (why)
		return error_set(e, -EINVAL, 500, NULL, "the path can't be sent: %s", why);
	buf_str(out, base);
	buf_str(out, path);
	if (!query || value_looks(query) == VALUE_NULL)
		return 0;
	if (value_looks(query) != VALUE_DOCUMENT)
		return error_set(e, -EINVAL, 500, NULL, "the query is no document");
	f.has_query = strchr(path, '?');
	return put_members(&f, query);
}

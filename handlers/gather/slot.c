/* References to slots, slots to values. */
#include "handlers/gather/slot.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/json_out.h"
#include "handlers/web/conditions.h"

/* --- compiling --- */

static const struct {
	const char *name;
	enum slot_kind kind;
} request_members[] = {{"method", SLOT_METHOD}, {"path", SLOT_PATH}, {"id", SLOT_ID}, {"ip", SLOT_IP}};

static int fail(struct scope *scope, const struct reference *ref, const char *why)
{
	diagnostics_error(scope->diagnostics, ref->at, "%s: %s", ref->text, why);
	return -EINVAL;
}

static bool one_member(const struct path *p)
{
	return p->count == 1 && p->segments[0].kind == PATH_MEMBER;
}

static bool is_named(const struct path_segment *s, const char *name)
{
	return s->name_len == strlen(name) && memcmp(s->name, name, s->name_len) == 0;
}

/* The header that s names becomes one of those that are wanted, once. */
static int add_header(struct slot *out, const struct reference *ref, const struct path_segment *s, struct scope *scope)
{
	for (unsigned i = 0; i < scope->header_count; i++) {
		if (strlen(scope->headers[i]) == s->name_len &&
		    strncasecmp(scope->headers[i], s->name, s->name_len) == 0) {
			*out = (struct slot){.kind = SLOT_HEADER, .index = i};
			return 0;
		}
	}
	if (scope->header_count == PLAN_MAX_HEADERS)
		return fail(scope, ref, "more than 32 different headers are referred to");
	char *name = arena_strndup(scope->arena, s->name, s->name_len);
	for (char *c = name; *c; c++)
		*c = (char)(*c >= 'A' && *c <= 'Z' ? *c + 32 : *c);
	*out = (struct slot){.kind = SLOT_HEADER, .index = scope->header_count};
	scope->headers[scope->header_count++] = name;
	return 0;
}

static int compile_request(struct slot *out, const struct reference *ref, struct scope *scope)
{
	for (size_t i = 0; one_member(&ref->path) && i < ARRAY_SIZE(request_members); i++) {
		if (is_named(&ref->path.segments[0], request_members[i].name)) {
			*out = (struct slot){.kind = request_members[i].kind};
			return 0;
		}
	}
	if (one_member(&ref->path) && is_named(&ref->path.segments[0], "if_match")) {
		static const struct path_segment header = {.kind = PATH_MEMBER, .name = "if-match", .name_len = 8};
		int r = add_header(out, ref, &header, scope);
		out->kind = SLOT_IF_MATCH;
		return r;
	}
	return fail(scope, ref, "expected request.method, request.path, request.id, request.ip or request.if_match");
}

static int compile_header(struct slot *out, const struct reference *ref, struct scope *scope)
{
	if (!one_member(&ref->path))
		return fail(scope, ref, "expected headers.NAME");
	return add_header(out, ref, &ref->path.segments[0], scope);
}

static int unknown_root(const struct reference *ref, struct scope *scope)
{
	const struct config_endpoint *e = scope->endpoint;
	const char *names[PLAN_MAX_STEPS + 64 + 3] = {"request", "headers", "body"};
	size_t count = 3;
	for (size_t i = 0; i < e->parameter_count && count < ARRAY_SIZE(names); i++)
		names[count++] = e->parameters[i].name;
	for (size_t i = 0; i < e->step_count && count < ARRAY_SIZE(names); i++)
		names[count++] = e->steps[i].name;
	const char *near = nearest_name(ref->root, names, count);
	diagnostics_error(scope->diagnostics, ref->at,
			  "%s refers to nothing: no parameter or step has the name '%s'%s%s%s", ref->text, ref->root,
			  near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
	return -EINVAL;
}

static int resolve(struct slot *out, const struct reference *ref, struct scope *scope)
{
	const struct config_endpoint *e = scope->endpoint;
	for (unsigned i = 0; i < e->parameter_count; i++) {
		if (strcmp(e->parameters[i].name, ref->root) == 0) {
			*out = (struct slot){.kind = SLOT_PARAMETER, .index = i, .path = ref->path};
			return 0;
		}
	}
	for (unsigned i = 0; i < e->step_count; i++) {
		if (strcmp(e->steps[i].name, ref->root) == 0) {
			*out = (struct slot){.kind = SLOT_STEP, .index = i, .path = ref->path};
			return 0;
		}
	}
	if (strcmp(ref->root, "request") == 0)
		return compile_request(out, ref, scope);
	if (strcmp(ref->root, "headers") == 0)
		return compile_header(out, ref, scope);
	if (strcmp(ref->root, "claims") == 0)
		return fail(scope, ref, "claims of a token are not supported by this build");
	if (strcmp(ref->root, "body") == 0) {
		*out = (struct slot){.kind = ref->sent ? SLOT_SENT : SLOT_BODY, .path = ref->path};
		return 0;
	}
	return unknown_root(ref, scope);
}

int slot_compile(struct slot *out, const struct reference *ref, struct scope *scope)
{
	int r = resolve(out, ref, scope);
	if (r == 0)
		scope->kinds |= BIT(out->kind);
	return r;
}

static bool segment_same(const struct path_segment *a, const struct path_segment *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case PATH_MEMBER:
		return a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
	case PATH_INDEX:
		return a->index == b->index;
	case PATH_EACH:
		return true;
	}
	return false;
}

bool slot_same(const struct slot *a, const struct slot *b)
{
	if (a->kind != b->kind || a->index != b->index || a->path.count != b->path.count)
		return false;
	for (size_t i = 0; i < a->path.count; i++) {
		if (!segment_same(&a->path.segments[i], &b->path.segments[i]))
			return false;
	}
	return true;
}

/* --- evaluating --- */

static struct value from_span(struct span s)
{
	struct value v = s.base ? value_string(s.base, s.len) : VALUE_OF_NULL;
	v.from_request = true;
	return v;
}

/* Into a value that is not a step's result: a parameter, the body, a default. */
static struct value follow(const struct value *v, const struct path *path, struct arena *a)
{
	return value_follow(v, path->segments, path->count, a);
}

static struct value outcome_value(const struct outcome *o, const struct path *path, struct arena *a)
{
	if (o->result)
		return o->result->ops->get(o->result, path, a);
	if (o->kind == OUTCOME_DEFAULT)
		return follow(o->substitute, path, a);
	return VALUE_OF_NULL;
}

/* Is the last member of the path there, also if it is null? */
static bool was_sent(const struct value *body, const struct path *path, struct arena *a)
{
	const struct path_segment *last = &path->segments[path->count - 1];
	struct value v = value_follow(body, path->segments, path->count - 1, a);

	if (v.kind == VALUE_JSON)
		return json_member(v.json, last->name, last->name_len) != NULL;
	for (uint32_t i = 0; v.kind == VALUE_DOCUMENT && i < v.count; i++) {
		if (v.members[i].len == last->name_len && memcmp(v.members[i].name, last->name, last->name_len) == 0)
			return true;
	}
	return false;
}

/* The strong tags of If-Match, without their quotes; null: there is no such header, or it is "*". */
static struct value tags_of(struct span header, struct arena *a)
{
	struct span tag;
	unsigned count = 0;
	if (!header.base || etag_is_any(header))
		return VALUE_OF_NULL;
	struct value *tags = arena_array(a, header.len / 2 + 1, sizeof(*tags));
	for (struct span rest = header; etag_next(&rest, &tag, true);) {
		tags[count] = value_string(tag.base + 1, tag.len - 2);
		tags[count++].from_request = true;
	}
	return (struct value){
		.kind = VALUE_LIST, .from_request = true, .structured = true, .count = count, .list = tags};
}

struct value slot_value(const struct slot *s, const struct evaluation *e)
{
	const struct exchange *x = e->exchange;
	switch (s->kind) {
	case SLOT_PARAMETER:
		return follow(&e->parameters.values[s->index], &s->path, e->arena);
	case SLOT_STEP:
		return outcome_value(&e->outcomes[s->index], &s->path, e->arena);
	case SLOT_HEADER:
		return from_span(e->headers[s->index]);
	case SLOT_BODY:
		return follow(&e->parameters.body, &s->path, e->arena);
	case SLOT_SENT:
		return value_bool(was_sent(&e->parameters.body, &s->path, e->arena));
	case SLOT_METHOD:
		return value_string(http_method_names[x->method], strlen(http_method_names[x->method]));
	case SLOT_PATH:
		return from_span(x->path);
	case SLOT_ID:
		return from_span((struct span){x->id, strlen(x->id)});
	case SLOT_IP:
		return value_string(x->peer, strlen(x->peer));
	case SLOT_IF_MATCH:
		return tags_of(e->headers[s->index], e->arena);
	}
	return VALUE_OF_NULL;
}

void slot_render(const struct slot *s, const struct evaluation *e, struct buf *out)
{
	if (s->kind == SLOT_STEP && s->path.count == 0) {
		const struct outcome *o = &e->outcomes[s->index];
		if (o->result) {
			o->result->ops->render(o->result, out);
			return;
		}
	}
	struct value v = slot_value(s, e);
	value_render(&v, out);
}

/* --- texts --- */

int text_compile(struct text *out, const struct node *n, struct scope *scope)
{
	struct template t;
	if (!template_parse(&t, scope->arena, n, scope->diagnostics))
		return -EINVAL;
	struct text_piece *pieces = arena_array(scope->arena, t.count ? t.count : 1, sizeof(*pieces));
	int r = 0;
	for (size_t i = 0; i < t.count; i++) {
		pieces[i].literal = t.pieces[i].text;
		pieces[i].len = t.pieces[i].len;
		if (!t.pieces[i].text && slot_compile(&pieces[i].slot, &t.pieces[i].reference, scope) < 0)
			r = -EINVAL;
	}
	*out = (struct text){.pieces = pieces, .count = t.count};
	return r;
}

/* RFC 3986: everything but the unreserved characters, so a value can't leave its segment. */
static void url_escape(struct buf *out, const char *s, size_t len)
{
	static const char hex[] = "0123456789ABCDEF";
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
		    c == '.' || c == '_' || c == '~') {
			buf_char(out, (char)c);
		} else {
			buf_append(out, (char[]){'%', hex[c >> 4], hex[c & 15]}, 3);
		}
	}
}

void text_eval(const struct text *t, const struct evaluation *e, enum text_escape escape, struct buf *out)
{
	struct buf text = {.limit = out->limit};
	for (size_t i = 0; i < t->count && !buf_over(out); i++) {
		const struct text_piece *p = &t->pieces[i];
		text.len = 0;
		if (p->literal) {
			buf_append(&text, p->literal, p->len);
		} else {
			struct value v = slot_value(&p->slot, e);
			value_text(&v, &text);
			if (buf_over(&text))
				buf_give_up(out);
		}
		if (escape == TEXT_JSON)
			json_escape(out, text.data, text.len);
		else if (escape == TEXT_URL && !p->literal)
			url_escape(out, text.data, text.len);
		else
			buf_append(out, text.data, text.len);
	}
	buf_done(&text);
}

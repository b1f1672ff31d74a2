/* Lines that hold no reference are made when the configuration is loaded. */
#include "drivers/http/lines.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/reason.h"
#include "base/token.h"
#include "drivers/http/message.h"
#include "drivers/http/trace.h"

/* Room is left for X-Request-Id, traceparent and tracestate. */
enum { MAX_DECLARED = HTTP_MAX_LINES - 3 };

struct line {
	const char *name;
	const char *fixed;     /* the whole line; NULL: it has references; "": it is left out */
	struct template value; /* with references */
	const int *slots;      /* one for each piece of value */
};

/* What libcurl and the connection decide. */
static const char *const not_ours[] = {
	"Connection", "Content-Length", "Expect",  "HTTP2-Settings",    "Keep-Alive", "Proxy-Connection",
	"TE",         "Trailer",        "Upgrade", "Transfer-Encoding",
};

/* name as it is known, if it is of the connection; else NULL. */
static const char *of_connection(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(not_ours); i++)
		if (strcasecmp(name, not_ours[i]) == 0)
			return not_ours[i];
	return NULL;
}

static bool check_name(const struct node *key, struct diagnostics *d)
{
	if (!is_token(key->text)) {
		diagnostics_error(d, key->at, "headers: \"%.60s\" is not the name of a header", key->text);
		return false;
	}
	const char *known = of_connection(key->text);
	if (known) {
		diagnostics_error(d, key->at, "%s can't be set: it is of the connection", known);
		return false;
	}
	return true;
}

static bool check_value(const struct node *key, const struct node *value, struct diagnostics *d)
{
	if (value->kind == NODE_NULL)
		return true;
	if (!node_is_scalar(value)) {
		diagnostics_error(d, value->at, "%.100s: expected a text", key->text);
		return false;
	}
	if (!is_field_value(value->text, value->len)) {
		diagnostics_error(d, value->at, "%.100s: control characters can't stand in a header", key->text);
		return false;
	}
	return true;
}

void lines_check(const struct node *headers, struct diagnostics *d)
{
	for (size_t i = 0; headers && i < headers->count; i++) {
		bool good = check_name(headers->members[i].key, d);
		good &= check_value(headers->members[i].key, headers->members[i].value, d);
		(void)good;
	}
}

/* --- compiling --- */

static bool names(const struct node *mapping, const char *name)
{
	for (size_t i = 0; mapping && i < mapping->count; i++)
		if (strcasecmp(mapping->members[i].key->text, name) == 0)
			return true;
	return false;
}

static void fix_line(struct line *line, const char *value, struct arena *a)
{
	line->fixed = *value ? arena_printf(a, "%s: %s", line->name, value) : "";
}

static bool compile_line(struct line *line, const struct node_member *m, struct action_env *env)
{
	struct arena *a = env->arena;

	*line = (struct line){.name = m->key->text};
	if (!check_name(m->key, env->diagnostics) || !check_value(m->key, m->value, env->diagnostics))
		return false;
	if (m->value->kind == NODE_NULL) {
		line->fixed = "";
		return true;
	}
	if (!template_parse(&line->value, a, m->value, env->diagnostics))
		return false;
	if (template_is_literal(&line->value)) {
		size_t len;
		fix_line(line, template_text(&line->value, a, &len), a);
		return true;
	}
	int *slots = arena_array(a, line->value.count, sizeof(*slots));
	bool good = true;
	for (size_t i = 0; i < line->value.count; i++) {
		if (line->value.pieces[i].text)
			continue;
		slots[i] = env->references->add(env->references, &line->value.pieces[i].reference);
		good &= slots[i] >= 0;
	}
	line->slots = slots;
	return good;
}

static bool too_many(const struct lines_spec *spec, struct action_env *env)
{
	size_t count = (spec->source ? spec->source->count : 0) + (spec->step ? spec->step->count : 0) + 2;

	if (count <= MAX_DECLARED)
		return false;
	diagnostics_error(env->diagnostics, spec->step ? spec->step->at : spec->source->at,
			  "a call may have at most %d headers", MAX_DECLARED - 2);
	return true;
}

bool lines_compile(struct lines *out, const struct lines_spec *spec, struct action_env *env)
{
	struct line *items = arena_array(env->arena, HTTP_MAX_LINES, sizeof(*items));
	size_t count = 0;
	bool good = true;

	if (too_many(spec, env))
		return false;
	for (size_t i = 0; spec->source && i < spec->source->count; i++) {
		const struct node_member *m = &spec->source->members[i];
		if (names(spec->step, m->key->text) || !node_is_scalar(m->value) || m->value->kind == NODE_NULL)
			continue;
		items[count] = (struct line){.name = m->key->text};
		fix_line(&items[count++], m->value->text, env->arena);
	}
	for (size_t i = 0; spec->step && i < spec->step->count; i++)
		good &= compile_line(&items[count++], &spec->step->members[i], env);
	if (spec->accept && !names(spec->source, "Accept") && !names(spec->step, "Accept")) {
		items[count] = (struct line){.name = "Accept"};
		fix_line(&items[count++], spec->accept, env->arena);
	}
	if (spec->json_body && !names(spec->source, "Content-Type") && !names(spec->step, "Content-Type"))
		items[count++] = (struct line){.name = "Content-Type", .fixed = "Content-Type: application/json"};
	*out = (struct lines){
		.items = items,
		.count = count,
		.named.id = names(spec->source, "X-Request-Id") || names(spec->step, "X-Request-Id"),
		.named.parent = names(spec->source, "traceparent") || names(spec->step, "traceparent"),
		.named.state = names(spec->source, "tracestate") || names(spec->step, "tracestate"),
	};
	return good;
}

/* --- filling --- */

static int wrong(const struct line *line, bool from_request, struct error *e)
{
	char text[160];

	snprintf(text, sizeof(text), UNFIT_IN_HEADER, line->name);
	return error_set(e, -EINVAL, from_request ? 400 : 500, from_request ? text : NULL, "%s", text);
}

/* The line into text; nothing if it is left out. */
static int fill_line(const struct line *line, const struct value *args, struct buf *text, struct error *e)
{
	bool from_request = false;

	text->len = 0;
	buf_str(text, line->name);
	buf_lit(text, ": ");
	size_t begin = text->len;
	for (size_t i = 0; i < line->value.count; i++) {
		const struct template_piece *piece = &line->value.pieces[i];
		if (piece->text) {
			buf_append(text, piece->text, piece->len);
			continue;
		}
		from_request |= args[line->slots[i]].from_request;
		value_text(&args[line->slots[i]], text);
	}
	if (!is_field_value(text->data + begin, text->len - begin))
		return wrong(line, from_request, e);
	if (text->len == begin)
		text->len = 0;
	return 0;
}

static const char *join(struct arena *a, const char *name, size_t name_len, const char *value)
{
	size_t len = strlen(value);
	char *line = arena_alloc(a, name_len + len + 1);

	memcpy(line, name, name_len);
	memcpy(line + name_len, value, len + 1);
	return line;
}

/* A tracestate belongs to the traceparent that it came with, and goes with no other. */
static size_t add_trace(const struct lines_own *named, const struct run_options *options, struct arena *a,
			uint64_t *random, const char **out)
{
	size_t count = 0;
	if (!options->traceparent || named->parent)
		return 0;
	const char *child = trace_child(options->traceparent, a, random);
	if (!child)
		return 0;
	out[count++] = join(a, "traceparent: ", 13, child);
	const char *state = options->tracestate && !named->state ? trace_state(options->tracestate, a) : NULL;
	if (state)
		out[count++] = join(a, "tracestate: ", 12, state);
	return count;
}

static size_t add_own(const struct lines_own *named, const struct run_options *options, struct arena *a,
		      uint64_t *random, const char **out)
{
	size_t count = 0;

	if (options->request_id && !named->id && is_field_value(options->request_id, strlen(options->request_id)))
		out[count++] = join(a, "X-Request-Id: ", 14, options->request_id);
	return count + add_trace(named, options, a, random, out + count);
}

int lines_fill(const struct lines *l, const struct value *args, const struct run_options *options, struct arena *a,
	       uint64_t *random, const char **out, struct error *e)
{
	struct buf text = BUF_INIT;
	size_t count = 0;
	int r = 0;

	for (size_t i = 0; i < l->count && r == 0; i++) {
		const struct line *line = &l->items[i];
		if (line->fixed) {
			if (*line->fixed)
				out[count++] = line->fixed;
			continue;
		}
		r = fill_line(line, args, &text, e);
		if (r == 0 && text.len)
			out[count++] = arena_strndup(a, text.data, text.len);
	}
	buf_done(&text);
	return r < 0 ? r : (int)(count + add_own(&l->named, options, a, random, out + count));
}

/* --- at run time --- */

/* The headers that a handler gives. */
struct given {
	const struct value_member *items;
	size_t count;
};

static bool gives(const struct given *g, const char *name)
{
	for (size_t i = 0; i < g->count; i++)
		if (strcasecmp(g->items[i].name, name) == 0)
			return true;
	return false;
}

/* One of g as a line, in a; "": it is null or empty, and left out. NULL: e says what is wrong with it. */
static const char *given_line(const struct value_member *m, struct arena *a, struct error *e)
{
	struct buf text = BUF_INIT;
	const char *line = NULL;

	if (strlen(m->name) != m->len || !is_token(m->name) || of_connection(m->name) ||
	    strcasecmp(m->name, "Host") == 0) {
		error_set(e, -EINVAL, 500, NULL, "the header \"%.80s\" can't be set", m->name);
		return NULL;
	}
	value_text(&m->value, &text);
	if (!is_field_value(text.data, text.len))
		wrong(&(struct line){.name = m->name}, m->value.from_request, e);
	else
		line = text.len ? join(a, arena_printf(a, "%s: ", m->name), m->len + 2, buf_cstr(&text)) : "";
	buf_done(&text);
	return line;
}

static int add_given(const struct given *g, size_t count, struct arena *a, const char **out, struct error *e)
{
	for (size_t i = 0; i < g->count; i++) {
		const char *line = given_line(&g->items[i], a, e);
		if (!line)
			return -EINVAL;
		if (*line)
			out[count++] = line;
	}
	return (int)count;
}

int lines_make(const struct node *source, const struct value *given, const char *accept, const char *content_type,
	       const struct run_options *options, uint64_t *random, const char **out, struct error *e)
{
	struct arena *a = options->arena;
	struct given g = {0};
	size_t count = 0;

	if (given && value_looks(given) != VALUE_NULL && value_looks(given) != VALUE_DOCUMENT)
		return error_set(e, -EINVAL, 500, NULL, "the headers are no document");
	if (given)
		g.count = value_parts(given, a, &g.items);
	if (g.count + (source ? source->count : 0) + 2 > MAX_DECLARED)
		return error_set(e, -EINVAL, 500, NULL, "a call may have at most %d headers", MAX_DECLARED - 2);
	for (size_t i = 0; source && i < source->count; i++) {
		const struct node_member *m = &source->members[i];
		if (!node_is_scalar(m->value) || !*m->value->text || gives(&g, m->key->text))
			continue;
		out[count++] = arena_printf(a, "%s: %s", m->key->text, m->value->text);
	}
	int r = add_given(&g, count, a, out, e);
	if (r < 0)
		return r;
	count = (size_t)r;
	if (accept && !names(source, "Accept") && !gives(&g, "Accept"))
		out[count++] = arena_printf(a, "Accept: %s", accept);
	if (content_type && !names(source, "Content-Type") && !gives(&g, "Content-Type"))
		out[count++] = arena_printf(a, "Content-Type: %s", content_type);
	const struct lines_own named = {
		.id = names(source, "X-Request-Id") || gives(&g, "X-Request-Id"),
		.parent = names(source, "traceparent") || gives(&g, "traceparent"),
		.state = names(source, "tracestate") || gives(&g, "tracestate"),
	};
	return (int)(count + add_own(&named, options, a, random, out + count));
}

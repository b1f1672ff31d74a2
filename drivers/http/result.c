/* Every result is JSON text in the end: the answer's body (checked, not parsed), the part of it that `pick` names, or a
 * description of the whole answer. */
#include "drivers/http/result.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "drivers/value_result.h"

struct http_result {
	struct result base;
	struct buf text;  /* what the result is a part of */
	const char *json; /* the result, in text or arena */
	size_t len;
	bool spaced; /* it may have white space between its tokens */
	bool parsed;
	struct value value; /* once parsed */
	const struct json *tree;
	struct arena arena; /* of the tree */
};

/* --- looking inside --- */

/* The text was checked when it came: only an answer that is larger than memory could fail here. */
static const struct json *tree_of(struct http_result *r)
{
	struct json *tree;
	char why[128];

	if (!r->parsed) {
		r->parsed = true;
		if (json_read(&tree, &r->arena, r->json, r->len, JSON_MAX_DEPTH + 4, JSON_CUT_SURROGATES, why,
			      sizeof(why)) == 0)
			r->tree = tree;
	}
	return r->tree;
}

static struct value get(const struct result *base, const struct path *path, struct arena *a)
{
	struct http_result *r = container_of(base, struct http_result, base);
	const struct json *tree = tree_of(r);

	return tree ? json_follow(tree, path->segments, path->count, a) : VALUE_OF_NULL;
}

static void render(const struct result *base, struct buf *out)
{
	const struct http_result *r = container_of(base, const struct http_result, base);

	if (r->spaced)
		json_compact(out, r->json, r->len);
	else
		buf_append(out, r->json, r->len);
}

static void free_result(struct result *base)
{
	struct http_result *r = container_of(base, struct http_result, base);

	buf_done(&r->text);
	arena_done(&r->arena);
	free(r);
}

static const struct result_ops ops = {.render = render, .get = get, .free = free_result};

static struct http_result *result_new(void)
{
	struct http_result *r = mem_zalloc(sizeof(*r));

	r->base.ops = &ops;
	r->base.rows = 1;
	arena_init(&r->arena);
	return r;
}

static void set_text(struct http_result *r, struct buf *text)
{
	r->text = *text;
	*text = BUF_INIT;
	r->json = r->text.data;
	r->len = r->text.len;
}

/* --- what is expected --- */

static struct result *null_result(void)
{
	struct http_result *r = result_new();

	r->json = "null";
	r->len = 4;
	return &r->base;
}

/* The part that `pick` names. What it names of one value is a piece of the text; a list of parts is put together. */
static void pick(struct http_result *r, const struct path *path)
{
	struct value picked = json_follow(r->tree, path->segments, path->count, &r->arena);

	if (picked.kind == VALUE_JSON) {
		r->tree = picked.json;
		r->json = picked.json->raw;
		r->len = picked.json->raw_len;
		return;
	}
	struct buf part = BUF_INIT;
	value_render(&picked, &part);
	buf_done(&r->text);
	set_text(r, &part);
	r->parsed = r->spaced = false;
	r->tree = NULL;
}

/* A byte order mark, which some services put before JSON (RFC 8259, 8.1: a reader may ignore it). */
static size_t mark_len(const struct buf *body)
{
	return body->data && body->len >= 3 && memcmp(body->data, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
}

static int not_json(struct error *e, const char *why)
{
	return error_set(e, -EBADMSG, 502, NULL, "the answer is not JSON: %s", why);
}

static int json_result(struct result **out, const struct http_action *a, struct http_response *response,
		       struct error *e)
{
	struct buf *body = &response->body;
	char why[128];
	bool spaced = true;

	size_t mark = mark_len(body);
	if (mark) {
		body->len -= mark;
		memmove(body->data, body->data + mark, body->len);
	}
	if (body->len == 0 && (!a->idempotent || strcmp(a->method, "GET") != 0 || response->status == 204)) {
		*out = null_result();
		return 0;
	}
	if (!a->picks) {
		if (json_check(body->data, body->len, JSON_MAX_DEPTH, JSON_CUT_SURROGATES, &spaced, why, sizeof(why)) <
		    0)
			return not_json(e, why);
		struct http_result *r = result_new();
		set_text(r, body);
		r->spaced = spaced;
		*out = &r->base;
		return 0;
	}
	struct http_result *r = result_new();
	struct json *tree;
	if (json_read(&tree, &r->arena, body->data, body->len, JSON_MAX_DEPTH, JSON_CUT_SURROGATES, why, sizeof(why)) <
	    0) {
		free_result(&r->base);
		return not_json(e, why);
	}
	set_text(r, body);
	r->parsed = r->spaced = true;
	r->tree = tree;
	pick(r, &a->pick);
	*out = &r->base;
	return 0;
}

/* --- the whole answer --- */

static bool same_name(const struct http_header *a, const struct http_header *b)
{
	return a->name_len == b->name_len && strncasecmp(a->name, b->name, a->name_len) == 0;
}

static bool came_before(const struct http_response *response, const struct http_header *h)
{
	struct http_header earlier;

	for (size_t at = 0; http_header_next(response, &at, &earlier) && earlier.name != h->name;)
		if (same_name(&earlier, h))
			return true;
	return false;
}

static void render_name(const struct http_header *h, struct buf *out)
{
	size_t begin = out->len + 1;

	json_string(out, h->name, h->name_len);
	for (size_t i = begin; i < out->len; i++)
		if (out->data[i] >= 'A' && out->data[i] <= 'Z')
			out->data[i] = (char)(out->data[i] + 32);
	buf_char(out, ':');
}

/* Values are bytes; as text they are UTF-8 or nothing. */
static void render_text(const struct buf *value, struct buf *out)
{
	const char *data = value->data ? value->data : "";

	if (utf8_valid(data, value->len))
		json_string(out, data, value->len);
	else
		json_null(out);
}

/* All values of h's name, as RFC 9110 puts them together. */
static void render_values(const struct http_response *response, const struct http_header *h, struct buf *out)
{
	struct http_header other;
	struct buf value = BUF_INIT;

	for (size_t at = 0; http_header_next(response, &at, &other);) {
		if (!same_name(&other, h))
			continue;
		if (value.len)
			buf_lit(&value, ", ");
		buf_append(&value, other.value, other.value_len);
	}
	render_text(&value, out);
	buf_done(&value);
}

/* The same as a list: commas stand in cookies themselves (RFC 9110, 5.3). */
static void render_list(const struct http_response *response, const struct http_header *h, struct buf *out)
{
	struct http_header other;
	char separator = '[';

	for (size_t at = 0; http_header_next(response, &at, &other);) {
		if (!same_name(&other, h))
			continue;
		buf_char(out, separator);
		separator = ',';
		render_text(&(struct buf){.data = (char *)other.value, .len = other.value_len}, out);
	}
	buf_char(out, ']');
}

static bool is_set_cookie(const struct http_header *h)
{
	return h->name_len == 10 && strncasecmp(h->name, "Set-Cookie", 10) == 0;
}

static void render_headers(const struct http_response *response, struct buf *out)
{
	struct http_header h;
	bool first = true;

	buf_char(out, '{');
	for (size_t at = 0; http_header_next(response, &at, &h);) {
		if (came_before(response, &h) || !utf8_valid(h.name, h.name_len))
			continue;
		if (!first)
			buf_char(out, ',');
		first = false;
		render_name(&h, out);
		if (is_set_cookie(&h))
			render_list(response, &h, out);
		else
			render_values(response, &h, out);
	}
	buf_char(out, '}');
}

static bool says_json(const struct http_response *response)
{
	struct http_header type;

	if (!http_header_find(response, "Content-Type", &type))
		return false;
	const char *semicolon = memchr(type.value, ';', type.value_len);
	size_t len = semicolon ? (size_t)(semicolon - type.value) : type.value_len;
	while (len > 0 && type.value[len - 1] == ' ')
		len--;
	return (len == 16 && strncasecmp(type.value, "application/json", 16) == 0) ||
	       (len > 5 && strncasecmp(type.value + len - 5, "+json", 5) == 0);
}

/* JSON where it says so and is; else text. */
static int render_body(const struct http_response *response, struct buf *out, struct error *e)
{
	const struct buf *body = &response->body;
	const char *data = body->data ? body->data : "";
	size_t mark = mark_len(body);
	char why[128];
	bool spaced;

	if (body->len == 0) {
		json_null(out);
	} else if (says_json(response) && json_check(data + mark, body->len - mark, JSON_MAX_DEPTH, JSON_CUT_SURROGATES,
						     &spaced, why, sizeof(why)) == 0) {
		json_compact(out, data + mark, body->len - mark);
	} else if (utf8_valid(data, body->len)) {
		json_string(out, data, body->len);
	} else {
		return error_set(e, -EBADMSG, 502, NULL, "the answer's body is neither JSON nor text");
	}
	return 0;
}

static int whole_result(struct result **out, struct http_response *response, struct error *e)
{
	struct buf text = BUF_INIT;

	buf_printf(&text, "{\"status\":%u,\"headers\":", response->status);
	render_headers(response, &text);
	buf_lit(&text, ",\"body\":");
	int r = render_body(response, &text, e);
	if (r < 0) {
		buf_done(&text);
		return r;
	}
	buf_char(&text, '}');
	struct http_result *result = result_new();
	set_text(result, &text);
	*out = &result->base;
	return 0;
}

/* --- for handlers --- */

enum { ANSWER_MEMBERS = 3 };

/* Parsed in r's arena; null where it is too deep or no JSON. text lives as long as r. */
static bool json_value(struct value_result *r, const char *text, size_t len, struct value *out)
{
	struct json *tree;
	char why[128];

	if (json_read(&tree, &r->arena, text, len, JSON_MAX_DEPTH, JSON_CUT_SURROGATES, why, sizeof(why)) < 0)
		return false;
	*out = value_from_json(tree);
	return true;
}

static struct value headers_value(struct value_result *r, const struct http_response *response)
{
	struct value v = VALUE_OF_NULL;
	struct buf text = BUF_INIT;

	render_headers(response, &text);
	json_value(r, arena_strndup(&r->arena, text.data, text.len), text.len, &v);
	buf_done(&text);
	return v;
}

/* The body is in r->text. */
static struct value body_value(struct value_result *r, const struct http_response *response)
{
	size_t mark = mark_len(&r->text);
	struct value v;

	if (r->text.len == 0)
		return VALUE_OF_NULL;
	if (says_json(response) && json_value(r, r->text.data + mark, r->text.len - mark, &v))
		return v;
	if (utf8_valid(r->text.data, r->text.len))
		return value_string(r->text.data, r->text.len);
	return value_bytes_of(r->text.data, r->text.len);
}

/* Without its body, which may be put behind it. */
static struct value_result *head_result(const struct http_response *response, struct value_member **members)
{
	struct value_result *r = value_result_new();
	struct value_member *m = arena_array(&r->arena, ANSWER_MEMBERS, sizeof(*m));

	m[0] = (struct value_member){"status", 6, value_int(response->status)};
	m[1] = (struct value_member){"headers", 7, headers_value(r, response)};
	r->value = (struct value){.kind = VALUE_DOCUMENT, .count = 2, .members = m};
	*members = m;
	return r;
}

struct result *http_head_new(const struct http_response *response)
{
	struct value_member *members;

	return &head_result(response, &members)->base;
}

struct result *http_answer_new(struct http_response *response)
{
	struct value_member *members;
	struct value_result *r = head_result(response, &members);

	r->text = response->body;
	response->body = BUF_INIT;
	members[2] = (struct value_member){"body", 4, body_value(r, response)};
	r->value.count = ANSWER_MEMBERS;
	return &r->base;
}

/* --- what a step expects --- */

int http_result_new(struct result **out, const struct http_action *a, struct http_response *r, struct error *e)
{
	if (a->expect == EXPECT_RESPONSE)
		return whole_result(out, r, e);
	if (r->status < 200 || r->status > 299)
		return error_set(e, -EBADMSG, 502, NULL, "it answered with status %u", r->status);
	if (a->expect == EXPECT_NONE || strcmp(a->method, "HEAD") == 0) {
		*out = null_result();
		return 0;
	}
	return json_result(out, a, r, e);
}

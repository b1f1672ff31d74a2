/* Mistakes, rendered as they are found. */
#include "handlers/web/mistakes.h"

#include <stdio.h>

#include "base/ascii.h"
#include "base/json_out.h"

enum { NAME_BYTES_MAX = 200, POINTER_BYTES_MAX = 2000, DETAIL_BYTES_MAX = 400 };

static const char *const in_names[] = {
	[IN_PATH] = "path", [IN_QUERY] = "query", [IN_HEADER] = "header", [IN_BODY] = "body"};

/* The beginning of UTF-8 text that is at most max bytes long and splits no character. */
static size_t shortened(const char *s, size_t len, size_t max)
{
	if (len <= max)
		return len;
	while (max > 0 && ((unsigned char)s[max] & 0xC0) == 0x80)
		max--;
	return max;
}

/* --- names: `lines[1].pieces` --- */

static void add_name(struct buf *out, const char *name, size_t len, bool first)
{
	if (!first)
		buf_char(out, '.');
	buf_append(out, name, shortened(name, len, NAME_BYTES_MAX + 1));
}

static void build_name(struct buf *out, const struct mistake_place *at)
{
	bool first = at->name_len == 0;

	buf_append(out, at->name, at->name_len);
	for (size_t i = 0; i < at->depth && out->len <= NAME_BYTES_MAX; i++, first = false) {
		const struct mistake_step *step = &at->steps[i];

		if (step->item)
			buf_printf(out, "[%u]", step->index);
		else
			add_name(out, step->child->name, step->child->name_len, first);
	}
	if (at->member)
		add_name(out, at->member, at->member_len, first);
	else if (first && at->in == IN_BODY)
		buf_lit(out, "body");
}

static void render_name(struct buf *out, const struct mistake_place *at)
{
	struct buf name = BUF_INIT;

	build_name(&name, at);
	size_t shown = shortened(name.data, name.len, NAME_BYTES_MAX);
	buf_lit(out, ",\"name\":\"");
	json_escape(out, name.data, shown);
	if (shown < name.len)
		buf_lit(out, "\xE2\x80\xA6"); /* … */
	buf_char(out, '"');
	buf_done(&name);
}

/* --- pointers: `#/lines/1/pieces` --- */

/* May it stand in a URI's fragment as it is (RFC 3986, 3.5)? */
static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("-._~!$&'()*+,;=:@?", c));
}

static void add_token(struct buf *out, const char *name, size_t len)
{
	buf_char(out, '/');
	for (size_t i = 0; i < len && out->len <= POINTER_BYTES_MAX; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c == '~')
			buf_lit(out, "~0");
		else if (c == '/')
			buf_lit(out, "~1");
		else if (is_plain(name[i]))
			buf_char(out, name[i]);
		else
			buf_append(out,
				   (char[]){'%', ascii_upper(ascii_hex_digit(c >> 4)),
					    ascii_upper(ascii_hex_digit(c & 15))},
				   3);
	}
}

static void render_pointer(struct buf *out, const struct mistake_place *at)
{
	struct buf pointer = BUF_INIT;

	buf_char(&pointer, '#');
	if (at->name_len)
		add_token(&pointer, at->name, at->name_len);
	for (size_t i = 0; i < at->depth; i++) {
		if (at->steps[i].item)
			buf_printf(&pointer, "/%u", at->steps[i].index);
		else
			add_token(&pointer, at->steps[i].child->name, at->steps[i].child->name_len);
	}
	if (at->member)
		add_token(&pointer, at->member, at->member_len);
	if (pointer.len <= POINTER_BYTES_MAX) {
		buf_lit(out, ",\"pointer\":");
		json_string(out, pointer.data, pointer.len);
	}
	buf_done(&pointer);
}

/* --- both --- */

void mistake_add(struct mistakes *m, const struct mistake_place *at, const char *keyword, const char *format, ...)
{
	char detail[DETAIL_BYTES_MAX + 4];
	va_list ap;

	if (m->count++ >= MISTAKES_MAX)
		return;
	va_start(ap, format);
	int n = vsnprintf(detail, sizeof(detail), format, ap);
	va_end(ap);

	if (m->count > 1)
		buf_char(m->json, ',');
	buf_printf(m->json, "{\"in\":\"%s\"", in_names[at->in]);
	render_name(m->json, at);
	if (at->in == IN_BODY)
		render_pointer(m->json, at);
	if (keyword)
		buf_printf(m->json, ",\"keyword\":\"%s\"", keyword);
	buf_lit(m->json, ",\"detail\":");
	size_t whole = n < 0 ? 0 : (size_t)n < sizeof(detail) ? (size_t)n : sizeof(detail) - 1;
	json_string(m->json, detail, shortened(detail, whole, DETAIL_BYTES_MAX));
	buf_char(m->json, '}');
}

void mistakes_render(const struct mistakes *m, struct buf *out)
{
	buf_lit(out, "\"errors\":[");
	buf_append(out, m->json->data, m->json->len);
	buf_char(out, ']');
	if (m->count > MISTAKES_MAX)
		buf_printf(out, ",\"more\":%zu", m->count - MISTAKES_MAX);
}

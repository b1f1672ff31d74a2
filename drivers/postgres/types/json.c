/* The server's text output, type by type. Arrays are read with a depth counter instead of recursion. */
#include "drivers/postgres/types/json.h"

#include <stdint.h>

#include "base/json.h"
#include "base/json_out.h"

/* "2001-02-03 04:05:06+07" → "2001-02-03T04:05:06+07:00". `infinity` and ` BC` stay. */
static void render_timestamp(struct buf *out, const char *text, size_t len)
{
	const char *end = text + len;
	const char *space = memchr(text, ' ', len);

	if (!space) {
		json_string(out, text, len);
		return;
	}
	const char *time = space + 1;
	const char *time_end = memchr(time, ' ', (size_t)(end - time));
	if (!time_end)
		time_end = end;
	buf_char(out, '"');
	json_escape(out, text, (size_t)(space - text));
	buf_char(out, 'T');
	json_escape(out, time, (size_t)(time_end - time));
	/* An offset of whole hours comes without its minutes. */
	size_t n = (size_t)(time_end - time);
	if (n > 3 && (time_end[-3] == '+' || time_end[-3] == '-'))
		buf_lit(out, ":00");
	json_escape(out, time_end, (size_t)(end - time_end));
	buf_char(out, '"');
}

static void render_scalar(struct buf *out, enum pg_shape shape, const char *text, size_t len)
{
	switch (shape) {
	case PG_SHAPE_INTEGER:
	case PG_SHAPE_JSON:
		buf_append(out, text, len);
		break;
	case PG_SHAPE_NUMBER:
		if (json_is_number(text, len))
			buf_append(out, text, len);
		else
			json_string(out, text, len);
		break;
	case PG_SHAPE_BOOLEAN:
		json_bool(out, len > 0 && *text == 't');
		break;
	case PG_SHAPE_TIMESTAMP:
		render_timestamp(out, text, len);
		break;
	default:
		json_string(out, text, len);
	}
}

/* `1 2 3` → [1,2,3] or ["1","2","3"]. */
static void render_vector(struct buf *out, enum pg_shape element, const char *text, size_t len)
{
	const char *end = text + len;

	buf_char(out, '[');
	while (text < end) {
		const char *space = memchr(text, ' ', (size_t)(end - text));
		const char *stop = space ? space : end;
		render_scalar(out, element, text, (size_t)(stop - text));
		if (space)
			buf_char(out, ',');
		text = stop + 1;
	}
	buf_char(out, ']');
}

/* A quoted element; p stands behind its opening quote. Returns what stands behind the closing one. */
static const char *render_quoted(struct buf *out, enum pg_shape element, const char *p, const char *end)
{
	const char *q = p;
	while (q < end && *q != '"' && *q != '\\')
		q++;
	if (q == end || *q == '"') {
		render_scalar(out, element, p, (size_t)(q - p));
		return q < end ? q + 1 : end;
	}
	struct buf plain = BUF_INIT;
	for (q = p; q < end && *q != '"'; q++) {
		if (*q == '\\' && q + 1 < end)
			q++;
		buf_char(&plain, *q);
	}
	render_scalar(out, element, buf_cstr(&plain), plain.len);
	buf_done(&plain);
	return q < end ? q + 1 : end;
}

static const char *render_unquoted(struct buf *out, const struct pg_type *t, const char *p, const char *end)
{
	const char *q = p;
	while (q < end && *q != t->delimiter && *q != '}')
		q++;
	if (q - p == 4 && memcmp(p, "NULL", 4) == 0)
		json_null(out);
	else
		render_scalar(out, t->element, p, (size_t)(q - p));
	return q;
}

/* `{{1,2},{3,NULL}}`, `[0:1]={a,"b c"}` */
static void render_array(struct buf *out, const struct pg_type *t, const char *text, size_t len)
{
	const char *end = text + len;
	const char *p = memchr(text, '{', len);

	while (p && p < end) {
		if (*p == '{') {
			buf_char(out, '[');
			p++;
		} else if (*p == '}') {
			buf_char(out, ']');
			p++;
		} else if (*p == t->delimiter) {
			buf_char(out, ',');
			p++;
		} else if (*p == '"') {
			p = render_quoted(out, t->element, p + 1, end);
		} else {
			p = render_unquoted(out, t, p, end);
		}
	}
}

void pg_json_render(struct buf *out, const struct pg_type *t, const char *text, size_t len)
{
	if (t->shape == PG_SHAPE_ARRAY)
		render_array(out, t, text, len);
	else if (t->shape == PG_SHAPE_VECTOR)
		render_vector(out, t->element, text, len);
	else
		render_scalar(out, t->shape, text, len);
}

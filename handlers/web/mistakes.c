/* Mistakes, rendered as they are found. */
#include "handlers/web/mistakes.h"

#include <stdio.h>

#include "base/json_out.h"

enum { NAME_BYTES_MAX = 200, DETAIL_BYTES_MAX = 400 };

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

void mistake_add(struct mistakes *m, struct span name, enum parameter_in in, const char *format, ...)
{
	char detail[DETAIL_BYTES_MAX + 4];
	va_list ap;

	if (mistakes_full(m))
		return;
	va_start(ap, format);
	int n = vsnprintf(detail, sizeof(detail), format, ap);
	va_end(ap);

	if (m->count++ > 0)
		buf_char(m->json, ',');
	size_t shown = shortened(name.base, name.len, NAME_BYTES_MAX);
	buf_lit(m->json, "{\"name\":\"");
	json_escape(m->json, name.base, shown);
	if (shown < name.len)
		buf_lit(m->json, "\xE2\x80\xA6"); /* … */
	buf_printf(m->json, "\",\"in\":\"%s\",\"detail\":", in_names[in]);
	size_t whole = n < 0 ? 0 : (size_t)n < sizeof(detail) ? (size_t)n : sizeof(detail) - 1;
	json_string(m->json, detail, shortened(detail, whole, DETAIL_BYTES_MAX));
	buf_char(m->json, '}');
}

/* One text for each value, whatever way it is written: numbers by their digits and the place of the point, strings
 * unescaped, members sorted by their names. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "base/json_out.h"

static int by_name(const void *left, const void *right)
{
	const struct json *a = *(const struct json *const *)left, *b = *(const struct json *const *)right;
	size_t common = a->name_len < b->name_len ? a->name_len : b->name_len;
	int order = common ? memcmp(a->name, b->name, common) : 0;

	return order ? order : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

static void members(struct buf *out, const struct json *j, struct arena *a)
{
	const struct json **sorted = arena_array(a, j->count, sizeof(const struct json *));
	size_t n = 0;

	for (const struct json *child = j->child; child; child = child->next)
		sorted[n++] = child;
	if (n > 1)
		qsort(sorted, n, sizeof(const struct json *), by_name);
	buf_char(out, '{');
	for (size_t i = 0; i < n; i++) {
		json_string(out, sorted[i]->name, sorted[i]->name_len);
		buf_char(out, ':');
		json_canonical(out, sorted[i], a);
		buf_char(out, ',');
	}
	buf_char(out, '}');
}

void json_canonical(struct buf *out, const struct json *j, struct arena *a)
{
	switch (j->kind) {
	case JSON_NULL:
		buf_lit(out, "null");
		break;
	case JSON_BOOL:
		buf_str(out, j->boolean ? "true" : "false");
		break;
	case JSON_NUMBER:
		decimal_canonical(out, j->text, j->len);
		break;
	case JSON_STRING:
		json_string(out, j->text, j->len);
		break;
	case JSON_ARRAY:
		buf_char(out, '[');
		for (const struct json *child = j->child; child; child = child->next) {
			json_canonical(out, child, a);
			buf_char(out, ',');
		}
		buf_char(out, ']');
		break;
	case JSON_OBJECT:
		members(out, j, a);
		break;
	}
}

/* Arrays: how many items, equal ones, and what each must be. */
#include <stdlib.h>
#include <string.h>

#include "handlers/web/schema/internal.h"

/* --- uniqueItems: by their canonical texts, sorted --- */

struct text {
	const char *base;
	size_t at, len;
};

static int by_text(const void *left, const void *right)
{
	const struct text *a = left, *b = right;

	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	return memcmp(a->base, b->base, a->len);
}

static bool are_unique(struct schema_check *c, const struct json *j)
{
	struct buf texts = BUF_INIT;
	size_t n = 0;
	bool unique = true;

	if (j->count < 2 || !schema_spend(c, j->count + j->raw_len / 64))
		return true;
	struct text *items = arena_array(c->arena, j->count, sizeof(*items));
	for (const struct json *child = j->child; child; child = child->next) {
		items[n].at = texts.len;
		json_canonical(&texts, child, c->arena);
		items[n].len = texts.len - items[n].at;
		n++;
	}
	for (size_t i = 0; i < n; i++)
		items[i].base = texts.data + items[i].at;
	qsort(items, n, sizeof(*items), by_text);
	for (size_t i = 1; i < n && unique; i++)
		unique = by_text(&items[i - 1], &items[i]) != 0;
	buf_done(&texts);
	return unique;
}

/* --- items --- */

static bool check_contains(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	uint64_t least = s->has_min_contains ? s->min_contains : 1, found = 0;

	for (struct json *child = j->child; child && !c->exhausted; child = child->next)
		found += schema_fits(c, s->contains, child);
	if (found < least)
		return schema_found(c, s, KEYWORD_MIN_CONTAINS);
	return !s->has_max_contains || found <= s->max_contains || schema_found(c, s, KEYWORD_MAX_CONTAINS);
}

static bool check_items(struct schema_check *c, const struct config_schema *s, struct json *j)
{
	bool right = true;
	uint32_t i = 0;

	for (struct json *child = j->child; child && !c->exhausted; child = child->next, i++) {
		const struct config_schema *of = i < s->prefix_items.count ? s->prefix_items.items[i] : s->items;

		if (!of)
			break;
		schema_enter(c, child, i, true);
		right &= schema_visit(c, of, child);
		schema_leave(c);
		if (!right && c->quiet)
			return false;
		if (!child->raw)
			j->raw = NULL;
	}
	return right;
}

bool schema_array(struct schema_check *c, const struct config_schema *s, struct json *j)
{
	bool right = true;

	if (s->has_min_items && j->count < s->min_items)
		return schema_found(c, s, KEYWORD_MIN_ITEMS);
	if (s->has_max_items && j->count > s->max_items)
		return schema_found(c, s, KEYWORD_MAX_ITEMS);
	if (s->unique_items && !are_unique(c, j))
		right = schema_found(c, s, KEYWORD_UNIQUE);
	if (s->contains)
		right &= check_contains(c, s, j);
	if ((s->items || s->prefix_items.count) && (right || !c->quiet))
		right &= check_items(c, s, j);
	return right;
}

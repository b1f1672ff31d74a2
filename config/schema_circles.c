/* Schemas that lead to each other for one value: by $ref, allOf, anyOf, oneOf, not, if, then and else. A circle of
 * these would never end; a circle that goes through items or properties ends with the value. */
#include "config/language.h"

enum {
	MOST_DEPTH = 32,
	UNDER_WAY = -1, /* `depth` of a schema that the walk is in; 0: it was not there yet */
};

static int deepest(struct decoder *dc, const struct config_schema *of, int depth, int above);

static int deepest_of(struct decoder *dc, const struct config_schemas *list, int depth, int above)
{
	for (size_t i = 0; i < list->count && depth != UNDER_WAY; i++)
		depth = deepest(dc, list->items[i], depth, above);
	return depth;
}

/* Every schema is written to while the configuration is loaded only. */
static struct config_schema *writable(const struct config_schema *s)
{
	return (struct config_schema *)(uintptr_t)s;
}

/* The greater of `depth` and how deep `of` goes; UNDER_WAY: it was refused. `above`: how many schemas lead here. */
static int deepest(struct decoder *dc, const struct config_schema *of, int depth, int above)
{
	struct config_schema *s = writable(of);

	if (!s)
		return depth;
	if (s->depth == UNDER_WAY || above > MOST_DEPTH) {
		if (s->depth == UNDER_WAY) {
			decode_error(dc, s->at,
				     "this schema leads back to itself without a part of the value in between");
			s->ref = NULL; /* whoever looks for more mistakes may follow it */
		} else {
			decode_error(dc, s->at, "more than %d schemas apply to one value", MOST_DEPTH);
		}
		return UNDER_WAY;
	}
	if (s->depth == 0) {
		int own = 0;
		s->depth = UNDER_WAY;
		own = deepest(dc, s->ref, own, above + 1);
		const struct config_schemas *const lists[] = {&s->all_of, &s->any_of, &s->one_of};
		for (size_t i = 0; i < ARRAY_SIZE(lists) && own != UNDER_WAY; i++)
			own = deepest_of(dc, lists[i], own, above + 1);
		const struct config_schema *const more[] = {s->negated, s->condition, s->consequence, s->alternative};
		for (size_t i = 0; i < ARRAY_SIZE(more) && own != UNDER_WAY; i++)
			own = deepest(dc, more[i], own, above + 1);
		/* One that was refused counts as sound, so that each circle is reported once. */
		s->depth = own == UNDER_WAY ? 1 : own + 1;
		if (own == UNDER_WAY)
			return UNDER_WAY;
	}
	if (above + s->depth > MOST_DEPTH + 1) {
		decode_error(dc, s->at, "more than %d schemas apply to one value", MOST_DEPTH);
		return UNDER_WAY;
	}
	return s->depth > depth ? s->depth : depth;
}

void check_schemas(struct decoder *dc)
{
	for (struct config_schema *s = dc->schemas; s; s = s->before)
		deepest(dc, s, 0, 0);
}

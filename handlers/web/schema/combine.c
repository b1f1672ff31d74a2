/* Schemas that apply to the same value: $ref, allOf, anyOf, oneOf, not, if. */
#include "handlers/web/schema/internal.h"

static bool all_of(struct schema_check *c, const struct config_schemas *list, struct json *j)
{
	bool right = true;

	for (size_t i = 0; i < list->count && (right || !c->quiet) && !c->exhausted; i++)
		right &= schema_visit(c, list->items[i], j);
	return right;
}

/* At most `most` of the list may fit. If none does, the mistakes of the one that went furthest tell most. */
static bool some_of(struct schema_check *c, const struct config_schema *s, const struct config_schemas *list,
		    struct json *j, size_t most, enum keyword none)
{
	struct branches b;
	size_t fits = 0;

	branches_begin(c, &b);
	c->branches++;
	for (size_t i = 0; i < list->count && fits <= most && !c->exhausted; i++) {
		branch_begin(c, &b);
		if (schema_visit(c, list->items[i], j))
			fits++;
		else
			branch_failed(c, &b);
		if (fits == most && none == KEYWORD_ANY_OF)
			break;
	}
	c->branches--;
	/* That no branch is for a value of this type says nothing about any of them. */
	bool silent = fits > 0 || (b.any && b.best.misfit);
	branches_end(c, &b, silent);
	if (fits == 0)
		return silent ? schema_found(c, s, none) : false;
	return fits <= most || schema_found(c, s, KEYWORD_ONE_OF_MANY);
}

static bool conditional(struct schema_check *c, const struct config_schema *s, struct json *j)
{
	const struct config_schema *next = schema_fits(c, s->condition, j) ? s->consequence : s->alternative;

	return !c->exhausted && (!next || schema_visit(c, next, j));
}

bool schema_combined(struct schema_check *c, const struct config_schema *s, struct json *j)
{
	bool right = true;

	if (s->ref)
		right = schema_visit(c, s->ref, j);
	if (s->all_of.count && (right || !c->quiet))
		right &= all_of(c, &s->all_of, j);
	if (s->any_of.count && (right || !c->quiet))
		right &= some_of(c, s, &s->any_of, j, 1, KEYWORD_ANY_OF);
	if (s->one_of.count && (right || !c->quiet))
		right &= some_of(c, s, &s->one_of, j, 1, KEYWORD_ONE_OF);
	if (s->negated && (right || !c->quiet) && schema_fits(c, s->negated, j))
		right = schema_found(c, s, KEYWORD_NOT);
	if (s->condition && (right || !c->quiet))
		right &= conditional(c, s, j);
	return right && !c->exhausted;
}

/* gather: steps, each with a source and one action. */
#include <string.h>

#include "config/language.h"

void decode_on_error(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	static const char *const words[] = {"fail", "null", "omit", "stale", NULL};
	static const enum on_error meaning[] = {ON_ERROR_FAIL, ON_ERROR_NULL, ON_ERROR_OMIT, ON_ERROR_STALE};
	struct config_step *s = object;
	int word = node_is_scalar(n) ? decode_word(n->text, words) : -1;

	if (n->kind == NODE_MAPPING) {
		decode_section(dc, &section_on_error, k->name, n, s);
		s->on_error = ON_ERROR_DEFAULT;
	} else if (word >= 0) {
		s->on_error = meaning[word];
	} else {
		decode_unexpected(dc, k->name, n, "fail, null, omit, stale or { default: X }");
	}
}

/* 1, { min: 1, max: 10 } or "{reference}". */
void decode_affected(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_affected *a = (struct config_affected *)(void *)((char *)object + k->offset);
	const struct node *unquoted = node_unquoted(n, dc->arena);
	struct affected_words words = {0};

	*a = (struct config_affected){.given = true, .most = INT64_MAX, .at = n->at};
	if (n->kind == NODE_MAPPING) {
		decode_section(dc, &section_affected, k->name, n, &words);
		a->least = words.min;
		if (node_member(n, "max"))
			a->most = words.max;
		if (n->count == 0 || a->least > a->most)
			decode_unexpected(dc, k->name, n, "min or max, and min not above max");
	} else if (unquoted->kind == NODE_INT && unquoted->integer > 0 && unquoted->integer <= INT32_MAX) {
		a->least = a->most = unquoted->integer;
	} else if (n->kind == NODE_STRING && n->text[0] == '{') {
		a->reference = n;
	} else {
		decode_unexpected(dc, k->name, n, "1 or more, { min: N, max: N } or a reference");
	}
}

/* --- gather ---------------------------------------------------------------------------------------------------- */

/* The source that `from` names; NULL if there is none that could be decoded (reported). */
static const struct config_source *find_source(struct decoder *dc, const struct node *name, const struct node *step)
{
	const struct node *from = node_member(step, "from");

	if (!from) {
		decode_error(dc, step->at, "step \"%s\": \"from\" is missing: the name of a source", name->text);
		return NULL;
	}
	return decode_is_text(dc, "from", from) ? decode_source_name(dc, from) : NULL;
}

void check_step_name(struct decoder *dc, const struct node *name)
{
	if (!is_name(name->text))
		decode_error(dc, name->at, "step \"%.100s\": " NAME_RULE, name->text);
	else if (is_reserved_name(name->text))
		decode_error(dc, name->at, "step \"%s\": the name is taken: {%s} is of the request", name->text,
			     name->text);
}

void decode_gather(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_endpoint *e = object;

	if (!decode_is_mapping(dc, k->name, n))
		return;
	if (n->count == 0)
		decode_unexpected(dc, k->name, n, "at least one step");
	e->steps = arena_array(dc->arena, n->count, sizeof(*e->steps));
	dc->gather = n;
	for (size_t i = 0; i < n->count; i++) {
		const struct node *name = n->members[i].key, *value = n->members[i].value;
		check_step_name(dc, name);
		if (!decode_is_mapping(dc, name->text, value))
			continue;
		const struct config_source *source = find_source(dc, name, value);
		if (!source)
			continue;
		struct config_step *s = &e->steps[e->step_count++];
		*s = (struct config_step){
			.own = arena_zalloc(dc->arena, source->kind->step_size),
			.name = name->text,
			.at = name->at,
			.node = value,
			.source = source,
			.semaphore = -1,
		};
		decode_section(dc, source->kind->step, name->text, value, s);
	}
}

void decode_inner_steps(struct decoder *dc, const char *key, const struct node *n, struct config_step *s,
			const struct section *section, const char *as)
{
	if (n->kind != NODE_SEQUENCE || n->count == 0 || n->count > INNER_STEPS_MAX) {
		decode_unexpected(
			dc, key, n,
			arena_printf(&dc->diagnostics->arena, "a list of 1 to %d steps, as - %s", INNER_STEPS_MAX, as));
		return;
	}
	struct config_step *inner = arena_array(dc->arena, n->count, sizeof(*inner));
	s->inner = inner;
	for (size_t i = 0; i < n->count; i++) {
		const struct node *item = n->items[i];
		if (item->kind != NODE_MAPPING || item->count != 1) {
			decode_unexpected(dc, key, item, arena_printf(&dc->diagnostics->arena, "one step, as %s", as));
			continue;
		}
		const struct node *name = item->members[0].key, *value = item->members[0].value;
		check_step_name(dc, name);
		if (!decode_is_mapping(dc, name->text, value))
			continue;
		const struct node *nested = section_find(section, key) ? node_member(value, key) : NULL;
		if (nested) {
			decode_error(dc, nested->at, "step \"%s\": a %s has no %s within", name->text, key, key);
			continue;
		}
		struct config_step *step = &inner[s->inner_count++];
		*step = (struct config_step){
			.own = arena_zalloc(dc->arena, s->source->kind->step_size),
			.name = name->text,
			.at = name->at,
			.node = value,
			.source = s->source,
			.semaphore = -1,
		};
		decode_section(dc, section, name->text, value, step);
	}
}

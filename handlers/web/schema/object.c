/* Objects: their members, by the names that are declared; and the defaults of those that are absent. */
#include <string.h>

#include "base/hash.h"
#include "handlers/web/schema/internal.h"

static bool is_named(const struct config_parameter *p, const struct json *member)
{
	return strncmp(p->name, member->name, member->name_len) == 0 && p->name[member->name_len] == '\0';
}

/* The index of the property that a member is, or property_count. Members mostly come in the order of the schema:
 * `guess` is looked at first. */
static size_t property_of(const struct config_schema *s, const struct json *member, size_t guess)
{
	if (guess < s->property_count && is_named(&s->properties[guess], member))
		return guess;
	if (s->names.mask == 0) {
		size_t i = 0;

		while (i < s->property_count && !is_named(&s->properties[i], member))
			i++;
		return i;
	}
	uint32_t at = (uint32_t)hash_bytes(HASH_INIT, member->name, member->name_len) & s->names.mask;
	for (; s->names.entries[at]; at = (at + 1) & s->names.mask) {
		size_t i = s->names.entries[at] - 1u;

		if (is_named(&s->properties[i], member))
			return i;
	}
	return s->property_count;
}

/* --- members that must be there --- */

static bool has_member(const struct json *j, const char *name)
{
	return json_member(j, name, strlen(name)) != NULL;
}

static bool check_dependents(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	bool right = true;

	for (size_t i = 0; i < s->dependent_count; i++) {
		const struct config_dependent *d = &s->dependents[i];

		if (!schema_spend(c, (d->count + 1) * j->count / 16) || !has_member(j, d->name))
			continue;
		for (size_t k = 0; k < d->count; k++) {
			if (!has_member(j, d->required[k]))
				right = schema_found_member(c, s, KEYWORD_DEPENDENT, d->required[k],
							    strlen(d->required[k]), d->name);
		}
	}
	return right;
}

static bool check_required(struct schema_check *c, const struct config_schema *s, const struct json *j,
			   const bool *present)
{
	bool right = true;

	for (size_t i = 0; i < s->property_count; i++) {
		const struct config_parameter *p = &s->properties[i];

		if (p->required && !present[i] && !p->has_default)
			right = schema_found_member(c, s, KEYWORD_REQUIRED, p->name, strlen(p->name), NULL);
	}
	for (size_t i = 0; i < s->required_count && schema_spend(c, j->count / 16); i++) {
		if (!has_member(j, s->required[i]))
			right = schema_found_member(c, s, KEYWORD_REQUIRED, s->required[i], strlen(s->required[i]),
						    NULL);
	}
	return right;
}

/* Which properties are there, in memory of the arena. */
static bool *present_members(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	bool *present = arena_zalloc(c->arena, s->property_count + 1);
	size_t guess = 0;

	for (const struct json *member = j->child; member; member = member->next) {
		size_t i = property_of(s, member, guess);

		present[i] = true;
		guess = i + 1;
	}
	return present;
}

/* --- what members must be --- */

static bool check_name(struct schema_check *c, const struct config_schema *s, struct json *member)
{
	struct json name = {.kind = JSON_STRING, .text = member->name, .len = member->name_len};

	return schema_visit(c, s->property_names, &name);
}

/* The patterns that match the member's name. *known: one did. */
static bool check_patterns(struct schema_check *c, const struct config_schema *s, struct json *member, bool *known)
{
	bool right = true;

	for (size_t i = 0; i < s->pattern_count && schema_spend(c, 1); i++) {
		const struct config_pattern_property *p = &s->patterns[i];
		int matches = schema_match(c, p->compiled, member->name, member->name_len);

		if (matches < 0)
			right = schema_found(c, s, KEYWORD_PATTERN_SLOW);
		if (matches <= 0)
			continue;
		*known = true;
		right &= schema_visit(c, p->schema, member);
	}
	return right;
}

static bool check_member(struct schema_check *c, const struct config_schema *s, struct json *member, size_t property)
{
	bool known = property < s->property_count, right = true;

	schema_enter(c, member, 0, false);
	if (s->property_names)
		right = check_name(c, s, member);
	if (known)
		right &= schema_visit(c, &s->properties[property].schema, member);
	if (s->pattern_count)
		right &= check_patterns(c, s, member, &known);
	if (!known && !s->additional)
		right = schema_found(c, s, KEYWORD_UNKNOWN);
	else if (!known && s->additional_schema)
		right &= schema_visit(c, s->additional_schema, member);
	schema_leave(c);
	return right;
}

static bool check_members(struct schema_check *c, const struct config_schema *s, struct json *j)
{
	bool right = true;
	size_t guess = 0;

	for (struct json *member = j->child; member && !c->exhausted; member = member->next) {
		size_t i = property_of(s, member, guess);

		guess = i + 1;
		right &= check_member(c, s, member, i);
		if (!right && c->quiet)
			return false;
		if (!member->raw)
			j->raw = NULL;
	}
	return right;
}

/* --- defaults --- */

static struct json *copied(struct arena *a, const struct json *from)
{
	struct json *j = arena_alloc(a, sizeof(*j));

	*j = *from;
	if (j->kind < JSON_ARRAY)
		return j;
	struct json **to = &j->child;
	for (const struct json *child = from->child; child; child = child->next, to = &(*to)->next)
		*to = copied(a, child);
	*to = NULL;
	return j;
}

/* A body of ours is not the one that was sent: its text has to be made. */
static void add_default(struct schema_check *c, const struct config_parameter *p, struct json *j)
{
	struct json *member = copied(c->arena, p->default_json);
	struct json **end = &j->child;

	while (*end)
		end = &(*end)->next;
	*end = member;
	member->next = NULL;
	member->name = p->name;
	member->name_len = (uint32_t)strlen(p->name);
	j->count++;
	j->raw = NULL;
}

static void add_defaults(struct schema_check *c, const struct config_schema *s, struct json *j, const bool *present)
{
	for (size_t i = 0; i < s->property_count; i++) {
		if (s->properties[i].default_json && !present[i])
			add_default(c, &s->properties[i], j);
	}
}

bool schema_object(struct schema_check *c, const struct config_schema *s, struct json *j)
{
	bool right = true;
	const bool *present = NULL;

	if (s->has_min_properties && j->count < s->min_properties)
		return schema_found(c, s, KEYWORD_MIN_PROPERTIES);
	if (s->has_max_properties && j->count > s->max_properties)
		return schema_found(c, s, KEYWORD_MAX_PROPERTIES);
	if (s->property_count || s->required_count) {
		present = present_members(c, s, j);
		right = check_required(c, s, j, present);
	}
	if (s->dependent_count)
		right &= check_dependents(c, s, j);
	if (!right && c->quiet)
		return false;
	if (s->property_count || s->pattern_count || !s->additional || s->additional_schema || s->property_names)
		right &= check_members(c, s, j);
	if (right && s->has_default && !c->branches)
		add_defaults(c, s, j, present);
	return right;
}

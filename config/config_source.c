/* sources: by name, each of a kind. */
#include <string.h>

#include "config/language.h"

/* The key that makes a source of a kind, and the rows of that kind; NULL: not of this build. */
static const struct {
	const char *name;
	const struct section *section;
} kinds[] = {
	{"postgres", &section_postgres},
	{"mongodb", &section_mongodb},
	{"http", NULL},
	{"files", NULL},
};

/* No kind among the keys: is one of them nearly one? */
static void report_no_kind(struct decoder *dc, const struct node *name, const struct node *n)
{
	for (size_t i = 0; i < n->count; i++) {
		const char *nearest = nearest_name(n->members[i].key->text, source_kind_names, 2);
		if (!nearest)
			continue;
		diagnostics_error(dc->diagnostics, n->members[i].key->at,
				  "source \"%s\": unknown kind \"%.100s\": did you mean \"%s\"?", name->text,
				  n->members[i].key->text, nearest);
		return;
	}
	diagnostics_error(dc->diagnostics, n->at,
			  "source \"%s\" has no kind: expected \"postgres\" or \"mongodb\" with the server's URL",
			  name->text);
}

/* The index in kinds, or -1 where there is none or more than one (reported). */
static int kind_of(struct decoder *dc, const struct node *name, const struct node *n)
{
	int found = -1;
	for (int i = 0; i < (int)ARRAY_SIZE(kinds); i++) {
		if (!node_member(n, kinds[i].name))
			continue;
		if (found >= 0) {
			diagnostics_error(dc->diagnostics, n->at, "source \"%s\" is of two kinds: %s and %s",
					  name->text, kinds[found].name, kinds[i].name);
			return -1;
		}
		found = i;
	}
	if (found < 0)
		report_no_kind(dc, name, n);
	return found;
}

static void decode_source(struct decoder *dc, const struct node *name, const struct node *n)
{
	if (!decode_is_mapping(dc, name->text, n))
		return;
	int kind = kind_of(dc, name, n);
	if (kind < 0)
		return;
	if (!kinds[kind].section) {
		for (size_t i = 0; i < n->count; i++) {
			if (strcmp(n->members[i].key->text, kinds[kind].name) == 0)
				diagnostics_error(dc->diagnostics, n->members[i].key->at,
						  "%s: not supported by this build", kinds[kind].name);
		}
		return;
	}
	struct config_source *s = &dc->config->sources[dc->config->source_count++];
	*s = (struct config_source){.name = name->text, .at = name->at, .kind = (enum source_kind)kind};
	decode_section(dc, kinds[kind].section, name->text, n, s);
}

void decode_sources(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config *c = object;

	if (!decode_is_mapping(dc, k->name, n))
		return;
	c->sources = arena_array(dc->arena, n->count, sizeof(*c->sources));
	dc->source_names = arena_array(dc->arena, n->count, sizeof(*dc->source_names));
	for (size_t i = 0; i < n->count; i++) {
		const struct node *name = n->members[i].key;
		dc->source_names[dc->source_name_count++] = name->text;
		if (!is_name(name->text))
			diagnostics_error(dc->diagnostics, name->at, "source \"%.100s\": " NAME_RULE, name->text);
		decode_source(dc, name, n->members[i].value);
	}
}

void check_source(struct decoder *dc, const struct node *mapping, void *object)
{
	struct config_source *s = object;
	const struct node *url = node_member(mapping, kinds[s->kind].name);

	(void)dc;
	s->url_at = url ? url->at : mapping->at;
}

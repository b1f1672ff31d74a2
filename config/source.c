/* sources: by name, each of a kind. */
#include <string.h>

#include "config/language.h"

/* `"postgres", "mongodb" or "http" with a URL, or "files" with a folder`: kinds whose values are alike stand together.
 */
static void list_kinds(struct buf *out, const struct language *l)
{
	for (size_t i = 0, end; i < l->kind_count; i = end) {
		for (end = i + 1; end < l->kind_count && strcmp(l->kinds[end]->value, l->kinds[i]->value) == 0;)
			end++;
		buf_str(out, i == 0 ? "" : end < l->kind_count ? ", " : ", or ");
		for (size_t j = i; j < end; j++)
			buf_printf(out, "%s\"%s\"", j == i ? "" : j + 1 < end ? ", " : " or ", l->kinds[j]->name);
		buf_printf(out, " with %s", l->kinds[i]->value);
	}
}

/* No kind among the keys: is one of them nearly one? */
static void report_no_kind(struct decoder *dc, const struct node *name, const struct node *n)
{
	const struct language *l = dc->language;
	const char **names = arena_array(dc->arena, l->kind_count, sizeof(*names));
	struct buf expected = BUF_INIT;

	for (size_t i = 0; i < l->kind_count; i++)
		names[i] = l->kinds[i]->name;
	for (size_t i = 0; i < n->count; i++) {
		const char *nearest = nearest_name(n->members[i].key->text, names, l->kind_count);
		if (!nearest)
			continue;
		diagnostics_error(dc->diagnostics, n->members[i].key->at,
				  "source \"%s\": unknown kind \"%.100s\": did you mean \"%s\"?", name->text,
				  n->members[i].key->text, nearest);
		return;
	}
	list_kinds(&expected, l);
	diagnostics_error(dc->diagnostics, n->at, "source \"%s\" has no kind: expected %s", name->text,
			  buf_cstr(&expected));
	buf_done(&expected);
}

/* NULL: there is none or more than one (reported). */
static const struct source_kind *kind_of(struct decoder *dc, const struct node *name, const struct node *n)
{
	const struct source_kind *found = NULL;
	for (size_t i = 0; i < dc->language->kind_count; i++) {
		const struct source_kind *kind = dc->language->kinds[i];
		if (!node_member(n, kind->name))
			continue;
		if (found) {
			diagnostics_error(dc->diagnostics, n->at, "source \"%s\" is of two kinds: %s and %s",
					  name->text, found->name, kind->name);
			return NULL;
		}
		found = kind;
	}
	if (!found)
		report_no_kind(dc, name, n);
	return found;
}

static void decode_source(struct decoder *dc, const struct node *name, const struct node *n)
{
	if (!decode_is_mapping(dc, name->text, n))
		return;
	const struct source_kind *kind = kind_of(dc, name, n);
	if (!kind)
		return;
	struct config_source *s = &dc->config->sources[dc->config->source_count++];
	*s = (struct config_source){
		.own = arena_zalloc(dc->arena, kind->source_size),
		.kind = kind,
		.name = name->text,
		.at = name->at,
		.node = n,
		.semaphore = -1,
	};
	size_t errors = dc->diagnostics->errors;
	decode_section(dc, kind->source, name->text, n, s);
	s->sound = dc->diagnostics->errors == errors && node_is_sound(n);
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
	const struct node *url = node_member(mapping, s->kind->name);

	(void)dc;
	s->url_at = url ? url->at : mapping->at;
	s->url_expanded = url && url->expanded;
}

/* --- their names ----------------------------------------------------------------------------------------------- */

const struct config_source *decode_source_name(struct decoder *dc, const struct node *n)
{
	for (size_t i = 0; i < dc->config->source_count; i++) {
		if (strcmp(dc->config->sources[i].name, n->text) != 0)
			continue;
		dc->broken |= !dc->config->sources[i].sound;
		return &dc->config->sources[i];
	}
	for (size_t i = 0; i < dc->source_name_count; i++) {
		if (strcmp(dc->source_names[i], n->text) == 0) {
			dc->broken = true;
			return NULL;
		}
	}
	decode_unknown(dc, n->at, "source", n->expanded ? "from the environment" : n->text, dc->source_names,
		       dc->source_name_count);
	return NULL;
}

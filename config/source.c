/* sources: by name, each of a kind. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/language.h"

/* No kind among the keys: is one of them nearly one? */
static void report_no_kind(struct decoder *dc, const struct node *name, const struct node *n)
{
	for (size_t i = 0; i < n->count; i++) {
		const char *nearest = nearest_name(n->members[i].key->text, source_kind_names, source_kind_count);
		if (!nearest)
			continue;
		diagnostics_error(dc->diagnostics, n->members[i].key->at,
				  "source \"%s\": unknown kind \"%.100s\": did you mean \"%s\"?", name->text,
				  n->members[i].key->text, nearest);
		return;
	}
	diagnostics_error(dc->diagnostics, n->at,
			  "source \"%s\" has no kind: expected \"postgres\", \"mongodb\" or \"http\" with a URL, or "
			  "\"files\" with a folder",
			  name->text);
}

/* The index in kinds, or -1 if there is none or more than one (reported). */
static int kind_of(struct decoder *dc, const struct node *name, const struct node *n)
{
	int found = -1;
	for (int i = 0; i < (int)source_kind_count; i++) {
		if (!node_member(n, source_kind_names[i]))
			continue;
		if (found >= 0) {
			diagnostics_error(dc->diagnostics, n->at, "source \"%s\" is of two kinds: %s and %s",
					  name->text, source_kind_names[found], source_kind_names[i]);
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
	struct config_source *s = &dc->config->sources[dc->config->source_count++];
	*s = (struct config_source){
		.name = name->text, .at = name->at, .kind = (enum source_kind)kind, .semaphore = -1};
	size_t errors = dc->diagnostics->errors;
	decode_section(dc, source_sections[kind], name->text, n, s);
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
	const struct node *url = node_member(mapping, source_kind_names[s->kind]);

	(void)dc;
	s->url_at = url ? url->at : mapping->at;
	s->url_expanded = url && url->expanded;
}

void check_http(struct decoder *dc, const struct node *mapping, void *object)
{
	const struct config_source *s = object;
	const char *authority = s->url ? strstr(s->url, "://") : NULL;

	check_source(dc, mapping, object);
	if (authority && memchr(authority + 3, '@', strcspn(authority + 3, "/?#")))
		decode_error(dc, s->url_at,
			     "http: no user stands in the URL: a secret belongs in \"headers\", as "
			     "Authorization: { env: NAME }");
}

/* The folder, absolute. */
void decode_folder(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	const char **place = (const char **)(void *)((char *)object + k->offset);
	struct stat st;

	if (!decode_is_text(dc, k->name, n))
		return;
	const char *path = decode_path(dc, n->at, n->text);
	const char *shown = n->expanded ? "a folder from the environment" : path;
	char *real = realpath(path, NULL);
	if (!real)
		decode_error(dc, n->at, "files: %.200s: %s", shown, strerror(errno));
	else if (stat(real, &st) < 0 || !S_ISDIR(st.st_mode))
		decode_error(dc, n->at, "files: %.200s: it is no folder", shown);
	else
		*place = arena_strdup(dc->arena, real);
	free(real);
}

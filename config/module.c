/* Modules: shared objects with handlers in C (`handler` of an endpoint) and background tasks (`modules`). Whether one
 * can be loaded, and has the function, is seen by whoever loads it. */
#include <ctype.h>
#include <string.h>

#include "config/language.h"

/* The module at path, as it is found from the file that n is in: one that was named before, or a new one. */
static size_t module_of(struct decoder *dc, const struct node *n, const char *path)
{
	struct config *c = dc->config;
	/* Without a slash the dynamic linker would look in its own folders. */
	path = decode_path(dc, n->at, path);
	if (!strchr(path, '/'))
		path = arena_printf(dc->arena, "./%s", path);
	for (size_t i = 0; i < c->module_count; i++) {
		if (strcmp(c->modules[i].path, path) == 0)
			return i;
	}
	if (c->module_count == dc->module_capacity) {
		dc->module_capacity = dc->module_capacity ? 2 * dc->module_capacity : 16;
		struct config_module *grown = arena_array(dc->arena, dc->module_capacity, sizeof(*grown));
		if (c->module_count)
			memcpy(grown, c->modules, c->module_count * sizeof(*grown));
		c->modules = grown;
	}
	c->modules[c->module_count] = (struct config_module){
		.path = arena_strdup(dc->arena, path), .expanded = n->expanded, .at = n->at};
	return c->module_count++;
}

void decode_modules(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	(void)object;
	if (n->kind != NODE_SEQUENCE) {
		decode_unexpected(dc, k->name, n, "a list of files");
		return;
	}
	for (size_t i = 0; i < n->count; i++) {
		if (decode_is_text(dc, k->name, n->items[i]))
			(void)module_of(dc, n->items[i], n->items[i]->text);
	}
}

static bool is_function_name(const char *s)
{
	if (!isalpha((unsigned char)*s) && *s != '_')
		return false;
	while (isalnum((unsigned char)*s) || *s == '_')
		s++;
	return *s == '\0';
}

void decode_handler(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_handler *h = (struct config_handler *)(void *)((char *)object + k->offset);
	h->at = n->at;
	if (!decode_is_text(dc, k->name, n))
		return;
	const char *colon = strrchr(n->text, ':');
	if (!colon || colon == n->text || !is_function_name(colon + 1)) {
		decode_unexpected(dc, k->name, n, "a file and a function of it, such as module.so:function");
		return;
	}
	h->module = module_of(dc, n, arena_strndup(dc->arena, n->text, (size_t)(colon - n->text)));
	h->function = arena_strdup(dc->arena, colon + 1);
}

void check_handler(struct decoder *dc, const struct node *mapping)
{
	static const char *const declared[] = {"gather",   "respond", "status",   "created",
					       "location", "etag",    "if_match", "headers"};
	for (size_t i = 0; i < ARRAY_SIZE(declared); i++)
		decode_report(dc, mapping, declared[i], "not beside \"handler\": the function makes the reply");
	decode_report(dc, mapping, "cache", "not beside \"handler\": what the function answers is not kept");
}

/* Comparing configurations: by the names of what they declare, and by their text. */
#include "daemon/changes.h"

#include <stdio.h>
#include <string.h>

enum { SHOWN_MOST = 5 };

/* A kind of thing, and how many of it are new, changed and gone; with their names, if they are shown. */
struct tally {
	const char *noun;
	bool shown;
	unsigned count[3];
	struct buf names[3];
};

enum change_kind { NEW, CHANGED, GONE };

static void note(struct tally *t, enum change_kind kind, const char *name)
{
	t->count[kind]++;
	if (t->shown && t->count[kind] <= SHOWN_MOST)
		buf_printf(&t->names[kind], "%s%s", t->count[kind] > 1 ? ", " : "", name);
	else if (t->shown && t->count[kind] == SHOWN_MOST + 1)
		buf_lit(&t->names[kind], ", \xe2\x80\xa6");
}

/* Adds it to out, after what stands there. */
static void tell(struct tally *t, struct buf *out)
{
	static const char *const words[] = {[NEW] = "new", [CHANGED] = "changed", [GONE] = "gone"};
	bool named = false;
	for (unsigned kind = NEW; kind <= GONE; kind++) {
		if (t->count[kind] > 0) {
			buf_printf(out, "%s%u ", out->len ? ", " : "", t->count[kind]);
			if (!named)
				buf_printf(out, "%s%s ", t->noun, t->count[kind] == 1 ? "" : "s");
			named = true;
			buf_str(out, words[kind]);
			if (t->names[kind].len)
				buf_printf(out, " (%s)", buf_cstr(&t->names[kind]));
		}
		buf_done(&t->names[kind]);
	}
}

/* --- texts --- */

static bool same_node(const struct node *a, const struct node *b)
{
	struct buf x = BUF_INIT, y = BUF_INIT;
	if (a)
		node_render(a, &x);
	if (b)
		node_render(b, &y);
	bool same = x.len == y.len && (x.len == 0 || memcmp(x.data, y.data, x.len) == 0);
	buf_done(&x);
	buf_done(&y);
	return same;
}

static void add_key(struct buf *keys, const char *prefix, const char *key)
{
	buf_printf(keys, "%s%s%s%s", keys->len ? ", " : "", prefix, *prefix ? "." : "", key);
}

/* The keys of two mappings whose values differ; within a mapping its own. */
static void differing_keys(const struct node *a, const struct node *b, const char *prefix, struct buf *keys)
{
	for (size_t i = 0; i < b->count; i++) {
		const char *key = b->members[i].key->text;
		const struct node *before = node_member(a, key), *after = b->members[i].value;
		if (before && before->kind == NODE_MAPPING && after->kind == NODE_MAPPING && !*prefix)
			differing_keys(before, after, key, keys);
		else if (!same_node(before, after))
			add_key(keys, prefix, key);
	}
	for (size_t i = 0; i < a->count; i++)
		if (!node_member(b, a->members[i].key->text))
			add_key(keys, prefix, a->members[i].key->text);
}

/* --- sources, endpoints, modules, listeners --- */

static bool same_secret(const struct config_secret *a, const struct config_secret *b)
{
	return a->set == b->set && (!a->set || strcmp(a->value, b->value) == 0);
}

static const struct config_source *find_source(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->source_count; i++)
		if (strcmp(c->sources[i].name, name) == 0)
			return &c->sources[i];
	return NULL;
}

static void compare_source(struct tally *t, const struct config_source *before, const struct config_source *after)
{
	struct buf text = BUF_INIT, keys = BUF_INIT;
	differing_keys(before->node, after->node, "", &keys);
	if (!keys.len && !same_secret(&before->password, &after->password))
		add_key(&keys, "", "password");
	if (keys.len) {
		buf_printf(&text, "%s: %s", after->name, buf_cstr(&keys));
		note(t, CHANGED, buf_cstr(&text));
	}
	buf_done(&keys);
	buf_done(&text);
}

static void compare_sources(const struct config *before, const struct config *after, struct buf *out)
{
	struct tally t = {.noun = "source", .shown = true};
	for (size_t i = 0; i < after->source_count; i++) {
		const struct config_source *source = find_source(before, after->sources[i].name);
		if (source)
			compare_source(&t, source, &after->sources[i]);
		else
			note(&t, NEW, after->sources[i].name);
	}
	for (size_t i = 0; i < before->source_count; i++)
		if (!find_source(after, before->sources[i].name))
			note(&t, GONE, before->sources[i].name);
	tell(&t, out);
}

static const struct config_endpoint *find_endpoint(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->endpoint_count; i++)
		if (strcmp(c->endpoints[i].name, name) == 0)
			return &c->endpoints[i];
	return NULL;
}

static void compare_endpoints(const struct config *before, const struct config *after, struct buf *out)
{
	struct tally t = {.noun = "endpoint"};
	for (size_t i = 0; i < after->endpoint_count; i++) {
		const struct config_endpoint *e = find_endpoint(before, after->endpoints[i].name);
		if (!e || !same_node(e->node, after->endpoints[i].node))
			note(&t, e ? CHANGED : NEW, after->endpoints[i].name);
	}
	for (size_t i = 0; i < before->endpoint_count; i++)
		if (!find_endpoint(after, before->endpoints[i].name))
			note(&t, GONE, before->endpoints[i].name);
	tell(&t, out);
}

static bool has(const struct listeners *l, const struct bound *b)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->bound[i] == b)
			return true;
	return false;
}

static void compare_listeners(const struct listeners *before, const struct listeners *after, struct buf *out)
{
	struct tally t = {.noun = "listener", .shown = true};
	for (size_t i = 0; i < after->count; i++)
		if (!has(before, after->bound[i]))
			note(&t, NEW, after->bound[i]->name);
	for (size_t i = 0; i < before->count; i++)
		if (!has(after, before->bound[i]))
			note(&t, GONE, before->bound[i]->name);
	tell(&t, out);
}

void changes_describe(const struct config *before, const struct config *after, const struct listeners *rows_before,
		      const struct listeners *rows_after, struct buf *out)
{
	struct buf all = BUF_INIT;
	compare_sources(before, after, &all);
	compare_endpoints(before, after, &all);
	compare_listeners(rows_before, rows_after, &all);
	buf_str(out, all.len ? buf_cstr(&all) : "nothing has changed");
	buf_done(&all);
}

/* --- what waits --- */

static bool same_log(const struct config_log *a, const struct config_log *b)
{
	return a->level == b->level && a->format == b->format && a->requests == b->requests &&
	       a->most.count == b->most.count && a->most.per_us == b->most.per_us && a->slow_us == b->slow_us;
}

static bool same_buckets(const struct histogram_bounds *a, const struct histogram_bounds *b)
{
	return a->count == b->count && memcmp(a->us, b->us, a->count * sizeof(*a->us)) == 0;
}

void fixed_settings_take(struct fixed_settings *f, const struct config *c)
{
	const struct config_server *server = &c->server;
	*f = (struct fixed_settings){
		.threads = server->threads,
		.debug = server->debug,
		.slow_callback_us = server->slow_callback_us,
		.log = c->log,
		.buckets = c->metrics.buckets,
	};
	snprintf(f->control, sizeof(f->control), "%s", server->control.path ? server->control.path : "");
}

bool fixed_settings_warn(const struct fixed_settings *f, const struct config *c, struct diagnostics *d)
{
	const struct mark nowhere = {0};
	struct fixed_settings now;
	size_t count = d->count;
	fixed_settings_take(&now, c);
	if (f->threads != now.threads)
		diagnostics_warning(d, nowhere, "server.threads: %u -> %u waits for a restart", f->threads,
				    now.threads);
	if (strcmp(f->control, now.control) != 0)
		diagnostics_warning(d, nowhere, "server.control: waits for a restart");
	if (f->debug != now.debug || f->slow_callback_us != now.slow_callback_us)
		diagnostics_warning(d, nowhere, "server.debug, server.slow_callback: wait for a restart");
	if (!same_log(&f->log, &now.log))
		diagnostics_warning(d, nowhere, "log: waits for a restart");
	if (!same_buckets(&f->buckets, &now.buckets))
		diagnostics_warning(d, nowhere, "metrics.buckets: wait for a restart");
	return d->count > count;
}

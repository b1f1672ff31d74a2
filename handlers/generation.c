/* From a configuration to what serves it. */
#include "handlers/generation.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "drivers/drivers.h"
#include "handlers/source_check.h"

/* --- what is shared --- */

void shared_init(struct shared *s, struct executor *executor, unsigned workers)
{
	*s = (struct shared){.executor = executor, .workers = workers};
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->sources);
	list_init(&s->semaphores);
	list_init(&s->retired);
	list_init(&s->alive);
}

void shared_done(struct shared *s)
{
	cache_free(s->cache);
	rates_free(s->rates);
	pthread_mutex_destroy(&s->lock);
}

/* Under lock. */
static void drop_source(struct shared_source *source)
{
	if (--source->references > 0)
		return;
	list_remove(&source->link);
	source->driver->source_free(source->source);
	buf_done(&source->identity);
	free(source);
}

/* Under lock. */
static void drop_permits(struct shared_permits *p)
{
	if (--p->references > 0)
		return;
	list_remove(&p->link);
	shared_semaphore_done(&p->semaphore);
	free(p->name);
	free(p);
}

/* --- the end of a generation --- */

static void give_back(struct generation *g)
{
	struct shared *s = g->shared;
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < g->config->source_count; i++)
		if (g->entries[i])
			drop_source(g->entries[i]);
	for (size_t i = 0; i < g->config->semaphore_count; i++)
		if (g->permits[i])
			drop_permits(g->permits[i]);
	if (g->number > 0)
		atomic_fetch_sub(&s->generations, 1);
	list_remove(&g->alive);
	pthread_mutex_unlock(&s->lock);
}

static void free_generation(struct generation *g)
{
	if (g->shared)
		give_back(g);
	metrics_free(g->metrics);
	for (size_t i = 0; i < g->config->endpoint_count; i++) {
		plan_uncount(g->plans[i]);
		tally_drop(g->tallies[i]);
	}
	for (size_t i = 0; i < g->config->source_count; i++) {
		buf_done(&g->identities[i]);
		tally_drop(g->source_tallies[i]);
	}
	config_free(g->config);
	arena_done(&g->arena);
	free(g);
}

void generation_keep(struct generation *g)
{
	atomic_fetch_add_explicit(&g->references, 1, memory_order_relaxed);
}

void generation_drop(struct generation *g)
{
	if (!g || atomic_fetch_sub_explicit(&g->references, 1, memory_order_acq_rel) > 1)
		return;
	struct shared *s = g->shared;
	if (!s) {
		free_generation(g);
		return;
	}
	pthread_mutex_lock(&s->lock);
	list_append(&s->retired, &g->retired);
	pthread_mutex_unlock(&s->lock);
	if (s->wake)
		s->wake(s->arg);
}

void shared_bury(struct shared *s)
{
	for (;;) {
		pthread_mutex_lock(&s->lock);
		struct list *first = list_shift(&s->retired);
		pthread_mutex_unlock(&s->lock);
		if (!first)
			return;
		free_generation(container_of(first, struct generation, retired));
	}
}

/* --- compiling --- */

/* What makes a source the one that it is; its driver knows the rest. */
static void identify_source(const struct config_source *config, struct buf *out)
{
	buf_append(out, &config->kind, sizeof(config->kind));
	buf_append(out, config->name, strlen(config->name) + 1);
	buf_append(out, config->url, strlen(config->url) + 1);
	if (config->password.set)
		buf_append(out, config->password.value, strlen(config->password.value) + 1);
	const struct driver *driver = driver_of(config);
	if (driver->source_identity)
		driver->source_identity(config, out);
}

static uint64_t hash_of(const struct buf *identity)
{
	return hash_bytes(HASH_INIT, identity->data, identity->len);
}

/* Modules can ask for all sources and named semaphores. In any order: a sum. */
static uint64_t identify_for_modules(const struct generation *g, const uint64_t *hashes)
{
	const struct config *c = g->config;
	uint64_t sum = 0;
	for (size_t i = 0; i < c->source_count; i++) {
		int index = c->sources[i].semaphore;
		const char *name = index >= 0 ? c->semaphores[index].name : NULL;
		uint64_t h = hash_bytes(hashes[i], index < 0 ? "-" : "+", 1);
		sum += hash_bytes(h, name ? name : "", name ? strlen(name) : 0);
	}
	for (size_t i = 0; i < c->semaphore_count; i++)
		if (c->semaphores[i].name)
			sum += hash_bytes(HASH_INIT, c->semaphores[i].name, strlen(c->semaphores[i].name));
	return sum;
}

static void compile_endpoints(struct generation *g, struct diagnostics *d)
{
	const struct config *c = g->config;
	uint64_t *hashes = arena_array(&g->arena, c->source_count + 1, sizeof(*hashes));
	for (size_t i = 0; i < c->source_count; i++) {
		if (!c->sources[i].sound)
			continue;
		driver_of(&c->sources[i])->source_check(&c->sources[i], d);
		identify_source(&c->sources[i], &g->identities[i]);
		hashes[i] = hash_of(&g->identities[i]);
	}
	for (size_t i = 0; i < c->endpoint_count; i++) {
		g->has_rates |= c->endpoints[i].rate.count > 0;
		if (c->endpoints[i].sound && !c->endpoints[i].handler.function)
			g->plans[i] = plan_compile(c, &c->endpoints[i], hashes, &g->arena, d);
	}
	g->module_identity = identify_for_modules(g, hashes);
}

/* Have its endpoints, steps and sources counted, by their names: an older generation's numbers go on. */
static void count(struct generation *g)
{
	for (size_t i = 0; i < g->config->endpoint_count; i++) {
		g->tallies[i] = tally_take(&endpoint_tally, g->config->endpoints[i].name);
		if (g->plans[i])
			plan_count(g->plans[i]);
	}
	for (size_t i = 0; i < g->config->source_count; i++)
		g->source_tallies[i] = tally_take(&source_tally, g->config->sources[i].name);
	g->metrics = metrics_new(g->config, g->tallies, g->plans);
}

struct generation *generation_compile(struct config *c, struct diagnostics *d)
{
	struct generation *g = mem_zalloc(sizeof(*g));
	atomic_init(&g->references, 1);
	g->config = c;
	list_init(&g->alive);
	list_init(&g->retired);
	arena_init(&g->arena);
	g->plans = arena_array(&g->arena, c->endpoint_count + 1, sizeof(*g->plans));
	g->tallies = arena_array(&g->arena, c->endpoint_count + 1, sizeof(struct tally *));
	g->source_tallies = arena_array(&g->arena, c->source_count + 1, sizeof(struct tally *));
	g->identities = arena_array(&g->arena, c->source_count + 1, sizeof(*g->identities));
	g->entries = arena_array(&g->arena, c->source_count + 1, sizeof(struct shared_source *));
	g->sources = arena_array(&g->arena, c->source_count + 1, sizeof(struct source *));
	g->carried = arena_array(&g->arena, c->source_count + 1, sizeof(*g->carried));
	g->permits = arena_array(&g->arena, c->semaphore_count + 1, sizeof(struct shared_permits *));
	g->semaphores = arena_array(&g->arena, c->semaphore_count + 1, sizeof(struct shared_semaphore *));
	compile_endpoints(g, d);
	modules_load(&g->modules, &g->handlers, c, &g->arena, d);
	g->router = router_new(c, &g->arena, d);
	diagnostics_sort(d);
	if (d->errors == 0) {
		count(g);
		return g;
	}
	generation_drop(g);
	return NULL;
}

int generation_check(struct generation *g, struct executor *ex, struct diagnostics *d)
{
	return sources_check(g->config, g->plans, ex, d);
}

/* --- opening --- */

static bool same_identity(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* The source of the generation that serves; one that only older ones have is on its way out. */
static struct shared_source *find_source(const struct generation *serving, const struct buf *identity)
{
	for (size_t i = 0; serving && i < serving->config->source_count; i++)
		if (same_identity(&serving->entries[i]->identity, identity))
			return serving->entries[i];
	return NULL;
}

/* Under lock. */
static int open_source(struct generation *g, size_t i, const struct generation *serving, struct error *e)
{
	const struct config_source *config = &g->config->sources[i];
	const struct driver *driver = driver_of(config);
	struct shared_source *source = find_source(serving, &g->identities[i]);
	g->carried[i] = source;
	if (!source) {
		source = mem_zalloc(sizeof(*source));
		source->driver = driver;
		int r = source->driver->source_new(&source->source, config, g->shared->executor, g->shared->workers, e);
		if (r < 0) {
			free(source);
			return r;
		}
		buf_append(&source->identity, g->identities[i].data, g->identities[i].len);
		list_append(&g->shared->sources, &source->link);
	}
	source->references++;
	g->entries[i] = source;
	g->sources[i] = source->source;
	return 0;
}

/* What a semaphore in place belongs to: it has no name. */
static char *place_of(const struct config *c, int index)
{
	struct buf name = BUF_INIT;
	for (size_t i = 0; i < c->source_count && !name.len; i++)
		if (c->sources[i].semaphore == index)
			buf_printf(&name, "source\n%s", c->sources[i].name);
	for (size_t i = 0; i < c->endpoint_count && !name.len; i++) {
		const struct config_endpoint *e = &c->endpoints[i];
		if (e->semaphore == index)
			buf_printf(&name, "endpoint\n%s", e->name);
		for (size_t k = 0; k < e->step_count && !name.len; k++)
			if (e->steps[k].semaphore == index)
				buf_printf(&name, "step\n%s\n%s", e->name, e->steps[k].name);
	}
	char *copy = mem_strdup(buf_cstr(&name));
	buf_done(&name);
	return copy;
}

/* Under lock. */
static void open_permits(struct generation *g, size_t i)
{
	const struct config_semaphore *config = &g->config->semaphores[i];
	char *name = config->name ? mem_strdup(config->name) : place_of(g->config, (int)i);
	struct shared_permits *found = NULL;
	list_for_each (link, &g->shared->semaphores) {
		struct shared_permits *p = container_of(link, struct shared_permits, link);
		if (strcmp(p->name, name) == 0)
			found = p;
	}
	if (found) {
		free(name);
	} else {
		found = mem_zalloc(sizeof(*found));
		found->name = name;
		shared_semaphore_init(&found->semaphore, config->permits, config->max_waiting);
		list_append(&g->shared->semaphores, &found->link);
	}
	found->references++;
	g->permits[i] = found;
	g->semaphores[i] = &found->semaphore;
}

int generation_open(struct generation *g, struct shared *s, const struct generation *serving, struct error *e,
		    struct mark *at)
{
	int r = 0;
	g->shared = s;
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < g->config->source_count && r == 0; i++) {
		*at = g->config->sources[i].url_at;
		r = open_source(g, i, serving, e);
	}
	for (size_t i = 0; i < g->config->semaphore_count && r == 0; i++)
		open_permits(g, i);
	pthread_mutex_unlock(&s->lock);
	if (r == 0 && !s->cache)
		s->cache = cache_new(g->config->server.cache_size);
	if (r == 0 && g->has_rates && !s->rates)
		s->rates = rates_new(RATES_CLIENTS);
	return r;
}

void generation_commit(struct generation *g, unsigned number)
{
	const struct config *c = g->config;
	g->number = number;
	pthread_mutex_lock(&g->shared->lock);
	list_append(&g->shared->alive, &g->alive);
	pthread_mutex_unlock(&g->shared->lock);
	atomic_fetch_add(&g->shared->generations, 1);
	for (size_t i = 0; i < c->source_count; i++)
		if (g->carried[i] && g->entries[i]->driver->source_update)
			g->entries[i]->driver->source_update(g->sources[i], &c->sources[i]);
	for (size_t i = 0; i < c->semaphore_count; i++)
		shared_semaphore_resize(g->semaphores[i], c->semaphores[i].permits, c->semaphores[i].max_waiting);
	cache_resize(g->shared->cache, c->server.cache_size);
}

unsigned shared_oldest(struct shared *s)
{
	pthread_mutex_lock(&s->lock);
	const struct generation *first = container_of(s->alive.next, struct generation, alive);
	unsigned number = s->alive.next != &s->alive && s->alive.next != s->alive.prev ? first->number : 0;
	pthread_mutex_unlock(&s->lock);
	return number;
}

/* MongoDB as a kind of source: what drivers/driver.h asks of every kind.
 *
 * libmongoc initializes itself when it is loaded and cleans up when the process ends, so nobody here calls mongoc_init
 * or mongoc_cleanup; it is only told, once, to keep its log to itself. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "drivers/budget.h"
#include "drivers/identity.h"
#include "drivers/mongo/calls/run.h"
#include "drivers/mongo/calls/steps.h"
#include "drivers/mongo/driver.h"
#include "drivers/mongo/wire/tls.h"
#include "drivers/mongo/wire/url.h"

struct mongo_source {
	struct source base;
	struct arena arena;
	struct mongo_url url;
	struct mongo_tls *tls; /* NULL: clear text */
	struct budget budget;
	struct health health;
	atomic_uint generation;
	struct mongo_pool_settings settings;
};

static struct mongo_source *source_of(struct source *s)
{
	return container_of(s, struct mongo_source, base);
}

static void quiet(void)
{
	mongoc_log_set_handler(NULL, NULL);
	mongoc_handshake_data_append("gatherd", GATHERD_VERSION, NULL);
}

static void library_once(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, quiet);
}

/* --- sources --- */

static void mongo_source_check(const struct config_source *config, struct diagnostics *d)
{
	struct mongo_url url;
	struct arena arena;

	library_once();
	arena_init(&arena);
	if (mongo_url_parse(&url, &arena, config, d))
		mongo_url_done(&url);
	arena_done(&arena);
}

/* Its mistakes were reported by source_check; here the first one is enough. */
static int read_url(struct mongo_source *s, struct error *e)
{
	struct diagnostics d;
	int r = 0;

	diagnostics_init(&d);
	if (!mongo_url_parse(&s->url, &s->arena, s->base.config, &d))
		r = error_set(e, -EINVAL, 500, NULL, "%s", d.count ? d.items[0].text : "the URL is wrong");
	diagnostics_done(&d);
	return r;
}

static void mongo_source_results(const struct config_source *config, struct buf *out)
{
	const struct mongo_source_keys *keys = config->own;

	buf_append(out, &keys->json, sizeof(keys->json));
}

static void mongo_source_free(struct source *source)
{
	if (!source)
		return;
	struct mongo_source *s = source_of(source);
	mongo_tls_free(s->tls);
	mongo_url_done(&s->url);
	if (s->settings.budget) {
		budget_done(&s->budget);
		health_done(&s->health);
		tally_drop(s->settings.tally);
	}
	arena_done(&s->arena);
	free(s->base.name);
	free(s);
}

static bool mongo_source_ready(struct source *source)
{
	return health_is_up(&source_of(source)->health);
}

static int mongo_source_new(struct source **out, const struct config_source *config, struct executor *executor,
			    unsigned workers, struct error *e)
{
	struct mongo_source *s = mem_zalloc(sizeof(*s));
	const struct config_pool *pool = &config->pool;
	int r;

	library_once();
	s->base = (struct source){&mongo_driver, mem_strdup(config->name), config};
	arena_init(&s->arena);
	r = read_url(s, e);
	if (r == 0 && s->url.tls)
		r = mongo_tls_new(&s->tls, &s->url.tls_options, e);
	if (r < 0) {
		mongo_source_free(&s->base);
		return r;
	}
	health_init(&s->health, s->base.name);
	(void)workers;
	budget_init(&s->budget, pool->size, pool->max_waiting);
	atomic_init(&s->generation, 0);
	s->settings = (struct mongo_pool_settings){
		.name = s->base.name,
		.uri = s->url.uri,
		.database = s->url.database,
		.limits = *pool,
		.streams = {.executor = executor, .tls = s->tls, .connect_timeout_us = s->url.connect_timeout_us},
		.budget = &s->budget,
		.health = &s->health,
		.tally = tally_take(&source_tally, config->name),
		.generation = &s->generation,
	};
	*out = &s->base;
	return 0;
}

static void mongo_source_state(struct source *source, struct source_state *out)
{
	struct mongo_source *s = source_of(source);

	*out = (struct source_state){.pooled = true, .waiting = atomic_load(&s->budget.waiting), .busy = -1};
	health_look(&s->health, false, out);
}

static void mongo_source_update(struct source *source, const struct config_source *config)
{
	budget_resize(&source_of(source)->budget, config->pool.size, config->pool.max_waiting);
}

static void mongo_source_identity(const struct config_source *config, struct buf *out)
{
	struct mongo_url url;
	struct diagnostics d;
	struct arena arena;

	diagnostics_init(&d);
	arena_init(&arena);
	if (mongo_url_parse(&url, &arena, config, &d)) {
		identity_file(out, url.tls_options.ca_file);
		identity_file(out, url.tls_options.certificate_file);
		mongo_url_done(&url);
	}
	arena_done(&arena);
	diagnostics_done(&d);
}

/* --- clients --- */

static int mongo_client_open(struct client **out, struct source *source, struct error *e)
{
	struct mongo_client *c = mem_zalloc(sizeof(*c));

	(void)e;
	c->base = (struct client){&mongo_driver, source->config};
	c->json = ((const struct mongo_source_keys *)source->config->own)->json;
	list_init(&c->transactions);
	mongo_pool_open(&c->pool, &source_of(source)->settings);
	mongo_pool_follow(&c->pool, &source->config->pool);
	*out = &c->base;
	return 0;
}

static void mongo_client_update(struct client *client, const struct config_source *config)
{
	struct mongo_client *c = mongo_client_of(client);

	c->json = ((const struct mongo_source_keys *)config->own)->json;
	mongo_pool_follow(&c->pool, &config->pool);
}

static void mongo_client_close(struct client *client)
{
	struct mongo_client *c = mongo_client_of(client);

	mongo_pool_close(&c->pool);
	free(c);
}

static bool mongo_client_idle(const struct client *client)
{
	return mongo_pool_idle(&container_of(client, const struct mongo_client, base)->pool);
}

/* --- actions --- */

static struct action *mongo_action_new(const struct config_source *config, const struct config_step *step,
				       struct action_env *env)
{
	(void)config;
	return (struct action *)mongo_steps_compile(step, env);
}

static int mongo_action_run(struct client *client, const struct action *action, const struct value *args,
			    const struct run_options *options, struct result **out, struct error *e)
{
	return mongo_steps_run(client, (const struct mongo_action *)action, args, options, out, e);
}

/* What a server thinks of an action depends on its documents: there is nothing to ask it. */
static int mongo_check(struct client *client, const struct action *const *actions, size_t count, int64_t patience_us,
		       struct diagnostics *d, struct error *e)
{
	(void)actions, (void)count, (void)d;
	return mongo_pool_check(&mongo_client_of(client)->pool, deadline_in_us(patience_us), e);
}

const struct driver mongo_driver = {
	.kind = &mongo_kind,
	.source_check = mongo_source_check,
	.source_results = mongo_source_results,
	.source_new = mongo_source_new,
	.source_identity = mongo_source_identity,
	.source_free = mongo_source_free,
	.source_update = mongo_source_update,
	.source_ready = mongo_source_ready,
	.action_new = mongo_action_new,
	.client_open = mongo_client_open,
	.client_update = mongo_client_update,
	.client_close = mongo_client_close,
	.client_idle = mongo_client_idle,
	.source_state = mongo_source_state,
	.run = mongo_action_run,
	.check = mongo_check,
	.must_be_there = true,
};

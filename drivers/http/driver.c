/* HTTP services as a kind of source: what drivers/driver.h asks of every kind. */
#include "drivers/http/driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "async/task.h"
#include "base/mem.h"
#include "drivers/http/call.h"
#include "drivers/http/proxy.h"
#include "drivers/http/request.h"
#include "drivers/http/result.h"
#include "drivers/http/source.h"

static struct http_source *source_of(struct source *s)
{
	return container_of(s, struct http_source, base);
}

/* --- sources --- */

static void source_check(const struct config_source *config, struct diagnostics *d)
{
	struct http_origin origin;
	struct arena a;
	const char *why;

	arena_init(&a);
	if (http_origin_parse(&origin, &a, config->url, &why) < 0)
		diagnostics_error(d, config->url_at, "http: %s", why);
	arena_done(&a);
	lines_check(((const struct http_source_keys *)config->own)->headers, d);
}

static void source_results(const struct config_source *config, struct buf *out)
{
	const struct node *headers = ((const struct http_source_keys *)config->own)->headers;

	if (headers)
		node_render(headers, out);
}

static void source_free(struct source *source)
{
	struct http_source *s = source_of(source);

	if (!s)
		return;
	http_trust_free(s->trust);
	breaker_done(&s->breaker);
	health_done(&s->health);
	tally_drop(s->tally);
	shared_semaphore_done(&s->permits);
	arena_done(&s->arena);
	free(s->base.name);
	free(s);
}

/* Where its calls go, and whom they believe. */
static int prepare(struct http_source *s, struct error *e)
{
	const struct http_source_keys *keys = s->base.config->own;
	const char *why;

	if (http_origin_parse(&s->origin, &s->arena, s->base.config->url, &why) < 0)
		return error_set(e, -EINVAL, 500, NULL, "source %s: %s", s->base.name, why);
	if (keys->proxy) {
		int r = http_proxy_of_environment(&s->proxy, &s->arena, &s->origin, &why);
		if (r == -EINVAL)
			return error_set(e, r, 500, NULL, "source %s: the environment's proxy: %s", s->base.name, why);
		s->proxied = r == 0;
	}
	/* A proxy may be spoken to over TLS, too. */
	if (s->origin.tls || (s->proxied && s->proxy.tls))
		return http_trust_new(&s->trust, NULL, e);
	return 0;
}

static int source_new(struct source **out, const struct config_source *config, struct executor *executor,
		      unsigned workers, struct error *e)
{
	const struct http_source_keys *keys = config->own;
	struct http_source *s = mem_zalloc(sizeof(*s));

	(void)workers;
	s->base = (struct source){&http_driver, mem_strdup(config->name), config};
	s->executor = executor;
	arena_init(&s->arena);
	health_init(&s->health, s->base.name);
	s->health.quiet = true;
	s->tally = tally_take(&source_tally, config->name);
	breaker_init(&s->breaker, s->base.name, keys->breaker.failures, keys->breaker.cooldown_us);
	shared_semaphore_init(&s->permits, config->pool.size, config->pool.max_waiting);
	int r = prepare(s, e);
	if (r < 0) {
		source_free(&s->base);
		return r;
	}
	*out = &s->base;
	return 0;
}

static void source_identity(const struct config_source *config, struct buf *out)
{
	buf_char(out, ((const struct http_source_keys *)config->own)->proxy ? 'p' : '-');
}

/* A breaker that is another one begins closed. */
static void source_update(struct source *source, const struct config_source *config)
{
	struct http_source *s = source_of(source);
	const struct http_source_keys *keys = config->own;

	breaker_configure(&s->breaker, keys->breaker.failures, keys->breaker.cooldown_us);
	shared_semaphore_resize(&s->permits, config->pool.size, config->pool.max_waiting);
}

/* Connections are made when they are wanted: it is down when the last one could not be made. */
static bool source_ready(struct source *source)
{
	return monotonic_us() >= atomic_load_explicit(&source_of(source)->down_until_us, memory_order_relaxed);
}

static struct action *action_new(const struct config_source *config, const struct config_step *step,
				 struct action_env *env)
{
	return (struct action *)http_action_new(config, step, env);
}

/* --- clients --- */

static int client_open(struct client **out, struct source *source, struct error *e)
{
	struct http_source *s = source_of(source);
	struct http_client *c = mem_zalloc(sizeof(*c));
	struct http_settings settings = {
		.origin = &s->origin,
		.executor = s->executor,
		.trust = s->trust,
		.proxy = s->proxied ? &s->proxy : NULL,
		.pool = &s->base.config->pool,
		.permits = &s->permits,
		.tally = s->tally,
	};

	c->base = (struct client){&http_driver, source->config};
	c->source = s;
	if (getrandom(&c->random, sizeof(c->random), GRND_NONBLOCK) != sizeof(c->random))
		c->random = (uint64_t)monotonic_us();
	c->random |= 1;
	future_init(&c->closing);
	int r = http_engine_new(&c->engine, &settings, e);
	if (r < 0) {
		free(c);
		return r;
	}
	*out = &c->base;
	return 0;
}

static void client_update(struct client *client, const struct config_source *config)
{
	http_engine_follow(http_client_of(client)->engine, &config->pool);
}

static void client_close(struct client *client)
{
	struct http_client *c = http_client_of(client);

	if (!c)
		return;
	struct shield shield;
	task_shield(&shield, DEADLINE_NEVER);
	future_resolve(&c->closing, 0);
	while (c->callers > 0) {
		http_engine_refuse(c->engine);
		int r = task_sleep_ms(1);
		(void)r;
	}
	task_unshield(&shield);
	http_engine_free(c->engine);
	free(c);
}

static bool client_idle(const struct client *client)
{
	const struct http_client *c = container_of(client, const struct http_client, base);

	return c->callers == 0 && http_engine_idle(c->engine);
}

/* --- one run --- */

static int run(struct client *client, const struct action *action, const struct value *args,
	       const struct run_options *options, struct result **out, struct error *e)
{
	struct http_client *c = http_client_of(client);
	const struct http_action *a = (const struct http_action *)action;
	struct http_response response = {0};
	struct http_message message;

	c->callers++;
	int r = http_message_make(&message, a, args, options, &c->random, e);
	if (r == 0)
		r = http_call(c, &message.request, options->timeout_us, &response, e);
	if (r == 0)
		r = http_result_new(out, a, &response, e);
	http_conclude(e, r, &response, c, a);
	http_response_done(&response);
	http_message_done(&message);
	c->callers--;
	return r;
}

/* Its answers are nobody's to ask for before a request needs them. */
static int check(struct client *client, const struct action *const *actions, size_t count, int64_t patience_us,
		 struct diagnostics *d, struct error *e)
{
	struct http_client *c = http_client_of(client);
	struct error inner = ERROR_INIT;

	(void)actions, (void)count, (void)d;
	int r = http_connect(c->engine, deadline_in_us(patience_us), &inner);
	return r < 0 ? error_set(e, r, inner.status, NULL, "source %s: can't connect: %s", c->source->base.name,
				 inner.what)
		     : 0;
}

static void source_state(struct source *source, struct source_state *out)
{
	struct http_source *s = source_of(source);
	struct semaphore_levels levels = shared_semaphore_levels(&s->permits);

	*out = (struct source_state){.pooled = true, .waiting = levels.waiting, .busy = (int)levels.taken};
	health_look(&s->health, true, out);
}

static bool source_breaker(struct source *source, struct breaker_numbers *out)
{
	struct breaker *b = &source_of(source)->breaker;

	if (b->failures == 0)
		return false;
	out->state = breaker_state(b);
	breaker_moves(b, out->moves);
	return true;
}

const struct driver http_driver = {
	.kind = &http_kind,
	.source_check = source_check,
	.source_results = source_results,
	.source_new = source_new,
	.source_identity = source_identity,
	.source_free = source_free,
	.source_update = source_update,
	.source_ready = source_ready,
	.action_new = action_new,
	.client_open = client_open,
	.client_update = client_update,
	.client_close = client_close,
	.client_idle = client_idle,
	.source_state = source_state,
	.run = run,
	.source_breaker = source_breaker,
	.check = check,
};

/* The application and a worker's share of it: from a configuration to answers. */
#include "handlers/service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "async/semaphore.h"
#include "base/mem.h"
#include "handlers/admin/admin.h"
#include "handlers/admin/metrics.h"
#include "handlers/gather/plan.h"
#include "handlers/gather/run.h"
#include "handlers/module/background.h"
#include "handlers/module/handle.h"
#include "handlers/module/module.h"
#include "handlers/module/scope.h"
#include "handlers/source_check.h"
#include "handlers/web/cache.h"
#include "handlers/web/client_address.h"
#include "handlers/web/rate.h"
#include "handlers/web/router.h"

struct app {
	const struct config *config;
	struct arena arena;  /* plans, routes */
	struct plan **plans; /* one for each endpoint; NULL: it has a handler */
	struct modules modules;
	struct handler *handlers; /* one for each endpoint */
	struct executor *executor;
	unsigned workers;
	struct router *router;
	struct source **sources;             /* one for each source; NULL until app_open */
	struct shared_semaphore *semaphores; /* one for each of config.semaphores */
	struct cache *cache;
	struct rates *rates; /* NULL: no endpoint has a rate */
	struct readiness readiness;
};

struct service {
	struct app *app;
	struct client **clients; /* one for each source */
	struct gather_env env;
	struct module_env module_env;
	struct event drain; /* set: it drains */
};

/* --- the application --- */

struct app *app_compile(const struct config *c, struct diagnostics *d)
{
	struct app *a = mem_zalloc(sizeof(*a));
	a->config = c;
	arena_init(&a->arena);
	a->plans = arena_array(&a->arena, c->endpoint_count + 1, sizeof(*a->plans));
	a->sources = arena_array(&a->arena, c->source_count + 1, sizeof(struct source *));
	a->semaphores = arena_array(&a->arena, c->semaphore_count + 1, sizeof(*a->semaphores));
	for (size_t i = 0; i < c->semaphore_count; i++)
		shared_semaphore_init(&a->semaphores[i], c->semaphores[i].permits, c->semaphores[i].max_waiting);
	a->cache = cache_new(c->server.cache_size);
	for (size_t i = 0; i < c->endpoint_count && !a->rates; i++)
		a->rates = c->endpoints[i].rate.count ? rates_new(RATES_CLIENTS) : NULL;
	for (size_t i = 0; i < c->source_count; i++) {
		if (c->sources[i].sound)
			driver_of(c->sources[i].kind)->source_check(&c->sources[i], d);
	}
	uint64_t *identities = arena_array(&a->arena, c->source_count + 1, sizeof(*identities));
	for (size_t i = 0; i < c->endpoint_count; i++) {
		if (c->endpoints[i].sound && !c->endpoints[i].handler.function)
			a->plans[i] = plan_compile(c, &c->endpoints[i], identities, &a->arena, d);
	}
	modules_load(&a->modules, &a->handlers, c, &a->arena, d);
	a->router = router_new(c, &a->arena, d);
	diagnostics_sort(d);
	if (d->errors) {
		app_free(a);
		return NULL;
	}
	return a;
}

int app_open(struct app *a, struct executor *ex, unsigned workers, struct error *e)
{
	a->executor = ex;
	a->workers = workers;
	for (size_t i = 0; i < a->config->source_count; i++) {
		const struct config_source *s = &a->config->sources[i];
		int r = driver_of(s->kind)->source_new(&a->sources[i], s, ex, workers, e);
		if (r < 0)
			return r;
	}
	return 0;
}

int app_check(struct app *a, struct executor *ex, struct diagnostics *d)
{
	return sources_check(a->config, a->plans, ex, d);
}

void app_free(struct app *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < a->config->source_count; i++) {
		if (a->sources[i])
			driver_of(a->config->sources[i].kind)->source_free(a->sources[i]);
	}
	cache_free(a->cache);
	rates_free(a->rates);
	for (size_t i = 0; i < a->config->semaphore_count; i++)
		shared_semaphore_done(&a->semaphores[i]);
	arena_done(&a->arena);
	free(a);
}

void app_drain(struct app *a)
{
	atomic_store(&a->readiness.draining, true);
}

/* --- a worker's share --- */

int service_open(struct service **out, struct app *a, unsigned worker, struct error *e)
{
	struct service *s = mem_zalloc(sizeof(*s));
	s->app = a;
	event_init(&s->drain);
	s->clients = mem_zalloc((a->config->source_count + 1) * sizeof(struct client *));
	s->env = (struct gather_env){
		.clients = s->clients,
		.semaphores = a->semaphores,
		.cache = a->cache,
		.rates = a->rates,
		.explain = a->config->server.explain,
		.reply_limit = a->config->server.reply_limit,
		.fetch_budget_us = a->config->server.request_timeout_us,
	};
	s->module_env = (struct module_env){
		.config = a->config,
		.clients = s->clients,
		.semaphores = a->semaphores,
		.executor = a->executor,
		.worker = worker,
		.workers = a->workers,
		.drain = &s->drain,
	};
	int r = 0;
	for (size_t i = 0; i < a->config->source_count && r == 0; i++)
		r = driver_of(a->config->sources[i].kind)->client_open(&s->clients[i], a->sources[i], e);
	if (r == 0)
		r = background_start(&a->modules, &s->module_env, e);
	if (r < 0) {
		struct shield whole; /* the daemon may have been told to end meanwhile */
		task_shield(&whole, DEADLINE_NEVER);
		service_close(s);
		task_unshield(&whole);
		return r;
	}
	*out = s;
	return 0;
}

void service_close(struct service *s)
{
	if (!s)
		return;
	background_stop(&s->module_env);
	for (size_t i = 0; i < s->app->config->source_count; i++) {
		if (s->clients[i])
			driver_of(s->app->config->sources[i].kind)->client_close(s->clients[i]);
	}
	free(s->clients);
	free(s);
}

void service_drain(struct service *s)
{
	event_set(&s->drain);
}

static void service_metrics(const void *arg, struct buf *out)
{
	const struct service *s = arg;
	metrics_render(s->app->config, s->app->sources, out);
}

/* --- requests --- */

/* "GET, HEAD, OPTIONS" in x's arena. */
static struct header allow_header(struct exchange *x, unsigned allowed)
{
	struct buf names = BUF_INIT;
	for (unsigned m = 0; m < METHOD_COUNT; m++) {
		if (!(allowed & BIT(m)))
			continue;
		if (names.len)
			buf_lit(&names, ", ");
		buf_str(&names, http_method_names[m]);
	}
	struct header h = {.name = {"allow", 5}, .value = {arena_strndup(&x->arena, names.data, names.len), names.len}};
	buf_done(&names);
	return h;
}

static void refuse_method(struct exchange *x, unsigned allowed)
{
	struct header allow = allow_header(x, allowed);
	if (x->method == METHOD_OPTIONS) {
		exchange_reply(x, &(struct reply){.status = 204, .headers = {allow}, .header_count = 1});
		return;
	}
	struct error e;
	error_set(&e, -EOPNOTSUPP, 405, "This path does not answer this method.", "method not allowed");
	exchange_problem(x, &e, NULL, NULL, &allow);
}

static void refuse_path(struct exchange *x, int r)
{
	struct error e;
	if (r == -ENOENT)
		error_set(&e, r, 404, "There is nothing at this path.", "no such path");
	else
		error_set(&e, r, 400, "The path is not well-formed.", "bad path");
	exchange_problem(x, &e, NULL, NULL, NULL);
}

void service_handle(struct service *s, struct exchange *x)
{
	struct app *a = s->app;
	client_address_set(x, &a->config->server);
	const struct admin_view view = {
		.config = a->config,
		.sources = a->sources,
		.readiness = &a->readiness,
		.metrics = service_metrics,
		.arg = s,
	};
	if (admin_handle(x, &view))
		return;
	struct route_match m;
	int r = router_match(a->router, x->method, x->path, &x->arena, &m);
	if (r == 0 && a->handlers[m.index].fn)
		module_handle(&a->handlers[m.index], &s->module_env, s->env.rates, x, &m);
	else if (r == 0)
		gather_handle(a->plans[m.index], &s->env, x, &m);
	else if (r == -EOPNOTSUPP)
		refuse_method(x, m.allowed);
	else
		refuse_path(x, r);
}

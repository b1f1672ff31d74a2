/* From a request to what answers it. */
#include "handlers/service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "handlers/admin/admin.h"
#include "handlers/admin/metrics_page.h"
#include "handlers/gather/run.h"
#include "handlers/module/handle.h"
#include "handlers/module/scope.h"
#include "handlers/web/client_address.h"

struct service {
	struct shares shares;
	struct share *current; /* NULL: none yet */
	struct event drain;    /* set: it drains */
};

struct service *service_new(struct shared *shared, unsigned worker)
{
	struct service *s = mem_zalloc(sizeof(*s));
	event_init(&s->drain);
	shares_init(&s->shares, shared, worker, &s->drain);
	return s;
}

int service_open(struct service *s, struct generation *g, const struct share_options *o, struct share **out,
		 struct share_failure *f, struct error *e)
{
	return share_open(out, &s->shares, g, o, f, e);
}

void service_commit(struct service *s, struct share *share)
{
	struct share *before = s->current;
	share_commit(share);
	s->current = share;
	if (before)
		share_drop(before);
}

void service_close(struct service *s)
{
	if (!s)
		return;
	if (s->current)
		share_drop(s->current);
	shares_await(&s->shares);
	promises_end();
	free(s);
}

const struct share *service_share_of(const struct service *s, unsigned generation)
{
	list_for_each (link, &s->shares.all) {
		const struct share *share = container_of(link, struct share, link);
		if (share->generation->number == generation)
			return share;
	}
	return NULL;
}

void service_drain(struct service *s)
{
	event_set(&s->drain);
}

static void service_metrics(const void *arg, struct exchange *x)
{
	const struct generation *g = arg;
	metrics_page(x, g->metrics,
		     &(struct metrics_view){.sources = g->sources,
					    .semaphores = g->semaphores,
					    .cache = g->shared->cache,
					    .executor = g->shared->executor,
					    .running = exchange_running(x)});
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
	error_say(&e, -EOPNOTSUPP, REASON_METHOD_NOT_OF_PATH, "method not allowed");
	exchange_problem(x, &e, NULL, NULL, &allow);
}

static void refuse_path(struct exchange *x, int r)
{
	struct error e;
	if (r == -ENOENT)
		error_say(&e, r, REASON_PATH_UNKNOWN, "no such path");
	else
		error_say(&e, r, REASON_PATH_WRONG, "bad path");
	exchange_problem(x, &e, NULL, NULL, NULL);
}

static void give_back(void *share)
{
	share_drop(share);
}

static size_t limit_of(const struct config *c, const struct config_endpoint *e)
{
	return e && e->body_limit ? e->body_limit : c->server.body_limit;
}

size_t service_body_limit(const struct service *s, const char *method, size_t method_len, const char *target,
			  size_t target_len)
{
	const struct generation *g = s->current->generation;
	const char *query = memchr(target, '?', target_len);
	struct route_match m = {0};
	struct arena a;
	unsigned is = 0;

	while (is < METHOD_COUNT &&
	       !(strlen(http_method_names[is]) == method_len && memcmp(http_method_names[is], method, method_len) == 0))
		is++;
	arena_init(&a);
	struct span path = {target, query ? (size_t)(query - target) : target_len};
	if (router_match(g->router, (enum http_method)is, path, &a, &m) < 0)
		m.endpoint = NULL;
	arena_done(&a);
	return limit_of(g->config, m.endpoint);
}

static void refuse_body(struct exchange *x)
{
	struct error e;
	error_say(&e, -EMSGSIZE, REASON_BODY_LARGE, "the body is larger than body_limit");
	exchange_problem(x, &e, NULL, NULL, NULL);
}

void service_handle(struct service *s, struct exchange *x)
{
	struct share *share = s->current;
	struct generation *g = share->generation;
	share_take(share);
	exchange_owes(x, share, give_back);
	client_address_set(x, &g->config->server);
	const struct admin_view view = {
		.config = g->config,
		.sources = g->sources,
		.readiness = &g->shared->readiness,
		.generation = g->number,
		.metrics = service_metrics,
		.arg = g,
	};
	if (admin_handle(x, &view))
		return;
	struct route_match m;
	int r = router_match(g->router, x->method, x->path, &x->arena, &m);
	if (r == 0)
		x->numbers = tally_here(g->tallies[m.index]);
	if (r == 0 && x->body.len > limit_of(g->config, m.endpoint))
		refuse_body(x);
	else if (r == 0 && g->handlers[m.index].fn)
		module_handle(&g->handlers[m.index], &share->module_env, share->env.rates, x, &m);
	else if (r == 0)
		gather_handle(g->plans[m.index], &share->env, x, &m);
	else if (r == -EOPNOTSUPP)
		refuse_method(x, m.allowed);
	else
		refuse_path(x, r);
}

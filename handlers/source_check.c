/* Each source in a task of its own, with a client that lives for the check alone. */
#include "handlers/source_check.h"

#include <stdlib.h>

#include "async/gather.h"
#include "async/loop.h"
#include "async/run.h"
#include "base/mem.h"
#include "drivers/drivers.h"

#define PATIENCE_US 5000000

/* One source. */
struct inquiry {
	const struct config_source *config;
	const struct driver *driver;
	struct source *source;
	const struct action **actions;
	size_t action_count;
	struct diagnostics *diagnostics;
	bool down;
};

struct inquiries {
	struct inquiry *items;
	size_t count;
};

static void is_down(struct inquiry *q, const struct error *e)
{
	q->down = true;
	diagnostics_error(q->diagnostics, q->config->url_at, "%s", e->what);
}

static void collect_actions(struct inquiry *q, const struct config *c, struct plan *const *plans)
{
	size_t room = 0;

	for (size_t i = 0; i < c->endpoint_count; i++)
		room += plans[i] ? plans[i]->step_count : 0;
	q->actions = mem_array(room + 1, sizeof(*q->actions));
	for (size_t i = 0; i < c->endpoint_count; i++) {
		for (unsigned k = 0; plans[i] && k < plans[i]->step_count; k++) {
			const struct plan_step *step = &plans[i]->steps[k];
			if (step->config->source == q->config)
				q->actions[q->action_count++] = step->action;
		}
	}
}

/* Suspends. A task of the gather. */
static int ask(void *arg)
{
	struct inquiry *q = arg;
	struct error e = ERROR_INIT;
	struct client *client;

	int r = q->driver->client_open(&client, q->source, &e);
	if (r < 0) {
		is_down(q, &e);
		return 0;
	}
	if (q->driver->check(client, q->actions, q->action_count, PATIENCE_US, q->diagnostics, &e) < 0)
		is_down(q, &e);
	q->driver->client_close(client);
	return 0;
}

/* Suspends. */
static int ask_all(void *arg)
{
	struct inquiries *all = arg;
	struct gather g;
	int r = 0;

	gather_init(&g, GATHER_ALL);
	for (size_t i = 0; i < all->count && r >= 0; i++) {
		struct inquiry *q = &all->items[i];
		if (!q->down && q->driver->check)
			r = gather_add(&g, q->config->name, ask, q);
	}
	if (r >= 0)
		r = gather_wait(&g, DEADLINE_NEVER);
	gather_done(&g);
	return r;
}

int sources_check(const struct config *c, struct plan *const *plans, struct executor *ex, struct diagnostics *d)
{
	struct inquiries all = {.count = c->source_count};
	int down = 0;

	all.items = mem_zalloc((c->source_count + 1) * sizeof(*all.items));
	for (size_t i = 0; i < all.count; i++) {
		struct inquiry *q = &all.items[i];
		struct error e = ERROR_INIT;
		*q = (struct inquiry){.config = &c->sources[i], .driver = driver_of(&c->sources[i]), .diagnostics = d};
		collect_actions(q, c, plans);
		if (q->driver->source_new(&q->source, q->config, ex, 1, &e) < 0)
			is_down(q, &e);
	}
	int r = loop_run_main(ask_all, &all);
	for (size_t i = 0; i < all.count; i++) {
		down += all.items[i].down;
		if (all.items[i].source)
			all.items[i].driver->source_free(all.items[i].source);
		free(all.items[i].actions);
	}
	free(all.items);
	return r < 0 ? r : down;
}

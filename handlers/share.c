/* Opening and closing what shares of one worker have together, by counts. */
#include "handlers/share.h"

#include <errno.h>
#include <stdlib.h>

#include "async/loop.h"
#include "base/log.h"
#include "base/mem.h"

struct share_client {
	struct list link;
	struct shared_source *source;
	struct client *client;
	unsigned references; /* of shares */
};

struct share_run {
	struct list link;
	const struct module *module;
	uint64_t identity; /* of what modules see */
	struct module_run *run;
	unsigned references; /* of shares */
};

void shares_init(struct shares *all, struct shared *shared, unsigned worker, struct event *drain)
{
	*all = (struct shares){.shared = shared, .worker = worker, .drain = drain};
	list_init(&all->all);
	list_init(&all->clients);
	list_init(&all->runs);
}

void shares_await(struct shares *all)
{
	int r = users_await(&all->open, DEADLINE_NEVER);
	(void)r; /* whoever closes a worker is not cancelled */
}

/* --- the end --- */

static void follow(const struct share_client *entry, const struct config_source *config)
{
	entry->client->config = config;
	if (entry->source->driver->client_update)
		entry->source->driver->client_update(entry->client, config);
}

/* The configuration of a client must outlive it: that of another share that has it. */
static void lend_configuration(const struct share *leaving, const struct share_client *entry)
{
	list_for_each (link, &leaving->among->all) {
		const struct share *s = container_of(link, struct share, link);
		for (size_t i = 0; s != leaving && i < s->generation->config->source_count; i++) {
			if (s->entries[i] != entry)
				continue;
			follow(entry, &s->generation->config->sources[i]);
			return;
		}
	}
}

/* All actions of g on that source; the caller frees the array. */
static const struct action **actions_of(const struct generation *g, size_t source, size_t *count)
{
	size_t room = 0;
	for (size_t i = 0; i < g->config->endpoint_count; i++)
		room += g->plans[i] ? g->plans[i]->step_count : 0;
	const struct action **actions = mem_array(room + 1, sizeof(*actions));
	*count = 0;
	for (size_t i = 0; i < g->config->endpoint_count; i++)
		for (unsigned k = 0; g->plans[i] && k < g->plans[i]->step_count; k++)
			if (g->plans[i]->steps[k].source == source)
				actions[(*count)++] = g->plans[i]->steps[k].action;
	return actions;
}

/* Suspends. The actions of g go with it: a client that goes on forgets them. */
static void forget_actions(const struct share *s, size_t source)
{
	const struct share_client *entry = s->entries[source];
	size_t count;
	if (!entry || entry->references == 1 || !entry->source->driver->client_forget)
		return;
	const struct action **actions = actions_of(s->generation, source, &count);
	entry->source->driver->client_forget(entry->client, actions, count);
	free(actions);
}

/* The client has what it keeps of older actions go on with g's, before those go. */
static void adopt_actions(const struct share *s, size_t source)
{
	const struct share_client *entry = s->entries[source];
	size_t count;
	if (!entry->source->driver->client_adopt)
		return;
	const struct action **actions = actions_of(s->generation, source, &count);
	entry->source->driver->client_adopt(entry->client, actions, count);
	free(actions);
}

/* Suspends. Nobody calls the clients that are closed: requests have ended, and so have the modules that could. */
static void give_back_clients(struct share *s)
{
	for (size_t i = 0; i < s->generation->config->source_count; i++) {
		forget_actions(s, i);
		struct share_client *entry = s->entries[i];
		s->entries[i] = NULL;
		if (!entry)
			continue;
		if (--entry->references > 0) {
			lend_configuration(s, entry);
			continue;
		}
		list_remove(&entry->link);
		entry->source->driver->client_close(entry->client);
		free(entry);
	}
}

/* Suspends. */
static void give_back_runs(struct share *s)
{
	size_t count = 0;
	struct module_run **ended = mem_array(s->generation->modules.count + 1, sizeof(struct module_run *));
	for (size_t i = 0; i < s->generation->modules.count; i++) {
		struct share_run *run = s->runs[i];
		if (!run || --run->references > 0)
			continue;
		list_remove(&run->link);
		ended[count++] = run->run;
		free(run);
	}
	module_runs_stop(ended, count);
	free(ended);
}

/* Suspends. */
static void end(struct share *s)
{
	struct shield whole;
	struct shares *all = s->among;
	task_shield_fully(&whole);
	give_back_runs(s);
	give_back_clients(s);
	task_unshield(&whole);
	list_remove(&s->link);
	generation_drop(s->generation);
	free(s->entries);
	free(s->clients);
	free(s->runs);
	free(s);
	users_leave(&all->open);
}

static int end_task(void *arg)
{
	end(arg);
	return 0;
}

void share_drop(struct share *s)
{
	if (--s->uses > 0)
		return;
	int r = task_spawn(NULL, end_task, s, &(struct task_options){.name = "close", .detached = true});
	if (r < 0) /* what it has stays open: shares_await would wait for it, so it is left to the end of the process */
		log_line(LOG_LINE_ERROR, "can't close what the last configuration had", "worker=%u error=\"no memory\"",
			 s->among->worker);
}

void share_undo(struct share *s)
{
	end(s);
}

/* --- the beginning --- */

static struct share_client *find_client(const struct shares *all, const struct shared_source *source)
{
	list_for_each (link, &all->clients) {
		struct share_client *entry = container_of(link, struct share_client, link);
		if (entry->source == source)
			return entry;
	}
	return NULL;
}

/* Suspends if it asks the source. */
static int open_client(struct share *s, size_t i, int64_t probe_us, struct error *e)
{
	struct shared_source *source = s->generation->entries[i];
	struct share_client *entry = find_client(s->among, source);
	int r = 0;
	if (!entry) {
		entry = mem_zalloc(sizeof(*entry));
		entry->source = source;
		r = source->driver->client_open(&entry->client, source->source, e);
		if (r < 0) {
			free(entry);
			return r;
		}
		list_append(&s->among->clients, &entry->link);
		entry->references++;
		s->entries[i] = entry;
		s->clients[i] = entry->client;
		if (probe_us && source->driver->must_be_there)
			r = source->driver->check(entry->client, NULL, 0, probe_us, NULL, e);
		return r;
	}
	entry->references++;
	s->entries[i] = entry;
	s->clients[i] = entry->client;
	return 0;
}

static struct share_run *find_run(const struct shares *all, const struct module *module, uint64_t identity)
{
	list_for_each (link, &all->runs) {
		struct share_run *run = container_of(link, struct share_run, link);
		if (run->module == module && run->identity == identity)
			return run;
	}
	return NULL;
}

/* Suspends. */
static int open_run(struct share *s, size_t i, struct error *e)
{
	const struct generation *g = s->generation;
	struct share_run *run = find_run(s->among, g->modules.items[i], g->module_identity);
	if (!run) {
		struct module_run *started;
		int r = module_run_start(&started, g->modules.items[i], &s->module_env, e);
		if (r < 0)
			return r;
		run = mem_zalloc(sizeof(*run));
		*run = (struct share_run){
			.module = g->modules.items[i], .identity = g->module_identity, .run = started};
		list_append(&s->among->runs, &run->link);
	}
	run->references++;
	s->runs[i] = run;
	return 0;
}

static struct share *share_new(struct shares *all, struct generation *g)
{
	const struct config *c = g->config;
	struct share *s = mem_zalloc(sizeof(*s));
	list_init(&s->link);
	s->among = all;
	s->generation = g;
	s->entries = mem_zalloc((c->source_count + 1) * sizeof(struct share_client *));
	s->clients = mem_zalloc((c->source_count + 1) * sizeof(struct client *));
	s->runs = mem_zalloc((g->modules.count + 1) * sizeof(struct share_run *));
	s->env = (struct gather_env){
		.clients = s->clients,
		.semaphores = g->semaphores,
		.cache = g->shared->cache,
		.rates = g->shared->rates,
		.explain = c->server.explain,
		.reply_limit = c->server.reply_limit,
		.fetch_budget_us = c->server.request_timeout_us,
	};
	s->module_env = (struct module_env){
		.config = c,
		.clients = s->clients,
		.tallies = g->source_tallies,
		.semaphores = g->semaphores,
		.executor = g->shared->executor,
		.worker = all->worker,
		.workers = g->shared->workers,
		.drain = all->drain,
	};
	generation_keep(g);
	users_enter(&all->open);
	return s;
}

int share_open(struct share **out, struct shares *all, struct generation *g, const struct share_options *o,
	       struct share_failure *f, struct error *e)
{
	struct share *s = share_new(all, g);
	int r = 0;
	*f = (struct share_failure){0};
	for (size_t i = 0; i < g->config->source_count && r == 0; i++) {
		r = open_client(s, i, o->probe_us, e);
		if (r < 0)
			f->source = &g->config->sources[i];
	}
	for (size_t i = 0; i < g->modules.count && r == 0 && !o->without_modules; i++) {
		r = open_run(s, i, e);
		if (r < 0)
			f->module = g->modules.items[i];
	}
	if (r < 0) {
		share_undo(s);
		return r;
	}
	*out = s;
	return 0;
}

void share_commit(struct share *s)
{
	const struct generation *g = s->generation;
	s->uses++;
	list_prepend(&s->among->all, &s->link);
	for (size_t i = 0; i < g->config->source_count; i++) {
		if (!g->carried[i])
			continue;
		follow(s->entries[i], &g->config->sources[i]);
		adopt_actions(s, i);
	}
	for (size_t i = 0; i < g->modules.count; i++)
		module_run_follow(s->runs[i]->run, &s->module_env);
}

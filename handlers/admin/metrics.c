/* The families of /-/metrics. Adding one is a row of `families`, and a function that renders its samples. */
#include "handlers/admin/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "handlers/admin/exposition.h"
#include "handlers/admin/process.h"
#include "handlers/admin/versions.h"
#include "handlers/web/request_log.h"

#define PREFIX "gatherd_"

const char *const metric_part_names[METRIC_PARTS] = {
	[PART_HTTP] = "http", [PART_STEPS] = "steps",     [PART_POOLS] = "pools",
	[PART_LOOP] = "loop", [PART_PROCESS] = "process",
};

/* --- the texts of series that are many --- */

struct endpoint_text {
	const struct tally *tally;
	struct sample_text *replies; /* by methods: up to the status */
	struct histogram_text duration;
	struct sample_text request_bytes, reply_bytes;
};

struct step_text {
	const struct tally *tally;
	struct sample_text sum, count;
	struct sample_text failures[STEP_FAILURES];
	struct sample_text replaced[ON_ERROR_STALE + 1];
};

struct source_text {
	const struct tally *tally;
	struct histogram_text steps, wait;
};

struct metrics {
	const struct config *config;
	struct arena arena;
	struct tally *none, *admin, *server;
	struct endpoint_text *endpoints; /* the configuration's, none, admin */
	size_t endpoint_count;
	struct step_text *steps;
	size_t step_count;
	struct source_text *sources;
	struct histogram_text *lags; /* by workers */
	const char **semaphores;     /* their names */
};

struct scrape {
	struct exposition x;
	const struct metrics *m;
	const struct metrics_view *view;
	struct reply_sums replies;
};

/* --- http --- */

static void http_requests(struct scrape *s)
{
	struct buf *out = s->x.out;
	for (size_t i = 0; i < s->m->endpoint_count; i++) {
		const struct endpoint_text *e = &s->m->endpoints[i];
		endpoint_replies(e->tally, &s->replies);
		for (size_t r = 0; r < s->replies.count; r++) {
			const struct reply_sum *sum = &s->replies.items[r];
			struct sample_text text = e->replies[sum->key >> 16];
			buf_append(out, text.base, text.len);
			buf_int(out, sum->key & 0xffff);
			expose_count(&s->x, (struct sample_text){"\"} ", 3}, sum->replies);
		}
	}
}

static void http_duration(struct scrape *s)
{
	for (size_t i = 0; i < s->m->endpoint_count; i++) {
		const struct endpoint_text *e = &s->m->endpoints[i];
		expose_histogram(&s->x, &e->duration, e->tally, offsetof(struct endpoint_numbers, duration), 0,
				 e->tally->workers);
	}
}

static void http_running(struct scrape *s)
{
	expose_line(&s->x, s->view->running, PREFIX "http_requests_running", NULL);
}

static void listener_open(const struct tally *t, void *arg)
{
	struct scrape *s = arg;
	expose_line(&s->x, tally_sum(t, offsetof(struct listener_numbers, open)), PREFIX "http_connections", "listener",
		    t->name, NULL);
}

static void http_connections(struct scrape *s)
{
	tally_each(&listener_tally, listener_open, s);
}

static void listener_accepted(const struct tally *t, void *arg)
{
	struct scrape *s = arg;
	expose_line(&s->x, tally_sum(t, offsetof(struct listener_numbers, accepted)), PREFIX "http_connections_total",
		    "listener", t->name, NULL);
}

static void http_accepted(struct scrape *s)
{
	tally_each(&listener_tally, listener_accepted, s);
}

static void http_refused(struct scrape *s)
{
	for (size_t i = 0; i < REFUSALS; i++)
		expose_line(&s->x, tally_sum(s->m->server, offsetof(struct server_numbers, refused[i])),
			    PREFIX "http_refused_total", "reason", refusal_names[i], NULL);
}

static void http_request_bytes(struct scrape *s)
{
	for (size_t i = 0; i < s->m->endpoint_count; i++)
		expose_count(&s->x, s->m->endpoints[i].request_bytes,
			     tally_sum(s->m->endpoints[i].tally, offsetof(struct endpoint_numbers, request_bytes)));
}

static void http_reply_bytes(struct scrape *s)
{
	for (size_t i = 0; i < s->m->endpoint_count; i++)
		expose_count(&s->x, s->m->endpoints[i].reply_bytes,
			     tally_sum(s->m->endpoints[i].tally, offsetof(struct endpoint_numbers, reply_bytes)));
}

/* --- steps --- */

static void step_durations(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->source_count; i++) {
		const struct source_text *t = &s->m->sources[i];
		expose_histogram(&s->x, &t->steps, t->tally, offsetof(struct source_numbers, steps), 0,
				 t->tally->workers);
	}
}

static void endpoint_step_durations(struct scrape *s)
{
	for (size_t i = 0; i < s->m->step_count; i++) {
		const struct step_text *t = &s->m->steps[i];
		expose_seconds(&s->x, t->sum, tally_sum(t->tally, offsetof(struct step_numbers, us)));
		expose_count(&s->x, t->count, tally_sum(t->tally, offsetof(struct step_numbers, runs)));
	}
}

/* From its first use. */
static void expose_used(struct scrape *s, struct sample_text text, uint64_t n)
{
	if (n > 0)
		expose_count(&s->x, text, n);
}

static void step_failures(struct scrape *s)
{
	for (size_t i = 0; i < s->m->step_count; i++) {
		const struct step_text *t = &s->m->steps[i];
		for (size_t f = 0; f < STEP_FAILURES; f++)
			expose_used(s, t->failures[f], tally_sum(t->tally, offsetof(struct step_numbers, failures[f])));
	}
}

static void steps_replaced(struct scrape *s)
{
	for (size_t i = 0; i < s->m->step_count; i++) {
		const struct step_text *t = &s->m->steps[i];
		for (size_t by = ON_ERROR_NULL; by <= ON_ERROR_STALE; by++)
			expose_used(s, t->replaced[by],
				    tally_sum(t->tally, offsetof(struct step_numbers, replaced[by])));
	}
}

static void cache_bytes(struct scrape *s)
{
	expose_line(&s->x, cache_numbers(s->view->cache).bytes, PREFIX "cache_bytes", NULL);
}

static void cache_entries(struct scrape *s)
{
	expose_line(&s->x, cache_numbers(s->view->cache).entries, PREFIX "cache_entries", NULL);
}

static void cache_lookups(struct scrape *s)
{
	struct cache_numbers n = cache_numbers(s->view->cache);
	for (size_t i = 0; i < CACHE_LOOKUPS; i++)
		expose_line(&s->x, n.lookups[i], PREFIX "cache_lookups_total", "result", cache_lookup_names[i], NULL);
}

static void cache_evictions(struct scrape *s)
{
	expose_line(&s->x, cache_numbers(s->view->cache).evictions, PREFIX "cache_evictions_total", NULL);
}

/* --- pools --- */

static const char *source_name(const struct scrape *s, size_t i)
{
	return s->m->config->sources[i].name;
}

static struct source_state source_state(const struct scrape *s, size_t i)
{
	struct source_state state;
	struct source *source = s->view->sources[i];
	source->driver->source_state(source, &state);
	return state;
}

static uint64_t source_sum(const struct scrape *s, size_t i, size_t offset)
{
	return tally_sum(s->m->sources[i].tally, offset);
}

static void source_up(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->source_count; i++)
		expose_line(&s->x, source_state(s, i).up, PREFIX "source_up", "source", source_name(s, i), NULL);
}

static void source_role(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->source_count; i++) {
		bool counted = source_state(s, i).roles;
		for (size_t r = 0; r < SOURCE_ROLES && counted; r++)
			expose_line(&s->x, source_sum(s, i, offsetof(struct source_numbers, roles[r])) > 0,
				    PREFIX "source_role", "source", source_name(s, i), "role", source_role_names[r],
				    NULL);
	}
}

static void pool_size(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->source_count; i++) {
		struct source_state state = source_state(s, i);
		if (state.pooled)
			expose_line(&s->x, s->m->config->sources[i].pool.size, PREFIX "pool_size", "source",
				    source_name(s, i), NULL);
	}
}

static void pool_connections(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->source_count; i++) {
		struct source_state state = source_state(s, i);
		if (state.pooled && state.busy >= 0)
			expose_line(&s->x, (uint64_t)state.busy, PREFIX "pool_connections", "source", source_name(s, i),
				    "state", pool_state_names[POOL_BUSY], NULL);
		for (size_t p = 0; p < POOL_STATES && state.pooled && state.busy < 0; p++)
			expose_line(&s->x, source_sum(s, i, offsetof(struct source_numbers, connections[p])),
				    PREFIX "pool_connections", "source", source_name(s, i), "state",
				    pool_state_names[p], NULL);
	}
}

static void pool_waiting(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->source_count; i++) {
		struct source_state state = source_state(s, i);
		if (state.pooled)
			expose_line(&s->x, state.waiting, PREFIX "pool_waiting", "source", source_name(s, i), NULL);
	}
}

static void pool_wait(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->source_count; i++) {
		const struct source_text *t = &s->m->sources[i];
		if (source_state(s, i).pooled)
			expose_histogram(&s->x, &t->wait, t->tally, offsetof(struct source_numbers, wait), 0,
					 t->tally->workers);
	}
}

static void pool_refused(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->source_count; i++) {
		bool counted = source_state(s, i).pooled;
		for (size_t r = 0; r < POOL_REFUSALS && counted; r++)
			expose_line(&s->x, source_sum(s, i, offsetof(struct source_numbers, refused[r])),
				    PREFIX "pool_refused_total", "source", source_name(s, i), "reason",
				    pool_refusal_names[r], NULL);
	}
}

static void pool_connects(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->source_count; i++) {
		struct source_state state = source_state(s, i);
		bool counted = state.pooled && state.busy < 0;
		for (size_t r = 0; r < POOL_CONNECTS && counted; r++)
			expose_line(&s->x, source_sum(s, i, offsetof(struct source_numbers, connects[r])),
				    PREFIX "pool_connects_total", "source", source_name(s, i), "result",
				    pool_connect_names[r], NULL);
	}
}

static bool breaker_of(const struct scrape *s, size_t i, struct breaker_numbers *numbers)
{
	struct source *source = s->view->sources[i];
	return source->driver->source_breaker && source->driver->source_breaker(source, numbers);
}

static void breaker_state(struct scrape *s)
{
	struct breaker_numbers n;
	for (size_t i = 0; i < s->m->config->source_count; i++) {
		if (breaker_of(s, i, &n))
			expose_line(&s->x, n.state, PREFIX "breaker_state", "source", source_name(s, i), NULL);
	}
}

static void breaker_moves(struct scrape *s)
{
	static const char *const states[BREAKER_STATES] = {"closed", "open", "half_open"};
	struct breaker_numbers n;
	for (size_t i = 0; i < s->m->config->source_count; i++) {
		for (unsigned to = 0; to < BREAKER_STATES && breaker_of(s, i, &n); to++)
			expose_line(&s->x, n.moves[to], PREFIX "breaker_moves_total", "source", source_name(s, i), "to",
				    states[to], NULL);
	}
}

static void semaphore_permits(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->semaphore_count; i++)
		expose_line(&s->x, shared_semaphore_levels(s->view->semaphores[i]).permits, PREFIX "semaphore_permits",
			    "semaphore", s->m->semaphores[i], NULL);
}

static void semaphore_taken(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->semaphore_count; i++)
		expose_line(&s->x, shared_semaphore_levels(s->view->semaphores[i]).taken, PREFIX "semaphore_taken",
			    "semaphore", s->m->semaphores[i], NULL);
}

static void semaphore_waiting(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->semaphore_count; i++)
		expose_line(&s->x, shared_semaphore_levels(s->view->semaphores[i]).waiting, PREFIX "semaphore_waiting",
			    "semaphore", s->m->semaphores[i], NULL);
}

static void semaphore_refused(struct scrape *s)
{
	for (size_t i = 0; i < s->m->config->semaphore_count; i++)
		expose_line(&s->x, shared_semaphore_levels(s->view->semaphores[i]).refused,
			    PREFIX "semaphore_refused_total", "semaphore", s->m->semaphores[i], NULL);
}

/* --- loop --- */

static void expose_workers(struct scrape *s, const char *name, size_t offset)
{
	const struct tally *t = s->m->server;
	char worker[12];
	for (unsigned w = 0; w < t->workers; w++) {
		snprintf(worker, sizeof(worker), "%u", w);
		expose_line(&s->x, counter_read((const struct counter *)(const void *)(t->blocks[w] + offset)), name,
			    "worker", worker, NULL);
	}
}

static void tasks(struct scrape *s)
{
	expose_workers(s, PREFIX "tasks", offsetof(struct server_numbers, tasks));
}

static void loop_turns(struct scrape *s)
{
	expose_workers(s, PREFIX "loop_turns_total", offsetof(struct server_numbers, turns));
}

static void loop_lag(struct scrape *s)
{
	for (unsigned w = 0; w < s->m->server->workers; w++)
		expose_histogram(&s->x, &s->m->lags[w], s->m->server, offsetof(struct server_numbers, lag), w, w + 1);
}

static void executor_threads(struct scrape *s)
{
	struct executor_levels l = executor_levels(s->view->executor);
	expose_line(&s->x, l.busy, PREFIX "executor_threads", "state", "busy", NULL);
	expose_line(&s->x, l.threads > l.busy ? l.threads - l.busy : 0, PREFIX "executor_threads", "state", "idle",
		    NULL);
}

static void executor_queue(struct scrape *s)
{
	expose_line(&s->x, executor_levels(s->view->executor).queued, PREFIX "executor_queue", NULL);
}

static void executor_refused(struct scrape *s)
{
	expose_line(&s->x, executor_levels(s->view->executor).refused, PREFIX "executor_refused_total", NULL);
}

/* --- process --- */

static void build_info(struct scrape *s)
{
	buf_lit(s->x.out, PREFIX "build_info");
	for (unsigned i = 0; i < library_count; i++) {
		struct library_version v = library_version(i);
		buf_printf(s->x.out, "%c%s=\"%s\"", i == 0 ? '{' : ',', v.name, v.version);
	}
	buf_lit(s->x.out, "} 1\n");
}

static void log_dropped(struct scrape *s)
{
	static const char name[] = PREFIX "log_lines_dropped_total";
	expose_line(&s->x, log_lost(LOG_LOST_FULL), name, "reason", "full", NULL);
	expose_line(&s->x, log_lost(LOG_LOST_JOURNAL), name, "reason", "journal", NULL);
	expose_line(&s->x, request_log_left_out_in_all(), name, "reason", "most", NULL);
}

static void config_generation(struct scrape *s)
{
	expose_line(&s->x, counter_read(&config_numbers.generation), PREFIX "config_generation", NULL);
}

static void config_generations(struct scrape *s)
{
	expose_line(&s->x, counter_read(&config_numbers.generations), PREFIX "config_generations", NULL);
}

static void config_reloads(struct scrape *s)
{
	static const char name[] = PREFIX "config_reloads_total";
	expose_line(&s->x, counter_read(&config_numbers.reloads_ok), name, "result", "ok", NULL);
	expose_line(&s->x, counter_read(&config_numbers.reloads_refused), name, "result", "refused", NULL);
}

static void config_last_successful(struct scrape *s)
{
	expose_line(&s->x, counter_read(&config_numbers.last_successful), PREFIX "config_last_reload_successful", NULL);
}

static void config_last_success(struct scrape *s)
{
	expose_line(&s->x, counter_read(&config_numbers.last_success_s),
		    PREFIX "config_last_reload_success_timestamp_seconds", NULL);
}

static void config_restart_needed(struct scrape *s)
{
	expose_line(&s->x, counter_read(&config_numbers.restart_needed), PREFIX "config_restart_needed", NULL);
}

static void process_cpu(struct scrape *s)
{
	struct process_numbers n;
	process_numbers(&n);
	expose_double(&s->x, (struct sample_text){"process_cpu_seconds_total ", 26}, n.cpu_seconds);
}

static void process_memory(struct scrape *s)
{
	struct process_numbers n;
	process_numbers(&n);
	expose_line(&s->x, n.resident_bytes, "process_resident_memory_bytes", NULL);
}

static void process_open_fds(struct scrape *s)
{
	struct process_numbers n;
	process_numbers(&n);
	expose_line(&s->x, n.open_fds, "process_open_fds", NULL);
}

static void process_max_fds(struct scrape *s)
{
	struct process_numbers n;
	process_numbers(&n);
	expose_line(&s->x, n.max_fds, "process_max_fds", NULL);
}

static void process_start(struct scrape *s)
{
	struct process_numbers n;
	process_numbers(&n);
	expose_double(&s->x, (struct sample_text){"process_start_time_seconds ", 27}, n.start_time);
}

/* --- all of them --- */

static const struct family {
	const char *name;
	enum metric_type type;
	enum metric_part part;
	void (*render)(struct scrape *s);
	const char *help;
} families[] = {
	{PREFIX "build_info", METRIC_GAUGE, PART_PROCESS, build_info, "Versions of gatherd and of its libraries."},
	{PREFIX "http_requests_total", METRIC_COUNTER, PART_HTTP, http_requests,
	 "Replies, by endpoint, method and status; 499: the client left."},
	{PREFIX "http_request_duration_seconds", METRIC_HISTOGRAM, PART_HTTP, http_duration,
	 "From the whole request to the last byte of its reply."},
	{PREFIX "http_requests_running", METRIC_GAUGE, PART_HTTP, http_running, "Requests that are being answered."},
	{PREFIX "http_connections", METRIC_GAUGE, PART_HTTP, http_connections, "Connections of clients that are open."},
	{PREFIX "http_connections_total", METRIC_TOTAL, PART_HTTP, http_accepted,
	 "Connections of clients that were accepted."},
	{PREFIX "http_refused_total", METRIC_COUNTER, PART_HTTP, http_refused,
	 "What was refused before an endpoint had it; max_connections: pauses in accepting."},
	{PREFIX "http_request_bytes_total", METRIC_COUNTER, PART_HTTP, http_request_bytes, "Bytes of request bodies."},
	{PREFIX "http_reply_bytes_total", METRIC_COUNTER, PART_HTTP, http_reply_bytes, "Bytes of reply bodies."},
	{PREFIX "step_duration_seconds", METRIC_HISTOGRAM, PART_STEPS, step_durations,
	 "How long a source took for a step, with the wait for a connection."},
	{PREFIX "endpoint_step_duration_seconds", METRIC_SUMMARY, PART_STEPS, endpoint_step_durations,
	 "How long a step took, also from the cache."},
	{PREFIX "step_failures_total", METRIC_COUNTER, PART_STEPS, step_failures,
	 "Steps that failed, also those that on_error replaced."},
	{PREFIX "steps_replaced_total", METRIC_COUNTER, PART_STEPS, steps_replaced,
	 "Steps that failed and were replaced, and by what."},
	{PREFIX "cache_bytes", METRIC_GAUGE, PART_STEPS, cache_bytes, "Memory of what the cache keeps."},
	{PREFIX "cache_entries", METRIC_GAUGE, PART_STEPS, cache_entries, "What the cache keeps."},
	{PREFIX "cache_lookups_total", METRIC_COUNTER, PART_STEPS, cache_lookups,
	 "Look-ups in the cache; shared: somebody else fetched already."},
	{PREFIX "cache_evictions_total", METRIC_COUNTER, PART_STEPS, cache_evictions,
	 "What was dropped from the cache to make room."},
	{PREFIX "source_up", METRIC_GAUGE, PART_POOLS, source_up, "1: the source can be used; 0: it is down."},
	{PREFIX "source_role", METRIC_GAUGE, PART_POOLS, source_role,
	 "1: there is a connection to a server of that role."},
	{PREFIX "pool_size", METRIC_GAUGE, PART_POOLS, pool_size,
	 "The most connections, or calls at once, of a source."},
	{PREFIX "pool_connections", METRIC_GAUGE, PART_POOLS, pool_connections,
	 "Connections of a source by state; http: calls under way."},
	{PREFIX "pool_waiting", METRIC_GAUGE, PART_POOLS, pool_waiting, "Calls that wait for a connection."},
	{PREFIX "pool_wait_seconds", METRIC_HISTOGRAM, PART_POOLS, pool_wait,
	 "How long calls that got a connection had waited for it."},
	{PREFIX "pool_refused_total", METRIC_COUNTER, PART_POOLS, pool_refused, "Calls that got no connection."},
	{PREFIX "pool_connects_total", METRIC_COUNTER, PART_POOLS, pool_connects, "Attempts to connect to a source."},
	{PREFIX "breaker_state", METRIC_GAUGE, PART_POOLS, breaker_state,
	 "The circuit breaker of a source: 0 closed, 1 open, 2 half open."},
	{PREFIX "breaker_moves_total", METRIC_COUNTER, PART_POOLS, breaker_moves,
	 "How often the circuit breaker of a source moved to a state."},
	{PREFIX "semaphore_permits", METRIC_GAUGE, PART_POOLS, semaphore_permits, "Permits of a semaphore."},
	{PREFIX "semaphore_taken", METRIC_GAUGE, PART_POOLS, semaphore_taken, "Permits that are taken."},
	{PREFIX "semaphore_waiting", METRIC_GAUGE, PART_POOLS, semaphore_waiting, "Tasks that wait for a permit."},
	{PREFIX "semaphore_refused_total", METRIC_COUNTER, PART_POOLS, semaphore_refused,
	 "Tasks that found max_waiting others in line."},
	{PREFIX "tasks", METRIC_GAUGE, PART_LOOP, tasks, "Tasks of a worker."},
	{PREFIX "loop_turns_total", METRIC_COUNTER, PART_LOOP, loop_turns, "Turns of a worker's loop."},
	{PREFIX "loop_lag_seconds", METRIC_HISTOGRAM, PART_LOOP, loop_lag,
	 "How late a timer of 100 ms fires: how long the loop was held up."},
	{PREFIX "executor_threads", METRIC_GAUGE, PART_LOOP, executor_threads, "Threads for what blocks, by state."},
	{PREFIX "executor_queue", METRIC_GAUGE, PART_LOOP, executor_queue, "Jobs that wait for such a thread."},
	{PREFIX "executor_refused_total", METRIC_COUNTER, PART_LOOP, executor_refused,
	 "Jobs that found its queue full."},
	{PREFIX "log_lines_dropped_total", METRIC_COUNTER, PART_PROCESS, log_dropped,
	 "Lines that were not written: the buffer was full, the journal took none, log.most was reached."},
	{PREFIX "config_generation", METRIC_GAUGE, PART_PROCESS, config_generation,
	 "The configuration that answers; the first is 1."},
	{PREFIX "config_generations", METRIC_GAUGE, PART_PROCESS, config_generations,
	 "Configurations that are alive: older ones have requests that still run."},
	{PREFIX "config_reloads_total", METRIC_COUNTER, PART_PROCESS, config_reloads, "Reloads by result."},
	{PREFIX "config_last_reload_successful", METRIC_GAUGE, PART_PROCESS, config_last_successful,
	 "1: the last reload was taken; 0: it was refused."},
	{PREFIX "config_last_reload_success_timestamp_seconds", METRIC_GAUGE, PART_PROCESS, config_last_success,
	 "When a configuration was last taken."},
	{PREFIX "config_restart_needed", METRIC_GAUGE, PART_PROCESS, config_restart_needed,
	 "1: a part of the configuration waits for a restart."},
	{"process_cpu_seconds_total", METRIC_COUNTER, PART_PROCESS, process_cpu,
	 "CPU time of the process, user and system."},
	{"process_resident_memory_bytes", METRIC_GAUGE, PART_PROCESS, process_memory, "Resident memory."},
	{"process_open_fds", METRIC_GAUGE, PART_PROCESS, process_open_fds, "Open descriptors, some seconds ago."},
	{"process_max_fds", METRIC_GAUGE, PART_PROCESS, process_max_fds, "The most descriptors that may be open."},
	{"process_start_time_seconds", METRIC_GAUGE, PART_PROCESS, process_start, "When the process was started."},
};

void metrics_render(const struct metrics *m, const struct metrics_view *view, unsigned parts, bool open_metrics,
		    struct buf *out)
{
	struct scrape s = {.x = {.out = out, .open_metrics = open_metrics}, .m = m, .view = view};
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		const struct family *f = &families[i];
		if (!(parts & BIT(f->part)))
			continue;
		expose_family(&s.x, f->name, f->type, f->help);
		f->render(&s);
	}
	if (open_metrics)
		buf_lit(out, "# EOF\n");
	reply_sums_done(&s.replies);
}

/* --- at load --- */

/* Up to the status: `…{endpoint="GET /",method="GET",status="`. */
static struct sample_text replies_text(struct arena *a, const char *endpoint, const char *method)
{
	struct sample_text text = sample_text(a, PREFIX "http_requests_total", "endpoint", endpoint, "method", method,
					      "status", "", NULL);
	text.len -= strlen("\"} ");
	return text;
}

static void render_endpoint(struct metrics *m, const struct tally *t)
{
	struct arena *a = &m->arena;
	struct endpoint_text *e = &m->endpoints[m->endpoint_count++];
	e->tally = t;
	e->replies = arena_array(a, METHOD_COUNT + 1, sizeof(*e->replies));
	for (size_t i = 0; i < METHOD_COUNT; i++)
		e->replies[i] = replies_text(a, t->name, http_method_names[i]);
	e->replies[METHOD_COUNT] = replies_text(a, t->name, "_OTHER");
	e->duration = histogram_text(a, PREFIX "http_request_duration_seconds", "endpoint", t->name);
	e->request_bytes = sample_text(a, PREFIX "http_request_bytes_total", "endpoint", t->name, NULL);
	e->reply_bytes = sample_text(a, PREFIX "http_reply_bytes_total", "endpoint", t->name, NULL);
}

static void render_step(struct metrics *m, const char *endpoint, const struct plan_step *p)
{
	struct arena *a = &m->arena;
	const char *step = p->config->name;
	struct step_text *t = &m->steps[m->step_count++];
	t->tally = p->tally;
	t->sum = sample_text(a, PREFIX "endpoint_step_duration_seconds_sum", "endpoint", endpoint, "step", step, NULL);
	t->count = sample_text(a, PREFIX "endpoint_step_duration_seconds_count", "endpoint", endpoint, "step", step,
			       NULL);
	for (size_t i = 0; i < STEP_FAILURES; i++)
		t->failures[i] = sample_text(a, PREFIX "step_failures_total", "endpoint", endpoint, "step", step,
					     "reason", step_failure_names[i], NULL);
	for (size_t i = ON_ERROR_NULL; i <= ON_ERROR_STALE; i++)
		t->replaced[i] = sample_text(a, PREFIX "steps_replaced_total", "endpoint", endpoint, "step", step, "by",
					     step_substitute_names[i], NULL);
}

static void render_steps(struct metrics *m, struct plan *const *plans)
{
	size_t count = 0;
	for (size_t i = 0; i < m->config->endpoint_count; i++)
		count += plans[i] ? plans[i]->step_count : 0;
	m->steps = arena_array(&m->arena, count + 1, sizeof(*m->steps));
	for (size_t i = 0; i < m->config->endpoint_count; i++) {
		for (unsigned k = 0; plans[i] && k < plans[i]->step_count; k++)
			render_step(m, plans[i]->endpoint->name, &plans[i]->steps[k]);
	}
}

static void render_sources(struct metrics *m)
{
	struct arena *a = &m->arena;
	m->sources = arena_array(a, m->config->source_count + 1, sizeof(*m->sources));
	for (size_t i = 0; i < m->config->source_count; i++) {
		const char *name = m->config->sources[i].name;
		m->sources[i] = (struct source_text){
			.tally = tally_take(&source_tally, name),
			.steps = histogram_text(a, PREFIX "step_duration_seconds", "source", name),
			.wait = histogram_text(a, PREFIX "pool_wait_seconds", "source", name),
		};
	}
}

static void render_lags(struct metrics *m)
{
	unsigned workers = m->server->workers;
	m->lags = arena_array(&m->arena, workers, sizeof(*m->lags));
	for (unsigned w = 0; w < workers; w++)
		m->lags[w] = histogram_text(&m->arena, PREFIX "loop_lag_seconds", "worker",
					    arena_printf(&m->arena, "%u", w));
}

/* A semaphore in place has the name of the endpoint, step or source that it stands in. */
static void name_semaphores(struct metrics *m)
{
	const struct config *c = m->config;
	m->semaphores = arena_array(&m->arena, c->semaphore_count + 1, sizeof(*m->semaphores));
	for (size_t i = 0; i < c->semaphore_count; i++)
		m->semaphores[i] = c->semaphores[i].name;
	for (size_t i = 0; i < c->source_count; i++) {
		int at = c->sources[i].semaphore;
		if (at >= 0 && !m->semaphores[at])
			m->semaphores[at] = c->sources[i].name;
	}
	for (size_t i = 0; i < c->endpoint_count; i++) {
		const struct config_endpoint *e = &c->endpoints[i];
		if (e->semaphore >= 0 && !m->semaphores[e->semaphore])
			m->semaphores[e->semaphore] = e->name;
		for (size_t k = 0; k < e->step_count; k++) {
			int at = e->steps[k].semaphore;
			if (at >= 0 && !m->semaphores[at])
				m->semaphores[at] = arena_printf(&m->arena, "%s %s", e->name, e->steps[k].name);
		}
	}
	for (size_t i = 0; i < c->semaphore_count; i++) {
		if (!m->semaphores[i])
			m->semaphores[i] = arena_printf(&m->arena, "%zu", i);
	}
}

struct metrics *metrics_new(const struct config *c, struct tally *const *tallies, struct plan *const *plans)
{
	struct metrics *m = mem_zalloc(sizeof(*m));
	m->config = c;
	arena_init(&m->arena);
	m->none = tally_take(&endpoint_tally, ENDPOINT_NONE);
	m->admin = tally_take(&endpoint_tally, ENDPOINT_ADMIN);
	m->server = tally_take(&server_tally, "");
	m->endpoints = arena_array(&m->arena, c->endpoint_count + 2, sizeof(*m->endpoints));
	for (size_t i = 0; i < c->endpoint_count; i++)
		render_endpoint(m, tallies[i]);
	render_endpoint(m, m->none);
	render_endpoint(m, m->admin);
	render_steps(m, plans);
	render_sources(m);
	render_lags(m);
	name_semaphores(m);
	return m;
}

void metrics_free(struct metrics *m)
{
	if (!m)
		return;
	tally_drop(m->none);
	tally_drop(m->admin);
	tally_drop(m->server);
	for (size_t i = 0; i < m->config->source_count; i++)
		tally_drop((struct tally *)m->sources[i].tally);
	arena_done(&m->arena);
	free(m);
}

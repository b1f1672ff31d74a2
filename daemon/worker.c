/* A worker: from its first turn of the loop to its last. */
#include "daemon/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "async/loop.h"
#include "async/monitor.h"
#include "async/overflow.h"
#include "async/task.h"
#include "base/log.h"
#include "base/mem.h"
#include "daemon/connection.h"
#include "daemon/http.h"
#include "daemon/signals.h"
#include "handlers/admin/tasks.h"

enum {
	TICK_MS = 10,             /* how often a worker that drains looks whether it is through */
	LAST_WORDS_MS = 1000,     /* for replies that are being sent when the requests were cancelled */
	ADMIN_CONNECTIONS = 64,   /* beyond max_connections: whether the daemon is well can be asked when it is full */
	CONTROL_CONNECTIONS = 16, /* beyond both: whoever controls it is never locked out by those who look at it */
};

#define CLOCK_US 100000 /* how often it is measured how late a timer fires */

enum phase { STARTING, READY, SERVING, DRAINING, CANCELLED, CLOSING };

struct worker {
	struct workers *all;
	unsigned index;
	pthread_t thread;
	atomic_bool started; /* or failed to */
	int result;          /* of starting, when it is through: 0 or -errno */
	struct error error;
	pthread_mutex_t lock;
	bool open; /* under lock: the loop takes messages */

	/* on the worker's thread */
	enum phase phase;
	struct task *opening; /* NULL: it is through */
	struct loop *loop;
	struct http http;
	struct exchanges exchanges;
	struct connections connections;
	struct service *service;
	struct share *share; /* that is being opened, or waits for its commit */
	struct share_failure failure;
	const struct config_server *server; /* of the configuration that serves */
	struct listener **listeners;        /* one for each row; NULL: it does not accept yet */
	struct timer tick;
	struct timer clock;
	int64_t cancelled_us;
	struct tasks_member tasks;

	struct message start, serve, drain, cancel, ping, reload, give_up;
	void (*step)(struct worker *w); /* of a reload; whoever posts `reload` sets it */

	int64_t pinged_us;   /* main thread only; 0: never */
	atomic_bool answers; /* to the last ping; the message is free */
};

/* --- the end --- */

static int close_service(void *arg)
{
	struct worker *w = arg;
	service_close(w->service);
	return 0;
}

static void service_closed(void *arg, int result)
{
	struct worker *w = arg;
	(void)result;
	loop_stop(w->loop);
}

/* Nothing is running any more. */
static void close_worker(struct worker *w)
{
	w->phase = CLOSING;
	for (size_t i = 0; w->listeners && i < w->all->listeners->count; i++)
		listener_close(w->listeners[i]);
	connections_close(&w->connections, true); /* who came at the last moment */
	int r = task_spawn(NULL, close_service, w,
			   &(struct task_options){.name = "close", .ended = service_closed, .ended_arg = w});
	if (r < 0) {
		log_line(LOG_LINE_ERROR, "can't close connections", "worker=%u error=\"%s\"", w->index, strerror(-r));
		loop_stop(w->loop);
	}
}

static void on_tick(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, tick);
	int64_t now_us = loop_now_us(w->loop);
	connections_drain(&w->connections);
	if (w->phase == CANCELLED && now_us - w->cancelled_us > LAST_WORDS_MS * 1000)
		connections_close(&w->connections, true);
	if (w->exchanges.live_count == 0 && w->connections.count == 0)
		close_worker(w);
	else
		timer_start(&w->tick, loop_timers(w->loop), (deadline_t){now_us + TICK_MS * 1000});
}

static void begin_drain(struct worker *w)
{
	w->phase = DRAINING;
	service_drain(w->service);
	http_drain(&w->http);
	w->exchanges.draining = true;
	/* The admin address and the control socket still answer: /-/ready says that nothing more shall be sent here. */
	for (size_t i = 0; w->listeners && i < w->all->listeners->count; i++)
		if (!w->listeners[i]->admin)
			listener_close(w->listeners[i]);
	timer_start(&w->tick, loop_timers(w->loop), (deadline_t){0});
}

static void on_drain(struct message *m)
{
	struct worker *w = container_of(m, struct worker, drain);
	if (w->opening)
		task_cancel(w->opening); /* drains when that has ended */
	else if (w->phase == READY || w->phase == SERVING)
		begin_drain(w);
}

static void on_cancel(struct message *m)
{
	struct worker *w = container_of(m, struct worker, cancel);
	if (w->phase != DRAINING)
		return;
	w->phase = CANCELLED;
	w->cancelled_us = loop_now_us(w->loop);
	if (monitor_running())
		tasks_log(w->loop, w->index, "cancelled at the end");
	exchanges_cancel(&w->exchanges, NULL, REASON_STOPPING);
	connections_close(&w->connections, false);
}

static void on_ping(struct message *m)
{
	atomic_store_explicit(&container_of(m, struct worker, ping)->answers, true, memory_order_release);
}

/* --- the beginning --- */

static unsigned most_connections(const struct config_server *server, const struct config_listen *listen)
{
	unsigned most = server->max_connections;
	if (listen->admin)
		most += ADMIN_CONNECTIONS;
	return listen->control ? most + CONTROL_CONNECTIONS : most;
}

/* The listener of a row; a row that is not among those of before is new. */
static struct listener *take_row(struct worker *w, struct bound *b, const struct listeners *before)
{
	for (size_t i = 0; i < before->count; i++)
		if (before->bound[i] == b)
			return w->listeners[i];
	struct listener *l = mem_alloc(sizeof(*l));
	listener_open(l, b, w->index, &w->connections, most_connections(w->server, &b->config));
	return l;
}

/* Accept on these rows, and no more on those of `before` that are not among them. */
static void change_listeners(struct worker *w, const struct listeners *rows, const struct listeners *before)
{
	struct listener **listeners = mem_zalloc((rows->count + 1) * sizeof(struct listener *));
	for (size_t i = 0; i < rows->count; i++) {
		const struct config_listen *config = &rows->bound[i]->config;
		listeners[i] = take_row(w, rows->bound[i], before);
		listeners[i]->admin = config->admin;
		listeners[i]->max_connections = most_connections(w->server, config);
	}
	for (size_t i = 0; i < before->count; i++) {
		if (listeners_have(rows, before->bound[i]))
			continue;
		w->listeners[i]->leaves_waiting = false; /* nobody else comes for them */
		listener_close(w->listeners[i]);
		free(w->listeners[i]);
	}
	free(w->listeners);
	w->listeners = listeners;
}

static void on_serve(struct message *m)
{
	struct worker *w = container_of(m, struct worker, serve);
	w->phase = SERVING;
	change_listeners(w, w->all->listeners, &(struct listeners){0});
}

static int open_service(void *arg)
{
	struct worker *w = arg;
	const struct worker_reload *r = &w->all->reload;
	return service_open(w->service, r->generation, &r->options, &w->share, &w->failure, &w->error);
}

void workers_wake(struct workers *all)
{
	ssize_t written = write(all->changed_fd, &(uint64_t){1}, sizeof(uint64_t));
	(void)written;
}

static void tell_started(struct worker *w, int result)
{
	w->result = result;
	atomic_store(&w->started, true);
	workers_wake(w->all);
}

static void service_opened(void *arg, int result)
{
	struct worker *w = arg;
	w->opening = NULL;
	if (result < 0) {
		close_worker(w);
	} else {
		service_commit(w->service, w->share);
		w->share = NULL;
		w->connections.service = w->service;
		w->phase = READY;
		if (atomic_load(&w->all->ending))
			begin_drain(w);
	}
	tell_started(w, result);
}

/* The worker's first call on its loop. */
static void start_clock(struct worker *w)
{
	timer_start(&w->clock, loop_timers(w->loop), (deadline_t){loop_now_us(w->loop) + CLOCK_US});
}

/* The loop's numbers are only this thread's to read. */
static void on_clock(struct timer *t)
{
	struct worker *w = container_of(t, struct worker, clock);
	struct server_numbers *numbers = w->exchanges.server;
	struct loop_stats stats = loop_stats(w->loop);
	int64_t late_us = monotonic_us() - t->at.us;
	histogram_observe(&numbers->lag, late_us > 0 ? late_us : 0);
	counter_set(&numbers->tasks, stats.tasks);
	counter_set(&numbers->turns, stats.turns);
	start_clock(w);
}

static void on_start(struct message *m)
{
	struct worker *w = container_of(m, struct worker, start);
	int r = task_spawn(&w->opening, open_service, w,
			   &(struct task_options){.name = "open", .ended = service_opened, .ended_arg = w});
	if (r < 0)
		service_opened(w, error_set(&w->error, r, 0, NULL, "no memory map is left for a task's stack"));
	else if (atomic_load(&w->all->ending)) /* on_drain came too early, or not at all */
		task_cancel(w->opening);
}

/* What of a configuration is the worker's own. */
static void configure(struct worker *w, const struct config *c)
{
	const struct config_server *server = &c->server;
	w->server = server;
	w->http.conf.max_request_entity_size = server->body_limit;
	w->connections.body_limit = server->body_limit;
	for (size_t i = 0; i < c->endpoint_count; i++) {
		size_t limit = c->endpoints[i].body_limit;
		if (limit && limit < w->connections.body_limit)
			w->connections.body_limit = limit;
		if (limit > w->http.conf.max_request_entity_size)
			w->http.conf.max_request_entity_size = limit;
	}
	w->connections.idle_timeout_us = server->idle_timeout_us;
	w->connections.read_timeout_us = server->read_timeout_us;
	w->connections.write_timeout_us = server->write_timeout_us;
}

static void open_parts(struct worker *w)
{
	const struct config_server *server = &w->all->reload.generation->config->server;
	http_init(&w->http, w->loop, server->body_limit);
	exchanges_init(&w->exchanges, w->loop, &w->all->limits);
	connections_init(&w->connections, w->loop);
	w->connections.accept = &w->http.accept;
	w->connections.exchanges = &w->exchanges;
	configure(w, w->all->reload.generation->config);
	w->connections.total = &w->all->connections;
	w->service = service_new(w->all->shared, w->index);
}

static void take_messages(struct worker *w, bool open)
{
	pthread_mutex_lock(&w->lock);
	w->open = open;
	pthread_mutex_unlock(&w->lock);
}

/* Everything that was taken has been given back, or it is said what was not, and left alone. */
static bool close_parts(struct worker *w)
{
	unsigned tasks = loop_stats(w->loop).tasks;
	if (tasks || w->exchanges.live_count || w->connections.count) {
		log_line(LOG_LINE_ERROR, "left over at the end", "worker=%u tasks=%u requests=%u connections=%u",
			 w->index, tasks, w->exchanges.live_count, w->connections.count);
		tasks_log(w->loop, w->index, "left over at the end");
		return false;
	}
	take_messages(w, false);
	timer_stop(&w->tick, loop_timers(w->loop));
	timer_stop(&w->clock, loop_timers(w->loop));
	connections_done(&w->connections);
	exchanges_done(&w->exchanges);
	http_done(&w->http);
	for (size_t i = 0; w->listeners && i < w->all->listeners->count; i++)
		free(w->listeners[i]);
	free(w->listeners);
	loop_free(w->loop);
	return true;
}

/* The thread's part of what is seen of it from outside: its tasks, where it is blocked, what it overflows. */
static int become_visible(struct worker *w)
{
	char name[16];
	snprintf(name, sizeof(name), "gatherd-w%u", w->index);
	pthread_setname_np(pthread_self(), name);
	int r = signal_stack_begin();
	return r < 0 ? r : monitor_watch(w->loop, w->index);
}

static void run_loop(struct worker *w)
{
	open_parts(w);
	start_clock(w);
	tasks_join(&w->tasks, w->loop, w->index);
	loop_post(w->loop, &w->start);
	take_messages(w, true);
	loop_run(w->loop);
	tasks_leave(&w->tasks);
	monitor_unwatch(w->loop);
	if (!close_parts(w))
		atomic_fetch_add(&w->all->unclean, 1);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	tally_worker = w->index;
	w->result = loop_new(&w->loop);
	if (w->result == 0)
		w->result = become_visible(w);
	if (w->result < 0) {
		loop_free(w->loop);
		error_set(&w->error, w->result, 0, NULL, "can't make an event loop: %s", strerror(-w->result));
		tell_started(w, w->result);
	} else {
		run_loop(w);
	}
	signal_stack_end();

	atomic_fetch_add(&w->all->ended, 1);
	workers_wake(w->all);
	return NULL;
}

/* --- a reload --- */

static void on_reload(struct message *m)
{
	struct worker *w = container_of(m, struct worker, reload);
	w->step(w);
}

/* The thread that reloads goes on. */
static void step_done(struct worker *w)
{
	struct worker_reload *r = &w->all->reload;
	pthread_mutex_lock(&r->lock);
	r->owed--;
	pthread_cond_signal(&r->done);
	pthread_mutex_unlock(&r->lock);
}

static void prepared(void *arg, int result)
{
	struct worker *w = arg;
	w->opening = NULL;
	w->result = result;
	step_done(w);
}

static void prepare(struct worker *w)
{
	w->share = NULL;
	int r = task_spawn(&w->opening, open_service, w,
			   &(struct task_options){.name = "reload", .ended = prepared, .ended_arg = w});
	if (r < 0)
		prepared(w, error_set(&w->error, r, 0, NULL, "no memory map is left for a task's stack"));
	else if (atomic_load(&w->all->reload.given_up))
		task_cancel(w->opening);
}

static void on_give_up(struct message *m)
{
	struct worker *w = container_of(m, struct worker, give_up);
	if (w->opening)
		task_cancel(w->opening);
}

static int undo_share(void *arg)
{
	struct worker *w = arg;
	share_undo(w->share);
	w->share = NULL;
	return 0;
}

static void undo(struct worker *w)
{
	int r = 0;
	if (!w->share) {
		step_done(w);
		return;
	}
	r = task_spawn(&w->opening, undo_share, w,
		       &(struct task_options){.name = "undo", .ended = prepared, .ended_arg = w});
	if (r < 0) {
		log_line(LOG_LINE_ERROR, "can't close what was opened", "worker=%u error=\"%s\"", w->index,
			 strerror(-r));
		step_done(w);
	}
}

static void commit(struct worker *w)
{
	const struct worker_reload *r = &w->all->reload;
	configure(w, r->generation->config);
	service_commit(w->service, w->share);
	w->share = NULL;
	change_listeners(w, r->next, w->all->listeners);
	step_done(w);
}

/* What still runs of a generation ends: there are too many of them. */
static void end_oldest(struct worker *w)
{
	const struct share *share = service_share_of(w->service, w->all->reload.oldest);
	if (share)
		exchanges_cancel(&w->exchanges, share, REASON_RECONFIGURED);
	step_done(w);
}

/* --- from other threads --- */

/* Returns whether the worker takes messages. */
static bool post(struct worker *w, struct message *m)
{
	pthread_mutex_lock(&w->lock);
	bool open = w->open;
	if (open)
		loop_post(w->loop, m);
	pthread_mutex_unlock(&w->lock);
	return open;
}

void workers_ping(struct workers *all)
{
	for (unsigned i = 0; i < all->count; i++) {
		struct worker *w = &all->workers[i];
		if (!atomic_exchange_explicit(&w->answers, false, memory_order_acquire))
			continue;
		w->pinged_us = monotonic_us();
		if (!post(w, &w->ping))
			atomic_store_explicit(&w->answers, true, memory_order_relaxed);
	}
}

int64_t workers_owe_us(const struct workers *all, unsigned *worker)
{
	int64_t longest_us = 0, now_us = monotonic_us();
	for (unsigned i = 0; i < all->count; i++) {
		const struct worker *w = &all->workers[i];
		if (atomic_load_explicit(&w->answers, memory_order_acquire) || now_us - w->pinged_us <= longest_us)
			continue;
		longest_us = now_us - w->pinged_us;
		*worker = i;
	}
	return longest_us;
}

/* Post a step to `count` workers, and wait until it is done. */
static void run_step(struct workers *all, unsigned first, unsigned count, void (*step)(struct worker *w))
{
	struct worker_reload *r = &all->reload;
	pthread_mutex_lock(&r->lock);
	r->owed += count;
	pthread_mutex_unlock(&r->lock);
	for (unsigned i = first; i < first + count; i++) {
		all->workers[i].step = step;
		if (!post(&all->workers[i], &all->workers[i].reload))
			step_done(&all->workers[i]);
	}
	pthread_mutex_lock(&r->lock);
	while (r->owed > 0)
		pthread_cond_wait(&r->done, &r->lock);
	pthread_mutex_unlock(&r->lock);
}

int workers_prepare(struct workers *all, struct generation *g, const struct share_options *options,
		    struct share_failure *f, struct error *e)
{
	all->reload.generation = g;
	all->reload.options = *options;
	for (unsigned i = 0; i < all->count; i++) {
		struct worker *w = &all->workers[i];
		run_step(all, i, 1, prepare);
		int r = w->result;
		if (r < 0) {
			*e = w->error;
			*f = w->failure;
			workers_undo(all);
			return r;
		}
		all->reload.options.probe_us = 0; /* it is the same source */
	}
	return 0;
}

void workers_undo(struct workers *all)
{
	run_step(all, 0, all->count, undo);
}

void workers_commit(struct workers *all, const struct listeners *next)
{
	const struct config_server *server = &all->reload.generation->config->server;
	all->reload.next = next;
	all->limits.max_requests = server->max_requests;
	all->limits.request_timeout_us = server->request_timeout_us;
	run_step(all, 0, all->count, commit);
}

void workers_end_oldest(struct workers *all, unsigned generation)
{
	all->reload.oldest = generation;
	run_step(all, 0, all->count, end_oldest);
}

void workers_give_up(struct workers *all)
{
	atomic_store(&all->reload.given_up, true);
	for (unsigned i = 0; i < all->count; i++)
		post(&all->workers[i], &all->workers[i].give_up);
}

/* As workers_start. all->count says whether there is a thread, whatever is returned. */
static int start_one(struct workers *all, struct error *e)
{
	struct worker *w = &all->workers[all->count];
	*w = (struct worker){
		.all = all,
		.index = all->count,
		.start.run = on_start,
		.serve.run = on_serve,
		.drain.run = on_drain,
		.cancel.run = on_cancel,
		.ping.run = on_ping,
		.reload.run = on_reload,
		.give_up.run = on_give_up,
		.answers = true,
	};
	timer_init(&w->tick, on_tick);
	timer_init(&w->clock, on_clock);
	pthread_mutex_init(&w->lock, NULL);
	int r = -pthread_create(&w->thread, NULL, worker_main, w);
	if (r < 0) {
		pthread_mutex_destroy(&w->lock);
		return error_set(e, r, 0, NULL, "can't start a thread: %s", strerror(-r));
	}
	all->count++;
	while (!atomic_load(&w->started)) {
		if (signals_wait(all->changed_fd, DEADLINE_NEVER))
			return 1;
	}
	if (w->result < 0)
		*e = w->error;
	return w->result;
}

static void wake_main(void *workers)
{
	workers_wake(workers);
}

int workers_start(struct workers *all, struct shared *shared, struct generation *g, struct listeners *listeners,
		  struct error *e)
{
	const struct config_server *server = &g->config->server;
	*all = (struct workers){
		.workers = mem_array(shared->workers, sizeof(struct worker)),
		.shared = shared,
		.reload = {.generation = g, .lock = PTHREAD_MUTEX_INITIALIZER, .done = PTHREAD_COND_INITIALIZER},
		.listeners = listeners,
		.limits = {.max_requests = server->max_requests, .request_timeout_us = server->request_timeout_us},
		.changed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	shared->wake = wake_main;
	shared->arg = all;
	if (all->changed_fd < 0)
		return error_set(e, -errno, 0, NULL, "can't make an eventfd: %s", strerror(errno));
	http_setup();
	while (all->count < shared->workers) {
		int r = start_one(all, e);
		if (r != 0)
			return r;
	}
	for (unsigned i = 0; i < all->count; i++)
		post(&all->workers[i], &all->workers[i].serve);
	return 0;
}

void workers_drain(struct workers *all)
{
	atomic_store(&all->ending, true);
	for (unsigned i = 0; i < all->count; i++)
		post(&all->workers[i], &all->workers[i].drain);
}

void workers_cancel(struct workers *all)
{
	for (unsigned i = 0; i < all->count; i++)
		post(&all->workers[i], &all->workers[i].cancel);
}

unsigned workers_join(struct workers *all)
{
	for (unsigned i = 0; i < all->count; i++) {
		pthread_join(all->workers[i].thread, NULL);
		pthread_mutex_destroy(&all->workers[i].lock);
	}
	all->shared->wake = NULL;
	if (all->changed_fd >= 0)
		close(all->changed_fd);
	free(all->workers);
	return atomic_load(&all->unclean);
}

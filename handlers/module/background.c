/* Background tasks: started by modules, started again when they fail, ended with the worker.
 *
 * A module's start is a scope that stays open as long as the worker serves; each run of a background task has one of
 * its own, so a task that runs forever in short runs holds no memory. */
#include "handlers/module/background.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "async/call.h"
#include "base/log.h"
#include "base/mem.h"
#include "handlers/module/internal.h"

enum {
	FIRST_PAUSE_MS = 100, /* behind a run that failed; it doubles */
	LONGEST_PAUSE_MS = 30000,
	LONG_RUN_MS = 60000,      /* a run that lasted so long begins the pauses again */
	START_TIMEOUT_MS = 60000, /* of one gd_module_start */
	CANCEL_TIMEOUT_MS = 5000, /* of one that was cancelled */
	STOP_TIMEOUT_MS = 5000,   /* of one gd_module_stop */
};

struct module_run {
	const struct module *module;
	struct module_env env;
	struct gd_scope scope; /* its start */
	struct list tasks;     /* of struct background_task: those that have not ended */
	struct users running;  /* the same, counted */
	bool opened, started;
	struct error error;
};

struct background_task {
	struct list link;
	struct module_run *run;
	struct task *task;
	const char *name;
	gd_task_fn *fn;
	void *arg;
	int64_t period_us; /* of gd_every */
};

/* --- running --- */

static int run_once(const struct background_task *b, struct error *e)
{
	struct gd_scope s;
	struct shield before;
	shield_note(&before);
	scope_open(&s, &b->run->env, NULL, NULL);
	int r = b->fn(b->arg);
	mutexes_release();
	task_unshield(&before);
	if (r < 0)
		scope_error(&s, r, e);
	scope_close(&s);
	return r;
}

static void log_failure(const struct background_task *b, int r, const struct error *e, int64_t pause_ms)
{
	struct buf what = BUF_INIT;
	logfmt_value(&what, e->what, strlen(e->what));
	log_line(LOG_LINE_WARNING, "background task failed", "name=\"%s\" worker=%u result=%d error=%s pause_ms=%lld",
		 b->name, b->run->env.worker, r, buf_cstr(&what), (long long)pause_ms);
	buf_done(&what);
}

static int run_until_done(void *arg)
{
	const struct background_task *b = arg;
	struct error e;
	int64_t pause_ms = FIRST_PAUSE_MS;
	for (;;) {
		int64_t began_us = monotonic_us();
		int r = run_once(b, &e);
		if (r >= 0 || task_cancelled())
			return 0;
		if (monotonic_us() - began_us >= LONG_RUN_MS * 1000)
			pause_ms = FIRST_PAUSE_MS;
		log_failure(b, r, &e, pause_ms);
		if (task_sleep_ms(pause_ms) < 0)
			return 0;
		pause_ms = pause_ms * 2 < LONGEST_PAUSE_MS ? pause_ms * 2 : LONGEST_PAUSE_MS;
	}
}

static int run_every(void *arg)
{
	const struct background_task *b = arg;
	struct ticker ticker;
	struct error e;
	int r = ticker_init(&ticker, b->period_us);
	while (r >= 0) {
		r = ticker_wait(&ticker, DEADLINE_NEVER);
		int result = r < 0 ? 0 : run_once(b, &e);
		if (result < 0 && !task_cancelled())
			log_failure(b, result, &e, 0);
	}
	return 0;
}

/* It is gone. */
static void task_is_over(void *arg, int result)
{
	struct background_task *b = arg;
	(void)result; /* a failure was logged, and begun again */
	list_remove(&b->link);
	users_leave(&b->run->running);
	free(b);
}

static int add(const char *function, const char *name, int64_t period_us, gd_task_fn *fn, void *arg)
{
	struct gd_scope *s = scope_here(function);
	if (!s)
		return -EPERM;
	s = scope_outermost(s);
	if (!s->start || s->closing)
		return -EPERM;
	struct module_run *run = container_of(s, struct module_run, scope);
	struct background_task *b = mem_alloc(sizeof(*b));
	*b = (struct background_task){
		.run = run, .name = name ? name : "background", .fn = fn, .arg = arg, .period_us = period_us};
	deadline_t before = task_deadline();
	deadline_pop(DEADLINE_NEVER); /* the task inherits none */
	int r = task_spawn(&b->task, period_us ? run_every : run_until_done, b,
			   &(struct task_options){.name = b->name, .ended = task_is_over, .ended_arg = b});
	deadline_pop(before);
	if (r < 0) {
		free(b);
		return r;
	}
	list_append(&run->tasks, &b->link);
	users_enter(&run->running);
	return 0;
}

int gd_background(const char *name, gd_task_fn *fn, void *arg)
{
	return fn ? add(__func__, name, 0, fn, arg) : -EINVAL;
}

int gd_every(const char *name, int64_t period_ms, gd_task_fn *fn, void *arg)
{
	if (!fn || period_ms <= 0 || period_ms > PERIOD_MS_MAX)
		return -EINVAL;
	return add(__func__, name, period_ms * 1000, fn, arg);
}

/* --- the beginning --- */

static int start_module(void *arg)
{
	struct module_run *run = arg;
	scope_open(&run->scope, &run->env, NULL, NULL);
	run->scope.start = true;
	run->opened = true;
	int r = run->module->start ? run->module->start(run->env.worker, run->env.workers) : 0;
	mutexes_release();
	if (r < 0)
		scope_error(&run->scope, r, &run->error);
	return r < 0 ? r : 0;
}

/* A start that does not look at its cancellation can't be left: what it uses would go under it. */
static _Noreturn void give_up(const struct module_run *run)
{
	log_line(LOG_LINE_ERROR, "gd_module_start was cancelled and does not end", "module=%s worker=%u",
		 run->module->path, run->env.worker);
	log_stop();
	_exit(EX_SOFTWARE);
}

/* Suspends, for a while at most. A task of its own is cancelled when it takes too long, or with the calling task; what
 * it has spawned is not. */
static int start_in_time(struct module_run *run)
{
	struct task *t;
	int r = task_check();
	if (r == 0)
		r = task_spawn(&t, start_module, run, &(struct task_options){.name = "gd_module_start"});
	if (r < 0)
		return r;
	r = task_await(&t, deadline_in_ms(START_TIMEOUT_MS));
	if (!t)
		return r;
	task_cancel(t);
	struct shield s;
	task_shield_fully(&s);
	int late = task_await(&t, deadline_in_ms(CANCEL_TIMEOUT_MS));
	if (t)
		give_up(run);
	task_unshield(&s);
	return late < 0 ? r : late;
}

int module_run_start(struct module_run **out, const struct module *m, const struct module_env *env, struct error *e)
{
	struct module_run *run = mem_zalloc(sizeof(*run));
	run->module = m;
	run->env = *env;
	list_init(&run->tasks);
	int r = start_in_time(run);
	if (r < 0) {
		error_set(e, r, 0, NULL, "%s: gd_module_start failed on worker %u: %s", m->path, env->worker,
			  run->error.errnum == r ? run->error.what : strerror(-r));
		module_runs_stop(&run, 1);
		return r;
	}
	run->started = true;
	*out = run;
	return 0;
}

void module_run_follow(struct module_run *run, const struct module_env *env)
{
	run->env = *env;
}

/* --- the end --- */

static void end_tasks(struct module_run *run)
{
	run->scope.start = false; /* whoever cleans up begins no other */
	list_for_each (at, &run->tasks)
		task_cancel(container_of(at, struct background_task, link)->task);
	users_await(&run->running, DEADLINE_NEVER);
}

/* Suspends. What it waits for has an end. */
static void stop_module(const struct module_run *run)
{
	struct shield before, bounded;
	shield_note(&before);
	task_shield(&bounded, deadline_in_ms(STOP_TIMEOUT_MS));
	run->module->stop(run->env.worker, run->env.workers);
	mutexes_release();
	task_unshield(&before);
}

void module_runs_stop(struct module_run **runs, size_t count)
{
	struct shield s;
	task_shield_fully(&s);
	for (size_t i = count; i > 0; i--)
		end_tasks(runs[i - 1]);
	for (size_t i = count; i > 0; i--) {
		struct module_run *run = runs[i - 1];
		if (run->opened) {
			scope_enter(&run->scope);
			if (run->started && run->module->stop)
				stop_module(run);
			scope_close(&run->scope);
		}
		free(run);
	}
	task_unshield(&s);
}

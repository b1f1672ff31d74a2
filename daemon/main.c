/* gatherd: load, check, bind, start, run, drain, stop. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include "async/executor.h"
#include "async/monitor.h"
#include "async/overflow.h"
#include "base/compiler.h"
#include "base/journal.h"
#include "base/log.h"
#include "base/tally.h"
#include "config/config.h"
#include "daemon/bind.h"
#include "daemon/control.h"
#include "daemon/heartbeat.h"
#include "daemon/lifecycle.h"
#include "daemon/options.h"
#include "daemon/reload.h"
#include "daemon/signals.h"
#include "daemon/systemd.h"
#include "daemon/tasks_view.h"
#include "daemon/worker.h"
#include "drivers/drivers.h"
#include "drivers/health.h"
#include "drivers/http/breaker.h"
#include "handlers/admin/history.h"
#include "handlers/admin/process.h"
#include "handlers/gather/idempotency.h"
#include "handlers/service.h"
#include "handlers/web/recent.h"
#include "handlers/web/request_log.h"

enum {
	EXECUTOR_THREADS = 8,          /* for what blocks: names to resolve, files, cancels to send */
	EXECUTOR_THREADS_A_WORKER = 2, /* a frozen server keeps as many with its cancels */
	EXECUTOR_QUEUE = 1024,
	OWN_DESCRIPTORS = 256, /* beyond the clients' */
	JOURNAL_REQUESTS_A_SECOND = 1000,
};

/* What a run is made of, in the order in which it is made. */
struct daemon {
	struct generation *generation;
	struct listeners listeners;
	struct executor *executor;
	struct shared shared;
	struct workers workers;
	struct reloads reloads;
};

/* --- diagnostics --- */

static void print_diagnostics(struct diagnostics *d)
{
	struct buf out = BUF_INIT;
	diagnostics_sort(d);
	diagnostics_report(d, &out);
	fputs(buf_cstr(&out), stderr);
	buf_done(&out);
}

static void print_error(struct mark at, const char *text)
{
	struct buf out = BUF_INIT;
	diagnostic_report(&(struct diagnostic){.at = at, .severity = SEVERITY_ERROR, .text = text}, &out);
	fputs(buf_cstr(&out), stderr);
	buf_done(&out);
}

/* --- the steps of a run; each returns an exit code --- */

/* For as long as the process lives. */
static void begin_counting(const struct config *c)
{
	process_begin();
	tally_set_workers(c->server.threads);
	if (c->metrics.buckets.count > 0)
		histogram_set_bounds(&c->metrics.buckets);
}

static int load(struct daemon *d, const char *path, struct diagnostics *diagnostics)
{
	struct config *config = config_load(path, &drivers_language, diagnostics);
	if (config)
		begin_counting(config);
	if (config)
		d->generation = generation_compile(config, diagnostics);
	return d->generation ? EX_OK : EX_CONFIG;
}

/* The first error, as the status of the service. */
static void tell_manager(const struct diagnostics *d)
{
	for (size_t i = 0; i < d->count; i++) {
		const struct diagnostic *item = &d->items[i];
		if (item->severity != SEVERITY_ERROR)
			continue;
		systemd_status("%s:%u:%u: %s", item->at.file ? item->at.file : "", item->at.line, item->at.column,
			       item->text);
		return;
	}
}

static int load_and_print(struct daemon *d, const char *path)
{
	struct diagnostics diagnostics;
	diagnostics_init(&diagnostics);
	int code = load(d, path, &diagnostics);
	print_diagnostics(&diagnostics);
	if (code != EX_OK)
		tell_manager(&diagnostics);
	diagnostics_done(&diagnostics);
	return code;
}

/* Ask the sources what they think of it. A mistake is worse news than a source that is down. */
static int ask_sources(struct daemon *d, struct diagnostics *diagnostics)
{
	signal(SIGPIPE, SIG_IGN);
	int r = executor_new(&d->executor, EXECUTOR_THREADS, EXECUTOR_QUEUE);
	int down = r < 0 ? r : generation_check(d->generation, d->executor, diagnostics);
	if (down < 0) {
		fprintf(stderr, "error: can't ask the sources: %s\n", strerror(-down));
		return EX_OSERR;
	}
	if (diagnostics->errors > (size_t)down)
		return EX_CONFIG;
	return down > 0 ? EX_UNAVAILABLE : EX_OK;
}

static int bind_listeners(struct daemon *d)
{
	struct error e = ERROR_INIT;
	struct mark at = {0};
	const struct config_server *server = &d->generation->config->server;
	if (listeners_bind(&d->listeners, server, server->threads, &e, &at) == 0)
		return EX_OK;
	print_error(at, e.what);
	systemd_failed(e.errnum, e.what);
	if (e.errnum == -ESRCH)
		return EX_CONFIG;
	return e.errnum == -EACCES || e.errnum == -ENOENT || e.errnum == -EROFS ? EX_CANTCREAT : EX_OSERR;
}

/* As many descriptors as the connections that are allowed may need. */
static void raise_descriptor_limit(const struct config_server *server)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	rlim_t wanted = (rlim_t)server->max_connections + OWN_DESCRIPTORS;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max < wanted)
		log_line(LOG_LINE_WARNING, "fewer descriptors than max_connections may need", "limit=%llu wanted=%llu",
			 (unsigned long long)limit.rlim_cur, (unsigned long long)wanted);
}

/* server.debug, or GATHERD_DEBUG with anything but "" and 0. */
static bool wants_debug(const struct config_server *server)
{
	const char *word = getenv("GATHERD_DEBUG");
	return server->debug || (word && *word && strcmp(word, "0") != 0);
}

static void tell_lost_failure(const char *name, uint64_t id, int result)
{
	struct buf quoted = BUF_INIT;
	logfmt_value(&quoted, name, strlen(name));
	log_line(LOG_LINE_WARNING, "a task failed and nobody awaited it", "task=%s task_id=%llu error=\"%s\"",
		 buf_cstr(&quoted), (unsigned long long)id, strerror(-result));
	buf_done(&quoted);
}

/* A source went down, or is back. Any thread. */
static void tell_source(const char *source, const char *why, int64_t down_us)
{
	struct buf quoted = BUF_INIT;

	history_event(why ? "source down" : "source back", source);
	if (why) {
		logfmt_value(&quoted, why, strlen(why));
		log_line(LOG_LINE_WARNING, "source is down", "source=%s error=%s", source, buf_cstr(&quoted));
	} else {
		log_line(LOG_LINE_INFO, "source is back", "source=%s down_ms=%lld", source, (long long)down_us / 1000);
	}
	buf_done(&quoted);
}

/* A breaker has moved. Any thread. */
static void tell_breaker(const char *source, const char *state)
{
	struct buf text = BUF_INIT;
	buf_printf(&text, "%s: %s", source, state);
	history_event("breaker", buf_cstr(&text));
	buf_done(&text);
}

/* What tells of mistakes while it runs. Before the workers. */
static void watch(const struct config_server *server)
{
	overflow_install();
	task_on_lost_failure(tell_lost_failure);
	health_report_to(tell_source);
	breaker_report_to(tell_breaker);
	bool debug = wants_debug(server);
	if (!debug && !systemd_watchdog_us())
		return;
	int r = debug ? monitor_start(server->slow_callback_us) : monitor_stand_by();
	if (r < 0)
		log_line(LOG_LINE_WARNING, "no debug mode", "error=\"%s\"", strerror(-r));
	else if (debug)
		log_line(LOG_LINE_INFO, "debug mode", "slow_callback_ms=%lld",
			 (long long)server->slow_callback_us / 1000);
}

/* End the workers that there are. */
static int end_workers(struct daemon *d, bool served)
{
	const struct config_server *server = &d->generation->config->server;
	const struct lifecycle_times times = {
		.delay_us = served ? server->drain_delay_us : 0,
		.drain_us = server->drain_timeout_us,
	};
	if (lifecycle_end(&d->workers, &times) < 0) {
		/* Threads are still at work: nothing can be freed under them. */
		log_line(LOG_LINE_ERROR, "a worker does not end", "requests=%u",
			 atomic_load(&d->workers.limits.running));
		log_stop();
		_exit(EX_SOFTWARE);
	}
	return workers_join(&d->workers) > 0 ? EX_SOFTWARE : EX_OK;
}

/* Returns EX_OK with *serves false: it was asked to end meanwhile, and has. */
static int start(struct daemon *d, bool *serves)
{
	struct error e = ERROR_INIT;
	struct mark at;
	const struct config *config = d->generation->config;
	const struct config_server *server = &config->server;
	raise_descriptor_limit(server);
	watch(server);
	int r = executor_new(&d->executor, EXECUTOR_THREADS + EXECUTOR_THREADS_A_WORKER * server->threads,
			     EXECUTOR_QUEUE);
	if (r < 0) {
		log_line(LOG_LINE_ERROR, "can't start threads", "error=\"%s\"", strerror(-r));
		return EX_OSERR;
	}
	heartbeat_begin(&d->workers);
	heartbeat_starting("sources and modules");
	shared_init(&d->shared, d->executor, server->threads);
	r = generation_open(d->generation, &d->shared, NULL, &e, &at);
	if (r == 0) {
		generation_commit(d->generation, 1);
		r = workers_start(&d->workers, &d->shared, d->generation, &d->listeners, &e);
	}
	if (r > 0)
		return end_workers(d, false);
	if (r < 0) {
		log_line(LOG_LINE_ERROR, "can't start", "error=\"%s\"", e.what);
		systemd_failed(e.errnum, e.what);
		if (d->workers.workers)
			end_workers(d, false);
		return EX_UNAVAILABLE;
	}
	for (size_t i = 0; i < d->listeners.count; i++)
		listeners_tell(d->listeners.bound[i]);
	log_line(LOG_LINE_INFO, "started", "version=" GATHERD_VERSION " pid=%ld threads=%u endpoints=%zu",
		 (long)getpid(), server->threads, config->endpoint_count);
	history_event("start", GATHERD_VERSION);
	heartbeat_serving();
	systemd_ready("serving %zu endpoint%s on %zu listener%s", config->endpoint_count,
		      config->endpoint_count == 1 ? "" : "s", server->listen_count,
		      server->listen_count == 1 ? "" : "s");
	*serves = true;
	return EX_OK;
}

static void stop(struct daemon *d)
{
	bool opened = d->generation && d->generation->shared;
	listeners_done(&d->listeners);
	generation_drop(d->generation);
	if (opened) {
		shared_bury(&d->shared);
		shared_done(&d->shared);
	}
	executor_free(d->executor);
	history_done();
	recent_done();
	monitor_stop();
}

static enum log_severity severity_of(enum log_level level)
{
	static const enum log_severity severities[] = {
		[LOG_DEBUG] = LOG_LINE_DEBUG,
		[LOG_INFO] = LOG_LINE_INFO,
		[LOG_WARNING] = LOG_LINE_WARNING,
		[LOG_ERROR] = LOG_LINE_ERROR,
	};
	return severities[level];
}

/* Lines of requests have a bound if the journal takes them, which answers less than gatherd can ask. */
static void start_log(const struct config_log *config)
{
	bool journal = journal_is_stderr();
	struct config_rate most = config->most;
	if (most.count == 0 && journal)
		most = (struct config_rate){JOURNAL_REQUESTS_A_SECOND, 1000000};
	request_log_configure(config, most);
	log_start(severity_of(config->level), journal                             ? LOG_OUTPUT_JOURNAL
					      : config->format == LOG_FORMAT_JSON ? LOG_OUTPUT_JSON
										  : LOG_OUTPUT_LOGFMT);
}

/* --- the commands --- */

static int run(const char *path)
{
	struct daemon d = {0};
	bool serves = false;
	struct error e = ERROR_INIT;
	int code = signals_begin() < 0 ? EX_OSERR : EX_OK;
	if (code == EX_OK && systemd_begin(&e) < 0) {
		fprintf(stderr, "error: %s\n", e.what);
		systemd_failed(e.errnum, e.what);
		code = EX_CONFIG;
	}
	if (code == EX_OK)
		code = load_and_print(&d, path);
	if (code == EX_OK)
		code = bind_listeners(&d);
	if (code == EX_OK) {
		start_log(&d.generation->config->log);
		code = start(&d, &serves);
		if (serves) {
			reloads_begin(&d.reloads, path, &d.workers, &d.listeners, d.generation);
			lifecycle_serve(&d.workers, &d.reloads);
			reloads_end(&d.reloads);
			d.generation = d.reloads.serving;
			code = end_workers(&d, true);
		}
		log_line(LOG_LINE_INFO, "stopped", "code=%d", code);
	}
	stop(&d);
	systemd_end();
	log_stop();
	return code;
}

static int check(const char *path, bool connect)
{
	struct daemon d = {0};
	struct diagnostics diagnostics;
	diagnostics_init(&diagnostics);
	int code = load(&d, path, &diagnostics);
	if (code == EX_OK && connect)
		code = ask_sources(&d, &diagnostics);
	print_diagnostics(&diagnostics);
	diagnostics_done(&diagnostics);
	if (code == EX_OK)
		printf("%s: ok\n", path);
	stop(&d);
	return code;
}

/* What the daemon that runs that configuration, or answers there, is at. */
static int show_tasks(const struct options *o)
{
	struct tasks_view view = {.address = o->admin, .once = o->once, .interval_us = o->interval_us};
	struct diagnostics diagnostics;
	diagnostics_init(&diagnostics);
	struct config *c = o->config ? config_load(o->config, &drivers_language, &diagnostics) : NULL;
	int code = o->config && diagnostics.errors > 0 ? EX_CONFIG : EX_OK;
	if (code != EX_OK) {
		print_diagnostics(&diagnostics);
		fputs("gatherd: without that file: name the daemon's address with --admin\n", stderr);
	} else if (c && !(view.address = tasks_view_address(c))) {
		fputs("gatherd: the configuration leaves its port open: name the address with --admin\n", stderr);
		code = EX_USAGE;
	}
	diagnostics_done(&diagnostics);
	if (code == EX_OK)
		code = tasks_view(&view);
	config_free(c);
	return code;
}

static int print_text(const char *text, size_t len)
{
	return fwrite(text, 1, len, stdout) == len && fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static int print_schema(void)
{
	struct buf out = BUF_INIT;
	config_schema_print(&out, &drivers_language);
	int code = print_text(out.data, out.len);
	buf_done(&out);
	return code;
}

int main(int argc, char **argv)
{
	/* libpq would tell servers so, and values look as the documentation says. */
	static const char *const session_variables[] = {"PGTZ", "PGDATESTYLE", "PGGEQO", "PGOPTIONS"};
	struct options o;

	for (size_t i = 0; i < ARRAY_SIZE(session_variables); i++)
		unsetenv(session_variables[i]);
	if (options_parse(&o, argc, argv) < 0)
		return EX_USAGE;
	switch (o.command) {
	case COMMAND_RUN:
		return run(o.config);
	case COMMAND_CHECK:
		return check(o.config, o.connect);
	case COMMAND_SCHEMA:
		return print_schema();
	case COMMAND_IDEMPOTENCY_SCHEMA:
		return print_text(idempotency_schema, strlen(idempotency_schema));
	case COMMAND_TASKS:
		return show_tasks(&o);
	case COMMAND_READY:
		return control_ready(o.control, strcmp(o.word, "on") == 0);
	case COMMAND_STATUS:
		return control_status(o.control, o.json);
	case COMMAND_RELOAD:
		return control_reload(o.control, &(struct control_reload){o.force, o.check, o.timeout_us});
	case COMMAND_VERSION:
		puts("gatherd " GATHERD_VERSION);
		return EX_OK;
	case COMMAND_HELP:
		fputs(options_help, stdout);
		return EX_OK;
	}
	return EX_USAGE;
}

/* A reload, step by step. See reload.h. */
#include "daemon/reload.h"

#include <errno.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon/bind.h"
#include "daemon/signals.h"
#include "daemon/systemd.h"
#include "drivers/drivers.h"
#include "handlers/admin/history.h"
#include "handlers/admin/process.h"
#include "handlers/admin/status.h"

enum {
	GENERATIONS_MOST = 4,  /* alive at once */
	OLDEST_WAIT_MS = 5000, /* for the end of what was cancelled of the oldest one */
	OLDEST_POLL_MS = 2,
	END_POLL_MS = 50,
};

#define PATIENCE_US 5000000 /* with a source that is new */

/* --- the steps; each returns an exit code, with diagnostics --- */

static int refuse(struct reloads *r, int code, struct mark at, const struct error *e)
{
	if (atomic_load(&r->given_up))
		code = EX_TEMPFAIL;
	else
		diagnostics_error(&r->report->diagnostics, at, "%s", e->what);
	return code;
}

static int compile(struct reloads *r, struct generation **next)
{
	struct diagnostics *d = &r->report->diagnostics;
	struct config *config = config_load(r->path, &drivers_language, d);
	*next = config ? generation_compile(config, d) : NULL;
	return *next ? EX_OK : EX_CONFIG;
}

static int bind_new(struct reloads *r, const struct generation *next, struct listeners *rows)
{
	struct error e = ERROR_INIT;
	struct mark at = {0};
	int result = listeners_change(rows, r->listeners, &next->config->server, &e, &at);
	if (result == 0)
		return EX_OK;
	return refuse(r, result == -ESRCH ? EX_CONFIG : EX_OSERR, at, &e);
}

static struct mark place_of_module(const struct config *c, const struct module *module)
{
	for (size_t i = 0; i < c->module_count; i++)
		if (strcmp(c->modules[i].path, module->path) == 0)
			return c->modules[i].at;
	return (struct mark){0};
}

static int open_new(struct reloads *r, struct generation *next)
{
	const struct share_options options = {.probe_us = r->wish.force ? 0 : PATIENCE_US,
					      .without_modules = r->wish.check};
	struct share_failure failed = {0};
	struct error e = ERROR_INIT;
	struct mark at = {0};
	int result = generation_open(next, r->workers->shared, r->serving, &e, &at);
	if (result < 0)
		return refuse(r, EX_UNAVAILABLE, at, &e);
	result = workers_prepare(r->workers, next, &options, &failed, &e);
	if (result == 0)
		return EX_OK;
	if (failed.source)
		return refuse(r, EX_UNAVAILABLE, failed.source->url_at, &e);
	if (failed.module)
		return refuse(r, result == -ETIMEDOUT ? EX_UNAVAILABLE : EX_SOFTWARE,
			      place_of_module(next->config, failed.module), &e);
	return refuse(r, EX_OSERR, (struct mark){0}, &e);
}

/* There would be one too many: end what still runs of the oldest. */
static void make_room(struct reloads *r)
{
	struct shared *shared = r->workers->shared;
	deadline_t by = deadline_in_ms(OLDEST_WAIT_MS);
	if (atomic_load(&shared->generations) < GENERATIONS_MOST)
		return;
	unsigned oldest = shared_oldest(shared);
	workers_end_oldest(r->workers, oldest);
	while (shared_oldest(shared) == oldest && !deadline_passed(by)) {
		usleep(OLDEST_POLL_MS * 1000);
		shared_bury(shared);
	}
	if (shared_oldest(shared) == oldest)
		log_line(LOG_LINE_WARNING, "a generation does not end", "generation=%u", oldest);
}

static void commit(struct reloads *r, struct generation *next, struct listeners *rows)
{
	make_room(r);
	listeners_update(rows, r->listeners, &next->config->server);
	generation_commit(next, r->serving->number + 1);
	workers_commit(r->workers, rows);
	for (size_t i = 0; i < rows->count; i++)
		if (!listeners_have(r->listeners, rows->bound[i]))
			listeners_tell(rows->bound[i]);
	listeners_replace(r->listeners, rows);
	generation_drop(r->serving);
	r->serving = next;
	r->restart_needed = fixed_settings_warn(&r->fixed, next->config, &r->report->diagnostics);
}

/* All of it, or nothing. */
static int reload(struct reloads *r)
{
	struct generation *next;
	struct listeners rows = {0};
	int code = compile(r, &next);
	if (code != EX_OK)
		return code;
	code = bind_new(r, next, &rows);
	if (code != EX_OK)
		goto drop_generation;
	code = open_new(r, next);
	if (code != EX_OK)
		goto close_rows;
	if (atomic_load(&r->given_up))
		code = EX_TEMPFAIL;
	changes_describe(r->serving->config, next->config, r->listeners, &rows, &r->report->text);
	if (code == EX_OK && !r->wish.check) {
		commit(r, next, &rows);
		return EX_OK;
	}
	workers_undo(r->workers);
close_rows:
	listeners_unchange(&rows, r->listeners);
drop_generation:
	generation_drop(next);
	return code;
}

/* --- what is said of it --- */

static const struct diagnostic *first_error(const struct diagnostics *d)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->items[i].severity == SEVERITY_ERROR)
			return &d->items[i];
	return NULL;
}

/* The report's line. */
static void describe(struct reloads *r)
{
	struct reload_report *report = r->report;
	struct buf text = BUF_INIT;
	const struct diagnostic *error = first_error(&report->diagnostics);
	if (report->code == EX_OK && r->wish.check)
		buf_printf(&text, "would be generation %u: %s", r->serving->number + 1, buf_cstr(&report->text));
	else if (report->code == EX_OK)
		buf_printf(&text, "generation %u after %lld ms: %s", report->generation,
			   (long long)report->took_us / 1000, buf_cstr(&report->text));
	else if (!error)
		buf_lit(&text, "the daemon ends");
	else if (error->at.file)
		buf_printf(&text, "%s:%u:%u: %s", error->at.file, error->at.line, error->at.column, error->text);
	else
		buf_str(&text, error->text);
	buf_done(&report->text);
	report->text = text;
}

static void *reload_main(void *arg)
{
	struct reloads *r = arg;
	int64_t began_us = monotonic_us();
	pthread_setname_np(pthread_self(), "gatherd-reload");
	r->report->code = reload(r);
	r->report->generation = r->serving->number;
	r->report->took_us = monotonic_us() - began_us;
	diagnostics_sort(&r->report->diagnostics);
	describe(r);
	atomic_store(&r->ended, true);
	workers_wake(r->workers);
	return NULL;
}

static void log_diagnostic(const struct diagnostic *item)
{
	struct buf text = BUF_INIT, at = BUF_INIT, quoted = BUF_INIT;
	bool error = item->severity == SEVERITY_ERROR;
	if (item->at.file)
		buf_printf(&at, "%s:%u:%u", item->at.file, item->at.line, item->at.column);
	logfmt_value(&text, item->text, strlen(item->text));
	logfmt_value(&quoted, buf_cstr(&at), at.len);
	log_line(error ? LOG_LINE_ERROR : LOG_LINE_WARNING, error ? "configuration error" : "configuration warning",
		 "%s%s%stext=%s", at.len ? "at=" : "", at.len ? buf_cstr(&quoted) : "", at.len ? " " : "",
		 buf_cstr(&text));
	buf_done(&text);
	buf_done(&at);
	buf_done(&quoted);
}

static void log_outcome(const struct reloads *r)
{
	const struct reload_report *report = r->report;
	struct buf quoted = BUF_INIT;
	for (size_t i = 0; i < report->diagnostics.count; i++)
		log_diagnostic(&report->diagnostics.items[i]);
	logfmt_value(&quoted, report->text.data, report->text.len);
	if (report->code == EX_OK)
		log_line(LOG_LINE_INFO, "reloaded", "generation=%u ms=%lld text=%s", report->generation,
			 (long long)report->took_us / 1000, buf_cstr(&quoted));
	else
		log_line(LOG_LINE_ERROR, "reload refused", "generation=%u code=%d error=%s", report->generation,
			 report->code, buf_cstr(&quoted));
	buf_done(&quoted);
}

static void count_outcome(const struct reloads *r)
{
	bool ok = r->report->code == EX_OK;
	counter_add(ok ? &config_numbers.reloads_ok : &config_numbers.reloads_refused, 1);
	counter_set(&config_numbers.last_successful, ok);
	counter_set(&config_numbers.restart_needed, r->restart_needed);
	counter_set(&config_numbers.generation, r->report->generation);
	if (ok)
		counter_set(&config_numbers.last_success_s, (uint64_t)time(NULL));
}

/* --- from the main thread --- */

static void finish(struct reloads *r)
{
	struct reload_report *report = r->report;
	pthread_join(r->thread, NULL);
	r->running = false;
	if (!r->wish.check) {
		bool refused = report->code != EX_OK;
		log_outcome(r);
		count_outcome(r);
		history_event(refused ? "reload refused" : "reload", buf_cstr(&report->text));
		status_refused(refused ? buf_cstr(&report->text) : NULL);
		if (report->code == EX_OK)
			systemd_ready("%s", buf_cstr(&report->text));
		else
			systemd_ready("generation %u; reload refused: %s", report->generation, buf_cstr(&report->text));
	}
	reload_answer(&r->asked, report);
	reload_report_drop(report);
	r->report = NULL;
}

static void begin(struct reloads *r)
{
	r->report = reload_report_new();
	atomic_store(&r->ended, false);
	r->running = true;
	if (!r->wish.check)
		systemd_reloading();
	int result = -pthread_create(&r->thread, NULL, reload_main, r);
	if (result == 0)
		return;
	r->running = false;
	r->report->code = EX_OSERR;
	buf_printf(&r->report->text, "can't start a thread: %s", strerror(-result));
	reload_answer(&r->asked, r->report);
	reload_report_drop(r->report);
}

static void wake(void *workers)
{
	workers_wake(workers);
}

void reloads_begin(struct reloads *r, const char *path, struct workers *workers, struct listeners *listeners,
		   struct generation *serving)
{
	*r = (struct reloads){.path = path, .workers = workers, .listeners = listeners, .serving = serving};
	list_init(&r->asked);
	fixed_settings_take(&r->fixed, serving->config);
	reload_attend(wake, workers);
}

void reloads_turn(struct reloads *r)
{
	r->asked_by_signal |= signals_took_hup();
	shared_bury(r->workers->shared);
	if (r->running && atomic_load(&r->ended))
		finish(r);
	counter_set(&config_numbers.generations, atomic_load(&r->workers->shared->generations));
	if (r->running)
		return;
	bool asked = reload_take(&r->asked, &r->wish);
	if (!asked && !r->asked_by_signal)
		return;
	if (!asked)
		r->wish = (struct reload_wish){0};
	if (!r->wish.check)
		r->asked_by_signal = false;
	begin(r);
}

void reloads_end(struct reloads *r)
{
	if (r->running) {
		atomic_store(&r->given_up, true);
		workers_give_up(r->workers);
		while (!atomic_load(&r->ended)) {
			int signo = signals_next(r->workers->changed_fd, deadline_in_ms(END_POLL_MS));
			(void)signo; /* the end is asked for already */
		}
		finish(r);
	}
	reload_attend(NULL, NULL);
	shared_bury(r->workers->shared);
}

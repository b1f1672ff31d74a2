#include "handlers/admin/status.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "async/task.h"
#include "base/json.h"
#include "base/json_out.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "config/language.h"
#include "handlers/admin/history.h"
#include "handlers/admin/process.h"
#include "handlers/admin/status_page.h"
#include "handlers/admin/tasks.h"
#include "handlers/web/recent.h"
#include "handlers/web/request_log.h"

enum { TASKS_SHOWN = 20, TEXT_MAX_BYTES = 1000 };

/* A reload that was refused, until one succeeds. */
static struct {
	pthread_mutex_t lock;
	double time; /* under lock; 0: there is none */
	char why[TEXT_MAX_BYTES + 1];
} refused = {.lock = PTHREAD_MUTEX_INITIALIZER};

static double wall_clock(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* As much of a text as is shown; what follows a byte that is not UTF-8 is not. */
static void put_text(struct buf *out, const char *text)
{
	if (text && *text)
		json_string(out, text, utf8_prefix(text, strnlen(text, TEXT_MAX_BYTES)));
	else
		json_null(out);
}

static void put_number(struct buf *out, double d)
{
	if (d >= 0)
		buf_printf(out, "%.3f", d);
	else
		json_null(out);
}

/* --- sources --- */

/* Whom a source talks to, without user, password and options: what stands between "//", a "user@" and the path, or
 * after "host="; a folder as it is. */
static void put_host(struct buf *out, const struct config_source *c)
{
	const char *scheme = strstr(c->url, "://");
	const char *begin = scheme ? scheme + 3 : c->url, *end = begin + strcspn(begin, "/?# ");
	const char *at = memrchr(begin, '@', (size_t)(end - begin));
	begin = at ? at + 1 : begin;
	if (c->url[0] == '/') {
		put_text(out, c->url);
		return;
	}
	const char *host = strstr(c->url, "host=");
	if ((!scheme || begin == end) && host) {
		begin = host + strlen("host=");
		end = begin + strcspn(begin, "& ");
	} else if (!scheme) {
		end = begin;
	}
	size_t len = utf8_prefix(begin, (size_t)(end - begin));
	if (len > 0)
		json_string(out, begin, len);
	else
		json_null(out);
}

static const char *role_of(const struct tally *t)
{
	for (unsigned role = 0; role < SOURCE_ROLES; role++) {
		if (tally_sum(t, offsetof(struct source_numbers, roles[role])) > 0)
			return source_role_names[role];
	}
	return NULL;
}

static uint64_t connections_of(const struct tally *t, enum pool_state state)
{
	return tally_sum(t, offsetof(struct source_numbers, connections[state]));
}

static void put_pool(struct buf *out, const struct config_source *c, const struct source_state *s,
		     const struct tally *t)
{
	if (!s->pooled) {
		json_null(out);
		return;
	}
	uint64_t busy = s->busy >= 0 ? (uint64_t)s->busy : connections_of(t, POOL_BUSY);
	buf_printf(out,
		   "{\"size\":%zu,\"busy\":%llu,\"idle\":%llu,\"connecting\":%llu,\"quarantined\":%llu,\"waiting\":%u}",
		   (size_t)c->pool.size, (unsigned long long)busy, (unsigned long long)connections_of(t, POOL_IDLE),
		   (unsigned long long)connections_of(t, POOL_CONNECTING),
		   (unsigned long long)connections_of(t, POOL_QUARANTINED), s->waiting);
}

static void put_breaker(struct buf *out, const struct driver *driver, struct source *source, bool *open)
{
	static const char *const names[BREAKER_STATES] = {"closed", "open", "half_open"};
	struct breaker_numbers n;
	bool has = driver->source_breaker && driver->source_breaker(source, &n);
	put_text(out, has ? names[n.state] : NULL);
	*open = *open || (has && n.state == 1);
}

/* What of the sources speaks against the process. */
struct troubles {
	bool missing; /* one is down that it can't be without */
	bool lesser;  /* another one is, a breaker is open, or replies are incomplete */
};

static void put_source(struct buf *out, const struct config_source *c, struct source *source, struct troubles *troubles)
{
	const struct driver *driver = source->driver;
	struct source_state s;
	struct history_minute m;
	struct tally *t = tally_take(&source_tally, c->name);
	driver->source_state(source, &s);
	history_source(c->name, &m);
	troubles->missing = troubles->missing || (!s.up && c->ready);
	troubles->lesser = troubles->lesser || !s.up;
	buf_lit(out, "{\"name\":");
	put_text(out, c->name);
	buf_lit(out, ",\"kind\":");
	put_text(out, c->kind->name);
	buf_printf(out, ",\"up\":%s,\"since\":", s.up ? "true" : "false");
	put_number(out, s.down_since_us ? wall_clock() - (double)(monotonic_us() - s.down_since_us) / 1e6 : -1);
	buf_lit(out, ",\"error\":");
	put_text(out, s.up ? NULL : s.error);
	buf_lit(out, ",\"role\":");
	put_text(out, role_of(t));
	buf_lit(out, ",\"host\":");
	put_host(out, c);
	buf_lit(out, ",\"pool\":");
	put_pool(out, c, &s, t);
	buf_lit(out, ",\"requests_per_s\":");
	put_number(out, m.per_s);
	buf_lit(out, ",\"p95_ms\":");
	put_number(out, m.p95_ms);
	buf_lit(out, ",\"failures_per_s\":");
	put_number(out, m.failures_per_s);
	buf_lit(out, ",\"breaker\":");
	put_breaker(out, driver, source, &troubles->lesser);
	buf_char(out, '}');
	tally_drop(t);
}

/* --- the process --- */

void status_refused(const char *why)
{
	pthread_mutex_lock(&refused.lock);
	refused.time = why ? wall_clock() : 0;
	size_t len = why ? utf8_prefix(why, strnlen(why, TEXT_MAX_BYTES)) : 0;
	memcpy(refused.why, why ? why : "", len);
	refused.why[len] = '\0';
	pthread_mutex_unlock(&refused.lock);
}

static void put_process(struct buf *out, unsigned generation)
{
	char host[256] = "";
	struct process_numbers p;
	process_numbers(&p);
	gethostname(host, sizeof(host) - 1);
	buf_printf(out, "{\"version\":1,\"now\":%.3f,\"gatherd\":\"" GATHERD_VERSION "\",\"host\":", wall_clock());
	put_text(out, *host ? host : "?");
	buf_printf(out, ",\"pid\":%ld,\"started\":%.3f", (long)getpid(), p.start_time);
	buf_printf(out, ",\"generation\":%u,\"loaded\":%llu", generation,
		   (unsigned long long)counter_read(&config_numbers.last_success_s));
	buf_printf(out, ",\"restart_needed\":%s,\"reload_refused\":",
		   counter_read(&config_numbers.restart_needed) ? "true" : "false");
	pthread_mutex_lock(&refused.lock);
	if (refused.time > 0) {
		buf_printf(out, "{\"time\":%.3f,\"error\":", refused.time);
		json_string(out, refused.why, strlen(refused.why));
		buf_char(out, '}');
	} else {
		json_null(out);
	}
	pthread_mutex_unlock(&refused.lock);
}

static const char *state_of(const struct readiness *r, const struct troubles *t)
{
	if (atomic_load(&r->draining))
		return "draining";
	if (atomic_load(&r->off) || t->missing)
		return "not_ready";
	return t->lesser ? "degraded" : "serving";
}

static void put_log(struct buf *out)
{
	uint64_t dropped = log_lost(LOG_LOST_FULL) + log_lost(LOG_LOST_JOURNAL);
	buf_printf(out, "\"log\":{\"dropped\":%llu,\"left_out\":%llu}", (unsigned long long)dropped,
		   (unsigned long long)request_log_left_out_in_all());
}

/* --- tasks and workers, from the census (tasks.h), which is JSON --- */

static double age_of(const struct json *task)
{
	const struct json *age = json_member(task, "age_ms", strlen("age_ms"));
	return age && age->kind == JSON_NUMBER ? strtod(age->text, NULL) : 0;
}

static int oldest_first(const void *a, const void *b)
{
	double x = age_of(*(const struct json *const *)a), y = age_of(*(const struct json *const *)b);
	return (x < y) - (x > y);
}

static void put_tasks(struct buf *out, const struct json *census, struct arena *memory)
{
	const struct json *list = json_member(census, "tasks", strlen("tasks"));
	unsigned count = 0;
	const struct json **sorted = arena_array(memory, list->count + 1, sizeof(struct json *));
	for (const struct json *t = list->child; t; t = t->next)
		sorted[count++] = t;
	qsort(sorted, count, sizeof(struct json *), oldest_first);
	buf_lit(out, "\"tasks\":[");
	for (unsigned i = 0; i < count && i < TASKS_SHOWN; i++) {
		buf_str(out, i ? "," : "");
		buf_append(out, sorted[i]->raw, sorted[i]->raw_len);
	}
	buf_char(out, ']');
}

static void put_workers(struct buf *out, const struct json *census)
{
	const struct json *list = json_member(census, "workers", strlen("workers"));
	unsigned index = 0;
	buf_lit(out, "\"workers\":[");
	for (const struct json *w = list->child; w; w = w->next, index++) {
		const struct json *answers = json_member(w, "answers", strlen("answers"));
		const struct json *tasks = json_member(w, "tasks", strlen("tasks"));
		buf_printf(out, "%s{\"worker\":%u,\"answers\":%s,\"tasks\":", index ? "," : "", index,
			   answers && answers->boolean ? "true" : "false");
		if (tasks)
			buf_append(out, tasks->raw, tasks->raw_len);
		else
			json_null(out);
		buf_char(out, ',');
		history_worker(out, index);
		buf_char(out, '}');
	}
	buf_char(out, ']');
}

/* Returns 0 or -EBADMSG. */
static int put_census(struct buf *out, const struct buf *text)
{
	struct arena memory;
	struct json *census;
	char what[80];
	arena_init(&memory);
	int r = json_parse(&census, &memory, text->data, text->len, JSON_MAX_DEPTH, what, sizeof(what));
	if (r == 0) {
		put_tasks(out, census, &memory);
		buf_char(out, ',');
		put_workers(out, census);
	}
	arena_done(&memory);
	return r;
}

/* --- answering --- */

/* In the exchange's arena. */
struct request {
	struct exchange *x;
	struct status_view view;
	bool page;
};

static void put_document(struct buf *out, const struct exchange *x, const struct status_view *view)
{
	const struct config *c = view->config;
	struct troubles troubles = {0};
	struct buf endpoints = BUF_INIT;
	put_process(out, view->generation);
	buf_printf(out, ",\"requests\":{\"running\":%u,\"limit\":%u},\"sources\":[", exchange_running(x),
		   c->server.max_requests);
	for (size_t i = 0; i < c->source_count; i++) {
		buf_str(out, i ? "," : "");
		put_source(out, &c->sources[i], view->sources[i], &troubles);
	}
	troubles.lesser = history_endpoints(&endpoints) || troubles.lesser;
	buf_printf(out, "],\"state\":\"%s\",\"off\":%s,", state_of(view->readiness, &troubles),
		   atomic_load(&view->readiness->off) ? "true" : "false");
	history_render(out);
	buf_char(out, ',');
	buf_append(out, endpoints.data, endpoints.len);
	buf_lit(out, ",\"errors\":");
	recent_errors(out);
	buf_lit(out, ",\"slowest\":");
	recent_slowest(out);
	buf_char(out, ',');
	put_log(out);
	buf_done(&endpoints);
}

/* Suspends. Returns 0 or -errno. */
static int render(struct buf *out, const struct request *request)
{
	struct buf census = BUF_INIT;
	int r = tasks_census(&census, TASKS_SHOWN);
	if (r == 0) {
		put_document(out, request->x, &request->view);
		buf_char(out, ',');
		r = put_census(out, &census);
		buf_char(out, '}');
	}
	buf_done(&census);
	return r;
}

static int answer(void *arg)
{
	struct exchange *x = arg;
	const struct request *request = x->handler_data;
	struct buf document = BUF_INIT;
	struct reply reply = {.status = 200};
	int r = render(&document, request);
	if (r == 0 && request->page) {
		const char *policy = status_page_policy();
		reply.content_type = "text/html; charset=utf-8";
		reply.headers[reply.header_count++] = (struct header){{"content-security-policy", 23},
								      {policy, strlen(policy)}};
		r = status_page_render(&reply.body, document.data, document.len);
	} else if (r == 0) {
		reply.body = document;
		document = BUF_INIT;
	}
	buf_done(&document);
	if (r == 0)
		exchange_reply(x, &reply);
	else
		buf_done(&reply.body);
	return r;
}

void status_answer(struct exchange *x, const struct status_view *view, bool page)
{
	struct request *request = arena_alloc(&x->arena, sizeof(*request));
	*request = (struct request){.x = x, .view = *view, .page = page};
	x->handler_data = request;
	exchange_spawn(x, answer);
}

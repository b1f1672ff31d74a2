#include "handlers/admin/history.h"

#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/deadline.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "base/tally.h"
#include "base/utf8.h"
#include "drivers/numbers.h"
#include "handlers/gather/numbers.h"
#include "handlers/web/numbers.h"

enum {
	SAMPLES = 15 * 60 * 1000 / HISTORY_EVERY_MS,
	LOOKS = 60 * 1000 / HISTORY_EVERY_MS + 1, /* whose differences are a minute */
	EVENTS = 100,
	TEXT_MAX_BYTES = 200,
	BUCKETS = HISTOGRAM_MOST + 1,
};

/* What a tally had counted at a look. */
struct look {
	int64_t at_us;
	uint64_t buckets[BUCKETS], sum_us;
	uint64_t failures, incomplete, turns;
};

/* The looks at one tally. */
struct track {
	char *name;
	bool seen; /* in the look that is being made */
	struct look looks[LOOKS];
	unsigned count, newest;
	char *slowest_step; /* NULL: it has none */
	double slowest_ms;
};

struct tracks {
	struct track **items;
	size_t count, capacity;
};

struct sample {
	float per_s, failed_percent, p50_ms, p95_ms, p99_ms, running; /* NAN: not known */
};

struct event {
	double time;
	const char *kind;
	char text[TEXT_MAX_BYTES + 1];
};

static struct {
	pthread_mutex_t lock;
	/* all under lock */
	int64_t looked_us; /* CLOCK_MONOTONIC; 0: never */
	double until;      /* seconds since 1970 of that look */
	struct tracks endpoints, sources, workers;
	struct sample samples[SAMPLES];
	unsigned sampled; /* how many looks there were; the newest is at sampled - 1, round the ring */
	struct event events[EVENTS];
	unsigned happened;   /* the same of events */
	struct track *found; /* the last one: the next is often behind it */
} history = {.lock = PTHREAD_MUTEX_INITIALIZER};

static double wall_clock(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- tracks --- */

static struct track *track_find(const struct tracks *tracks, const char *name, size_t len)
{
	for (size_t i = 0; i < tracks->count; i++) {
		struct track *t = tracks->items[i];
		if (strncmp(t->name, name, len) == 0 && t->name[len] == '\0')
			return t;
	}
	return NULL;
}

/* That of a name; a new one has counted nothing until the look before. */
static struct track *track_of(struct tracks *tracks, const char *name)
{
	struct track *t = track_find(tracks, name, strlen(name));
	if (!t) {
		t = mem_zalloc(sizeof(*t));
		t->name = mem_strdup(name);
		t->count = 1;
		t->looks[0].at_us = history.looked_us;
		mem_reserve(tracks->items, tracks->capacity, tracks->count + 1);
		tracks->items[tracks->count++] = t;
	}
	t->seen = true;
	return t;
}

static void track_free(struct track *t)
{
	free(t->name);
	free(t->slowest_step);
	free(t);
}

static struct look *track_add(struct track *t, int64_t now_us)
{
	t->newest = (t->newest + 1) % LOOKS;
	t->count += t->count < LOOKS;
	struct look *l = &t->looks[t->newest];
	*l = (struct look){.at_us = now_us};
	return l;
}

/* What was counted between two looks, in *out; at_us is how long that was. */
static void difference(struct look *out, const struct look *from, const struct look *to)
{
	out->at_us = to->at_us - from->at_us;
	for (unsigned i = 0; i < BUCKETS; i++)
		out->buckets[i] = to->buckets[i] - from->buckets[i];
	out->sum_us = to->sum_us - from->sum_us;
	out->failures = to->failures - from->failures;
	out->incomplete = to->incomplete - from->incomplete;
	out->turns = to->turns - from->turns;
}

/* Between the look `back` ones ago, or the oldest, and the newest. */
static void track_difference(const struct track *t, unsigned back, struct look *out)
{
	unsigned most = t->count - 1;
	unsigned from = (t->newest + LOOKS - (back < most ? back : most)) % LOOKS;
	difference(out, &t->looks[from], &t->looks[t->newest]);
}

static uint64_t count_of(const struct look *l)
{
	uint64_t count = 0;
	for (unsigned i = 0; i < BUCKETS; i++)
		count += l->buckets[i];
	return count;
}

double history_quantile_ms(const uint64_t *buckets, double share)
{
	uint64_t count = 0, below = 0;
	for (unsigned i = 0; i < BUCKETS; i++)
		count += buckets[i];
	if (count == 0)
		return -1;
	double wanted = share * (double)count;
	for (unsigned i = 0; i < histogram_bounds.count; i++) {
		double low = i ? (double)histogram_bounds.us[i - 1] : 0, high = (double)histogram_bounds.us[i];
		if (buckets[i] && (double)(below + buckets[i]) >= wanted)
			return (low + (high - low) * (wanted - (double)below) / (double)buckets[i]) / 1000;
		below += buckets[i];
	}
	/* Beyond the last bound nothing is known but that. */
	return (double)histogram_bounds.us[histogram_bounds.count - 1] / 1000;
}

/* --- looking --- */

static void look_at_histogram(const struct tally *t, size_t offset, unsigned first, unsigned last, struct look *out)
{
	for (unsigned w = first; w < last; w++) {
		const struct histogram *h = (const struct histogram *)(const void *)(t->blocks[w] + offset);
		for (unsigned i = 0; i < BUCKETS; i++)
			out->buckets[i] += counter_read(&h->buckets[i]);
		out->sum_us += counter_read(&h->sum_us);
	}
}

static void look_at_endpoint(const struct tally *t, void *arg)
{
	struct reply_sums replies = {0};
	if (strcmp(t->name, ENDPOINT_ADMIN) == 0)
		return; /* whoever looks does not count */
	struct look *l = track_add(track_of(&history.endpoints, t->name), *(const int64_t *)arg);
	look_at_histogram(t, offsetof(struct endpoint_numbers, duration), 0, t->workers, l);
	l->incomplete = tally_sum(t, offsetof(struct endpoint_numbers, incomplete));
	endpoint_replies(t, &replies);
	for (size_t i = 0; i < replies.count; i++) {
		if ((replies.items[i].key & 0xffff) >= 500)
			l->failures += replies.items[i].replies;
	}
	reply_sums_done(&replies);
}

static void look_at_source(const struct tally *t, void *arg)
{
	struct look *l = track_add(track_of(&history.sources, t->name), *(const int64_t *)arg);
	look_at_histogram(t, offsetof(struct source_numbers, steps), 0, t->workers, l);
	l->failures = tally_sum(t, offsetof(struct source_numbers, step_failures));
}

static void look_at_server(const struct tally *t, void *arg)
{
	for (unsigned w = 0; w < t->workers; w++) {
		char name[16];
		snprintf(name, sizeof(name), "%u", w);
		struct look *l = track_add(track_of(&history.workers, name), *(const int64_t *)arg);
		look_at_histogram(t, offsetof(struct server_numbers, lag), w, w + 1, l);
		const struct server_numbers *n = (const struct server_numbers *)(const void *)t->blocks[w];
		l->turns = counter_read(&n->turns);
	}
}

/* Which step of an endpoint takes longest, of all its runs. */
static void look_at_step(const struct tally *t, void *arg)
{
	(void)arg;
	const char *end = strchr(t->name, '\n');
	uint64_t runs = tally_sum(t, offsetof(struct step_numbers, runs));
	if (!end || runs == 0)
		return;
	size_t len = (size_t)(end - t->name);
	struct track *e = history.found;
	if (!e || strncmp(e->name, t->name, len) != 0 || e->name[len] != '\0')
		e = history.found = track_find(&history.endpoints, t->name, len);
	double ms = (double)tally_sum(t, offsetof(struct step_numbers, us)) / (double)runs / 1000;
	if (!e || ms <= e->slowest_ms)
		return;
	e->slowest_ms = ms;
	free(e->slowest_step);
	e->slowest_step = mem_strdup(end + 1);
}

/* Before a look. */
static void unsee(const struct tracks *tracks)
{
	for (size_t i = 0; i < tracks->count; i++) {
		tracks->items[i]->seen = false;
		tracks->items[i]->slowest_ms = 0;
	}
}

/* After it: what is counted no more goes. */
static void forget(struct tracks *tracks)
{
	size_t kept = 0;
	for (size_t i = 0; i < tracks->count; i++) {
		if (tracks->items[i]->seen)
			tracks->items[kept++] = tracks->items[i];
		else
			track_free(tracks->items[i]);
	}
	tracks->count = kept;
}

/* All endpoints together, since the last look. */
static void sample(struct sample *out, unsigned running)
{
	struct look sum = {0};
	for (size_t t = 0; t < history.endpoints.count; t++) {
		struct look d;
		track_difference(history.endpoints.items[t], 1, &d);
		for (unsigned i = 0; i < BUCKETS; i++)
			sum.buckets[i] += d.buckets[i];
		sum.failures += d.failures;
		sum.at_us = d.at_us > sum.at_us ? d.at_us : sum.at_us;
	}
	double count = (double)count_of(&sum), seconds = (double)sum.at_us / 1e6;
	*out = (struct sample){
		.per_s = (float)(seconds > 0 ? count / seconds : 0),
		.failed_percent = (float)(count > 0 ? 100 * (double)sum.failures / count : 0),
		.p50_ms = (float)history_quantile_ms(sum.buckets, 0.5),
		.p95_ms = (float)history_quantile_ms(sum.buckets, 0.95),
		.p99_ms = (float)history_quantile_ms(sum.buckets, 0.99),
		.running = (float)running,
	};
}

void history_look(unsigned running)
{
	pthread_mutex_lock(&history.lock);
	int64_t now_us = monotonic_us();
	bool first = history.looked_us == 0;
	if (first)
		history.looked_us = now_us;
	unsee(&history.endpoints);
	unsee(&history.sources);
	unsee(&history.workers);
	tally_each(&endpoint_tally, look_at_endpoint, &now_us);
	tally_each(&source_tally, look_at_source, &now_us);
	tally_each(&server_tally, look_at_server, &now_us);
	history.found = NULL;
	tally_each(&step_tally, look_at_step, NULL);
	forget(&history.endpoints);
	forget(&history.sources);
	forget(&history.workers);
	if (!first)
		sample(&history.samples[history.sampled++ % SAMPLES], running);
	history.looked_us = now_us;
	history.until = wall_clock();
	pthread_mutex_unlock(&history.lock);
}

void history_event(const char *kind, const char *text)
{
	pthread_mutex_lock(&history.lock);
	struct event *e = &history.events[history.happened++ % EVENTS];
	e->time = wall_clock();
	e->kind = kind;
	size_t len = text ? utf8_prefix(text, strnlen(text, TEXT_MAX_BYTES)) : 0;
	memcpy(e->text, text ? text : "", len);
	e->text[len] = '\0';
	pthread_mutex_unlock(&history.lock);
}

static void free_all(struct tracks *tracks)
{
	for (size_t i = 0; i < tracks->count; i++)
		track_free(tracks->items[i]);
	free(tracks->items);
	*tracks = (struct tracks){0};
}

void history_done(void)
{
	pthread_mutex_lock(&history.lock);
	free_all(&history.endpoints);
	free_all(&history.sources);
	free_all(&history.workers);
	pthread_mutex_unlock(&history.lock);
}

/* --- showing --- */

/* Below 0 or NAN: null. */
static void put_number(struct buf *out, double d)
{
	if (d >= 0)
		buf_printf(out, "%.10g", round(d * 1000) / 1000);
	else
		json_null(out);
}

static void put_member(struct buf *out, const char *name, double d)
{
	buf_printf(out, ",\"%s\":", name);
	put_number(out, d);
}

static void minute_of(const struct track *t, struct history_minute *out)
{
	struct look d;
	track_difference(t, LOOKS - 1, &d);
	double count = (double)count_of(&d), seconds = (double)d.at_us / 1e6;
	*out = (struct history_minute){-1, -1, -1, -1, -1, -1, -1, -1};
	if (seconds <= 0)
		return;
	out->per_s = count / seconds;
	out->failures_per_s = (double)d.failures / seconds;
	if (count <= 0)
		return;
	out->mean_ms = (double)d.sum_us / count / 1000;
	out->p50_ms = history_quantile_ms(d.buckets, 0.5);
	out->p95_ms = history_quantile_ms(d.buckets, 0.95);
	out->p99_ms = history_quantile_ms(d.buckets, 0.99);
	out->failed_percent = 100 * (double)d.failures / count;
	out->incomplete_percent = 100 * (double)d.incomplete / count;
}

static void put_series(struct buf *out, const char *name, size_t offset)
{
	unsigned count = history.sampled < SAMPLES ? history.sampled : SAMPLES;
	buf_printf(out, ",\"%s\":[", name);
	for (unsigned i = 0; i < SAMPLES; i++) {
		buf_str(out, i ? "," : "");
		if (i < SAMPLES - count) {
			json_null(out);
			continue;
		}
		const struct sample *s = &history.samples[(history.sampled - SAMPLES + i) % SAMPLES];
		float value;
		memcpy(&value, (const char *)s + offset, sizeof(value));
		put_number(out, value);
	}
	buf_char(out, ']');
}

void history_render(struct buf *out)
{
	pthread_mutex_lock(&history.lock);
	buf_printf(out, "\"history\":{\"every\":%g,\"until\":%.3f", HISTORY_EVERY_MS / 1000.0, history.until);
	put_series(out, "requests_per_s", offsetof(struct sample, per_s));
	put_series(out, "errors_percent", offsetof(struct sample, failed_percent));
	put_series(out, "p50_ms", offsetof(struct sample, p50_ms));
	put_series(out, "p95_ms", offsetof(struct sample, p95_ms));
	put_series(out, "p99_ms", offsetof(struct sample, p99_ms));
	put_series(out, "running", offsetof(struct sample, running));
	buf_lit(out, "},\"events\":[");
	unsigned count = history.happened < EVENTS ? history.happened : EVENTS;
	for (unsigned i = 0; i < count; i++) {
		const struct event *e = &history.events[(history.happened - count + i) % EVENTS];
		buf_printf(out, "%s{\"time\":%.3f,\"kind\":", i ? "," : "", e->time);
		json_string(out, e->kind, strlen(e->kind));
		buf_lit(out, ",\"text\":");
		if (e->text[0])
			json_string(out, e->text, strlen(e->text));
		else
			json_null(out);
		buf_char(out, '}');
	}
	buf_char(out, ']');
	pthread_mutex_unlock(&history.lock);
}

struct spent {
	const struct track *track;
	struct history_minute minute;
};

static int more_first(const void *a, const void *b)
{
	const struct history_minute *one = &((const struct spent *)a)->minute,
				    *other = &((const struct spent *)b)->minute;
	double x = one->per_s * one->mean_ms, y = other->per_s * other->mean_ms;
	/* Both below 0 make a product above it: whoever has no mean has spent nothing. */
	x = one->mean_ms < 0 ? 0 : x;
	y = other->mean_ms < 0 ? 0 : y;
	return (x < y) - (x > y);
}

static void put_endpoint(struct buf *out, const struct spent *s)
{
	const struct history_minute *m = &s->minute;
	buf_lit(out, "{\"name\":");
	json_string(out, s->track->name, strlen(s->track->name));
	put_member(out, "requests_per_s", m->per_s);
	put_member(out, "mean_ms", m->mean_ms);
	put_member(out, "p50_ms", m->p50_ms);
	put_member(out, "p95_ms", m->p95_ms);
	put_member(out, "p99_ms", m->p99_ms);
	put_member(out, "errors_percent", m->failed_percent);
	put_member(out, "incomplete_percent", m->incomplete_percent);
	buf_lit(out, ",\"slowest_step\":");
	if (s->track->slowest_step)
		json_string(out, s->track->slowest_step, strlen(s->track->slowest_step));
	else
		json_null(out);
	buf_char(out, '}');
}

bool history_endpoints(struct buf *out)
{
	bool incomplete = false;
	pthread_mutex_lock(&history.lock);
	size_t count = history.endpoints.count;
	struct spent *all = mem_array(count + 1, sizeof(*all));
	for (size_t i = 0; i < count; i++) {
		all[i].track = history.endpoints.items[i];
		minute_of(all[i].track, &all[i].minute);
	}
	qsort(all, count, sizeof(*all), more_first);
	buf_lit(out, "\"endpoints\":[");
	bool first = true;
	for (size_t i = 0; i < count; i++) {
		/* What stands for paths that no endpoint has is there if somebody asked for one. */
		if (all[i].minute.per_s <= 0 && strcmp(all[i].track->name, ENDPOINT_NONE) == 0)
			continue;
		buf_str(out, first ? "" : ",");
		put_endpoint(out, &all[i]);
		incomplete = incomplete || all[i].minute.incomplete_percent > 0;
		first = false;
	}
	buf_char(out, ']');
	pthread_mutex_unlock(&history.lock);
	free(all);
	return incomplete;
}

void history_source(const char *name, struct history_minute *out)
{
	*out = (struct history_minute){-1, -1, -1, -1, -1, -1, -1, -1};
	pthread_mutex_lock(&history.lock);
	const struct track *t = track_find(&history.sources, name, strlen(name));
	if (t)
		minute_of(t, out);
	pthread_mutex_unlock(&history.lock);
}

void history_worker(struct buf *out, unsigned worker)
{
	char name[16];
	struct look d = {0};
	snprintf(name, sizeof(name), "%u", worker);
	pthread_mutex_lock(&history.lock);
	const struct track *t = track_find(&history.workers, name, strlen(name));
	if (t)
		track_difference(t, LOOKS - 1, &d);
	pthread_mutex_unlock(&history.lock);
	buf_lit(out, "\"lag_ms\":");
	put_number(out, count_of(&d) ? (double)d.sum_us / (double)count_of(&d) / 1000 : -1);
	put_member(out, "turns_per_s", d.at_us > 0 ? (double)d.turns / ((double)d.at_us / 1e6) : -1);
}

/* See recent.h. What is kept is kept as the JSON that it becomes. */
#include "handlers/web/recent.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/deadline.h"
#include "base/json_out.h"
#include "base/utf8.h"

enum { ERRORS = 100, SLOWEST = 20, TEXT_MAX_BYTES = 1000, FAILED_STATUS = 500 };

#define SLOW_FOR_US INT64_C(600000000)

struct slow {
	int64_t us; /* 0: nobody */
	int64_t at_us;
	struct buf json;
};

static struct {
	pthread_mutex_t lock;
	struct buf errors[ERRORS]; /* under lock; a ring */
	unsigned newest;           /* under lock: where the next error goes */
	struct slow slow[SLOWEST]; /* under lock */
	_Atomic int64_t least_us;  /* who took no longer is not among the slowest; written under lock */
} recent = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void member(struct buf *out, const char *name, const char *text)
{
	buf_printf(out, ",\"%s\":", name);
	if (text && *text)
		json_string(out, text, utf8_prefix(text, strnlen(text, TEXT_MAX_BYTES)));
	else
		json_null(out);
}

static void begin(struct buf *out, const struct request_line *r)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	out->len = 0;
	buf_printf(out, "{\"time\":%lld.%03ld", (long long)now.tv_sec, now.tv_nsec / 1000000);
	member(out, "id", r->id);
	member(out, "endpoint", r->endpoint);
}

static void note_error(const struct request_line *r)
{
	struct buf *out = &recent.errors[recent.newest];
	recent.newest = (recent.newest + 1) % ERRORS;
	begin(out, r);
	buf_printf(out, ",\"status\":%u", r->status);
	member(out, "step", r->step);
	member(out, "code", r->code);
	member(out, "error", r->error);
	buf_char(out, '}');
}

/* The one that makes room; all are of the last ten minutes, or nobody. */
static struct slow *least(void)
{
	struct slow *found = &recent.slow[0];
	for (unsigned i = 1; i < SLOWEST; i++) {
		if (recent.slow[i].us < found->us)
			found = &recent.slow[i];
	}
	return found;
}

static void note_slow(const struct request_line *r, void (*steps)(const void *of, struct buf *out), const void *of)
{
	struct slow *s = least();
	if (r->us <= s->us)
		return;
	s->us = r->us;
	s->at_us = monotonic_us();
	begin(&s->json, r);
	buf_printf(&s->json, ",\"ms\":%.3f,\"steps\":", (double)r->us / 1000);
	if (steps)
		steps(of, &s->json);
	else
		buf_lit(&s->json, "[]");
	buf_char(&s->json, '}');
	atomic_store_explicit(&recent.least_us, least()->us, memory_order_relaxed);
}

void recent_note(const struct request_line *r, void (*steps)(const void *of, struct buf *out), const void *of)
{
	bool slow = r->us > atomic_load_explicit(&recent.least_us, memory_order_relaxed);
	bool failed = r->status >= FAILED_STATUS;
	if (!slow && !failed)
		return;
	pthread_mutex_lock(&recent.lock);
	if (failed)
		note_error(r);
	if (slow)
		note_slow(r, steps, of);
	pthread_mutex_unlock(&recent.lock);
}

void recent_age(void)
{
	int64_t before_us = monotonic_us() - SLOW_FOR_US;
	pthread_mutex_lock(&recent.lock);
	for (unsigned i = 0; i < SLOWEST; i++) {
		if (recent.slow[i].us && recent.slow[i].at_us < before_us)
			recent.slow[i].us = 0;
	}
	atomic_store_explicit(&recent.least_us, least()->us, memory_order_relaxed);
	pthread_mutex_unlock(&recent.lock);
}

void recent_errors(struct buf *out)
{
	bool first = true;
	buf_char(out, '[');
	pthread_mutex_lock(&recent.lock);
	for (unsigned i = 1; i <= ERRORS; i++) {
		const struct buf *e = &recent.errors[(recent.newest + ERRORS - i) % ERRORS];
		if (e->len == 0)
			break;
		buf_str(out, first ? "" : ",");
		buf_append(out, e->data, e->len);
		first = false;
	}
	pthread_mutex_unlock(&recent.lock);
	buf_char(out, ']');
}

static int slower_first(const void *a, const void *b)
{
	const struct slow *one = *(const struct slow *const *)a, *other = *(const struct slow *const *)b;
	return (one->us < other->us) - (one->us > other->us);
}

void recent_slowest(struct buf *out)
{
	const struct slow *sorted[SLOWEST];
	buf_char(out, '[');
	pthread_mutex_lock(&recent.lock);
	for (unsigned i = 0; i < SLOWEST; i++)
		sorted[i] = &recent.slow[i];
	qsort(sorted, SLOWEST, sizeof(*sorted), slower_first);
	for (unsigned i = 0; i < SLOWEST && sorted[i]->us; i++) {
		buf_str(out, i ? "," : "");
		buf_append(out, sorted[i]->json.data, sorted[i]->json.len);
	}
	pthread_mutex_unlock(&recent.lock);
	buf_char(out, ']');
}

void recent_done(void)
{
	pthread_mutex_lock(&recent.lock);
	for (unsigned i = 0; i < ERRORS; i++)
		buf_done(&recent.errors[i]);
	for (unsigned i = 0; i < SLOWEST; i++)
		buf_done(&recent.slow[i].json);
	pthread_mutex_unlock(&recent.lock);
}

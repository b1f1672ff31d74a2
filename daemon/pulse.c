/* What was counted since the last line, over all workers. See pulse.h. */
#include "daemon/pulse.h"

#include <string.h>

#include "base/deadline.h"
#include "base/tally.h"
#include "daemon/systemd.h"
#include "handlers/admin/process.h"
#include "handlers/web/numbers.h"

enum { EVERY_MS = 10000 };

/* Requests below /-/ are not counted: most of them are health checks. */
struct sums {
	uint64_t requests, errors;
	uint64_t durations[HISTOGRAM_MOST + 1];
};

static struct {
	struct sums before;
	int64_t before_us;
	deadline_t next;
} pulse;

/* --- sums --- */

struct summing {
	struct sums *sums;
	struct reply_sums replies;
};

static void add_endpoint(const struct tally *t, void *arg)
{
	struct summing *s = arg;
	if (strcmp(t->name, ENDPOINT_ADMIN) == 0)
		return;
	endpoint_replies(t, &s->replies);
	for (size_t i = 0; i < s->replies.count; i++) {
		const struct reply_sum *r = &s->replies.items[i];
		s->sums->requests += r->replies;
		s->sums->errors += (r->key & 0xffff) >= 500 ? r->replies : 0;
	}
	for (unsigned i = 0; i <= histogram_bounds.count; i++)
		s->sums->durations[i] += tally_sum(t, offsetof(struct endpoint_numbers, duration.buckets[i]));
}

static void sum_up(struct sums *sums)
{
	struct summing s = {.sums = sums};
	*sums = (struct sums){0};
	tally_each(&endpoint_tally, add_endpoint, &s);
	reply_sums_done(&s.replies);
}

/* An endpoint that has gone takes its numbers along: then less than nothing was added. */
static double since(uint64_t now, uint64_t before)
{
	return now > before ? (double)(now - before) : 0;
}

/* That many of a hundred took at most so many milliseconds, spread evenly in their bucket; below 0: none came. */
static double percentile_ms(const struct sums *now, const struct sums *before, double percent)
{
	double all = 0, passed = 0;
	int64_t lower_us = 0;
	for (unsigned i = 0; i <= histogram_bounds.count; i++)
		all += since(now->durations[i], before->durations[i]);
	if (all == 0)
		return -1;
	for (unsigned i = 0; i < histogram_bounds.count; i++) {
		double here = since(now->durations[i], before->durations[i]), wanted = all * percent / 100 - passed;
		int64_t upper_us = histogram_bounds.us[i];
		if (here >= wanted)
			return ((double)lower_us + (double)(upper_us - lower_us) * wanted / here) / 1000;
		passed += here;
		lower_us = upper_us;
	}
	return (double)lower_us / 1000;
}

/* --- the line --- */

static void put_requests(struct buf *out, const struct sums *now, double seconds)
{
	double p99 = percentile_ms(now, &pulse.before, 99);
	buf_printf(out, "%.0f req/s, ", since(now->requests, pulse.before.requests) / seconds);
	if (p99 >= 0)
		buf_printf(out, "p99 %.*f ms, ", p99 < 1 ? 1 : 0, p99);
	buf_printf(out, "%.0f errors/s", since(now->errors, pulse.before.errors) / seconds);
}

static void put_sources(struct buf *out, const struct generation *g)
{
	struct buf down = BUF_INIT;
	size_t count = g->config->source_count, up = 0;
	for (size_t i = 0; i < count; i++) {
		const struct config_source *s = &g->config->sources[i];
		if (g->sources[i]->driver->source_ready(g->sources[i]))
			up++;
		else
			buf_printf(&down, "%s%s", down.len ? ", " : "", s->name);
	}
	if (count > 0)
		buf_printf(out, "; sources %zu of %zu", up, count);
	if (down.len > 0)
		buf_printf(out, " (down: %s)", buf_cstr(&down));
	buf_done(&down);
}

void pulse_begin(void)
{
	sum_up(&pulse.before);
	pulse.before_us = monotonic_us();
	pulse.next = deadline_in_ms(EVERY_MS);
}

void pulse_turn(const struct generation *g)
{
	struct buf line = BUF_INIT;
	struct sums now;
	if (!systemd_is_there() || !deadline_passed(pulse.next))
		return;
	int64_t now_us = monotonic_us();
	sum_up(&now);
	put_requests(&line, &now, (double)(now_us - pulse.before_us) / 1e6);
	put_sources(&line, g);
	if (!counter_read(&config_numbers.last_successful))
		buf_lit(&line, "; the last reload was refused");
	systemd_status("%s", buf_cstr(&line));
	buf_done(&line);
	pulse.before = now;
	pulse.before_us = now_us;
	pulse.next = deadline_in_ms(EVERY_MS);
}

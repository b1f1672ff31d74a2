/* The watchdog, and extensions. See heartbeat.h.
 *
 * Four times a watchdog period each worker gets a message that it answers in its next turn. The manager hears of us
 * only if no answer is older than half a period: a loop that hangs ends the process, with the name of its task in the
 * log. */
#include "daemon/heartbeat.h"

#include "async/monitor.h"
#include "base/log.h"
#include "daemon/signals.h"
#include "daemon/systemd.h"

enum {
	PINGS = 4,                 /* in a period of the watchdog */
	EXTEND_EVERY_US = 5000000, /* while it starts or drains */
	START_EXTENSION_US = 15000000,
	FLUSH_EVERY_US = 1000000,
};

enum phase { STARTING, SERVING, DRAINING };

static struct {
	struct workers *workers;
	enum phase phase;
	int64_t ping_us, extend_us; /* when next */
	int64_t drained_us;         /* DRAINING: when the time is up */
	bool told;                  /* of the worker that does not turn */
} heart;

static void tell_stuck(unsigned worker, int64_t owed_us)
{
	struct buf line = BUF_INIT;
	if (heart.told)
		return;
	heart.told = true;
	log_begin(&line, LOG_LINE_ERROR, "a worker does not turn");
	buf_printf(&line, " worker=%u ms=%lld", worker, (long long)owed_us / 1000);
	monitor_describe(worker, &line);
	buf_char(&line, '\n');
	log_raw(LOG_LINE_ERROR, line.data, line.len);
	buf_done(&line);
}

static void beat(int64_t period_us)
{
	unsigned worker = 0;
	int64_t owed_us = heart.workers ? workers_owe_us(heart.workers, &worker) : 0;
	if (owed_us > period_us / 2) {
		tell_stuck(worker, owed_us);
		return;
	}
	heart.told = false;
	systemd_watchdog_feed();
	if (heart.workers)
		workers_ping(heart.workers);
}

static void extend(int64_t now_us)
{
	if (heart.phase == STARTING)
		systemd_extend(START_EXTENSION_US);
	else if (heart.phase == DRAINING)
		systemd_extend((heart.drained_us > now_us ? heart.drained_us - now_us : 0) + EXTEND_EVERY_US);
}

static deadline_t tick(void *unused)
{
	(void)unused;
	int64_t period_us = systemd_watchdog_us(), now_us = monotonic_us(), next_us = now_us + FLUSH_EVERY_US;
	systemd_flush();
	if (period_us && now_us >= heart.ping_us) {
		beat(period_us);
		heart.ping_us = now_us + period_us / PINGS;
	}
	if (now_us >= heart.extend_us) {
		extend(now_us);
		heart.extend_us = now_us + EXTEND_EVERY_US;
	}
	if (period_us && heart.ping_us < next_us)
		next_us = heart.ping_us;
	return (deadline_t){next_us};
}

void heartbeat_begin(struct workers *workers)
{
	heart.workers = workers;
	if (systemd_is_there())
		signals_tick(tick, NULL);
}

void heartbeat_starting(const char *what)
{
	systemd_status("starting: %s", what);
	heart.extend_us = 0;
	tick(NULL);
}

void heartbeat_serving(void)
{
	heart.phase = SERVING;
}

void heartbeat_draining(int64_t timeout_us)
{
	heart.phase = DRAINING;
	heart.drained_us = monotonic_us() + timeout_us;
	heart.extend_us = 0;
}

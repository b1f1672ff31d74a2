/* The way down: serving, draining, cancelled. */
#include "daemon/lifecycle.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>

#include "base/deadline.h"
#include "base/log.h"
#include "daemon/heartbeat.h"
#include "daemon/pulse.h"
#include "daemon/signals.h"
#include "daemon/systemd.h"
#include "handlers/admin/history.h"
#include "handlers/admin/process.h"
#include "handlers/web/recent.h"
#include "handlers/web/request_log.h"

enum {
	CANCEL_TIMEOUT_MS = 10000, /* how long cancelled requests may take to clean up */
	LEFT_OUT_LOOKS = 2,        /* after how many looks at the process the log says how many requests had no line */
};

static bool all_ended(struct workers *workers)
{
	return atomic_load(&workers->ended) >= workers->count;
}

static void tell_left_out(void)
{
	uint64_t lines = request_log_left_out();
	if (lines > 0)
		log_line(LOG_LINE_INFO, "lines of requests left out", "lines=%llu", (unsigned long long)lines);
}

static void look_around(struct workers *workers)
{
	process_look();
	history_look(atomic_load(&workers->limits.running));
	recent_age();
}

void lifecycle_serve(struct workers *workers, struct reloads *reloads)
{
	deadline_t look = deadline_in_ms(HISTORY_EVERY_MS);
	look_around(workers);
	pulse_begin();
	for (unsigned looks = 1; !signals_asked();) {
		if (signals_wait(workers->changed_fd, look))
			break;
		reloads_turn(reloads);
		if (!reloads->running) /* else what serves is its thread's */
			pulse_turn(reloads->serving);
		if (!deadline_passed(look))
			continue;
		look_around(workers);
		if (looks++ % LEFT_OUT_LOOKS == 0)
			tell_left_out();
		look = deadline_in_ms(HISTORY_EVERY_MS);
	}
	atomic_store(&workers->shared->readiness.draining, true);
}

/* Until all workers have ended. Returns 0; -ETIMEDOUT; or -EINTR: somebody can't wait. */
static int await_end(struct workers *workers, deadline_t by)
{
	while (!all_ended(workers)) {
		int signo = signals_next(workers->changed_fd, by);
		if (signo == SIGTERM || signo == SIGINT)
			return -EINTR;
		if (deadline_passed(by))
			return all_ended(workers) ? 0 : -ETIMEDOUT;
	}
	return 0;
}

int lifecycle_end(struct workers *workers, const struct lifecycle_times *times)
{
	if (signals_asked())
		log_line(LOG_LINE_INFO, "draining", "signal=%s connections=%u requests=%u",
			 signals_asked() == SIGTERM ? "SIGTERM" : "SIGINT", atomic_load(&workers->connections),
			 atomic_load(&workers->limits.running));
	systemd_stopping();
	heartbeat_draining(times->delay_us + times->drain_us + CANCEL_TIMEOUT_MS * 1000);
	int r = times->delay_us > 0 ? await_end(workers, deadline_in_us(times->delay_us)) : 0;
	workers_drain(workers);
	if (r != -EINTR)
		r = await_end(workers, deadline_in_us(times->drain_us));
	if (r == 0)
		return 0;
	log_line(LOG_LINE_WARNING, "cancelling", "reason=\"%s\" requests=%u",
		 r == -EINTR ? "a second signal" : "the drain timeout passed", atomic_load(&workers->limits.running));
	workers_cancel(workers);
	deadline_t by = deadline_in_ms(CANCEL_TIMEOUT_MS);
	do {
		r = await_end(workers, by);
	} while (r == -EINTR);
	return r;
}

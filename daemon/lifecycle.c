/* Signals, and the way down: serving, draining, cancelled. */
#include "daemon/lifecycle.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/log.h"

enum {
	CANCEL_TIMEOUT_MS = 10000, /* how long cancelled requests may take to clean up */
};

static int signal_fd = -1;
static int asked; /* SIGTERM or SIGINT: the first that came; 0: none */

int lifecycle_begin(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -EINVAL;
	signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return signal_fd < 0 ? -errno : 0;
}

/* The next signal, or 0: none came by then, but perhaps a worker has ended. */
static int wait_signal(int changed_fd, deadline_t by)
{
	struct pollfd fds[] = {{.fd = signal_fd, .events = POLLIN}, {.fd = changed_fd, .events = POLLIN}};
	struct signalfd_siginfo info;
	uint64_t count;
	int64_t left_us = deadline_left_us(by);
	int timeout_ms = left_us > 60 * 1000000 ? 60000 : (int)((left_us + 999) / 1000);
	if (poll(fds, 2, timeout_ms) <= 0)
		return 0;
	if (read(changed_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return 0;
	return read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}

static bool all_ended(struct workers *workers)
{
	return atomic_load(&workers->ended) >= workers->count;
}

bool lifecycle_wait(int changed_fd)
{
	int signo = wait_signal(changed_fd, DEADLINE_NEVER);
	if (signo == SIGHUP)
		log_line(LOG_LINE_WARNING, "reload is not supported by this build", "signal=SIGHUP");
	if (!asked && (signo == SIGTERM || signo == SIGINT))
		asked = signo;
	return asked;
}

void lifecycle_serve(struct workers *workers)
{
	while (!asked)
		lifecycle_wait(workers->changed_fd);
}

/* Until all workers have ended. Returns 0; -ETIMEDOUT; or -EINTR: somebody can't wait. */
static int await_end(struct workers *workers, deadline_t by)
{
	while (!all_ended(workers)) {
		int signo = wait_signal(workers->changed_fd, by);
		if (signo == SIGTERM || signo == SIGINT)
			return -EINTR;
		if (deadline_passed(by))
			return all_ended(workers) ? 0 : -ETIMEDOUT;
	}
	return 0;
}

int lifecycle_end(struct workers *workers, int64_t drain_timeout_us)
{
	if (asked)
		log_line(LOG_LINE_INFO, "draining", "signal=%s connections=%u requests=%u",
			 asked == SIGTERM ? "SIGTERM" : "SIGINT", atomic_load(&workers->connections),
			 atomic_load(&workers->limits.running));
	workers_drain(workers);
	int r = await_end(workers, deadline_in_us(drain_timeout_us));
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

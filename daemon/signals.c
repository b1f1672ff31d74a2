/* Signals come as events of one descriptor, which the main thread reads. */
#include "daemon/signals.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static int signal_fd = -1;
static bool hup;
static int asked; /* SIGTERM or SIGINT: the first that came; 0: none */
static deadline_t (*tick)(void *arg);
static void *tick_arg;

void signals_tick(deadline_t (*function)(void *arg), void *arg)
{
	tick = function;
	tick_arg = arg;
}

int signals_begin(void)
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

int signals_next(int changed_fd, deadline_t by)
{
	struct pollfd fds[] = {{.fd = signal_fd, .events = POLLIN}, {.fd = changed_fd, .events = POLLIN}};
	struct signalfd_siginfo info;
	uint64_t count;
	if (tick)
		by = deadline_min(by, tick(tick_arg));
	int64_t left_us = deadline_left_us(by);
	int timeout_ms = left_us > 60 * 1000000 ? 60000 : (int)((left_us + 999) / 1000);
	if (poll(fds, 2, timeout_ms) <= 0)
		return 0;
	if (read(changed_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return 0;
	return read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}

bool signals_wait(int changed_fd, deadline_t by)
{
	int signo = signals_next(changed_fd, by);
	if (signo == SIGHUP)
		hup = true;
	if (!asked && (signo == SIGTERM || signo == SIGINT))
		asked = signo;
	return asked;
}

bool signals_took_hup(void)
{
	bool took = hup;
	hup = false;
	return took;
}

int signals_asked(void)
{
	return asked;
}

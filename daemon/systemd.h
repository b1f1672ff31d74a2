/* The service manager: what it is told (sd_notify(3)), the sockets that it passes and keeps (sd_listen_fds(3)), and its
 * watchdog. Each is a datagram or a variable of the environment that systemd promises to keep; libsystemd would bring
 * four compression and encryption libraries along for them.
 *
 * Without a manager each function does nothing. Main thread only, but for the store and the passed sockets: those are
 * for one thread at a time, the main thread or the one that reloads. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/error.h"

/* How the names of the sockets begin that we have the manager keep. */
#define SYSTEMD_STORED "l/"

/* A listening socket that the manager has passed: activated by a socket unit, or one of ours from its store. */
struct systemd_socket {
	int fd; /* open for as long as we may adopt it, also while copies of it serve; -1: closed */
	char *name;
	const void *taker; /* whose copy serves (adopt.h); NULL: it can be adopted */
};

/* Read the environment, and forget what is ours alone: NOTIFY_SOCKET, LISTEN_*, WATCHDOG_*, FDSTORE. Before any thread.
 * Returns 0, or -EINVAL with e filled: a descriptor that was passed is not a listening socket. */
int systemd_begin(struct error *e) must_check;
/* Close the passed sockets, and those of ours in the manager's store, too. */
void systemd_end(void);

bool systemd_is_there(void);

/* What `systemctl status` shows. One line: it is cut at 512 bytes, control characters become spaces. No secret. */
void systemd_status(const char *format, ...) printf_like(1, 2);
/* It serves, with that status. Repeated: a reload is over. */
void systemd_ready(const char *format, ...) printf_like(1, 2);
/* A reload has begun; systemd_ready ends it. */
void systemd_reloading(void);
/* The way down has begun. Once; nothing but a status, the watchdog and an extension is of use afterwards. */
void systemd_stopping(void);
/* It can't start, for that reason. */
void systemd_failed(int errnum, const char *why);
/* The start or the stop may take that much longer from now on. */
void systemd_extend(int64_t us);
/* Try again what the manager's queue had no room for. */
void systemd_flush(void);

/* How often the manager wants to hear of us at the latest; 0: never. */
int64_t systemd_watchdog_us(void);
void systemd_watchdog_feed(void);

/* Does the manager keep sockets over a restart? Then whoever ends leaves the clients that wait to the next process. */
bool systemd_stores(void);
/* Keep fd, which stays the caller's, under that name: at most 255 bytes, no ':'. */
void systemd_store(int fd, const char *name);
void systemd_unstore(const char *name);

/* The passed sockets. */
struct systemd_socket *systemd_sockets(size_t *count);
/* Is it one of those that we have stored, by its name? All others are from socket units. */
bool systemd_is_stored(const struct systemd_socket *s);

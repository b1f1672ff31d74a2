/* Readiness of foreign descriptors: a nested epoll that h2o's loop watches as one descriptor.
 *
 * The library that opened a descriptor may close and reopen it at will (libpq does while it connects): interest is
 * registered, changed and dropped here without h2o's knowing, and a descriptor that was closed is simply gone.
 * Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "base/compiler.h"

struct poller;

/* Interest in one descriptor; embedded by its owner. */
struct watch {
	struct poller *poller; /* NULL while not registered */
	int fd;
	uint32_t events; /* what is registered: EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET | EPOLLONESHOT */
	void (*ready)(struct watch *w, uint32_t events);
};

void watch_init(struct watch *w, void (*ready)(struct watch *w, uint32_t events));
/* Register, or change, the interest of w in fd. events 0 keeps the registration for EPOLLERR | EPOLLHUP only.
 * No system call if nothing changes. A changed fd is dropped first. Returns 0 or -errno. */
int watch_set(struct watch *w, struct poller *p, int fd, uint32_t events) must_check;
/* Drop the interest; call it before fd is closed. ready is not called any more, not even for events of this turn.
 * Idempotent. */
void watch_clear(struct watch *w);
/* fd was closed already, by its library: forget it without a system call. */
void watch_forget(struct watch *w);

/* Waiting for a descriptor that somebody else opened. */
#pragma once

#include <stdint.h>
#include <sys/epoll.h>

#include "base/compiler.h"
#include "base/deadline.h"

/* Suspends. Waits until fd is ready for one of events. Returns the events (> 0), -ETIMEDOUT, -ECANCELED or -errno. */
int await_fd(int fd, uint32_t events, deadline_t by) must_check;

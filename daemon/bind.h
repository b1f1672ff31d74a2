/* The sockets that gatherd listens on.
 *
 * A TCP address has a socket a worker (SO_REUSEPORT): the kernel spreads the connections, and no worker wakes another.
 * A Unix socket is one that all workers share. All are bound before anything else starts, so that a mistake is reported
 * where it stands in the configuration.
 *
 * A socket that the service manager has passed is adopted instead: one of ours from its store, which no restart has
 * closed, or one of a socket unit. No socket of an address may be left without a worker, or the connections that the
 * kernel gives it wait forever; so an address has a further row of sockets if more were passed than there are workers.
 * Main thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"

/* A row of sockets of one address: one a worker. */
struct bound {
	const struct config_listen *config;
	int *fds;       /* by worker; -1: it has none in this row. A Unix socket: the same one */
	char name[128]; /* "127.0.0.1:8080", "unix:/run/x" */
	dev_t device;   /* of the Unix socket's file */
	ino_t inode;    /* 0: there is none of ours */
	bool kept;      /* by the service manager: the clients that wait are the next process's, and so is the file */
	bool adopted;
};

struct listeners {
	struct bound *bound;
	size_t count, capacity;
	unsigned workers;
};

enum { LISTEN_BACKLOG = 4096 }; /* the kernel takes net.core.somaxconn if that is less */

/* A further row, without a socket yet. */
struct bound *listeners_add(struct listeners *l, const struct config_listen *config);
/* Options that accepted sockets have of the one that listens. Returns 0 or -errno. */
int listener_set_options(int fd, int family) must_check;

/* Adopt or bind all addresses of the configuration, and have the service manager keep those that are ours. Returns 0,
 * or -errno with e and *at (where it stands) filled; nothing is bound then. -ESRCH: no socket was passed for it. */
int listeners_bind(struct listeners *l, const struct config_server *server, unsigned workers, struct error *e,
		   struct mark *at) must_check;
/* Close the sockets that no worker took; remove the files of Unix sockets, but not of those that are kept. */
void listeners_done(struct listeners *l);

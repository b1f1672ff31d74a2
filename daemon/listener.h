/* The sockets that gatherd listens on.
 *
 * A TCP address has a socket a worker (SO_REUSEPORT): the kernel spreads the connections, and no worker wakes another.
 * A Unix socket is one that all workers share. All are bound before anything else starts, so that a mistake is reported
 * where it stands in the configuration. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "async/loop.h"
#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"

struct connections;
struct st_h2o_socket_t; /* h2o_socket_t */

/* One address. */
struct bound {
	const struct config_listen *config;
	int *fds;       /* one a worker; a Unix socket: the same one */
	char name[128]; /* "127.0.0.1:8080", "unix:/run/x" */
	dev_t device;   /* of the Unix socket's file */
	ino_t inode;    /* 0: there is none of ours */
};

struct listeners {
	struct bound *bound;
	size_t count;
	unsigned workers;
};

/* Bind all addresses of the configuration. Main thread. Returns 0, or -errno with e and *at (where it stands) filled;
 * nothing is bound then. */
int listeners_bind(struct listeners *l, const struct config_server *server, unsigned workers, struct error *e,
		   struct mark *at) must_check;
/* Close what no worker took, remove the files of Unix sockets. */
void listeners_done(struct listeners *l);

/* A worker's end of one address. Loop thread only. */
struct listener {
	struct st_h2o_socket_t *sock; /* NULL: closed */
	struct connections *connections;
	unsigned max_connections; /* of the process, for this listener */
	bool admin;
	int64_t complained_us; /* when it was last logged that nothing is left to accept with; 0: never */
	struct timer pause;
};

/* Accept on the worker's socket of that address, which is taken over. */
void listener_open(struct listener *l, struct bound *b, unsigned worker, struct connections *connections,
		   unsigned max_connections);
/* Accept what waits already, and close. Idempotent. */
void listener_close(struct listener *l);

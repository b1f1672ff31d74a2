/* The sockets of an address, by row and worker: made by bind.c, or taken over by adopt.c. Main thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "config/config.h"

/* A row of sockets of one address: one a worker. It outlives the configuration that it was bound for. */
struct bound {
	struct config_listen config; /* its texts are the row's own; no mark */
	int *fds;                    /* by worker; -1: it has none in this row. A Unix socket: the same one */
	char name[128];              /* "127.0.0.1:8080", "unix:/run/x" */
	dev_t device;                /* of the Unix socket's file */
	ino_t inode;                 /* 0: there is none of ours */
	bool kept; /* by the service manager: the clients that wait are the next process's, and so is the file */
	bool adopted;
};

struct listeners {
	struct bound **bound;
	size_t count, capacity;
	unsigned workers;
};

enum { LISTEN_BACKLOG = 4096 }; /* the kernel takes net.core.somaxconn if that is less */

/* A further row, without a socket yet. */
struct bound *listeners_add(struct listeners *l, const struct config_listen *config);
/* A row that is there already, of another list. */
void listeners_share(struct listeners *l, struct bound *b);
/* Its Unix socket's file, if it has a path, is there, and ours to remove. */
void bound_know_file(struct bound *b);
/* Close what no worker took, and free it. */
void bound_free(struct bound *b, unsigned workers);
/* Options that accepted sockets have of the one that listens. Returns 0 or -errno. */
int listener_set_options(int fd, int family) must_check;

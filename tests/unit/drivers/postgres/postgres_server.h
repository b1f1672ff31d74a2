/* A PostgreSQL of the test's own: a cluster in a scratch folder, on a Unix socket, run by a user that is not root. */
#pragma once

#include <libpq-fe.h>
#include <signal.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/wait.h>

struct postgres_server {
	char folder[64];
	char bin[256];
	const char *user; /* who runs it and owns it; NULL: we */
	uid_t uid;
	gid_t gid;
	pid_t pid;
	int port; /* of the socket's name */
};

/* Of the test program. */
extern struct postgres_server server;

void server_url(char *out, size_t size, const char *options);
PGconn *server_connect(void);

/* Start it (again) and wait until it answers. */
void server_run(void);
void server_stop(void);
void server_sweep(void);
void server_start(void);
/* Run SQL on a connection of its own, outside of what is tested. Returns the first value, to be freed, or NULL. */
char *server_sql(const char *format, ...) __attribute__((format(printf, 1, 2)));

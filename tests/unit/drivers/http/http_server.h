/* An HTTP server for tests, in threads of the test, that misbehaves as the path asks for. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum { UPSTREAM_MAX_CONNECTIONS = 1024, UPSTREAM_MAX_REQUEST = 2 << 20 };

struct upstream;

struct upstream_request {
	struct upstream *server;
	int fd;
	unsigned nth; /* on its connection, from 1 */
	char method[16];
	char target[4096]; /* path and query as they came */
	char path[1024];
	char *head; /* all header lines */
	char *body;
	size_t body_len;
};

/* Answer. Returns whether the connection goes on. */
typedef bool upstream_fn(struct upstream_request *r);

struct upstream {
	int listener;
	unsigned port;
	char socket_path[108];
	upstream_fn *answer;
	atomic_uint connections, requests, in_flight, most_in_flight;
	atomic_uint posts;  /* requests of that method */
	atomic_int counter; /* for scripts */
	pthread_t acceptor;
	pthread_mutex_t lock;
	int fds[UPSTREAM_MAX_CONNECTIONS]; /* under lock; -1: closed */
	pthread_t threads[UPSTREAM_MAX_CONNECTIONS];
	unsigned count; /* under lock */
	atomic_bool stopping;
};

bool upstream_send(int fd, const void *data, size_t len);
bool upstream_reply(struct upstream_request *r, const char *status, const char *headers, const void *body, size_t len);
bool upstream_json(struct upstream_request *r, const char *json);
/* The connection is gone with a reset, not with an orderly end. */
bool upstream_reset(struct upstream_request *r);
/* A pause that ends when the server stops. */
void upstream_pause(struct upstream_request *r, int ms);
/* Does a line of the request say so? */
bool upstream_saw(const struct upstream_request *r, const char *line);

/* --- its threads --- */

struct upstream_connection {
	struct upstream *server;
	unsigned slot;
	int fd;
};

/* --- its life --- */

struct upstream *upstream_start_at(upstream_fn *answer, const char *socket_path);
struct upstream *upstream_start(upstream_fn *answer);
/* Break every connection; the listener goes on. */
void upstream_hang_up(struct upstream *u);
void upstream_stop(struct upstream *u);

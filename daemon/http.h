/* h2o as a worker uses it: one host, one catch-all handler, HTTP/1.1 only.
 *
 * Routing is ours (handlers/web/router.h): an h2o connection holds the configuration that it was accepted with for as
 * long as it lives, so nothing that a new configuration could change may stand in it. */
#pragma once

#include <h2o.h>
#include <stddef.h>

struct connections;
struct exchanges;
struct loop;

struct http {
	h2o_globalconf_t conf;
	h2o_context_t context;
	h2o_accept_ctx_t accept;
};

/* What h2o keeps for the whole process; once, before any worker. */
void http_setup(void);
/* Set up for the current thread and its loop. h must not move. */
void http_init(struct http *h, struct loop *l, size_t body_limit);
/* No connection may be left. */
void http_done(struct http *h);
/* From now on replies end their connections. */
void http_drain(struct http *h);

/* HTTP calls on a loop: one libcurl multi handle, driven by the loop's own poller and timers.
 *
 * DESIGN. An engine is one worker's way to one origin. A call takes an easy handle from the engine's pool, gives it to
 * the multi handle and suspends its task; libcurl says which sockets it wants watched (they become watches of the
 * poller) and when it wants to be called (a timer), and its message that a transfer is done wakes the task. All of
 * libcurl runs on the loop's own stack, but for adding and removing a transfer.
 *
 * Names are resolved on the executor and handed to libcurl ready made: its own resolver has a thread for each look-up,
 * and taking a transfer off the multi handle waits for that thread (curl#8515).
 *
 * Connections are kept and used again. The watch of an idle one stays registered, so that a call on it costs no
 * epoll_ctl. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "async/executor.h"
#include "async/loop.h"
#include "base/compiler.h"
#include "base/deadline.h"
#include "base/error.h"
#include "drivers/http/origin.h"

struct config_pool;
struct http_engine;
struct http_transfer;
struct http_trust;
struct shared_semaphore;
struct tally;

/* What holds for all calls of an engine. Everything that it points to outlives it. */
struct http_settings {
	const struct http_origin *origin;
	struct executor *executor;        /* for names */
	const struct http_trust *trust;   /* with https: whom to believe (trust.h) */
	const struct http_origin *proxy;  /* NULL: none, whatever the environment says */
	int64_t connect_timeout_us;       /* with the TLS handshake; 0: 5 s */
	const struct config_pool *pool;   /* its size is also how many connections the engine keeps */
	struct tally *tally;              /* the source's; NULL: nothing is counted */
	struct shared_semaphore *permits; /* one for each call under way; of all engines that share the pool */
};

/* Loop thread. Returns 0 or -errno with e filled. */
int http_engine_new(struct http_engine **out, const struct http_settings *settings, struct error *e) must_check;
/* Another pool's sizes and times from now on; it outlives the engine, or the next call of this. Loop thread. */
void http_engine_follow(struct http_engine *engine, const struct config_pool *pool);
/* End what runs (-ECONNREFUSED) and refuse what comes. Loop thread. */
void http_engine_refuse(struct http_engine *engine);
/* Suspends (shielded): ends what still runs (-ECONNREFUSED), waits for its callers to leave, closes all connections.
 * NULL is allowed. */
void http_engine_free(struct http_engine *engine);
/* Is no call under way? Loop thread. */
bool http_engine_idle(const struct http_engine *engine);

/* A transfer ready to be set up; NULL: libcurl is out of memory. Loop thread. */
struct http_transfer *http_engine_take(struct http_engine *engine);
/* It is not running: it is kept to be used again, or freed. */
void http_engine_give(struct http_transfer *t);

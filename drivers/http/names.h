/* A host's name and its addresses, looked up on the executor, kept for a minute, and handed to libcurl ready made.
 *
 * All who need the addresses at once wait for one look-up. Addresses that have grown old are used on while they are
 * looked up again, so that nobody waits for the name server but at the beginning. Loop thread only. */
#pragma once

#include <stdbool.h>

#include "async/executor.h"
#include "async/future.h"
#include "base/compiler.h"
#include "base/error.h"

struct http_names {
	const char *host; /* NULL: nothing to look up */
	unsigned port;
	struct executor *executor;
	char *entry;        /* "host:port:address,address": as CURLOPT_RESOLVE wants it; NULL: not known yet */
	unsigned version;   /* of entry; 0: none yet */
	deadline_t fresh;   /* until then entry is not looked up again */
	bool looking;       /* a task is looking it up */
	struct future done; /* with looking */
	char why[128];      /* why the last look-up failed */
};

void http_names_init(struct http_names *n, const char *host, unsigned port, struct executor *executor);
/* Suspends if no addresses are known. Returns 0, -EHOSTUNREACH (the name has none: n->why), -EBUSY (too many
 * look-ups wait), -EAGAIN (no task for it), -ETIMEDOUT or -ECANCELED. */
int http_names_await(struct http_names *n, deadline_t by) must_check;
/* None of the addresses let us in: look them up again soon. */
void http_names_doubt(struct http_names *n);
/* Suspends (shielded) until nothing is being looked up; frees. */
void http_names_done(struct http_names *n);

/* Whether a source is there, over all workers: each change is reported once, to the one who writes the log.
 *
 * A source is down when an attempt to connect has failed and no connection to it is left; it is back with the next
 * connection. Any thread. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "drivers/numbers.h"

struct health {
	const char *source; /* its name */
	pthread_mutex_t lock;
	bool quiet;            /* its changes are not reported */
	atomic_bool down;      /* written under lock */
	unsigned connections;  /* under lock */
	bool met;              /* under lock: there was one */
	int64_t down_since_us; /* under lock; 0: it is not */
	char why[256];         /* under lock: it went down */
};

/* A change. why: every reason there is, on one line, without secrets, when it went down; NULL when it is back, after
 * `down_us`. Called on any thread, one call at a time for each source; does not block. */
typedef void health_report(const char *source, const char *why, int64_t down_us);

/* Once, before there are sources. Without it nothing is reported. */
void health_report_to(health_report *report);

void health_init(struct health *h, const char *source);
void health_done(struct health *h);
/* There is one more connection. */
void health_connected(struct health *h);
/* … and one less. */
void health_disconnected(struct health *h);
/* An attempt to connect has failed. */
void health_failed(struct health *h, const char *why);
/* Is there a connection, or was there one, and nothing has failed since? */
bool health_is_up(struct health *h);
/* The same for a source whose connections are not counted: it has answered. Costs nothing unless it was down. */
void health_answered(struct health *h);
/* Whether it is up, else since when it is down, and why. A source that nobody has tried yet is up if `hopeful`. */
void health_look(struct health *h, bool hopeful, struct source_state *out);

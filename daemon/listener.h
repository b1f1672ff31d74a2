/* A worker's end of an address: what it accepts connections on. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "async/loop.h"
#include "daemon/bind.h"

struct connections;
struct st_h2o_socket_t; /* h2o_socket_t */

struct listener {
	struct st_h2o_socket_t *sock; /* NULL: closed */
	struct connections *connections;
	struct entrance *entrance;
	unsigned max_connections; /* of the process, for this listener */
	bool admin, control;
	bool leaves_waiting;   /* the clients that wait when it closes are the next process's */
	int64_t complained_us; /* when it was last logged that nothing is left to accept with; 0: never */
	struct timer pause;
};

/* Accept on the worker's socket of that address, which is taken over; closed from the start if it has none. */
void listener_open(struct listener *l, struct bound *b, unsigned worker, struct connections *connections,
		   unsigned max_connections);
/* Accept the clients that wait already, unless they are left to the next process, and close. Idempotent. */
void listener_close(struct listener *l);

/* The sockets that gatherd listens on.
 *
 * A TCP address has a socket a worker (SO_REUSEPORT): the kernel spreads the connections, and no worker wakes another.
 * A Unix socket is one that all workers share. All are bound before anything else starts, so that a mistake is reported
 * where it stands in the configuration.
 *
 * A socket that the service manager has passed is adopted instead: one of ours from its store, which no restart has
 * closed, or one of a socket unit. No socket of an address may be left without a worker, or the connections that the
 * kernel gives it wait forever; so an address has a further row of sockets if more were passed than there are workers.
 * One thread at a time: the main thread, or the one that reloads. */
#pragma once

#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"
#include "daemon/bound.h"

/* Adopt or bind all addresses of the configuration, the control socket last, and have the service manager keep those
 * that are ours; but not the control socket, which speaks for this process alone. Returns 0,
 * or -errno with e and *at (where it stands) filled; nothing is bound then. -ESRCH: no socket was passed for it. */
int listeners_bind(struct listeners *l, const struct config_server *server, unsigned workers, struct error *e,
		   struct mark *at) must_check;
/* The rows of another configuration: those of `now` that it has, too, the control socket among them, and new ones for
 * the rest. Nothing of `now` is touched. Returns 0, or -errno as listeners_bind; nothing is left then. Until
 * listeners_replace it can be undone by listeners_unchange. */
int listeners_change(struct listeners *next, const struct listeners *now, const struct config_server *server,
		     struct error *e, struct mark *at) must_check;
void listeners_unchange(struct listeners *next, const struct listeners *now);
/* It is decided: what changes in place changes, and the service manager keeps the new ones. Before workers take them.
 */
void listeners_update(struct listeners *next, const struct listeners *now, const struct config_server *server);
/* The workers have closed what only `now` has: so does it, and becomes `next`. */
void listeners_replace(struct listeners *now, struct listeners *next);
/* A line in the log: it listens. */
void listeners_tell(const struct bound *b);
bool listeners_have(const struct listeners *l, const struct bound *b);
/* Close the sockets that no worker took; remove the files of Unix sockets, but not of those that are kept. */
void listeners_done(struct listeners *l);

/* Sockets that the service manager has passed. What is adopted is a copy: the socket itself stays as it was passed. One
 * thread at a time, as in bind.h. */
#pragma once

#include "base/compiler.h"
#include "daemon/bound.h"

/* Add rows to l of the passed sockets that belong to that listener: for an address, those of ours that are bound to it;
 * for `systemd`, those of socket units. Returns how many sockets those are, or -errno; a row was added then. */
int adopt(struct listeners *l, const struct config_listen *config) must_check;
/* Those of ours that no listener has adopted: close them, and let the manager forget them. */
void adopt_rest(void);
/* b, which goes, gives up what it has adopted. A socket unit's can be adopted again, by a later configuration: nobody
 * passes it to us a second time. One of ours is closed, and the manager forgets it. */
void adopt_release(const struct bound *b);

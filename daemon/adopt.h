/* Sockets that the service manager has passed. Main thread only. */
#pragma once

#include "base/compiler.h"
#include "daemon/bound.h"

/* Add rows to l of the passed sockets that belong to that listener: for an address, those of ours that are bound to it;
 * for `systemd`, those of socket units. Returns how many sockets those are, or -errno; a row was added then. */
int adopt(struct listeners *l, const struct config_listen *config) must_check;
/* Those of ours that no listener has adopted: close them, and let the manager forget them. */
void adopt_rest(void);

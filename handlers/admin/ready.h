/* /-/ready: whether requests shall be sent here. The process answers it, whichever of its workers is asked. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "config/config.h"
#include "drivers/driver.h"
#include "handlers/web/exchange.h"

/* What speaks against it, beside the sources. Any thread. */
struct readiness {
	atomic_bool draining; /* for good */
	atomic_bool off;      /* by hand, until it is on again */
};

/* GET: 200; or 503 if it drains, was switched off, or a source is down whose `ready` is true and which `?ignore=a,b`
 * (`*`: all) does not leave out. sources: one for each of c's. */
void ready_page(struct exchange *x, const struct readiness *r, const struct config *c, struct source *const *sources);
/* POST {"ready": false}, or true: switch it off, or on. */
void ready_switch(struct exchange *x, struct readiness *r);

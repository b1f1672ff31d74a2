/* Answering a request by a plan. */
#pragma once

#include "drivers/driver.h"
#include "handlers/exchange.h"
#include "handlers/gather/plan.h"
#include "handlers/router.h"

/* Check the parameters, then reply: at once where the plan has no steps, else from a task in which each step is a task
 * of its own. clients: this worker's, one for each source. Loop thread. */
void gather_handle(const struct plan *plan, struct client *const *clients, struct exchange *x,
		   const struct route_match *m);

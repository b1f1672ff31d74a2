/* `gatherd check --connect`: are the sources there, and do they take the configuration's actions? */
#pragma once

#include "handlers/gather/plan.h"

/* Ask all of them at once. plans: one for each endpoint of c. Mistakes in actions, and sources that are not there, go
 * to d. Main thread, on a loop of its own. Returns how many are not there, or -errno. */
int sources_check(const struct config *c, struct plan *const *plans, struct executor *ex,
		  struct diagnostics *d) must_check;

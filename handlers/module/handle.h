/* Answering a request by a handler in C. */
#pragma once

#include "handlers/web/exchange.h"
#include "handlers/web/rate.h"
#include "handlers/web/router.h"

struct handler;
struct module_env;

/* Check the parameters, then run h in a task. rates: the process's. Loop thread. */
void module_handle(const struct handler *h, const struct module_env *env, struct rates *rates, struct exchange *x,
		   const struct route_match *m);

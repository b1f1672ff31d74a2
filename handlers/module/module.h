/* Modules: shared objects, loaded once for the whole process and never unloaded: their code may be on any stack, and
 * reports about leaks and slow turns need their symbols until the end. */
#pragma once

#include <stddef.h>

#define GATHERD_DAEMON 1
#include "base/arena.h"
#include "config/config.h"
#include "include/gatherd.h"

struct module {
	const struct config_module *config;
	void *handle;
	int (*start)(unsigned worker, unsigned workers); /* NULL: it has none */
	void (*stop)(unsigned worker, unsigned workers);
};

/* Each shared object once, in the order of their names. */
struct modules {
	struct module *items;
	size_t count;
};

/* What answers an endpoint. */
struct handler {
	const struct config_endpoint *endpoint;
	int (*fn)(gd_request *req); /* NULL: the endpoint has no handler */
	uint64_t rate_identity;     /* rate.h; if the endpoint has a rate */
};

/* Load all modules that c names and find the functions of its handlers, one for each endpoint; mistakes go to d, with
 * their places. Everything lives in a. Main thread; runs the modules' constructors. */
void modules_load(struct modules *m, struct handler **handlers, const struct config *c, struct arena *a,
		  struct diagnostics *d);

/* Modules: shared objects, loaded once for the whole process and never unloaded: their code may be on any stack, and
 * reports about leaks and slow turns need their symbols until the end.
 *
 * A module is the file, by its device and inode, not the path: a reload that finds the same file has the same module,
 * and one that finds another file there loads that beside the old one. A file that was written in place is refused: the
 * kernel has its pages mapped, so that loading it again would bring the old code, or none that is whole. */
#pragma once

#include <stddef.h>

#define GATHERD_DAEMON 1
#include "base/arena.h"
#include "config/config.h"
#include "include/gatherd.h"

/* Lives as long as the process. */
struct module {
	const char *path;
	void *handle;
	int (*start)(unsigned worker, unsigned workers); /* NULL: it has none */
	void (*stop)(unsigned worker, unsigned workers);
};

enum { MODULE_LOADS = 16 }; /* of one path, in the life of a process */

/* Each shared object of a configuration once, in the order of their names. */
struct modules {
	const struct module **items;
	size_t count;
};

/* What answers an endpoint. */
struct handler {
	const struct config_endpoint *endpoint;
	int (*fn)(gd_request *req); /* NULL: the endpoint has no handler */
	uint64_t rate_identity;     /* rate.h; if the endpoint has a rate */
};

/* Load all modules that c names and find the functions of its handlers, one for each endpoint; mistakes go to d, with
 * their places. What is not the process's lives in a. One thread at a time; runs the constructors of modules that are
 * new. */
void modules_load(struct modules *m, struct handler **handlers, const struct config *c, struct arena *a,
		  struct diagnostics *d);

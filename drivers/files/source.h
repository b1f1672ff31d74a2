/* A source of files and a worker's share of it, which is nothing but a count. */
#pragma once

#include "drivers/driver.h"
#include "drivers/files/action.h"
#include "drivers/files/keys.h"
#include "drivers/files/root.h"

struct work;

struct files_source {
	struct source base;
	struct executor *executor;
	struct root *root;
};

/* Loop thread only. */
struct files_client {
	struct client base;
	struct files_source *source;
	unsigned callers;
};

static inline struct files_client *files_client_of(struct client *c)
{
	return container_of(c, struct files_client, base);
}

static inline const struct files_source_keys *files_client_keys(const struct files_client *c)
{
	return c->base.config->own;
}

/* Say in e where it happened, and return r; failures of the executor itself are described, too. */
int files_locate(struct error *e, int r, const struct files_client *c, const struct files_place *at);
/* Suspends. Run w, with what it needs in it, which is the callee's from here on. Returns 0 and *out, or -errno with e
 * filled, but for where it happened. */
int files_run_work(struct files_client *c, struct work *w, int64_t timeout_us, struct result **out,
		   struct error *e) must_check;

/* A source of files and a worker's share of it, which is nothing but a count. */
#pragma once

#include "drivers/driver.h"
#include "drivers/files/action.h"
#include "drivers/files/root.h"

struct files_source {
	const struct config_source *config;
	struct executor *executor;
	struct root *root;
};

/* Loop thread only. */
struct files_client {
	struct files_source *source;
	unsigned callers;
};

/* Say in e where it happened, and return r; failures of the executor itself are described, too. */
int files_locate(struct error *e, int r, const struct files_client *c, const struct files_action *a);

/* A source's URL: what of it libmongoc gets, and what is done here instead (TLS, the choice of servers, retries). */
#pragma once

#include <mongoc/mongoc.h>
#include <stdbool.h>

#include "base/arena.h"
#include "config/config.h"
#include "config/diagnostics.h"
#include "drivers/mongo/wire/tls.h"

struct mongo_url {
	mongoc_uri_t *uri; /* without TLS options; with the source's password */
	const char *database;
	bool tls;
	struct mongo_tls_options tls_options;
	int64_t connect_timeout_us;
};

/* Read the URL of config. What is wrong goes to d, never with a password in it. Texts live in a. Returns false if
 * anything was wrong; otherwise uri is the caller's: mongo_url_done. Reads no files, no network. */
bool mongo_url_parse(struct mongo_url *out, struct arena *a, const struct config_source *config, struct diagnostics *d);
void mongo_url_done(struct mongo_url *u);

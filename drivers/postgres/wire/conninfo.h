/* What libpq is told: the URL's keywords, and what we add to them; and the hosts that it names. */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/error.h"
#include "config/config.h"
#include "config/diagnostics.h"

/* target_session_attrs: which servers will do. */
enum pg_target { PG_ANY, PG_READ_WRITE, PG_READ_ONLY, PG_PRIMARY, PG_STANDBY, PG_PREFER_STANDBY };

/* One of the URL's hosts. "": libpq's default. */
struct pg_host {
	char *name;    /* a name, an address, or the folder of a Unix socket */
	char *address; /* hostaddr */
	char *port;
};

/* Shared with the executor's jobs, which may outlive the source; freed with the last reference. Immutable. */
struct pg_conninfo {
	atomic_uint references;
	unsigned count;
	char **keywords, **values; /* count + 1, the last NULL */
	struct pg_host *hosts;
	unsigned host_count; /* at least 1 */
	enum pg_target target;
};

/* Check what of the URL can be judged without a network; reports to d. */
void pg_conninfo_check(const struct config_source *config, struct diagnostics *d);
/* Returns NULL with e filled when the URL is wrong. Reads libpq's variables. */
struct pg_conninfo *pg_conninfo_new(const struct config_source *config, struct error *e);
/* One more reference. Any thread. */
struct pg_conninfo *pg_conninfo_keep(struct pg_conninfo *info);
/* Any thread. */
void pg_conninfo_drop(struct pg_conninfo *info);
/* What libpq is told for one host, of which `address` is one of the addresses; "": what the URL says. The caller drops
 * it. Any thread. */
struct pg_conninfo *pg_conninfo_for(const struct pg_conninfo *info, const struct pg_host *host, const char *address);
/* The value of a keyword, or NULL. */
const char *pg_conninfo_get(const struct pg_conninfo *info, const char *keyword);

/* Must the session's own default_transaction_read_only be seen before ours takes its place? */
static inline int pg_target_looks_at_default(enum pg_target target)
{
	return target == PG_READ_WRITE || target == PG_READ_ONLY;
}

/* How long an attempt at one of `targets` hosts and addresses may take: its part of connect_timeout, at least 1 s. */
int64_t pg_conninfo_budget_us(const struct pg_conninfo *info, unsigned targets);

/* Making a connection without blocking the loop: names are resolved and libpq is started on the executor, then it is
 * polled by a task. */
#pragma once

#include "drivers/postgres/wire/connection.h"

/* Check what of the URL can be judged without a network; reports to d. */
void pg_conninfo_check(const struct config_source *config, struct diagnostics *d);
/* Returns NULL with e filled where the URL is wrong. */
struct pg_conninfo *pg_conninfo_new(const struct config_source *config, struct error *e);
void pg_conninfo_drop(struct pg_conninfo *info);
/* The value of a keyword, or NULL. */
const char *pg_conninfo_get(const struct pg_conninfo *info, const char *keyword);

/* How long an attempt may take: the URL's connect_timeout, or 5 s. */
int64_t pg_connect_timeout_us(const struct pg_conninfo *info);

/* Start to connect conn (CONNECTING) in a task of its own; the pool hears the end. Outside tasks. Returns 0 or
 * -EAGAIN. */
int pg_connect_start(struct pg_connection *conn) must_check;

/* Making a connection without blocking the loop. */
#pragma once

#include "drivers/postgres/wire/connection.h"

/* Start to connect conn (CONNECTING) in a task of its own; the pool hears the end. Outside tasks. Returns 0 or
 * -EAGAIN. */
int pg_connect_start(struct pg_connection *conn) must_check;

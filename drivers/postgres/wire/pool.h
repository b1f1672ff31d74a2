/* Which connection a call gets, and how many there are. Loop thread only. */
#pragma once

#include "drivers/postgres/wire/connection.h"

/* Place call, or let it wait. Returns 0, or -EBUSY (too many wait) or -ECONNREFUSED (the source is down) with e
 * filled; then the call is new still. */
int pg_pool_submit(struct pg_call *call, struct error *e) must_check;
/* Let call wait at the head of that queue, for a connection alone: it is run again. */
void pg_pool_resubmit(struct pg_call *call, enum pg_queue queue);
/* A waiting call leaves. */
void pg_pool_forget(struct pg_call *call);
/* Give what is idle to the first in line, here or in another worker; call it whenever something may have become idle.
 */
void pg_pool_serve(struct pg_client *c);
/* See to the number of connections at the end of this turn. */
void pg_pool_tend(struct pg_client *c);

void pg_pool_init(struct pg_client *c);
void pg_pool_done(struct pg_client *c);
/* An attempt to connect has ended; r 0, or -errno with e saying why. */
void pg_pool_connected(struct pg_client *c, int r, const struct error *e);
/* A connection is gone. */
void pg_pool_lost(struct pg_client *c, const char *why);
/* The server at the other end of conn takes no writes (any more), if `refuses`, or goes: it and its neighbours to the
 * same host are closed when they are idle, in every worker, and others are opened, to another host if there is one. */
void pg_pool_suspect(struct pg_connection *conn, bool refuses);
/* … does not answer at all. */
void pg_pool_frozen(struct pg_connection *conn);
/* Refuse all that wait. */
void pg_pool_refuse(struct pg_client *c, const struct error *e);

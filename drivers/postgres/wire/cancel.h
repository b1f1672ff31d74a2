/* Stopping statements that nobody waits for any more. Loop thread only. */
#pragma once

#include "drivers/postgres/wire/connection.h"

/* If a statement of the group at the head of the pipe was abandoned, see to it that the group is cancelled 100 ms
 * later, if it still runs then. Called when a call is abandoned and after answers came. */
void pg_cancel_consider(struct pg_connection *conn);
/* The lease's statement is not wanted any more: cancel it, outside of this task, whose deadline may have passed; where
 * its group begins a transaction or a savepoint, a moment later. */
void pg_cancel_soon(struct pg_connection *conn);
/* Cancel what runs on conn (busy, shared, quarantined), now. False: not now, requests are under way. Outside tasks. */
bool pg_cancel_request(struct pg_connection *conn);
/* For timer_init of a connection. */
void pg_cancel_fire(struct timer *t);

/* Idempotency-Key (draft-ietf-httpapi-idempotency-key-header): a request that comes again is answered with the reply of
 * the first one, instead of being done twice.
 *
 * DESIGN. A key is a row of the table gatherd_idempotency in a PostgreSQL that users name. The request that makes the
 * row has claimed the key until its lease ends: its own deadline, and ten seconds. Then it runs, and what it answers is
 * kept in the row. The row lies beside what the request changes, not in one transaction with it: if the daemon dies in
 * between, nobody knows what was done, and a repeated request is refused (or run again, if the endpoint says so). A
 * request that has changed nothing gives its key back. Loop thread only. */
#pragma once

#include "base/error.h"
#include "config/config.h"
#include "handlers/web/exchange.h"

struct client;
struct idempotency;

/* The table, as `gatherd idempotency-schema` prints it. */
extern const char idempotency_schema[];

/* Take the key of a request that has its body. *out lives in x's arena; NULL: it has no key, and needs none. Returns 0,
 * or -EINVAL with e filled (400). */
int idempotency_take(struct idempotency **out, const struct config_endpoint *endpoint, struct exchange *x,
		     struct error *e) must_check;

/* Suspends. Claim the key, in the store's client. Returns 0: the request is to be run; 1: *kept is the reply that was
 * kept of the first one, to be sent; or -errno with e filled: it runs still (409), nobody knows what became of it
 * (409), the key is another request's (422), or the store failed. */
int idempotency_claim(struct idempotency *i, struct client *store, struct reply *kept, struct error *e) must_check;

/* How a request that was run has ended. */
enum idempotency_end {
	IDEMPOTENCY_DONE,    /* its reply is kept */
	IDEMPOTENCY_NOTHING, /* it has changed nothing: the key is free again */
	IDEMPOTENCY_UNKNOWN  /* it has changed something, or may have, and has no reply to be kept */
};

/* Suspends for two seconds at most, shielded. Note how a request that has claimed its key has ended; reply: of
 * IDEMPOTENCY_DONE. A failure is a line of the log. */
void idempotency_settle(struct idempotency *i, struct client *store, enum idempotency_end end,
			const struct reply *reply);

/* Suspends for five seconds at most, shielded. Once in a while: delete keys that have expired. After the reply. */
void idempotency_expire(const struct idempotency *i, struct client *store);

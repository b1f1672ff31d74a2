/* How often one client may ask an endpoint: `rate: 100/s`, over all workers of the process.
 *
 * DESIGN. A token bucket for each client and endpoint, of as many tokens as the rate names, refilled evenly: a client
 * that was quiet may send all of them at once, and from then on one at each interval. It is kept as the generic cell
 * rate algorithm (GCRA: ITU-T Recommendation I.371, Annex A; "virtual scheduling"): all there is to know of a bucket is
 * the time at which it will be full again, one number, and no timer refills anything. A request that is refused takes
 * nothing.
 *
 * Memory is a table of a fixed size, whatever the number of addresses: sets of 8 buckets, chosen by a hash with a
 * secret seed, under one of 64 locks that is held for a few instructions. A bucket that is full is as good as none and
 * gives its place away; if none in the set is full, the one that will be so first does. Who is pushed out that way
 * is given its tokens early: with more clients at once than the table holds, the limit gets looser, and never refuses a
 * client for what others did.
 *
 * A client is an IPv4 address, or the /64 of an IPv6 address: within it, whoever has one has them all. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/config.h"
#include "handlers/web/client_address.h"
#include "handlers/web/exchange.h"

struct rates;

enum { RATES_CLIENTS = 65536 }; /* of a process; 2 MiB */

/* For at least that many buckets. */
struct rates *rates_new(size_t clients);
void rates_free(struct rates *r); /* NULL is allowed */

struct rate_verdict {
	bool pass;
	unsigned remaining; /* tokens that are left */
	int64_t wait_us;    /* until there will be a token; 0: there is one */
	int64_t full_us;    /* until all are there again */
};

/* What tells the buckets of an endpoint apart from those of others: its name and its rate. An endpoint that comes back
 * with the same of both, in another configuration, has the same buckets. */
uint64_t rate_identity(const char *endpoint, const struct config_rate *rate);

/* Take a token of the bucket that `who` has at the endpoint of that identity, which has that rate. Any thread; does not
 * suspend. now_us: CLOCK_MONOTONIC. */
struct rate_verdict rates_take(struct rates *r, uint64_t identity, const struct config_rate *rate,
			       const struct address *who, int64_t now_us);

/* Take a token for x's client (x->peer) and say in the reply's RateLimit fields how many are left. Returns false if
 * there was none: x has been answered, with 429. Loop thread; does not suspend. */
bool rate_admit(struct rates *r, uint64_t identity, const struct config_rate *rate, struct exchange *x) must_check;

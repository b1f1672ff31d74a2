/* Buckets in a table of a fixed size, and the fields that tell a client of its own. */
#include "handlers/web/rate.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "async/loop.h"
#include "base/hash.h"
#include "base/mem.h"

enum { WAYS = 8, LOCKS = 64 };

struct bucket {
	uint64_t who[2];
	uint64_t identity; /* of the endpoint; 0: never used */
	int64_t full_ns;   /* CLOCK_MONOTONIC */
};

struct set {
	struct bucket buckets[WAYS]; /* under the lock of the set's number modulo LOCKS */
};

union lock {
	pthread_mutex_t mutex;
	char apart[64]; /* no two in one cache line */
};

struct rates {
	union lock locks[LOCKS];
	uint64_t seed[3];
	size_t set_count; /* a power of two */
	struct set *sets;
};

struct rates *rates_new(size_t clients)
{
	struct rates *r = mem_zalloc(sizeof(*r));
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_init(&r->locks[i].mutex, NULL);
	if (getrandom(r->seed, sizeof(r->seed), 0) != (ssize_t)sizeof(r->seed))
		r->seed[0] = r->seed[1] = r->seed[2] = (uint64_t)monotonic_us() * 0x9e3779b97f4a7c15u;
	r->set_count = 1;
	while (r->set_count * WAYS < clients)
		r->set_count *= 2;
	r->sets = mem_zalloc(r->set_count * sizeof(*r->sets));
	return r;
}

void rates_free(struct rates *r)
{
	if (!r)
		return;
	for (int i = 0; i < LOCKS; i++)
		pthread_mutex_destroy(&r->locks[i].mutex);
	free(r->sets);
	free(r);
}

/* --- finding a bucket --- */

/* An IPv4 address as it is mapped into IPv6; of IPv6 the /64; a Unix socket's peers are one client. */
static void client_key(uint64_t key[2], const struct address *who)
{
	unsigned char bytes[16] = {0};
	if (who->family == AF_INET) {
		bytes[10] = bytes[11] = 0xff;
		memcpy(bytes + 12, who->bytes, 4);
	} else if (who->family == AF_INET6) {
		memcpy(bytes, who->bytes, 8);
	} else {
		bytes[15] = 1;
	}
	memcpy(key, bytes, sizeof(bytes));
}

/* The two halves of the product of two words: every bit of either changes the half of the others. */
static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t rate_identity(const char *endpoint, const struct config_rate *rate)
{
	uint64_t h = hash_bytes(HASH_INIT, endpoint, strlen(endpoint));
	h = hash_bytes(h, &rate->count, sizeof(rate->count));
	return hash_bytes(h, &rate->per_us, sizeof(rate->per_us)) | 1;
}

static size_t set_of(const struct rates *r, const uint64_t who[2], uint64_t identity)
{
	uint64_t h = mix(who[0] ^ r->seed[0], who[1] ^ r->seed[1]);
	h = mix(h ^ identity, r->seed[2] | 1);
	return (size_t)(h & (r->set_count - 1));
}

/* The client's own bucket, or the one that gives its place away. */
static struct bucket *find_bucket(struct set *s, const uint64_t who[2], uint64_t identity)
{
	struct bucket *first_full = &s->buckets[0];
	for (unsigned i = 0; i < WAYS; i++) {
		struct bucket *b = &s->buckets[i];
		if (b->identity == identity && b->who[0] == who[0] && b->who[1] == who[1])
			return b;
		if (b->full_ns < first_full->full_ns)
			first_full = b;
	}
	*first_full = (struct bucket){.who = {who[0], who[1]}, .identity = identity};
	return first_full;
}

/* --- taking a token --- */

struct rate_verdict rates_take(struct rates *r, uint64_t identity, const struct config_rate *rate,
			       const struct address *who, int64_t now_us)
{
	const int64_t token_ns = rate->per_us * 1000 / rate->count, all_ns = token_ns * rate->count;
	const int64_t now_ns = now_us * 1000;
	uint64_t key[2];
	client_key(key, who);
	size_t set = set_of(r, key, identity);
	pthread_mutex_t *lock = &r->locks[set % LOCKS].mutex;

	pthread_mutex_lock(lock);
	struct bucket *b = find_bucket(&r->sets[set], key, identity);
	int64_t missing_ns = b->full_ns > now_ns ? b->full_ns - now_ns : 0;
	bool pass = missing_ns + token_ns <= all_ns;
	if (pass) {
		missing_ns += token_ns;
		b->full_ns = now_ns + missing_ns;
	}
	pthread_mutex_unlock(lock);

	struct rate_verdict v = {.pass = pass, .full_us = missing_ns / 1000};
	if (missing_ns < all_ns)
		v.remaining = (unsigned)((all_ns - missing_ns) / token_ns);
	if (v.remaining == 0)
		v.wait_us = (missing_ns + token_ns - all_ns + 999) / 1000;
	return v;
}

/* --- telling the client --- */

static int64_t seconds_up(int64_t us)
{
	return (us + 999999) / 1000000;
}

/* The fields of draft-ietf-httpapi-ratelimit-headers (from -08 on): q tokens for w seconds; r of them are left, and t
 * seconds from now there are more of them: all, or, if none is left, the first. */
static void tell(struct exchange *x, const struct config_rate *rate, const struct rate_verdict *v)
{
	const char *policy = arena_printf(&x->arena, "\"client\";q=%u;w=%lld", rate->count,
					  (long long)(rate->per_us / 1000000));
	const char *now = arena_printf(&x->arena, "\"client\";r=%u;t=%lld", v->remaining,
				       (long long)seconds_up(v->remaining ? v->full_us : v->wait_us));
	x->always[0] = (struct header){{"ratelimit-policy", 16}, {policy, strlen(policy)}};
	x->always[1] = (struct header){{"ratelimit", 9}, {now, strlen(now)}};
	x->always_count = 2;
}

bool rate_admit(struct rates *r, uint64_t identity, const struct config_rate *rate, struct exchange *x)
{
	struct address who;
	if (!address_parse(&who, x->peer, strlen(x->peer)))
		who = (struct address){.family = AF_UNIX};
	struct rate_verdict v = rates_take(r, identity, rate, &who, monotonic_us());
	tell(x, rate, &v);
	if (v.pass)
		return true;
	struct error e;
	exchange_count_refusal(x, REFUSED_RATE);
	error_say(&e, -EBUSY, REASON_RATE_EXCEEDED, "the rate of this client is exceeded");
	e.retry_after_s = (int)seconds_up(v.wait_us);
	exchange_problem(x, &e, NULL, NULL, NULL);
	return false;
}

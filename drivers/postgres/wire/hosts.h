/* What is remembered of a source's hosts, for all workers: which one was good last, which ones failed a moment ago, and
 * since when connections to one are suspect. Any thread. */
#pragma once

#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { PG_ADDRESSES = 16 /* of one host */, PG_ADDRESS_LEN = 64 };

typedef char pg_address[PG_ADDRESS_LEN]; /* as text; "": the host has none to choose from */

struct pg_memory {
	int64_t good_us;   /* when it was last connected to; 0: never */
	int64_t failed_us; /* when connecting to it last failed; 0: not since it was good */
};

struct pg_address_memory {
	pg_address address;
	struct pg_memory memory;
};

struct pg_host_memory {
	struct pg_memory memory;                          /* under lock */
	struct pg_address_memory addresses[PG_ADDRESSES]; /* under lock */
	unsigned address_count;                           /* under lock */
	/* Connections that were begun before that are not to be used any more: the server has said that it goes, that
	 * it takes no writes, or nothing at all. */
	_Atomic int64_t suspect_us;
	/* The same, and it answers nothing: there is no sense in cancelling what runs on them. */
	_Atomic int64_t frozen_us;
};

struct pg_hosts {
	pthread_mutex_t lock;
	unsigned count;
	struct pg_host_memory *items;
};

void pg_hosts_init(struct pg_hosts *h, unsigned count);
void pg_hosts_done(struct pg_hosts *h);

/* The order in which they are tried: the last good one first, those that failed in the last 10 s last; otherwise as in
 * the URL. `order` has room for all. Returns how many of them did not fail lately. */
unsigned pg_hosts_order(struct pg_hosts *h, int64_t now_us, unsigned *order);
/* The same for the addresses of one host, in place. */
void pg_hosts_order_addresses(struct pg_hosts *h, unsigned host, int64_t now_us, pg_address *addresses, unsigned count);

void pg_hosts_good(struct pg_hosts *h, unsigned host, const char *address, int64_t now_us);
/* One of its addresses failed. */
void pg_hosts_address_failed(struct pg_hosts *h, unsigned host, const char *address, int64_t now_us);
/* All of them have, or it has none. */
void pg_hosts_failed(struct pg_hosts *h, unsigned host, int64_t now_us);

/* Connections to it that were begun before now are suspect. */
static inline void pg_hosts_suspect(struct pg_hosts *h, unsigned host, int64_t now_us)
{
	atomic_store_explicit(&h->items[host].suspect_us, now_us, memory_order_relaxed);
}

/* The same, of a server that does not answer. */
static inline void pg_hosts_frozen(struct pg_hosts *h, unsigned host, int64_t now_us)
{
	pg_hosts_suspect(h, host, now_us);
	atomic_store_explicit(&h->items[host].frozen_us, now_us, memory_order_relaxed);
}

static inline bool pg_hosts_is_frozen(const struct pg_hosts *h, unsigned host, int64_t began_us)
{
	return began_us < atomic_load_explicit(&h->items[host].frozen_us, memory_order_relaxed);
}

static inline bool pg_hosts_is_suspect(const struct pg_hosts *h, unsigned host, int64_t began_us)
{
	return began_us < atomic_load_explicit(&h->items[host].suspect_us, memory_order_relaxed);
}

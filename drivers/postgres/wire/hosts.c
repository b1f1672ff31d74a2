/* Hosts, and the addresses of each, are sorted by what happened to them last. */
#include "drivers/postgres/wire/hosts.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define FAILED_LATELY_US 10000000

void pg_hosts_init(struct pg_hosts *h, unsigned count)
{
	*h = (struct pg_hosts){.count = count, .items = mem_zalloc(count * sizeof(*h->items))};
	pthread_mutex_init(&h->lock, NULL);
}

void pg_hosts_done(struct pg_hosts *h)
{
	pthread_mutex_destroy(&h->lock);
	free(h->items);
}

/* Under lock. It may be that nothing is known of it: NULL, or, to note something, the place of the one that was heard
 * of longest ago. */
static struct pg_memory *of_address(struct pg_host_memory *host, const char *address, bool note)
{
	struct pg_address_memory *oldest = &host->addresses[0];

	for (unsigned i = 0; i < host->address_count; i++) {
		struct pg_address_memory *a = &host->addresses[i];
		if (strcmp(a->address, address) == 0)
			return &a->memory;
		if (a->memory.good_us + a->memory.failed_us < oldest->memory.good_us + oldest->memory.failed_us)
			oldest = a;
	}
	if (!note)
		return NULL;
	if (host->address_count < PG_ADDRESSES)
		oldest = &host->addresses[host->address_count++];
	*oldest = (struct pg_address_memory){0};
	memcpy(oldest->address, address, strnlen(address, PG_ADDRESS_LEN - 1));
	return &oldest->memory;
}

static bool failed_lately(const struct pg_memory *m, int64_t now_us)
{
	return m && m->failed_us && now_us - m->failed_us < FAILED_LATELY_US;
}

/* Under lock: 0, 1, 2 from first to last. last_good_us: the highest of all. */
static unsigned rank(const struct pg_memory *m, int64_t last_good_us, int64_t now_us)
{
	if (failed_lately(m, now_us))
		return 2;
	return m && m->good_us && m->good_us == last_good_us ? 0 : 1;
}

unsigned pg_hosts_order(struct pg_hosts *h, int64_t now_us, unsigned *order)
{
	int64_t last_good_us = 0;
	unsigned n = 0, fine = 0;

	pthread_mutex_lock(&h->lock);
	for (unsigned i = 0; i < h->count; i++) {
		if (h->items[i].memory.good_us > last_good_us)
			last_good_us = h->items[i].memory.good_us;
	}
	for (unsigned r = 0; r <= 2; r++) {
		fine = r == 2 ? n : fine;
		for (unsigned i = 0; i < h->count; i++) {
			if (rank(&h->items[i].memory, last_good_us, now_us) == r)
				order[n++] = i;
		}
	}
	pthread_mutex_unlock(&h->lock);
	return fine;
}

void pg_hosts_order_addresses(struct pg_hosts *h, unsigned host, int64_t now_us, pg_address *addresses, unsigned count)
{
	struct pg_host_memory *of = &h->items[host];
	pg_address sorted[PG_ADDRESSES];
	int64_t last_good_us = 0;
	unsigned n = 0;

	pthread_mutex_lock(&h->lock);
	for (unsigned i = 0; i < of->address_count; i++) {
		if (of->addresses[i].memory.good_us > last_good_us)
			last_good_us = of->addresses[i].memory.good_us;
	}
	for (unsigned r = 0; r <= 2; r++) {
		for (unsigned i = 0; i < count; i++) {
			if (rank(of_address(of, addresses[i], false), last_good_us, now_us) == r)
				memcpy(sorted[n++], addresses[i], sizeof(pg_address));
		}
	}
	pthread_mutex_unlock(&h->lock);
	memcpy(addresses, sorted, n * sizeof(pg_address));
}

void pg_hosts_good(struct pg_hosts *h, unsigned host, const char *address, int64_t now_us)
{
	pthread_mutex_lock(&h->lock);
	*of_address(&h->items[host], address, true) = (struct pg_memory){.good_us = now_us};
	h->items[host].memory = (struct pg_memory){.good_us = now_us};
	pthread_mutex_unlock(&h->lock);
}

void pg_hosts_address_failed(struct pg_hosts *h, unsigned host, const char *address, int64_t now_us)
{
	pthread_mutex_lock(&h->lock);
	of_address(&h->items[host], address, true)->failed_us = now_us;
	pthread_mutex_unlock(&h->lock);
}

void pg_hosts_failed(struct pg_hosts *h, unsigned host, int64_t now_us)
{
	pthread_mutex_lock(&h->lock);
	h->items[host].memory.failed_us = now_us;
	pthread_mutex_unlock(&h->lock);
}

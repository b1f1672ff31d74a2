/* Results that are kept for a while, and fetches that are shared, over all workers of the process.
 *
 * DESIGN. An entry has a key, the last value that was fetched for it, and, while somebody fetches it, a flight. Who
 * finds no fresh value joins the flight; who finds none either begins one and runs the fetch as a task of its own. A
 * flight belongs to all who wait for it: one who leaves leaves the others waiting, and the last one to leave cancels
 * the fetch. Values are immutable and counted, so a hit costs a look-up under the lock of one of the shards, held for a
 * few instructions. Memory is bounded: the least recently used entries go first, and a value that is larger than a
 * sixteenth of the bound (a shard's part of it) is handed to those who wait and not kept. A value that has outlived its
 * time stays until it is pushed out, for `on_error: stale`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "async/task.h"
#include "base/arena.h"
#include "base/error.h"
#include "config/config.h"

struct cache;
struct flight;
struct flight_wait;

/* What was fetched. Read-only, any thread. */
struct cached {
	unsigned references; /* atomic */
	unsigned status;     /* of a reply; 0: a step's result */
	int64_t stored_us;   /* CLOCK_MONOTONIC */
	size_t rows;         /* of a step's result */
	const char *text;    /* JSON; the rest of the struct's memory */
	size_t len;
	const char *headers; /* of a reply: header_count of them, in a form of handlers/gather/reply.c */
	size_t headers_len;
	unsigned header_count;
	bool complete; /* of a reply: no part of it was replaced */
	char etag[36]; /* of a reply, with its quotes */
};

/* One, not shared yet. headers_len bytes of headers are copied. */
struct cached *cached_new(const char *text, size_t len, const char *headers, size_t headers_len);
void cached_drop(struct cached *v); /* NULL is allowed; any thread */

/* 0 bytes: nothing is kept, fetches are shared all the same. */
struct cache *cache_new(size_t limit_bytes);
/* Bound it by that many bytes from now on. Any thread. */
void cache_resize(struct cache *c, size_t limit_bytes);
/* No flight may be under way. NULL is allowed. */
void cache_free(struct cache *c);

/* Counted of the cache since the start: look-ups by what they found. Any thread; takes no lock. */
enum cache_lookup { LOOKUP_HIT, LOOKUP_STALE, LOOKUP_SHARED, LOOKUP_MISS, CACHE_LOOKUPS };
extern const char *const cache_lookup_names[CACHE_LOOKUPS];
struct cache_numbers {
	uint64_t bytes, entries; /* now */
	uint64_t lookups[CACHE_LOOKUPS];
	uint64_t evictions;
};
struct cache_numbers cache_numbers(const struct cache *c);

enum cache_state {
	CACHE_FRESH, /* *value is within its ttl */
	CACHE_STALE, /* *value is within its stale time: use it, and fetch again if *flight was begun */
	CACHE_WAIT,  /* somebody is fetching: flight_await */
	CACHE_FETCH, /* the caller began *flight: spawn the fetch, then flight_await */
};

/* Look key up and, if it is not fresh, join or begin a flight. *value is the caller's to drop. *flight is set where
 * the caller began one, and must then run the fetch (with CACHE_STALE it is NULL if somebody else fetches already).
 * *wait is set with CACHE_WAIT and CACHE_FETCH: pass it to flight_await without suspending in between. Loop thread;
 * does not suspend. */
enum cache_state cache_look(struct cache *c, const void *key, size_t len, const struct config_cache *policy,
			    struct cached **value, struct flight **flight, struct flight_wait **wait);
/* Only a fresh value, or NULL. Begins nothing. Any thread. */
struct cached *cache_find(struct cache *c, const void *key, size_t len, const struct config_cache *policy);
/* Any value, however old, or NULL. Any thread. */
struct cached *cache_find_old(struct cache *c, const void *key, size_t len);

/* Of the one who began the flight: the task that fetches, to be cancelled when the last one who waits has left. Before
 * that task runs. Same loop. */
void flight_task(struct flight *f, struct task *t);
/* Suspends. Returns 0 with *value, the caller's to drop; or the fetch's error with e filled (its step lives in a); or
 * -ETIMEDOUT or -ECANCELED: the caller left. */
int flight_await(struct flight_wait *w, struct cached **value, struct arena *a, struct error *e) must_check;
/* The fetch has ended: with a value (taken over) that is kept where `keep`, or with r and e. Everybody who waits is
 * woken. Called once, on the loop of the task that fetched, also when it was cancelled or could not be spawned; f is
 * gone then. */
void flight_end(struct flight *f, struct cached *value, bool keep, int r, const struct error *e);

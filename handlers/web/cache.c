/* The cache: shards of a hash table, each with a lock and a list in the order of use; and the flights. */
#include "handlers/web/cache.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "async/loop.h"
#include "base/counter.h"
#include "base/list.h"
#include "base/mem.h"

enum { SHARDS = 16, FIRST_BUCKETS = 64 };

struct shard {
	pthread_mutex_t lock;
	struct entry **buckets; /* under lock, as all below */
	size_t bucket_count, entry_count;
	struct list used; /* entries, the least recently used first */
	size_t bytes, limit_bytes;
	struct counter lookups[CACHE_LOOKUPS], evictions;
	struct counter shown_bytes, shown_entries; /* for cache_numbers */
};

struct cache {
	uint64_t seed;
	struct shard shards[SHARDS];
};

/* Under its shard's lock. */
struct entry {
	struct entry *next; /* in the bucket */
	struct list used;
	uint64_t hash;
	struct cached *value;  /* NULL: none yet */
	struct flight *flight; /* NULL: nobody fetches */
	size_t key_len;
	char key[];
};

/* A fetch and all who wait for it. */
struct flight {
	struct shard *shard;
	struct entry *entry; /* under lock; NULL: the last one who waited has left, nobody can join any more */
	struct list waiters; /* under lock */
	unsigned references; /* under lock: the task that fetches, a message that is to cancel it */
	struct loop *loop;   /* of the task that fetches */
	struct task *task;   /* on that loop; NULL once it has ended */
	struct message abandoned;
	bool awaited; /* on that loop: the fetch has ended, abandoned is still to come */
};

/* One who waits; on the heap, for the end of the flight is a message that may find nobody there any more. */
struct flight_wait {
	struct list link;      /* under lock */
	struct flight *flight; /* under lock; NULL once it has ended */
	struct shard *shard;
	struct loop *loop;
	struct message landed;
	struct waiter *waiter; /* on its loop; NULL: not yet in flight_await, or it left */
	bool left, over;       /* on its loop; over: landed before flight_await */
	struct cached *value;
	int result;
	struct error error;
	char *step; /* error.step, whose configuration may be gone by the time that this lands */
};

static void free_wait(struct flight_wait *w)
{
	free(w->step);
	free(w);
}

/* --- values --- */

struct cached *cached_new(const char *text, size_t len, const char *headers, size_t headers_len)
{
	struct cached *v = mem_zalloc(sizeof(*v) + len + headers_len + 1);
	char *bytes = (char *)(v + 1);
	if (len)
		memcpy(bytes, text, len);
	if (headers_len)
		memcpy(bytes + len, headers, headers_len);
	v->references = 1;
	v->text = bytes;
	v->len = len;
	v->headers = bytes + len;
	v->headers_len = headers_len;
	v->stored_us = monotonic_us();
	return v;
}

static struct cached *cached_keep(struct cached *v)
{
	if (v)
		__atomic_add_fetch(&v->references, 1, __ATOMIC_RELAXED);
	return v;
}

void cached_drop(struct cached *v)
{
	if (v && __atomic_sub_fetch(&v->references, 1, __ATOMIC_ACQ_REL) == 0)
		free(v);
}

/* --- the table --- */

/* FNV-1a with a seed of the process's, so that collisions can't be prepared. */
static uint64_t hash_key(const struct cache *c, const void *key, size_t len)
{
	const unsigned char *s = key;
	uint64_t h = c->seed;
	for (size_t i = 0; i < len; i++)
		h = (h ^ s[i]) * 1099511628211u;
	return h ^ (h >> 29);
}

static struct shard *shard_of(struct cache *c, uint64_t hash)
{
	return &c->shards[hash % SHARDS];
}

static struct entry **bucket_of(struct shard *s, uint64_t hash)
{
	return &s->buckets[(hash / SHARDS) & (s->bucket_count - 1)];
}

static size_t entry_bytes(const struct entry *e)
{
	return sizeof(*e) + e->key_len + (e->value ? sizeof(*e->value) + e->value->len + e->value->headers_len : 0);
}

static struct entry *find(struct shard *s, uint64_t hash, const void *key, size_t len)
{
	struct entry *e = *bucket_of(s, hash);
	while (e && (e->hash != hash || e->key_len != len || memcmp(e->key, key, len) != 0))
		e = e->next;
	return e;
}

static void grow(struct shard *s)
{
	size_t old_count = s->bucket_count;
	struct entry **old = s->buckets;
	s->bucket_count *= 2;
	s->buckets = mem_zalloc(s->bucket_count * sizeof(struct entry *));
	for (size_t i = 0; i < old_count; i++) {
		for (struct entry *e = old[i], *next; e; e = next) {
			next = e->next;
			struct entry **bucket = bucket_of(s, e->hash);
			e->next = *bucket;
			*bucket = e;
		}
	}
	free(old);
}

static struct entry *add(struct shard *s, uint64_t hash, const void *key, size_t len)
{
	if (s->entry_count >= s->bucket_count)
		grow(s);
	struct entry *e = mem_zalloc(sizeof(*e) + len);
	e->hash = hash;
	e->key_len = len;
	memcpy(e->key, key, len);
	struct entry **bucket = bucket_of(s, hash);
	e->next = *bucket;
	*bucket = e;
	list_append(&s->used, &e->used);
	s->entry_count++;
	s->bytes += entry_bytes(e);
	return e;
}

static void drop_entry(struct shard *s, struct entry *e)
{
	struct entry **link = bucket_of(s, e->hash);
	while (*link != e)
		link = &(*link)->next;
	*link = e->next;
	list_remove(&e->used);
	s->entry_count--;
	s->bytes -= entry_bytes(e);
	cached_drop(e->value);
	free(e);
}

static void touch(struct shard *s, struct entry *e)
{
	list_remove(&e->used);
	list_append(&s->used, &e->used);
}

/* Push the least recently used out until the shard is within its bound; what is being fetched stays. */
static void evict(struct shard *s)
{
	list_for_each_safe (node, &s->used) {
		if (s->bytes <= s->limit_bytes)
			return;
		struct entry *e = container_of(node, struct entry, used);
		if (e->flight)
			continue;
		drop_entry(s, e);
		counter_add(&s->evictions, 1);
	}
}

/* Under lock. */
static void show(struct shard *s)
{
	counter_set(&s->shown_bytes, s->bytes);
	counter_set(&s->shown_entries, s->entry_count);
}

const char *const cache_lookup_names[CACHE_LOOKUPS] = {"hit", "stale", "shared", "miss"};

struct cache_numbers cache_numbers(const struct cache *c)
{
	struct cache_numbers n = {0};
	for (int i = 0; i < SHARDS; i++) {
		const struct shard *s = &c->shards[i];
		n.bytes += counter_read(&s->shown_bytes);
		n.entries += counter_read(&s->shown_entries);
		n.evictions += counter_read(&s->evictions);
		for (int l = 0; l < CACHE_LOOKUPS; l++)
			n.lookups[l] += counter_read(&s->lookups[l]);
	}
	return n;
}

struct cache *cache_new(size_t limit_bytes)
{
	struct cache *c = mem_zalloc(sizeof(*c));
	c->seed = 14695981039346656037u ^ (uint64_t)monotonic_us() * 0x9e3779b97f4a7c15u ^ (uintptr_t)c;
	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &c->shards[i];
		pthread_mutex_init(&s->lock, NULL);
		list_init(&s->used);
		s->bucket_count = FIRST_BUCKETS;
		s->buckets = mem_zalloc(s->bucket_count * sizeof(struct entry *));
		s->limit_bytes = limit_bytes / SHARDS;
	}
	return c;
}

void cache_resize(struct cache *c, size_t limit_bytes)
{
	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &c->shards[i];
		pthread_mutex_lock(&s->lock);
		s->limit_bytes = limit_bytes / SHARDS;
		evict(s);
		pthread_mutex_unlock(&s->lock);
	}
}

void cache_free(struct cache *c)
{
	if (!c)
		return;
	for (int i = 0; i < SHARDS; i++) {
		struct shard *s = &c->shards[i];
		while (!list_empty(&s->used))
			drop_entry(s, container_of(s->used.next, struct entry, used));
		free(s->buckets);
		pthread_mutex_destroy(&s->lock);
	}
	free(c);
}

/* --- looking up --- */

static void landed(struct message *m);
static void cancel_abandoned(struct message *m);

static struct flight *begin_flight(struct shard *s, struct entry *e)
{
	struct flight *f = mem_zalloc(sizeof(*f));
	*f = (struct flight){.shard = s, .entry = e, .references = 1, .loop = loop_current()};
	f->abandoned.run = cancel_abandoned;
	list_init(&f->waiters);
	e->flight = f;
	return f;
}

static struct flight_wait *join_flight(struct flight *f)
{
	struct flight_wait *w = mem_zalloc(sizeof(*w));
	*w = (struct flight_wait){.flight = f, .shard = f->shard, .loop = loop_current(), .landed.run = landed};
	list_append(&f->waiters, &w->link);
	loop_expect(w->loop, 1);
	return w;
}

enum cache_state cache_look(struct cache *c, const void *key, size_t len, const struct config_cache *policy,
			    struct cached **value, struct flight **flight, struct flight_wait **wait)
{
	uint64_t hash = hash_key(c, key, len);
	struct shard *s = shard_of(c, hash);
	enum cache_state state;
	static const enum cache_lookup lookups[] = {[CACHE_FRESH] = LOOKUP_HIT,
						    [CACHE_STALE] = LOOKUP_STALE,
						    [CACHE_WAIT] = LOOKUP_SHARED,
						    [CACHE_FETCH] = LOOKUP_MISS};

	*value = NULL;
	*flight = NULL;
	*wait = NULL;
	pthread_mutex_lock(&s->lock);
	struct entry *e = find(s, hash, key, len);
	if (!e)
		e = add(s, hash, key, len);
	touch(s, e);
	int64_t age_us = e->value ? monotonic_us() - e->value->stored_us : INT64_MAX;
	if (age_us < policy->ttl_us) {
		state = CACHE_FRESH;
		*value = cached_keep(e->value);
	} else if (e->value && age_us - policy->ttl_us < policy->stale_us) {
		state = CACHE_STALE;
		*value = cached_keep(e->value);
		if (!e->flight)
			*flight = begin_flight(s, e);
	} else {
		state = e->flight ? CACHE_WAIT : CACHE_FETCH;
		if (!e->flight)
			*flight = begin_flight(s, e);
		*wait = join_flight(e->flight);
	}
	counter_add(&s->lookups[lookups[state]], 1);
	show(s);
	pthread_mutex_unlock(&s->lock);
	return state;
}

static struct cached *find_value(struct cache *c, const void *key, size_t len, int64_t max_age_us, bool counts)
{
	uint64_t hash = hash_key(c, key, len);
	struct shard *s = shard_of(c, hash);
	struct cached *v = NULL;

	pthread_mutex_lock(&s->lock);
	struct entry *e = find(s, hash, key, len);
	if (e && e->value && monotonic_us() - e->value->stored_us < max_age_us) {
		if (counts)
			counter_add(&s->lookups[LOOKUP_HIT], 1);
		touch(s, e);
		v = cached_keep(e->value);
	}
	pthread_mutex_unlock(&s->lock);
	return v;
}

struct cached *cache_find(struct cache *c, const void *key, size_t len, const struct config_cache *policy)
{
	return find_value(c, key, len, policy->ttl_us, true);
}

struct cached *cache_find_old(struct cache *c, const void *key, size_t len)
{
	return find_value(c, key, len, INT64_MAX, false);
}

/* --- flights --- */

void flight_task(struct flight *f, struct task *t)
{
	f->task = t;
}

/* Returns whether f is to be freed. Under lock. */
static bool unreference(struct flight *f)
{
	return --f->references == 0;
}

/* On the loop of the task that fetches: nobody waits any more. */
static void cancel_abandoned(struct message *m)
{
	struct flight *f = container_of(m, struct flight, abandoned);
	struct shard *s = f->shard;
	if (f->task)
		task_cancel(f->task);
	if (f->awaited)
		loop_expect(f->loop, -1);
	pthread_mutex_lock(&s->lock);
	bool gone = unreference(f);
	pthread_mutex_unlock(&s->lock);
	if (gone)
		free(f);
}

/* On the loop of one who waits: the flight has ended. flight_await frees w. */
static void arrive(struct flight_wait *w)
{
	loop_expect(w->loop, -1);
	w->over = true;
	if (w->waiter)
		task_wake(w->waiter, 0);
}

/* The same, from another loop: it may have left meanwhile. */
static void landed(struct message *m)
{
	struct flight_wait *w = container_of(m, struct flight_wait, landed);
	arrive(w);
	if (w->left) {
		cached_drop(w->value);
		free_wait(w);
	}
}

struct flight_waiter {
	struct waiter waiter;
	struct flight_wait *wait;
};

/* The deadline passed or the task was cancelled. The last one to leave takes the flight out of the table and cancels
 * it. */
static void leave(struct waiter *waiter)
{
	struct flight_wait *w = container_of(waiter, struct flight_waiter, waiter)->wait;
	struct flight *f, *abandoned = NULL;

	pthread_mutex_lock(&w->shard->lock);
	f = w->flight;
	if (f) {
		list_remove(&w->link);
		if (list_empty(&f->waiters) && f->entry) {
			f->entry->flight = NULL;
			f->entry = NULL;
			f->references++;
			abandoned = f;
		}
	}
	pthread_mutex_unlock(&w->shard->lock);
	w->waiter = NULL;
	w->left = true;
	if (f) { /* else its message is on the way */
		loop_expect(w->loop, -1);
		free_wait(w);
	}
	if (abandoned)
		loop_post(abandoned->loop, &abandoned->abandoned);
}

int flight_await(struct flight_wait *w, struct cached **value, struct arena *a, struct error *e)
{
	if (!w->over) {
		struct flight_waiter wait = {.wait = w};
		waiter_init(&wait.waiter, leave, "an answer that another request fetches for the cache");
		w->waiter = &wait.waiter; // cppcheck-suppress autoVariables ; it leaves w before it goes
		int left = task_suspend(&wait.waiter, DEADLINE_NEVER);
		if (left < 0)
			return left;
	}
	*value = w->value;
	int r = w->result;
	if (r < 0) {
		*e = w->error;
		e->step = w->step ? arena_strdup(a, w->step) : NULL;
	}
	free_wait(w);
	return r;
}

/* Under lock. What would not fit even alone must not push everything else out. */
static void keep_value(struct shard *s, struct entry *entry, struct cached *value)
{
	if (sizeof(*entry) + entry->key_len + sizeof(*value) + value->len + value->headers_len > s->limit_bytes)
		return;
	s->bytes -= entry_bytes(entry);
	cached_drop(entry->value);
	entry->value = cached_keep(value);
	s->bytes += entry_bytes(entry);
}

void flight_end(struct flight *f, struct cached *value, bool keep, int r, const struct error *e)
{
	struct shard *s = f->shard;
	struct list waiters;

	list_init(&waiters);
	f->task = NULL;
	pthread_mutex_lock(&s->lock);
	struct entry *entry = f->entry;
	if (entry) {
		entry->flight = NULL;
		f->entry = NULL;
		if (value && keep)
			keep_value(s, entry, value);
		if (!entry->value)
			drop_entry(s, entry);
	}
	while (!list_empty(&f->waiters)) {
		struct flight_wait *w = container_of(list_shift(&f->waiters), struct flight_wait, link);
		w->flight = NULL;
		w->value = cached_keep(value);
		w->result = r;
		if (r < 0) {
			w->error = *e;
			w->error.step = NULL;
			w->step = e->step ? mem_strdup(e->step) : NULL;
		}
		list_append(&waiters, &w->link);
	}
	evict(s);
	show(s);
	bool gone = unreference(f);
	if (!gone) { /* the message that is to cancel it is on its way */
		f->awaited = true;
		loop_expect(f->loop, 1);
	}
	pthread_mutex_unlock(&s->lock);
	while (!list_empty(&waiters)) {
		struct flight_wait *w = container_of(list_shift(&waiters), struct flight_wait, link);
		if (w->loop == loop_current())
			arrive(w);
		else
			loop_post(w->loop, &w->landed);
	}
	cached_drop(value);
	if (gone)
		free(f);
}

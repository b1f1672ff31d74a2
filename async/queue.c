/* Queues: entries in a ring or in a heap, and who waits at either end.
 *
 * Getters wait only while nothing is in it, putters only while it is full, so nobody who comes later can overtake. Each
 * entry keeps the number of its put: it orders equals, and finds the place of one that comes back from a getter. With
 * those that come back, there may be a few more entries than `capacity`. */
#include "async/queue.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "async/internal.h"
#include "base/mem.h"

enum { FIRST_ROOM = 16 }; /* a power of two, as each that follows */

static void init(struct queue *q, enum queue_order order, size_t capacity)
{
	*q = (struct queue){.order = order, .capacity = capacity};
	list_init(&q->getters);
	list_init(&q->putters);
	list_init(&q->joiners);
}

void queue_init(struct queue *q, size_t capacity)
{
	init(q, QUEUE_FIFO, capacity);
}

void queue_init_lifo(struct queue *q, size_t capacity)
{
	init(q, QUEUE_LIFO, capacity);
}

void queue_init_priority(struct queue *q, size_t capacity, int (*compare)(const void *a, const void *b))
{
	init(q, QUEUE_PRIORITY, capacity);
	q->compare = compare;
}

void queue_done(struct queue *q)
{
	assert(list_empty(&q->getters) && list_empty(&q->putters) && list_empty(&q->joiners));
	free(q->entries);
	init(q, q->order, q->capacity);
}

/* --- the entries --- */

static struct queue_entry *entry(const struct queue *q, size_t i)
{
	return &q->entries[(q->head + i) & (q->room - 1)];
}

static void make_room(struct queue *q)
{
	if (q->count < q->room)
		return;
	size_t room = q->room ? q->room * 2 : FIRST_ROOM;
	struct queue_entry *entries = mem_array(room, sizeof(*entries));
	for (size_t i = 0; i < q->count; i++)
		entries[i] = *entry(q, i);
	free(q->entries);
	q->entries = entries;
	q->head = 0;
	q->room = room;
}

/* Does a leave the heap before b? */
static bool before(const struct queue *q, const struct queue_entry *a, const struct queue_entry *b)
{
	int order = q->compare(a->item, b->item);
	return order < 0 || (order == 0 && a->number < b->number);
}

static void heap_add(struct queue *q, struct queue_entry e)
{
	size_t i = q->count++;
	for (size_t parent; i > 0 && before(q, &e, entry(q, parent = (i - 1) / 2)); i = parent)
		*entry(q, i) = *entry(q, parent);
	*entry(q, i) = e;
}

static struct queue_entry heap_take(struct queue *q)
{
	struct queue_entry first = *entry(q, 0), last = *entry(q, --q->count);
	size_t i = 0;
	for (size_t child; (child = 2 * i + 1) < q->count; i = child) {
		if (child + 1 < q->count && before(q, entry(q, child + 1), entry(q, child)))
			child++;
		if (before(q, &last, entry(q, child)))
			break;
		*entry(q, i) = *entry(q, child);
	}
	*entry(q, i) = last;
	return first;
}

/* Into the ring's front, after those that were put earlier: only others that came back. */
static void ring_return(struct queue *q, struct queue_entry e)
{
	size_t i = 0;
	q->head = (q->head - 1) & (q->room - 1);
	q->count++;
	for (; i + 1 < q->count && entry(q, i + 1)->number < e.number; i++)
		*entry(q, i) = *entry(q, i + 1);
	*entry(q, i) = e;
}

static void insert(struct queue *q, struct queue_entry e, bool returned)
{
	make_room(q);
	if (q->order == QUEUE_PRIORITY)
		heap_add(q, e);
	else if (returned)
		ring_return(q, e);
	else
		*entry(q, q->count++) = e;
}

static struct queue_entry take(struct queue *q)
{
	if (q->order == QUEUE_PRIORITY)
		return heap_take(q);
	struct queue_entry e = *entry(q, q->order == QUEUE_LIFO ? q->count - 1 : 0);
	if (q->order == QUEUE_FIFO)
		q->head = (q->head + 1) & (q->room - 1);
	q->count--;
	return e;
}

/* --- the two ends --- */

struct queue_wait {
	struct waiter waiter;
	struct queue_entry entry; /* that a putter brings; that a getter was given */
};

static struct queue_wait *first_of(struct list *waiters)
{
	return container_of(waiters->next, struct queue_wait, waiter.link);
}

/* To the first who waits for one, or into the queue. */
static void deliver(struct queue *q, struct queue_entry e, bool returned)
{
	if (list_empty(&q->getters)) {
		insert(q, e, returned);
		return;
	}
	struct queue_wait *getter = first_of(&q->getters);
	getter->entry = e;
	task_wake(&getter->waiter, 0);
}

static void accept_put(struct queue *q, void *item)
{
	q->unfinished++;
	deliver(q, (struct queue_entry){.item = item, .number = q->puts++}, false);
}

static bool full(const struct queue *q)
{
	return q->capacity > 0 && q->count >= q->capacity;
}

int queue_put_now(struct queue *q, void *item)
{
	if (q->closed)
		return -EPIPE;
	if (full(q))
		return -EAGAIN;
	accept_put(q, item);
	return 0;
}

int queue_put(struct queue *q, void *item, deadline_t by)
{
	int r = task_check();
	if (r == 0)
		r = queue_put_now(q, item);
	if (r != -EAGAIN)
		return r;
	struct queue_wait wait = {.entry.item = item};
	waiter_init(&wait.waiter, NULL, "room in a queue");
	list_append(&q->putters, &wait.waiter.link);
	return task_suspend(&wait.waiter, by);
}

int queue_get_now(struct queue *q, void **item)
{
	if (q->count == 0)
		return q->closed ? -EPIPE : -EAGAIN;
	*item = take(q).item;
	if (!list_empty(&q->putters) && !full(q)) {
		struct queue_wait *putter = first_of(&q->putters);
		accept_put(q, putter->entry.item);
		task_wake(&putter->waiter, 0);
	}
	return 0;
}

int queue_get(struct queue *q, void **item, deadline_t by)
{
	int r = task_check();
	if (r == 0)
		r = queue_get_now(q, item);
	if (r != -EAGAIN)
		return r;
	struct queue_wait wait;
	waiter_init(&wait.waiter, NULL, "an item of a queue");
	list_append(&q->getters, &wait.waiter.link);
	r = task_suspend(&wait.waiter, by);
	if (r == -EPIPE)
		return queue_get_now(q, item); /* there is something if another getter gave it back */
	if (r < 0)
		return r;
	if (task_check() == -ECANCELED) {
		deliver(q, wait.entry, true);
		return -ECANCELED;
	}
	*item = wait.entry.item;
	return 0;
}

void queue_close(struct queue *q)
{
	q->closed = true;
	waiters_wake_all(&q->getters, -EPIPE);
	waiters_wake_all(&q->putters, -EPIPE);
}

/* --- what became of the items --- */

int queue_task_done(struct queue *q)
{
	if (q->unfinished == 0)
		return -EPERM;
	if (--q->unfinished == 0)
		waiters_wake_all(&q->joiners, 0);
	return 0;
}

int queue_join(struct queue *q, deadline_t by)
{
	int r = task_check();
	if (r < 0 || q->unfinished == 0)
		return r;
	struct waiter w;
	waiter_init(&w, NULL, "a queue's items to be done");
	list_append(&q->joiners, &w.link);
	return task_suspend(&w, by);
}

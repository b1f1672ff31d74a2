/* A bounded queue of pointers between tasks of one loop (asyncio.Queue, LifoQueue, PriorityQueue).
 *
 * Putters and getters that wait are served first come, first served, and an item goes straight from one to the other.
 * A waiter that leaves (deadline, cancellation) leaves no hole. An item that is on its way to a getter that is
 * cancelled goes back to its place, or to the next getter; one that was taken from a putter that is cancelled is in the
 * queue, and its put returns 0. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "async/task.h"

struct queue_entry {
	void *item;
	uint64_t number; /* of its put */
};

enum queue_order { QUEUE_FIFO, QUEUE_LIFO, QUEUE_PRIORITY };

struct queue {
	enum queue_order order;
	int (*compare)(const void *a, const void *b);
	size_t capacity;             /* 0: no bound */
	struct queue_entry *entries; /* a ring in the order of the puts; with a priority, a heap from 0 */
	size_t head, count, room;
	uint64_t puts, unfinished;
	bool closed;
	struct list getters; /* wait while it is empty */
	struct list putters; /* wait while it is full */
	struct list joiners;
};

/* At most capacity items; 0: as many as there is memory for. First in, first out. */
void queue_init(struct queue *q, size_t capacity);
/* Last in, first out. */
void queue_init_lifo(struct queue *q, size_t capacity);
/* The one first that compares lowest, of equals the one that was put first. compare must not suspend. */
void queue_init_priority(struct queue *q, size_t capacity, int (*compare)(const void *a, const void *b));
/* Nobody may wait. What is in it is forgotten. */
void queue_done(struct queue *q);

/* Suspends while it is full. Returns 0: item is in the queue, or on its way to a getter. Or -EPIPE (it is closed),
 * -ETIMEDOUT or -ECANCELED: item is not. */
int queue_put(struct queue *q, void *item, deadline_t by) must_check;
/* Outside tasks too. Returns 0, -EAGAIN (it is full) or -EPIPE. */
int queue_put_now(struct queue *q, void *item) must_check;
/* Suspends while it is empty. Returns 0 with *item, -EPIPE (it is closed and empty), -ETIMEDOUT or -ECANCELED. */
int queue_get(struct queue *q, void **item, deadline_t by) must_check;
/* Outside tasks too. Returns 0 with *item, -EAGAIN (it is empty) or -EPIPE (it is closed and empty). */
int queue_get_now(struct queue *q, void **item) must_check;
static inline size_t queue_count(const struct queue *q)
{
	return q->count;
}

/* No more is put; what is in it may still be taken. All who wait to put or get are woken with -EPIPE. Idempotent. */
void queue_close(struct queue *q);

/* One item that was taken is done with. Returns 0, or -EPERM: more were done than put. */
int queue_task_done(struct queue *q);
/* Suspends until queue_task_done was called for each item that was put. Returns 0, -ETIMEDOUT or -ECANCELED. */
int queue_join(struct queue *q, deadline_t by) must_check;

/* The connections of a source, over all workers: `pool.size` of them at most, one line for all calls that wait
 * (`pool.max_waiting`), and the mail that takes an idle connection to the worker whose call is next.
 *
 * DESIGN. Each connection belongs to one worker, which uses it without a lock. A call that finds none stands in the
 * line with a ticket. Whoever has an idle connection while somebody stands in line gives it to the first: to a call of
 * its own at once, to one of another worker as a parcel in that worker's mail. The first ticket in an empty line is
 * told to all other workers, which look whether they have something idle; until the line is empty again they look by
 * themselves whenever a connection becomes idle. So after each turn of its loop, a worker that was told of the line has
 * no idle connection that somebody in the line could use. The mutex is taken only when somebody waits, and when a
 * connection is opened or closed.
 *
 * A wish is weaker than a ticket: a worker whose calls share connections would like one more. It gets what has been
 * idle for a while. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "async/loop.h"
#include "base/list.h"

struct budget_member;
struct budget_parcel;

struct budget {
	pthread_mutex_t lock;
	unsigned size;        /* under lock: all connections of the process */
	int spare;            /* under lock: of them, those that no member holds; below 0: so many are to be closed */
	struct list members;  /* under lock */
	struct list line;     /* under lock: tickets, the next to be served first */
	struct list wishes;   /* under lock: members, the first to wish first */
	unsigned max_waiting; /* under lock */
	/* Written under lock, but for `working`; read without. */
	atomic_uint waiting;  /* tickets in line */
	atomic_uint wished;   /* members that wish */
	atomic_uint draining; /* connections that take no more calls, so that they become idle for the line */
	atomic_uint working;  /* connections that the server has let in */
	atomic_uint surplus;  /* connections that are beyond size */
};

/* A place in the line; embedded in the call that waits. */
struct budget_ticket {
	struct list link;             /* under lock: in the line */
	struct budget_member *member; /* whose call it is */
	int64_t fresh_us;             /* only a connection that was opened at this time or later will do */
	struct budget_parcel *parcel; /* under lock: on its way to it */
};

/* Embedded in a connection. */
struct budget_parcel {
	struct list link;             /* under lock: in the mail */
	struct budget_member *to;     /* under lock */
	struct budget_ticket *ticket; /* under lock: NULL: nobody waits for it any more, or it was wished for */
};

struct budget_ops {
	/* A connection has come, which m holds now. ticket: the call that it is for, out of line; NULL: none. */
	void (*arrived)(struct budget_member *m, struct budget_parcel *parcel, struct budget_ticket *ticket);
	/* Somebody waits, or wishes, for what may be idle here; or there is room for a connection that is wanted
	 * here. */
	void (*look)(struct budget_member *m);
};

/* A worker's part; embedded in its client. Loop thread only but for what is under the budget's lock. */
struct budget_member {
	struct budget *budget;
	struct loop *loop;
	const struct budget_ops *ops; /* called on the member's loop, outside tasks */
	struct list link, wish;       /* under lock */
	unsigned held;                /* under lock: connections of this worker, those in its mail included */
	unsigned standing;            /* under lock: its tickets in line */
	struct list mail;             /* under lock */
	bool look;                    /* under lock: to be told to look */
	struct message message;
	bool message_posted; /* under lock */
};

/* size > 0. */
void budget_init(struct budget *b, unsigned size, unsigned max_waiting);
void budget_done(struct budget *b);
/* From now on there are that many (> 0), and so many may wait. If fewer are there than are held, all members are told
 * to look: whoever has an idle connection while budget_over closes it. Any thread. */
void budget_resize(struct budget *b, unsigned size, unsigned max_waiting);
void budget_join(struct budget *b, struct budget_member *m, struct loop *l, const struct budget_ops *ops);
/* It is told nothing more, but what is in its mail still arrives, and what it holds it still gives back. None of its
 * tickets may be in line. */
void budget_leave(struct budget_member *m);
/* After budget_leave: was everything given back, and has the last message arrived? Only then may m go. */
bool budget_quiet(struct budget_member *m);

/* May this worker open one more connection? True: it holds it until budget_give. */
bool budget_take(struct budget_member *m);
/* A connection is closed. */
void budget_give(struct budget_member *m);

/* Let t stand in line, first or last. Returns 0, or -EBUSY: it is not a rerun (first), and max_waiting are waiting. */
int budget_stand(struct budget_member *m, struct budget_ticket *t, bool first, int64_t fresh_us) must_check;
/* t leaves the line. If a connection is on its way to it, that arrives without a ticket. Idempotent. */
void budget_withdraw(struct budget_ticket *t);
/* Who is to have this idle connection of m's, which was opened at opened_us? BUDGET_OURS: *ours, a ticket of m's own,
 * is out of the line and is to be served now. BUDGET_SEND: the connection is not m's any more; detach it from m's loop,
 * then budget_send it. */
enum budget_fate { BUDGET_KEEP, BUDGET_OURS, BUDGET_SEND };
enum budget_fate budget_next(struct budget_member *m, struct budget_parcel *parcel, int64_t opened_us,
			     struct budget_ticket **ours);
void budget_send(struct budget_parcel *parcel);

/* Wish for one more; no-op while it does. */
void budget_wish(struct budget_member *m);
void budget_unwish(struct budget_member *m);
/* Does another worker wish for this idle connection of m's? True: as budget_next, it is to be sent. */
bool budget_next_wish(struct budget_member *m, struct budget_parcel *parcel);

/* May one more connection drain? As many as stand in line. True: budget_drained follows. */
bool budget_drain(struct budget *b);
void budget_drained(struct budget *b);

/* Does anybody stand in line, in any worker? */
static inline bool budget_waiting(const struct budget *b)
{
	return atomic_load_explicit(&b->waiting, memory_order_relaxed) > 0;
}

static inline bool budget_wished(const struct budget *b)
{
	return atomic_load_explicit(&b->wished, memory_order_relaxed) > 0;
}

/* How many more connections are held than there may be. */
static inline unsigned budget_surplus(const struct budget *b)
{
	return atomic_load_explicit(&b->surplus, memory_order_relaxed);
}

static inline bool budget_over(const struct budget *b)
{
	return budget_surplus(b) > 0;
}

/* A connection works, or does so no more. */
static inline void budget_works(struct budget *b, bool works)
{
	atomic_fetch_add_explicit(&b->working, works ? 1u : -1u, memory_order_relaxed);
}

/* Connections that work, in all workers. */
static inline unsigned budget_working(const struct budget *b)
{
	return atomic_load_explicit(&b->working, memory_order_relaxed);
}

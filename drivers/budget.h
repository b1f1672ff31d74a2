/* How many connections a source may have, over all workers: `pool.size` exactly, one of them sure for each worker, the
 * rest for whoever needs more; and how many calls may wait for one (`pool.max_waiting`).
 *
 * A worker that finds nothing left asks; every other worker is told once to shed a connection that it has idle, and
 * what is given back goes to who asked first. The mutex is held for a few instructions. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "async/loop.h"
#include "base/list.h"

struct budget {
	pthread_mutex_t lock;
	unsigned size;       /* all connections of the process */
	unsigned spare;      /* under lock: not handed out, beyond each member's own one */
	struct list members; /* under lock */
	struct list asking;  /* under lock: members that want one more, the first to ask first */
	unsigned max_waiting;
	atomic_uint waiting; /* calls that wait, all members */
	atomic_uint asked;   /* members that ask: read without the lock on the way back to idle */
};

/* A worker's part; embedded in its client. Loop thread only but for what is under the budget's lock. */
struct budget_member {
	struct budget *budget;
	struct loop *loop;
	struct list link, ask_link; /* under lock */
	atomic_bool asking;         /* stands in budget.asking: read without the lock, as `asked` is */
	unsigned held;              /* under lock: connections of this worker */
	struct message message;
	bool message_posted; /* under lock */
	unsigned granted;    /* under lock: on their way in the message */
	bool shed;           /* under lock: asked to give up an idle one */
	/* On the member's loop: `granted` connections more may be opened; and, where shed is set, another worker is
	 * waiting for an idle one. */
	void (*notify)(struct budget_member *m, unsigned granted, bool shed);
};

/* size >= members. */
void budget_init(struct budget *b, unsigned size, unsigned members, unsigned max_waiting);
void budget_done(struct budget *b);
void budget_join(struct budget *b, struct budget_member *m, struct loop *l,
		 void (*notify)(struct budget_member *m, unsigned granted, bool shed));
/* It asks for nothing more and is told nothing more; what it holds it still gives back. */
void budget_leave(struct budget_member *m);
/* After budget_leave: was everything given back, and has the last message arrived? Only then may m go. A connection
 * that such a message grants is to be given back by notify. */
bool budget_quiet(struct budget_member *m);
/* May this worker open one more connection? True: it holds it until budget_give. False: it asks, and notify comes. */
bool budget_take(struct budget_member *m);
/* A connection is closed. */
void budget_give(struct budget_member *m);
/* It does not want one any more. */
void budget_withdraw(struct budget_member *m);
/* Does another worker wait for a connection? Then an idle one beyond the first is better closed than kept. */
bool budget_wanted(const struct budget_member *m);

/* Count one more call that waits. Returns 0 or -EBUSY: max_waiting are waiting already. */
int budget_wait_begin(struct budget *b) must_check;
void budget_wait_end(struct budget *b);

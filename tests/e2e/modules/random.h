/* Random programs of all that gatherd.h has: what the files random_*.c share. test_handlers_random.py runs them.
 *
 * A request has a seed and a size. They make a tree of nodes: a node is a task (or what runs in the same one) that
 * takes operations from the table of random_program.c and hands part of its size on to its children. What is chosen
 * depends on the node's own generator alone, so a seed is always the same program, whatever its timing. Each operation
 * knows what it may be answered; whatever else it sees is a line "violation" in the log. */
#pragma once

#include <errno.h>
#include <gatherd.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

enum { KIN = 4 }; /* how many children an operation has at most */

struct node;

/* What nodes wait for each other with; it lives as long as the scope that its nodes are in, or longer. */
struct board {
	gd_semaphore *bounded, *plain;
	unsigned permits, inside; /* of `bounded`: how many nodes are between its two calls */
	gd_mutex *mutex;
	const struct node *holder; /* of `mutex` */
	gd_event *event;
	gd_condition *condition;
	unsigned tokens; /* under `mutex` */
	gd_queue *queue, *lifo;
	gd_future *future;
};

/* One request, or one run of a background task. */
struct program {
	uint64_t seed;
	int64_t began_us;
	unsigned clients; /* bits of enum client_kind */
	bool calm;        /* its sources are there all the time */
};

struct node {
	struct program *program;
	struct node *parent, **kin; /* its siblings, itself among them */
	unsigned kin_count;
	gd_task *task; /* NULL: nobody has a handle of it */
	struct board *board;
	uint64_t random;  /* the state of its generator */
	unsigned size;    /* operations that it may still run, with those of its children */
	unsigned nested;  /* operations that it is in */
	unsigned shields; /* that are up */
	int64_t by_us;    /* the earliest deadline that it knows of */
	int *living;      /* counts the nodes of a scope that run, in memory around it; or NULL */
	uintptr_t inherited;
	const char *at; /* the operation that it is in */
	bool ended, waited;
	int outcome; /* what it has returned */
};

enum client_kind { PG = 1, MONGO = 2, WEB = 4, PAPERS = 8 };

/* A row of the table. */
struct operation {
	const char *name;
	unsigned weight;
	unsigned clients; /* that it needs */
	void (*run)(struct node *n);
};

extern const struct operation task_operations[], wait_operations[], client_operations[], value_operations[];

/* What goes on apart from gatherd, in the whole process. */
extern atomic_int threads_running, arguments_held;
extern gd_local inherited_key;

/* --- choosing --- */

/* From 0 to below n. */
unsigned pick(struct node *n, unsigned below);
static inline bool chance(struct node *n, unsigned of)
{
	return pick(n, of) == 0;
}
/* A deadline that comes soon, or (seldom) never. */
gd_deadline soon(struct node *n);

/* --- nodes --- */

/* A child with a part of n's size, in memory of the current scope. */
struct node *child_of(struct node *n);
/* The whole of it, as a task. */
int run_node(void *node);
/* A few of n's operations, within the one that it is in. Suspends. */
void run_within(struct node *n);
/* A new board of the current scope. */
struct board *board_new(struct node *n);
int64_t now_us(void);

/* --- what must hold --- */

void violation(const struct node *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define must(n, condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition))                                                                                      \
			violation(n, "%s:%d: %s", __FILE_NAME__, __LINE__, #condition);                                \
	} while (0)
/* r of a call that was to wait until `by`: 0 or more; -ECANCELED where the task was cancelled and is not shielded;
 * -ETIMEDOUT not before the earliest deadline; or `also` (0: nothing else). Returns r. */
int expect(struct node *n, int r, gd_deadline by, int also);

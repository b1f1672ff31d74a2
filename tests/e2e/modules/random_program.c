/* Random programs: the table's use, the nodes, the handlers and the background task that run them. See random.h. */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "random.h"

enum {
	REQUEST_US = 2000000, /* the longest that a request may take; test_handlers_random.py has it, too */
	WAITED_US = 500000,   /* for so long it may have waited for its turn, at most */
	DEEPEST = 4,          /* operations of one node within each other */
};

atomic_int threads_running, arguments_held;
static atomic_int nodes_running, programs_running, violations, programs_ended;
gd_local inherited_key = {.name = "inherited"};

static const struct operation *const tables[] = {task_operations, wait_operations, client_operations, value_operations};
enum { TABLES = sizeof(tables) / sizeof(tables[0]) };

int64_t now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* --- choosing --- */

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

unsigned pick(struct node *n, unsigned below)
{
	return (unsigned)(draw(&n->random) % below);
}

gd_deadline soon(struct node *n)
{
	unsigned die = pick(n, 40);
	if (die == 0)
		return GD_NEVER;
	return gd_in_ms(die < 10 ? pick(n, 3) : pick(n, 60));
}

static const struct operation *choose(struct node *n)
{
	unsigned sum = 0;
	for (unsigned i = 0; i < TABLES; i++) {
		for (const struct operation *o = tables[i]; o->name; o++)
			sum += (o->clients & ~n->program->clients) ? 0 : o->weight;
	}
	unsigned at = pick(n, sum);
	for (unsigned i = 0; i < TABLES; i++) {
		for (const struct operation *o = tables[i]; o->name; o++) {
			unsigned weight = (o->clients & ~n->program->clients) ? 0 : o->weight;
			if (at < weight)
				return o;
			at -= weight;
		}
	}
	return &task_operations[0];
}

/* --- what must hold --- */

void violation(const struct node *n, const char *format, ...)
{
	char what[300];
	va_list ap;
	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	atomic_fetch_add(&violations, 1);
	gd_log(GD_LOG_ERROR, "violation seed=%llu operation=%s: %s", (unsigned long long)n->program->seed,
	       n->at ? n->at : "none", what);
}

int expect(struct node *n, int r, gd_deadline by, int also)
{
	int64_t by_us = by.us < n->by_us ? by.us : n->by_us;
	if (r >= 0 || (also && r == also))
		return r;
	if (r == -ETIMEDOUT && now_us() < by_us)
		violation(n, "timed out %lld us too early", (long long)(by_us - now_us()));
	else if (r == -ECANCELED && (!gd_cancelled() || n->shields > 0))
		violation(n, "-ECANCELED in a task that is %s", gd_cancelled() ? "shielded" : "not cancelled");
	else if (r != -ETIMEDOUT && r != -ECANCELED)
		violation(n, "an answer of %d", r);
	return r;
}

/* --- nodes --- */

struct board *board_new(struct node *n)
{
	struct board *b = gd_alloc(sizeof(*b));
	b->permits = 1 + pick(n, 3);
	b->bounded = gd_semaphore_new(b->permits, 0);
	b->plain = gd_semaphore_new_unbounded(pick(n, 2), 3);
	b->mutex = gd_mutex_new();
	b->event = gd_event_new();
	b->condition = gd_condition_new(b->mutex);
	b->queue = gd_queue_new(1 + pick(n, 4));
	b->lifo = gd_queue_new_priority(2, NULL);
	b->future = gd_future_new();
	return b;
}

static struct node *node_new(const struct node *from, uint64_t random, unsigned size)
{
	struct node *n = gd_alloc(sizeof(*n));
	if (from)
		*n = *from;
	n->random = random;
	n->size = size;
	n->at = NULL;
	n->kin = NULL;
	n->task = NULL;
	n->kin_count = n->nested = n->shields = 0;
	n->ended = n->waited = false;
	n->outcome = -EINPROGRESS;
	return n;
}

struct node *child_of(struct node *n)
{
	unsigned size = n->size > 1 ? 1 + pick(n, (n->size + 1) / 2) : 0;
	n->size -= size;
	struct node *c = node_new(n, draw(&n->random), size);
	c->parent = n;
	c->inherited = (uintptr_t)gd_local_get(&inherited_key);
	return c;
}

static void step(struct node *n)
{
	const char *outer = n->at;
	const struct operation *o = choose(n);
	n->size--;
	n->at = o->name;
	n->nested++;
	must(n, gd_local_get(&inherited_key) == (void *)n->inherited);
	o->run(n);
	n->nested--;
	n->at = outer;
}

void run_within(struct node *n)
{
	if (n->nested >= DEEPEST)
		return;
	for (unsigned i = 1 + pick(n, 3); i > 0 && n->size > 0; i--)
		step(n);
}

/* Some go on when they are cancelled: each of their calls must fail, and they come to an end all the same. */
int run_node(void *node)
{
	struct node *n = node;
	bool stubborn = chance(n, 4), fails = chance(n, 8);
	if (n->living)
		++*n->living;
	atomic_fetch_add(&nodes_running, 1);
	must(n, !n->ended && n->outcome == -EINPROGRESS);
	while (n->size > 0 && (stubborn || !gd_cancelled()))
		step(n);
	must(n, n->nested == 0 && n->shields == 0);
	n->outcome = fails ? -ENOENT : gd_cancelled() ? -ECANCELED : (int)pick(n, 1000);
	n->ended = true;
	atomic_fetch_sub(&nodes_running, 1);
	if (n->living)
		--*n->living;
	return n->outcome;
}

static struct node *root_of(struct program *p, unsigned size)
{
	struct node *n = node_new(NULL, p->seed, size);
	n->program = p;
	n->by_us = p->began_us + REQUEST_US - WAITED_US;
	n->board = board_new(n);
	n->inherited = (uintptr_t)gd_local_get(&inherited_key);
	return n;
}

/* --- how a request is answered --- */

static int reply_streamed(struct node *n, gd_request *req)
{
	bool events = chance(n, 2);
	int r = events ? gd_sse_begin(req, 5) : gd_stream_begin(req, 200, "text/plain");
	must(n, r == 0 || gd_cancelled());
	/* The request's deadline does not hold any more. */
	gd_deadline before = gd_deadline_push((gd_deadline){n->by_us});
	for (unsigned i = pick(n, 6); r == 0 && i > 0; i--) {
		run_within(n);
		r = events         ? gd_sse_send(req, "turn", NULL, "a\nb")
		    : chance(n, 2) ? gd_stream_printf(req, "%u\n", i)
				   : gd_stream_write(req, "0123456789abcdef", 16);
		must(n, r == 0 || r == -ETIMEDOUT || (r == -ECANCELED && gd_cancelled()));
	}
	gd_deadline_pop(before);
	if (chance(n, 10))
		return r; /* the client sees that it is not whole */
	int end = gd_stream_end(req);
	must(n, end == 0 || r < 0 || (end == -ECANCELED && gd_cancelled()));
	return end;
}

static int reply(struct node *n, gd_request *req)
{
	gd_value *answer = gd_doc("seed", gd_int((int64_t)n->program->seed), "outcome", gd_int(n->outcome));
	must(n, gd_reply_header(req, "x-seed", "1\n") == -EINVAL);
	switch (pick(n, 9)) {
	case 0:
		return reply_streamed(n, req);
	case 1:
		return gd_reply_text(req, 200, "%d", n->outcome);
	case 2:
		return gd_reply_bytes(req, 200, "application/octet-stream", "\0\1", 2);
	case 3:
		return gd_reply_redirect(req, 303, "/elsewhere");
	case 4:
		return gd_reply_error(req, -ENOENT);
	case 5:
		return gd_fail(-EEXIST, 409, "As it was drawn: %u.", pick(n, 100));
	case 6:
		return n->program->clients & PAPERS ? gd_reply_file(req, "papers", "still.txt")
						    : gd_fail(-EXDEV, 404, "There are no papers.");
	default:
		gd_reply(req, 200, answer);
		must(n, gd_reply(req, 200, answer) == -EALREADY);
		return 0;
	}
}

/* --- handlers --- */

static struct node *program_begin(uint64_t seed, unsigned size, unsigned clients)
{
	struct program *p = gd_alloc(sizeof(*p));
	*p = (struct program){.seed = seed, .began_us = now_us(), .clients = clients};
	atomic_fetch_add(&programs_running, 1);
	return root_of(p, size);
}

/* Its nodes that nobody awaits are ended with its scope. */
static void program_end(void)
{
	atomic_fetch_sub(&programs_running, 1);
	atomic_fetch_add(&programs_ended, 1);
}

int play(gd_request *req)
{
	struct node *n = program_begin((uint64_t)gd_to_int(gd_param(req, "seed"), 0),
				       (unsigned)gd_to_int(gd_param(req, "size"), 10),
				       (unsigned)gd_to_int(gd_param(req, "clients"), 0));
	n->program->calm = gd_to_int(gd_param(req, "calm"), 0);
	run_node(n);
	n->size = 4;
	int r = reply(n, req);
	gd_deadline before = gd_deadline_push((gd_deadline){n->by_us}); /* behind a stream there is none */
	if (chance(n, 2))
		run_within(n);
	gd_deadline_pop(before);
	program_end();
	return r;
}

/* What is left of all programs. */
int state(gd_request *req)
{
	return gd_reply(req, 200,
			gd_build("{nodes: %d, programs: %d, threads: %d, arguments: %d, violations: %d, ended: %d}",
				 atomic_load(&nodes_running), atomic_load(&programs_running),
				 atomic_load(&threads_running), atomic_load(&arguments_held), atomic_load(&violations),
				 atomic_load(&programs_ended)));
}

/* --- apart from requests --- */

static int play_again(void *arg)
{
	static _Thread_local uint64_t seed;
	(void)arg;
	struct node *n = program_begin(++seed, 6, 0);
	gd_deadline before = gd_deadline_push((gd_deadline){n->by_us});
	int r = run_node(n);
	gd_deadline_pop(before);
	program_end();
	return r;
}

int gd_module_start(unsigned worker, unsigned workers)
{
	(void)workers;
	return worker == 0 ? gd_every("every", 50, play_again, NULL) : gd_background("once", play_again, NULL);
}

void gd_module_stop(unsigned worker, unsigned workers)
{
	(void)worker;
	(void)workers;
	while (atomic_load(&threads_running) > 0 && gd_sleep(1) == 0) {}
}

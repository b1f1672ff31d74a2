/* Acquiring, opening, giving back and closing connections. Whatever changes asks for `pool_work`, which runs once at
 * the end of the turn, outside tasks, and starts what has become necessary. */
#include "drivers/mongo/wire/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/states.h"
#include "drivers/mongo/wire/errors.h"

#define PAUSE_FIRST_US 4000
#define PAUSE_MOST_US  5000000
#define LOOK_MS        2       /* how often a check looks whether there is an answer */
#define GOODBYE_US     1000000 /* to tell the server that a connection ends */

#define ENDS           (BIT(CONNECTION_LEAVING) | BIT(CONNECTION_BROKEN))

static const struct states states = {
	.of = "mongo connection",
	.names =
		{
			[CONNECTION_OPENING] = "opening",
			[CONNECTION_IDLE] = "idle",
			[CONNECTION_BUSY] = "busy",
			[CONNECTION_LEAVING] = "leaving",
			[CONNECTION_BROKEN] = "broken",
		},
	.allowed =
		{
			[CONNECTION_OPENING] = BIT(CONNECTION_IDLE) | ENDS,
			[CONNECTION_IDLE] = BIT(CONNECTION_BUSY) | ENDS,
			[CONNECTION_BUSY] = BIT(CONNECTION_IDLE) | ENDS,
		},
};

struct acquire_wait {
	struct waiter waiter;
	struct budget_ticket ticket;
	struct mongo_pool *pool;
	struct mongo_connection *found;
};

/* This worker's, of the source. */
static struct source_numbers *numbers_of(const struct mongo_pool *p)
{
	return tally_here(p->settings->tally);
}

/* There is one more connection in that state, or one less. */
static void count_state(struct mongo_pool *p, enum mongo_connection_state state, int n)
{
	static const int counted[CONNECTION_STATES] = {
		[CONNECTION_OPENING] = POOL_CONNECTING,
		[CONNECTION_IDLE] = POOL_IDLE,
		[CONNECTION_BUSY] = POOL_BUSY,
		[CONNECTION_LEAVING] = -1,
		[CONNECTION_BROKEN] = -1,
	};
	p->count[state] += (unsigned)n;
	if (counted[state] >= 0)
		counter_add(&numbers_of(p)->connections[counted[state]], n);
}

static void more_work(struct mongo_pool *p)
{
	loop_defer(p->loop, &p->work);
}

/* The most recently used idle connection stands first. */
static void move(struct mongo_connection *c, enum mongo_connection_state to)
{
	struct mongo_pool *p = c->pool;

	if (c->state == CONNECTION_OPENING && to == CONNECTION_IDLE)
		budget_works(p->settings->budget, true);
	if (c->state != CONNECTION_OPENING && (BIT(to) & ENDS))
		budget_works(p->settings->budget, false);
	list_remove(&c->link);
	count_state(p, c->state, -1);
	states_move(&states, &c->state, to, (struct states_subject){.source = p->settings->name, .which = c->number});
	count_state(p, to, 1);
	if (to == CONNECTION_IDLE)
		list_prepend(&p->in[to], &c->link);
	else
		list_append(&p->in[to], &c->link);
}

static struct mongo_connection *first_of(const struct mongo_pool *p, enum mongo_connection_state state)
{
	const struct list *l = &p->in[state];

	return list_empty(l) ? NULL : container_of(l->next, struct mongo_connection, link);
}

static unsigned usable(const struct mongo_pool *p)
{
	return p->count[CONNECTION_IDLE] + p->count[CONNECTION_BUSY];
}

/* A sound one says good-bye first; a broken one (fault is not 0) is closed at once, and another may take its place. */
static void discard(struct mongo_connection *c, int fault)
{
	struct mongo_pool *p = c->pool;

	if (c->counted)
		health_disconnected(p->settings->health);
	c->counted = false;
	if (fault)
		mongo_stream_set_fail(&c->streams, fault);
	move(c, fault ? CONNECTION_BROKEN : CONNECTION_LEAVING);
	if (fault)
		budget_give(&p->member);
	if (p->destroyer)
		task_wake(p->destroyer, 0);
	more_work(p);
}

/* --- giving connections to who waits --- */

static unsigned generation_now(const struct mongo_pool *p)
{
	return atomic_load_explicit(p->settings->generation, memory_order_relaxed);
}

/* Too old, or suspect. */
static bool outlived(const struct mongo_connection *c)
{
	return loop_now_us(c->pool->loop) - c->opened_us >= c->pool->limits->lifetime_us ||
	       c->generation != generation_now(c->pool);
}

static void janitor_start(struct mongo_pool *p)
{
	const struct config_pool *limits = p->limits;
	int64_t every = limits->idle_timeout_us < limits->lifetime_us ? limits->idle_timeout_us : limits->lifetime_us;

	if (!timer_running(&p->janitor))
		timer_start(&p->janitor, loop_timers(p->loop), (deadline_t){loop_now_us(p->loop) + every / 2 + 1000});
}

/* c is idle; the ticket is out of line. */
static void serve_ticket(struct mongo_connection *c, struct budget_ticket *ticket)
{
	struct acquire_wait *w = container_of(ticket, struct acquire_wait, ticket);

	list_remove(&w->waiter.link);
	c->pool->waiting--;
	move(c, CONNECTION_BUSY);
	w->found = c;
	task_wake(&w->waiter, 0);
}

static void send_away(struct mongo_connection *c)
{
	mongo_stream_set_detach(&c->streams);
	list_remove(&c->link);
	count_state(c->pool, CONNECTION_IDLE, -1);
	c->pool = NULL;
	budget_send(&c->parcel);
}

/* An idle connection goes to the first in line. */
static void serve(struct mongo_pool *p)
{
	if (!budget_waiting(p->settings->budget))
		return;
	list_for_each_safe (node, &p->in[CONNECTION_IDLE]) {
		struct mongo_connection *c = container_of(node, struct mongo_connection, link);
		struct budget_ticket *ours;
		if (outlived(c)) {
			discard(c, 0);
			continue;
		}
		enum budget_fate fate = budget_next(&p->member, &c->parcel, c->opened_us, &ours);
		if (fate == BUDGET_OURS)
			serve_ticket(c, ours);
		else if (fate == BUDGET_SEND)
			send_away(c);
	}
}

/* There may be fewer connections now: those that are idle go first. What leaves still counts until it has. */
static void shed(struct mongo_pool *p)
{
	list_for_each_safe (node, &p->in[CONNECTION_IDLE]) {
		if (budget_surplus(p->settings->budget) <= p->count[CONNECTION_LEAVING])
			return;
		discard(container_of(node, struct mongo_connection, link), 0);
	}
}

/* c is free and sound. */
static void offer(struct mongo_connection *c)
{
	struct mongo_pool *p = c->pool;

	p->down_since_us = 0;
	c->idle_since_us = loop_now_us(p->loop);
	move(c, CONNECTION_IDLE);
	janitor_start(p);
	shed(p);
	serve(p);
}

/* --- opening --- */

/* With jitter, so that the workers of many processes don't come back in step. */
static void pause_attempts(struct mongo_pool *p)
{
	uint64_t spread = (uint64_t)monotonic_us() * 0x9e3779b97f4a7c15u >> 16;
	int64_t half = p->pause_us / 2, pause = half + (int64_t)(spread % (uint64_t)(half + 1));

	p->pause_us = p->pause_us * 2 < PAUSE_MOST_US ? p->pause_us * 2 : PAUSE_MOST_US;
	timer_start(&p->retry, loop_timers(p->loop), (deadline_t){loop_now_us(p->loop) + pause});
}

static void opening_failed(struct mongo_pool *p, struct mongo_connection *c, int r, const struct error *e)
{
	discard(c, r == -ECANCELED ? r : -ECONNRESET);
	if (p->closing)
		return;
	counter_add(&numbers_of(p)->connects[POOL_CONNECT_FAILED], 1);
	health_failed(p->settings->health, e->what);
	p->failure = *e;
	p->proven = false;
	if (!p->down_since_us && budget_working(p->settings->budget) == 0)
		p->down_since_us = loop_now_us(p->loop);
	pause_attempts(p);
}

static void opening_succeeded(struct mongo_pool *p, struct mongo_connection *c)
{
	counter_add(&numbers_of(p)->connects[POOL_CONNECTED], 1);
	health_connected(p->settings->health);
	c->counted = true;
	p->proven = true;
	p->pause_us = PAUSE_FIRST_US;
	timer_stop(&p->retry, loop_timers(p->loop));
	c->opened_us = loop_now_us(p->loop);
	c->task = NULL;
	if (p->closing || c->disturbed)
		discard(c, p->closing ? 0 : -ECONNRESET);
	else
		offer(c);
	more_work(p);
}

static void disturbed(struct mongo_stream_set *set);

static int open_task(void *arg)
{
	struct mongo_connection *c = arg;
	struct mongo_pool *p = c->pool;
	struct error e = ERROR_INIT;
	int r = mongo_connection_open(c, p->settings->uri, p->settings->database, &p->settings->streams, disturbed, &e);

	if (r < 0)
		opening_failed(p, c, r, &e);
	else
		opening_succeeded(p, c);
	return 0;
}

/* The budget for it is the caller's to have. Returns 0 or -EAGAIN: no stack. */
static int start_opening(struct mongo_pool *p)
{
	static const struct task_options options = {.name = "mongo: connect", .detached = true};
	struct mongo_connection *c = mem_zalloc(sizeof(*c));

	c->pool = p;
	c->generation = generation_now(p);
	c->number = states_number();
	c->state = CONNECTION_OPENING;
	mongo_stream_set_init(&c->streams, &p->settings->streams, disturbed);
	int r = task_spawn(&c->task, open_task, c, &options);
	if (r < 0) {
		free(c);
		return r;
	}
	list_append(&p->in[CONNECTION_OPENING], &c->link);
	count_state(p, CONNECTION_OPENING, 1);
	return 0;
}

/* How many connections should be opened now. */
static unsigned wanted(const struct mongo_pool *p)
{
	unsigned opening = p->count[CONNECTION_OPENING];
	unsigned more = p->waiting > opening ? p->waiting - opening : 0;

	if (usable(p) + opening == 0 && more == 0)
		more = 1;
	if (p->closing || timer_running(&p->retry))
		return 0;
	/* One attempt at a time while the server is not known to be there. */
	if (!p->proven)
		return opening == 0 && more ? 1 : 0;
	return more;
}

static void open_wanted(struct mongo_pool *p)
{
	for (unsigned n = wanted(p); n > 0; n--) {
		if (!budget_take(&p->member))
			break;
		if (start_opening(p) < 0) {
			budget_give(&p->member);
			pause_attempts(p);
			break;
		}
	}
}

/* --- destroying --- */

static void destroy(struct mongo_pool *p, struct mongo_connection *c)
{
	list_remove(&c->link);
	mongo_connection_destroy(c, deadline_min(p->close_by, deadline_in_us(GOODBYE_US)));
	p->count[c->state]--;
	if (c->state == CONNECTION_LEAVING)
		budget_give(&p->member);
	free(c);
	more_work(p);
}

/* Sound ones go first: others wait for their places. */
static int destroy_task(void *arg)
{
	struct mongo_pool *p = arg;
	struct mongo_connection *c;

	while ((c = first_of(p, CONNECTION_LEAVING)) || (c = first_of(p, CONNECTION_BROKEN))) {
		deadline_t due = c->state == CONNECTION_BROKEN ? mongo_connection_rest(c) : (deadline_t){0};
		struct waiter w;
		if (deadline_passed(due)) {
			destroy(p, c);
			continue;
		}
		waiter_init(&w, NULL, "a broken MongoDB connection's time to close");
		p->destroyer = &w;
		int r = task_suspend(&w, due);
		p->destroyer = NULL;
		if (r == -ECANCELED)
			break;
	}
	p->destroying = false;
	more_work(p);
	return 0;
}

static void start_destroying(struct mongo_pool *p)
{
	static const struct task_options options = {.name = "mongo: close", .detached = true};

	if (p->destroying || p->count[CONNECTION_LEAVING] + p->count[CONNECTION_BROKEN] == 0)
		return;
	if (task_spawn(NULL, destroy_task, p, &options) == 0)
		p->destroying = true;
	else
		pause_attempts(p); /* it tries this, too, when the pause is over */
}

static void pool_work(struct deferred *d)
{
	struct mongo_pool *p = container_of(d, struct mongo_pool, work);

	shed(p);
	serve(p);
	open_wanted(p);
	start_destroying(p);
	if (p->closer)
		task_wake(p->closer, 0);
}

/* --- what happens to idle connections --- */

static void disturbed(struct mongo_stream_set *set)
{
	struct mongo_connection *c = container_of(set, struct mongo_connection, streams);

	c->disturbed = true;
	if (c->state == CONNECTION_IDLE)
		discard(c, -ECONNRESET);
}

static void drop_suspects(struct mongo_pool *p)
{
	list_for_each_safe (node, &p->in[CONNECTION_IDLE]) {
		struct mongo_connection *c = container_of(node, struct mongo_connection, link);
		if (c->generation != generation_now(p))
			discard(c, -ECONNRESET);
	}
}

static void janitor_fire(struct timer *t)
{
	struct mongo_pool *p = container_of(t, struct mongo_pool, janitor);
	int64_t now = loop_now_us(p->loop);

	list_for_each_safe (node, &p->in[CONNECTION_IDLE]) {
		struct mongo_connection *c = container_of(node, struct mongo_connection, link);
		bool unused = now - c->idle_since_us >= p->limits->idle_timeout_us && usable(p) > 1;
		if (unused || outlived(c))
			discard(c, 0);
	}
	if (!p->closing && p->count[CONNECTION_IDLE])
		janitor_start(p);
}

static void retry_fire(struct timer *t)
{
	more_work(container_of(t, struct mongo_pool, retry));
}

/* A connection from another worker. */
static void arrived(struct budget_member *m, struct budget_parcel *parcel, struct budget_ticket *ticket)
{
	struct mongo_pool *p = container_of(m, struct mongo_pool, member);
	struct mongo_connection *c = container_of(parcel, struct mongo_connection, parcel);

	c->pool = p;
	list_prepend(&p->in[CONNECTION_IDLE], &c->link);
	count_state(p, CONNECTION_IDLE, 1);
	p->down_since_us = 0;
	p->proven = true;
	janitor_start(p);
	mongo_stream_set_attach(&c->streams);
	if (ticket)
		serve_ticket(c, ticket);
	else if (p->closing)
		discard(c, 0);
	else
		serve(p);
}

/* Others wait for what is idle here, or there is room for one more. */
static void look(struct budget_member *m)
{
	struct mongo_pool *p = container_of(m, struct mongo_pool, member);

	serve(p);
	more_work(p);
}

static const struct budget_ops budget_ops = {.arrived = arrived, .look = look};

/* --- acquire and release --- */

static struct mongo_connection *take_idle(struct mongo_pool *p)
{
	struct mongo_connection *c;

	while ((c = first_of(p, CONNECTION_IDLE))) {
		if (!outlived(c)) {
			move(c, CONNECTION_BUSY);
			return c;
		}
		discard(c, 0);
	}
	return NULL;
}

static int unavailable(const struct mongo_pool *p, struct error *e)
{
	if (p->closing)
		return error_say(e, -ESHUTDOWN, REASON_UNAVAILABLE, "source %s is being closed", p->settings->name);
	if (!p->failure.errnum)
		return error_say(e, -EHOSTUNREACH, REASON_UNAVAILABLE, "source %s: not connected yet",
				 p->settings->name);
	int r = error_say(e, -EHOSTUNREACH, REASON_UNAVAILABLE, "source %s: %.300s", p->settings->name,
			  p->failure.what);
	if (e)
		memcpy(e->code, p->failure.code, sizeof(e->code));
	return r;
}

/* The pool is down while no worker has a connection that works. */
static bool down_for_long(struct mongo_pool *p)
{
	if (budget_working(p->settings->budget) > 0)
		p->down_since_us = 0;
	return p->down_since_us && loop_now_us(p->loop) - p->down_since_us >= p->limits->acquire_timeout_us;
}

static void stop_waiting(struct waiter *w)
{
	struct acquire_wait *wait = container_of(w, struct acquire_wait, waiter);
	struct mongo_pool *p = wait->pool;

	budget_withdraw(&wait->ticket);
	p->waiting--;
	more_work(p);
}

static int waited_in_vain(const struct mongo_pool *p, int r, struct error *e)
{
	if (r == -ECANCELED)
		return error_set(e, r, 503, NULL, "cancelled while waiting for a connection of source %s",
				 p->settings->name);
	if (r != -ETIMEDOUT)
		return unavailable(p, e);
	if (deadline_passed(task_deadline()))
		return error_say(e, r, REASON_SLOW, "the deadline passed while waiting for a connection of source %s",
				 p->settings->name);
	unsigned working = budget_working(p->settings->budget);
	counter_add(&numbers_of(p)->refused[working == 0 ? POOL_DOWN : POOL_TIMEOUT], 1);
	if (working == 0)
		return unavailable(p, e);
	return error_say(e, r, REASON_BUSY, "source %s: no connection became free within acquire_timeout (%u in use)",
			 p->settings->name, working);
}

static int wait_in_line(struct mongo_pool *p, struct mongo_connection **out, struct error *e)
{
	struct acquire_wait w = {.pool = p};

	if (budget_stand(&p->member, &w.ticket, false, INT64_MIN) < 0) {
		counter_add(&numbers_of(p)->refused[POOL_FULL], 1);
		return error_say(e, -EBUSY, REASON_BUSY,
				 "source %s: pool.max_waiting calls are waiting for a connection", p->settings->name);
	}
	int64_t since_us = loop_now_us(p->loop);
	waiter_init(&w.waiter, stop_waiting, "a MongoDB connection");
	list_append(&p->waiters, &w.waiter.link);
	p->waiting++;
	more_work(p);
	int r = task_suspend(&w.waiter, deadline_in_us(p->limits->acquire_timeout_us));
	if (r < 0)
		return waited_in_vain(p, r, e);
	histogram_observe(&numbers_of(p)->wait, loop_now_us(p->loop) - since_us);
	*out = w.found;
	return 0;
}

int mongo_pool_acquire(struct mongo_pool *p, struct mongo_connection **out, struct error *e)
{
	if (p->closing || down_for_long(p)) {
		counter_add(&numbers_of(p)->refused[POOL_DOWN], 1);
		return unavailable(p, e);
	}
	*out = budget_waiting(p->settings->budget) ? NULL : take_idle(p);
	if (!*out)
		return wait_in_line(p, out, e);
	histogram_observe(&numbers_of(p)->wait, 0);
	return 0;
}

void mongo_pool_release(struct mongo_pool *p, struct mongo_connection *c, unsigned consequences)
{
	/* The second task finds it counted already: its connection is of an older generation. */
	unsigned generation = c->generation;
	if ((consequences & MONGO_SUSPECT) &&
	    atomic_compare_exchange_strong_explicit(p->settings->generation, &generation, generation + 1,
						    memory_order_relaxed, memory_order_relaxed))
		drop_suspects(p);
	bool spoilt = (consequences & MONGO_DISCARD) || c->streams.fault || c->disturbed || c->lost;
	if (spoilt)
		discard(c, c->streams.fault ? c->streams.fault : -ECONNRESET);
	else if (p->closing || outlived(c))
		discard(c, 0);
	else
		offer(c);
}

/* --- life --- */

void mongo_pool_open(struct mongo_pool *p, const struct mongo_pool_settings *settings)
{
	*p = (struct mongo_pool){
		.settings = settings,
		.limits = &settings->limits,
		.loop = loop_current(),
		.pause_us = PAUSE_FIRST_US,
		.close_by = DEADLINE_NEVER,
	};
	for (int s = 0; s < CONNECTION_STATES; s++)
		list_init(&p->in[s]);
	list_init(&p->waiters);
	timer_init(&p->retry, retry_fire);
	timer_init(&p->janitor, janitor_fire);
	deferred_init(&p->work, pool_work);
	budget_join(settings->budget, &p->member, p->loop, &budget_ops);
	more_work(p);
}

static void refuse_all(struct mongo_pool *p)
{
	for (struct list *link; (link = list_shift(&p->waiters)); p->waiting--) {
		struct waiter *waiter = container_of(link, struct waiter, link);
		budget_withdraw(&container_of(waiter, struct acquire_wait, waiter)->ticket);
		task_wake(waiter, -ESHUTDOWN);
	}
	list_for_each (node, &p->in[CONNECTION_OPENING])
		task_cancel(container_of(node, struct mongo_connection, link)->task);
	list_for_each (node, &p->in[CONNECTION_BUSY])
		mongo_stream_set_fail(&container_of(node, struct mongo_connection, link)->streams, -ECANCELED);
	for (struct mongo_connection *c; (c = first_of(p, CONNECTION_IDLE));)
		discard(c, 0);
}

static bool anything_left(const struct mongo_pool *p)
{
	unsigned left = p->destroying ? 1 : 0;

	for (int s = 0; s < CONNECTION_STATES; s++)
		left += p->count[s];
	return left > 0;
}

void mongo_pool_follow(struct mongo_pool *p, const struct config_pool *limits)
{
	p->limits = limits;
	more_work(p);
}

void mongo_pool_close(struct mongo_pool *p)
{
	struct shield shield;
	struct waiter w;

	task_shield(&shield, DEADLINE_NEVER);
	p->closing = true;
	p->close_by = deadline_in_us(GOODBYE_US);
	timer_stop(&p->retry, loop_timers(p->loop));
	timer_stop(&p->janitor, loop_timers(p->loop));
	refuse_all(p);
	budget_leave(&p->member);
	more_work(p);
	/* The budget's last message comes by the loop: without one of its own to wait for, look again soon. */
	while (anything_left(p) || !budget_quiet(&p->member)) {
		waiter_init(&w, NULL, "the pool's MongoDB connections to close");
		p->closer = &w;
		bool overdue = task_suspend(&w, deadline_in_ms(50)) < 0;
		p->closer = NULL;
		if (overdue)
			more_work(p);
	}
	deferred_cancel(&p->work);
	task_unshield(&shield);
}

int mongo_pool_check(struct mongo_pool *p, deadline_t by, struct error *e)
{
	deadline_t before = deadline_push(by);
	int r = 0;

	while (r == 0 && !p->proven && !p->failure.errnum)
		r = task_sleep_ms(LOOK_MS);
	deadline_pop(before);
	if (r < 0 && !p->failure.errnum)
		return error_set(e, r, 503, NULL, "source %s: can't connect: no answer in time", p->settings->name);
	return p->proven ? 0 : unavailable(p, e);
}

bool mongo_pool_idle(const struct mongo_pool *p)
{
	return p->count[CONNECTION_BUSY] == 0 && p->waiting == 0;
}

/* The budget of a source over several loops: never more connections than its size; whoever waits is served in the order
 * of the line, from whichever worker; nobody waits while a worker that was told of it has something idle; everything is
 * given back. */
#include <pthread.h>
#include <stdatomic.h>

#include "async/run.h"
#include "drivers/budget.h"
#include "tests/unit/async/async_fixture.h"

#define MOST_WORKERS 8
#define ROUNDS       SLOWER(100)
#define CALLS        4 /* of a worker at once */

static struct budget budget;
static atomic_uint open_now, most_open, ended_workers;

struct connection {
	struct budget_parcel parcel;
	struct list link;
	struct worker *owner; /* NULL: in the mail */
	int64_t opened_us;
};

/* A client in small. */
struct worker {
	struct budget_member member;
	struct list idle;
	struct list calls;
	unsigned have, arrived, without_ticket, looks, served;
	unsigned workers; /* in all */
	uint64_t random;
};

struct call {
	struct budget_ticket ticket;
	struct waiter waiter;
	struct list link; /* in the worker's calls */
	struct connection *connection;
	bool standing;
};

static void open_one(struct worker *w)
{
	struct connection *c = calloc(1, sizeof(*c));
	c->owner = w;
	c->opened_us = monotonic_us();
	list_prepend(&w->idle, &c->link);
	w->have++;
	unsigned now = atomic_fetch_add(&open_now, 1) + 1;
	unsigned most = atomic_load(&most_open);
	while (now > most && !atomic_compare_exchange_weak(&most_open, &most, now))
		;
}

static void close_one(struct worker *w, struct connection *c)
{
	ck_assert_ptr_eq(c->owner, w);
	list_remove(&c->link);
	w->have--;
	atomic_fetch_sub(&open_now, 1);
	free(c);
	budget_give(&w->member);
}

static void serve_call(struct worker *w, struct connection *c, struct budget_ticket *ticket)
{
	struct call *call = container_of(ticket, struct call, ticket);
	ck_assert(call->standing);
	call->standing = false;
	call->connection = c;
	w->served++;
	list_remove(&c->link);
	list_remove(&call->link);
	task_wake(&call->waiter, 0);
}

static void serve(struct worker *w)
{
	list_for_each_safe (link, &w->idle) {
		struct connection *c = container_of(link, struct connection, link);
		struct budget_ticket *ours;
		switch (budget_next(&w->member, &c->parcel, c->opened_us, &ours)) {
		case BUDGET_OURS:
			serve_call(w, c, ours);
			break;
		case BUDGET_SEND:
			list_remove(&c->link);
			c->owner = NULL;
			w->have--;
			budget_send(&c->parcel);
			break;
		case BUDGET_KEEP:
			break;
		}
	}
}

static void arrived(struct budget_member *m, struct budget_parcel *parcel, struct budget_ticket *ticket)
{
	struct worker *w = container_of(m, struct worker, member);
	struct connection *c = container_of(parcel, struct connection, parcel);
	c->owner = w;
	w->have++;
	w->arrived++;
	list_prepend(&w->idle, &c->link);
	if (ticket)
		serve_call(w, c, ticket);
	else
		w->without_ticket++;
	serve(w);
}

static void look(struct budget_member *m)
{
	struct worker *w = container_of(m, struct worker, member);
	w->looks++;
	serve(w);
	if (!list_empty(&w->calls) && budget_take(m)) {
		open_one(w);
		serve(w);
	}
}

static const struct budget_ops ops = {.arrived = arrived, .look = look};

static void join_budget(struct worker *w)
{
	*w = (struct worker){.random = w->random, .workers = w->workers};
	list_init(&w->idle);
	list_init(&w->calls);
	budget_join(&budget, &w->member, loop_current(), &ops);
}

/* Close what comes and what is idle until everything was given back. */
static void leave(struct worker *w)
{
	budget_leave(&w->member);
	for (;;) {
		while (!list_empty(&w->idle))
			close_one(w, container_of(w->idle.next, struct connection, link));
		if (budget_quiet(&w->member))
			break;
		ck_assert_int_eq(task_sleep_ms(1), 0);
	}
	ck_assert_uint_eq(w->have, 0);
}

static void abandon(struct waiter *waiter)
{
	struct call *call = container_of(waiter, struct call, waiter);
	budget_withdraw(&call->ticket);
	list_remove(&call->link);
	call->standing = false;
}

static int stand(struct worker *w, struct call *call, bool first, int64_t fresh_us)
{
	int r = budget_stand(&w->member, &call->ticket, first, fresh_us);
	if (r < 0)
		return r;
	list_append(&w->calls, &call->link);
	call->standing = true;
	return 0;
}

static int acquire(struct worker *w, struct connection **out, deadline_t by)
{
	struct call call = {0};
	if (!budget_waiting(&budget) && !list_empty(&w->idle)) {
		*out = container_of(list_shift(&w->idle), struct connection, link);
		return 0;
	}
	waiter_init(&call.waiter, abandon, "a connection");
	int r = stand(w, &call, false, INT64_MIN);
	if (r < 0)
		return r;
	if (budget_take(&w->member))
		open_one(w);
	/* As the drivers do: outside of the task. */
	look(&w->member);
	r = call.standing ? task_suspend(&call.waiter, by) : 0;
	*out = call.connection;
	return r;
}

static void release(struct worker *w, struct connection *c)
{
	list_prepend(&w->idle, &c->link);
	serve(w);
}

/* Was w told of the line, and yet it has something idle? */
static bool idles(struct worker *w)
{
	pthread_mutex_lock(&budget.lock);
	bool bad = !w->member.message_posted && !list_empty(&budget.line) && !list_empty(&w->idle);
	pthread_mutex_unlock(&budget.lock);
	return bad;
}

/* --- random loads --- */

static int call_main(void *arg)
{
	struct worker *w = arg;
	for (int i = 0; i < ROUNDS; i++) {
		struct connection *c = NULL;
		bool hurried = next_random(&w->random) % 8 == 0;
		int r = acquire(w, &c, hurried ? deadline_in_us(200) : DEADLINE_NEVER);
		ck_assert(!idles(w));
		if (r < 0) {
			ck_assert_int_eq(r, -ETIMEDOUT);
			continue;
		}
		ck_assert_ptr_eq(c->owner, w);
		uint32_t work = next_random(&w->random) % 16;
		if (work == 0)
			ck_assert_int_eq(task_sleep(deadline_in_us(100)), 0);
		else if (work < 8)
			ck_assert_int_eq(task_yield(), 0);
		if (next_random(&w->random) % 32 == 0)
			close_one(w, c);
		else
			release(w, c);
		ck_assert(!idles(w));
	}
	return 0;
}

static int worker_main(void *arg)
{
	struct worker *w = arg;
	struct task *tasks[CALLS];
	join_budget(w);
	for (int i = 0; i < CALLS; i++)
		tasks[i] = spawn(call_main, w);
	for (int i = 0; i < CALLS; i++)
		ck_assert_int_eq(join(tasks[i]), 0);
	/* What is idle here serves the others until they have ended. */
	atomic_fetch_add(&ended_workers, 1);
	while (atomic_load(&ended_workers) < w->workers) {
		ck_assert(!idles(w));
		ck_assert_int_eq(task_sleep_ms(1), 0);
	}
	leave(w);
	return 0;
}

static void *thread_main(void *arg)
{
	return loop_run_main(worker_main, arg) == 0 ? NULL : arg;
}

static void run_load(unsigned count, unsigned size)
{
	static struct worker workers[MOST_WORKERS];
	pthread_t threads[MOST_WORKERS];
	unsigned moved = 0;

	budget_init(&budget, size, 1000);
	atomic_store(&most_open, 0);
	atomic_store(&ended_workers, 0);
	for (unsigned i = 0; i < count; i++) {
		workers[i] = (struct worker){.random = count * 100 + size * 10 + i, .workers = count};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, thread_main, &workers[i]), 0);
	}
	for (unsigned i = 0; i < count; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
		moved += workers[i].arrived;
	}
	ck_assert_uint_eq(atomic_load(&open_now), 0);
	ck_assert_uint_le(atomic_load(&most_open), size);
	ck_assert(count <= size || moved > 0);
	budget_done(&budget);
}

START_TEST(nobody_waits_while_something_is_idle)
{
	run_load((unsigned)_i / 8 + 1, (unsigned)_i % 8 + 1);
}
END_TEST

/* --- one thing after another --- */

static struct worker first, second, third;

static void begin(unsigned size, unsigned max_waiting)
{
	budget_init(&budget, size, max_waiting);
	join_budget(&first);
	join_budget(&second);
	join_budget(&third);
}

static void end(void)
{
	leave(&first);
	leave(&second);
	leave(&third);
	budget_done(&budget);
}

/* Until all mail has arrived, and what it led to. */
static void deliver(void)
{
	struct worker *const all[] = {&first, &second, &third};
	bool posted;
	do {
		posted = false;
		ck_assert_int_eq(task_sleep_ms(1), 0);
		for (size_t i = 0; i < ARRAY_SIZE(all); i++)
			posted |= all[i]->member.message_posted;
	} while (posted);
}

static struct connection *take_one(struct worker *w)
{
	ck_assert(budget_take(&w->member));
	open_one(w);
	return container_of(list_shift(&w->idle), struct connection, link);
}

static void call_init(struct call *call)
{
	*call = (struct call){0};
	waiter_init(&call->waiter, NULL, "a connection");
}

LOOP_TEST(the_line_is_one_for_all)
{
	struct call calls[4];
	struct worker *whose[4] = {&second, &third, &second, &first};
	begin(1, 10);
	struct connection *only = take_one(&first);
	ck_assert(!budget_take(&second.member));
	for (int i = 0; i < 4; i++) {
		call_init(&calls[i]);
		ck_assert_int_eq(stand(whose[i], &calls[i], false, INT64_MIN), 0);
	}
	deliver();
	/* Whoever is not first to come is told once, by the first. */
	ck_assert(first.looks == 1 && second.looks == 0 && third.looks == 1);
	struct worker *at = &first;
	for (int i = 0; i < 4; i++) {
		for (int k = i; k < 4; k++)
			ck_assert_ptr_null(calls[k].connection);
		release(at, only);
		deliver();
		at = whose[i];
		ck_assert_ptr_eq(calls[i].connection, only);
		ck_assert_ptr_eq(only->owner, at);
	}
	ck_assert(!budget_waiting(&budget));
	release(at, only);
	ck_assert_ptr_eq(only->owner, &first);
	end();
	return 0;
}

LOOP_TEST(what_nobody_waits_for_any_more_goes_on)
{
	struct call one, other;
	begin(1, 10);
	call_init(&one);
	call_init(&other);
	struct connection *only = take_one(&first);
	ck_assert_int_eq(stand(&second, &one, false, INT64_MIN), 0);
	release(&first, only); /* on its way */
	ck_assert_int_eq(stand(&third, &other, false, INT64_MIN), 0);
	budget_withdraw(&one.ticket);
	budget_withdraw(&one.ticket);
	deliver();
	ck_assert_ptr_null(one.connection);
	ck_assert_uint_eq(second.without_ticket, 1);
	ck_assert_ptr_eq(other.connection, only);
	/* Nobody at all: it stays where it has come. */
	ck_assert_int_eq(stand(&second, &one, false, INT64_MIN), 0);
	release(&third, only);
	budget_withdraw(&one.ticket);
	deliver();
	ck_assert_ptr_eq(only->owner, &second);
	ck_assert(!list_empty(&second.idle));
	end();
	return 0;
}

/* It is given back by whom it comes to. */
LOOP_TEST(what_comes_to_one_that_leaves)
{
	struct call one;
	begin(2, 10);
	call_init(&one);
	struct connection *c = take_one(&first);
	ck_assert_int_eq(stand(&second, &one, false, INT64_MIN), 0);
	release(&first, c);
	budget_withdraw(&one.ticket);
	leave(&second);
	ck_assert_uint_eq(second.arrived, 1);
	ck_assert_uint_eq(budget.spare, 2);
	leave(&first);
	leave(&third);
	budget_done(&budget);
	return 0;
}

LOOP_TEST(what_runs_again_is_first_and_may_need_a_fresh_one)
{
	struct call late, fresh;
	begin(2, 1);
	call_init(&late);
	call_init(&fresh);
	struct connection *old = take_one(&first), *other = take_one(&first);
	ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(stand(&second, &late, false, INT64_MIN), 0);
	ck_assert_int_eq(stand(&third, &fresh, true, monotonic_us()), 0); /* the bound is not for it */
	release(&first, old);
	deliver();
	ck_assert_ptr_eq(late.connection, old);
	release(&second, old); /* nobody that it would do for */
	ck_assert(!list_empty(&second.idle));
	ck_assert_ptr_null(fresh.connection);
	close_one(&first, other); /* another takes its place */
	deliver();
	ck_assert_ptr_nonnull(fresh.connection);
	release(&third, fresh.connection);
	end();
	return 0;
}

LOOP_TEST(room_is_told_to_whom_it_helps)
{
	struct call one;
	begin(1, 10);
	call_init(&one);
	struct connection *c = take_one(&first);
	ck_assert_int_eq(stand(&second, &one, false, INT64_MIN), 0);
	deliver();
	close_one(&first, c);
	deliver();
	ck_assert_uint_eq(second.looks, 1);
	ck_assert_ptr_nonnull(one.connection);
	release(&second, one.connection);
	end();
	return 0;
}

LOOP_TEST(wishes_come_after_calls)
{
	struct call one;
	begin(2, 10);
	call_init(&one);
	struct connection *a = take_one(&first), *b = take_one(&first);
	budget_wish(&second.member);
	budget_wish(&second.member);
	ck_assert(budget_wished(&budget));
	deliver();
	ck_assert(first.looks == 1 && third.looks == 1 && second.looks == 0);
	ck_assert_int_eq(stand(&third, &one, false, INT64_MIN), 0);
	release(&first, a);
	deliver();
	ck_assert_ptr_eq(one.connection, a);
	ck_assert(budget_next_wish(&first.member, &b->parcel));
	first.have--;
	budget_send(&b->parcel);
	deliver();
	ck_assert_ptr_eq(b->owner, &second);
	ck_assert_uint_eq(second.without_ticket, 1);
	ck_assert(!budget_wished(&budget));
	/* Nobody wishes for its own. */
	budget_wish(&third.member);
	ck_assert(!budget_next_wish(&third.member, &a->parcel));
	budget_unwish(&third.member);
	ck_assert(!budget_next_wish(&first.member, &a->parcel));
	release(&third, a);
	end();
	return 0;
}

LOOP_TEST(waiting_is_bounded)
{
	struct call calls[3];
	begin(1, 2);
	struct connection *c = take_one(&first);
	for (int i = 0; i < 3; i++)
		call_init(&calls[i]);
	ck_assert_int_eq(stand(&first, &calls[0], false, INT64_MIN), 0);
	ck_assert_int_eq(stand(&second, &calls[1], false, INT64_MIN), 0);
	ck_assert_int_eq(stand(&third, &calls[2], false, INT64_MIN), -EBUSY);
	budget_withdraw(&calls[0].ticket);
	ck_assert_int_eq(stand(&third, &calls[2], false, INT64_MIN), 0);
	budget_withdraw(&calls[1].ticket);
	budget_withdraw(&calls[2].ticket);
	ck_assert(!budget_waiting(&budget));
	release(&first, c);
	end();
	return 0;
}

LOOP_TEST(as_many_drain_as_stand_in_line)
{
	struct call calls[2];
	begin(1, 2);
	ck_assert(!budget_drain(&budget));
	for (int i = 0; i < 2; i++) {
		call_init(&calls[i]);
		ck_assert_int_eq(stand(&first, &calls[i], false, INT64_MIN), 0);
		ck_assert(budget_drain(&budget));
		ck_assert(!budget_drain(&budget));
	}
	budget_drained(&budget);
	ck_assert(budget_drain(&budget));
	for (int i = 0; i < 2; i++) {
		budget_withdraw(&calls[i].ticket);
		budget_drained(&budget);
	}
	end();
	return 0;
}

LOOP_TEST(a_smaller_size_tells_all_and_lets_nobody_open)
{
	begin(3, 10);
	struct connection *a = take_one(&first), *b = take_one(&second), *c = take_one(&third);
	budget_resize(&budget, 1, 10);
	deliver();
	ck_assert_uint_eq(first.looks + second.looks + third.looks, 3);
	ck_assert(budget_over(&budget));
	ck_assert(!budget_take(&first.member));
	list_prepend(&first.idle, &a->link);
	close_one(&first, a);
	ck_assert(budget_over(&budget));
	ck_assert(!budget_take(&first.member));
	list_prepend(&second.idle, &b->link);
	close_one(&second, b);
	ck_assert(!budget_over(&budget));
	ck_assert(!budget_take(&first.member)); /* the third has the only one */
	budget_resize(&budget, 2, 10);
	ck_assert(budget_take(&first.member));
	budget_give(&first.member);
	list_prepend(&third.idle, &c->link);
	end();
	return 0;
}

int main(void)
{
	Suite *s = suite_create("budget");
	TCase *c = async_tcase(s, "budget");
	tcase_add_loop_test(c, nobody_waits_while_something_is_idle, 0, MOST_WORKERS * 8);
	tcase_add_test(c, the_line_is_one_for_all);
	tcase_add_test(c, what_nobody_waits_for_any_more_goes_on);
	tcase_add_test(c, what_comes_to_one_that_leaves);
	tcase_add_test(c, what_runs_again_is_first_and_may_need_a_fresh_one);
	tcase_add_test(c, room_is_told_to_whom_it_helps);
	tcase_add_test(c, wishes_come_after_calls);
	tcase_add_test(c, waiting_is_bounded);
	tcase_add_test(c, as_many_drain_as_stand_in_line);
	tcase_add_test(c, a_smaller_size_tells_all_and_lets_nobody_open);
	return run_suite(s);
}

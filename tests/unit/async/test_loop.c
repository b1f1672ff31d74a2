/* The loop: messages from threads, deferred calls, callbacks that nest, and the poller. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "async/fd.h"
#include "async/internal.h"
#include "async/run.h"
#include "tests/unit/async/async_fixture.h"

/* --- messages --- */

enum { POSTERS = 8 };
#define POSTS_EACH SLOWER(20000)

struct poster {
	struct loop *loop;
	int last; /* loop thread only */
	int *left;
	pthread_t thread;
};

struct numbered {
	struct message message;
	struct poster *poster;
	int number;
};

static void count_numbered(struct message *m)
{
	struct numbered *n = container_of(m, struct numbered, message);
	ck_assert_ptr_eq(loop_current(), n->poster->loop);
	ck_assert_int_eq(n->number, n->poster->last + 1);
	n->poster->last = n->number;
	if (--*n->poster->left == 0)
		loop_stop(n->poster->loop);
	free(n);
}

static void *post_many(void *arg)
{
	struct poster *p = arg;
	for (int i = 1; i <= POSTS_EACH; i++) {
		struct numbered *n = malloc(sizeof(*n));
		*n = (struct numbered){.message.run = count_numbered, .poster = p, .number = i};
		loop_post(p->loop, &n->message);
	}
	return NULL;
}

START_TEST(posts_of_many_threads_all_arrive_each_in_its_order)
{
	struct poster p[POSTERS];
	int left = POSTERS * POSTS_EACH;
	struct loop *l;
	ck_assert_int_eq(loop_new(&l), 0);
	for (int i = 0; i < POSTERS; i++) {
		p[i] = (struct poster){.loop = l, .left = &left};
		ck_assert_int_eq(pthread_create(&p[i].thread, NULL, post_many, &p[i]), 0);
	}
	loop_run(l);
	for (int i = 0; i < POSTERS; i++) {
		pthread_join(p[i].thread, NULL);
		ck_assert_int_eq(p[i].last, POSTS_EACH);
	}
	loop_free(l);
}
END_TEST

struct reposted {
	struct message message;
	struct loop *loop;
	uint64_t turn;
	int left;
};

static void post_again(struct message *m)
{
	struct reposted *r = container_of(m, struct reposted, message);
	uint64_t turn = loop_stats(r->loop).turns;
	ck_assert_uint_gt(turn, r->turn);
	r->turn = turn;
	if (r->left-- == 0)
		loop_stop(r->loop);
	else
		loop_post(r->loop, m);
}

START_TEST(a_message_that_is_posted_again_waits_for_a_later_turn)
{
	struct reposted r = {.message.run = post_again, .left = 100};
	ck_assert_int_eq(loop_new(&r.loop), 0);
	r.turn = (uint64_t)-1;
	loop_post(r.loop, &r.message);
	r.turn = 0;
	r.loop->stats.turns = 1;
	loop_run(r.loop);
	ck_assert_int_eq(r.left, -1);
	loop_free(r.loop);
}
END_TEST

static void *stop_later(void *arg)
{
	usleep(2000);
	loop_stop(arg);
	return NULL;
}

START_TEST(another_thread_stops_a_loop_that_sleeps_and_it_runs_again)
{
	struct loop *l;
	ck_assert_int_eq(loop_new(&l), 0);
	ck_assert_ptr_null(loop_current());
	for (int i = 0; i < 3; i++) {
		pthread_t t;
		pthread_create(&t, NULL, stop_later, l);
		loop_run(l);
		pthread_join(t, NULL);
	}
	loop_stop(l); /* before it runs, too */
	loop_run(l);
	loop_stop(l); /* and one that nobody sees is freed */
	ck_assert_ptr_null(loop_current());
	loop_free(l);
	loop_free(NULL);
}
END_TEST

/* --- deferred calls --- */

struct counted {
	struct deferred deferred;
	int ran;
	struct counted *other;
	uint64_t turn;
};

static void count_deferred(struct deferred *d)
{
	struct counted *c = container_of(d, struct counted, deferred);
	c->ran++;
	c->turn = loop_stats(loop_current()).turns;
}

static void counted_init(struct counted *c, void (*run)(struct deferred *d))
{
	*c = (struct counted){0};
	deferred_init(&c->deferred, run);
}

LOOP_TEST(deferred_runs_once_however_often_it_was_asked_for)
{
	struct loop *l = loop_current();
	struct counted c;
	counted_init(&c, count_deferred);
	for (int i = 0; i < 5; i++)
		loop_defer(l, &c.deferred);
	ck_assert_int_eq(c.ran, 0);
	settle();
	ck_assert_int_eq(c.ran, 1);
	loop_defer(l, &c.deferred);
	settle();
	ck_assert_int_eq(c.ran, 2);
	return 0;
}

static void cancel_the_other(struct deferred *d)
{
	count_deferred(d);
	deferred_cancel(&container_of(d, struct counted, deferred)->other->deferred);
}

LOOP_TEST(deferred_is_cancelled_before_its_turn_and_within_it)
{
	struct loop *l = loop_current();
	struct counted a, b, c;
	counted_init(&a, cancel_the_other);
	counted_init(&b, count_deferred);
	counted_init(&c, count_deferred);
	a.other = &b;
	loop_defer(l, &c.deferred);
	deferred_cancel(&c.deferred);
	deferred_cancel(&c.deferred);
	settle();
	ck_assert_int_eq(c.ran, 0);
	loop_defer(l, &a.deferred);
	loop_defer(l, &b.deferred);
	loop_defer(l, &c.deferred);
	settle();
	ck_assert_int_eq(a.ran, 1);
	ck_assert_int_eq(b.ran, 0);
	ck_assert_int_eq(c.ran, 1);
	return 0;
}

static void defer_the_other(struct deferred *d)
{
	count_deferred(d);
	loop_defer(loop_current(), &container_of(d, struct counted, deferred)->other->deferred);
}

LOOP_TEST(what_is_deferred_meanwhile_waits_for_the_next_turn)
{
	struct counted a, b;
	counted_init(&a, defer_the_other);
	counted_init(&b, count_deferred);
	a.other = &b;
	loop_defer(loop_current(), &a.deferred);
	settle();
	ck_assert_int_eq(a.ran, 1);
	ck_assert_int_eq(b.ran, 1);
	ck_assert_uint_gt(b.turn, a.turn);
	return 0;
}

/* With nothing else to do, the loop must not sleep on it. */
LOOP_TEST(what_is_deferred_does_not_wait_for_an_event)
{
	struct counted a, b;
	counted_init(&a, defer_the_other);
	counted_init(&b, count_deferred);
	a.other = &b;
	loop_defer(loop_current(), &a.deferred);
	int64_t before_us = monotonic_us();
	ck_assert_int_eq(task_sleep_ms(20), 0);
	ck_assert_int_eq(b.ran, 1);
	ck_assert_int_lt(b.turn - a.turn, 2);
	ck_assert_int_lt(monotonic_us() - before_us, 5000000);
	return 0;
}

/* --- callbacks that nest --- */

static int add_one(void *arg)
{
	++*(int *)arg;
	return 0;
}

static void enter_and_leave(struct deferred *d)
{
	struct loop *l = loop_current();
	struct counted *c = container_of(d, struct counted, deferred);
	int ran = 0;
	loop_enter(l);
	loop_enter(l);
	ck_assert_int_eq(task_spawn(NULL, add_one, &ran, &(struct task_options){.detached = true}), 0);
	loop_leave(l);
	ck_assert_int_eq(ran, 0); /* still inside */
	loop_leave(l);
	ck_assert_int_eq(ran, 1);
	c->ran++;
}

LOOP_TEST(the_outermost_leave_runs_what_became_ready)
{
	struct counted c;
	counted_init(&c, enter_and_leave);
	loop_defer(loop_current(), &c.deferred);
	settle();
	ck_assert_int_eq(c.ran, 1);
	return 0;
}

/* h2o calls back out of a call that a task makes: the task goes on, whatever woke it; others wait for their turn. */
static void leave_inside_a_task(void)
{
	struct loop *l = loop_current();
	struct task *self = task_self();
	int ran = 0;
	loop_enter(l);
	ck_assert_int_eq(task_spawn(NULL, add_one, &ran, &(struct task_options){.detached = true}), 0);
	loop_leave(l);
	ck_assert_int_eq(ran, 0);
	ck_assert_ptr_eq(task_self(), self);
	settle();
	ck_assert_int_eq(ran, 1);
}

LOOP_TEST(leave_inside_a_task_runs_no_other_task)
{
	leave_inside_a_task();
	ck_assert_int_eq(task_sleep_ms(1), 0); /* woken by a timer */
	leave_inside_a_task();
	ck_assert_int_eq(await_fd(STDOUT_FILENO, EPOLLOUT, deadline_in_ms(1)) != 0, 1); /* or by the poller */
	leave_inside_a_task();
	return 0;
}

/* A task that computes and yields does not keep the poll from its turn. */
static void note_ready(struct watch *w, uint32_t events)
{
	(void)events;
	watch_clear(w);
}

LOOP_TEST(one_that_yields_lets_the_poll_have_its_turn)
{
	int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), yields = 0;
	struct watch w;
	watch_init(&w, note_ready);
	ck_assert_int_eq(watch_set(&w, loop_poller(loop_current()), fd, EPOLLIN), 0);
	while (w.poller) {
		ck_assert_int_eq(task_yield(), 0);
		yields++;
	}
	ck_assert_int_le(yields, 2);
	close(fd);
	return 0;
}

static int keep_yielding(void *arg)
{
	int r;
	while ((r = task_yield()) == 0)
		++*(int *)arg;
	return r;
}

LOOP_TEST(those_that_yield_take_turns_and_timers_fire)
{
	int rounds[3] = {0};
	struct task *t[3];
	for (int i = 0; i < 3; i++)
		t[i] = spawn(keep_yielding, &rounds[i]);
	ck_assert_int_eq(task_sleep_ms(10), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_gt(rounds[i], 10);
		ck_assert_int_le(abs(rounds[i] - rounds[0]), 1);
		task_cancel(t[i]);
	}
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), -ECANCELED);
	return 0;
}

/* --- asyncio.run --- */

static int left_behind(void *arg)
{
	int r = task_sleep_ms(60000);
	struct shield s;
	task_shield(&s, deadline_in_ms(1000));
	ck_assert_int_eq(task_sleep_ms(2), 0);
	task_unshield(&s);
	*(int *)arg = r;
	return r;
}

static int leave_some_behind(void *arg)
{
	int *results = arg;
	(void)spawn(left_behind, &results[0]);
	ck_assert_int_eq(task_spawn(NULL, left_behind, &results[1], &(struct task_options){.detached = true}), 0);
	ck_assert_int_eq(task_yield(), 0);
	(void)spawn(left_behind, &results[2]); /* which has not run yet */
	return 5;
}

START_TEST(run_main_cancels_what_main_left_and_waits_for_it)
{
	int results[3] = {0};
	ck_assert_int_eq(loop_run_main(leave_some_behind, results), 5);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(results[i], -ECANCELED);
}
END_TEST

static int spawn_while_ending(void *arg)
{
	int fd = eventfd(1, EFD_CLOEXEC);
	struct shield s;
	int r = task_sleep_ms(60000);
	task_shield(&s, DEADLINE_NEVER);
	ck_assert_int_eq(await_fd(fd, EPOLLIN, DEADLINE_NEVER), EPOLLIN); /* what follows runs within the poll */
	task_unshield(&s);
	close(fd);
	(void)spawn(left_behind, arg);
	return r;
}

static int leave_one_that_spawns(void *arg)
{
	(void)spawn(spawn_while_ending, arg);
	return task_yield();
}

START_TEST(run_main_ends_at_once_what_is_spawned_while_it_ends)
{
	int result = 0;
	int64_t before_us = monotonic_us();
	ck_assert_int_eq(loop_run_main(leave_one_that_spawns, &result), 0);
	ck_assert_int_eq(result, -ECANCELED);
	ck_assert_int_lt(monotonic_us() - before_us, 20000000);
}
END_TEST

static int return_arg(void *arg)
{
	return (int)(intptr_t)arg;
}

LOOP_TEST(a_loop_runs_inside_another_loops_callback)
{
	struct loop *outer = loop_current();
	ck_assert_int_eq(loop_run_main(return_arg, (void *)9), 9);
	ck_assert_ptr_eq(loop_current(), outer);
	ck_assert_int_eq(task_sleep_ms(1), 0);
	return 0;
}

LOOP_TEST(now_is_of_this_turn)
{
	struct loop *l = loop_current();
	int64_t before_us = loop_now_us(l);
	ck_assert_int_le(before_us, monotonic_us());
	ck_assert_int_eq(loop_now_us(l), before_us);
	ck_assert_int_eq(task_sleep_ms(2), 0);
	ck_assert_int_ge(loop_now_us(l), before_us + 2000);
	return 0;
}

/* --- the poller --- */

struct seen {
	struct watch watch;
	int fd; /* an eventfd, readable */
	int calls;
	uint32_t events;
	struct seen *other;
	int other_fd;
};

static void note_event(struct watch *w, uint32_t events)
{
	struct seen *s = container_of(w, struct seen, watch);
	s->calls++;
	s->events = events;
}

static void seen_init(struct seen *s, void (*ready)(struct watch *w, uint32_t events))
{
	*s = (struct seen){.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)};
	ck_assert_int_ge(s->fd, 0);
	watch_init(&s->watch, ready);
}

static struct poller *here(void)
{
	return loop_poller(loop_current());
}

static void seen_done(struct seen *s)
{
	watch_clear(&s->watch);
	close(s->fd);
}

static void clear_the_other(struct watch *w, uint32_t events)
{
	struct seen *s = container_of(w, struct seen, watch);
	note_event(w, events);
	watch_clear(&s->other->watch);
}

/* Both are ready in one batch; whichever is called first clears the other. */
LOOP_TEST(a_watch_that_was_cleared_in_its_batch_is_not_called)
{
	struct seen a, b;
	seen_init(&a, clear_the_other);
	seen_init(&b, clear_the_other);
	a.other = &b;
	b.other = &a;
	ck_assert_int_eq(watch_set(&a.watch, here(), a.fd, EPOLLIN | EPOLLET), 0);
	ck_assert_int_eq(watch_set(&b.watch, here(), b.fd, EPOLLIN | EPOLLET), 0);
	settle();
	ck_assert_int_eq(a.calls + b.calls, 1);
	seen_done(&a);
	seen_done(&b);
	return 0;
}

/* The other is freed, and its memory used again: nothing may call it. */
static void free_the_other(struct watch *w, uint32_t events)
{
	struct seen *s = container_of(w, struct seen, watch);
	note_event(w, events);
	if (s->other) {
		s->other->other = NULL;
		seen_done(s->other);
		free(s->other);
		s->other = NULL;
	}
}

LOOP_TEST(a_watch_that_was_freed_in_its_batch_is_not_touched)
{
	struct seen *pair[2];
	for (int i = 0; i < 2; i++) {
		pair[i] = malloc(sizeof(*pair[i]));
		seen_init(pair[i], free_the_other);
		ck_assert_int_eq(watch_set(&pair[i]->watch, here(), pair[i]->fd, EPOLLIN | EPOLLET), 0);
	}
	pair[0]->other = pair[1];
	pair[1]->other = pair[0];
	struct seen *first = pair[0]; /* epoll reports in the order of readiness */
	settle();
	ck_assert_int_eq(first->calls, 1);
	ck_assert_ptr_null(first->other);
	seen_done(first);
	free(first);
	return 0;
}

static void reopen_the_other(struct watch *w, uint32_t events)
{
	struct seen *s = container_of(w, struct seen, watch);
	note_event(w, events);
	watch_clear(&s->other->watch);
	close(s->other->fd);
	s->other_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_eq(s->other_fd, s->other->fd); /* the number is used again */
	ck_assert_int_eq(watch_set(&s->other->watch, here(), s->other_fd, EPOLLIN), 0);
}

/* The new descriptor of the old number is not ready: the event of the old one must not reach it. */
LOOP_TEST(a_descriptor_reopened_within_a_batch_gets_no_old_event)
{
	struct seen a, b;
	seen_init(&a, reopen_the_other);
	seen_init(&b, note_event);
	a.other = &b;
	ck_assert_int_eq(watch_set(&a.watch, here(), a.fd, EPOLLIN | EPOLLET), 0);
	ck_assert_int_eq(watch_set(&b.watch, here(), b.fd, EPOLLIN | EPOLLET), 0);
	settle();
	ck_assert_int_eq(a.calls, 1);
	ck_assert_int_eq(b.calls, 0);
	ck_assert_int_eq(write(b.fd, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
	ck_assert_int_eq(watch_set(&b.watch, here(), b.fd, EPOLLIN | EPOLLET), 0);
	settle();
	ck_assert_int_eq(b.calls, 1);
	seen_done(&a);
	seen_done(&b);
	return 0;
}

/* As libpq does while it connects: close, open, the same number; the watch is told before or after. */
LOOP_TEST(a_descriptor_that_its_library_reopened_is_watched_again)
{
	struct seen a;
	seen_init(&a, note_event);
	ck_assert_int_eq(watch_set(&a.watch, here(), a.fd, EPOLLOUT | EPOLLET), 0);
	settle();
	ck_assert_int_eq(a.calls, 1);

	close(a.fd);
	ck_assert_int_eq(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), a.fd);
	ck_assert_int_eq(watch_set(&a.watch, here(), a.fd, EPOLLIN | EPOLLET), 0); /* another interest: noticed */
	settle();
	ck_assert_int_eq(a.calls, 2);
	ck_assert_uint_eq(a.events, EPOLLIN);

	close(a.fd);
	ck_assert_int_eq(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), a.fd);
	watch_forget(&a.watch);
	ck_assert_int_eq(watch_set(&a.watch, here(), a.fd, EPOLLIN | EPOLLET), 0);
	settle();
	ck_assert_int_eq(a.calls, 3);
	seen_done(&a);
	return 0;
}

LOOP_TEST(interest_changes_and_goes)
{
	struct seen a;
	seen_init(&a, note_event);
	ck_assert_int_eq(watch_set(&a.watch, here(), a.fd, EPOLLIN | EPOLLOUT | EPOLLET), 0);
	settle();
	ck_assert_uint_eq(a.events, EPOLLIN | EPOLLOUT);
	ck_assert_int_eq(watch_set(&a.watch, here(), a.fd, EPOLLOUT | EPOLLET), 0);
	settle();
	ck_assert_uint_eq(a.events, EPOLLOUT);
	int calls = a.calls;
	ck_assert_int_eq(watch_set(&a.watch, here(), a.fd, 0), 0);
	settle();
	ck_assert_int_eq(a.calls, calls);

	int old_fd = a.fd; /* another descriptor: the old one is dropped */
	a.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ck_assert_int_eq(watch_set(&a.watch, here(), a.fd, EPOLLIN), 0);
	settle();
	ck_assert_int_eq(a.calls, calls);
	watch_clear(&a.watch);
	watch_clear(&a.watch);
	ck_assert_ptr_null(a.watch.poller);
	ck_assert_int_eq(watch_set(&a.watch, here(), 12345, EPOLLIN), -EBADF);
	ck_assert_ptr_null(a.watch.poller);
	close(old_fd);
	seen_done(&a);
	return 0;
}

/* More than one batch. */
LOOP_TEST(hundreds_are_ready_at_once)
{
	enum { COUNT = 3 * POLLER_BATCH + 7 };
	static struct seen s[COUNT];
	for (int i = 0; i < COUNT; i++) {
		seen_init(&s[i], note_event);
		ck_assert_int_eq(watch_set(&s[i].watch, here(), s[i].fd, EPOLLIN | EPOLLET), 0);
	}
	for (int i = 0; i < 3; i++)
		settle();
	for (int i = 0; i < COUNT; i++) {
		ck_assert_int_eq(s[i].calls, 1);
		seen_done(&s[i]);
	}
	return 0;
}

/* --- await_fd --- */

static int read_the_fd(void *arg)
{
	return await_fd(*(int *)arg, EPOLLIN, deadline_in_ms(1000));
}

static int close_and_reopen(void *arg)
{
	int fd = *(int *)arg;
	close(fd);
	ck_assert_int_eq(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK), fd);
	return await_fd(fd, EPOLLIN, deadline_in_ms(1000));
}

/* The first one was woken and has not run yet when another closes the descriptor and waits for a new one of the same
 * number: the end of the first wait must not take the registration of the second with it. */
LOOP_TEST(the_end_of_a_wait_leaves_a_new_descriptor_alone)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct task *reader = spawn(read_the_fd, &fd);
	ck_assert_int_eq(task_yield(), 0);
	task_cancel(reader); /* ready, behind this task */
	struct task *closer = spawn(close_and_reopen, &fd);
	struct task_queue *ready = &loop_current()->ready;
	ck_assert(ready->first == reader && ready->last == closer && reader->next == closer);
	*ready = (struct task_queue){closer, reader}; /* ahead of it */
	closer->next = reader;
	reader->next = NULL;
	ck_assert_int_eq(task_await(&reader, DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(task_await(&closer, DEADLINE_NEVER), EPOLLIN);
	close(fd);
	return 0;
}

static int cancelled_awaits(void *arg)
{
	(void)arg;
	ck_assert_int_eq(task_yield(), -ECANCELED);
	return await_fd(12345, EPOLLIN, DEADLINE_NEVER);
}

LOOP_TEST(a_cancelled_task_awaits_no_descriptor)
{
	struct task *t = spawn(cancelled_awaits, NULL);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	int fd = eventfd(0, EFD_CLOEXEC);
	ck_assert_int_eq(await_fd(fd, EPOLLIN, deadline_in_us(-1)), -ETIMEDOUT);
	struct task *first = spawn(read_the_fd, &fd);
	ck_assert_int_eq(task_yield(), 0);
	ck_assert_int_eq(await_fd(fd, EPOLLIN, DEADLINE_NEVER), -EEXIST); /* one waits for it already */
	ck_assert_int_eq(write(fd, &(uint64_t){1}, sizeof(uint64_t)), sizeof(uint64_t));
	ck_assert_int_eq(task_await(&first, DEADLINE_NEVER), EPOLLIN);
	close(fd);
	return 0;
}

int main(void)
{
	Suite *s = suite_create("loop");
	TCase *c = async_tcase(s, "messages");
	tcase_add_test(c, posts_of_many_threads_all_arrive_each_in_its_order);
	tcase_add_test(c, a_message_that_is_posted_again_waits_for_a_later_turn);
	tcase_add_test(c, another_thread_stops_a_loop_that_sleeps_and_it_runs_again);
	c = async_tcase(s, "deferred");
	tcase_add_test(c, deferred_runs_once_however_often_it_was_asked_for);
	tcase_add_test(c, deferred_is_cancelled_before_its_turn_and_within_it);
	tcase_add_test(c, what_is_deferred_meanwhile_waits_for_the_next_turn);
	tcase_add_test(c, what_is_deferred_does_not_wait_for_an_event);
	c = async_tcase(s, "turns");
	tcase_add_test(c, the_outermost_leave_runs_what_became_ready);
	tcase_add_test(c, leave_inside_a_task_runs_no_other_task);
	tcase_add_test(c, one_that_yields_lets_the_poll_have_its_turn);
	tcase_add_test(c, those_that_yield_take_turns_and_timers_fire);
	tcase_add_test(c, run_main_cancels_what_main_left_and_waits_for_it);
	tcase_add_test(c, run_main_ends_at_once_what_is_spawned_while_it_ends);
	tcase_add_test(c, a_loop_runs_inside_another_loops_callback);
	tcase_add_test(c, now_is_of_this_turn);
	c = async_tcase(s, "poller");
	tcase_add_test(c, a_watch_that_was_cleared_in_its_batch_is_not_called);
	tcase_add_test(c, a_watch_that_was_freed_in_its_batch_is_not_touched);
	tcase_add_test(c, a_descriptor_reopened_within_a_batch_gets_no_old_event);
	tcase_add_test(c, a_descriptor_that_its_library_reopened_is_watched_again);
	tcase_add_test(c, interest_changes_and_goes);
	tcase_add_test(c, hundreds_are_ready_at_once);
	tcase_add_test(c, the_end_of_a_wait_leaves_a_new_descriptor_alone);
	tcase_add_test(c, a_cancelled_task_awaits_no_descriptor);
	return run_suite(s);
}

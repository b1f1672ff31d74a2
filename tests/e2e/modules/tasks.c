/* Each word of gatherd.h about tasks, used once: test_handlers_tasks.py says what each must answer. */
#include <errno.h>
#include <gatherd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* --- what tasks do --- */

static int give(void *arg)
{
	return (int)(intptr_t)arg;
}

struct sleeper {
	int64_t ms;
	int result;
	bool cleaned;
};

static int sleep_then(void *arg)
{
	struct sleeper *s = arg;
	int r = gd_sleep(s->ms);
	s->cleaned = r == -ECANCELED;
	return r < 0 ? r : s->result;
}

/* --- spawn, await, cancel --- */

int spawn(gd_request *req)
{
	gd_task *a = gd_spawn("a", give, (void *)1), *b = gd_spawn("b", give, (void *)2);
	bool early = gd_ended(a);
	int first = gd_await(b, GD_NEVER), second = gd_await(a, GD_NEVER), again = gd_await(b, GD_NEVER);
	return gd_reply(
		req, 200,
		gd_build("{early: %d, ended: %d, results: [%d, %d, %d]}", early, gd_ended(a), first, second, again));
}

static char order[16];

static int note(void *arg)
{
	strncat(order, arg, 1);
	gd_yield();
	strncat(order, arg, 1);
	return 0;
}

int soon(gd_request *req)
{
	order[0] = '\0';
	gd_task *a = gd_spawn("a", note, "a"), *b = gd_spawn("b", note, "b");
	strcat(order, "0");
	if (gd_await(a, GD_NEVER) < 0 || gd_await(b, GD_NEVER) < 0)
		return -EIO;
	return gd_reply(req, 200, gd_string(order));
}

int cancel(gd_request *req)
{
	struct sleeper s = {.ms = 60000};
	gd_task *t = gd_spawn("sleeper", sleep_then, &s), *unborn = gd_spawn("unborn", sleep_then, &s);
	gd_yield();
	gd_cancel(t);
	gd_cancel(t);
	gd_cancel(unborn);
	int r = gd_await(t, GD_NEVER), r2 = gd_await(unborn, GD_NEVER);
	return gd_reply(req, 200,
			gd_build("{results: [%d, %d], cleaned: %d, me: %d}", r, r2, s.cleaned, gd_cancelled()));
}

int await_late(gd_request *req)
{
	struct sleeper s = {.ms = 50, .result = 7};
	gd_task *t = gd_spawn("sleeper", sleep_then, &s);
	int early = gd_await(t, gd_in_ms(1)), late = gd_await(t, GD_NEVER), none = gd_await(NULL, GD_NEVER);
	return gd_reply(req, 200, gd_list(gd_int(early), gd_int(late), gd_int(none)));
}

static gd_task *first, *second;

static int await_itself(void *arg)
{
	(void)arg;
	return gd_await(first, GD_NEVER);
}

static int await_second(void *arg)
{
	(void)arg;
	return gd_await(second, GD_NEVER);
}

static int await_first(void *arg)
{
	(void)arg;
	return gd_await(first, GD_NEVER);
}

int circles(gd_request *req)
{
	first = gd_spawn("itself", await_itself, NULL);
	int itself = gd_await(first, GD_NEVER);
	first = gd_spawn("first", await_second, NULL);
	second = gd_spawn("second", await_first, NULL);
	int circle = gd_await(first, GD_NEVER);
	struct sleeper s = {.ms = 50};
	first = gd_spawn("awaited", sleep_then, &s);
	gd_task *other = gd_spawn("awaits", await_first, NULL);
	gd_yield();
	int busy = gd_await(first, GD_NEVER), fine = gd_await(other, GD_NEVER), now = gd_await(first, GD_NEVER);
	return gd_reply(
		req, 200,
		gd_build("{itself: %d, circle: %d, busy: %d, fine: %d, now: %d}", itself, circle, busy, fine, now));
}

int wait_for(gd_request *req)
{
	struct sleeper quick = {.ms = 1, .result = 5}, slow = {.ms = 60000};
	int in_time = gd_wait_for("quick", sleep_then, &quick, gd_in_ms(20000));
	int late = gd_wait_for("slow", sleep_then, &slow, gd_in_ms(20));
	return gd_reply(req, 200, gd_build("{in_time: %d, late: %d}", in_time, late));
}

static int fail(void *arg)
{
	(void)arg;
	return -ENOENT;
}

int unasked(gd_request *req)
{
	gd_spawn("forgotten", fail, NULL);
	gd_yield();
	return gd_reply(req, 200, gd_null());
}

/* A thousand tasks that end are no thousand stacks. */
int many(gd_request *req)
{
	int64_t sum = 0;
	gd_task *all[1000];
	for (int i = 0; i < 1000; i++) {
		all[i] = gd_spawn("one", give, (void *)(intptr_t)i);
		if (i % 10 == 0)
			gd_yield();
	}
	for (int i = 0; i < 1000; i++)
		sum += gd_await(all[i], GD_NEVER);
	return gd_reply(req, 200, gd_int(sum));
}

/* --- time --- */

int sleeps(gd_request *req)
{
	int64_t began = now_ms();
	int slept = gd_sleep(30), yielded = gd_yield(), zero = gd_sleep(0);
	return gd_reply(req, 200,
			gd_build("{slept: %d, yielded: %d, zero: %d, long_enough: %d}", slept, yielded, zero,
				 now_ms() - began >= 30));
}

int deadlines(gd_request *req)
{
	gd_deadline outer = gd_deadline_push(gd_in_ms(20)), inner = gd_deadline_push(gd_in_ms(60000));
	int narrow = gd_sleep(60000);
	gd_deadline_pop(inner);
	int still = gd_sleep(1);
	gd_deadline_pop(outer);
	return gd_reply(req, 200, gd_build("{narrow: %d, still: %d, wide: %d}", narrow, still, gd_sleep(1)));
}

struct shielded {
	int inside, nested, late, after;
	bool cancelled;
};

static int clean_up_shielded(void *arg)
{
	struct shielded *s = arg;
	gd_shield outer, inner;
	gd_shield_begin(&outer, gd_in_ms(20000));
	s->inside = gd_sleep(30);
	s->cancelled = gd_cancelled();
	gd_shield_begin(&inner, GD_NEVER);
	s->nested = gd_sleep(1);
	gd_shield_end(&inner);
	gd_shield_end(&outer);
	gd_shield_begin(&outer, gd_in_ms(5));
	s->late = gd_sleep(60000);
	gd_shield_end(&outer);
	s->after = gd_sleep(60000);
	return 0;
}

int shield(gd_request *req)
{
	struct shielded s = {0};
	gd_task *t = gd_spawn("shielded", clean_up_shielded, &s);
	gd_yield();
	gd_cancel(t);
	int r = gd_await(t, GD_NEVER);
	return gd_reply(req, 200,
			gd_build("{r: %d, inside: %d, cancelled: %d, nested: %d, late: %d, after: %d}", r, s.inside,
				 s.cancelled, s.nested, s.late, s.after));
}

int later(gd_request *req)
{
	order[0] = '\0';
	int64_t began = now_ms();
	gd_task *b = gd_call_later("b", 60, note, "b"), *a = gd_call_later("a", 20, note, "a");
	gd_task *never = gd_call_later("never", 60000, note, "c");
	gd_cancel(never);
	int r = gd_await(b, GD_NEVER), r2 = gd_await(a, GD_NEVER), r3 = gd_await(never, GD_NEVER);
	return gd_reply(req, 200,
			gd_build("{order: %s, results: [%d, %d, %d], long_enough: %d}", order, r, r2, r3,
				 now_ms() - began >= 60));
}

int ticks(gd_request *req)
{
	int64_t began = now_ms();
	gd_ticker *t = gd_ticker_new(20);
	int a = gd_ticker_wait(t, GD_NEVER), b = gd_ticker_wait(t, GD_NEVER);
	bool fine = now_ms() - began >= 40;
	int early = gd_ticker_wait(t, gd_in_ms(0));
	gd_sleep(90);
	int missed = gd_ticker_wait(t, GD_NEVER);
	return gd_reply(req, 200,
			gd_build("{first: %d, fine: %d, early: %d, missed: %d, none: %d}", a >= 0 && b >= 0, fine,
				 early, missed >= 3, gd_ticker_new(0) == NULL));
}

/* --- task-local values and scopes --- */

static gd_local user = {.name = "user"};

static int look_and_change(void *arg)
{
	const char **seen = arg;
	*seen = gd_local_get(&user);
	return gd_local_set(&user, "the child's");
}

int locals(gd_request *req)
{
	const char *before = gd_local_get(&user), *seen = NULL;
	gd_local_set(&user, "ann");
	gd_task *t = gd_spawn("child", look_and_change, &seen);
	gd_local_set(&user, "bob");
	int r = gd_await(t, GD_NEVER);
	return gd_reply(req, 200,
			gd_build("{before: %s, seen: %s, mine: %s, r: %d}", before, seen,
				 (const char *)gd_local_get(&user), r));
}

int scopes(gd_request *req)
{
	struct sleeper inner = {.ms = 60000}, innermost = {.ms = 60000}, *outer = gd_alloc(sizeof(*outer));
	outer->ms = 60000;
	gd_spawn("outer", sleep_then, outer);
	gd_scope *s = gd_scope_begin();
	gd_spawn("inner", sleep_then, &inner);
	gd_scope *within = gd_scope_begin();
	gd_task *t = gd_spawn("innermost", sleep_then, &innermost);
	gd_yield();
	int running = gd_ended(t);
	gd_scope_end(within);
	bool only = innermost.cleaned && !inner.cleaned && !outer->cleaned;
	gd_scope_end(s);
	bool both = inner.cleaned && !outer->cleaned;
	for (int i = 0; i < 100; i++) {
		gd_scope *round = gd_scope_begin();
		char *p = gd_alloc(100000);
		p[99999] = p[0];
		gd_scope_end(round);
	}
	gd_scope_begin(); /* forgotten: the request's end ends it */
	gd_spawn("left", sleep_then, gd_alloc(sizeof(struct sleeper)));
	return gd_reply(req, 200,
			gd_build("{running: %d, only: %d, both: %d, text: %s}", running, only, both,
				 gd_format("%d%s", 5, "%")));
}

static int scope_in_task(void *arg)
{
	gd_scope *s = gd_scope_begin();
	gd_task *t = gd_spawn("within", sleep_then, arg);
	int r = gd_await(t, GD_NEVER);
	gd_scope_end(s);
	return r;
}

/* The request ends while a task of its own is in a scope of its own. */
int scope_left(gd_request *req)
{
	struct sleeper *s = gd_alloc(sizeof(*s));
	s->ms = 60000;
	gd_spawn("scoped", scope_in_task, s);
	gd_sleep(1);
	return gd_reply(req, 200, gd_null());
}

/* --- several at once --- */

static int sleep_and_fail(void *arg)
{
	int r = gd_sleep((intptr_t)arg);
	return r < 0 ? r : -ENOENT;
}

int gather_fast(gd_request *req)
{
	struct sleeper slow = {.ms = 60000};
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	int i = gd_gather_add(g, "one", give, (void *)1);
	int j = gd_gather_add(g, "fails", sleep_and_fail, (void *)10);
	int k = gd_gather_add(g, "slow", sleep_then, &slow);
	int pending = gd_gather_result(g, k), early = gd_gather_wait(g, gd_in_ms(1));
	int r = gd_gather_wait(g, GD_NEVER);
	return gd_reply(
		req, 200,
		gd_build("{indices: [%d, %d, %d], pending: %d, early: %d, r: %d, results: [%d, %d, %d], none: %d, "
			 "cleaned: %d, late: %d}",
			 i, j, k, pending, early, r, gd_gather_result(g, 0), gd_gather_result(g, 1),
			 gd_gather_result(g, 2), gd_gather_result(g, 3), slow.cleaned,
			 gd_gather_add(g, "late", give, NULL)));
}

int gather_all(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	for (int i = 0; i < 20; i++)
		gd_gather_add(g, "child", i % 7 == 3 ? fail : give, (void *)(intptr_t)(100 + i));
	int r = gd_gather_wait(g, GD_NEVER);
	gd_value *results = gd_list();
	for (int i = 0; i < 20; i++)
		gd_append(results, gd_int(gd_gather_result(g, i)));
	return gd_reply(req, 200,
			gd_build("{r: %d, results: %p, value: %d}", r, results, gd_failed(gd_gather_value(g, 0))));
}

int gather_order(gd_request *req)
{
	struct sleeper s[] = {{.ms = 90}, {.ms = 10}, {.ms = 50}};
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_value *completed = gd_list();
	for (int i = 0; i < 3; i++)
		gd_gather_add(g, "child", sleep_then, &s[i]);
	int late = gd_gather_next(g, gd_in_ms(0)), i;
	while ((i = gd_gather_next(g, GD_NEVER)) >= 0)
		gd_append(completed, gd_int(i));
	return gd_reply(req, 200, gd_build("{late: %d, completed: %p, end: %d}", late, completed, i));
}

int gather_cancel(gd_request *req)
{
	struct sleeper s = {.ms = 60000};
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_gather_add(g, "child", sleep_then, &s);
	gd_gather_add(g, "quick", give, (void *)4);
	gd_sleep(1);
	gd_gather_cancel(g);
	int r = gd_gather_wait(g, GD_NEVER);
	gd_gather_add(gd_gather_new(GD_ALL), "left", sleep_then, gd_alloc(sizeof(s)));
	return gd_reply(req, 200, gd_build("[%d, %d, %d]", r, gd_gather_result(g, 0), gd_gather_result(g, 1)));
}

/* --- semaphores --- */

struct holders {
	gd_semaphore *semaphore;
	int now, most;
	bool overflow;
};

static int hold(void *arg)
{
	struct holders *h = arg;
	int r = gd_acquire(h->semaphore, GD_NEVER);
	if (r < 0)
		return r;
	h->most = ++h->now > h->most ? h->now : h->most;
	gd_sleep(5);
	h->now--;
	return gd_release(h->semaphore);
}

static gd_value *hold_by_many(gd_semaphore *s)
{
	struct holders h = {.semaphore = s};
	gd_gather *g = gd_gather_new(GD_ALL);
	for (int i = 0; i < 7; i++)
		gd_gather_add(g, "holder", hold, &h);
	int r = gd_gather_wait(g, GD_NEVER);
	for (int i = 0; i < 7 && r == 0; i++)
		r = gd_gather_result(g, i);
	return gd_build("{r: %d, most: %d}", r, h.most);
}

int semaphores(gd_request *req)
{
	gd_value *bounded = hold_by_many(gd_semaphore_new(2, 0)), *named = hold_by_many(gd_semaphore_named("three"));
	gd_semaphore *one = gd_semaphore_new(1, 1), *more = gd_semaphore_new_unbounded(1, 0);
	struct holders h = {.semaphore = one};
	int unheld = gd_release(one), unheld_named = gd_release(gd_semaphore_named("three"));
	int held = gd_acquire(one, GD_NEVER), late = gd_acquire(one, gd_in_ms(5));
	gd_task *waits = gd_spawn("waits", hold, &h);
	gd_yield();
	int busy = gd_acquire(one, GD_NEVER), given = gd_release(one), waited = gd_await(waits, GD_NEVER);
	int extra = gd_release(more), a = gd_acquire(more, gd_in_ms(0)), b = gd_acquire(more, gd_in_ms(0));
	return gd_reply(
		req, 200,
		gd_build(
			"{bounded: %p, named: %p, none: %d, unheld: [%d, %d], held: %d, late: %d, busy: %d, given: %d, "
			"waited: %d, more: [%d, %d, %d]}",
			bounded, named, gd_semaphore_named("nobody") == NULL, unheld, unheld_named, held, late, busy,
			given, waited, extra, a, b));
}

/* A permit of all workers that the handler forgets. */
int forget(gd_request *req)
{
	int r = gd_acquire(gd_semaphore_named("only"), GD_NEVER);
	return r < 0 ? r : gd_reply(req, 200, gd_null());
}

/* --- mutexes, events, conditions --- */

struct locked {
	gd_mutex *mutex;
	gd_condition *condition;
	int inside, most, woken;
	bool ready;
};

static int lock_and_work(void *arg)
{
	struct locked *l = arg;
	int r = gd_lock(l->mutex, GD_NEVER);
	if (r < 0)
		return r;
	l->most = ++l->inside > l->most ? l->inside : l->most;
	gd_sleep(2);
	l->inside--;
	return gd_unlock(l->mutex);
}

int mutexes(gd_request *req)
{
	struct locked l = {.mutex = gd_mutex_new()};
	int unheld = gd_unlock(l.mutex), held = gd_lock(l.mutex, GD_NEVER), twice = gd_lock(l.mutex, GD_NEVER);
	gd_gather *g = gd_gather_new(GD_ALL);
	for (int i = 0; i < 4; i++)
		gd_gather_add(g, "worker", lock_and_work, &l);
	int late = gd_gather_wait(g, gd_in_ms(10)), given = gd_unlock(l.mutex), r = gd_gather_wait(g, GD_NEVER);
	return gd_reply(req, 200,
			gd_build("{unheld: %d, held: %d, twice: %d, late: %d, given: %d, r: %d, most: %d}", unheld,
				 held, twice, late, given, r, l.most));
}

static int await_event(void *arg)
{
	return gd_event_wait(arg, GD_NEVER);
}

int events(gd_request *req)
{
	gd_event *e = gd_event_new();
	int late = gd_event_wait(e, gd_in_ms(5));
	bool before = gd_event_is_set(e);
	gd_gather *g = gd_gather_new(GD_ALL);
	for (int i = 0; i < 3; i++)
		gd_gather_add(g, "waits", await_event, e);
	gd_sleep(1);
	gd_event_set(e);
	int r = gd_gather_wait(g, GD_NEVER), at_once = gd_event_wait(e, GD_NEVER);
	bool after = gd_event_is_set(e);
	gd_event_clear(e);
	return gd_reply(req, 200,
			gd_build("{late: %d, before: %d, r: %d, at_once: %d, after: %d, cleared: %d}", late, before, r,
				 at_once, after, gd_event_is_set(e)));
}

static int await_ready(void *arg)
{
	struct locked *l = arg;
	int r = gd_lock(l->mutex, GD_NEVER);
	while (r == 0 && !l->ready)
		r = gd_condition_wait(l->condition, GD_NEVER);
	l->woken++;
	int r2 = gd_unlock(l->mutex);
	return r < 0 ? r : r2;
}

int conditions(gd_request *req)
{
	struct locked l = {.mutex = gd_mutex_new()};
	l.condition = gd_condition_new(l.mutex);
	int unheld = gd_condition_wait(l.condition, GD_NEVER), mute = gd_condition_notify(l.condition, 1);
	gd_gather *g = gd_gather_new(GD_ALL);
	for (int i = 0; i < 3; i++)
		gd_gather_add(g, "waits", await_ready, &l);
	gd_sleep(1);
	int held = gd_lock(l.mutex, GD_NEVER), late = gd_condition_wait(l.condition, gd_in_ms(5));
	l.ready = true;
	int one = gd_condition_notify(l.condition, 1);
	gd_unlock(l.mutex);
	gd_sleep(5);
	int woken = l.woken;
	held |= gd_lock(l.mutex, GD_NEVER);
	gd_condition_notify(l.condition, 100);
	gd_unlock(l.mutex);
	int r = gd_gather_wait(g, GD_NEVER);
	return gd_reply(req, 200,
			gd_build("{unheld: %d, mute: %d, held: %d, late: %d, one: %d, woken: [%d, %d], r: %d}", unheld,
				 mute, held, late, one, woken, l.woken, r));
}

/* --- queues --- */

static int produce(void *arg)
{
	gd_queue *q = arg;
	for (intptr_t i = 1; i <= 10; i++) {
		int r = gd_queue_put(q, (void *)i, GD_NEVER);
		if (r < 0)
			return r;
	}
	gd_queue_close(q);
	return 0;
}

static gd_value *drain(gd_queue *q)
{
	gd_value *items = gd_list();
	void *item;
	while (gd_queue_get_now(q, &item) == 0)
		gd_append(items, gd_int((intptr_t)item));
	return items;
}

static int compare(const void *a, const void *b)
{
	intptr_t x = (intptr_t)a % 10, y = (intptr_t)b % 10;
	return (x > y) - (x < y);
}

static int consume(void *arg)
{
	void *item;
	gd_sleep(10);
	while (gd_queue_get_now(arg, &item) == 0) {
		int r = gd_queue_task_done(arg);
		if (r < 0)
			return r;
	}
	return 0;
}

int queues(gd_request *req)
{
	gd_queue *q = gd_queue_new(2), *last = gd_queue_new_priority(0, NULL),
		 *lowest = gd_queue_new_priority(0, compare);
	gd_value *got = gd_list();
	void *item = NULL;
	int r, early = gd_queue_get(q, &item, gd_in_ms(5)), empty = gd_queue_get_now(q, &item);
	gd_task *t = gd_spawn("producer", produce, q);
	gd_sleep(1);
	unsigned most = gd_queue_count(q);
	int full = gd_queue_put_now(q, NULL);
	while ((r = gd_queue_get(q, &item, GD_NEVER)) == 0)
		gd_append(got, gd_int((intptr_t)item));
	int produced = gd_await(t, GD_NEVER), closed = gd_queue_put(q, NULL, GD_NEVER);
	for (intptr_t i = 0; i < 4; i++) {
		intptr_t items[] = {32, 11, 40, 21};
		if (gd_queue_put_now(last, (void *)items[i]) < 0 || gd_queue_put_now(lowest, (void *)items[i]) < 0)
			return -EIO;
	}
	return gd_reply(req, 200,
			gd_build("{early: %d, empty: %d, most: %d, full: %d, got: %p, end: %d, produced: %d, closed: "
				 "%d, last: %p, "
				 "lowest: %p}",
				 early, empty, (int)most, full, got, r, produced, closed, drain(last), drain(lowest)));
}

int joins(gd_request *req)
{
	gd_queue *q = gd_queue_new(0);
	int over = gd_queue_task_done(q), r = gd_queue_join(q, GD_NEVER);
	for (intptr_t i = 0; i < 5 && r == 0; i++)
		r = gd_queue_put_now(q, (void *)i);
	int late = gd_queue_join(q, gd_in_ms(1));
	gd_spawn("consumer", consume, q);
	return gd_reply(req, 200,
			gd_build("{over: %d, r: %d, late: %d, joined: %d}", over, r, late, gd_queue_join(q, GD_NEVER)));
}

/* --- futures --- */

static int await_future(void *arg)
{
	return gd_future_await(arg, GD_NEVER);
}

int futures(gd_request *req)
{
	gd_future *f = gd_future_new();
	gd_gather *g = gd_gather_new(GD_ALL);
	for (int i = 0; i < 3; i++)
		gd_gather_add(g, "waits", await_future, f);
	int early = gd_future_await(f, gd_in_ms(5));
	bool before = gd_future_done(f);
	gd_future_resolve(f, 7);
	gd_future_resolve(f, 8);
	int r = gd_gather_wait(g, GD_NEVER);
	return gd_reply(req, 200,
			gd_build("{early: %d, before: %d, r: %d, results: [%d, %d, %d], late: %d, done: %d}", early,
				 before, r, gd_gather_result(g, 0), gd_gather_result(g, 1), gd_gather_result(g, 2),
				 gd_future_await(f, GD_NEVER), gd_future_done(f)));
}

static void *resolve(void *arg)
{
	usleep(50000);
	gd_log(GD_LOG_INFO, "a promise is kept");
	gd_promise_resolve(arg, 11);
	return NULL;
}

static int resolve_by_thread(gd_future *f)
{
	pthread_t t;
	gd_promise *p = gd_future_promise(f);
	if (pthread_create(&t, NULL, resolve, p) != 0) {
		gd_promise_resolve(p, -EAGAIN);
		return -EAGAIN;
	}
	return pthread_detach(t);
}

int promises(gd_request *req)
{
	gd_future *f = gd_future_new();
	int r = resolve_by_thread(f);
	return gd_reply(req, 200, gd_list(gd_int(r), gd_int(gd_future_await(f, GD_NEVER))));
}

/* It is resolved when the request, and perhaps the daemon's last request, is over. */
int promise_left(gd_request *req)
{
	gd_future *f = gd_future_new();
	return gd_reply(req, 200, gd_int(resolve_by_thread(f)));
}

/* --- threads and descriptors --- */

static int compute(void *arg)
{
	int *p = arg;
	usleep(20000);
	(*p)++;
	return 40 + *p;
}

static atomic_int dropped;

static void drop(void *arg)
{
	(void)arg;
	dropped++;
}

int blocking(gd_request *req)
{
	static int forgotten;
	int n = 1, m = 1;
	bool ran = false, late_ran = true;
	int r = gd_run_blocking(compute, &n);
	int in_time = gd_run_blocking_until(compute, &m, drop, GD_NEVER, &ran), none = dropped;
	int late = gd_run_blocking_until(compute, &forgotten, drop, gd_in_ms(1), &late_ran);
	for (int i = 0; i < 1000 && dropped == 0; i++)
		gd_sleep(5);
	return gd_reply(req, 200,
			gd_build("{r: %d, n: %d, in_time: %d, ran: %d, late: %d, late_ran: %d, dropped: [%d, %d]}", r,
				 n, in_time, ran, late, late_ran, none, dropped));
}

static int compute_in_task(void *arg)
{
	return gd_run_blocking(compute, arg);
}

/* Cancelled, and with a shield whose time is over: its argument stands on a stack, and it is waited for. */
static int compute_in_shield(void *arg)
{
	gd_shield s;
	gd_shield_begin(&s, gd_in_ms(1));
	int r = gd_run_blocking(compute, arg);
	gd_shield_end(&s);
	return r;
}

int blocking_cancelled(gd_request *req)
{
	int n = 1, m = 1;
	gd_task *t = gd_spawn("computes", compute_in_task, &n), *u = gd_spawn("shielded", compute_in_shield, &m);
	gd_yield();
	gd_cancel(t);
	gd_cancel(u);
	int r = gd_await(t, GD_NEVER), r2 = gd_await(u, GD_NEVER);
	return gd_reply(req, 200, gd_build("[%d, %d, %d, %d]", r, n, r2, m));
}

static int write_byte(void *arg)
{
	gd_sleep(10);
	return (int)write(*(int *)arg, "x", 1);
}

int descriptors(gd_request *req)
{
	int ends[2];
	char c = 0;
	if (pipe(ends) < 0)
		return -errno;
	int late = gd_await_fd(ends[0], GD_READABLE, gd_in_ms(5)),
	    writable = gd_await_fd(ends[1], GD_WRITABLE, GD_NEVER);
	gd_task *t = gd_spawn("writes", write_byte, &ends[1]);
	int readable = gd_await_fd(ends[0], GD_READABLE, GD_NEVER);
	ssize_t n = read(ends[0], &c, 1);
	int r = gd_await(t, GD_NEVER);
	close(ends[1]);
	int hung_up = gd_await_fd(ends[0], GD_READABLE, GD_NEVER);
	close(ends[0]);
	return gd_reply(req, 200,
			gd_build("{late: %d, writable: %d, readable: %d, n: %d, r: %d, hung_up: %d, bad: %d}", late,
				 writable, readable, (int)n, r, hung_up, gd_await_fd(-1, GD_READABLE, GD_NEVER)));
}

static void *on_no_loop(void *arg)
{
	gd_value **failed = arg;
	*failed = gd_int(1);
	bool refused = gd_spawn("nowhere", give, NULL) == NULL && gd_sleep(1) == -EPERM && !gd_alloc(1) &&
		       !gd_mutex_new() && gd_in_ms(5).us > 0;
	return (void *)(intptr_t)refused;
}

static int on_executor(void *arg)
{
	return (int)(intptr_t)on_no_loop(arg);
}

int elsewhere(gd_request *req)
{
	gd_value *failed = NULL;
	int refused = gd_run_blocking(on_executor, &failed);
	return gd_reply(req, 200, gd_build("{refused: %d, failed: %d}", refused, gd_failed(failed) < 0));
}

/* --- the request's end --- */

static atomic_int cleaned, children;

static int linger_child(void *arg)
{
	(void)arg;
	int r = gd_sleep(60000);
	children += r == -ECANCELED;
	return r;
}

int linger(gd_request *req)
{
	(void)req;
	gd_spawn("child", linger_child, NULL);
	int r = gd_sleep(60000);
	gd_shield s;
	gd_shield_begin(&s, gd_in_ms(10000));
	gd_sleep(5);
	gd_shield_end(&s);
	cleaned += r == -ECANCELED;
	return r;
}

int lingered(gd_request *req)
{
	return gd_reply(req, 200, gd_list(gd_int(cleaned), gd_int(children)));
}

int too_slow(gd_request *req)
{
	(void)req;
	return gd_sleep(60000);
}

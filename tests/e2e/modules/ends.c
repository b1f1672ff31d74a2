/* What is shared beyond requests, and what their ends give back of it: test_handlers_ends.py. */
#include <errno.h>
#include <gatherd.h>

static _Thread_local gd_mutex *lock;
static _Thread_local gd_condition *changed;
static _Thread_local gd_semaphore *limit, *counter, *named;
static _Thread_local gd_event *given;
static _Thread_local gd_gather *all;

static _Thread_local int done;

static int job(void *arg)
{
	(void)arg;
	done++;
	return 0;
}

/* A task of the start that hands work on. */
static int start_jobs(void *arg)
{
	(void)arg;
	for (int i = 0; i < 300; i++) {
		int r = gd_background("job", job, NULL);
		if (r == 0)
			r = gd_yield();
		if (r < 0)
			return r;
	}
	return 0;
}

int gd_module_start(unsigned worker, unsigned workers)
{
	(void)worker, (void)workers;
	lock = gd_mutex_new();
	changed = gd_condition_new(lock);
	limit = gd_semaphore_new(2, 0);
	counter = gd_semaphore_new_unbounded(1, 0);
	named = gd_semaphore_named("only");
	given = gd_event_new();
	all = gd_gather_new(GD_ALL);
	gd_spawn("starts jobs", start_jobs, NULL);
	return gd_lock(lock, GD_NEVER); /* and forgets it */
}

int jobs(gd_request *req)
{
	return gd_reply(req, 200, gd_int(done));
}

/* --- mutexes --- */

static int forget_lock(void *arg)
{
	(void)arg;
	return gd_lock(lock, gd_in_ms(20000));
}

int leave_lock(gd_request *req)
{
	int r = forget_lock(NULL);
	return r < 0 ? r : gd_reply(req, 200, gd_null());
}

int take_lock(gd_request *req)
{
	int r = gd_lock(lock, gd_in_ms(20000)), freed = gd_unlock(lock), again = gd_unlock(lock);
	return gd_reply(req, 200, gd_list(gd_int(r), gd_int(freed), gd_int(again)));
}

/* Each takes it after the one before has ended with it. */
int leave_lock_in_tasks(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	int spawned = gd_await(gd_spawn("spawned", forget_lock, NULL), GD_NEVER);
	int later = gd_await(gd_call_later("later", 1, forget_lock, NULL), GD_NEVER);
	int waited = gd_wait_for("waited", forget_lock, NULL, GD_NEVER);
	gd_gather_add(g, "child", forget_lock, NULL);
	gd_gather_add(g, "another", forget_lock, NULL);
	int both = gd_gather_wait(g, GD_NEVER);
	int mine = gd_lock(lock, gd_in_ms(20000));
	return gd_reply(req, 200,
			gd_build("[%d, %d, %d, %d, %d, %d, %d, %d]", spawned, later, waited, both,
				 gd_gather_result(g, 0), gd_gather_result(g, 1), mine, gd_unlock(lock)));
}

static int wait_changed(void *arg)
{
	(void)arg;
	int r = gd_lock(lock, GD_NEVER);
	return r < 0 ? r : gd_condition_wait(changed, GD_NEVER);
}

/* A task that is cancelled in a wait holds the lock again when it returns. */
int leave_lock_of_condition(gd_request *req)
{
	gd_task *t = gd_spawn("waits", wait_changed, NULL);
	gd_yield();
	int free = gd_lock(lock, gd_in_ms(20000));
	gd_cancel(t);
	gd_yield();
	int freed = gd_unlock(lock), waited = gd_await(t, GD_NEVER), mine = gd_lock(lock, gd_in_ms(20000));
	return gd_reply(req, 200, gd_build("[%d, %d, %d, %d, %d]", free, freed, waited, mine, gd_unlock(lock)));
}

static int wait_for_lock(void *arg)
{
	gd_shield s;
	(void)arg;
	gd_shield_begin(&s, GD_NEVER);
	int r = gd_lock(lock, GD_NEVER);
	gd_log(GD_LOG_INFO, "a shielded task has the lock: %d", r);
	r |= gd_unlock(lock);
	gd_shield_end(&s);
	return r;
}

/* The handler returns with what its own task waits for. */
int leave_lock_to_own_task(gd_request *req)
{
	int r = gd_lock(lock, gd_in_ms(20000));
	gd_spawn("waits", wait_for_lock, NULL);
	gd_yield();
	return r < 0 ? r : gd_reply(req, 200, gd_null());
}

/* --- semaphores --- */

int leave_permits(gd_request *req)
{
	int a = gd_acquire(limit, gd_in_ms(20000)), b = gd_acquire(limit, gd_in_ms(20000));
	return gd_reply(req, 200, gd_list(gd_int(a), gd_int(b)));
}

int take_permits(gd_request *req)
{
	int a = gd_acquire(limit, gd_in_ms(20000)), b = gd_acquire(limit, gd_in_ms(20000));
	int third = gd_acquire(limit, gd_in_ms(1)), c = gd_release(limit), d = gd_release(limit);
	return gd_reply(req, 200, gd_build("[%d, %d, %d, %d, %d, %d]", a, b, third, c, d, gd_release(limit)));
}

/* Another request gives back what this one has taken. */
int hand_over(gd_request *req)
{
	int r = gd_acquire(limit, gd_in_ms(20000));
	gd_event_clear(given);
	if (r == 0)
		r = gd_event_wait(given, gd_in_ms(20000));
	return gd_reply(req, 200, gd_int(r));
}

int give(gd_request *req)
{
	int r = gd_release(limit);
	if (r == 0)
		gd_event_set(given);
	return gd_reply(req, 200, gd_int(r));
}

/* Who takes one and who gives it back are different requests. */
int count_down(gd_request *req)
{
	return gd_reply(req, 200, gd_int(gd_acquire(counter, gd_in_ms(1))));
}

int count_up(gd_request *req)
{
	return gd_reply(req, 200, gd_int(gd_release(counter)));
}

/* By the handle that the module's start has asked for. */
int leave_named(gd_request *req)
{
	return gd_reply(req, 200, gd_int(gd_acquire(named, gd_in_ms(20000))));
}

int take_named(gd_request *req)
{
	gd_semaphore *mine = gd_semaphore_named("only");
	int unheld = gd_release(named), r = gd_acquire(named, gd_in_ms(20000));
	int late = gd_acquire(mine, gd_in_ms(1)), given_back = gd_release(mine);
	return gd_reply(req, 200, gd_build("[%d, %d, %d, %d, %d]", unheld, r, late, given_back, gd_release(named)));
}

/* --- gathers --- */

static int nap(void *arg)
{
	(void)arg;
	return gd_sleep(60000);
}

int strange_gather(gd_request *req)
{
	return gd_reply(req, 200,
			gd_list(gd_int(gd_gather_add(all, "child", nap, NULL)),
				gd_int(gd_failed(gd_read_file(all, "files", "a.txt")))));
}

/* --- files --- */

static int read_some(void *arg)
{
	char c;
	return (int)gd_file_read(arg, &c, 1);
}

/* Two tasks at one file, whose source has two permits; then both are free. */
int read_twice(gd_request *req)
{
	gd_file *f = gd_file_open("files", "a.txt", GD_OPEN_READ);
	gd_semaphore *two = gd_semaphore_named("two");
	gd_task *a = gd_spawn("a", read_some, f), *b = gd_spawn("b", read_some, f);
	int first = gd_await(a, GD_NEVER), second = gd_await(b, GD_NEVER), again = read_some(f);
	int c = gd_acquire(two, gd_in_ms(1)), d = gd_acquire(two, gd_in_ms(1));
	return gd_reply(req, 200, gd_build("[%d, %d, %d, %d, %d]", first, second, again, c, d));
}

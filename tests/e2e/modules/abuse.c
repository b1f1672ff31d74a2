/* gatherd.h as nobody should use it: test_handlers_abuse.py says what each mistake is answered with. */
#include <errno.h>
#include <gatherd.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* --- before there is anything --- */

static int constructed = 1;

__attribute__((constructor)) static void construct(void)
{
	gd_shield s;
	gd_shield_begin(&s, GD_NEVER);
	gd_shield_end(&s);
	gd_log(GD_LOG_INFO, "from a constructor");
	constructed = gd_failed(gd_int(1)) == -EPERM && !gd_alloc(1) && !gd_spawn("a", NULL, NULL) &&
		      gd_sleep(1) == -EPERM && gd_in_ms(1).us > 0;
}

/* --- other workers --- */

/* The mistake: one variable of all workers for what belongs to one. The last that starts has made them. */
static struct {
	gd_queue *queue;
	gd_semaphore *semaphore;
	gd_mutex *mutex;
	gd_event *event;
	gd_condition *condition;
	gd_future *future;
	gd_task *task;
	gd_gather *gather;
	gd_ticker *ticker;
} theirs;

static int wait_long(void *arg)
{
	(void)arg;
	return gd_sleep(3600000);
}

static int give(void *arg)
{
	return (int)(intptr_t)arg;
}

static int fail(void *arg)
{
	(void)arg;
	return -EIO;
}

/* Of a run that fails without what it has begun: the next must not suffer, nor the end. */
static int leave_open(void *arg)
{
	static gd_shield s;
	int *runs = arg;
	gd_shield_begin(&s, GD_NEVER);
	gd_deadline before = gd_deadline_push(gd_in_ms(0));
	gd_scope_begin();
	return ++*runs < 3 && before.us > 0 ? -EIO : 0;
}

static _Thread_local int runs, ticks;

static int tick(void *arg)
{
	(void)arg;
	return gd_deadline_push(gd_in_ms(0)).us > 0 ? ++ticks : -EIO;
}

/* Somebody cleans up by starting something. */
static int start_more(void *arg)
{
	(void)arg;
	(void)gd_sleep(3600000);
	return gd_background("at the end", wait_long, NULL);
}

int gd_module_start(unsigned worker, unsigned workers)
{
	(void)workers;
	theirs.queue = gd_queue_new(1);
	theirs.semaphore = gd_semaphore_new(1, 0);
	theirs.mutex = gd_mutex_new();
	theirs.event = gd_event_new();
	theirs.condition = gd_condition_new(theirs.mutex);
	theirs.future = gd_future_new();
	theirs.task = gd_spawn("theirs", wait_long, NULL);
	theirs.gather = gd_gather_new(GD_ALL);
	theirs.ticker = gd_ticker_new(1000);
	gd_spawn("starts more", start_more, NULL);
	if (worker == 0 && getenv("ABUSE_PROMISE"))
		gd_future_promise(theirs.future);
	if (worker == 0 && getenv("ABUSE_NEVER"))
		(void)gd_sleep(3600000);
	int r = gd_background("leaves open", leave_open, &runs);
	r = r < 0 ? r : gd_every("once in an age", INT64_MAX / 2000, give, NULL);
	return r < 0 ? r : gd_every("ticks", 20, tick, NULL);
}

void gd_module_stop(unsigned worker, unsigned workers)
{
	(void)worker, (void)workers;
	if (gd_background("too late", wait_long, NULL) != -EPERM)
		abort();
	if (getenv("ABUSE_NEVER_STOP"))
		(void)gd_sleep(3600000);
}

/* On worker 0 of two. */
int foreign(gd_request *req)
{
	void *item;
	gd_deadline soon = gd_in_ms(100);
	if (gd_worker() != 0)
		return gd_reply(req, 200, gd_null());
	gd_event_set(theirs.event);
	gd_event_clear(theirs.event);
	gd_future_resolve(theirs.future, 1);
	gd_queue_close(theirs.queue);
	gd_cancel(theirs.task);
	gd_gather_cancel(theirs.gather);
	int results[] = {
		gd_queue_put(theirs.queue, &item, soon),
		gd_queue_get(theirs.queue, &item, soon),
		gd_queue_put_now(theirs.queue, &item),
		gd_queue_get_now(theirs.queue, &item),
		gd_queue_task_done(theirs.queue),
		gd_queue_join(theirs.queue, soon),
		gd_acquire(theirs.semaphore, soon),
		gd_release(theirs.semaphore),
		gd_lock(theirs.mutex, soon),
		gd_unlock(theirs.mutex),
		gd_event_wait(theirs.event, soon),
		gd_condition_wait(theirs.condition, soon),
		gd_condition_notify(theirs.condition, 1),
		gd_future_await(theirs.future, soon),
		gd_await(theirs.task, soon),
		gd_gather_add(theirs.gather, "a", give, NULL),
		gd_gather_wait(theirs.gather, soon),
		gd_gather_next(theirs.gather, soon),
		gd_ticker_wait(theirs.ticker, soon),
	};
	gd_value *out = gd_list();
	for (size_t i = 0; i < sizeof(results) / sizeof(*results); i++)
		gd_append(out, gd_int(results[i]));
	gd_append(out, gd_bool(!gd_condition_new(theirs.mutex) && !gd_future_promise(theirs.future)));
	return gd_reply(req, 200, out);
}

int background(gd_request *req)
{
	return gd_reply(req, 200, gd_build("{runs: %d, ticks: %d, constructed: %d}", runs, ticks, constructed));
}

/* --- times beyond all bounds --- */

int times(gd_request *req)
{
	gd_task *never = gd_call_later("a", INT64_MAX, give, NULL), *now = gd_call_later("b", INT64_MIN, give, NULL);
	gd_ticker *long_one = gd_ticker_new(INT64_MAX / 2000);
	gd_deadline past = {INT64_MIN}, before = gd_deadline_push(past);
	int pushed = gd_sleep(1);
	gd_deadline_pop(before);
	int results[] = {
		pushed,
		gd_await(never, gd_in_ms(1)),
		gd_await(never, gd_in_ms(INT64_MIN)),
		gd_await(now, GD_NEVER),
		gd_ticker_wait(long_one, past),
		gd_sleep(INT64_MIN),
		gd_wait_for("a", give, NULL, past),
		gd_ticker_new(INT64_MIN) || gd_ticker_new(INT64_MAX) || gd_ticker_new(0),
		gd_every("a", INT64_MAX, give, NULL),
		gd_every("a", INT64_MIN, give, NULL),
	};
	gd_value *out = gd_list();
	for (size_t i = 0; i < sizeof(results) / sizeof(*results); i++)
		gd_append(out, gd_int(results[i]));
	return gd_reply(req, 200, out);
}

/* --- NULL --- */

static const char *const volatile null_text = NULL; /* so that the compiler does not see it */

static void call_what_returns_nothing(void)
{
	gd_shield_begin(NULL, GD_NEVER);
	gd_shield_end(NULL);
	gd_scope_end(NULL);
	gd_cancel(NULL);
	gd_gather_cancel(NULL);
	gd_event_set(NULL);
	gd_event_clear(NULL);
	gd_future_resolve(NULL, 0);
	gd_promise_resolve(NULL, 0);
	gd_queue_close(NULL);
	gd_close(NULL);
	gd_log(GD_LOG_INFO, null_text);
	gd_log((gd_log_level)99, "a level that there is not");
}

static bool nothing_comes_of_nothing(gd_request *req)
{
	size_t len = 1;
	return !gd_spawn(NULL, NULL, NULL) && !gd_call_later(NULL, 0, NULL, NULL) && !gd_local_get(NULL) &&
	       !gd_semaphore_named(NULL) && !gd_condition_new(NULL) && !gd_future_promise(NULL) && !gd_method(NULL) &&
	       !gd_path(NULL) && !gd_request_id(NULL) && !gd_client(NULL) && !gd_header(req, NULL) &&
	       !gd_header(NULL, "a") && *(const char *)gd_body(NULL, &len) == 0 && len == 0 && gd_body(req, NULL) &&
	       !gd_to_text(NULL) && !gd_to_json(NULL) && !gd_to_bytes(NULL, NULL) && !gd_name_at(NULL, 0) &&
	       gd_count(NULL) == 0 && !gd_truthy(NULL) && gd_to_int(NULL, 7) == 7 && gd_ended(NULL) && !gd_next(NULL) &&
	       !*gd_format(null_text, 1) && *gd_error_text(NULL) && !*gd_error_code(NULL) &&
	       gd_error_status(NULL) == 500;
}

int nulls(gd_request *req)
{
	bool ran;
	call_what_returns_nothing();
	int results[] = {
		gd_wait_for(NULL, NULL, NULL, GD_NEVER),
		gd_local_set(NULL, NULL),
		gd_gather_add(NULL, NULL, give, NULL),
		gd_gather_wait(NULL, GD_NEVER),
		gd_gather_next(NULL, GD_NEVER),
		gd_acquire(NULL, GD_NEVER),
		gd_release(NULL),
		gd_lock(NULL, GD_NEVER),
		gd_unlock(NULL),
		gd_event_wait(NULL, GD_NEVER),
		gd_condition_wait(NULL, GD_NEVER),
		gd_condition_notify(NULL, 1),
		gd_queue_put(NULL, NULL, GD_NEVER),
		gd_queue_get(NULL, NULL, GD_NEVER),
		gd_queue_get_now(gd_queue_new(0), NULL),
		gd_queue_join(NULL, GD_NEVER),
		gd_future_await(NULL, GD_NEVER),
		gd_run_blocking(NULL, NULL),
		gd_run_blocking_until(NULL, NULL, NULL, GD_NEVER, &ran),
		gd_ticker_wait(NULL, GD_NEVER),
		gd_append(NULL, NULL),
		gd_set(NULL, NULL, NULL),
		gd_failed(NULL),
		gd_failed(gd_param(req, NULL)),
		gd_failed(gd_param(NULL, "a")),
		gd_failed(gd_list(NULL)),
		gd_failed(gd_doc(null_text, gd_int(1))),
		gd_failed(gd_build(null_text)),
		gd_failed(gd_parse(NULL, 0)),
		gd_failed(gd_get(gd_null(), NULL)),
		gd_failed(gd_value_copy(NULL)),
		gd_failed(gd_body_json(NULL)),
		gd_failed(gd_body_form(NULL)),
		gd_reply_header(req, NULL, NULL),
		gd_reply_header(NULL, "a", "b"),
		gd_reply(NULL, 200, gd_null()),
		gd_reply_text(NULL, 200, "%s", "a"),
		gd_reply_bytes(NULL, 200, NULL, NULL, 0),
		gd_reply_bytes(req, 200, NULL, NULL, 1),
		gd_reply_redirect(req, 303, NULL),
		gd_reply_file(NULL, NULL, NULL),
		gd_reply_file(req, NULL, NULL),
		gd_reply_error(NULL, -EIO),
		gd_stream_begin(NULL, 200, NULL),
		gd_stream_write(NULL, NULL, 0),
		gd_stream_printf(NULL, null_text, 1),
		gd_stream_end(NULL),
		gd_sse_begin(NULL, 0),
		gd_sse_send(NULL, NULL, NULL, NULL),
		gd_sse_send(NULL, NULL, NULL, "a"),
		gd_background("a", NULL, NULL),
		gd_every("a", 1, NULL, NULL),
	};
	gd_value *out = gd_list();
	for (size_t i = 0; i < sizeof(results) / sizeof(*results); i++)
		gd_append(out, gd_int(results[i]));
	gd_append(out, gd_bool(nothing_comes_of_nothing(req)));
	return gd_reply(req, 200, out);
}

/* --- pairs that are none --- */

static int end_scope_of_parent(void *arg)
{
	gd_scope_end(arg);
	return 5;
}

int scope_pairs(gd_request *req)
{
	gd_scope *a = gd_scope_begin();
	int r = gd_await(gd_spawn("child", end_scope_of_parent, a), gd_in_ms(20000));
	char *p = gd_alloc(10);
	p[0] = 1;
	gd_scope *b = gd_scope_begin();
	gd_scope_end(a); /* b, too */
	gd_scope_end(b);
	gd_scope_end(a);
	return gd_reply(req, 200, gd_int(r));
}

/* A scope that a task of the scope left open is its parent's to end. */
static int leave_scope(void *arg)
{
	*(gd_scope **)arg = gd_scope_begin();
	gd_spawn("in it", wait_long, NULL);
	return 6;
}

int scope_left_by_child(gd_request *req)
{
	gd_scope *left;
	int r = gd_await(gd_spawn("child", leave_scope, &left), GD_NEVER);
	gd_scope_end(left);
	return gd_reply(req, 200, gd_int(r));
}

int shield_pairs(gd_request *req)
{
	gd_shield never, twice, outer, inner;
	memset(&never, 0x5a, sizeof(never));
	gd_shield_end(&never);
	int fine = gd_sleep(1);
	gd_shield_begin(&twice, gd_in_ms(20000));
	gd_shield_end(&twice);
	gd_shield_end(&twice);
	gd_deadline before = gd_deadline_push(gd_in_ms(0));
	int late = gd_sleep(1000);
	gd_deadline_pop(before);
	gd_shield_begin(&outer, GD_NEVER);
	gd_shield_begin(&inner, gd_in_ms(0));
	gd_shield_end(&outer); /* takes inner along */
	gd_shield_end(&inner);
	return gd_reply(req, 200, gd_list(gd_int(fine), gd_int(late), gd_int(gd_sleep(1)), gd_bool(gd_cancelled())));
}

static int end_foreign_shield(void *arg)
{
	gd_shield_end(arg);
	return gd_sleep(20);
}

int shield_of_another(gd_request *req)
{
	gd_shield s;
	gd_shield_begin(&s, gd_in_ms(0));
	gd_task *t = gd_spawn("child", end_foreign_shield, &s);
	int inside = gd_await(t, GD_NEVER);
	gd_shield_end(&s);
	return gd_reply(req, 200, gd_list(gd_int(inside), gd_int(gd_await(t, GD_NEVER))));
}

/* --- things of one scope, tasks of another --- */

/* The scope ends where the child was added, not where its gather lives. */
static int use_scope(void *arg)
{
	char *before = gd_format("%s", (char *)arg);
	int r = gd_sleep(50);
	char *after = gd_format("%s", before);
	return r < 0 ? r : (int)strlen(after);
}

int gather_of_outer_scope(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_scope *s = gd_scope_begin();
	int i = gd_gather_add(g, "within", use_scope, "abc");
	gd_scope_end(s);
	int ended = gd_gather_result(g, i), j = gd_gather_add(g, "without", use_scope, "abcd");
	int r = gd_gather_wait(g, GD_NEVER);
	return gd_reply(req, 200, gd_list(gd_int(ended), gd_int(r), gd_int(gd_gather_result(g, j))));
}

int call_of_inner_scope(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_scope *s = gd_scope_begin();
	gd_read_file(g, "papers", "a.txt");
	gd_yield();
	gd_scope_end(s);
	int ended = gd_gather_result(g, 0), r = gd_gather_wait(g, GD_NEVER);
	return gd_reply(req, 200,
			gd_list(gd_int(ended != -EINPROGRESS), gd_int(r), gd_int(gd_failed(gd_gather_value(g, 0)))));
}

/* Whoever made the gather has ended; its child looks for a circle. */
static gd_gather *orphan;
static gd_task *sleeper;

static int await_sleeper(void *arg)
{
	(void)arg;
	gd_sleep(20);
	return gd_await(sleeper, GD_NEVER);
}

static int leave_gather(void *arg)
{
	char waste[20000];
	memset(waste, 0xff, sizeof(waste));
	orphan = gd_gather_new(GD_ALL);
	return gd_gather_add(orphan, "orphan", await_sleeper, arg) + (waste[100] != (char)0xff);
}

static int sleep_50(void *arg)
{
	(void)arg;
	return gd_sleep(50) < 0 ? -1 : 8;
}

int gather_left_by_its_owner(gd_request *req)
{
	sleeper = gd_spawn("sleeper", sleep_50, NULL);
	int r = gd_await(gd_spawn("owner", leave_gather, NULL), GD_NEVER);
	for (int i = 0; i < 100; i++)
		gd_spawn("others", give, NULL);
	int waited = gd_gather_wait(orphan, GD_NEVER);
	return gd_reply(req, 200, gd_list(gd_int(r), gd_int(waited), gd_int(gd_gather_result(orphan, 0))));
}

struct shared {
	gd_queue *empty, *full;
	gd_semaphore *semaphore;
	gd_mutex *mutex, *beside;
	gd_event *event;
	gd_condition *condition;
	gd_future *future;
	gd_ticker *ticker;
};

#define WAITER(name, call)                                                                                             \
	static int name(void *arg)                                                                                     \
	{                                                                                                              \
		struct shared *s = arg;                                                                                \
		void *item;                                                                                            \
		(void)item;                                                                                            \
		return call;                                                                                           \
	}
WAITER(get, gd_queue_get(s->empty, &item, GD_NEVER))
WAITER(put, gd_queue_put(s->full, s, GD_NEVER))
WAITER(join, gd_queue_join(s->full, GD_NEVER))
WAITER(acquire, gd_acquire(s->semaphore, GD_NEVER))
WAITER(lock, gd_lock(s->mutex, GD_NEVER))
WAITER(await_event, gd_event_wait(s->event, GD_NEVER))
WAITER(await_future, gd_future_await(s->future, GD_NEVER))
WAITER(await_tick, gd_ticker_wait(s->ticker, GD_NEVER))

static int await_condition(void *arg)
{
	struct shared *s = arg;
	int r = gd_lock(s->beside, GD_NEVER);
	return r < 0 ? r : gd_condition_wait(s->condition, GD_NEVER);
}

/* Tasks of an outer scope wait for what goes with an inner one. */
int waiting_for_what_ends(gd_request *req)
{
	static gd_task_fn *const fns[] = {get,         put,          join,       acquire,        lock,
					  await_event, await_future, await_tick, await_condition};
	struct shared *s = gd_alloc(sizeof(*s));
	gd_task *tasks[9];
	for (int i = 0; i < 9; i++)
		tasks[i] = gd_spawn("waits", fns[i], s);
	gd_scope *inner = gd_scope_begin();
	s->empty = gd_queue_new(1);
	s->full = gd_queue_new(1);
	s->semaphore = gd_semaphore_new(0, 0);
	s->mutex = gd_mutex_new();
	s->beside = gd_mutex_new();
	s->event = gd_event_new();
	s->future = gd_future_new();
	s->ticker = gd_ticker_new(60000);
	s->condition = gd_condition_new(s->beside);
	int r = gd_queue_put_now(s->full, s) + gd_lock(s->mutex, GD_NEVER);
	gd_sleep(5);
	gd_scope_end(inner);
	gd_value *out = gd_list(gd_int(r));
	for (int i = 0; i < 9; i++)
		gd_append(out, gd_int(gd_await(tasks[i], gd_in_ms(20000))));
	return gd_reply(req, 200, out);
}

/* A task that ends with the lock held is not taken for the next one on its stack. */
int lock_left(gd_request *req)
{
	struct shared s = {.mutex = gd_mutex_new()};
	int first = gd_await(gd_spawn("first", lock, &s), GD_NEVER);
	gd_task *second = gd_spawn("second", lock, &s);
	int r = gd_await(second, gd_in_ms(20));
	gd_cancel(second);
	return gd_reply(req, 200, gd_list(gd_int(first), gd_int(r), gd_int(gd_await(second, GD_NEVER))));
}

/* --- requests that are over, or another's --- */

static gd_request *kept;
static int kept_results[4];

static int use_kept(void *arg)
{
	gd_request *req = arg;
	size_t len;
	kept_results[0] = gd_reply_text(req, 200, "stale");
	kept_results[1] = gd_stream_begin(req, 200, NULL);
	kept_results[2] = gd_reply_header(req, "a", "b");
	kept_results[3] = !gd_path(req) && !gd_header(req, "host") && gd_failed(gd_param(req, "a")) &&
			  *(const char *)gd_body(req, &len) == 0;
	return 0;
}

int keep(gd_request *req)
{
	kept = req;
	return gd_reply(req, 200, gd_null());
}

static int wait_for_it(void *arg)
{
	(void)arg;
	return gd_sleep(100);
}

int keep_slow(gd_request *req)
{
	kept = req;
	int r = wait_for_it(NULL);
	return r < 0 ? r : gd_reply_text(req, 200, "mine");
}

int use(gd_request *req)
{
	(void)use_kept(kept);
	gd_value *out = gd_list();
	for (int i = 0; i < 4; i++)
		gd_append(out, gd_int(kept_results[i]));
	return gd_reply(req, 200, out);
}

/* --- replies --- */

static int reply_late(void *arg)
{
	(void)gd_sleep(3600000);
	return gd_reply_text(arg, 200, "too late");
}

int child_replies_late(gd_request *req)
{
	gd_spawn("late", reply_late, req);
	gd_yield();
	return 0;
}

static int reply_now(void *arg)
{
	return gd_reply_text(arg, 200, "from the child");
}

int child_replies(gd_request *req)
{
	gd_spawn("now", reply_now, req);
	gd_yield();
	return 0;
}

int replies_twice(gd_request *req)
{
	gd_reply_text(req, 200, "first");
	return gd_reply_text(req, 200, "second") == -EALREADY && gd_reply_error(req, -EIO) == -EALREADY &&
			       gd_stream_begin(req, 200, NULL) == -EALREADY && gd_sse_begin(req, 0) == -EALREADY &&
			       gd_reply_file(req, "papers", "a.txt") == -EALREADY &&
			       gd_reply_header(req, "a", "b") == -EALREADY && gd_stream_end(req) == -EINVAL
		       ? 0
		       : -EIO;
}

static int reply_file(void *arg)
{
	return gd_reply_file(arg, "papers", "a.txt");
}

/* Both begin before either has replied. */
int two_files(gd_request *req)
{
	gd_task *a = gd_spawn("a", reply_file, req), *b = gd_spawn("b", reply_file, req);
	int r = gd_await(a, GD_NEVER), r2 = gd_await(b, GD_NEVER);
	return (r == 0 && r2 == -EALREADY) || (r2 == 0 && r == -EALREADY) ? 0 : -EIO;
}

int echo_header(gd_request *req)
{
	const char *text = gd_to_text(gd_param(req, "value"));
	int r = gd_reply_header(req, "X-Echo", text ? text : "");
	int r2 = gd_reply_header(req, text ? text : "", "a"), r3 = gd_reply_redirect(req, 303, text);
	return r3 < 0 ? gd_reply(req, 200, gd_list(gd_int(r), gd_int(r2), gd_int(r3))) : 0;
}

int echo_form(gd_request *req)
{
	return gd_reply(req, 200, gd_body_form(req));
}

/* --- streams --- */

static int endings[8], live;

int ended(gd_request *req)
{
	return gd_reply(req, 200,
			gd_build("{live: %d, write: %d, end: %d, child: %d, unwanted: %d}", live, endings[0],
				 endings[1], endings[2], endings[3]));
}

/* Clean up under a shield, and write on: nobody is there. */
int write_shielded(gd_request *req)
{
	char block[50000] = "";
	gd_shield s;
	live++;
	endings[0] = endings[1] = 1;
	int r = gd_stream_begin(req, 200, "text/plain");
	while (r == 0)
		r = gd_stream_write(req, block, sizeof(block));
	gd_shield_begin(&s, gd_in_ms(20000));
	endings[0] = gd_stream_write(req, block, sizeof(block));
	endings[0] = gd_stream_write(req, block, sizeof(block));
	endings[1] = gd_stream_end(req);
	gd_shield_end(&s);
	live--;
	return r;
}

/* The same from the beginning: the shield hides that the client has left. */
int stream_in_a_shield(gd_request *req)
{
	char block[50000] = "";
	gd_shield s;
	live++;
	gd_shield_begin(&s, gd_in_ms(60000));
	int r = gd_stream_begin(req, 200, "text/plain");
	while (r == 0)
		r = gd_stream_write(req, block, sizeof(block));
	gd_shield_end(&s);
	live--;
	return r;
}

static int write_on(void *arg)
{
	char block[50000] = "";
	int r = 0;
	while (r == 0)
		r = gd_stream_write(arg, block, sizeof(block));
	return endings[2] = r;
}

/* The child is not cancelled when the client leaves: its parent is. */
int child_writes(gd_request *req)
{
	gd_shield s;
	live++;
	endings[2] = 1;
	int r = gd_stream_begin(req, 200, "text/plain");
	gd_task *t = gd_spawn("writes", write_on, req);
	r = r < 0 ? r : gd_await(t, GD_NEVER);
	gd_shield_begin(&s, gd_in_ms(20000));
	(void)gd_await(t, GD_NEVER);
	gd_shield_end(&s);
	live--;
	return r;
}

int endless(gd_request *req)
{
	live++;
	int r = gd_stream_begin(req, 200, "text/plain");
	while (r == 0)
		r = gd_stream_write(req, "x", 1);
	live--;
	return r;
}

int endless_events(gd_request *req)
{
	live++;
	int r = gd_sse_begin(req, INT64_MAX);
	while (r == 0) {
		if (gd_sse_send(req, NULL, NULL, "x") < 0)
			live += 0; /* not looked at: what waits tells, too */
		r = gd_sleep(10);
	}
	live--;
	return r;
}

int nothing_to_write(gd_request *req)
{
	int r = gd_stream_begin(req, 204, NULL);
	endings[3] = r < 0 ? r : gd_stream_write(req, "x", 1);
	return gd_stream_end(req);
}

int writes_after_the_end(gd_request *req)
{
	int r = gd_stream_begin(req, 200, "text/plain");
	r = r < 0 ? r : gd_stream_write(req, "whole", 5);
	r = r < 0 ? r : gd_stream_end(req);
	bool good = gd_stream_write(req, "x", 1) == -EINVAL && gd_stream_printf(req, "x") == -EINVAL &&
		    gd_sse_send(req, NULL, NULL, "x") == -EINVAL && gd_stream_end(req) == -EINVAL;
	return good ? r : -EIO;
}

int events_that_are_slow(gd_request *req)
{
	char data[20000];
	memset(data, 'x', sizeof(data) - 1);
	data[sizeof(data) - 1] = '\0';
	live++;
	int r = gd_sse_begin(req, 1);
	while (r == 0)
		r = gd_sse_send(req, "e", "1", data);
	live--;
	return r;
}

/* --- much --- */

int many_appends(gd_request *req)
{
	gd_value *list = gd_list(), *one = gd_int(1);
	for (int i = 0; i < 1000000; i++)
		if (gd_append(list, one) < 0)
			return -EIO;
	gd_append(list, list);
	return gd_reply(req, 200, gd_int((int64_t)gd_count(list)));
}

int many_spawns(gd_request *req)
{
	int spawned = 0, refused = 0;
	for (int i = 0; i < 1000000 && refused < 10; i++)
		if (gd_spawn("one of many", wait_long, NULL))
			spawned++;
		else
			refused++;
	int none = gd_gather_add(gd_gather_new(GD_ALL), "a", give, NULL);
	int also = gd_wait_for("a", give, NULL, GD_NEVER);
	return gd_reply(req, 200,
			gd_build("{some: %d, refused: %d, none: %d, also: %d}", spawned > 1000, refused, none, also));
}

int many_gathers(gd_request *req)
{
	int sum = 0;
	for (int i = 0; i < 10000; i++) {
		gd_gather *g = gd_gather_new(i % 2 ? GD_ALL : GD_FAIL_FAST);
		gd_gather_add(g, "a", give, (void *)1);
		gd_gather_add(g, "b", fail, NULL);
		if (i % 3 == 0 && gd_gather_wait(g, GD_NEVER) > 0)
			return -EIO;
		if (i % 3 == 0)
			sum += gd_gather_result(g, 0);
		if (i % 100 == 1)
			gd_yield();
	}
	return gd_reply(req, 200, gd_int(sum));
}

int deep(gd_request *req)
{
	gd_value *v = gd_int(1);
	int at = 0;
	for (; at < 2000 && gd_failed(v) == 0; at++)
		v = gd_list(v);
	gd_value *fits = gd_int(2);
	for (int i = 0; i < 999; i++)
		fits = i % 2 ? gd_list(fits) : gd_doc("a", fits);
	gd_value *copy = gd_value_copy(fits);
	bool same = strcmp(gd_to_json(copy), gd_to_json(fits)) == 0;
	return gd_reply(req, 200, gd_list(gd_int(at), gd_int(gd_failed(v)), gd_bool(same), gd_int(gd_error_status(v))));
}

int built_wrong(gd_request *req)
{
	static const char *const volatile formats[] = {
		"",         "{",         "[",     "{a",          "{a:",       "{a: 1",
		"[1,]",     "{a: 1,}",   "{: 1}", "[1 2]",       "]",         "%",
		"%n",       "\"%",       "\"",    "\"%s\"",      "'\\",       "{\"a\\u0000\": 1}",
		"[1]x",     "nul",       "[-]",   "01",          "{a: 1, a}", "\xff",
		"\"\xff\"", "{\xff: 1}", "%%",    "\"\\ud800\"", "1e",        "+1"};
	gd_value *out = gd_list();
	for (size_t i = 0; i < sizeof(formats) / sizeof(*formats); i++)
		gd_append(out, gd_int(gd_failed(gd_build(formats[i], "", "", ""))));
	char deep_one[200];
	memset(deep_one, '[', 199);
	deep_one[199] = '\0';
	gd_append(out, gd_int(gd_failed(gd_build(*(const char *const volatile *)&(const char *){deep_one}))));
	return gd_reply(req, 200, out);
}

/* --- who does not look at what waiting returns --- */

static int ignore(gd_queue *q, gd_event *e, gd_request *req)
{
	void *item;
	int looked = gd_sleep(1000) + gd_yield() + gd_queue_get(q, &item, GD_NEVER) + gd_event_wait(e, GD_NEVER) +
		     gd_stream_write(req, "x", 1);
	return looked > 0;
}

/* Its deadline passes, its client leaves, and it goes on for a while. */
int goes_on(gd_request *req)
{
	gd_queue *q = gd_queue_new(1);
	gd_event *e = gd_event_new();
	gd_deadline end = gd_in_ms(3000);
	live++;
	while (gd_in_ms(0).us < end.us)
		(void)ignore(q, e, req);
	live--;
	return gd_reply(req, 200, gd_null());
}

int exits(gd_request *req)
{
	exit(gd_reply(req, 200, gd_null()));
}

/* --- circles --- */

static gd_task *a, *b;

static int await_a(void *arg)
{
	(void)arg;
	return gd_await(a, GD_NEVER);
}

static int gather_one_that_awaits_me(void *arg)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	int i = gd_gather_add(g, "awaits its owner", await_a, arg);
	int r = gd_gather_wait(g, gd_in_ms(5000));
	return r < 0 ? r : gd_gather_result(g, i);
}

static int two_in_a_gather(void *arg)
{
	gd_gather *g = arg;
	return gd_gather_wait(g, gd_in_ms(5000));
}

int circles(gd_request *req)
{
	a = gd_spawn("a", gather_one_that_awaits_me, NULL);
	int circle = gd_await(a, GD_NEVER);
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_gather_add(g, "sleeps", sleep_50, NULL);
	b = gd_spawn("b", two_in_a_gather, g);
	gd_yield();
	int busy = gd_gather_wait(g, GD_NEVER), next = gd_gather_next(g, GD_NEVER);
	return gd_reply(req, 200, gd_list(gd_int(circle), gd_int(busy), gd_int(next), gd_int(gd_await(b, GD_NEVER))));
}

/* --- another thread --- */

static void *elsewhere(void *arg)
{
	gd_request *req = arg;
	gd_local key = {.name = "key"};
	gd_shield s;
	bool *good = (bool *)gd_body; /* not NULL */
	gd_shield_begin(&s, GD_NEVER);
	gd_shield_end(&s);
	gd_deadline_pop(gd_deadline_push(gd_in_ms(1)));
	gd_scope_end(gd_scope_begin());
	gd_log(GD_LOG_INFO, "from a thread");
	gd_log(GD_LOG_INFO, "%s", "two\nlines \xff\x01");
	bool fine = gd_yield() == -EPERM && gd_await(NULL, GD_NEVER) == -EPERM && !gd_cancelled() &&
		    !gd_local_get(&key) && gd_local_set(&key, NULL) == -EPERM && !gd_format("a") &&
		    !gd_gather_new(GD_ALL) && !gd_queue_new(0) && !gd_future_new() && !gd_ticker_new(1) &&
		    gd_failed(gd_param(req, "a")) == -EPERM && gd_failed(gd_list(gd_int(1))) == -EPERM &&
		    gd_failed(gd_doc("a", gd_int(1))) == -EPERM && gd_failed(gd_build("1")) == -EPERM &&
		    gd_failed(gd_body_json(req)) == -EPERM && gd_fail(-EIO, 500, "a") == -EPERM &&
		    gd_reply(req, 200, gd_null()) == -EPERM && gd_reply_text(req, 200, "a") == -EPERM &&
		    gd_reply_error(req, -EIO) == -EPERM && gd_stream_begin(req, 200, NULL) == -EPERM &&
		    gd_stream_write(req, "a", 1) == -EPERM && gd_sse_begin(req, 0) == -EPERM &&
		    gd_reply_file(req, "papers", "a.txt") == -EPERM && gd_reply_redirect(req, 303, "/") == -EPERM &&
		    gd_reply_bytes(req, 200, NULL, "a", 1) == -EPERM && gd_run_blocking(give, NULL) == -EPERM &&
		    gd_background("a", give, NULL) == -EPERM && gd_await_fd(0, GD_READABLE, GD_NEVER) == -EPERM &&
		    gd_failed(gd_read_file(NULL, "papers", "a.txt")) < 0 && !gd_header(req, "host") && !gd_path(req) &&
		    gd_worker() == 0;
	return fine ? good : NULL;
}

static int in_executor(void *arg)
{
	return elsewhere(arg) ? 1 : 0;
}

int threads(gd_request *req)
{
	pthread_t thread;
	void *good = NULL;
	if (pthread_create(&thread, NULL, elsewhere, req) != 0 || pthread_join(thread, &good) != 0)
		return -EIO;
	int job = gd_run_blocking(in_executor, req);
	return gd_reply(req, 200, gd_list(gd_bool(good), gd_int(job)));
}

int data_symbol = 7;

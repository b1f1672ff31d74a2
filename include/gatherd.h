/* gatherd.h: handlers in C.
 *
 * A module is a shared object. Each function that the configuration names (`handler: module.so:function`) answers
 * requests; it runs in a task of its own, reads from top to bottom, and waits by calling functions that suspend:
 *
 *     #include <gatherd.h>
 *
 *     int customer(gd_request *req)
 *     {
 *             gd_value *id = gd_param(req, "id");
 *             gd_gather *g = gd_gather_new(GD_FAIL_FAST);
 *             gd_value *who = gd_pg_row(g, "shop", "select id, name from customers where id = $1", gd_list(id));
 *             gd_value *said = gd_mongo_find(g, "catalog", "reviews", gd_doc("customer", id), NULL);
 *             int r = gd_gather_wait(g, GD_NEVER);
 *             if (r < 0)
 *                     return r;
 *             return gd_reply(req, 200, gd_build("{customer: %p, reviews: %p}", who, said));
 *     }
 *
 *     cc -shared -fPIC $(pkg-config --cflags gatherd) -o module.so module.c
 *
 * TASKS. "Suspends." means: other tasks of the worker run meanwhile. A task never moves to another thread, and nothing
 * runs between two suspending calls: no locks are needed for what one worker's tasks share. errno belongs to the
 * thread: it is lost over a suspension. So does the rounding mode: a task that changes it restores it before it
 * suspends. Work that computes for long or blocks belongs on the executor (gd_run_blocking).
 *
 * WORKERS. The daemon has one thread a worker, and a module is loaded once: a static variable is shared by all of them
 * (and then needs a lock), a `static _Thread_local` one is a worker's own. Tasks, gathers, semaphores, queues and their
 * like belong to the worker that made them: to the others they are refused (-EPERM, said in the log).
 *
 * SCOPES own everything that these functions make: values, tasks, gathers, semaphores, queues, cursors, files. A
 * request is a scope, a run of a background task is one, a module's start is one that lives as long as its worker;
 * gd_scope_begin opens a smaller one. Nothing is ever freed by hand: at the end of a scope its tasks are cancelled and
 * awaited, its cursors and transactions closed, its memory given back. So no task outlives its request. A thing that
 * was made in a scope must not be used after its end, which nobody can check; a task that waits for it at that moment
 * gets -ECANCELED, and the end waits for one that is at work on a file, a stream, a copy or an upload.
 *
 * ERRORS. Functions return 0 or more, or -errno. Those that bring values return a gd_value that may be a failure: it
 * passes through whatever is made of it, and gd_failed asks for it. A handler that returns a failure without having
 * replied has the right reply sent for it: the status and the text of the error, as problem+json.
 *
 * CANCELLATION. When the client leaves, the request's deadline passes or the daemon ends, every suspending call returns
 * -ECANCELED or -ETIMEDOUT from then on; the handler cleans up and returns. Nothing is unwound behind its back.
 *
 * Functions are called in a task of gatherd's unless they say "Any thread."; elsewhere they return -EPERM, NULL or a
 * failure, and say so in the log. NULL for a value, or what failed, is answered with a failure, not with a crash.
 * Beyond help are a module that leaves a function of gatherd's by longjmp, ends a thread of gatherd's (pthread_exit),
 * or forks and goes on in the child; exit() ends the daemon with 70. */
#ifndef GATHERD_H
#define GATHERD_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Counted up when a module that was built before would not work any more: it is refused. */
#define GATHERD_ABI          1

#define GD_PUBLIC            __attribute__((visibility("default")))
#define GD_MUST_CHECK        __attribute__((warn_unused_result))
#define GD_PRINTF(at, first) __attribute__((format(printf, at, first)))

/* Every module carries the ABI that it was built for. */
#ifndef GATHERD_DAEMON
extern const int gatherd_module_abi __attribute__((weak, visibility("default")));
const int gatherd_module_abi = GATHERD_ABI;
#endif

typedef struct gd_request gd_request;
typedef struct gd_value gd_value;
typedef struct gd_scope gd_scope;
typedef struct gd_task gd_task;
typedef struct gd_gather gd_gather;

/* --- time --- */

/* A point in time on CLOCK_MONOTONIC, in microseconds. Every wait ends by the earliest of its own deadline, those that
 * were pushed, and the request's. */
typedef struct {
	int64_t us;
} gd_deadline;

#define GD_NEVER ((gd_deadline){INT64_MAX})
/* Any thread. */
GD_PUBLIC gd_deadline gd_in_ms(int64_t ms);

/* --- what a module may define --- */

/* Called in a task on each worker, one worker after another, before any of them serves; in a scope that lives as long
 * as the worker: the place for what the worker's tasks share, and for gd_background. May suspend, for a minute in all.
 * Below 0: the daemon does not start. Cancelled after that minute, and if the daemon begins to end meanwhile; one
 * that goes on for 5 s more ends the process with 70. worker counts from 0. */
GD_PUBLIC int gd_module_start(unsigned worker, unsigned workers);
/* Called in a task on each worker that was started, after its last request and its background tasks have ended: the
 * place to join threads of the module's own. May suspend, for 5 s in all. */
GD_PUBLIC void gd_module_stop(unsigned worker, unsigned workers);

/* --- tasks --- */

/* The function of a task. Returns 0 or more, or -errno. */
typedef int gd_task_fn(void *arg);

/* Start fn(arg) as a task of the current scope (create_task). It runs soon, not at once; it inherits the deadline and
 * the task-local values. name is static; arg must live as long as the task does: gd_alloc. A caller's variables need
 * not: one that is cancelled awaits nothing any more. NULL: no stack is to be had; awaiting NULL is -EAGAIN. */
GD_PUBLIC gd_task *gd_spawn(const char *name, gd_task_fn *fn, void *arg);
/* Suspends until t has ended. Returns its result, as often as it is asked; or -ETIMEDOUT or -ECANCELED (t goes on);
 * -EDEADLK: t is the caller, or waits for it; -EBUSY: another task awaits it. */
GD_PUBLIC int gd_await(gd_task *t, gd_deadline by);
/* Every suspending call of t returns -ECANCELED from now on. */
GD_PUBLIC void gd_cancel(gd_task *t);
GD_PUBLIC bool gd_ended(const gd_task *t);
/* Was the calling task cancelled (also while it is shielded)? */
GD_PUBLIC bool gd_cancelled(void);
/* Suspends. fn(arg) as a task with a deadline: at `by` it is cancelled and awaited, and -ETIMEDOUT returned (wait_for),
 * or its result, if it has one all the same. It has ended when this returns, whatever becomes of the caller: arg may be
 * one of its variables. */
GD_PUBLIC int gd_wait_for(const char *name, gd_task_fn *fn, void *arg, gd_deadline by);

/* Suspends. Returns 0, -ETIMEDOUT or -ECANCELED. 0 ms: as gd_yield. */
GD_PUBLIC int gd_sleep(int64_t ms);
/* Suspends: the other tasks that are ready and the loop's poll come first. */
GD_PUBLIC int gd_yield(void);

/* Narrow the deadline of all that the calling task awaits, until gd_deadline_pop with what this returned. They nest;
 * the earlier one wins. */
GD_PUBLIC gd_deadline gd_deadline_push(gd_deadline by) GD_MUST_CHECK;
GD_PUBLIC void gd_deadline_pop(gd_deadline before);
/* Between the two neither cancellation nor earlier deadlines reach the calling task; `by` bounds it instead. They nest;
 * an end without its beginning, or by another task, does nothing (said in the log). */
typedef struct {
	int64_t private_[4];
} gd_shield;
GD_PUBLIC void gd_shield_begin(gd_shield *s, gd_deadline by);
GD_PUBLIC void gd_shield_end(gd_shield *s);

/* A task-local value (contextvars): tasks that are spawned inherit what their spawner had. Declare the key as
 * `static gd_local user = {.name = "user"};`. value must outlive the tasks that see it. */
typedef struct {
	const char *name;
	void *private_[3];
} gd_local;
GD_PUBLIC int gd_local_set(gd_local *key, void *value);
GD_PUBLIC void *gd_local_get(const gd_local *key);

/* A scope within the current one, for loops that would gather memory. gd_scope_end suspends (shielded): it cancels and
 * awaits the tasks of s and gives back everything that was made since. Pairs nest within one task; another one can't
 * end s (said in the log). */
GD_PUBLIC gd_scope *gd_scope_begin(void);
GD_PUBLIC void gd_scope_end(gd_scope *s);
/* size bytes, zeroed, that live as long as the current scope. Never NULL in a task: without memory the daemon ends. */
GD_PUBLIC void *gd_alloc(size_t size);
/* printf into memory of the current scope. */
GD_PUBLIC char *gd_format(const char *format, ...) GD_PRINTF(1, 2);

/* --- several at once --- */

/* GD_FAIL_FAST: the first failure cancels the rest. GD_ALL: all of them end, and each has its own result. */
typedef enum { GD_FAIL_FAST, GD_ALL } gd_gather_mode;

/* Results are kept in the order in which the children were added, whatever order they end in. One task owns a gather.
 */
GD_PUBLIC gd_gather *gd_gather_new(gd_gather_mode mode);
/* Start fn(arg) as a child; added in a scope within the gather's, it ends with that. Returns its index (0, 1, …),
 * -EAGAIN (no stack), -ECANCELED (after a failure), or -EPERM: g was not made in the caller's own request, run or start
 * (said in the log). */
GD_PUBLIC int gd_gather_add(gd_gather *g, const char *name, gd_task_fn *fn, void *arg);
/* Suspends until all children have ended. Returns 0, the first failure (GD_FAIL_FAST; the rest have ended, too), or
 * -ETIMEDOUT at `by`: they go on. A caller that can't wait any more (-ECANCELED; -ETIMEDOUT by the request's deadline
 * or one that was pushed) takes them along: they are cancelled and have ended when this returns. So what they were
 * given may be variables of the one who waits with GD_NEVER. */
GD_PUBLIC int gd_gather_wait(gd_gather *g, gd_deadline by) GD_MUST_CHECK;
/* Suspends until one more child has ended (as_completed). Returns its index, -ENOENT when there is none any more, or
 * -ETIMEDOUT and -ECANCELED as gd_gather_wait. */
GD_PUBLIC int gd_gather_next(gd_gather *g, gd_deadline by) GD_MUST_CHECK;
/* Of a child that has ended, else -EINPROGRESS; -ENOENT: there is no such child. */
GD_PUBLIC int gd_gather_result(const gd_gather *g, int index);
/* The result of a child that is a client's call. */
GD_PUBLIC gd_value *gd_gather_value(const gd_gather *g, int index);
/* Cancel the children that still run. */
GD_PUBLIC void gd_gather_cancel(gd_gather *g);

/* --- waiting for each other, within one worker --- */

/* First come, first served; a waiter that leaves leaves no hole. All `by` waits: suspend; 0, -ETIMEDOUT, -ECANCELED. */
typedef struct gd_semaphore gd_semaphore;
/* asyncio's BoundedSemaphore. At most max_waiting wait (0: no bound): beyond, gd_acquire is -EBUSY. The permits that a
 * request, a run of a background task or a module's start has acquired are released at its end, if nobody has done
 * that before, and that is said in the log. */
GD_PUBLIC gd_semaphore *gd_semaphore_new(unsigned permits, unsigned max_waiting);
/* asyncio's plain Semaphore, a count: more may be released than acquired, and nothing is released for anybody. */
GD_PUBLIC gd_semaphore *gd_semaphore_new_unbounded(unsigned permits, unsigned max_waiting);
/* One of the configuration's `semaphores`: exact over all workers. NULL: there is none of that name. Released at the
 * end as that of gd_semaphore_new; by the calling task's own request alone, whoever has asked for the name. */
GD_PUBLIC gd_semaphore *gd_semaphore_named(const char *name);
GD_PUBLIC int gd_acquire(gd_semaphore *s, gd_deadline by) GD_MUST_CHECK;
/* Returns 0, or -EPERM: it was not acquired. */
GD_PUBLIC int gd_release(gd_semaphore *s);

/* Where a task, or a run of a background task, ends with the lock held, cancelled or not, it is unlocked, and that is
 * said in the log: what it guards is then as that one has left it. */
typedef struct gd_mutex gd_mutex;
GD_PUBLIC gd_mutex *gd_mutex_new(void);
/* -EDEADLK: the caller holds it. */
GD_PUBLIC int gd_lock(gd_mutex *m, gd_deadline by) GD_MUST_CHECK;
/* Returns 0, or -EPERM: the caller does not hold it. */
GD_PUBLIC int gd_unlock(gd_mutex *m);

typedef struct gd_event gd_event;
GD_PUBLIC gd_event *gd_event_new(void);
GD_PUBLIC void gd_event_set(gd_event *e);
GD_PUBLIC void gd_event_clear(gd_event *e);
GD_PUBLIC bool gd_event_is_set(const gd_event *e);
GD_PUBLIC int gd_event_wait(gd_event *e, gd_deadline by) GD_MUST_CHECK;

typedef struct gd_condition gd_condition;
GD_PUBLIC gd_condition *gd_condition_new(gd_mutex *m);
/* Gives the mutex up while it waits and holds it again when it returns, whatever it returns. -EPERM: not held. */
GD_PUBLIC int gd_condition_wait(gd_condition *c, gd_deadline by) GD_MUST_CHECK;
/* Wake up to n waiters; -EPERM: the mutex is not held. */
GD_PUBLIC int gd_condition_notify(gd_condition *c, unsigned n);

typedef struct gd_queue gd_queue;
/* max 0: no bound. */
GD_PUBLIC gd_queue *gd_queue_new(unsigned max);
/* The item first that compares lowest (as for qsort), of equals the one that was put first. NULL: the last in is the
 * first out. */
GD_PUBLIC gd_queue *gd_queue_new_priority(unsigned max, int (*compare)(const void *a, const void *b));
/* Suspends while it is full. -EPIPE: it was closed. */
GD_PUBLIC int gd_queue_put(gd_queue *q, void *item, gd_deadline by) GD_MUST_CHECK;
/* Suspends while it is empty. -EPIPE: it was closed and is empty. */
GD_PUBLIC int gd_queue_get(gd_queue *q, void **item, gd_deadline by) GD_MUST_CHECK;
/* The same without waiting: -EAGAIN. */
GD_PUBLIC int gd_queue_put_now(gd_queue *q, void *item) GD_MUST_CHECK;
GD_PUBLIC int gd_queue_get_now(gd_queue *q, void **item) GD_MUST_CHECK;
GD_PUBLIC unsigned gd_queue_count(const gd_queue *q);
GD_PUBLIC void gd_queue_close(gd_queue *q);
/* One item that was taken is dealt with; gd_queue_join waits until all that were put are. -EPERM: more than were taken.
 */
GD_PUBLIC int gd_queue_task_done(gd_queue *q);
GD_PUBLIC int gd_queue_join(gd_queue *q, gd_deadline by) GD_MUST_CHECK;

/* A result that is not there yet; may be awaited by many, also late. */
typedef struct gd_future gd_future;
GD_PUBLIC gd_future *gd_future_new(void);
/* Only the first one counts. */
GD_PUBLIC void gd_future_resolve(gd_future *f, int result);
GD_PUBLIC bool gd_future_done(const gd_future *f);
GD_PUBLIC int gd_future_await(gd_future *f, gd_deadline by) GD_MUST_CHECK;
/* The right to resolve f from another thread; it may outlive f and its scope. Once made it must be resolved: the worker
 * waits for it when it ends, for 5 s (then it says so in the log, and resolving it does nothing). */
typedef struct gd_promise gd_promise;
GD_PUBLIC gd_promise *gd_future_promise(gd_future *f);
/* Any thread. Exactly once; p is gone then. */
GD_PUBLIC void gd_promise_resolve(gd_promise *p, int result);

/* --- threads, time and descriptors --- */

/* Suspends until fn(arg) has run on a thread of the executor, and returns its result (to_thread). It does not return
 * before, cancelled or not: arg may stand on the caller's stack. fn must not call gatherd's functions but those of "Any
 * thread.". It is not begun if the executor's queue is full (-EBUSY), or the caller was cancelled before. */
GD_PUBLIC int gd_run_blocking(int (*fn)(void *arg), void *arg);
/* The same, but given up at `by` or when cancelled: arg is fn's from here on, and drop(arg) is called on that thread
 * when it is through, or at once if fn does not run. It is the caller's again only if 0 or more was returned, or
 * the failure that fn returned: *ran. */
GD_PUBLIC int gd_run_blocking_until(int (*fn)(void *arg), void *arg, void (*drop)(void *arg), gd_deadline by,
				    bool *ran) GD_MUST_CHECK;

/* A task that runs fn(arg) after that time, unless it is cancelled before (call_later). */
GD_PUBLIC gd_task *gd_call_later(const char *name, int64_t ms, gd_task_fn *fn, void *arg);
/* Ticks on a fixed schedule, without drift. NULL: period_ms is not above 0. */
typedef struct gd_ticker gd_ticker;
GD_PUBLIC gd_ticker *gd_ticker_new(int64_t period_ms);
/* Suspends until the next tick. Returns how many were missed before it, -ETIMEDOUT or -ECANCELED. */
GD_PUBLIC int gd_ticker_wait(gd_ticker *t, gd_deadline by) GD_MUST_CHECK;

enum { GD_READABLE = 1, GD_WRITABLE = 2 };
/* Suspends until the descriptor is ready (add_reader, add_writer). Returns which of `events`, above 0, or -errno;
 * -EEXIST: another task awaits it. A descriptor is not closed while one does. */
GD_PUBLIC int gd_await_fd(int fd, int events, gd_deadline by) GD_MUST_CHECK;

/* Run fn(arg) as a task of this worker, apart from any request, each run in a scope of its own. One that fails is
 * started again, after a pause that doubles from 100 ms to 30 s and is short again once a run has lasted for a minute;
 * one that returns 0 or more has ended. Cancelled and awaited when the daemon has answered its last request. From
 * gd_module_start, and the tasks that it has spawned. Returns 0, -EPERM (elsewhere) or -EAGAIN (no stack). */
GD_PUBLIC int gd_background(const char *name, gd_task_fn *fn, void *arg);
/* fn(arg) every period_ms, first when one has passed, as a background task; a run that fails is logged, and the next
 * tick comes. -EINVAL: period_ms is not above 0. */
GD_PUBLIC int gd_every(const char *name, int64_t period_ms, gd_task_fn *fn, void *arg);

/* --- values: what crosses between requests, SQL, BSON, JSON --- */

typedef enum {
	GD_NULL,
	GD_BOOL,
	GD_INT,
	GD_NUMBER, /* any other number: its digits are kept */
	GD_STRING,
	GD_BYTES,
	GD_LIST,
	GD_DOCUMENT,
	GD_PENDING, /* a call in a gather that has not ended */
	GD_FAILED,
} gd_kind;

/* Making. Text is copied, and must be UTF-8 (else the value is a failure); so is what is put into lists and documents:
 * a later change of it is not seen there. */
GD_PUBLIC gd_value *gd_null(void);
GD_PUBLIC gd_value *gd_bool(bool b);
GD_PUBLIC gd_value *gd_int(int64_t n);
GD_PUBLIC gd_value *gd_double(double d);
GD_PUBLIC gd_value *gd_number(const char *digits); /* a JSON number, digit for digit: numeric, Decimal128 */
GD_PUBLIC gd_value *gd_string(const char *s);      /* NULL: null */
GD_PUBLIC gd_value *gd_string_n(const char *s, size_t len);
GD_PUBLIC gd_value *gd_bytes(const void *p, size_t len); /* bytea, BSON binary, base64 in JSON */
GD_PUBLIC gd_value *gd_object_id(const char *hex);       /* BSON's; elsewhere its text */
GD_PUBLIC gd_value *gd_datetime(int64_t unix_ms);        /* BSON's date; elsewhere ISO 8601 in UTC */
/* gd_list(a, b, …), gd_doc("name", a, "other", b, …): every second one is a gd_value. */
#define gd_list(...) gd_list_of((gd_value *)NULL __VA_OPT__(, ) __VA_ARGS__, GD_END)
#define gd_doc(...)  gd_doc_of((const char *)NULL __VA_OPT__(, ) __VA_ARGS__, GD_END)
#define GD_END       ((void *)(uintptr_t)&gd_end)
GD_PUBLIC extern const char gd_end;
GD_PUBLIC gd_value *gd_list_of(gd_value *ignored, ...);
GD_PUBLIC gd_value *gd_doc_of(const char *ignored, ...);
/* At the end of a list. Returns 0 or -EINVAL: no list that was made here; or v is a failure, and the list is it from
 * now on. */
GD_PUBLIC int gd_append(gd_value *list, gd_value *v);
/* A member of a document; one of that name is replaced. As gd_append. */
GD_PUBLIC int gd_set(gd_value *doc, const char *name, gd_value *v);
/* From JSON text with values in it: names need no quotes; if a value or a name stands there may be %s (text), %d %ld
 * %lld (integers), %g (double), %p (a gd_value); in quotes stands %% for %. A value that is filled in is data, never
 * JSON, nor an operator: a name from %s can't begin with "$". A mistake in the format makes a failure. */
GD_PUBLIC gd_value *gd_build(const char *format, ...) GD_PRINTF(1, 2);
/* From JSON text (RFC 8259), at most 64 deep. */
GD_PUBLIC gd_value *gd_parse(const char *json, size_t len);

/* Looking. A part that v does not have is null; a failure stays a failure. */
GD_PUBLIC gd_kind gd_kind_of(const gd_value *v);
/* The way into it: "a.b[0]", "rows[*].id" (the list of that member), "a[\"any name\"]". */
GD_PUBLIC gd_value *gd_get(const gd_value *v, const char *path);
/* Of a list or document: how many; its i-th; the name of its i-th member (NULL: none). */
GD_PUBLIC size_t gd_count(const gd_value *v);
GD_PUBLIC gd_value *gd_at(const gd_value *v, size_t i);
GD_PUBLIC const char *gd_name_at(const gd_value *v, size_t i);
/* A copy in memory of the current scope, of v or, if v holds results, of them as they are: values that shall outlive
 * the scope they were made in. */
GD_PUBLIC gd_value *gd_value_copy(const gd_value *v);
/* Converted, or `otherwise` if that can't be done without loss. */
GD_PUBLIC int64_t gd_to_int(const gd_value *v, int64_t otherwise);
GD_PUBLIC double gd_to_double(const gd_value *v, double otherwise);
/* Is it neither null, false, 0, "", [] nor {}? A failure is not. */
GD_PUBLIC bool gd_truthy(const gd_value *v);
/* As a person would write it, NUL-terminated, in the current scope; of lists and documents their JSON. NULL: it is null
 * or failed. gd_to_bytes: also what has NULs in it. */
GD_PUBLIC const char *gd_to_text(const gd_value *v);
GD_PUBLIC const void *gd_to_bytes(const gd_value *v, size_t *len);
/* As JSON. NULL: it failed, or is pending. */
GD_PUBLIC const char *gd_to_json(const gd_value *v);

/* --- errors --- */

/* 0, or what went wrong: -errno; -EINPROGRESS: it is pending; -EINVAL: NULL. Remembered as by gd_fail_with. */
GD_PUBLIC int gd_failed(const gd_value *v);
/* A description of the failure, for a log; "": there is none. */
GD_PUBLIC const char *gd_error_text(const gd_value *v);
/* The HTTP status that a reply for it has; 0: it did not fail. */
GD_PUBLIC int gd_error_status(const gd_value *v);
/* Its SQLSTATE or MongoDB's code; "": none. */
GD_PUBLIC const char *gd_error_code(const gd_value *v);
/* A failure of one's own. detail is shown to the client. errnum is below 0. */
GD_PUBLIC gd_value *gd_failure(int errnum, int status, const char *detail, ...) GD_PRINTF(3, 4);
/* The same as what the handler, or the background task's run, fails with, if it returns errnum: `return
 * gd_fail(-ENOENT, 404, "No such customer.");`. Of several with one errnum the last; those of other tasks of the
 * request count, too: a gather's failure keeps its words. Returns errnum. */
GD_PUBLIC int gd_fail(int errnum, int status, const char *detail, ...) GD_PRINTF(3, 4);
/* Pass a failure on, likewise: `return gd_fail_with(v);`. Returns gd_failed(v). */
GD_PUBLIC int gd_fail_with(const gd_value *v);
/* The failure that the client would see if the handler returned r: that of a transaction's or a gather's -errno, to be
 * asked for its code. r is 0 or more: null. */
GD_PUBLIC gd_value *gd_failure_of(int r);

/* --- clients ---
 *
 * g NULL: the call suspends and returns what it brought. Else it becomes a child of g and the value is pending until
 * gd_gather_wait or gd_gather_next: calls in one gather run at once. source is a name of the configuration. A call is
 * bounded by the source's `timeout` and by the calling task's deadline at that moment: gd_deadline_push before, and
 * gd_deadline_pop after it, gives one of a gather a deadline of its own. Values from requests are data: as SQL they
 * are bound, in BSON they bring no operators. */

/* PostgreSQL. args: a list for $1, $2, …, or NULL. gd_pg_query, _row and _scalar read: the server refuses writes; short
 * ones share connections. A result of more than 256 MiB fails (-EFBIG, 502): gd_pg_stream is for those. */
GD_PUBLIC gd_value *gd_pg_query(gd_gather *g, const char *source, const char *sql, gd_value *args); /* a list of rows */
GD_PUBLIC gd_value *gd_pg_row(gd_gather *g, const char *source, const char *sql,
			      gd_value *args); /* or null; two: fails */
GD_PUBLIC gd_value *gd_pg_scalar(gd_gather *g, const char *source, const char *sql, gd_value *args); /* one column */
/* A statement that may write, in a transaction of its own, sent once: the rows of its RETURNING, or how many it
 * changed. */
GD_PUBLIC gd_value *gd_pg_execute(gd_gather *g, const char *source, const char *sql, gd_value *args);

typedef struct gd_pg gd_pg; /* a transaction */
typedef int gd_pg_fn(gd_pg *tx, void *arg);
typedef enum { GD_READ_COMMITTED, GD_REPEATABLE_READ, GD_SERIALIZABLE } gd_isolation;
typedef struct {
	gd_isolation isolation;
	bool read_only;
	unsigned attempts; /* in all, if it ends in 40001 or 40P01, or its connection broke before COMMIT: fn runs
			      again from its beginning; 0: 1 */
} gd_pg_options;
/* Suspends. fn in a transaction on a connection of its own: committed if it returns 0 or more, else rolled back
 * (also when it was cancelled). Returns what fn returned, or the failure; -EIO with a broken connection at COMMIT: it
 * may or may not have happened. options NULL: read committed, once. */
GD_PUBLIC int gd_pg_transaction(const char *source, const gd_pg_options *options, gd_pg_fn *fn, void *arg);
/* Suspends. fn within a savepoint: its changes are undone if it fails, and the transaction goes on; also if a
 * statement timed out or its task was cancelled, provided that the server ends it within 2 s of that. */
GD_PUBLIC int gd_pg_savepoint(gd_pg *tx, gd_pg_fn *fn, void *arg);
/* As those above, within tx, one after another; each may write if tx may. One that fails makes tx fail: all that
 * follows fails at once (25P02) until the savepoint around it is rolled back. One that is not waited for to its end (a
 * time-out, a task that is cancelled) is cancelled on the server; outside of savepoints tx is lost then. -EBUSY:
 * another task is at it. Suspend. */
GD_PUBLIC gd_value *gd_tx_query(gd_pg *tx, const char *sql, gd_value *args);
GD_PUBLIC gd_value *gd_tx_row(gd_pg *tx, const char *sql, gd_value *args);
GD_PUBLIC gd_value *gd_tx_scalar(gd_pg *tx, const char *sql, gd_value *args);
GD_PUBLIC gd_value *gd_tx_execute(gd_pg *tx, const char *sql, gd_value *args);

/* Rows or documents one by one, however many there are, with a few of them in memory. */
typedef struct gd_cursor gd_cursor;
/* Suspends. The rows come on a connection of their own, which is taken until the cursor is closed. Never NULL: a
 * failure shows in gd_next. */
GD_PUBLIC gd_cursor *gd_pg_stream(const char *source, const char *sql, gd_value *args);
GD_PUBLIC gd_cursor *gd_tx_stream(gd_pg *tx, const char *sql, gd_value *args);
/* Suspends. The next one, valid until the next call; NULL: there are no more. A failure is the last one, but for
 * -ETIMEDOUT of gd_pg_listen and gd_mongo_watch. One task at a time (-EBUSY). */
GD_PUBLIC gd_value *gd_next(gd_cursor *c);
/* Suspends (shielded). Before its end, too; else the scope's end does it. Nothing while another task is in gd_next. */
GD_PUBLIC void gd_close(gd_cursor *c);

/* Suspends until the server listens: what is sent to the channel from then on comes from gd_next as {channel, payload,
 * pid}, however many listen; one connection of the worker's pool serves all of them (pool.size must be above the number
 * of workers). channel is the exact name: SQL's NOTIFY folds one without quotes to lower case, pg_notify() does not.
 * gd_next waits for as long as the task's deadline allows, and may be called again after -ETIMEDOUT (but one that began
 * when its time was over is the last). It fails, and the handler listens again, if notifications may have been
 * missed: the connection broke (-EPIPE), or 1024 of them, or 4 MiB, were not read in time (-ENOBUFS). Through a pooler
 * only if that keeps sessions; if nothing would be heard (pgbouncer's transaction mode) it fails (-EOPNOTSUPP).
 * Never NULL. */
GD_PUBLIC gd_cursor *gd_pg_listen(const char *source, const char *channel);
/* Null. payload: text, or a document or list as JSON, of less than 8000 bytes; NULL: none. Within a transaction:
 * gd_tx_execute(tx, "select pg_notify($1, $2)", …), which is heard when it is committed. */
GD_PUBLIC gd_value *gd_pg_notify(gd_gather *g, const char *source, const char *channel, gd_value *payload);

/* Rows in bulk: sql is COPY … FROM STDIN or COPY … TO STDOUT, in any format; never from or to files of the server. */
typedef struct gd_copy gd_copy;
/* Suspends. On a connection of its own, in a transaction of its own: all of it is stored by gd_copy_end, or nothing. TO
 * STDOUT only reads. Never NULL: a failure shows in each call. One task at a time (-EBUSY). It is bounded by the
 * task's deadline; the source's timeout holds for each wait. */
GD_PUBLIC gd_copy *gd_pg_copy(const char *source, const char *sql);
/* Within tx, in which nothing else runs before gd_copy_end (-EBUSY). One that fails, or is given up, makes tx fail. */
GD_PUBLIC gd_copy *gd_tx_copy(gd_pg *tx, const char *sql);
/* Suspend while the server is slower. Return 0 or -errno, after which nothing is stored. The server's objections to
 * the data may show only in gd_copy_end. gd_copy_write: bytes as they are, rows cut anywhere. gd_copy_row: a list, for
 * a statement without options; null is \N, lists are arrays, documents JSON, texts what the column reads (for a JSON
 * column a list or a text is gd_to_json). */
GD_PUBLIC int gd_copy_write(gd_copy *c, const void *p, size_t len) GD_MUST_CHECK;
GD_PUBLIC int gd_copy_row(gd_copy *c, gd_value *list) GD_MUST_CHECK;
/* Suspends. Returns how many bytes *p has (a row, or the header), valid until the next call; 0 at the end; or -errno.
 */
GD_PUBLIC int64_t gd_copy_read(gd_copy *c, const void **p) GD_MUST_CHECK;
/* Suspends. How many rows were copied; rows that were not read are dropped. Failed: nothing was stored (the error's
 * text has the line); -EIO with a connection that broke at COMMIT: it may or may not have happened. */
GD_PUBLIC gd_value *gd_copy_end(gd_copy *c);
/* Suspends (shielded). Give it up: nothing is stored. The scope's end does it if there was no gd_copy_end. */
GD_PUBLIC void gd_copy_close(gd_copy *c);

/* MongoDB. options is a document, or NULL: { projection, sort, limit, skip, batch_size, allow_disk_use } of find;
 * { limit, skip } of count (limit 0: none); { batch_size, allow_disk_use } of aggregate; { upsert, array_filters } of
 * updates; { sort, projection, upsert, array_filters, return: "before" | "after" } of find_one_and_…; { ordered } of
 * insert_many and bulk. Most also have { hint, collation, let, comment, bypass_document_validation }. An unknown one
 * is a failure.
 * Names with "$" are operators if the handler writes them (gd_doc, gd_build); never in a request's values, in
 * results or in what gd_parse made. If MongoDB expects an expression, a text that begins with "$" and comes from
 * a request, a result or gd_parse is wrapped in $literal. A filter is never NULL or null: gd_doc() is all. A write is
 * sent once. If its connection breaks or the time is over before its answer, the failure says that it may or may not
 * have happened. */
GD_PUBLIC gd_value *gd_mongo_find(gd_gather *g, const char *source, const char *collection, gd_value *filter,
				  gd_value *options);
GD_PUBLIC gd_value *gd_mongo_find_one(gd_gather *g, const char *source, const char *collection, gd_value *filter,
				      gd_value *options); /* or null */
GD_PUBLIC gd_value *gd_mongo_aggregate(gd_gather *g, const char *source, const char *collection, gd_value *pipeline,
				       gd_value *options);
GD_PUBLIC gd_value *gd_mongo_count(gd_gather *g, const char *source, const char *collection, gd_value *filter,
				   gd_value *options);
GD_PUBLIC gd_value *gd_mongo_distinct(gd_gather *g, const char *source, const char *collection, const char *field,
				      gd_value *filter);
/* {inserted_id}; {inserted_count, inserted_ids}. An _id is made if the document has none. */
GD_PUBLIC gd_value *gd_mongo_insert_one(gd_gather *g, const char *source, const char *collection, gd_value *document);
GD_PUBLIC gd_value *gd_mongo_insert_many(gd_gather *g, const char *source, const char *collection, gd_value *documents,
					 gd_value *options);
/* {matched_count, modified_count, upserted_id}. update: operators ({"$set": …}) or a pipeline. */
GD_PUBLIC gd_value *gd_mongo_update_one(gd_gather *g, const char *source, const char *collection, gd_value *filter,
					gd_value *update, gd_value *options);
GD_PUBLIC gd_value *gd_mongo_update_many(gd_gather *g, const char *source, const char *collection, gd_value *filter,
					 gd_value *update, gd_value *options);
GD_PUBLIC gd_value *gd_mongo_replace_one(gd_gather *g, const char *source, const char *collection, gd_value *filter,
					 gd_value *replacement, gd_value *options);
/* {deleted_count}. */
GD_PUBLIC gd_value *gd_mongo_delete_one(gd_gather *g, const char *source, const char *collection, gd_value *filter);
GD_PUBLIC gd_value *gd_mongo_delete_many(gd_gather *g, const char *source, const char *collection, gd_value *filter);
/* The document, or null. */
GD_PUBLIC gd_value *gd_mongo_find_one_and_update(gd_gather *g, const char *source, const char *collection,
						 gd_value *filter, gd_value *update, gd_value *options);
GD_PUBLIC gd_value *gd_mongo_find_one_and_replace(gd_gather *g, const char *source, const char *collection,
						  gd_value *filter, gd_value *replacement, gd_value *options);
GD_PUBLIC gd_value *gd_mongo_find_one_and_delete(gd_gather *g, const char *source, const char *collection,
						 gd_value *filter, gd_value *options);
/* A list of {insert_one: {document}}, {update_one: {filter, update, upsert}}, {update_many: …}, {replace_one: …},
 * {delete_one: {filter}}, {delete_many: …}: {inserted_count, matched_count, modified_count, deleted_count,
 * upserted_ids}, the last a list of {index, id}. A failure names the first that failed, and how many were done. */
GD_PUBLIC gd_value *gd_mongo_bulk(gd_gather *g, const char *source, const char *collection, gd_value *operations,
				  gd_value *options);
/* Suspends. For gd_next. A connection is taken until the last of them have come, or the cursor is closed. */
GD_PUBLIC gd_cursor *gd_mongo_find_stream(const char *source, const char *collection, gd_value *filter,
					  gd_value *options);
GD_PUBLIC gd_cursor *gd_mongo_aggregate_stream(const char *source, const char *collection, gd_value *pipeline,
					       gd_value *options);
/* Suspends. The changes of a collection (NULL: of all of the database) from now on, for gd_next, which waits for as
 * long as the task's deadline allows: MongoDB's change events, after the stages of pipeline (NULL: none). A connection
 * is taken until it is closed. If that breaks, or its server steps down, the stream goes on after the last event
 * that was handed out: none is lost, and none comes twice. It ends if the collection is dropped. Replica sets and
 * sharded clusters only. options: { full_document: "updateLookup", full_document_before_change, resume_after,
 * start_after, batch_size }; resume_after is the _id of the event to go on after. */
GD_PUBLIC gd_cursor *gd_mongo_watch(const char *source, const char *collection, gd_value *pipeline, gd_value *options);

typedef struct {
	unsigned attempts; /* in all, if it fails with what may be gone the next time (conflicts with others, a
			      connection that broke before the commit): fn runs again from its beginning; 0: 1 */
	bool snapshot;     /* all that it reads is of the same moment; false: as the URL's readConcernLevel has it */
} gd_mongo_options;
/* Suspends. fn in a transaction of a replica set or sharded cluster: committed if it returns 0 or more, else aborted
 * (also when it was cancelled). All that the calling task itself asks of this source with g NULL meanwhile, cursors
 * included, is part of it; calls in a gather, other tasks, gd_mongo_watch and other sources are not. A call that fails,
 * but for its arguments, makes the transaction fail: all that follows fails with the same at once. Cursors end with it.
 * Returns what fn returned, or the failure: -EBUSY: the task has one on this source already; -EOPNOTSUPP: the server
 * has none; -EIO with a commit whose answer did not come, also when it was asked again: it may or may not have
 * happened. options NULL: once. */
GD_PUBLIC int gd_mongo_transaction(const char *source, const gd_mongo_options *options, int (*fn)(void *arg),
				   void *arg);

/* GridFS: files in MongoDB, in chunks of 255 KiB. bucket NULL: "fs". BUCKET.files has a document for each: { _id,
 * length, chunkSize, uploadDate, filename, metadata }, for gd_mongo_find. */
typedef struct gd_gridfs gd_gridfs;
/* Suspends. A new file. metadata: a document, or NULL. Never NULL: a failure shows in each call. Nobody sees the file
 * before gd_gridfs_finish; the scope's end removes what was stored of one that was not finished. */
GD_PUBLIC gd_gridfs *gd_gridfs_create(const char *source, const char *bucket, const char *filename, gd_value *metadata);
/* Suspends if a chunk is full. At the file's end. Returns 0 or -errno, after which the file is not to be had. */
GD_PUBLIC int gd_gridfs_write(gd_gridfs *f, const void *p, size_t len) GD_MUST_CHECK;
/* Suspends. {_id, length}. */
GD_PUBLIC gd_value *gd_gridfs_finish(gd_gridfs *f);
/* Suspends. The bytes of the file, chunk by chunk, for gd_next. A failure: there is none of that _id (404), or a chunk
 * is missing or not of its length. A connection is taken until the last of them have come. */
GD_PUBLIC gd_cursor *gd_gridfs_read(const char *source, const char *bucket, gd_value *id);
/* {deleted_count}: 0 if there was none. */
GD_PUBLIC gd_value *gd_gridfs_delete(gd_gather *g, const char *source, const char *bucket, gd_value *id);

/* HTTP, below the source's URL. path is percent-encoded, begins with "/" and has no segment "." or ".."; gd_http_path
 * encodes. The source's headers, retries (of what may be sent twice) and breaker hold, as for steps. */
typedef struct {
	const char *method; /* in capitals; NULL: GET */
	const char *path;   /* it may have a query, too */
	gd_value *query;    /* a document; a list is its name repeated; null is left out; NULL: none */
	gd_value *headers; /* a document of texts, which win over the source's own; an empty one is left out; NULL: none
			    */
	gd_value *body;    /* text and bytes as they are, everything else as JSON; NULL: none */
} gd_http_request;
/* The JSON of the answer; a status other than 2xx fails (502): gd_http has it. */
GD_PUBLIC gd_value *gd_http_get(gd_gather *g, const char *source, const char *path);
/* {status, headers, body}, whatever the status: names of headers in lower case, several of one name joined by ", " (but
 * set-cookie is a list); body is JSON if its type says so, else text, else bytes, and null if there is none. */
GD_PUBLIC gd_value *gd_http(gd_gather *g, const char *source, const gd_http_request *request);
/* printf with each %s percent-encoded for a segment of a path: gd_http_path("/users/%s", name). Beside it integers (%d
 * %u %ld %lu %lld %llu %zu %zd). NULL: a segment would be empty, "." or "..", a text is NULL, or the format has more.
 */
GD_PUBLIC char *gd_http_path(const char *format, ...) GD_PRINTF(1, 2);
/* An answer whose body is read piece by piece, with a few of them in memory: the service waits for a slow reader. It
 * may be larger than the source's max_size; the source's timeout holds for the headers, and for each piece. Over
 * HTTP/1; with https on a connection of its own. Suspends until its headers are there. Never NULL. */
typedef struct gd_http_stream gd_http_stream;
GD_PUBLIC gd_http_stream *gd_http_open(const char *source, const gd_http_request *request);
GD_PUBLIC gd_value *gd_http_head(gd_http_stream *s); /* {status, headers}, or a failure */
/* Suspends. Returns how many bytes *p has, valid until the next call, decompressed; 0 at the end; or -errno, also if
 * the body breaks off (-EPIPE). One task at a time. */
GD_PUBLIC int64_t gd_http_read(gd_http_stream *s, const void **p);
/* Before the end the connection is given up. */
GD_PUBLIC void gd_http_close(gd_http_stream *s);

/* Files, below the source's folder, through no link; what is not a regular file there is not found (-ENOENT or the
 * like, 404). To write the source needs `write: true` (else -EPERM), and no file becomes larger than its max_size
 * (-EFBIG). content: text and bytes as they are, everything else as JSON with a line break. */
GD_PUBLIC gd_value *gd_read_file(gd_gather *g, const char *source, const char *path); /* text, or bytes */
GD_PUBLIC gd_value *gd_stat_file(gd_gather *g, const char *source, const char *path); /* {name, size, modified, type} */
GD_PUBLIC gd_value *gd_list_folder(gd_gather *g, const char *source, const char *path); /* of a folder, the same */
GD_PUBLIC gd_value *gd_write_file(gd_gather *g, const char *source, const char *path, gd_value *content); /* atomic */
GD_PUBLIC gd_value *gd_append_file(gd_gather *g, const char *source, const char *path, gd_value *content);
GD_PUBLIC gd_value *gd_remove_file(gd_gather *g, const char *source, const char *path);
typedef struct gd_file gd_file;
typedef enum { GD_OPEN_READ, GD_OPEN_WRITE, GD_OPEN_READ_WRITE, GD_OPEN_APPEND } gd_open_mode;
/* Suspends. Never NULL: a failure shows in each call. GD_OPEN_WRITE makes an empty file of it, GD_OPEN_APPEND makes one
 * if there is none; the others open one that is there. One task at a time (-EBUSY); a call that is cancelled or too
 * late closes it (-EBADF from then on). */
GD_PUBLIC gd_file *gd_file_open(const char *source, const char *path, gd_open_mode mode);
/* Suspend. Return how many bytes: less than len at the end only, which is 0; all of them if they are written; or
 * -errno. The position moves on. */
GD_PUBLIC int64_t gd_file_read(gd_file *f, void *p, size_t len);
GD_PUBLIC int64_t gd_file_write(gd_file *f, const void *p, size_t len);
/* Where the next one begins: whence is SEEK_SET, SEEK_CUR or SEEK_END. Suspends with SEEK_END. Returns the position. */
GD_PUBLIC int64_t gd_file_seek(gd_file *f, int64_t offset, int whence);
/* Suspends. With its data safe on the disk if `sync`. */
GD_PUBLIC int gd_file_close(gd_file *f, bool sync);

/* --- requests ---
 *
 * req is used by the tasks of its own handler; others, and those of a later request, get -EPERM, NULL or a failure,
 * which is said in the log. Headers and the body are asked for before the reply is begun: what was looked at then
 * stays. */

/* A declared parameter, typed and checked; one that was not given: its default or null. Failed: none was declared so.
 */
GD_PUBLIC gd_value *gd_param(gd_request *req, const char *name);
GD_PUBLIC const char *gd_method(gd_request *req);
GD_PUBLIC const char *gd_path(gd_request *req);
GD_PUBLIC const char *gd_request_id(gd_request *req);
GD_PUBLIC const char *gd_client(gd_request *req); /* its address */
/* Any header's text, whatever the case of its name; several are joined by ", ". NULL: there is none. */
GD_PUBLIC const char *gd_header(gd_request *req, const char *name);
/* The body as it came; *len 0: none. */
GD_PUBLIC const void *gd_body(gd_request *req, size_t *len);
/* The body as JSON; failed (400, 415) if it is not. */
GD_PUBLIC gd_value *gd_body_json(gd_request *req);
/* The body of an HTML form: a document, names that come more than once are lists. application/x-www-form-urlencoded; of
 * multipart/form-data a file is {filename, type, content}. Failed (400, 415) if it is not. */
GD_PUBLIC gd_value *gd_body_form(gd_request *req);

/* --- replies: one a request; -EALREADY: there was one --- */

/* Before the reply: a header on it, unless it is a failure's (problem+json). -EINVAL: a control character in it, or one
 * that is gatherd's (Content-Length, …). */
GD_PUBLIC int gd_reply_header(gd_request *req, const char *name, const char *value);
/* JSON. A failed value makes the reply that belongs to it, and is returned. */
GD_PUBLIC int gd_reply(gd_request *req, int status, gd_value *v);
/* printf as text/plain. */
GD_PUBLIC int gd_reply_text(gd_request *req, int status, const char *format, ...) GD_PRINTF(3, 4);
GD_PUBLIC int gd_reply_bytes(gd_request *req, int status, const char *content_type, const void *p, size_t len);
/* 301, 302, 303, 307 or 308. location goes out as it is: "//host", too, leads to another site. */
GD_PUBLIC int gd_reply_redirect(gd_request *req, int status, const char *location);
/* Suspends. A file of a source, with its type, ETag, ranges and conditions. */
GD_PUBLIC int gd_reply_file(gd_request *req, const char *source, const char *path);
/* problem+json for -errno, as if the handler had returned it. Returns r. */
GD_PUBLIC int gd_reply_error(gd_request *req, int r);
/* A reply whose length is not known: begin, write, end, in the handler's own task. The request's deadline does not hold
 * from here on, but for tasks that were spawned before, and within a gd_deadline_push. If there is no body to be
 * written (HEAD, 204, 304) the first write is answered as if the client had left: -ECANCELED, from then on everywhere.
 */
GD_PUBLIC int gd_stream_begin(gd_request *req, int status, const char *content_type);
/* Suspends while the client is slower than the handler: what is written before was sent. Returns 0 or -ECANCELED (it
 * left), -ETIMEDOUT (a gd_deadline_push), -EINVAL (no stream was begun). */
GD_PUBLIC int gd_stream_write(gd_request *req, const void *p, size_t len) GD_MUST_CHECK;
GD_PUBLIC int gd_stream_printf(gd_request *req, const char *format, ...) GD_PRINTF(2, 3) GD_MUST_CHECK;
/* Suspends. A handler that returns without it breaks the connection: the client sees that the body is not whole. */
GD_PUBLIC int gd_stream_end(gd_request *req);
/* Server-sent events: begin with gd_sse_begin, end with gd_stream_end. event and id may be NULL; data may have several
 * lines. -EINVAL: data is NULL, or event or id has a line break. keep_alive_ms: a comment is sent when nothing was for
 * that long; 0: 15 s. */
GD_PUBLIC int gd_sse_begin(gd_request *req, int64_t keep_alive_ms);
GD_PUBLIC int gd_sse_send(gd_request *req, const char *event, const char *id, const char *data) GD_MUST_CHECK;

/* --- the daemon --- */

typedef enum { GD_LOG_ERROR, GD_LOG_WARN, GD_LOG_INFO, GD_LOG_DEBUG } gd_log_level;
/* One line, with the request's id if there is one. Any thread. */
GD_PUBLIC void gd_log(gd_log_level level, const char *format, ...) GD_PRINTF(2, 3);
GD_PUBLIC unsigned gd_worker(void);
GD_PUBLIC bool gd_debug(void);
/* Is the daemon to end? It takes no new requests then, and waits for those that run, for drain_timeout at
 * most: a handler that would go on forever, as a feed does, ends by itself. */
GD_PUBLIC bool gd_draining(void);
/* Suspends until that is so. Returns 0, -ETIMEDOUT or -ECANCELED. */
GD_PUBLIC int gd_drain_wait(gd_deadline by) GD_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif

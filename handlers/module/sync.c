/* What tasks of one worker wait for each other with: semaphores, mutexes, events, conditions, queues. They are the ones
 * of async/, in the memory of the scope that made them. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "async/condition.h"
#include "async/event.h"
#include "async/mutex.h"
#include "async/queue.h"
#include "async/semaphore.h"
#include "base/log.h"
#include "handlers/module/holds.h"
#include "handlers/module/internal.h"

/* At the start of each: where it is at home. */
struct home {
	struct thing thing;
	unsigned worker;    /* that made it */
	struct users users; /* tasks that wait in it */
	bool ended;         /* with its scope: who still waits is told -ECANCELED */
};

/* Memory for a T of the calling task's scope; NULL outside handlers' tasks. `end` wakes those that wait. */
#define MAKE(T, end) make(sizeof(T), __func__, end)

static void *make(size_t size, const char *function, void (*end)(struct thing *t))
{
	struct gd_scope *s = scope_here(function);
	if (!s)
		return NULL;
	struct home *h = arena_zalloc(s->arena, size);
	h->worker = s->env->worker;
	scope_add(s, &h->thing, end);
	return h;
}

/* May the calling task use what h is of? */
static int enter(const struct home *h, const char *function)
{
	if (!h)
		return scope_here(function) ? -EINVAL : -EPERM;
	if (!scope_of_worker(h->worker, function))
		return -EPERM;
	return h->ended ? -ECANCELED : 0;
}

/* The same for a call that suspends: until leave, h is not gone. */
static int enter_wait(struct home *h, const char *function)
{
	int r = enter(h, function);
	if (r == 0)
		users_enter(&h->users);
	return r;
}

static int leave(struct home *h, int r)
{
	users_leave(&h->users);
	return turn_over(r);
}

/* The scope ends, and its own tasks have: those of other scopes, which still wait, are told. */
static void send_away(struct list *waiters)
{
	waiters_wake_all(waiters, -ECANCELED);
}

/* --- semaphores --- */

struct gd_semaphore {
	struct home home;
	struct semaphore own;
	struct held permits; /* of `own` */
	bool bounded;
	/* One of the configuration's; NULL: own. A request has one handle for each, and gives back with its scope what
	 * it did not release: the permits are those of all workers. */
	struct shared_semaphore *shared;
	struct gd_semaphore *next;
	const char *name;
	unsigned held;
};

static void end_semaphore(struct thing *t)
{
	struct gd_semaphore *s = container_of(t, struct gd_semaphore, home.thing);
	s->home.ended = true;
	send_away(&s->own.waiters);
	users_await(&s->home.users, DEADLINE_NEVER);
	held_done(&s->permits);
}

static void take_back(struct held *permits)
{
	semaphore_release(&container_of(permits, struct gd_semaphore, permits)->own);
}

gd_semaphore *gd_semaphore_new(unsigned permits, unsigned max_waiting)
{
	struct gd_semaphore *s = MAKE(struct gd_semaphore, end_semaphore);
	if (!s)
		return NULL;
	semaphore_init(&s->own, permits, max_waiting ? max_waiting : UINT_MAX);
	held_init(&s->permits, take_back);
	s->bounded = true;
	return s;
}

gd_semaphore *gd_semaphore_new_unbounded(unsigned permits, unsigned max_waiting)
{
	struct gd_semaphore *s = MAKE(struct gd_semaphore, end_semaphore);
	if (!s)
		return NULL;
	semaphore_init_unbounded(&s->own, permits, max_waiting ? max_waiting : UINT_MAX);
	held_init(&s->permits, NULL);
	return s;
}

static void end_shared(struct thing *t)
{
	struct gd_semaphore *s = container_of(t, struct gd_semaphore, home.thing);
	if (s->held > 0)
		log_line(LOG_LINE_WARNING, "semaphore not released", "name=%s permits=%u", s->name, s->held);
	for (; s->held > 0; s->held--)
		shared_semaphore_release(s->shared);
}

static struct shared_semaphore *find_shared(const struct module_env *env, const char *name)
{
	for (size_t i = 0; i < env->config->semaphore_count; i++) {
		const char *there = env->config->semaphores[i].name;
		if (there && strcmp(there, name) == 0)
			return env->semaphores[i];
	}
	return NULL;
}

/* The handle of that one that the outermost scope around `scope` has. */
static gd_semaphore *handle_of(struct gd_scope *scope, struct shared_semaphore *shared, const char *name)
{
	scope = scope_outermost(scope);
	for (gd_semaphore *s = scope->borrowed; s; s = s->next) {
		if (s->shared == shared)
			return s;
	}
	gd_semaphore *s = arena_zalloc(scope->arena, sizeof(*s));
	s->home.worker = scope->env->worker;
	s->shared = shared;
	s->name = arena_strdup(scope->arena, name);
	s->next = scope->borrowed;
	scope->borrowed = s;
	scope_add(scope, &s->home.thing, end_shared);
	return s;
}

gd_semaphore *gd_semaphore_named(const char *name)
{
	struct gd_scope *scope = scope_here(__func__);
	if (!scope || !name)
		return NULL;
	struct shared_semaphore *shared = find_shared(scope->env, name);
	return shared ? handle_of(scope, shared, name) : NULL;
}

/* By the calling task's own handle, whoever asked for the name: what it takes is given back at the end of its request,
 * not of the one that asked. */
static int acquire_shared(gd_semaphore *s, deadline_t by)
{
	gd_semaphore *mine = handle_of(scope_try(), s->shared, s->name);
	int r = shared_semaphore_acquire(mine->shared, by);
	if (r == 0)
		mine->held++;
	return turn_over(r);
}

static int release_shared(const gd_semaphore *s)
{
	gd_semaphore *mine = handle_of(scope_try(), s->shared, s->name);
	if (mine->held == 0)
		return -EPERM;
	mine->held--;
	return shared_semaphore_release(mine->shared);
}

int gd_acquire(gd_semaphore *s, gd_deadline by)
{
	int r = enter(s ? &s->home : NULL, __func__);
	if (r < 0)
		return r;
	if (s->shared)
		return acquire_shared(s, deadline_of(by));
	users_enter(&s->home.users);
	r = semaphore_acquire(&s->own, deadline_of(by));
	if (r == 0)
		hold_taken(scope_outermost(scope_try()), &s->permits);
	return leave(&s->home, r);
}

int gd_release(gd_semaphore *s)
{
	int r = enter(s ? &s->home : NULL, __func__);
	if (r < 0)
		return r;
	if (s->shared)
		return release_shared(s);
	bool given = hold_given(scope_outermost(scope_try()), &s->permits);
	return s->bounded && !given ? -EPERM : semaphore_release(&s->own);
}

/* --- mutexes --- */

struct gd_mutex {
	struct home home;
	struct mutex mutex;
	struct list locked; /* while it is: of the outermost scope's `locks` of who holds it */
};

/* How many are locked on this worker: each task that ends asks. */
static _Thread_local unsigned locked_here;

/* The calling task has it now. */
static void note_lock(gd_mutex *m)
{
	list_append(&scope_outermost(scope_try())->locks, &m->locked);
	locked_here++;
}

/* Nobody has it, or somebody who notes it when it runs. */
static void forget_lock(gd_mutex *m)
{
	if (list_empty(&m->locked))
		return;
	list_remove(&m->locked);
	locked_here--;
}

void mutexes_release(void)
{
	struct gd_scope *s = locked_here > 0 ? scope_try() : NULL;
	unsigned count = 0;
	if (!s)
		return;
	list_for_each_safe (node, &scope_outermost(s)->locks) {
		gd_mutex *m = container_of(node, gd_mutex, locked);
		if (!mutex_held(&m->mutex))
			continue;
		forget_lock(m);
		mutex_unlock(&m->mutex);
		count++;
	}
	if (count > 0)
		hold_tell(s, "mutex", count);
}

static void end_mutex(struct thing *t)
{
	struct gd_mutex *m = container_of(t, struct gd_mutex, home.thing);
	m->home.ended = true;
	send_away(&m->mutex.waiters);
	users_await(&m->home.users, DEADLINE_NEVER);
	forget_lock(m);
}

gd_mutex *gd_mutex_new(void)
{
	gd_mutex *m = MAKE(struct gd_mutex, end_mutex);
	if (!m)
		return NULL;
	mutex_init(&m->mutex);
	list_init(&m->locked);
	return m;
}

int gd_lock(gd_mutex *m, gd_deadline by)
{
	int r = enter_wait(m ? &m->home : NULL, __func__);
	if (r < 0)
		return r;
	r = mutex_lock(&m->mutex, deadline_of(by));
	if (r == 0)
		note_lock(m);
	return leave(&m->home, r);
}

int gd_unlock(gd_mutex *m)
{
	int r = enter(m ? &m->home : NULL, __func__);
	if (r == 0)
		r = mutex_unlock(&m->mutex);
	if (r == 0)
		forget_lock(m);
	return r;
}

/* --- events --- */

struct gd_event {
	struct home home;
	struct event event;
};

static void end_event(struct thing *t)
{
	struct gd_event *e = container_of(t, struct gd_event, home.thing);
	e->home.ended = true;
	send_away(&e->event.waiters);
	users_await(&e->home.users, DEADLINE_NEVER);
}

gd_event *gd_event_new(void)
{
	gd_event *e = MAKE(struct gd_event, end_event);
	if (e)
		event_init(&e->event);
	return e;
}

static bool is_usable(const gd_event *e, const char *function)
{
	return enter(e ? &e->home : NULL, function) == 0;
}

void gd_event_set(gd_event *e)
{
	if (is_usable(e, __func__))
		event_set(&e->event);
}

void gd_event_clear(gd_event *e)
{
	if (is_usable(e, __func__))
		event_clear(&e->event);
}

bool gd_event_is_set(const gd_event *e)
{
	return is_usable(e, __func__) && event_is_set(&e->event);
}

int gd_event_wait(gd_event *e, gd_deadline by)
{
	int r = enter_wait(e ? &e->home : NULL, __func__);
	return r < 0 ? r : leave(&e->home, event_wait(&e->event, deadline_of(by)));
}

/* --- conditions --- */

struct gd_condition {
	struct home home;
	struct condition condition;
	gd_mutex *mutex;
};

static void end_condition(struct thing *t)
{
	struct gd_condition *c = container_of(t, struct gd_condition, home.thing);
	c->home.ended = true;
	send_away(&c->condition.waiters);
	users_await(&c->home.users, DEADLINE_NEVER);
}

gd_condition *gd_condition_new(gd_mutex *m)
{
	if (enter(m ? &m->home : NULL, __func__) < 0)
		return NULL;
	gd_condition *c = MAKE(struct gd_condition, end_condition);
	c->mutex = m;
	condition_init(&c->condition, &m->mutex);
	return c;
}

int gd_condition_wait(gd_condition *c, gd_deadline by)
{
	int r = enter_wait(c ? &c->home : NULL, __func__);
	if (r < 0)
		return r;
	gd_mutex *m = c->mutex;
	users_enter(&m->home.users);
	if (mutex_held(&m->mutex))
		forget_lock(m);
	r = condition_wait(&c->condition, deadline_of(by));
	if (mutex_held(&m->mutex))
		note_lock(m);
	users_leave(&c->home.users);
	return leave(&m->home, r);
}

int gd_condition_notify(gd_condition *c, unsigned n)
{
	int r = enter(c ? &c->home : NULL, __func__);
	return r < 0 ? r : condition_notify(&c->condition, n);
}

/* --- queues --- */

struct gd_queue {
	struct home home;
	struct queue queue;
};

static void end_queue(struct thing *t)
{
	struct gd_queue *q = container_of(t, struct gd_queue, home.thing);
	q->home.ended = true;
	send_away(&q->queue.getters);
	send_away(&q->queue.putters);
	send_away(&q->queue.joiners);
	users_await(&q->home.users, DEADLINE_NEVER);
	queue_done(&q->queue);
}

gd_queue *gd_queue_new(unsigned max)
{
	gd_queue *q = MAKE(struct gd_queue, end_queue);
	if (q)
		queue_init(&q->queue, max);
	return q;
}

gd_queue *gd_queue_new_priority(unsigned max, int (*compare)(const void *a, const void *b))
{
	gd_queue *q = MAKE(struct gd_queue, end_queue);
	if (q && compare)
		queue_init_priority(&q->queue, max, compare);
	else if (q)
		queue_init_lifo(&q->queue, max);
	return q;
}

static int enter_queue(const gd_queue *q, const char *function)
{
	return enter(q ? &q->home : NULL, function);
}

int gd_queue_put(gd_queue *q, void *item, gd_deadline by)
{
	int r = enter_wait(q ? &q->home : NULL, __func__);
	return r < 0 ? r : leave(&q->home, queue_put(&q->queue, item, deadline_of(by)));
}

int gd_queue_get(gd_queue *q, void **item, gd_deadline by)
{
	int r = enter_wait(q && item ? &q->home : NULL, __func__);
	return r < 0 ? r : leave(&q->home, queue_get(&q->queue, item, deadline_of(by)));
}

int gd_queue_put_now(gd_queue *q, void *item)
{
	int r = enter_queue(q, __func__);
	return r < 0 ? r : queue_put_now(&q->queue, item);
}

int gd_queue_get_now(gd_queue *q, void **item)
{
	int r = enter_queue(item ? q : NULL, __func__);
	return r < 0 ? r : queue_get_now(&q->queue, item);
}

unsigned gd_queue_count(const gd_queue *q)
{
	return enter_queue(q, __func__) == 0 ? (unsigned)queue_count(&q->queue) : 0;
}

void gd_queue_close(gd_queue *q)
{
	if (enter_queue(q, __func__) == 0)
		queue_close(&q->queue);
}

int gd_queue_task_done(gd_queue *q)
{
	int r = enter_queue(q, __func__);
	return r < 0 ? r : queue_task_done(&q->queue);
}

int gd_queue_join(gd_queue *q, gd_deadline by)
{
	int r = enter_wait(q ? &q->home : NULL, __func__);
	return r < 0 ? r : leave(&q->home, queue_join(&q->queue, deadline_of(by)));
}

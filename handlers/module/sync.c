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

/* Memory for a T of the calling task's scope; NULL outside handlers' tasks. */
#define MAKE(T) make(sizeof(T), __func__)

static void *make(size_t size, const char *function)
{
	struct gd_scope *s = scope_here(function);
	return s ? arena_zalloc(s->arena, size) : NULL;
}

/* --- semaphores --- */

struct gd_semaphore {
	struct semaphore own;
	/* One of the configuration's; NULL: own. A request has one handle for each, and gives back with its scope what
	 * it did not release: the permits are those of all workers. */
	struct shared_semaphore *shared;
	struct gd_semaphore *next;
	struct thing thing;
	const char *name;
	unsigned held;
};

gd_semaphore *gd_semaphore_new(unsigned permits, unsigned max_waiting)
{
	struct gd_semaphore *s = MAKE(struct gd_semaphore);
	if (s)
		semaphore_init(&s->own, permits, max_waiting ? max_waiting : UINT_MAX);
	return s;
}

gd_semaphore *gd_semaphore_new_unbounded(unsigned permits, unsigned max_waiting)
{
	struct gd_semaphore *s = MAKE(struct gd_semaphore);
	if (s)
		semaphore_init_unbounded(&s->own, permits, max_waiting ? max_waiting : UINT_MAX);
	return s;
}

static void end_shared(struct thing *t)
{
	struct gd_semaphore *s = container_of(t, struct gd_semaphore, thing);
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
			return &env->semaphores[i];
	}
	return NULL;
}

gd_semaphore *gd_semaphore_named(const char *name)
{
	struct gd_scope *scope = scope_here(__func__);
	if (!scope || !name)
		return NULL;
	scope = scope_outermost(scope);
	for (gd_semaphore *s = scope->borrowed; s; s = s->next) {
		if (strcmp(s->name, name) == 0)
			return s;
	}
	struct shared_semaphore *shared = find_shared(scope->env, name);
	if (!shared)
		return NULL;
	gd_semaphore *s = arena_zalloc(scope->arena, sizeof(*s));
	s->shared = shared;
	s->name = arena_strdup(scope->arena, name);
	s->next = scope->borrowed;
	scope->borrowed = s;
	scope_add(scope, &s->thing, end_shared);
	return s;
}

int gd_acquire(gd_semaphore *s, gd_deadline by)
{
	struct gd_scope *scope = scope_here(__func__);
	if (!scope)
		return -EPERM;
	if (!s)
		return -EINVAL;
	int r = s->shared ? shared_semaphore_acquire(s->shared, deadline_of(by))
			  : semaphore_acquire(&s->own, deadline_of(by));
	if (r == 0 && s->shared)
		s->held++;
	else if (r == 0)
		hold_taken(scope, "semaphore", s);
	return r;
}

int gd_release(gd_semaphore *s)
{
	struct gd_scope *scope = scope_here(__func__);
	if (!scope)
		return -EPERM;
	if (!s)
		return -EINVAL;
	if (!s->shared) {
		hold_given(scope, s);
		return semaphore_release(&s->own);
	}
	if (s->held == 0)
		return -EPERM;
	s->held--;
	return shared_semaphore_release(s->shared);
}

/* --- mutexes --- */

struct gd_mutex {
	struct mutex mutex;
};

gd_mutex *gd_mutex_new(void)
{
	gd_mutex *m = MAKE(struct gd_mutex);
	if (m)
		mutex_init(&m->mutex);
	return m;
}

int gd_lock(gd_mutex *m, gd_deadline by)
{
	struct gd_scope *scope = scope_here(__func__);
	if (!scope)
		return -EPERM;
	int r = m ? mutex_lock(&m->mutex, deadline_of(by)) : -EINVAL;
	if (r == 0)
		hold_taken(scope, "mutex", m);
	return r;
}

int gd_unlock(gd_mutex *m)
{
	struct gd_scope *scope = scope_here(__func__);
	if (!scope)
		return -EPERM;
	int r = m ? mutex_unlock(&m->mutex) : -EINVAL;
	if (r == 0)
		hold_given(scope, m);
	return r;
}

/* --- events --- */

struct gd_event {
	struct event event;
};

gd_event *gd_event_new(void)
{
	gd_event *e = MAKE(struct gd_event);
	if (e)
		event_init(&e->event);
	return e;
}

void gd_event_set(gd_event *e)
{
	if (scope_here(__func__) && e)
		event_set(&e->event);
}

void gd_event_clear(gd_event *e)
{
	if (scope_here(__func__) && e)
		event_clear(&e->event);
}

bool gd_event_is_set(const gd_event *e)
{
	return scope_here(__func__) && e && event_is_set(&e->event);
}

int gd_event_wait(gd_event *e, gd_deadline by)
{
	if (!scope_here(__func__))
		return -EPERM;
	return e ? event_wait(&e->event, deadline_of(by)) : -EINVAL;
}

/* --- conditions --- */

struct gd_condition {
	struct condition condition;
};

gd_condition *gd_condition_new(gd_mutex *m)
{
	gd_condition *c = m ? MAKE(struct gd_condition) : NULL;
	if (c)
		condition_init(&c->condition, &m->mutex);
	return c;
}

int gd_condition_wait(gd_condition *c, gd_deadline by)
{
	if (!scope_here(__func__))
		return -EPERM;
	return c ? condition_wait(&c->condition, deadline_of(by)) : -EINVAL;
}

int gd_condition_notify(gd_condition *c, unsigned n)
{
	if (!scope_here(__func__))
		return -EPERM;
	return c ? condition_notify(&c->condition, n) : -EINVAL;
}

/* --- queues --- */

struct gd_queue {
	struct thing thing;
	struct queue queue;
};

static void end_queue(struct thing *t)
{
	queue_done(&container_of(t, struct gd_queue, thing)->queue);
}

static gd_queue *queue_of_scope(const char *function)
{
	struct gd_scope *s = scope_here(function);
	if (!s)
		return NULL;
	gd_queue *q = arena_zalloc(s->arena, sizeof(*q));
	scope_add(s, &q->thing, end_queue);
	return q;
}

gd_queue *gd_queue_new(unsigned max)
{
	gd_queue *q = queue_of_scope(__func__);
	if (q)
		queue_init(&q->queue, max);
	return q;
}

gd_queue *gd_queue_new_priority(unsigned max, int (*compare)(const void *a, const void *b))
{
	gd_queue *q = queue_of_scope(__func__);
	if (q && compare)
		queue_init_priority(&q->queue, max, compare);
	else if (q)
		queue_init_lifo(&q->queue, max);
	return q;
}

int gd_queue_put(gd_queue *q, void *item, gd_deadline by)
{
	if (!scope_here(__func__))
		return -EPERM;
	return q ? queue_put(&q->queue, item, deadline_of(by)) : -EINVAL;
}

int gd_queue_get(gd_queue *q, void **item, gd_deadline by)
{
	if (!scope_here(__func__))
		return -EPERM;
	return q && item ? queue_get(&q->queue, item, deadline_of(by)) : -EINVAL;
}

int gd_queue_put_now(gd_queue *q, void *item)
{
	if (!scope_here(__func__))
		return -EPERM;
	return q ? queue_put_now(&q->queue, item) : -EINVAL;
}

int gd_queue_get_now(gd_queue *q, void **item)
{
	if (!scope_here(__func__))
		return -EPERM;
	return q && item ? queue_get_now(&q->queue, item) : -EINVAL;
}

unsigned gd_queue_count(const gd_queue *q)
{
	return scope_here(__func__) && q ? (unsigned)queue_count(&q->queue) : 0;
}

void gd_queue_close(gd_queue *q)
{
	if (scope_here(__func__) && q)
		queue_close(&q->queue);
}

int gd_queue_task_done(gd_queue *q)
{
	if (!scope_here(__func__))
		return -EPERM;
	return q ? queue_task_done(&q->queue) : -EINVAL;
}

int gd_queue_join(gd_queue *q, gd_deadline by)
{
	if (!scope_here(__func__))
		return -EPERM;
	return q ? queue_join(&q->queue, deadline_of(by)) : -EINVAL;
}

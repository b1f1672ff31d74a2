/* Scopes: whose values, tasks and open things are whose, and their end. */
#include "handlers/module/scope.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "async/local.h"
#include "async/monitor.h"
#include "base/log.h"
#include "base/mem.h"
#include "handlers/module/holds.h"
#include "handlers/module/internal.h"
#include "handlers/module/request.h"
#include "handlers/module/status.h"

static const struct task_local scope_key = {.name = "scope"};

/* --- where we are --- */

/* Once for each function: whoever calls it from there does so again and again. */
static void log_once(const char *function, const char *mistake)
{
	enum { MOST = 256 };
	static _Atomic(const char *) said[MOST];
	for (unsigned i = 0; i < MOST; i++) {
		const char *there = NULL;
		if (atomic_compare_exchange_strong(&said[i], &there, function))
			break;
		if (there == function)
			return;
	}
	log_line(LOG_LINE_ERROR, mistake, "function=%s", function);
}

struct gd_scope *scope_try(void)
{
	return task_local_get(&scope_key);
}

struct gd_scope *scope_here(const char *function)
{
	struct gd_scope *s = scope_try();
	if (s)
		return s;
	if (monitor_running())
		monitor_wrong_thread(function);
	else
		log_once(function, "called outside the tasks of handlers");
	return NULL;
}

struct gd_scope *scope_of_worker(unsigned worker, const char *function)
{
	struct gd_scope *s = scope_here(function);
	if (!s || s->env->worker == worker)
		return s;
	log_once(function, "called on another worker than the one that made it");
	return NULL;
}

struct gd_scope *scope_outermost(struct gd_scope *s)
{
	while (s->outer)
		s = s->outer;
	return s;
}

bool scope_is_within(const struct gd_scope *s, const struct gd_scope *outer)
{
	while (s && s != outer)
		s = s->outer;
	return s;
}

/* --- beginning and end --- */

static void scope_init(struct gd_scope *s, const struct module_env *env, struct gd_request *request)
{
	*s = (struct gd_scope){.env = env, .request = request};
	list_init(&s->things);
	list_init(&s->tasks);
	list_init(&s->returned);
	list_init(&s->permits);
	list_init(&s->holds);
	list_init(&s->spare_holds);
	list_init(&s->locks);
	list_init(&s->failures);
	list_init(&s->scopes);
	list_init(&s->thing.link);
}

void scope_enter(struct gd_scope *s)
{
	(void)task_local_set(&scope_key, s); /* it only fails outside tasks */
}

void scope_open(struct gd_scope *s, const struct module_env *env, struct gd_request *request, struct arena *arena)
{
	scope_init(s, env, request);
	arena_init(&s->own);
	s->arena = arena ? arena : &s->own;
	scope_enter(s);
}

int turn_over(int r)
{
	struct shield whole;
	if (r >= 0 || task_check() == 0)
		return r;
	task_shield_fully(&whole);
	int turn = task_yield();
	(void)turn;
	task_unshield(&whole);
	return r;
}

void shield_note(struct shield *s)
{
	task_shield(s, DEADLINE_NEVER);
	task_unshield(s);
}

/* Those of the scopes within s, too: tasks of s may be waiting for them. */
static void cancel_tasks(struct gd_scope *s)
{
	s->closing = true;
	list_for_each (at, &s->tasks) {
		struct thing *t = container_of(at, struct thing, link);
		t->cancel(t);
	}
	list_for_each (at, &s->scopes)
		cancel_tasks(container_of(at, struct gd_scope, thing.link));
}

static void end_thing(struct list *node)
{
	struct thing *t = container_of(node, struct thing, link);
	t->end(t);
}

/* Then the scopes that they have left open, whose tasks may be using things of s, too. Tasks that are spawned
 * meanwhile, by others that clean up, are cancelled as they come. */
static void end_tasks(struct gd_scope *s)
{
	struct list *node;
	while (!list_empty(&s->tasks) || !list_empty(&s->scopes)) {
		while ((node = list_shift(&s->tasks)))
			end_thing(node);
		if ((node = list_shift(&s->scopes)))
			end_thing(node);
	}
}

void scope_close(struct gd_scope *s)
{
	struct shield whole;
	struct list *node;
	bool inside = scope_is_within(scope_try(), s);
	if (inside)
		scope_enter(s); /* a scope within it that was left open goes first */
	task_shield_fully(&whole);
	cancel_tasks(s);
	end_tasks(s);
	while ((node = list_shift(&s->things))) {
		end_thing(node);
		end_tasks(s); /* that it has spawned */
	}
	holds_end(s);
	task_unshield(&whole);
	if (inside)
		scope_enter(s->outer);
	arena_done(&s->own);
}

/* --- things --- */

void scope_add(struct gd_scope *s, struct thing *t, void (*end)(struct thing *t))
{
	t->end = end;
	t->cancel = NULL;
	list_prepend(&s->things, &t->link);
}

void scope_add_task(struct gd_scope *s, struct thing *t, void (*end)(struct thing *t), void (*cancel)(struct thing *t))
{
	t->end = end;
	t->cancel = cancel;
	list_prepend(&s->tasks, &t->link);
	if (s->closing)
		cancel(t);
}

void scope_forget(struct thing *t)
{
	list_remove(&t->link);
}

/* --- what went wrong --- */

struct failure {
	struct list link;
	struct error error;
};

static struct failure *find_failure(const struct gd_scope *outermost, int errnum)
{
	list_for_each (node, &outermost->failures) {
		struct failure *f = container_of(node, struct failure, link);
		if (f->error.errnum == errnum)
			return f;
	}
	return NULL;
}

void scope_note_change(struct gd_scope *s, enum change change, bool made)
{
	if (!s->request)
		return;
	s->request->exchange->uncertain |= change == CHANGE_UNKNOWN;
	s->request->exchange->changed |= made || change == CHANGE_PARTIAL;
}

int scope_fail(struct gd_scope *s, const struct error *e)
{
	enum { MOST_FAILURES = 16 }; /* as many as a handler tells apart; the oldest goes */
	struct gd_scope *outermost = scope_outermost(s);
	struct failure *f = find_failure(outermost, e->errnum);
	if (!f && outermost->failure_count == MOST_FAILURES)
		f = container_of(outermost->failures.prev, struct failure, link);
	if (f) {
		list_remove(&f->link);
	} else {
		f = arena_alloc(outermost->arena, sizeof(*f));
		outermost->failure_count++;
	}
	f->error = *e;
	scope_note_change(s, e->change, false);
	list_prepend(&outermost->failures, &f->link);
	return e->errnum;
}

void scope_error(struct gd_scope *s, int r, struct error *e)
{
	const struct failure *f = find_failure(scope_outermost(s), r);
	*e = f ? f->error : ERROR_INIT;
	if (!f)
		error_of_errno(e, r);
}

/* --- of handlers --- */

static void inner_end(struct thing *t)
{
	struct gd_scope *s = container_of(t, struct gd_scope, thing);
	scope_close(s);
	free(s);
}

gd_scope *gd_scope_begin(void)
{
	struct gd_scope *outer = scope_here(__func__);
	if (!outer)
		return NULL;
	struct gd_scope *s = mem_alloc(sizeof(*s));
	scope_init(s, outer->env, outer->request);
	arena_init(&s->own);
	s->arena = &s->own;
	s->outer = outer;
	s->opener = task_id(task_self());
	s->thing.end = inner_end;
	list_prepend(&outer->scopes, &s->thing.link);
	scope_enter(s);
	return s;
}

/* One that was not the innermost takes those within it along. */
void gd_scope_end(gd_scope *s)
{
	struct gd_scope *at = scope_here(__func__);
	while (at && at != s)
		at = at->outer;
	if (!at || !s->outer)
		return;
	if (s->opener != task_id(task_self())) {
		log_line(LOG_LINE_WARNING, "a scope can't be ended by another task", "task=\"%s\"",
			 task_name(task_self()));
		return;
	}
	struct gd_scope *outer = s->outer;
	scope_forget(&s->thing);
	inner_end(&s->thing);
	scope_enter(outer);
}

void *gd_alloc(size_t size)
{
	struct gd_scope *s = scope_here(__func__);
	return s ? arena_zalloc(s->arena, size ? size : 1) : NULL;
}

char *gd_format(const char *format, ...)
{
	struct gd_scope *s = scope_here(__func__);
	if (!s)
		return NULL;
	struct buf text = BUF_INIT;
	va_list ap;
	va_start(ap, format);
	if (format)
		buf_vprintf(&text, format, ap);
	va_end(ap);
	char *copy = arena_strndup(s->arena, text.data ? text.data : "", text.len);
	buf_done(&text);
	return copy;
}

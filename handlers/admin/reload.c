/* The line of those who ask for a reload: under one lock, as it is used a few times a day. */
#include "handlers/admin/reload.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sysexits.h>

#include "async/loop.h"
#include "async/task.h"
#include "base/mem.h"

/* One who asks. On the heap: its answer may be on the way when the task has left. */
struct order {
	struct list link; /* under lock: in the line, or in the list of those that were taken */
	struct reload_wish wish;
	struct loop *loop;
	struct message answered;
	const struct reload_report *report; /* set before the message is posted */
	struct waiter *waiter;              /* loop thread only; NULL: it left */
};

static struct {
	pthread_mutex_t lock;
	struct list line;        /* under lock */
	void (*wake)(void *arg); /* under lock */
	void *arg;               /* under lock */
} desk = {.lock = PTHREAD_MUTEX_INITIALIZER, .line = {&desk.line, &desk.line}};

/* --- reports --- */

struct reload_report *reload_report_new(void)
{
	struct reload_report *r = mem_zalloc(sizeof(*r));
	r->references = 1;
	diagnostics_init(&r->diagnostics);
	return r;
}

static struct reload_report *keep(struct reload_report *r)
{
	__atomic_add_fetch(&r->references, 1, __ATOMIC_RELAXED);
	return r;
}

void reload_report_drop(const struct reload_report *report)
{
	struct reload_report *r = (struct reload_report *)(uintptr_t)report;
	if (!r || __atomic_sub_fetch(&r->references, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	diagnostics_done(&r->diagnostics);
	buf_done(&r->text);
	free(r);
}

/* --- asking --- */

static void answer_arrived(struct message *m)
{
	struct order *o = container_of(m, struct order, answered);
	loop_expect(o->loop, -1);
	if (o->waiter) {
		task_wake(o->waiter, 0);
		return;
	}
	reload_report_drop(o->report);
	free(o);
}

struct order_wait {
	struct waiter waiter;
	struct order *order;
};

/* Whoever still stands in line leaves it; the answer of one that was taken comes to nobody. */
static void leave(struct waiter *waiter)
{
	struct order *o = container_of(waiter, struct order_wait, waiter)->order;
	o->waiter = NULL;
	pthread_mutex_lock(&desk.lock);
	bool in_line = false;
	list_for_each (link, &desk.line)
		in_line |= link == &o->link;
	if (in_line)
		list_remove(&o->link);
	pthread_mutex_unlock(&desk.lock);
	if (in_line) {
		loop_expect(o->loop, -1);
		free(o);
	}
}

static const struct reload_report *ending(void)
{
	struct reload_report *r = reload_report_new();
	r->code = EX_TEMPFAIL;
	buf_lit(&r->text, "the daemon ends");
	return r;
}

int reload_ask(const struct reload_wish *wish, const struct reload_report **out, deadline_t by)
{
	struct order *o = mem_zalloc(sizeof(*o));
	struct order_wait wait = {.order = o};
	o->wish = *wish;
	o->loop = loop_current();
	o->answered.run = answer_arrived;
	waiter_init(&wait.waiter, leave, "a reload");
	o->waiter = &wait.waiter; // cppcheck-suppress autoVariables ; it leaves o before it goes
	loop_expect(o->loop, 1);
	pthread_mutex_lock(&desk.lock);
	bool open = desk.wake;
	if (open) {
		list_append(&desk.line, &o->link);
		desk.wake(desk.arg);
	}
	pthread_mutex_unlock(&desk.lock);
	if (!open) {
		loop_expect(o->loop, -1);
		free(o);
		*out = ending();
		return 0;
	}
	int r = task_suspend(&wait.waiter, by);
	if (r < 0)
		return r;
	*out = o->report;
	free(o);
	return 0;
}

/* --- the daemon's side --- */

static bool same(const struct reload_wish *a, const struct reload_wish *b)
{
	return a->check == b->check && a->force == b->force;
}

bool reload_take(struct list *asked, struct reload_wish *wish)
{
	list_init(asked);
	pthread_mutex_lock(&desk.lock);
	bool any = !list_empty(&desk.line);
	if (any)
		*wish = container_of(desk.line.next, struct order, link)->wish;
	list_for_each_safe (link, &desk.line) {
		struct order *o = container_of(link, struct order, link);
		if (!same(&o->wish, wish))
			continue;
		list_remove(&o->link);
		list_append(asked, &o->link);
	}
	pthread_mutex_unlock(&desk.lock);
	return any;
}

void reload_answer(struct list *asked, struct reload_report *report)
{
	while (!list_empty(asked)) {
		struct order *o = container_of(list_shift(asked), struct order, link);
		o->report = keep(report);
		loop_post(o->loop, &o->answered);
	}
}

void reload_attend(void (*wake)(void *arg), void *arg)
{
	struct list asked;
	struct reload_wish wish = {0};
	pthread_mutex_lock(&desk.lock);
	desk.wake = wake;
	desk.arg = arg;
	pthread_mutex_unlock(&desk.lock);
	while (!wake && reload_take(&asked, &wish)) {
		const struct reload_report *report = ending();
		reload_answer(&asked, (struct reload_report *)(uintptr_t)report);
		reload_report_drop(report);
	}
}

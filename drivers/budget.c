/* A source's connections, shared by the workers of the process.
 *
 * `spare` counts what no member holds beyond its own sure connection. A member that finds it at 0 stands in `asking`;
 * whatever is given back from then on is counted as held by the first that asks and travels to it in its message, so
 * that a connection between two workers is never counted twice and never lost. */
#include "drivers/budget.h"

#include <assert.h>
#include <errno.h>

void budget_init(struct budget *b, unsigned size, unsigned members, unsigned max_waiting)
{
	assert(size >= members);
	*b = (struct budget){.size = size, .spare = size - members, .max_waiting = max_waiting};
	pthread_mutex_init(&b->lock, NULL);
	list_init(&b->members);
	list_init(&b->asking);
	atomic_init(&b->waiting, 0);
	atomic_init(&b->asked, 0);
}

void budget_done(struct budget *b)
{
	assert(list_empty(&b->members) && list_empty(&b->asking));
	pthread_mutex_destroy(&b->lock);
}

/* The member's loop: hand over what has gathered since the message was posted. */
static void message_run(struct message *message)
{
	struct budget_member *m = container_of(message, struct budget_member, message);

	pthread_mutex_lock(&m->budget->lock);
	unsigned granted = m->granted;
	bool shed = m->shed;
	m->granted = 0;
	m->shed = false;
	m->message_posted = false;
	pthread_mutex_unlock(&m->budget->lock);
	m->notify(m, granted, shed);
}

/* Under lock. */
static void post(struct budget_member *m)
{
	if (m->message_posted)
		return;
	m->message_posted = true;
	loop_post(m->loop, &m->message);
}

/* Under lock. */
static void stop_asking(struct budget_member *m)
{
	if (list_empty(&m->ask_link))
		return;
	list_remove(&m->ask_link);
	atomic_store_explicit(&m->asking, false, memory_order_relaxed);
	atomic_fetch_sub_explicit(&m->budget->asked, 1, memory_order_relaxed);
}

/* Under lock: what is spare goes to who asked first. */
static void grant(struct budget *b)
{
	while (b->spare > 0 && !list_empty(&b->asking)) {
		struct budget_member *m = container_of(b->asking.next, struct budget_member, ask_link);
		stop_asking(m);
		b->spare--;
		m->held++;
		m->granted++;
		post(m);
	}
}

/* Under lock: tell who holds more than its own one that an idle connection would be welcome. */
static void ask_others(struct budget_member *asking)
{
	list_for_each (link, &asking->budget->members) {
		struct budget_member *m = container_of(link, struct budget_member, link);
		if (m == asking || m->held < 2)
			continue;
		m->shed = true;
		post(m);
	}
}

void budget_join(struct budget *b, struct budget_member *m, struct loop *l,
		 void (*notify)(struct budget_member *m, unsigned granted, bool shed))
{
	*m = (struct budget_member){.budget = b, .loop = l, .message.run = message_run, .notify = notify};
	list_init(&m->ask_link);
	pthread_mutex_lock(&b->lock);
	list_append(&b->members, &m->link);
	pthread_mutex_unlock(&b->lock);
}

void budget_leave(struct budget_member *m)
{
	pthread_mutex_lock(&m->budget->lock);
	stop_asking(m);
	list_remove(&m->link);
	pthread_mutex_unlock(&m->budget->lock);
}

bool budget_quiet(struct budget_member *m)
{
	pthread_mutex_lock(&m->budget->lock);
	bool quiet = !m->message_posted && m->held == 0;
	pthread_mutex_unlock(&m->budget->lock);
	return quiet;
}

bool budget_take(struct budget_member *m)
{
	struct budget *b = m->budget;
	bool taken = true;

	pthread_mutex_lock(&b->lock);
	if (m->held == 0) {
		m->held = 1;
	} else if (b->spare > 0) {
		b->spare--;
		m->held++;
	} else {
		taken = false;
		if (list_empty(&m->ask_link)) {
			list_append(&b->asking, &m->ask_link);
			atomic_store_explicit(&m->asking, true, memory_order_relaxed);
			atomic_fetch_add_explicit(&b->asked, 1, memory_order_relaxed);
			ask_others(m);
		}
	}
	pthread_mutex_unlock(&b->lock);
	return taken;
}

void budget_give(struct budget_member *m)
{
	struct budget *b = m->budget;

	pthread_mutex_lock(&b->lock);
	assert(m->held > 0);
	/* The last one is the member's own: it stays reserved for it. */
	if (--m->held > 0) {
		b->spare++;
		grant(b);
	}
	pthread_mutex_unlock(&b->lock);
}

void budget_withdraw(struct budget_member *m)
{
	pthread_mutex_lock(&m->budget->lock);
	stop_asking(m);
	pthread_mutex_unlock(&m->budget->lock);
}

bool budget_wanted(const struct budget_member *m)
{
	unsigned own = atomic_load_explicit(&m->asking, memory_order_relaxed) ? 1 : 0;
	return atomic_load_explicit(&m->budget->asked, memory_order_relaxed) > own;
}

int budget_wait_begin(struct budget *b)
{
	if (atomic_fetch_add_explicit(&b->waiting, 1, memory_order_relaxed) < b->max_waiting)
		return 0;
	atomic_fetch_sub_explicit(&b->waiting, 1, memory_order_relaxed);
	return -EBUSY;
}

void budget_wait_end(struct budget *b)
{
	atomic_fetch_sub_explicit(&b->waiting, 1, memory_order_relaxed);
}

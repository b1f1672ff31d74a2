/* A source's connections, shared by the workers of the process.
 *
 * A connection counts as held by the receiver from the moment that it is addressed: between two workers it is never
 * counted twice and never lost. A ticket and the parcel on its way to it know each other under the lock, so that either
 * side may go first. */
#include "drivers/budget.h"

#include <assert.h>
#include <errno.h>

void budget_init(struct budget *b, unsigned size, unsigned max_waiting)
{
	assert(size > 0);
	*b = (struct budget){.size = size, .spare = (int)size, .max_waiting = max_waiting};
	pthread_mutex_init(&b->lock, NULL);
	list_init(&b->members);
	list_init(&b->line);
	list_init(&b->wishes);
	atomic_init(&b->waiting, 0);
	atomic_init(&b->wished, 0);
	atomic_init(&b->draining, 0);
	atomic_init(&b->working, 0);
	atomic_init(&b->surplus, 0);
}

void budget_done(struct budget *b)
{
	assert(list_empty(&b->members) && list_empty(&b->line) && list_empty(&b->wishes));
	assert(b->spare == (int)b->size && atomic_load(&b->draining) == 0 && atomic_load(&b->working) == 0);
	pthread_mutex_destroy(&b->lock);
}

/* Under lock: written by one thread at a time, so no read-modify-write is needed. */
static void add(atomic_uint *count, unsigned n)
{
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Under lock. */
static void add_spare(struct budget *b, int n)
{
	b->spare += n;
	atomic_store_explicit(&b->surplus, b->spare < 0 ? (unsigned)-b->spare : 0, memory_order_relaxed);
}

/* --- messages --- */

static struct budget_parcel *open_mail(struct budget_member *m, struct budget_ticket **ticket)
{
	pthread_mutex_lock(&m->budget->lock);
	struct list *link = list_shift(&m->mail);
	struct budget_parcel *parcel = link ? container_of(link, struct budget_parcel, link) : NULL;
	*ticket = parcel ? parcel->ticket : NULL;
	if (*ticket) {
		(*ticket)->parcel = NULL;
		parcel->ticket = NULL;
	}
	pthread_mutex_unlock(&m->budget->lock);
	return parcel;
}

/* The member's loop: what has gathered since the message was posted. */
static void message_run(struct message *message)
{
	struct budget_member *m = container_of(message, struct budget_member, message);
	struct budget_parcel *parcel;
	struct budget_ticket *ticket;

	pthread_mutex_lock(&m->budget->lock);
	bool look = m->look;
	m->look = false;
	m->message_posted = false;
	pthread_mutex_unlock(&m->budget->lock);
	while ((parcel = open_mail(m, &ticket)))
		m->ops->arrived(m, parcel, ticket);
	if (look)
		m->ops->look(m);
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
static void tell(struct budget_member *m)
{
	m->look = true;
	post(m);
}

/* Under lock. */
static void tell_others(struct budget_member *than)
{
	list_for_each (link, &than->budget->members) {
		struct budget_member *m = container_of(link, struct budget_member, link);
		if (m != than)
			tell(m);
	}
}

/* --- members --- */

void budget_join(struct budget *b, struct budget_member *m, struct loop *l, const struct budget_ops *ops)
{
	*m = (struct budget_member){.budget = b, .loop = l, .ops = ops, .message.run = message_run};
	list_init(&m->wish);
	list_init(&m->mail);
	pthread_mutex_lock(&b->lock);
	list_append(&b->members, &m->link);
	pthread_mutex_unlock(&b->lock);
}

void budget_leave(struct budget_member *m)
{
	budget_unwish(m);
	pthread_mutex_lock(&m->budget->lock);
	assert(m->standing == 0);
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

	pthread_mutex_lock(&b->lock);
	bool taken = b->spare > 0;
	if (taken) {
		add_spare(b, -1);
		m->held++;
	}
	pthread_mutex_unlock(&b->lock);
	return taken;
}

/* Under lock: there may be room for one more connection. Whoever opens it, the line has it. */
static void tell_of_room(struct budget *b)
{
	if (b->spare <= 0)
		return;
	list_for_each (link, &b->members) {
		struct budget_member *m = container_of(link, struct budget_member, link);
		if (m->standing > 0)
			tell(m);
	}
	if (list_empty(&b->line) && !list_empty(&b->wishes))
		tell(container_of(b->wishes.next, struct budget_member, wish));
}

void budget_give(struct budget_member *m)
{
	struct budget *b = m->budget;

	pthread_mutex_lock(&b->lock);
	assert(m->held > 0);
	m->held--;
	add_spare(b, 1);
	tell_of_room(b);
	pthread_mutex_unlock(&b->lock);
}

void budget_resize(struct budget *b, unsigned size, unsigned max_waiting)
{
	pthread_mutex_lock(&b->lock);
	add_spare(b, (int)size - (int)b->size);
	b->size = size;
	b->max_waiting = max_waiting;
	if (b->spare < 0) {
		list_for_each (link, &b->members)
			tell(container_of(link, struct budget_member, link));
	} else {
		tell_of_room(b);
	}
	pthread_mutex_unlock(&b->lock);
}

/* --- the line --- */

int budget_stand(struct budget_member *m, struct budget_ticket *t, bool first, int64_t fresh_us)
{
	struct budget *b = m->budget;
	int r = 0;

	pthread_mutex_lock(&b->lock);
	unsigned waiting = atomic_load_explicit(&b->waiting, memory_order_relaxed);
	if (waiting >= b->max_waiting && !first) {
		r = -EBUSY;
	} else {
		*t = (struct budget_ticket){.member = m, .fresh_us = fresh_us};
		if (first)
			list_prepend(&b->line, &t->link);
		else
			list_append(&b->line, &t->link);
		m->standing++;
		add(&b->waiting, 1);
		if (waiting == 0)
			tell_others(m);
	}
	pthread_mutex_unlock(&b->lock);
	return r;
}

/* Under lock. */
static void leave_line(struct budget_ticket *t)
{
	list_remove(&t->link);
	t->member->standing--;
	add(&t->member->budget->waiting, -1u);
}

void budget_withdraw(struct budget_ticket *t)
{
	struct budget *b = t->member->budget;

	pthread_mutex_lock(&b->lock);
	if (!list_empty(&t->link))
		leave_line(t);
	if (t->parcel)
		t->parcel->ticket = NULL;
	t->parcel = NULL;
	pthread_mutex_unlock(&b->lock);
}

/* Under lock. */
static void address(struct budget_parcel *parcel, struct budget_member *from, struct budget_member *to)
{
	*parcel = (struct budget_parcel){.to = to};
	from->held--;
	to->held++;
}

/* Under lock. */
static struct budget_ticket *first_that_fits(const struct budget *b, int64_t opened_us)
{
	list_for_each (link, &b->line) {
		struct budget_ticket *t = container_of(link, struct budget_ticket, link);
		if (opened_us >= t->fresh_us)
			return t;
	}
	return NULL;
}

enum budget_fate budget_next(struct budget_member *m, struct budget_parcel *parcel, int64_t opened_us,
			     struct budget_ticket **ours)
{
	struct budget *b = m->budget;
	enum budget_fate fate = BUDGET_KEEP;

	pthread_mutex_lock(&b->lock);
	struct budget_ticket *t = first_that_fits(b, opened_us);
	if (t) {
		leave_line(t);
		fate = t->member == m ? BUDGET_OURS : BUDGET_SEND;
	}
	if (fate == BUDGET_SEND) {
		address(parcel, m, t->member);
		parcel->ticket = t;
		t->parcel = parcel;
	}
	pthread_mutex_unlock(&b->lock);
	*ours = fate == BUDGET_OURS ? t : NULL;
	return fate;
}

void budget_send(struct budget_parcel *parcel)
{
	struct budget_member *to = parcel->to;
	struct budget *b = to->budget;

	pthread_mutex_lock(&b->lock);
	list_append(&to->mail, &parcel->link);
	post(to);
	pthread_mutex_unlock(&b->lock);
}

/* --- wishes --- */

void budget_wish(struct budget_member *m)
{
	struct budget *b = m->budget;

	pthread_mutex_lock(&b->lock);
	if (list_empty(&m->wish)) {
		list_append(&b->wishes, &m->wish);
		add(&b->wished, 1);
		tell_others(m);
	}
	pthread_mutex_unlock(&b->lock);
}

/* Under lock. */
static void stop_wishing(struct budget_member *m)
{
	if (list_empty(&m->wish))
		return;
	list_remove(&m->wish);
	add(&m->budget->wished, -1u);
}

void budget_unwish(struct budget_member *m)
{
	pthread_mutex_lock(&m->budget->lock);
	stop_wishing(m);
	pthread_mutex_unlock(&m->budget->lock);
}

bool budget_next_wish(struct budget_member *m, struct budget_parcel *parcel)
{
	struct budget *b = m->budget;
	struct budget_member *to = NULL;

	pthread_mutex_lock(&b->lock);
	if (!list_empty(&b->wishes))
		to = container_of(b->wishes.next, struct budget_member, wish);
	if (to == m)
		to = NULL;
	if (to) {
		stop_wishing(to);
		address(parcel, m, to);
	}
	pthread_mutex_unlock(&b->lock);
	return to != NULL;
}

/* --- draining --- */

bool budget_drain(struct budget *b)
{
	bool may = atomic_load_explicit(&b->draining, memory_order_relaxed) <
		   atomic_load_explicit(&b->waiting, memory_order_relaxed);

	if (!may)
		return false;
	pthread_mutex_lock(&b->lock);
	add(&b->draining, 1);
	pthread_mutex_unlock(&b->lock);
	return true;
}

void budget_drained(struct budget *b)
{
	pthread_mutex_lock(&b->lock);
	add(&b->draining, -1u);
	pthread_mutex_unlock(&b->lock);
}

/* Random programs: tasks, cancellation, deadlines, shields, scopes, gathers, what comes later. See random.h. */
#include "random.h"

/* Children of n that know of each other. */
static unsigned family(struct node *n, struct node **kin)
{
	unsigned count = 1 + pick(n, KIN);
	struct node **shared = gd_alloc(KIN * sizeof(*shared));
	for (unsigned i = 0; i < count; i++)
		shared[i] = kin[i] = child_of(n);
	for (unsigned i = 0; i < count; i++) {
		kin[i]->kin = shared;
		kin[i]->kin_count = count;
	}
	return count;
}

static void spawn_node(struct node *n, struct node *c)
{
	c->task = chance(n, 8) ? gd_call_later("later", pick(n, 5), run_node, c) : gd_spawn("node", run_node, c);
	must(n, c->task && !c->ended);
}

/* A result is the same for whoever asks, as often as they ask; one that was cancelled before it began has none of its
 * own. */
static void await_node(struct node *n, struct node *c)
{
	gd_deadline by = soon(n);
	int r = gd_await(c->task, by);
	bool its_own = c->ended ? r == c->outcome : gd_ended(c->task) && r == -ECANCELED;
	if (!its_own)
		expect(n, r, by, -EBUSY); /* a sibling awaits it */
	else if (c->ended)
		must(n, gd_await(c->task, GD_NEVER) == r);
}

/* --- life --- */

static void op_spawn(struct node *n)
{
	struct node *kin[KIN];
	unsigned count = family(n, kin), first = pick(n, count);
	for (unsigned i = 0; i < count; i++)
		spawn_node(n, kin[i]);
	must(n, !kin[first]->ended); /* not at once */
	run_within(n);
	for (unsigned i = 0; i < count; i++)
		await_node(n, kin[(first + i) % count]);
}

static void op_leave(struct node *n)
{
	struct node *c = child_of(n);
	spawn_node(n, c);
	if (chance(n, 2))
		gd_yield();
}

static void op_cancel_child(struct node *n)
{
	struct node *c = child_of(n);
	spawn_node(n, c);
	for (unsigned i = pick(n, 4); i > 0; i--)
		gd_yield();
	gd_cancel(c->task);
	await_node(n, c);
}

static void op_cancel_self(struct node *n)
{
	if (!n->task || !chance(n, 4))
		return;
	gd_cancel(n->task);
	must(n, gd_cancelled());
	must(n, gd_sleep(1) == -ECANCELED || n->shields > 0);
}

static void op_cancel_sibling(struct node *n)
{
	if (n->kin_count > 0)
		gd_cancel(n->kin[pick(n, n->kin_count)]->task);
}

static void op_cancel_grandparent(struct node *n)
{
	if (n->parent && n->parent->parent && chance(n, 8))
		gd_cancel(n->parent->parent->task);
}

/* Whoever waits for whom: a circle is refused, and so is a second one who waits. */
static void op_await_kin(struct node *n)
{
	if (n->kin_count == 0)
		return;
	struct node *c = n->kin[pick(n, n->kin_count)];
	if (!c->task)
		return;
	gd_deadline by = gd_in_ms(pick(n, 20));
	int r = gd_await(c->task, by);
	if (c == n)
		must(n, r == -EDEADLK);
	else if (r == -EBUSY || r == -EDEADLK)
		gd_yield();
	else if (!gd_ended(c->task))
		expect(n, r, by, 0);
}

static void op_wait_for(struct node *n)
{
	struct node *c = child_of(n);
	gd_deadline by = soon(n);
	if (by.us < c->by_us)
		c->by_us = by.us;
	int r = gd_wait_for("bounded", run_node, c, by);
	must(n, c->ended || c->outcome == -EINPROGRESS); /* it is awaited, or was never begun */
	if (!c->ended || r != c->outcome)
		expect(n, r, by, 0);
}

/* --- time --- */

static void op_sleep(struct node *n)
{
	int64_t began = now_us(), ms = pick(n, 12);
	int r = expect(n, gd_sleep(ms), GD_NEVER, 0);
	must(n, r < 0 || now_us() - began >= ms * 1000);
}

static void op_yield(struct node *n)
{
	expect(n, gd_yield(), GD_NEVER, 0);
}

static void op_deadline(struct node *n)
{
	int64_t known = n->by_us;
	gd_deadline by = soon(n), before = gd_deadline_push(by);
	if (by.us < n->by_us)
		n->by_us = by.us;
	run_within(n);
	gd_deadline_pop(before);
	n->by_us = known;
}

static void op_shield(struct node *n)
{
	int64_t known = n->by_us;
	gd_shield s;
	gd_deadline by = gd_in_ms(pick(n, 40));
	gd_shield_begin(&s, by);
	n->by_us = n->shields > 0 && known < by.us ? known : by.us;
	n->shields++;
	run_within(n);
	n->shields--;
	n->by_us = known;
	gd_shield_end(&s);
}

static void op_ticker(struct node *n)
{
	gd_ticker *t = gd_ticker_new(1 + pick(n, 5));
	for (unsigned i = pick(n, 4); i > 0; i--) {
		gd_deadline by = soon(n);
		expect(n, gd_ticker_wait(t, by), by, 0);
	}
}

/* --- what is inherited --- */

static void op_local(struct node *n)
{
	uintptr_t before = n->inherited, mine = 1 + pick(n, 1000);
	must(n, gd_local_set(&inherited_key, (void *)mine) == 0);
	n->inherited = mine;
	run_within(n);
	must(n, gd_local_get(&inherited_key) == (void *)mine);
	gd_local_set(&inherited_key, (void *)before);
	n->inherited = before;
}

/* --- scopes --- */

/* What is spawned within has ended behind it, whoever waits for it. */
static void op_scope(struct node *n)
{
	struct board *board = n->board;
	int living = 0, *outer = n->living;
	gd_scope *s = gd_scope_begin();
	if (chance(n, 2))
		n->board = board_new(n);
	n->living = &living;
	for (unsigned i = pick(n, 3); i > 0; i--)
		spawn_node(n, child_of(n));
	run_within(n);
	n->board = board;
	n->living = outer;
	gd_scope_end(s);
	must(n, living == 0);
}

/* A scope that nobody ends, within a child: the one around it does. */
static int leave_scope(void *arg)
{
	struct node *n = arg;
	gd_scope_begin();
	n->board = board_new(n);
	return run_node(n);
}

static void op_leave_scope(struct node *n)
{
	struct node *c = child_of(n);
	gd_task *t = gd_spawn("leaves a scope", leave_scope, c);
	if (chance(n, 2)) {
		int r = gd_await(t, GD_NEVER);
		if (!c->ended || r != c->outcome)
			expect(n, r, GD_NEVER, 0);
	}
}

/* --- gathers --- */

static unsigned add_nodes(struct node *n, gd_gather *g, struct node **children)
{
	unsigned count = 1 + pick(n, KIN);
	for (unsigned i = 0; i < count; i++) {
		children[i] = child_of(n);
		must(n, gd_gather_add(g, "child", run_node, children[i]) == (int)i);
		must(n, gd_gather_result(g, (int)i) == -EINPROGRESS);
	}
	must(n, gd_gather_result(g, (int)count) == -ENOENT);
	return count;
}

static void must_be_theirs(struct node *n, const gd_gather *g, struct node **children, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		must(n, children[i]->ended && gd_gather_result(g, (int)i) == children[i]->outcome);
}

static void op_gather_all(struct node *n)
{
	struct node *children[KIN];
	gd_gather *g = gd_gather_new(GD_ALL);
	unsigned count = add_nodes(n, g, children);
	if (chance(n, 4))
		gd_gather_cancel(g);
	run_within(n);
	gd_deadline by = soon(n);
	if (expect(n, gd_gather_wait(g, by), by, 0) == 0)
		must_be_theirs(n, g, children, count);
}

static void op_gather_fast(struct node *n)
{
	struct node *children[KIN];
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	unsigned count = add_nodes(n, g, children);
	run_within(n);
	gd_deadline by = soon(n);
	int r = gd_gather_wait(g, by);
	bool failed = false, its_own = true;
	for (unsigned i = 0; i < count; i++) {
		failed |= children[i]->ended && children[i]->outcome < 0;
		its_own &= children[i]->ended;
	}
	if (!its_own) {
		expect(n, r, by, 0);
		return;
	}
	must_be_theirs(n, g, children, count);
	must(n, failed || expect(n, r, by, 0) <= 0);
	must(n, !failed || (r < 0 && gd_gather_add(g, "late", run_node, n) == -ECANCELED));
}

static void op_gather_next(struct node *n)
{
	struct node *children[KIN];
	unsigned seen = 0;
	int i;
	gd_gather *g = gd_gather_new(GD_ALL);
	unsigned count = add_nodes(n, g, children);
	gd_deadline by = soon(n);
	while ((i = gd_gather_next(g, by)) >= 0) {
		must(n, children[i]->ended && !children[i]->waited);
		children[i]->waited = true;
		seen++;
		run_within(n);
	}
	must(n, i != -ENOENT || seen == count);
	expect(n, i, by, -ENOENT);
}

/* Children that were added in a scope within the gather's end with it. */
static void op_gather_guests(struct node *n)
{
	struct node *children[KIN];
	int living = 0, *outer = n->living;
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_scope *s = gd_scope_begin();
	n->living = &living;
	unsigned count = add_nodes(n, g, children);
	run_within(n);
	n->living = outer;
	gd_scope_end(s);
	must(n, living == 0);
	for (unsigned i = 0; i < count; i++)
		must(n, gd_gather_result(g, (int)i) != -EINPROGRESS);
	must(n, expect(n, gd_gather_wait(g, GD_NEVER), GD_NEVER, 0) == 0);
}

/* clang-format off */
const struct operation task_operations[] = {
	{"sleep",              6, 0, op_sleep},
	{"yield",              4, 0, op_yield},
	{"spawn",              6, 0, op_spawn},
	{"leave",              4, 0, op_leave},
	{"cancel_child",       4, 0, op_cancel_child},
	{"cancel_self",        2, 0, op_cancel_self},
	{"cancel_sibling",     3, 0, op_cancel_sibling},
	{"cancel_grandparent", 1, 0, op_cancel_grandparent},
	{"await_kin",          3, 0, op_await_kin},
	{"wait_for",           4, 0, op_wait_for},
	{"deadline",           3, 0, op_deadline},
	{"shield",             3, 0, op_shield},
	{"ticker",             2, 0, op_ticker},
	{"local",              3, 0, op_local},
	{"scope",              4, 0, op_scope},
	{"leave_scope",        2, 0, op_leave_scope},
	{"gather_all",         4, 0, op_gather_all},
	{"gather_fast",        4, 0, op_gather_fast},
	{"gather_next",        3, 0, op_gather_next},
	{"gather_guests",      2, 0, op_gather_guests},
	{NULL, 0, 0, NULL},
};
/* clang-format on */

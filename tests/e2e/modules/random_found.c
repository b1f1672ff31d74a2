/* What random programs have found, each by itself: test_handlers_random.py says what each must answer. */
#include <errno.h>
#include <gatherd.h>

/* --- who cleans up, shielded, while its scope ends --- */

struct clean_up {
	bool with_gather;
	int result;
	bool ended; /* the child had, when it was awaited */
};

static int take_time(void *arg)
{
	bool *ended = arg;
	gd_shield s;
	gd_shield_begin(&s, GD_NEVER);
	gd_sleep(30);
	gd_shield_end(&s);
	*ended = true;
	return 7;
}

static int clean_up(void *arg)
{
	struct clean_up *c = arg;
	bool ended = false; /* on the stack that the child writes to */
	gd_gather *g = c->with_gather ? gd_gather_new(GD_ALL) : NULL;
	gd_task *t = g ? NULL : gd_spawn("child", take_time, &ended);
	if (g && gd_gather_add(g, "child", take_time, &ended) < 0)
		return -EIO;
	gd_sleep(60000);
	gd_shield s;
	gd_shield_begin(&s, GD_NEVER);
	gd_sleep(5);
	c->result = g ? gd_gather_wait(g, GD_NEVER) : gd_await(t, GD_NEVER);
	c->ended = ended;
	gd_shield_end(&s);
	return 0;
}

static struct clean_up clean_up_at_the_end(bool with_gather)
{
	struct clean_up c = {.with_gather = with_gather};
	gd_scope *s = gd_scope_begin();
	gd_spawn("cleans up", clean_up, &c);
	gd_sleep(5);
	gd_scope_end(s);
	return c;
}

int clean_ups(gd_request *req)
{
	struct clean_up task = clean_up_at_the_end(false), gather = clean_up_at_the_end(true);
	return gd_reply(
		req, 200,
		gd_list(gd_int(task.result), gd_bool(task.ended), gd_int(gather.result), gd_bool(gather.ended)));
}

/* --- a connection that is written to and given up between two turns of the loop --- */

int cut(gd_request *req)
{
	int r = gd_sleep(5);
	if (r == 0)
		r = gd_stream_begin(req, 200, "text/plain");
	if (r == 0)
		r = gd_stream_printf(req, "half");
	return r < 0 ? r : -EIO;
}

/* --- a scope that a task leaves open, whose own task uses what is around it --- */

static int left = 1;

static int use_what_is_around(void *arg)
{
	gd_semaphore *s = gd_semaphore_named("only");
	(void)arg;
	int r = gd_acquire(s, GD_NEVER);
	if (r < 0)
		return r;
	gd_shield whole;
	gd_shield_begin(&whole, GD_NEVER);
	gd_sleep(30);
	gd_shield_end(&whole);
	left = gd_release(s);
	return 0;
}

static int leave_a_scope(void *arg)
{
	gd_scope_begin();
	gd_spawn("uses what is around", use_what_is_around, arg);
	return gd_sleep(5);
}

int leave(gd_request *req)
{
	left = 1;
	gd_await(gd_spawn("leaves a scope", leave_a_scope, NULL), GD_NEVER);
	return gd_reply(req, 200, gd_null());
}

int left_by(gd_request *req)
{
	return gd_reply(req, 200, gd_int(left));
}

/* A group of tasks as one scope (TaskGroup): one fails, the others are cancelled, and none is left behind. */
#include <errno.h>
#include <gatherd.h>

static int fails(void *arg)
{
	(void)arg;
	gd_sleep(10);
	return -EINVAL;
}

static int waits(void *arg)
{
	int r = gd_sleep(3600 * 1000);
	gd_append(arg, gd_string("the other one ended"));
	return r;
}

int group(gd_request *req)
{
	gd_value *said = gd_list();
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	gd_gather_add(g, "waits", waits, said);
	gd_gather_add(g, "fails", fails, NULL);
	if (gd_gather_wait(g, GD_NEVER) == -EINVAL)
		gd_append(said, gd_string("the group failed"));
	return gd_reply(req, 200, said);
}

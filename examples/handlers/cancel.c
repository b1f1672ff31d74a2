/* Cancelling a task: every suspending call of it says so, its clean-up runs, and whoever awaits it hears of it. */
#include <errno.h>
#include <gatherd.h>

static int patient(void *arg)
{
	gd_value *said = arg;
	gd_append(said, gd_string("waiting"));
	int r = gd_sleep(3600 * 1000);
	if (r == -ECANCELED)
		gd_append(said, gd_string("cancelled"));
	gd_append(said, gd_string("cleaned up"));
	return r;
}

int cancel(gd_request *req)
{
	gd_value *said = gd_list();
	gd_task *t = gd_spawn("patient", patient, said);
	gd_sleep(10);
	gd_cancel(t);
	if (gd_await(t, GD_NEVER) == -ECANCELED)
		gd_append(said, gd_string("awaited"));
	return gd_reply(req, 200, said);
}

/* The first of several (a hedged request): another one is asked where the one before has not answered in time, the
 * first answer counts, and whoever is still at it is cancelled. */
#include <errno.h>
#include <gatherd.h>

struct mirror {
	const char *name;
	int after_ms, takes_ms;
	gd_value *said;
};

static int ask(void *arg)
{
	struct mirror *m = arg;
	int r = gd_sleep(m->after_ms);
	if (r == 0)
		r = gd_sleep(m->takes_ms);
	if (r == -ECANCELED)
		gd_append(m->said, gd_string(gd_format("%s is not waited for", m->name)));
	return r;
}

int first(gd_request *req)
{
	gd_value *said = gd_list();
	struct mirror mirrors[] = {
		{"slow", 0, 3600 * 1000, said}, {"fast", 20, 10, said}, {"spare", 3600 * 1000, 10, said}};
	gd_gather *g = gd_gather_new(GD_ALL);
	for (int i = 0; i < 3; i++)
		gd_gather_add(g, mirrors[i].name, ask, &mirrors[i]);

	int i = gd_gather_next(g, GD_NEVER);
	if (i < 0)
		return i;
	gd_append(said, gd_string(gd_format("%s answered", mirrors[i].name)));
	gd_gather_cancel(g);
	int r = gd_gather_wait(g, GD_NEVER); /* they use `mirrors` until they have ended */
	return r < 0 ? r : gd_reply(req, 200, said);
}

/* Results as they come (as_completed), and in the order in which they were asked for (gather). */
#include <gatherd.h>

static int nap(void *arg)
{
	int n = *(int *)arg;
	int r = gd_sleep(n * 100);
	return r < 0 ? r : n;
}

int completed(gd_request *req)
{
	int naps[] = {3, 1, 2};
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	for (int i = 0; i < 3; i++)
		gd_gather_add(g, "nap", nap, &naps[i]);

	gd_value *ended = gd_list(), *in_order = gd_list();
	for (int i; (i = gd_gather_next(g, GD_NEVER)) >= 0;)
		gd_append(ended, gd_int(gd_gather_result(g, i)));
	for (int i = 0; i < 3; i++)
		gd_append(in_order, gd_int(gd_gather_result(g, i)));
	return gd_reply(req, 200, gd_doc("as they ended", ended, "in order", in_order));
}

/* A background task: each worker polls a service, and its handler answers with what was seen last. */
#include <gatherd.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local char *latest; /* a worker's own: its tasks share it without a lock */

static int poll(void *arg)
{
	(void)arg;
	gd_value *page = gd_http_get(NULL, "pages", "/pages/1");
	if (gd_failed(page))
		return gd_fail_with(page);
	free(latest);
	latest = strdup(gd_to_json(page));
	return 0;
}

int gd_module_start(unsigned worker, unsigned workers)
{
	(void)worker, (void)workers;
	return gd_every("poll", 50, poll, NULL);
}

void gd_module_stop(unsigned worker, unsigned workers)
{
	(void)worker, (void)workers;
	free(latest);
	latest = NULL;
}

int poller(gd_request *req)
{
	if (!latest)
		return gd_fail(-1, 503, "Nothing was seen yet.");
	return gd_reply(req, 200, gd_parse(latest, strlen(latest)));
}

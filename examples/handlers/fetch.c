/* Many pages at once, at most five at a time, each in a safe fetch, over one pool of connections. */
#include <gatherd.h>

enum { PAGES = 20 };

struct fetch {
	gd_semaphore *limit;
	const char *path;
	gd_value *page;
};

static int safe_fetch(void *arg)
{
	struct fetch *f = arg;
	int r = gd_acquire(f->limit, GD_NEVER);
	if (r < 0)
		return r;
	f->page = gd_http_get(NULL, "pages", f->path);
	gd_release(f->limit);
	if (gd_failed(f->page))
		f->page = gd_build("{path: %s, error: 'no such page'}", f->path);
	return 0;
}

int fetch(gd_request *req)
{
	struct fetch all[PAGES];
	gd_semaphore *limit = gd_semaphore_new(5, 0);
	gd_gather *g = gd_gather_new(GD_ALL);
	for (int n = 0; n < PAGES; n++) {
		all[n] = (struct fetch){limit, gd_format("/pages/%d", n), NULL};
		gd_gather_add(g, "safe_fetch", safe_fetch, &all[n]);
	}
	int r = gd_gather_wait(g, GD_NEVER);
	if (r < 0)
		return r;
	gd_value *pages = gd_list();
	for (int n = 0; n < PAGES; n++)
		gd_append(pages, all[n].page);
	return gd_reply(req, 200, pages);
}

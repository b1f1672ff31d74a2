/* PostgreSQL and MongoDB at once: asyncpg and motor in one gather. */
#include <gatherd.h>

int both(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	gd_value *customer = gd_pg_row(g, "shop", "select id, name from customers where id = $1", gd_list(gd_int(1)));
	gd_value *reviews = gd_mongo_find(g, "catalog", "reviews", gd_build("{customer: 1}"),
					  gd_build("{projection: {_id: 0, stars: 1}, sort: {stars: 1}, limit: 10}"));
	int r = gd_gather_wait(g, GD_NEVER);
	if (r < 0)
		return r;
	return gd_reply(req, 200, gd_build("{customer: %p, reviews: %p}", customer, reviews));
}

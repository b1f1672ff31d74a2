/* Transactions and change streams on a replica set: test_handlers_replica.py says what must be asked of it. */
#include <errno.h>
#include <gatherd.h>

struct work {
	int runs, fails;
	gd_value *found;
	gd_cursor *left;
};

static int transfer(void *arg)
{
	struct work *w = arg;
	w->runs++;
	w->found = gd_mongo_find(NULL, "db", "accounts", gd_build("{_id: 1}"), NULL);
	/* No part of it. */
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_mongo_insert_one(g, "db", "audit", gd_build("{_id: 'apart'}"));
	if (gd_gather_wait(g, GD_NEVER) < 0)
		return -EPROTO;
	gd_value *r = gd_mongo_update_one(NULL, "db", "accounts", gd_build("{_id: 1}"), gd_build("{$inc: {n: 1}}"),
					  NULL);
	w->left = gd_mongo_find_stream("db", "many", gd_doc(), NULL);
	gd_next(w->left);
	if (gd_failed(r) < 0)
		return gd_failed(r);
	return w->fails ? gd_fail(-ENOENT, 404, "No such account.") : 5;
}

int transaction(gd_request *req)
{
	struct work w = {0};
	int r = gd_mongo_transaction("db", &(gd_mongo_options){.attempts = 3, .snapshot = true}, transfer, &w);
	gd_value *after = gd_next(w.left);
	gd_mongo_find(NULL, "db", "accounts", gd_doc(), NULL);
	if (r < 0)
		return r;
	return gd_reply(
		req, 200,
		gd_list(gd_int(r), gd_int(w.runs), gd_int((int64_t)gd_count(w.found)), gd_int(gd_failed(after))));
}

int aborted(gd_request *req)
{
	struct work w = {.fails = 1};
	int r = gd_mongo_transaction("db", NULL, transfer, &w);
	return r < 0 ? r : gd_reply(req, 200, gd_null());
}

static int begin_another(void *arg)
{
	struct work w = {0};
	*(int *)arg = gd_mongo_transaction("db", NULL, transfer, &w);
	return 0;
}

int nested(gd_request *req)
{
	int inner = 0;
	int r = gd_mongo_transaction("db", NULL, begin_another, &inner);
	return gd_reply(req, 200, gd_list(gd_int(r), gd_int(inner == -EBUSY)));
}

/* Until it waits for what does not come. */
int changes(gd_request *req)
{
	gd_cursor *c = gd_mongo_watch("db", "accounts", gd_build("[{$match: {operationType: 'insert'}}]"),
				      gd_build("{full_document: 'updateLookup'}"));
	gd_value *list = gd_list(), *v = NULL;
	gd_deadline before = gd_deadline_push(gd_in_ms(300));
	while ((v = gd_next(c)) && gd_failed(v) >= 0)
		gd_append(list, gd_get(v, "fullDocument.n"));
	gd_deadline_pop(before);
	bool late = gd_failed(v) == -ETIMEDOUT;
	/* It goes on all the same. */
	gd_append(list, gd_get(gd_next(c), "fullDocument.n"));
	gd_close(c);
	return gd_reply(req, 200, gd_build("{seen: %p, late: %d}", list, late));
}

int changes_closed(gd_request *req)
{
	gd_cursor *c = gd_mongo_watch("db", NULL, NULL, NULL);
	gd_value *first = gd_value_copy(gd_get(gd_next(c), "fullDocument.n"));
	gd_close(c);
	return gd_reply(req, 200, first);
}

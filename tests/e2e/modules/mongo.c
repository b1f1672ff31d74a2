/* Each function of gatherd.h about MongoDB: test_handlers_mongo.py says what each must answer. The parameter `c` names
 * a collection of the test's own. */
#include <errno.h>
#include <gatherd.h>
#include <string.h>

static const char *mine(gd_request *req)
{
	return gd_to_text(gd_param(req, "c"));
}

/* What failed is told with its status and code. */
static gd_value *told(gd_value *v)
{
	if (gd_failed(v) >= 0)
		return v;
	return gd_build("{status: %d, code: %s, text: %s}", gd_error_status(v), gd_error_code(v), gd_error_text(v));
}

/* --- reading --- */

int reads(gd_request *req)
{
	gd_value *five = gd_doc("customer", gd_int(5));
	gd_value *options = gd_build("{sort: {product: -1}, limit: 2, skip: 1, projection: {product: 1, _id: 0}}");
	gd_value *found = gd_mongo_find(NULL, "db", "reviews", five, options);
	gd_value *one = gd_mongo_find_one(NULL, "db", "products", gd_build("{_id: 'p-7'}"), NULL);
	gd_value *none = gd_mongo_find_one(NULL, "db", "products", gd_build("{_id: 'none'}"), NULL);
	gd_value *groups = gd_mongo_aggregate(
		NULL, "db", "reviews",
		gd_build("[{$match: {stars: {$gte: %d}}}, {$group: {_id: '$stars', n: {$sum: 1}}}, {$sort: {_id: 1}}]",
			 4),
		NULL);
	gd_value *count = gd_mongo_count(NULL, "db", "reviews", gd_doc(), NULL);
	gd_value *some = gd_mongo_count(NULL, "db", "reviews", gd_build("{stars: {$in: [1, 2]}}"),
					gd_doc("limit", gd_int(50)));
	gd_value *names = gd_mongo_distinct(NULL, "db", "reviews", "stars", gd_doc());
	return gd_reply(req, 200,
			gd_build("{found: %p, one: %p, none: %p, groups: %p, count: %p, some: %p, names: %p}", found,
				 gd_get(one, "name"), none, groups, count, some, names));
}

/* All at once; one of them fails. */
int gathered(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_value *counts[5];
	for (int i = 0; i < 5; i++)
		counts[i] = gd_mongo_count(g, "db", "reviews", gd_build("{stars: %d}", i + 1), NULL);
	gd_value *bad = gd_mongo_find(g, "db", "reviews", NULL, NULL);
	gd_value *pending = gd_doc("v", counts[0]);
	int r = gd_gather_wait(g, GD_NEVER);
	return gd_reply(req, 200,
			gd_build("{r: %d, early: %d, counts: [%p, %p, %p, %p, %p], bad: %p}", r, gd_failed(pending),
				 counts[0], counts[1], counts[2], counts[3], counts[4], told(bad)));
}

/* --- writing --- */

int inserts(gd_request *req)
{
	const char *c = mine(req);
	gd_value *one = gd_mongo_insert_one(NULL, "db", c, gd_doc("name", gd_string("first"), "n", gd_int(1)));
	gd_value *id = gd_get(one, "inserted_id");
	/* An ObjectId stays one. */
	gd_value *again = gd_mongo_find_one(NULL, "db", c, gd_doc("_id", id), NULL);
	gd_value *by_text = gd_mongo_find_one(NULL, "db", c, gd_doc("_id", gd_object_id(gd_to_text(id))), NULL);
	gd_value *as_text = gd_mongo_find_one(NULL, "db", c, gd_doc("_id", gd_string(gd_to_text(id))), NULL);
	gd_value *many = gd_mongo_insert_many(NULL, "db", c, gd_build("[{_id: 1, n: 2}, {_id: 2, n: 3}]"), NULL);
	gd_value *twice = gd_mongo_insert_one(NULL, "db", c, gd_doc("_id", gd_int(1)));
	gd_value *some = gd_mongo_insert_many(NULL, "db", c, gd_build("[{_id: 3}, {_id: 1}, {_id: 4}]"), NULL);
	gd_value *left = gd_mongo_count(NULL, "db", c, gd_doc(), NULL);
	return gd_reply(
		req, 200,
		gd_build("{id: %d, again: %p, by_text: %p, as_text: %p, many: %p, twice: %p, some: %p, left: %p}",
			 (int)strlen(gd_to_text(id)), gd_get(again, "name"), gd_get(by_text, "n"), as_text, many,
			 told(twice), told(some), left));
}

/* Returned as it is, a failure has its status. */
int duplicate(gd_request *req)
{
	const char *c = mine(req);
	gd_mongo_insert_one(NULL, "db", c, gd_doc("_id", gd_int(1)));
	gd_value *twice = gd_mongo_insert_one(NULL, "db", c, gd_doc("_id", gd_int(1)));
	return gd_failed(twice) < 0 ? gd_fail_with(twice) : gd_reply(req, 200, twice);
}

int updates(gd_request *req)
{
	const char *c = mine(req);
	gd_mongo_insert_many(NULL, "db", c, gd_build("[{_id: 1, n: 1}, {_id: 2, n: 2}, {_id: 3, n: 3}]"), NULL);
	gd_value *one = gd_mongo_update_one(NULL, "db", c, gd_build("{_id: 1}"), gd_build("{$set: {a: %s}}", "x"),
					    NULL);
	gd_value *many = gd_mongo_update_many(NULL, "db", c, gd_build("{n: {$gte: 2}}"), gd_build("{$inc: {n: 10}}"),
					      NULL);
	gd_value *none = gd_mongo_update_one(NULL, "db", c, gd_build("{_id: 9}"), gd_build("{$set: {a: 1}}"), NULL);
	gd_value *upsert = gd_mongo_update_one(NULL, "db", c, gd_build("{_id: 9}"), gd_build("{$set: {a: 1}}"),
					       gd_build("{upsert: true}"));
	gd_value *replaced = gd_mongo_replace_one(NULL, "db", c, gd_build("{_id: 3}"), gd_build("{b: [1, {c: 2}]}"),
						  NULL);
	gd_value *deleted = gd_mongo_delete_one(NULL, "db", c, gd_build("{n: {$gt: 0}}"));
	gd_value *left = gd_mongo_find(NULL, "db", c, gd_doc(), gd_build("{sort: {_id: 1}}"));
	gd_value *all = gd_mongo_delete_many(NULL, "db", c, gd_doc());
	return gd_reply(
		req, 200,
		gd_build("{one: %p, many: %p, none: %p, upsert: %p, replaced: %p, deleted: %p, left: %p, all: %p}", one,
			 many, none, upsert, replaced, deleted, left, all));
}

int find_and_modify(gd_request *req)
{
	const char *c = mine(req);
	gd_mongo_insert_many(NULL, "db", c, gd_build("[{_id: 1, n: 1}, {_id: 2, n: 2}, {_id: 3, n: 3}]"), NULL);
	gd_value *before = gd_mongo_find_one_and_update(NULL, "db", c, gd_build("{_id: 1}"), gd_build("{$inc: {n: 1}}"),
							NULL);
	gd_value *after = gd_mongo_find_one_and_update(NULL, "db", c, gd_build("{_id: 1}"), gd_build("{$inc: {n: 1}}"),
						       gd_build("{return: 'after'}"));
	gd_value *none = gd_mongo_find_one_and_update(NULL, "db", c, gd_build("{_id: 8}"), gd_build("{$inc: {n: 1}}"),
						      NULL);
	gd_value *made = gd_mongo_find_one_and_update(NULL, "db", c, gd_build("{_id: 9}"), gd_build("{$set: {n: 9}}"),
						      gd_build("{return: 'after', upsert: true}"));
	gd_value *replaced = gd_mongo_find_one_and_replace(NULL, "db", c, gd_build("{_id: 2}"), gd_build("{m: 1}"),
							   gd_build("{return: 'after'}"));
	gd_value *deleted = gd_mongo_find_one_and_delete(NULL, "db", c, gd_doc("n", gd_build("{$gt: 0}")),
							 gd_build("{sort: {n: -1}}"));
	return gd_reply(req, 200,
			gd_build("{before: %p, after: %p, none: %p, made: %p, replaced: %p, deleted: %p}", before,
				 after, none, made, replaced, deleted));
}

int bulk(gd_request *req)
{
	const char *c = mine(req);
	gd_value *operations = gd_build(
		"[{insert_one: {document: {_id: 1, n: 1}}}, {insert_one: {document: {_id: 2, n: 2}}},"
		"{update_one: {filter: {_id: 1}, update: {$inc: {n: 5}}}},"
		"{update_many: {filter: {}, update: {$set: {seen: true}}}},"
		"{replace_one: {filter: {_id: 7}, replacement: {r: 1}, upsert: true}},"
		"{delete_one: {filter: {_id: 2}}}]");
	gd_value *done = gd_mongo_bulk(NULL, "db", c, operations, NULL);
	gd_value *left = gd_mongo_find(NULL, "db", c, gd_doc(), gd_build("{sort: {_id: 1}}"));
	gd_value *bad = gd_mongo_bulk(
		NULL, "db", c, gd_build("[{insert_one: {document: {_id: 1}}}, {insert_one: {document: {_id: 5}}}]"),
		gd_build("{ordered: false}"));
	gd_value *rest = gd_mongo_count(NULL, "db", c, gd_build("{_id: 5}"), NULL);
	return gd_reply(req, 200, gd_build("{done: %p, left: %p, bad: %p, rest: %p}", done, left, told(bad), rest));
}

/* More than one command can carry. */
int large(gd_request *req)
{
	enum { COUNT = 40, SIZE = 600000 };
	const char *c = mine(req);
	char *text = gd_alloc(SIZE + 1);
	memset(text, 'x', SIZE);
	gd_value *documents = gd_list();
	for (int i = 0; i < COUNT; i++)
		gd_append(documents, gd_doc("_id", gd_int(i), "t", gd_string(text)));
	gd_value *r = gd_mongo_insert_many(NULL, "db", c, documents, NULL);
	gd_value *n = gd_mongo_count(NULL, "db", c, gd_doc(), NULL);
	gd_value *gone = gd_mongo_delete_many(NULL, "db", c, gd_doc());
	return gd_reply(req, 200, gd_build("{inserted: %p, n: %p, gone: %p}", gd_get(r, "inserted_count"), n, gone));
}

/* --- one by one --- */

int stream(gd_request *req)
{
	gd_cursor *c = gd_mongo_find_stream("db", "points", gd_doc(), gd_build("{sort: {n: 1}, batch_size: 20}"));
	int64_t sum = 0, count = 0;
	bool in_order = true;
	for (gd_value *v; (v = gd_next(c)) && !gd_failed(v); count++) {
		int64_t n = gd_to_int(gd_get(v, "n"), -1);
		in_order &= n == count;
		sum += n;
	}
	gd_value *after = gd_next(c);
	/* One that is left before its end, and one that its scope closes. */
	gd_cursor *early = gd_mongo_aggregate_stream("db", "points", gd_build("[{$sort: {n: -1}}]"), NULL);
	gd_value *first = gd_value_copy(gd_get(gd_next(early), "n"));
	gd_close(early);
	gd_value *closed = gd_next(early);
	gd_mongo_find_stream("db", "points", gd_doc(), NULL);
	return gd_reply(req, 200,
			gd_build("{count: %lld, sum: %lld, in_order: %d, after: %d, first: %p, closed: %d}",
				 (long long)count, (long long)sum, in_order, after != NULL, first, closed != NULL));
}

/* As many at once as the pool has connections, each of them held. */
static int one_stream(void *arg)
{
	gd_cursor *c = gd_mongo_find_stream("db", "points", gd_doc(), gd_build("{batch_size: 50}"));
	int n = 0;
	for (gd_value *v; (v = gd_next(c)); n++)
		if (gd_failed(v) < 0 || gd_yield() < 0)
			return gd_failed(v);
	*(int *)arg += n;
	return 0;
}

int streams(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	int total = 0;
	for (int i = 0; i < 10; i++)
		gd_gather_add(g, "stream", one_stream, &total);
	int r = gd_gather_wait(g, GD_NEVER);
	return gd_reply(req, 200, gd_build("{r: %d, total: %d}", r, total));
}

/* --- what is wrong --- */

int mistakes(gd_request *req)
{
	gd_value *all[] = {
		gd_mongo_find(NULL, "db", "reviews", NULL, NULL),
		gd_mongo_find(NULL, "db", NULL, gd_doc(), NULL),
		gd_mongo_find(NULL, "nowhere", "reviews", gd_doc(), NULL),
		gd_mongo_find(NULL, "db", "reviews", gd_doc(), gd_build("{limits: 1}")),
		gd_mongo_find(NULL, "db", "reviews", gd_build("{$nor: 3}"), NULL),
		gd_mongo_find(NULL, "db", "reviews", gd_get(gd_doc(), "absent"), NULL),
		gd_mongo_find(NULL, "db", "reviews", gd_failure(-EBUSY, 429, "mine"), NULL),
		gd_mongo_delete_many(NULL, "db", "reviews", gd_null()),
		gd_mongo_update_one(NULL, "db", "reviews", gd_doc(), gd_doc("a", gd_int(1)), NULL),
		gd_mongo_replace_one(NULL, "db", "reviews", gd_doc(), gd_build("{$set: {a: 1}}"), NULL),
		gd_mongo_distinct(NULL, "db", "reviews", NULL, gd_doc()),
		gd_next(gd_mongo_find_stream("db", "reviews", NULL, NULL)),
		gd_next(gd_mongo_aggregate_stream("db", "reviews", gd_build("[{$out: 'x'}]"), NULL)),
	};
	gd_value *list = gd_list();
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		gd_append(list, told(all[i]));
	return gd_reply(req, 200, list);
}

/* What a request brings is data, wherever the handler puts it. */
int by_parameter(gd_request *req)
{
	gd_value *found = gd_mongo_find(NULL, "db", "reviews", gd_doc("customer", gd_param(req, "q")), NULL);
	return gd_failed(found) < 0 ? gd_fail_with(found) : gd_reply(req, 200, gd_int((int64_t)gd_count(found)));
}

int whole_filter(gd_request *req)
{
	gd_value *found = gd_mongo_count(NULL, "db", "reviews", gd_param(req, "q"), NULL);
	return gd_failed(found) < 0 ? gd_fail_with(found) : gd_reply(req, 200, found);
}

int expression(gd_request *req)
{
	gd_value *found = gd_mongo_aggregate(
		NULL, "db", "products",
		gd_list(gd_build("{$match: {_id: 'p-7'}}"),
			gd_doc("$project", gd_build("{_id: 0, said: %p, own: '$name'}", gd_param(req, "q")))),
		NULL);
	return gd_failed(found) < 0 ? gd_fail_with(found) : gd_reply(req, 200, found);
}

int script(gd_request *req)
{
	gd_value *found = gd_mongo_find(NULL, "db", "reviews", gd_doc("$where", gd_param(req, "q")), NULL);
	return gd_failed(found) < 0 ? gd_fail_with(found) : gd_reply(req, 200, found);
}

/* --- what a body may bring --- */

int store(gd_request *req)
{
	gd_value *r = gd_mongo_insert_one(NULL, "db", mine(req), gd_body_json(req));
	if (gd_failed(r) < 0)
		return gd_fail_with(r);
	gd_value *id = gd_get(r, "inserted_id");
	return gd_reply(
		req, 201,
		gd_mongo_find_one(NULL, "db", mine(req), gd_doc("_id", id), gd_build("{projection: {_id: 0}}")));
}

int filter_by_body(gd_request *req)
{
	gd_value *n = gd_mongo_count(NULL, "db", "reviews", gd_body_json(req), NULL);
	return gd_failed(n) < 0 ? gd_fail_with(n) : gd_reply(req, 200, n);
}

int filter_by_member(gd_request *req)
{
	gd_value *n = gd_mongo_count(NULL, "db", "reviews", gd_doc("customer", gd_get(gd_body_json(req), "customer")),
				     NULL);
	return gd_failed(n) < 0 ? gd_fail_with(n) : gd_reply(req, 200, n);
}

int update_by_body(gd_request *req)
{
	gd_value *r = gd_mongo_update_many(NULL, "db", mine(req), gd_doc(), gd_body_json(req), NULL);
	return gd_failed(r) < 0 ? gd_fail_with(r) : gd_reply(req, 200, r);
}

int pipeline_by_body(gd_request *req)
{
	gd_value *r = gd_mongo_aggregate(NULL, "db", "reviews", gd_body_json(req), NULL);
	return gd_failed(r) < 0 ? gd_fail_with(r) : gd_reply(req, 200, r);
}

int filter_by_form(gd_request *req)
{
	gd_value *n = gd_mongo_count(NULL, "db", "reviews", gd_body_form(req), NULL);
	return gd_failed(n) < 0 ? gd_fail_with(n) : gd_reply(req, 200, n);
}

int member_by_form(gd_request *req)
{
	gd_value *n = gd_mongo_count(NULL, "db", "reviews", gd_doc("customer", gd_body_form(req)), NULL);
	return gd_failed(n) < 0 ? gd_fail_with(n) : gd_reply(req, 200, n);
}

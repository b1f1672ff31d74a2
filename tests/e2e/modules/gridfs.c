/* Files in MongoDB, its transactions and its change streams: test_handlers_gridfs.py says what each must answer. */
#include <errno.h>
#include <gatherd.h>
#include <string.h>

/* What failed is told with its status and code. */
static gd_value *told(gd_value *v)
{
	if (gd_failed(v) >= 0)
		return v;
	return gd_build("{status: %d, code: %s, text: %s}", gd_error_status(v), gd_error_code(v), gd_error_text(v));
}

static const char *bucket_of(gd_request *req)
{
	return gd_to_text(gd_param(req, "b"));
}

/* The body, in pieces of p bytes. */
int upload(gd_request *req)
{
	size_t len, piece = (size_t)gd_to_int(gd_param(req, "p"), 1000);
	const char *body = gd_body(req, &len);
	gd_gridfs *f = gd_gridfs_create("db", bucket_of(req), "a file", gd_build("{owner: %s, n: [1]}", "me"));
	for (size_t at = 0; at < len; at += piece) {
		int r = gd_gridfs_write(f, body + at, len - at < piece ? len - at : piece);
		if (r < 0)
			return r;
	}
	gd_value *done = gd_gridfs_finish(f);
	gd_value *twice = gd_gridfs_finish(f);
	int late = gd_gridfs_write(f, "x", 1);
	if (gd_failed(done) < 0)
		return gd_fail_with(done);
	if (gd_failed(twice) != -EINVAL || late != -EINVAL)
		return gd_fail(-EPROTO, 500, "it can be finished twice");
	return gd_reply(req, 201, done);
}

/* Its bytes as they come. */
int download(gd_request *req)
{
	gd_cursor *c = gd_gridfs_read("db", bucket_of(req), gd_param(req, "id"));
	gd_value *chunk = gd_next(c);
	if (gd_failed(chunk) < 0 && chunk)
		return gd_fail_with(chunk);
	int r = gd_stream_begin(req, 200, "application/octet-stream");
	for (; r == 0 && chunk; chunk = gd_next(c)) {
		size_t len;
		const void *p = gd_to_bytes(chunk, &len);
		if (gd_failed(chunk) < 0 || gd_kind_of(chunk) != GD_BYTES)
			return gd_fail_with(chunk);
		r = gd_stream_write(req, p, len);
	}
	return r < 0 ? r : gd_stream_end(req);
}

/* How far it comes. */
int verify(gd_request *req)
{
	gd_cursor *c = gd_gridfs_read("db", bucket_of(req), gd_param(req, "id"));
	gd_value *chunk;
	int n = 0;
	while ((chunk = gd_next(c)) && gd_failed(chunk) >= 0)
		n++;
	return gd_reply(req, 200, gd_build("{chunks: %d, end: %p}", n, chunk ? told(chunk) : gd_null()));
}

int removed(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_value *gone = gd_gridfs_delete(g, "db", bucket_of(req), gd_param(req, "id"));
	int r = gd_gather_wait(g, GD_NEVER);
	return r < 0 ? r : gd_reply(req, 200, gone);
}

/* One that is left, and one that fails, leave nothing. */
int unfinished(gd_request *req)
{
	size_t len = 600000;
	char *bytes = gd_alloc(len);
	gd_scope *s = gd_scope_begin();
	gd_gridfs *f = gd_gridfs_create("db", bucket_of(req), "never", NULL);
	int r = gd_gridfs_write(f, bytes, len);
	gd_value *meanwhile = gd_mongo_count(NULL, "db", gd_format("%s.chunks", bucket_of(req)), gd_doc(), NULL);
	int64_t n = gd_to_int(meanwhile, -1);
	gd_scope_end(s);
	if (r < 0)
		return r;
	return gd_reply(req, 200, gd_build("{meanwhile: %lld}", (long long)n));
}

/* Left to the request's end, so that debug mode tells of it. */
int forgotten(gd_request *req)
{
	gd_gridfs *f = gd_gridfs_create("db", bucket_of(req), "never", NULL);
	int r = gd_gridfs_write(f, "abc", 3);
	return r < 0 ? r : gd_reply(req, 200, gd_null());
}

/* The client will not wait for it. */
int abandoned(gd_request *req)
{
	size_t len = 600000;
	gd_gridfs *f = gd_gridfs_create("db", bucket_of(req), "never", NULL);
	int r = gd_gridfs_write(f, gd_alloc(len), len);
	if (r == 0)
		r = gd_sleep(60000);
	gd_value *done = gd_gridfs_finish(f);
	return r < 0 ? r : gd_reply(req, 200, done);
}

int mistakes(gd_request *req)
{
	gd_value *all[] = {
		gd_gridfs_finish(gd_gridfs_create("db", NULL, NULL, NULL)),
		gd_gridfs_finish(gd_gridfs_create("nowhere", NULL, "x", NULL)),
		gd_gridfs_finish(gd_gridfs_create("db", NULL, "x", gd_failure(-EBUSY, 429, "mine"))),
		gd_gridfs_finish(NULL),
		gd_next(gd_gridfs_read("db", NULL, NULL)),
		gd_next(gd_gridfs_read("nowhere", NULL, gd_int(1))),
		gd_next(gd_gridfs_read("db", "none", gd_int(1))),
		gd_gridfs_delete(NULL, "db", NULL, NULL),
	};
	gd_value *list = gd_list();
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		gd_append(list, told(all[i]));
	gd_append(list, gd_int(gd_gridfs_write(NULL, "", 0)));
	gd_append(list, gd_int(gd_gridfs_write(gd_gridfs_create("nowhere", NULL, "x", NULL), "", 0)));
	return gd_reply(req, 200, list);
}

/* --- what this server does not have --- */

static int never(void *arg)
{
	*(int *)arg += 1;
	return 0;
}

int transaction(gd_request *req)
{
	int runs = 0;
	int r = gd_mongo_transaction("db", &(gd_mongo_options){.attempts = 3}, never, &runs);
	int no_function = gd_mongo_transaction("db", NULL, NULL, NULL);
	int no_source = gd_mongo_transaction("nowhere", NULL, never, &runs);
	return gd_reply(req, 200, gd_list(gd_int(r), gd_int(no_function), gd_int(no_source), gd_int(runs)));
}

int transaction_fails(gd_request *req)
{
	int runs = 0;
	int r = gd_mongo_transaction("db", NULL, never, &runs);
	return r < 0 ? r : gd_reply(req, 200, gd_null());
}

int watching(gd_request *req)
{
	gd_value *all[] = {
		gd_next(gd_mongo_watch("db", "reviews", NULL, NULL)),
		gd_next(gd_mongo_watch("db", NULL, gd_build("[{$match: {a: 1}}]"), gd_build("{full_documents: 1}"))),
		gd_next(gd_mongo_watch("nowhere", NULL, NULL, NULL)),
		gd_next(gd_mongo_watch("db", NULL, gd_failure(-EBUSY, 429, "mine"), NULL)),
	};
	gd_value *list = gd_list();
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		gd_append(list, told(all[i]));
	return gd_reply(req, 200, list);
}

/* Files in MongoDB for handlers. */
#include <errno.h>

#include "drivers/mongo/calls/gridfs.h"
#include "handlers/module/holds.h"
#include "handlers/module/mongo.h"
#include "handlers/module/status.h"

/* --- uploads --- */

struct gd_gridfs {
	struct thing thing;
	struct mongo_call *call; /* NULL: it never began */
	struct mongo_gridfs_upload upload;
	bool open;
	struct users users; /* a task that is in it */
	struct error error; /* errnum below 0: why it is not to be had */
};

/* Suspends (shielded). */
static void close_upload(struct gd_gridfs *f)
{
	struct shield whole;

	if (!f->open)
		return;
	f->open = false;
	users_enter(&f->users); /* whoever ends its scope meanwhile waits for this, too */
	task_shield_fully(&whole);
	mongo_gridfs_upload_done(&f->upload);
	task_unshield(&whole);
	scope_forget(&f->thing);
	users_leave(&f->users);
}

/* Of one that failed it was told already. */
static void end_forgotten(struct thing *t)
{
	struct gd_gridfs *f = container_of(t, struct gd_gridfs, thing);

	users_await(&f->users, DEADLINE_NEVER); /* of scopes around this one; the source's timeout bounds that */
	if (f->open && f->error.errnum >= 0)
		hold_left_open(scope_try(), "upload");
	close_upload(f);
}

static gd_gridfs *failed_upload(struct gd_scope *s, const struct error *e)
{
	struct gd_gridfs *f = arena_zalloc(s->arena, sizeof(*f));

	f->error = *e;
	return f;
}

gd_gridfs *gd_gridfs_create(const char *source, const char *bucket, const char *filename, gd_value *metadata)
{
	gd_value *failed;
	struct mongo_call *c = mongo_call_new(__func__, source, NULL, &failed);

	if (!c)
		return failed && failed->scope ? failed_upload(failed->scope, failed->error) : NULL;
	struct gd_scope *s = c->call.scope;
	struct gd_gridfs *f = arena_zalloc(s->arena, sizeof(*f));
	const char *name = filename ? arena_strdup(s->arena, filename) : NULL;
	f->call = c;
	if (!mongo_take(c, &c->filter, metadata, "the metadata", true) ||
	    mongo_gridfs_create(&f->upload, &c->target, bucket, name, c->filter, &f->error) < 0)
		return failed_upload(s, c->call.error.errnum ? &c->call.error : &f->error);
	f->open = true;
	scope_add(s, &f->thing, end_forgotten);
	return f;
}

/* May the caller go on with it? Returns 0 or -errno with e filled. */
static int enter(gd_gridfs *f, const char *function, struct error *e)
{
	if (!f)
		return error_set(e, -EINVAL, 500, NULL, "%s: no file was given", function);
	if (f->call && !scope_of_worker(f->call->call.scope->env->worker, function))
		return error_set(e, -EPERM, 500, NULL, "%s: the file is another worker's", function);
	if (f->error.errnum < 0)
		*e = f->error;
	else if (f->users.count > 0)
		error_set(e, -EBUSY, 500, NULL, "%s: another task writes this file", function);
	else if (!f->open)
		error_set(e, -EINVAL, 500, NULL, "%s: the file is finished", function);
	return e->errnum;
}

/* What is stored of it is removed by whoever closes it. Returns r. */
static int note(struct gd_gridfs *f, int r, struct error *e)
{
	if (r >= 0)
		return r;
	if (e->errnum >= 0)
		error_of_errno(e, r);
	f->error = *e;
	if (r != -ECANCELED)
		scope_fail(f->call->call.scope, e);
	return r;
}

int gd_gridfs_write(gd_gridfs *f, const void *p, size_t len)
{
	struct gd_scope *s = scope_here(__func__);
	struct error e = ERROR_INIT;

	if (!s)
		return -EPERM;
	int r = enter(f, __func__, &e);
	if (r < 0)
		return scope_fail(s, &e);
	users_enter(&f->users);
	r = mongo_gridfs_write(&f->upload, p, len, &e);
	users_leave(&f->users);
	return note(f, r, &e);
}

gd_value *gd_gridfs_finish(gd_gridfs *f)
{
	struct gd_scope *s = scope_here(__func__);
	struct error e = ERROR_INIT;
	struct result *out = NULL;

	if (!s)
		return value_outside();
	int r = enter(f, __func__, &e);
	if (r == -EBUSY || r == -EPERM || (r < 0 && !(f && f->open)))
		return value_failed(s, &e);
	if (r == 0) {
		users_enter(&f->users);
		r = note(f, mongo_gridfs_finish(&f->upload, &out, &e), &e);
		scope_note_change(f->call->call.scope, e.change, r >= 0);
		users_leave(&f->users);
	}
	close_upload(f);
	return r < 0 ? value_failed(s, &e) : value_of_result(s, out);
}

/* --- downloads --- */

struct download {
	struct gd_cursor base;
	struct mongo_gridfs_download download;
};

static int next_chunk(struct gd_cursor *c, struct value *out, struct error *e)
{
	const void *p = NULL;
	size_t len = 0;
	int r = mongo_gridfs_read(&container_of(c, struct download, base)->download, &p, &len, e);

	if (r > 0)
		*out = value_bytes_of(p, len);
	return r;
}

static void close_download(struct gd_cursor *c)
{
	mongo_gridfs_close(&container_of(c, struct download, base)->download);
}

static const struct cursor_ops download_ops = {.next = next_chunk, .close = close_download};

gd_cursor *gd_gridfs_read(const char *source, const char *bucket, gd_value *id)
{
	gd_value *failed;
	struct mongo_call *c = mongo_call_new(__func__, source, NULL, &failed);

	if (!c)
		return mongo_cursor_without_call(failed);
	struct download *d = arena_zalloc(c->call.scope->arena, sizeof(*d));
	struct error *e = &c->call.error;
	if (!mongo_take(c, &c->filter, id, "the _id", false) ||
	    mongo_gridfs_open(&d->download, &c->target, bucket, c->filter, e) < 0)
		return cursor_failed(c->call.scope, e);
	cursor_open(&d->base, c->call.scope, &download_ops);
	return &d->base;
}

/* --- removal --- */

static int run_delete(struct call *call)
{
	struct mongo_call *c = container_of(call, struct mongo_call, call);
	int r = mongo_gridfs_delete(&c->target, c->field, c->filter, &call->result, &call->error);
	call->changes = r >= 0;
	return r;
}

gd_value *gd_gridfs_delete(gd_gather *g, const char *source, const char *bucket, gd_value *id)
{
	gd_value *failed;
	struct mongo_call *c = mongo_call_new(__func__, source, NULL, &failed);

	if (!c)
		return failed;
	c->field = bucket ? arena_strdup(c->call.scope->arena, bucket) : NULL;
	return mongo_call_start(c, g, __func__,
				mongo_take(c, &c->filter, id, "the _id", false) ? run_delete : mongo_fail_call);
}

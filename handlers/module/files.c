/* Files for handlers: arguments are taken here, drivers/files does the rest. */
#include <errno.h>

#include "drivers/files/driver.h"
#include "drivers/files/open.h"
#include "drivers/files/run.h"
#include "drivers/files/work.h"
#include "handlers/module/internal.h"

/* --- whole files --- */

struct files_call {
	struct call call;
	enum files_action_kind kind;
	const char *path;
	const struct value *content; /* of write and append */
};

static int run_files(struct call *call)
{
	const struct files_call *c = container_of(call, struct files_call, call);
	int r = files_run(call->client, c->kind, c->path, c->content, &call->options, &call->result, &call->error);
	call->changes = r >= 0 && files_action_writes(c->kind);
	return r;
}

/* The content was wrong; the call's error says how. */
static int fail_call(struct call *c)
{
	return c->error.errnum;
}

static gd_value *start(gd_gather *g, const char *function, const char *source, enum files_action_kind kind,
		       const char *path, gd_value *content)
{
	gd_value *failed;
	struct files_call *c = call_new(sizeof(*c), function, source, &files_driver, &failed);

	if (!c)
		return failed;
	c->kind = kind;
	c->path = path ? arena_strdup(c->call.scope->arena, path) : NULL;
	if (kind != ACTION_WRITE && kind != ACTION_APPEND)
		return call_start(&c->call, g, function, run_files);
	c->content = value_use(content, "the content", &c->call.error);
	return call_start(&c->call, g, function, c->content ? run_files : fail_call);
}

gd_value *gd_read_file(gd_gather *g, const char *source, const char *path)
{
	return start(g, __func__, source, ACTION_READ, path, NULL);
}

gd_value *gd_stat_file(gd_gather *g, const char *source, const char *path)
{
	return start(g, __func__, source, ACTION_STAT, path, NULL);
}

gd_value *gd_list_folder(gd_gather *g, const char *source, const char *path)
{
	return start(g, __func__, source, ACTION_LIST, path, NULL);
}

gd_value *gd_write_file(gd_gather *g, const char *source, const char *path, gd_value *content)
{
	return start(g, __func__, source, ACTION_WRITE, path, content);
}

gd_value *gd_append_file(gd_gather *g, const char *source, const char *path, gd_value *content)
{
	return start(g, __func__, source, ACTION_APPEND, path, content);
}

gd_value *gd_remove_file(gd_gather *g, const char *source, const char *path)
{
	return start(g, __func__, source, ACTION_REMOVE, path, NULL);
}

/* --- open files --- */

struct gd_file {
	struct thing thing;
	struct call call;       /* source, options, and what went wrong last */
	struct open_file *file; /* NULL: it could not be opened, which call.error says */
	struct users users;     /* a task in one of the functions below */
};

static void end_file(struct thing *t)
{
	struct gd_file *f = container_of(t, struct gd_file, thing);

	users_await(&f->users, DEADLINE_NEVER); /* of scopes around this one; the source's timeout bounds that */
	open_file_free(f->file);
}

/* Suspends. */
static int open_it(struct gd_file *f, const char *path, gd_open_mode mode)
{
	static const enum open_mode modes[] = {
		[GD_OPEN_READ] = OPEN_READ,
		[GD_OPEN_WRITE] = OPEN_WRITE,
		[GD_OPEN_READ_WRITE] = OPEN_READ_WRITE,
		[GD_OPEN_APPEND] = OPEN_APPEND,
	};
	struct call *c = &f->call;

	if ((unsigned)mode >= ARRAY_SIZE(modes))
		return error_set(&c->error, -EINVAL, 500, NULL, "gd_file_open: there is no mode %d", (int)mode);
	int r = call_acquire(c);
	if (r < 0)
		return r;
	r = open_file_new(&f->file, c->client, path, modes[mode], &c->options, &c->error);
	call_release(c);
	return r;
}

gd_file *gd_file_open(const char *source, const char *path, gd_open_mode mode)
{
	gd_value *failed;
	struct call *c = call_new(sizeof(*c), __func__, source, &files_driver, &failed);

	if (!c && !failed)
		return NULL;
	struct gd_scope *s = c ? c->scope : failed->scope;
	struct gd_file *f = arena_zalloc(s->arena, sizeof(*f));
	if (c) {
		f->call = *c;
		open_it(f, path, mode);
	} else {
		f->call.error = *failed->error;
		f->call.scope = s;
	}
	scope_add(s, &f->thing, end_file);
	return f;
}

/* What a call on f has failed with, remembered for the reply; r where the task was cancelled itself. */
static int tell(int r, const struct error *e)
{
	struct gd_scope *s = scope_try();

	if (s && !(r == -ECANCELED && task_cancelled()))
		scope_fail(s, e);
	return r;
}

/* Suspends. May f be used? A file that could not be opened fails with what opening it failed with. */
static int begin(gd_file *f, const void *p, size_t len, const char *function)
{
	struct gd_scope *s = f ? scope_of_worker(f->call.scope->env->worker, function) : scope_here(function);

	if (!s)
		return -EPERM;
	if (!f || (!p && len))
		return -EINVAL;
	if (f->users.count > 0) {
		struct error e;
		return tell(error_set(&e, -EBUSY, 500, NULL, "%s: another task is using the file", function), &e);
	}
	users_enter(&f->users);
	int r = f->file ? call_acquire(&f->call) : f->call.error.errnum;
	if (r < 0) {
		tell(r, &f->call.error);
		users_leave(&f->users);
	}
	return r;
}

static int64_t finish(gd_file *f, int64_t r, const struct error *e)
{
	call_release(&f->call);
	users_leave(&f->users);
	return r < 0 ? tell((int)r, e) : r;
}

int64_t gd_file_read(gd_file *f, void *p, size_t len)
{
	struct error e;
	int r = begin(f, p, len, __func__);
	return r < 0 ? r : finish(f, open_file_read(f->file, p, len, &e), &e);
}

int64_t gd_file_write(gd_file *f, const void *p, size_t len)
{
	struct error e;
	int r = begin(f, p, len, __func__);
	if (r < 0)
		return r;
	int64_t n = finish(f, open_file_write(f->file, p, len, &e), &e);
	scope_note_change(f->call.scope, CHANGE_NONE, n > 0);
	return n;
}

int64_t gd_file_seek(gd_file *f, int64_t offset, int whence)
{
	struct error e;
	int r = begin(f, NULL, 0, __func__);
	return r < 0 ? r : finish(f, open_file_seek(f->file, offset, whence, &e), &e);
}

int gd_file_close(gd_file *f, bool sync)
{
	struct error e;
	int r = begin(f, NULL, 0, __func__);
	return r < 0 ? r : (int)finish(f, open_file_close(f->file, sync, &e), &e);
}

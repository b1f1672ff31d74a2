/* Files as a kind of source: what drivers/driver.h asks of every kind. All work on the disk is done by jobs of the
 * executor (work.h, file.h). */
#include "drivers/files/driver.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "drivers/files/source.h"
#include "drivers/files/work.h"
#include "drivers/json_result.h"
#include "drivers/value_result.h"

static struct files_source *source_of(struct source *s)
{
	return container_of(s, struct files_source, base);
}

/* --- sources --- */

static void source_check(const struct config_source *config, struct diagnostics *d)
{
	/* config has looked at the folder. */
	(void)config;
	(void)d;
}

/* Another folder may stand at the same path. */
static void source_identity(const struct config_source *config, struct buf *out)
{
	struct stat st;

	if (stat(config->url, &st) < 0)
		return;
	buf_append(out, &st.st_dev, sizeof(st.st_dev));
	buf_append(out, &st.st_ino, sizeof(st.st_ino));
}

static int source_new(struct source **out, const struct config_source *config, struct executor *executor,
		      unsigned workers, struct error *e)
{
	struct files_source *s = mem_zalloc(sizeof(*s));

	(void)workers;
	s->base = (struct source){&files_driver, NULL, config};
	s->executor = executor;
	int r = root_open(&s->root, config->url);
	if (r < 0) {
		free(s);
		return error_set(e, r, 500, NULL, "source %s: %s: %s", config->name, config->url, strerror(-r));
	}
	s->base.name = mem_strdup(config->name);
	*out = &s->base;
	return 0;
}

static void source_free(struct source *source)
{
	if (!source)
		return;
	struct files_source *s = source_of(source);
	root_drop(s->root);
	free(s->base.name);
	free(s);
}

static bool source_ready(struct source *source)
{
	(void)source;
	return true;
}

/* Its folder was there when it was opened, and stays open. */
static void source_state(struct source *source, struct source_state *out)
{
	(void)source;
	*out = (struct source_state){.up = true, .busy = -1};
}

static struct action *action_new(const struct config_source *config, const struct config_step *step,
				 struct action_env *env)
{
	(void)config;
	return (struct action *)files_action_new(step, env);
}

/* --- clients --- */

static int client_open(struct client **out, struct source *source, struct error *e)
{
	struct files_client *c = mem_zalloc(sizeof(*c));

	(void)e;
	c->base = (struct client){&files_driver, source->config};
	c->source = source_of(source);
	*out = &c->base;
	return 0;
}

/* Nobody runs an action any more; jobs that were left behind own what they need. */
static void client_close(struct client *client)
{
	free(client ? files_client_of(client) : NULL);
}

static bool client_idle(const struct client *client)
{
	return container_of(client, const struct files_client, base)->callers == 0;
}

/* --- one run --- */

static void describe(struct error *e, int r)
{
	if (r == -EBUSY)
		error_say(e, r, REASON_FILES_FULL, "the executor's queue is full");
	else if (r == -ETIMEDOUT)
		error_set(e, r, 504, NULL, "the disk took longer than the time-out");
	else
		error_set(e, r, 503, NULL, "%s", strerror(-r));
}

int files_locate(struct error *e, int r, const struct files_client *c, const struct files_place *at)
{
	if (!e)
		return r;
	if (e->errnum == 0)
		describe(e, r);
	struct error inner = *e;
	error_set(e, r, inner.status, inner.public[0] ? inner.public : NULL, "%s%s%ssource %s: %s %s: %s",
		  at->step ? "step " : "", at->step ? at->step : "", at->step ? ", " : "", c->source->base.name,
		  at->verb, at->shown, inner.what);
	e->change = inner.change;
	return r;
}

/* The job for args; NULL: e says why. */
static struct work *prepare(const struct files_client *c, const struct files_action *a, const struct value *args,
			    struct error *e)
{
	struct work *w = work_new(c->source->root, a->kind);

	w->as = a->as;
	w->max_size = files_client_keys(c)->max_size;
	w->from_request = files_action_from_request(a, args);
	if (file_path_fill(&a->path, args, &w->path, e) < 0) {
		work_free(w);
		return NULL;
	}
	(void)buf_cstr(&w->path);
	if (a->kind == ACTION_WRITE || a->kind == ACTION_APPEND)
		content_fill(&a->content, args, &w->content);
	return w;
}

/* What a job that succeeded has brought. */
static struct result *result_of(struct work *w)
{
	if (!w->as_value)
		return json_result_take(&w->json, w->rows);
	struct value_result *r = value_result_new();
	r->text = w->bytes;
	w->bytes = BUF_INIT;
	const char *data = r->text.data ? r->text.data : "";
	r->value = w->is_text ? value_string(data, r->text.len) : value_bytes_of(data, r->text.len);
	return &r->base;
}

int files_run_work(struct files_client *c, struct work *w, int64_t timeout_us, struct result **out, struct error *e)
{
	bool writes = files_action_writes(w->kind);

	c->callers++;
	int r = executor_run(c->source->executor, &w->job, timeout_us ? deadline_in_us(timeout_us) : DEADLINE_NEVER);
	c->callers--;
	if (r < 0) { /* the job frees itself; it may go on */
		describe(e, r);
		if (e && writes && r != -EBUSY)
			error_uncertain(e);
		return r;
	}
	r = w->result;
	if (r == 0)
		*out = result_of(w);
	else if (e)
		*e = w->error;
	work_free(w);
	return r;
}

static int run(struct client *client, const struct action *action, const struct value *args,
	       const struct run_options *options, struct result **out, struct error *e)
{
	struct files_client *c = files_client_of(client);
	const struct files_action *a = (const struct files_action *)action;
	struct work *w = prepare(c, a, args, e);

	if (!w)
		return files_locate(e, -EINVAL, c, &a->place);
	int r = files_run_work(c, w, options->timeout_us, out, e);
	return r < 0 ? files_locate(e, r, c, &a->place) : 0;
}

const struct driver files_driver = {
	.kind = &files_kind,
	.source_check = source_check,
	.source_new = source_new,
	.source_identity = source_identity,
	.source_free = source_free,
	.source_ready = source_ready,
	.action_new = action_new,
	.client_open = client_open,
	.client_close = client_close,
	.client_idle = client_idle,
	.source_state = source_state,
	.run = run,
};

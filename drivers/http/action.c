/* Compiling steps of HTTP sources. */
#include "drivers/http/action.h"

#include <string.h>

#include "drivers/http/origin.h"

static const struct {
	const char *method;
	bool reads;
} methods[] = {
	[ACTION_GET] = {"GET", true},  [ACTION_HEAD] = {"HEAD", true},    [ACTION_POST] = {"POST", false},
	[ACTION_PUT] = {"PUT", false}, [ACTION_PATCH] = {"PATCH", false}, [ACTION_DELETE] = {"DELETE", false},
};

/* "rates.EUR", "[0].name": config has checked it; here it becomes a path. */
static bool compile_pick(struct http_action *a, const struct node *n, struct action_env *env)
{
	const char *why = NULL;

	a->picks = true;
	if (n->kind == NODE_STRING && path_parse(&a->pick, env->arena, n->text, n->len, &why))
		return true;
	diagnostics_error(env->diagnostics, n->at,
			  "pick: expected the way to a member of the answer, such as rates.EUR");
	return false;
}

static bool check_body(const struct http_step_keys *own, bool reads, struct action_env *env)
{
	if (!own->body || !reads)
		return true;
	diagnostics_error(env->diagnostics, own->body->at, "body: a request of this method has none");
	return false;
}

static bool compile_lines(struct http_action *a, const struct config_source *config, const struct config_step *step,
			  struct action_env *env)
{
	const struct http_step_keys *own = step->own;
	struct lines_spec spec = {
		.source = ((const struct http_source_keys *)config->own)->headers,
		.step = own->headers,
		.accept = a->expect == EXPECT_JSON ? "application/json" : NULL,
		.json_body = own->body,
	};

	return lines_compile(&a->lines, &spec, env);
}

/* The source's own mistakes are reported where it is checked. */
static bool compile_target(struct http_action *a, const struct config_source *config, const struct config_step *step,
			   struct action_env *env)
{
	struct http_origin origin;
	const char *why;

	if (http_origin_parse(&origin, env->arena, config->url, &why) < 0)
		origin.base = "";
	return target_compile(&a->target, origin.base, step->action_value,
			      ((const struct http_step_keys *)step->own)->query, env);
}

struct http_action *http_action_new(const struct config_source *config, const struct config_step *step,
				    struct action_env *env)
{
	struct http_action *a = arena_zalloc(env->arena, sizeof(*a));
	const struct http_step_keys *own = step->own;
	bool reads = methods[step->action].reads;
	const char *path = step->action_value->text;

	a->step = step->name;
	a->method = methods[step->action].method;
	a->shown = arena_strndup(env->arena, path, strcspn(path, "?"));
	a->expect = step->expect;
	a->idempotent = http_method_idempotent(a->method);
	env->effect = http_method_safe(a->method) ? ACTION_READS : ACTION_WRITES;
	bool good = check_body(own, reads, env);
	good &= compile_target(a, config, step, env);
	good &= compile_lines(a, config, step, env);
	if (own->pick)
		good &= compile_pick(a, own->pick, env);
	if (own->body && !reads)
		good &= body_compile(&a->body, own->body, env);
	return good ? a : NULL;
}

int http_message_make(struct http_message *out, const struct http_action *a, const struct value *args,
		      const struct run_options *options, uint64_t *random, struct error *e)
{
	out->target = out->body = BUF_INIT;
	out->request = (struct http_request){.method = a->method, .lines = out->lines};
	int r = target_fill(&a->target, args, &out->target, e);
	if (r < 0)
		return r;
	out->request.target = buf_cstr(&out->target);
	if (a->body.count) {
		body_fill(&a->body, args, &out->body);
		out->request.body = out->body.data;
		out->request.body_len = out->body.len;
	}
	r = lines_fill(&a->lines, args, options, options->arena, random, out->lines, e);
	if (r < 0)
		return r;
	out->request.line_count = (size_t)r;
	return 0;
}

void http_message_done(struct http_message *m)
{
	buf_done(&m->target);
	buf_done(&m->body);
}

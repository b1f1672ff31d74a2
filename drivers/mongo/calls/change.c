/* A change becomes statements, or a findAndModify, and its counts become the step's result. */
#include "drivers/mongo/calls/change.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/reason.h"
#include "drivers/mongo/bson/merge.h"
#include "drivers/mongo/calls/find_and_modify.h"
#include "drivers/mongo/calls/statements_send.h"
#include "drivers/mongo/calls/transaction.h"
#include "drivers/mongo/calls/written.h"

#define KEY(s) s, sizeof(s) - 1

/* --- compiling --- */

static const struct node *merge_of(const struct node *update)
{
	const struct node *merge = update->kind == NODE_MAPPING ? node_member(update, "merge") : NULL;

	return merge && update->count == 1 ? merge : NULL;
}

static bool compile_update(struct mongo_change *c, const struct mongo_step_keys *own, struct action_env *env)
{
	const struct node *merge = merge_of(own->update);

	c->merge = merge != NULL;
	c->pipeline = own->update->kind == NODE_SEQUENCE;
	if (own->array_filters && (c->merge || c->pipeline)) {
		diagnostics_error(env->diagnostics, own->array_filters->at,
				  "array_filters: %s names no elements of arrays", c->merge ? "merge" : "a pipeline");
		return false;
	}
	if (merge)
		return mongo_template_compile(&c->document, merge, TEMPLATE_PATCH, env);
	return mongo_template_compile(&c->document, own->update,
				      c->pipeline ? TEMPLATE_UPDATE_PIPELINE : TEMPLATE_UPDATE, env);
}

static bool compile_hint(struct mongo_change *c, const struct node *n, struct action_env *env)
{
	if (!n || n->kind != NODE_STRING) {
		c->has_hint = n != NULL;
		return !n || mongo_template_compile(&c->hint, n, TEMPLATE_FILTER, env);
	}
	c->hint_name = mongo_name_compile(n, "the name of an index", env);
	return c->hint_name != NULL;
}

static bool compile_document(struct mongo_change *c, const struct mongo_step_keys *own, struct action_env *env)
{
	if (own->update)
		return compile_update(c, own, env);
	if (own->documents)
		return mongo_template_compile(&c->document, own->documents, TEMPLATE_STORED_LIST, env);
	const struct node *stored = own->document ? own->document : own->replacement;
	return !stored || mongo_template_compile(&c->document, stored, TEMPLATE_STORED, env);
}

bool mongo_change_compile(struct mongo_action *a, const struct config_step *step, struct action_env *env)
{
	const struct mongo_step_keys *own = step->own;
	struct mongo_change *c = arena_zalloc(env->arena, sizeof(*c));

	c->upsert = own->upsert;
	c->ordered = own->ordered;
	c->after = own->returned == RETURN_AFTER;
	c->has_array_filters = own->array_filters != NULL;
	a->change = c;
	env->effect = ACTION_WRITES;
	bool good = compile_document(c, own, env);
	if (c->has_array_filters)
		good &= mongo_template_compile(&c->array_filters, own->array_filters, TEMPLATE_FILTERS, env);
	good &= affected_compile(&c->affected, step, env) == 0;
	return compile_hint(c, own->hint, env) && good;
}

/* --- making --- */

/* How an update is said. */
enum form {
	FORM_PLAIN,
	FORM_GUARDED,  /* a patch that has objects, for a document that has them, too; upserts nothing */
	FORM_PIPELINE, /* a patch, for any document */
};

struct changing {
	struct client *client;
	const struct mongo_action *action;
	const struct mongo_change *change;
	const struct value *args;
	const struct run_options *options;
	struct mongo_patch patch;
	struct buf patch_bytes;
	bool from_request; /* a value of the request stands in it */
	struct error *error;
};

static int put_template(const struct changing *x, struct mongo_out *out, uint8_t type, const char *key,
			const struct mongo_template *t)
{
	mongo_out_key(out, type, key, strlen(key));
	return mongo_template_fill(t, x->args, x->options->arena, out->bytes, x->error);
}

static int put_filter(const struct changing *x, struct mongo_out *out, const char *key, enum form form)
{
	static const struct mongo_template all = {0};
	const struct mongo_template *filter = x->action->has_filter ? &x->action->filter : &all;

	if (form != FORM_GUARDED)
		return put_template(x, out, BSON_TYPE_DOCUMENT, key, filter);
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, key, strlen(key));
	mongo_out_begin(out, BSON_TYPE_ARRAY, KEY("$and"));
	int r = put_template(x, out, BSON_TYPE_DOCUMENT, "0", filter);
	mongo_patch_guard(&x->patch, out, 1);
	mongo_out_end(out);
	mongo_out_end(out);
	return r;
}

static int put_change(const struct changing *x, struct mongo_out *out, const char *key, enum form form)
{
	const struct mongo_change *c = x->change;

	if (!c->merge)
		return put_template(x, out, c->pipeline ? BSON_TYPE_ARRAY : BSON_TYPE_DOCUMENT, key, &c->document);
	if (form == FORM_PIPELINE)
		mongo_patch_pipeline(&x->patch, out, key);
	else
		mongo_patch_update(&x->patch, out, key);
	return 0;
}

static int put_options(const struct changing *x, struct mongo_out *out, enum form form)
{
	const struct mongo_change *c = x->change;
	int r = 0;

	if (c->upsert && form != FORM_GUARDED)
		mongo_out_bool(out, KEY("upsert"), true);
	if (c->has_array_filters)
		r = put_template(x, out, BSON_TYPE_ARRAY, "arrayFilters", &c->array_filters);
	if (r == 0 && c->has_hint)
		r = put_template(x, out, BSON_TYPE_DOCUMENT, "hint", &c->hint);
	if (c->hint_name)
		mongo_out_text(out, KEY("hint"), c->hint_name, strlen(c->hint_name));
	return r;
}

/* The patch, once: each form of the update is made of it. */
static int fill_patch(struct changing *x)
{
	const struct mongo_change *c = x->change;
	int r = mongo_template_fill(&c->document, x->args, x->options->arena, &x->patch_bytes, x->error);

	if (r < 0)
		return r;
	const char *why = mongo_patch_init(&x->patch, (const uint8_t *)x->patch_bytes.data, x->patch_bytes.len);
	return why ? error_set(x->error, -EINVAL, 500, NULL, "the patch %s", why) : 0;
}

/* --- inserting --- */

static int add_document(struct changing *x, struct mongo_statements *s)
{
	size_t at = mongo_statements_begin(s);
	int r = mongo_template_fill(&x->change->document, x->args, x->options->arena, &s->bytes, x->error);

	if (r == 0)
		mongo_statements_end(s, STATEMENT_INSERT, at);
	return r;
}

static int add_documents(struct changing *x, struct mongo_statements *s)
{
	struct buf list = BUF_INIT;
	struct mongo_element_iter i;
	struct mongo_element e;
	int r = mongo_template_fill(&x->change->document, x->args, x->options->arena, &list, x->error);

	if (r == 0)
		mongo_element_iter_init(&i, (const uint8_t *)list.data, list.len);
	while (r == 0 && mongo_element_next(&i, &e)) {
		if (e.type != BSON_TYPE_DOCUMENT) {
			char text[80];
			snprintf(text, sizeof(text), "documents[%s] " UNFIT_NOT_DOCUMENT ".", e.key);
			r = error_set(x->error, -EINVAL, x->from_request ? 400 : 500, x->from_request ? text : NULL,
				      "%s", text);
			break;
		}
		size_t at = mongo_statements_begin(s);
		buf_append(&s->bytes, e.value, e.len);
		mongo_statements_end(s, STATEMENT_INSERT, at);
	}
	buf_done(&list);
	return r;
}

/* --- changing --- */

static int add_change(struct changing *x, struct mongo_statements *s, enum form form)
{
	enum mongo_action_kind kind = x->action->kind;
	bool deletes = kind == ACTION_DELETE_ONE || kind == ACTION_DELETE_MANY;
	struct mongo_out *out = &s->maker.out;
	size_t at = s->bytes.len;

	mongo_out_begin(out, BSON_TYPE_DOCUMENT, "", 0);
	int r = put_filter(x, out, "q", form);
	if (r == 0 && !deletes)
		r = put_change(x, out, "u", form);
	if (r == 0)
		r = put_options(x, out, form);
	if (r < 0)
		return r;
	if (deletes)
		mongo_out_int32(out, KEY("limit"), kind == ACTION_DELETE_ONE);
	else if (kind == ACTION_UPDATE_MANY)
		mongo_out_bool(out, KEY("multi"), true);
	mongo_out_end(out);
	mongo_statements_end(s, deletes ? STATEMENT_DELETE : STATEMENT_UPDATE, at);
	return 0;
}

static int make_statements(struct changing *x, struct mongo_statements *s, enum form form)
{
	mongo_statements_init(s, x->error);
	s->maker.from_request = x->from_request;
	s->ordered = x->change->ordered;
	s->listed = x->action->kind == ACTION_INSERT_MANY;
	switch (x->action->kind) {
	case ACTION_INSERT_ONE:
		return add_document(x, s);
	case ACTION_INSERT_MANY:
		return add_documents(x, s);
	default:
		return add_change(x, s, form);
	}
}

static void tell(const struct mongo_action *a, struct mongo_statements *s, struct mongo_result *out)
{
	switch (a->kind) {
	case ACTION_INSERT_ONE:
		mongo_written_inserted(s, 0, out);
		break;
	case ACTION_INSERT_MANY:
		mongo_written_all(s, out);
		break;
	case ACTION_DELETE_ONE:
	case ACTION_DELETE_MANY:
		mongo_written_deleted(s, out);
		break;
	default:
		mongo_written_changed(s, out);
	}
}

/* Suspends. *n: how many documents were matched, stored or removed. */
static int send_statements(struct changing *x, enum form form, int64_t *n, struct mongo_result *result)
{
	struct mongo_target target = {x->client, x->options, x->action->collection};
	struct mongo_statements s;

	int r = make_statements(x, &s, form);

	if (r == 0)
		r = mongo_statements_send(&s, &target, x->error);
	if (r == 0) {
		*n = s.inserted + s.matched + s.deleted + s.upserts;
		mongo_result_reset(result);
		tell(x->action, &s, result);
	}
	mongo_statements_done(&s);
	return r;
}

/* --- changing one, and getting it --- */

static int put_modify(struct changing *x, struct mongo_out *out, enum form form)
{
	const struct mongo_action *a = x->action;

	mongo_out_document(out);
	mongo_out_text(out, KEY("findAndModify"), a->collection, strlen(a->collection));
	int r = put_filter(x, out, "query", form);
	if (a->kind == ACTION_FIND_ONE_AND_DELETE)
		mongo_out_bool(out, KEY("remove"), true);
	else if (r == 0)
		r = put_change(x, out, "update", form);
	if (r == 0)
		r = put_options(x, out, form);
	if (r == 0 && a->has_projection)
		r = put_template(x, out, BSON_TYPE_DOCUMENT, "fields", &a->projection);
	if (r == 0 && a->has_sort)
		r = put_template(x, out, BSON_TYPE_DOCUMENT, "sort", &a->sort);
	if (x->change->after)
		mongo_out_bool(out, KEY("new"), true);
	return r;
}

/* Suspends. */
static int send_modify(struct changing *x, enum form form, int64_t *n, struct result **out)
{
	struct mongo_command command = {.from_request = x->from_request};
	struct mongo_out bytes;

	mongo_out_init(&bytes, &command.bytes);
	int r = put_modify(x, &bytes, form);
	if (r < 0) {
		mongo_command_done(&command);
		return r;
	}
	mongo_out_int32(&bytes, KEY("maxTimeMS"), INT32_MAX);
	command.max_time_at = command.bytes.len - sizeof(int32_t);
	mongo_out_end(&bytes);
	return mongo_modify(x->client, x->options, &command, n, out, x->error);
}

/* --- the whole --- */

static bool modifies(enum mongo_action_kind kind)
{
	return kind == ACTION_FIND_ONE_AND_UPDATE || kind == ACTION_FIND_ONE_AND_REPLACE ||
	       kind == ACTION_FIND_ONE_AND_DELETE;
}

/* Suspends. */
static int send_change(struct changing *x, enum form form, int64_t *n, struct result **out)
{
	if (modifies(x->action->kind))
		return send_modify(x, form, n, out);
	struct mongo_result *result = mongo_result_new(mongo_client_of(x->client)->json);
	int r = send_statements(x, form, n, result);
	if (r < 0)
		mongo_result_free(result);
	else
		*out = &result->base;
	return r;
}

/* The server has refused the pipeline, and done nothing: it has none, or the document does not become one. */
static bool is_refusal(const struct error *e)
{
	return e->code[0] && e->status == 500 && e->change == CHANGE_NONE;
}

/* Suspends. A patch that has objects is tried with $set first: every server knows that. If no document has the form
 * that it needs, nothing has happened, and a pipeline does it. */
static int send_patch(struct changing *x, int64_t *n, struct result **out)
{
	int r = fill_patch(x);

	if (r < 0 || (!x->patch.nested && !(x->patch.empty && x->change->upsert)))
		return r < 0 ? r : send_change(x, FORM_PLAIN, n, out);
	r = send_change(x, x->patch.nested ? FORM_GUARDED : FORM_PLAIN, n, out);
	if (r < 0 || *n > 0 || !x->patch.nested)
		return r;
	result_free(*out);
	*out = NULL;
	r = send_change(x, FORM_PIPELINE, n, out);
	if (r < 0 && is_refusal(x->error)) {
		char why[sizeof(x->error->what)];
		memcpy(why, x->error->what, sizeof(why));
		r = error_say(x->error, -EINVAL, REASON_MERGE_UNFIT, "%.300s", why);
	}
	return r;
}

/* The change is not as it should be. MongoDB takes nothing back, so it stays. */
static int unwelcome(struct client *client, int r, int64_t n, struct error *e)
{
	/* In a transaction it is not committed. */
	if (n > 0 && !mongo_transaction_here(mongo_client_of(client))) {
		e->change = CHANGE_PARTIAL;
		error_add_public(e, reason_text(REASON_ALSO_MADE));
	}
	return r;
}

/* The step's result, once it is there. */
static int check_expect(const struct changing *x, int64_t n, struct result *result)
{
	const struct mongo_action *a = x->action;
	struct mongo_result *r = container_of(result, struct mongo_result, base);

	if (a->expect == EXPECT_NONE)
		mongo_result_reset(r);
	if (a->expect != EXPECT_ONE || !modifies(a->kind) || r->base.rows > 0)
		return 0;
	/* With n an upsert: there was none before. */
	int failed = error_set(x->error, -ENOENT, 404, NULL, "no document, where one is expected");
	return unwelcome(x->client, failed, n, x->error);
}

static int check_affected(const struct changing *x, int64_t n)
{
	int r = affected_check(&x->change->affected, x->args, n, x->action->collection, x->error);

	return r == -ENOENT || r == -EMLINK ? unwelcome(x->client, r, n, x->error) : r;
}

int mongo_change_run(struct client *client, const struct mongo_action *a, const struct value *args,
		     const struct run_options *options, struct result **out, struct error *e)
{
	struct changing x = {
		.client = client, .action = a, .change = a->change, .args = args, .options = options, .error = e};
	int64_t n = 0, ignored;

	*out = NULL;
	for (unsigned i = 0; i < a->slots; i++)
		x.from_request |= args[i].from_request;
	/* Before anything is sent: a reference's value may be none. */
	int r = a->change->affected.given ? affected_bounds(&a->change->affected, args, &ignored, &ignored, e) : 0;
	if (r < 0)
		return r;
	r = a->change->merge ? send_patch(&x, &n, out) : send_change(&x, FORM_PLAIN, &n, out);
	if (r == 0)
		r = check_affected(&x, n);
	if (r == 0)
		r = check_expect(&x, n, *out);
	if (r < 0 && *out) {
		result_free(*out);
		*out = NULL;
	}
	buf_done(&x.patch_bytes);
	return r;
}

int mongo_change_insert_each(struct client *client, const struct mongo_action *a, const struct value *const *args,
			     unsigned count, const struct run_options *options, struct result **results,
			     struct error *e)
{
	struct changing x = {.client = client, .action = a, .change = a->change, .options = options, .error = e};
	struct mongo_target target = {client, options, a->collection};
	struct mongo_statements s;
	int r = 0;

	mongo_statements_init(&s, e);
	s.listed = true;
	for (unsigned i = 0; i < count && r == 0; i++) {
		x.args = args[i];
		for (unsigned k = 0; k < a->slots; k++)
			s.maker.from_request |= args[i][k].from_request;
		r = add_document(&x, &s);
	}
	if (r == 0)
		r = mongo_statements_send(&s, &target, e);
	for (unsigned i = 0; i < count && r == 0; i++) {
		struct mongo_result *result = mongo_result_new(mongo_client_of(client)->json);
		if (a->expect != EXPECT_NONE)
			mongo_written_inserted(&s, i, result);
		results[i] = &result->base;
	}
	mongo_statements_done(&s);
	return r;
}

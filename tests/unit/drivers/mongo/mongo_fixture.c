/* A source, a client and actions for the tests of the MongoDB driver. */
#include "tests/unit/drivers/mongo/mongo_fixture.h"

#include "config/language.h"

int add_slot(struct reference_sink *sink, const struct reference *ref)
{
	struct slots *s = container_of(sink, struct slots, sink);
	for (int i = 0; i < s->count; i++) {
		if (strcmp(s->texts[i], ref->text) == 0)
			return i;
	}
	ck_assert_int_lt(s->count, MAX_SLOTS);
	s->texts[s->count] = ref->text;
	return s->count++;
}

void fixture_config(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	signal(SIGPIPE, SIG_IGN);
	f->config = (struct config_source){
		.name = "catalog",
		.own = &f->keys,
		.kind = &mongo_kind,
		.url = f->url,
		.pool = {.size = 4,
			 .max_waiting = 1000,
			 .acquire_timeout_us = 30000000,
			 .idle_timeout_us = 300000000,
			 .lifetime_us = 1800000000},
	};
	arena_init(&f->arena);
	diagnostics_init(&f->diagnostics);
}

void fixture_url(struct fixture *f, const char *options)
{
	snprintf(f->url, sizeof(f->url), "mongodb://127.0.0.1:%u/catalog%s", f->server.port, options);
}

void fixture_open(struct fixture *f)
{
	struct error e = ERROR_INIT;
	mongo_driver.source_check(&f->config, &f->diagnostics);
	ck_assert_uint_eq(f->diagnostics.errors, 0);
	ck_assert_int_eq(executor_new(&f->executor, 2, 100), 0);
	f->descriptors = open_fds();
	int r = mongo_driver.source_new(&f->source, &f->config, f->executor, 1, &e);
	ck_assert_msg(r == 0, "%s", e.what);
	ck_assert_int_eq(mongo_driver.client_open(&f->client, f->source, &e), 0);
}

void await_idle(struct fixture *f)
{
	for (int i = 0; i < 5000 && !mongo_driver.client_idle(f->client); i++)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert(mongo_driver.client_idle(f->client));
}

bool await_ready(struct fixture *f, int ms)
{
	for (int i = 0; i < ms && !mongo_driver.source_ready(f->source); i++)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	return mongo_driver.source_ready(f->source);
}

void lose_connections(struct fixture *f)
{
	server_drop_all(&f->server);
	settle();
}

void cut_begin(struct fixture *f, atomic_long *where, long n)
{
	atomic_store(&f->server.cuts, 1);
	atomic_store(where, n);
	lose_connections(f);
}

bool cut_end(struct fixture *f, atomic_long *where)
{
	bool cut = atomic_load(&f->server.cuts) < 1;

	atomic_store(where, -1);
	atomic_store(&f->server.cuts, 0);
	return cut;
}

bool cancel_in_turn(int n, task_fn fn, void *arg, const bool *done, int *r)
{
	return cancel_after((unsigned)n, fn, arg, done, r) && n > 10;
}

void fixture_close(struct fixture *f)
{
	await_idle(f);
	mongo_driver.client_close(f->client);
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 1);
	mongo_driver.source_free(f->source);
	for (int i = 0; i < 1000 && server_open(&f->server) > 0; i++)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(open_fds(), f->descriptors);
}

void fixture_done(struct fixture *f)
{
	executor_free(f->executor);
	arena_done(&f->arena);
	diagnostics_done(&f->diagnostics);
}

const struct node *yaml(struct fixture *f, const char *text)
{
	const struct node *n = yaml_parse(&f->arena, "step", text, strlen(text), &f->diagnostics);
	for (size_t i = 0; !n && i < f->diagnostics.count; i++)
		fprintf(stderr, "%s\n", f->diagnostics.items[i].text);
	ck_assert_ptr_nonnull(n);
	return n;
}

static void read_action(struct config_step *step, const struct node *n)
{
	for (unsigned i = 0; i < mongo_kind.action_count; i++) {
		const struct node *value = node_member(n, mongo_kind.actions[i].name);
		if (!value)
			continue;
		step->action = i;
		step->action_value = value;
	}
	ck_assert_ptr_nonnull(step->action_value);
}

static bool is_said(const struct node *n, const char *key, const char *text)
{
	const struct node *said = node_member(n, key);
	return said && said->text && strcmp(said->text, text) == 0;
}

/* The keys of what writes. */
static void read_change(struct config_step *step, const struct node *n)
{
	struct mongo_step_keys *own = step->own;
	const struct node *affected = node_member(n, "affected");

	own->document = node_member(n, "document");
	own->documents = node_member(n, "documents");
	own->update = node_member(n, "update");
	own->replacement = node_member(n, "replacement");
	own->array_filters = node_member(n, "array_filters");
	own->hint = node_member(n, "hint");
	own->upsert = is_said(n, "upsert", "true");
	own->ordered = !is_said(n, "ordered", "false");
	own->returned = is_said(n, "return", "after") ? RETURN_AFTER : RETURN_BEFORE;
	if (affected)
		step->affected = (struct config_affected){true, affected->integer, affected->integer, NULL, n->at};
}

static enum expect read_expect(const struct node *n)
{
	static const char *const names[] = {"", "many", "one", "maybe", "value", "none"};

	for (size_t i = 0; n && i < ARRAY_SIZE(names); i++) {
		if (strcmp(n->text, names[i]) == 0)
			return (enum expect)i;
	}
	return EXPECT_DEFAULT;
}

static void read_step(struct fixture *f, struct config_step *step, const char *name, const struct node *n)
{
	struct mongo_step_keys *own = step->own = arena_zalloc(&f->arena, sizeof(*own));

	step->name = name;
	step->source = &f->config;
	read_action(step, n);
	own->filter = node_member(n, "filter");
	own->projection = node_member(n, "projection");
	own->sort = node_member(n, "sort");
	own->limit = node_member(n, "limit");
	own->skip = node_member(n, "skip");
	own->pipeline = node_member(n, "pipeline");
	own->key = node_member(n, "key");
	read_change(step, n);
	step->expect = read_expect(node_member(n, "expect"));
	step->each = node_member(n, "each");
	step->when = node_member(n, "when");
	const struct node *inner = node_member(n, "transaction");
	if (!inner)
		return;
	struct config_step *steps = arena_array(&f->arena, inner->count, sizeof(*steps));
	memset(steps, 0, inner->count * sizeof(*steps));
	for (size_t i = 0; i < inner->count; i++)
		read_step(f, &steps[i], inner->items[i]->members[0].key->text, inner->items[i]->members[0].value);
	step->inner = steps;
	step->inner_count = inner->count;
}

/* A step, as YAML writes it. NULL: it is wrong. */
static struct action *compile_for(struct fixture *f, const char *text, bool read_only)
{
	const struct node *n = yaml(f, text);
	struct slots slots = {.sink.add = add_slot};
	struct config_step *step = arena_zalloc(&f->arena, sizeof(*step));

	read_step(f, step, "step", n);
	struct action_env env = {
		.arena = &f->arena,
		.diagnostics = &f->diagnostics,
		.references = &slots.sink,
		.endpoint = &f->endpoint,
		.read_only = read_only,
	};
	return mongo_driver.action_new(&f->config, step, &env);
}

struct action *compile(struct fixture *f, const char *text)
{
	struct action *a = compile_for(f, text, true);
	for (size_t i = 0; !a && i < f->diagnostics.count; i++)
		fprintf(stderr, "%s\n", f->diagnostics.items[i].text);
	ck_assert_ptr_nonnull(a);
	return a;
}

int run_result(struct fixture *f, struct action *a, const struct value *args, int64_t timeout_us,
	       struct result **result, struct error *e)
{
	struct run_options options = {.timeout_us = timeout_us, .arena = &f->arena};
	*result = NULL;
	*e = ERROR_INIT;
	int r = mongo_driver.run(f->client, a, args, &options, result, e);
	if (r == 0) {
		ck_assert_ptr_nonnull(*result);
	} else {
		ck_assert_ptr_null(*result);
		ck_assert_int_lt(r, 0);
		ck_assert_int_eq(e->errnum, r);
		ck_assert_int_ge(e->status, 400);
		ck_assert(e->what[0]);
		ck_assert_ptr_null(strstr(e->public, "secret"));
	}
	return r;
}

int run_for(struct fixture *f, struct action *a, const struct value *args, int64_t timeout_us, struct buf *json,
	    struct error *e)
{
	struct result *result;
	int r = run_result(f, a, args, timeout_us, &result, e);
	json->len = 0;
	if (r == 0)
		result->ops->render(result, json);
	result_free(result);
	return r;
}

const char *ask(struct fixture *f, const char *step, const struct value *args)
{
	struct buf json = BUF_INIT;
	struct error e;
	struct action *a = compile(f, step);
	const char *out;
	if (run_for(f, a, args, 60000000, &json, &e) == 0)
		out = arena_strndup(&f->arena, json.data, json.len);
	else
		out = arena_printf(&f->arena, "! %d %s", e.status, e.code);
	buf_done(&json);
	return out;
}

/* A source, a client and actions for the tests of the PostgreSQL driver. */
#include "tests/unit/drivers/postgres/postgres_fixture.h"

static int add_slot(struct reference_sink *sink, const struct reference *ref)
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
	*f = (struct fixture){0};
	server_url(f->url, sizeof(f->url), "");
	f->config = (struct config_source){
		.name = "shop",
		.own = &f->keys,
		.kind = &postgres_kind,
		.url = f->url,
		.pool = {.size = 4,
			 .max_waiting = 1000,
			 .acquire_timeout_us = 30000000,
			 .idle_timeout_us = 300000000,
			 .lifetime_us = 1800000000},
		.longest_us = 10000000,
	};
	f->keys.prepare = true;
	arena_init(&f->arena);
	diagnostics_init(&f->diagnostics);
}

void fixture_open(struct fixture *f)
{
	struct error e = ERROR_INIT;
	ck_assert_int_eq(executor_new(&f->executor, 2, 100), 0);
	ck_assert_int_eq(postgres_driver.source_new(&f->source, &f->config, f->executor, 1, &e), 0);
	ck_assert_int_eq(postgres_driver.client_open(&f->client, f->source, &e), 0);
}

void fixture_close_now(struct fixture *f)
{
	postgres_driver.client_close(f->client);
	postgres_driver.source_free(f->source);
	executor_free(f->executor);
}

void fixture_free(struct fixture *f)
{
	arena_done(&f->arena);
	diagnostics_done(&f->diagnostics);
}

void fixture_close(struct fixture *f)
{
	for (int i = 0; i < 3000 && !postgres_driver.client_idle(f->client); i++)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert(postgres_driver.client_idle(f->client));
	fixture_close_now(f);
	fixture_free(f);
}

struct action *compile(struct fixture *f, const char *sql, enum expect expect, bool read_only)
{
	struct slots slots = {.sink.add = add_slot};
	struct node *n = arena_zalloc(&f->arena, sizeof(*n));
	*n = (struct node){.kind = NODE_STRING, .text = sql, .len = strlen(sql)};
	struct config_step *step = arena_zalloc(&f->arena, sizeof(*step));
	*step = (struct config_step){.name = "step", .source = &f->config, .action_value = n, .expect = expect};
	struct action_env env = {
		.arena = &f->arena,
		.diagnostics = &f->diagnostics,
		.references = &slots.sink,
		.endpoint = &f->endpoint,
		.read_only = read_only,
	};
	struct action *a = postgres_driver.action_new(&f->config, step, &env);
	for (size_t i = 0; !a && i < f->diagnostics.count; i++)
		fprintf(stderr, "%s\n", f->diagnostics.items[i].text);
	return a;
}

int run_for(struct fixture *f, struct action *a, const struct value *args, int64_t timeout_us, struct buf *json,
	    struct error *e)
{
	struct run_options options = {.timeout_us = timeout_us, .arena = &f->arena};
	struct result *result = NULL;
	*e = ERROR_INIT;
	int r = postgres_driver.run(f->client, a, args, &options, &result, e);
	if (r == 0) {
		ck_assert_ptr_nonnull(result);
		json->len = 0;
		result->ops->render(result, json);
		result_free(result);
	} else {
		ck_assert_ptr_null(result);
		ck_assert_int_lt(r, 0);
	}
	return r;
}

const char *ask(struct fixture *f, enum expect expect, const char *sql, const struct value *args)
{
	struct buf json = BUF_INIT;
	struct error e;
	struct action *a = compile(f, sql, expect, true);
	ck_assert_ptr_nonnull(a);
	const char *out;
	if (run_for(f, a, args, 60000000, &json, &e) == 0)
		out = arena_strndup(&f->arena, json.data, json.len);
	else
		out = arena_printf(&f->arena, "! %d %s %s", e.status, e.code, e.what);
	buf_done(&json);
	return out;
}

int run_and_stop_server(Suite *s)
{
	int failed = run_suite(s);
	server_stop();
	server_sweep();
	return failed;
}

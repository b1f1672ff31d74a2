/* A transaction's steps are calls of the task that runs it, one after another: transaction.c has them go over one
 * connection, ends it, and begins it again if the server says that this may help.
 *
 * `each` without a transaction: inserts are one ordered list of statements. Of other writes the answer to a list would
 * not say what became of each, so each is a command of its own, in order, up to the first that fails. */
#include "drivers/mongo/calls/steps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"
#include "base/mem.h"
#include "drivers/mongo/calls/change.h"
#include "drivers/mongo/calls/read.h"
#include "drivers/mongo/calls/result.h"
#include "drivers/mongo/calls/transaction.h"

enum { ATTEMPTS = 3 };

/* --- compiling --- */

static bool compile_inner(struct mongo_inner *out, const struct config_step *step, bool single, struct inner_sink *s,
			  struct action_env *env)
{
	struct action_env own = *env;
	bool good = true;

	*out = (struct mongo_inner){.name = step->name, .when = -1, .each = -1};
	own.references = &s->base;
	own.effect = ACTION_READS;
	if (step->when && !single) {
		out->when = inner_reference(s, step->when, "when", &own);
		good = out->when >= 0;
	}
	if (step->each) {
		out->each = inner_reference(s, step->each, "each", &own);
		out->each_text = step->each->text;
		good = good && out->each >= 0;
		s->has_item = true;
	}
	out->action = mongo_action_compile(step, &own);
	if (own.effect > env->effect)
		env->effect = own.effect;
	out->slots = inner_slots(s, env->arena);
	out->slot_count = s->slot_count;
	return good && out->action;
}

static bool compile_all(struct mongo_steps *steps, const struct config_step *inner, struct action_env *env)
{
	struct mongo_inner *items = arena_array(env->arena, steps->count + 1, sizeof(*items));
	struct inner_sink *s = mem_alloc(sizeof(*s));
	bool good = true;

	steps->inner = items;
	for (unsigned i = 0; i < steps->count; i++) {
		inner_sink_init(s, inner, steps->single ? 0 : steps->count, i, env);
		good = compile_inner(&items[i], &inner[i], steps->single, s, env) && good;
	}
	free(s);
	return good;
}

struct mongo_action *mongo_steps_compile(const struct config_step *step, struct action_env *env)
{
	bool single = step->action != ACTION_TRANSACTION;
	const struct mongo_step_keys *own = step->own;

	if (single && !step->each)
		return mongo_action_compile(step, env);
	struct mongo_action *a = arena_zalloc(env->arena, sizeof(*a));
	struct mongo_steps *steps = arena_zalloc(env->arena, sizeof(*steps));
	*steps = (struct mongo_steps){.single = single,
				      .name = step->name,
				      .count = single ? 1 : (unsigned)step->inner_count,
				      .attempts = own->attempts ? own->attempts : ATTEMPTS};
	a->kind = step->action;
	a->expect = step->expect;
	a->steps = steps;
	bool good = compile_all(steps, single ? step : step->inner, env);
	steps->snapshot = env->effect == ACTION_READS;
	return good ? a : NULL;
}

/* --- one action --- */

/* Suspends. */
static int run_action(struct client *client, const struct mongo_action *a, const struct value *args,
		      const struct run_options *options, struct result **out, struct error *e)
{
	struct mongo_command command;

	if (a->change)
		return mongo_change_run(client, a, args, options, out, e);
	int r = mongo_action_make(&command, a, args, options->arena, e);
	if (r == 0)
		return mongo_read(client, options, a, &command, out, e);
	mongo_command_done(&command);
	return r;
}

/* --- several --- */

struct steps_run {
	struct client *client;
	const struct mongo_steps *steps;
	const struct value *args; /* of the plan */
	const struct run_options *options;
	struct inner_outcome outcomes[MONGO_MAX_INNER];
	struct error *error;
	struct error within; /* the transaction: fn's own failure */
};

static struct value value_of(const struct steps_run *run, int slot, const struct mongo_inner *in,
			     const struct value *item)
{
	return inner_value(&in->slots[slot], run->args, run->outcomes, item, run->options->arena);
}

static const struct value *args_of(const struct steps_run *run, const struct mongo_inner *in, const struct value *item)
{
	struct value *args = arena_array(run->options->arena, in->slot_count + 1, sizeof(*args));

	for (unsigned i = 0; i < in->slot_count; i++)
		args[i] = value_of(run, (int)i, in, item);
	return args;
}

/* The elements of `each`: their arguments and results. */
struct elements {
	unsigned count, done;
	const struct value **args;
	struct result **results;
};

/* `"matched_count":2,…`: the sums of what was done. */
static void put_sums(struct buf *out, const struct elements *all)
{
	static const char *const names[] = {"matched_count", "modified_count", "deleted_count"};

	for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
		int64_t sum = 0;
		bool there = false;
		for (unsigned i = 0; i < all->done; i++) {
			struct mongo_result *r = container_of(all->results[i], struct mongo_result, base);
			if (r->value.type != BSON_TYPE_DOCUMENT)
				continue;
			struct mongo_element n = mongo_element_find(r->value.value, r->value.len, names[k],
								    strlen(names[k]));
			there |= n.type != 0;
			sum += mongo_element_integer(&n, 0);
		}
		if (there)
			buf_printf(out, "\"%s\":%lld,", names[k], (long long)sum);
	}
}

/* Which element failed, and what those before it have done. */
static void note_element(const struct steps_run *run, const struct elements *all)
{
	struct error *e = run->error;
	struct buf out = BUF_INIT;
	char part[64];

	put_sums(&out, all);
	buf_printf(&out, "\"errors\":[{\"pointer\":\"#/%u\"", all->done);
	if (e->public[0]) {
		buf_lit(&out, ",\"detail\":");
		json_string(&out, e->public, strlen(e->public));
	}
	if (e->code[0]) {
		buf_lit(&out, ",\"code\":");
		json_string(&out, e->code, strlen(e->code));
	}
	buf_lit(&out, "}]");
	e->members = arena_strndup(run->options->arena, out.data, out.len);
	buf_done(&out);
	if (!run->steps->single)
		return;
	if (all->done > 0 && e->change == CHANGE_NONE)
		e->change = CHANGE_PARTIAL;
	snprintf(part, sizeof(part), REASON_PART_DONE, all->done, all->count);
	if (e->public[0])
		error_add_public(e, part);
}

/* Suspends. */
static int run_elements(struct steps_run *run, const struct mongo_inner *in, struct elements *all)
{
	int r = 0;

	if (in->action->kind == ACTION_INSERT_ONE)
		return mongo_change_insert_each(run->client, in->action, all->args, all->count, run->options,
						all->results, run->error);
	while (all->done < all->count && r == 0) {
		r = run_action(run->client, in->action, all->args[all->done], run->options, &all->results[all->done],
			       run->error);
		if (r == 0)
			all->done++;
	}
	if (r < 0)
		note_element(run, all);
	while (r < 0 && all->done > 0)
		result_free(all->results[--all->done]);
	return r;
}

/* Suspends. */
static int run_each(struct steps_run *run, const struct mongo_inner *in, struct result **out)
{
	const struct value_member *items = NULL;
	struct value list = value_of(run, in->each, in, NULL);
	struct arena *a = run->options->arena;
	int count = inner_elements(&list, in->each_text, a, &items, run->error);

	if (count < 0)
		return count;
	struct elements all = {.count = (unsigned)count,
			       .args = arena_array(a, (size_t)count + 1, sizeof(*all.args)),
			       .results = arena_array(a, (size_t)count + 1, sizeof(struct result *))};
	for (unsigned i = 0; i < all.count; i++)
		all.args[i] = args_of(run, in, &items[i].value);
	int r = all.count ? run_elements(run, in, &all) : 0;
	if (r == 0)
		*out = inner_list(all.results, all.count);
	return r;
}

static void drop_results(struct steps_run *run)
{
	for (unsigned i = 0; i < run->steps->count; i++) {
		result_free(run->outcomes[i].result);
		run->outcomes[i] = (struct inner_outcome){0};
	}
}

/* Suspends. One attempt at the transaction; it forgets what the one before it has brought. */
static int run_all(void *arg)
{
	struct steps_run *run = arg;
	int r = 0;

	drop_results(run);
	*run->error = ERROR_INIT;
	for (unsigned i = 0; i < run->steps->count && r == 0; i++) {
		const struct mongo_inner *in = &run->steps->inner[i];
		struct value when = in->when < 0 ? VALUE_OF_NULL : value_of(run, in->when, in, NULL);
		if (in->when >= 0 && value_falsy(&when))
			continue;
		struct result **out = &run->outcomes[i].result;
		r = in->each < 0
			    ? run_action(run->client, in->action, args_of(run, in, NULL), run->options, out, run->error)
			    : run_each(run, in, out);
	}
	return r;
}

/* Suspends. */
static int run_transaction(struct steps_run *run, struct result **out)
{
	const struct mongo_steps *steps = run->steps;
	struct mongo_transaction_options options = {.attempts = steps->attempts, .snapshot = steps->snapshot};
	struct error *e = run->error;
	const char *names[MONGO_MAX_INNER];

	run->within = ERROR_INIT;
	run->error = &run->within;
	int r = mongo_transact(run->client, &options, run_all, run, e);
	if (r < 0) {
		/* fn's own failure, which the transaction does not know. */
		if (e->errnum == 0)
			*e = run->within;
		if (e->change == CHANGE_PARTIAL)
			e->change = CHANGE_NONE;
		drop_results(run);
		return r;
	}
	for (unsigned i = 0; i < steps->count; i++)
		names[i] = steps->inner[i].name;
	*out = inner_document(run->outcomes, names, steps->count, steps->name);
	return 0;
}

int mongo_steps_run(struct client *client, const struct mongo_action *a, const struct value *args,
		    const struct run_options *options, struct result **out, struct error *e)
{
	if (!a->steps)
		return run_action(client, a, args, options, out, e);
	struct steps_run run = {.client = client, .steps = a->steps, .args = args, .options = options, .error = e};
	*out = NULL;
	return a->steps->single ? run_each(&run, a->steps->inner, out) : run_transaction(&run, out);
}

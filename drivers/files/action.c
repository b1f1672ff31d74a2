/* Compiling steps of file sources. config has checked that only what may write does. */
#include "drivers/files/action.h"

#include "drivers/files/work.h"

static const char *const verbs[] = {
	[ACTION_READ] = "read",   [ACTION_STAT] = "stat",     [ACTION_LIST] = "list",     [ACTION_SEND] = "send",
	[ACTION_WRITE] = "write", [ACTION_APPEND] = "append", [ACTION_REMOVE] = "remove",
};

const char *files_verb(enum files_action_kind kind)
{
	return verbs[kind];
}

/* Counts the slots of a step on their way to its plan. */
struct slot_counter {
	struct reference_sink base, *plan;
	unsigned count;
};

static int count_slot(struct reference_sink *base, const struct reference *ref)
{
	struct slot_counter *c = container_of(base, struct slot_counter, base);
	int slot = c->plan->add(c->plan, ref);

	if (slot >= (int)c->count)
		c->count = (unsigned)slot + 1;
	return slot;
}

struct files_action *files_action_new(const struct config_step *step, struct action_env *env)
{
	struct files_action *a = arena_zalloc(env->arena, sizeof(*a));
	const struct files_step_keys *own = step->own;
	struct slot_counter counter = {.base.add = count_slot, .plan = env->references};
	struct action_env counted = *env;

	counted.references = &counter.base;
	a->place = (struct files_place){step->name, verbs[step->action], step->action_value->text};
	a->kind = (enum files_action_kind)step->action;
	env->effect = files_action_writes(a->kind) ? ACTION_WRITES : ACTION_READS;
	a->as = own->as;
	bool good = file_path_compile(&a->path, step->action_value, &counted);
	if (step->action == ACTION_WRITE || step->action == ACTION_APPEND)
		good &= content_compile(&a->content, own->content, &counted);
	a->arg_count = counter.count;
	return good ? a : NULL;
}

bool files_action_from_request(const struct files_action *a, const struct value *args)
{
	for (unsigned i = 0; i < a->arg_count; i++) {
		if (args[i].from_request)
			return true;
	}
	return false;
}

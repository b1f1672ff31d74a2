/* Slots of steps within a step, and results that are made of results. */
#include "drivers/inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"
#include "base/mem.h"

/* --- references --- */

static bool same_segment(const struct path_segment *a, const struct path_segment *b)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == PATH_MEMBER)
		return a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
	return a->kind == PATH_EACH || a->index == b->index;
}

static bool same_slot(const struct inner_slot *a, const struct inner_slot *b)
{
	bool same = a->kind == b->kind && a->index == b->index && a->path.count == b->path.count;

	for (size_t i = 0; same && i < a->path.count; i++)
		same = same_segment(&a->path.segments[i], &b->path.segments[i]);
	return same;
}

static int refuse(const struct inner_sink *s, const struct reference *ref, const char *why)
{
	diagnostics_error(s->diagnostics, ref->at, "%s: %s", ref->text, why);
	return -1;
}

/* Is it a reference to a step within, or to the element? Returns 1: *out is it; 0: neither; -1: it was reported. */
static int find_inner(struct inner_sink *s, const struct reference *ref, struct inner_slot *out)
{
	if (s->has_item && strcmp(ref->root, "item") == 0) {
		*out = (struct inner_slot){.kind = INNER_ITEM, .path = ref->path};
		return 1;
	}
	for (size_t i = 0; i < s->count; i++) {
		if (strcmp(s->steps[i].name, ref->root) != 0)
			continue;
		if (i == s->at && !s->has_own)
			return refuse(s, ref, "a step can't refer to itself");
		if (i > s->at)
			return refuse(s, ref, "the steps of a transaction run in order, and this one comes later");
		s->needs |= UINT32_C(1) << i;
		*out = (struct inner_slot){.kind = INNER_RESULT, .index = (unsigned)i, .path = ref->path};
		return 1;
	}
	return 0;
}

static int add(struct reference_sink *base, const struct reference *ref)
{
	struct inner_sink *s = container_of(base, struct inner_sink, base);
	struct inner_slot slot;
	int found = find_inner(s, ref, &slot);

	if (found < 0)
		return -1;
	if (found == 0) {
		int outer = s->outer->add(s->outer, ref);
		if (outer < 0)
			return -1;
		slot = (struct inner_slot){.kind = INNER_OUTER, .index = (unsigned)outer};
	}
	for (unsigned i = 0; i < s->slot_count; i++) {
		if (same_slot(&s->slots[i], &slot))
			return (int)i;
	}
	if (s->slot_count == INNER_MAX_ARGS)
		return refuse(s, ref, "a step may have at most 256 references");
	s->slots[s->slot_count] = slot;
	return (int)s->slot_count++;
}

void inner_sink_init(struct inner_sink *s, const struct config_step *steps, size_t count, size_t at,
		     const struct action_env *env)
{
	*s = (struct inner_sink){
		.base.add = add,
		.outer = env->references,
		.steps = steps,
		.count = count,
		.at = at,
		.diagnostics = env->diagnostics,
	};
}

int inner_reference(struct inner_sink *s, const struct node *n, const char *key, struct action_env *env)
{
	struct template t;

	if (n->kind != NODE_STRING || !template_parse(&t, env->arena, n, env->diagnostics))
		return -1;
	if (!template_is_reference(&t)) {
		diagnostics_error(env->diagnostics, n->at, "%s: expected one reference, as \"{name}\"", key);
		return -1;
	}
	return add(&s->base, &t.pieces[0].reference);
}

const struct inner_slot *inner_slots(const struct inner_sink *s, struct arena *a)
{
	struct inner_slot *slots = arena_array(a, s->slot_count + 1, sizeof(*slots));

	memcpy(slots, s->slots, s->slot_count * sizeof(*slots));
	return slots;
}

struct value inner_value(const struct inner_slot *slot, const struct value *outer, const struct inner_outcome *outcomes,
			 const struct value *item, struct arena *a)
{
	const struct inner_outcome *o;

	switch (slot->kind) {
	case INNER_OUTER:
		return outer[slot->index];
	case INNER_ITEM:
		return item ? value_follow(item, slot->path.segments, slot->path.count, a) : VALUE_OF_NULL;
	case INNER_RESULT:
		break;
	}
	o = &outcomes[slot->index];
	if (o->result)
		return o->result->ops->get(o->result, &slot->path, a);
	return o->substitute ? value_follow(o->substitute, slot->path.segments, slot->path.count, a) : VALUE_OF_NULL;
}

int inner_elements(const struct value *list, const char *reference, struct arena *a, const struct value_member **out,
		   struct error *e)
{
	char text[sizeof(e->public)];

	if (value_looks(list) != VALUE_LIST) {
		snprintf(text, sizeof(text), "%.100s %s.", reference, UNFIT_NOT_LIST);
		return error_set(e, -EINVAL, list->from_request ? 400 : 500, list->from_request ? text : NULL,
				 "each: %s", text);
	}
	size_t count = value_parts(list, a, out);
	if (count > INNER_MAX_ELEMENTS)
		return error_say(e, -E2BIG, REASON_EACH_LONG, "each: %s has %zu elements, and %d may be", reference,
				 count, INNER_MAX_ELEMENTS);
	return (int)count;
}

/* --- a document --- */

struct document {
	struct result base;
	size_t count;
	char *missing;
	struct member {
		const char *name;
		struct inner_outcome outcome;
	} members[];
};

static struct value outcome_value(const struct inner_outcome *o, const struct path *path, struct arena *a)
{
	if (o->result)
		return o->result->ops->get(o->result, path, a);
	return o->substitute ? value_follow(o->substitute, path->segments, path->count, a) : VALUE_OF_NULL;
}

static void document_render(const struct result *base, struct buf *out)
{
	const struct document *d = container_of(base, const struct document, base);
	bool first = true;

	buf_char(out, '{');
	for (size_t i = 0; i < d->count && !buf_over(out); i++) {
		const struct inner_outcome *o = &d->members[i].outcome;
		if (o->omitted)
			continue;
		if (!first)
			buf_char(out, ',');
		first = false;
		json_string(out, d->members[i].name, strlen(d->members[i].name));
		buf_char(out, ':');
		if (o->result)
			o->result->ops->render(o->result, out);
		else if (o->substitute)
			value_render(o->substitute, out);
		else
			buf_lit(out, "null");
	}
	buf_char(out, '}');
}

static struct value whole_document(const struct document *d, struct arena *a)
{
	struct value_member *members = arena_array(a, d->count + 1, sizeof(*members));
	static const struct path all = {0};
	uint32_t count = 0;

	for (size_t i = 0; i < d->count; i++) {
		const struct member *m = &d->members[i];
		if (!m->outcome.omitted)
			members[count++] = (struct value_member){m->name, strlen(m->name),
								 outcome_value(&m->outcome, &all, a)};
	}
	return (struct value){.kind = VALUE_DOCUMENT, .brought = true, .count = count, .members = members};
}

static struct value document_get(const struct result *base, const struct path *path, struct arena *a)
{
	const struct document *d = container_of(base, const struct document, base);

	if (path->count == 0)
		return whole_document(d, a);
	const struct path_segment *first = path->segments;
	for (size_t i = 0; i < d->count && first->kind == PATH_MEMBER; i++) {
		const struct member *m = &d->members[i];
		if (strlen(m->name) == first->name_len && memcmp(m->name, first->name, first->name_len) == 0)
			return outcome_value(&m->outcome, &(struct path){first + 1, path->count - 1}, a);
	}
	return VALUE_OF_NULL;
}

static void document_free(struct result *base)
{
	struct document *d = container_of(base, struct document, base);

	for (size_t i = 0; i < d->count; i++)
		result_free(d->members[i].outcome.result);
	free(d->missing);
	free(d);
}

static const struct result_ops document_ops = {.render = document_render, .get = document_get, .free = document_free};

struct result *inner_document(const struct inner_outcome *outcomes, const char *const *names, size_t count,
			      const char *around)
{
	struct document *d = mem_zalloc(sizeof(*d) + count * sizeof(d->members[0]));
	struct buf missing = BUF_INIT;

	d->base.ops = &document_ops;
	d->count = count;
	for (size_t i = 0; i < count; i++) {
		d->members[i] = (struct member){names[i], outcomes[i]};
		d->base.rows += outcomes[i].result ? outcomes[i].result->rows : 0;
		if (outcomes[i].replaced)
			buf_printf(&missing, "%s%s.%s", missing.len ? ", " : "", around, names[i]);
	}
	if (missing.len)
		d->missing = mem_strdup(buf_cstr(&missing));
	d->base.missing = d->missing;
	buf_done(&missing);
	return &d->base;
}

/* --- a list --- */

struct list_of_results {
	struct result base;
	size_t count;
	struct result *items[];
};

static void list_render(const struct result *base, struct buf *out)
{
	const struct list_of_results *l = container_of(base, const struct list_of_results, base);

	buf_char(out, '[');
	for (size_t i = 0; i < l->count && !buf_over(out); i++) {
		if (i)
			buf_char(out, ',');
		l->items[i]->ops->render(l->items[i], out);
	}
	buf_char(out, ']');
}

static struct value list_get(const struct result *base, const struct path *path, struct arena *a)
{
	const struct list_of_results *l = container_of(base, const struct list_of_results, base);
	const struct path_segment *first = path->segments;

	if (path->count > 0 && first->kind == PATH_INDEX) {
		if (first->index >= l->count)
			return VALUE_OF_NULL;
		struct result *item = l->items[first->index];
		return item->ops->get(item, &(struct path){first + 1, path->count - 1}, a);
	}
	struct value *items = arena_array(a, l->count + 1, sizeof(*items));
	static const struct path all = {0};
	for (size_t i = 0; i < l->count; i++)
		items[i] = l->items[i]->ops->get(l->items[i], &all, a);
	struct value list = {.kind = VALUE_LIST, .brought = true, .count = (uint32_t)l->count, .list = items};
	return value_follow(&list, path->segments, path->count, a);
}

static void list_free(struct result *base)
{
	struct list_of_results *l = container_of(base, struct list_of_results, base);

	for (size_t i = 0; i < l->count; i++)
		result_free(l->items[i]);
	free(l);
}

static const struct result_ops list_ops = {.render = list_render, .get = list_get, .free = list_free};

struct result *inner_list(struct result *const *items, size_t count)
{
	struct list_of_results *l = mem_zalloc(sizeof(*l) + count * sizeof(struct result *));

	l->base.ops = &list_ops;
	l->count = count;
	for (size_t i = 0; i < count; i++) {
		l->items[i] = items[i];
		l->base.rows += items[i]->rows;
	}
	return &l->base;
}

/* semaphores: by name, and in place where a number stands. All are one list; whoever holds one has its index. */
#include <string.h>

#include "config/language.h"

/* --- declaring ------------------------------------------------------------------------------------------------- */

static struct config_semaphore *add(struct decoder *dc, const char *name, struct mark at)
{
	struct config *c = dc->config;

	if (c->semaphore_count == dc->semaphore_capacity) {
		size_t capacity = dc->semaphore_capacity ? 2 * dc->semaphore_capacity : 16;
		struct config_semaphore *grown = arena_array(dc->arena, capacity, sizeof(*grown));
		if (c->semaphore_count)
			memcpy(grown, c->semaphores, c->semaphore_count * sizeof(*grown));
		c->semaphores = grown;
		dc->semaphore_capacity = capacity;
	}
	struct config_semaphore *s = &c->semaphores[c->semaphore_count++];
	*s = (struct config_semaphore){.name = name, .at = at};
	return s;
}

/* { permits, max_waiting }, or the permits alone. */
static void decode_permits(struct decoder *dc, const char *name, const struct node *n, struct config_semaphore *s)
{
	if (n->kind == NODE_MAPPING) {
		decode_section(dc, &section_semaphore, name, n, s);
		return;
	}
	decode_defaults(dc, &section_semaphore, n->at, s);
	decode_as(dc, &section_semaphore, "permits", name, n, s);
}

void decode_semaphores(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	(void)object;
	if (!decode_is_mapping(dc, k->name, n))
		return;
	for (size_t i = 0; i < n->count; i++) {
		const struct node *name = n->members[i].key;
		if (!is_name(name->text))
			decode_error(dc, name->at, "semaphore \"%.100s\": " NAME_RULE, name->text);
		decode_permits(dc, name->text, n->members[i].value, add(dc, name->text, name->at));
	}
}

static int find(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->semaphore_count; i++) {
		if (c->semaphores[i].name && strcmp(c->semaphores[i].name, name) == 0)
			return (int)i;
	}
	return -1;
}

static void report_unknown(struct decoder *dc, const struct node *n)
{
	const struct config *c = dc->config;
	const char **names = arena_array(&dc->diagnostics->arena, c->semaphore_count + 1, sizeof(*names));
	size_t count = 0;

	for (size_t i = 0; i < c->semaphore_count; i++) {
		if (c->semaphores[i].name)
			names[count++] = c->semaphores[i].name;
	}
	decode_unknown(dc, n->at, "semaphore", n->expanded ? "from the environment" : n->text, names, count);
}

void decode_semaphore(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	int index = -1;

	n = node_unquoted(n, dc->arena);
	if (n->kind == NODE_INT) {
		index = (int)dc->config->semaphore_count;
		decode_permits(dc, k->name, n, add(dc, NULL, n->at));
	} else if (n->kind == NODE_STRING && n->len > 0 && !n->refused) {
		index = find(dc->config, n->text);
		if (index < 0)
			report_unknown(dc, n);
	} else {
		decode_unexpected(dc, k->name, n, "a number or the name of a semaphore");
	}
	memcpy((char *)object + k->offset, &index, sizeof(index));
}

/* --- one while another is held --------------------------------------------------------------------------------- */

/* In a request `wanted` is waited for while `held` is. An endpoint's is taken first, then a step's, then its source's.
 */
struct hold {
	int held, wanted;
	const struct config_step *step;
};

struct holds {
	struct hold *items;
	size_t count;
};

static void add_hold(struct holds *h, int held, int wanted, const struct config_step *step)
{
	if (held >= 0 && wanted >= 0 && held != wanted)
		h->items[h->count++] = (struct hold){held, wanted, step};
}

static void refuse_twice(struct decoder *dc, const struct config_endpoint *e, const struct config_step *s)
{
	const char *name = s->source->semaphore >= 0 ? dc->config->semaphores[s->source->semaphore].name : NULL;

	if (e->semaphore >= 0 && s->semaphore == e->semaphore)
		decode_error(dc, s->at, "step \"%s\" takes the semaphore \"%s\", which its endpoint holds already",
			     s->name, dc->config->semaphores[s->semaphore].name);
	if (s->source->semaphore < 0)
		return;
	if (s->source->semaphore == e->semaphore)
		decode_error(dc, s->at,
			     "step \"%s\": its source \"%s\" takes the semaphore \"%s\", which the endpoint holds "
			     "already",
			     s->name, s->source->name, name);
	if (s->source->semaphore == s->semaphore)
		decode_error(dc, s->at,
			     "step \"%s\": its source \"%s\" takes the semaphore \"%s\", which the step holds already",
			     s->name, s->source->name, name);
}

static void collect(struct decoder *dc, const struct config *c, struct holds *h)
{
	size_t steps = 0;

	for (size_t i = 0; i < c->endpoint_count; i++)
		steps += c->endpoints[i].step_count;
	h->items = arena_array(&dc->diagnostics->arena, 3 * steps, sizeof(*h->items));
	for (size_t i = 0; i < c->endpoint_count; i++) {
		const struct config_endpoint *e = &c->endpoints[i];
		for (size_t j = 0; j < e->step_count; j++) {
			const struct config_step *s = &e->steps[j];
			refuse_twice(dc, e, s);
			add_hold(h, e->semaphore, s->semaphore, s);
			add_hold(h, e->semaphore, s->source->semaphore, s);
			add_hold(h, s->semaphore, s->source->semaphore, s);
		}
	}
}

/* Drop what is in no circle: a semaphore that is never wanted, or never held. What is left waits for itself. */
static void drop_ends(const struct config *c, struct holds *h, struct arena *a)
{
	bool *held = arena_array(a, c->semaphore_count, sizeof(*held));
	bool *wanted = arena_array(a, c->semaphore_count, sizeof(*wanted));
	size_t before;

	do {
		before = h->count;
		memset(held, 0, c->semaphore_count * sizeof(*held));
		memset(wanted, 0, c->semaphore_count * sizeof(*wanted));
		for (size_t i = 0; i < h->count; i++) {
			held[h->items[i].held] = true;
			wanted[h->items[i].wanted] = true;
		}
		h->count = 0;
		for (size_t i = 0; i < before; i++) {
			if (wanted[h->items[i].held] && held[h->items[i].wanted])
				h->items[h->count++] = h->items[i];
		}
	} while (h->count < before);
}

void check_semaphores(struct decoder *dc, const struct config *c)
{
	struct holds h = {0};

	if (c->semaphore_count == 0)
		return;
	collect(dc, c, &h);
	drop_ends(c, &h, &dc->diagnostics->arena);
	for (size_t i = 0; i < h.count; i++) {
		const char *wanted = c->semaphores[h.items[i].wanted].name, *held = c->semaphores[h.items[i].held].name;
		if (wanted && held) /* a circle has more than those in place */
			diagnostics_warning(dc->diagnostics, h.items[i].step->at,
					    "step \"%s\" waits for the semaphore \"%s\" while \"%s\" is held, and "
					    "others the other way round: they can wait for each other until their time "
					    "is up",
					    h.items[i].step->name, wanted, held);
	}
}

/* One walk over the tree, with a stack of the containers around. The names of a large object are sorted, so that it
 * costs no square. */
#include "handlers/web/duplicates.h"

#include "base/reason.h"

#include <stdlib.h>
#include <string.h>

#define FEW 8 /* members that are compared each with each */

struct level {
	const struct json *container, *next; /* next: the child that is looked at next */
	uint32_t index;                      /* of it */
};

struct walk {
	struct mistakes *mistakes;
	struct arena *arena;
	unsigned depth;
	bool found;
	struct level levels[JSON_MAX_DEPTH];
};

static bool same_name(const struct json *a, const struct json *b)
{
	return a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
}

static int by_name(const void *left, const void *right)
{
	const struct json *a = *(const struct json *const *)left, *b = *(const struct json *const *)right;
	size_t common = a->name_len < b->name_len ? a->name_len : b->name_len;
	int order = common ? memcmp(a->name, b->name, common) : 0;

	return order ? order : (a->name_len > b->name_len) - (a->name_len < b->name_len);
}

/* The way to the innermost container, and its member. */
static void report(struct walk *w, const struct json *member)
{
	struct mistake_step steps[JSON_MAX_DEPTH];
	struct mistake_place at = mistake_at(IN_BODY, "");

	for (unsigned i = 0; i + 1 < w->depth; i++) {
		const struct level *l = &w->levels[i];
		steps[i] = (struct mistake_step){.child = w->levels[i + 1].container,
						 .index = l->index - 1,
						 .item = l->container->kind == JSON_ARRAY};
		at.depth++;
	}
	at.steps = steps;
	at.member = member->name;
	at.member_len = member->name_len;
	mistake_add(w->mistakes, &at, NULL, MISTAKE_TWICE);
	w->found = true;
}

static bool among_few(const struct json *object, const struct json *member, bool before)
{
	const struct json *j = before ? object->child : member->next;

	for (; j && j != member; j = j->next)
		if (same_name(j, member))
			return true;
	return false;
}

static void check_object(struct walk *w, const struct json *object)
{
	const struct json **members;
	size_t n = 0;

	if (object->count <= FEW) {
		/* The first of several. */
		for (const struct json *j = object->child; j; j = j->next)
			if (!among_few(object, j, true) && among_few(object, j, false))
				report(w, j);
		return;
	}
	members = arena_array(w->arena, object->count, sizeof(const struct json *));
	for (const struct json *j = object->child; j; j = j->next)
		members[n++] = j;
	qsort(members, n, sizeof(const struct json *), by_name);
	for (size_t i = 1; i < n; i++)
		if (same_name(members[i - 1], members[i]) && (i == 1 || !same_name(members[i - 2], members[i])))
			report(w, members[i]);
}

static void enter(struct walk *w, const struct json *j)
{
	if (j->kind != JSON_ARRAY && j->kind != JSON_OBJECT)
		return;
	w->levels[w->depth++] = (struct level){.container = j, .next = j->child};
	if (j->kind == JSON_OBJECT)
		check_object(w, j);
}

bool duplicates_none(struct mistakes *m, const struct json *j, struct arena *a, size_t *values)
{
	struct walk *w = arena_alloc(a, sizeof(*w));

	w->mistakes = m;
	w->arena = a;
	w->depth = 0;
	w->found = false;
	enter(w, j);
	*values = 1;
	while (w->depth > 0) {
		struct level *top = &w->levels[w->depth - 1];
		const struct json *child = top->next;
		if (!child) {
			w->depth--;
			continue;
		}
		top->next = child->next;
		top->index++;
		++*values;
		enter(w, child);
	}
	return !w->found;
}

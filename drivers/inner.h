/* Steps within a step: what a transaction's steps refer to, and the results that they bring together.
 *
 * Only the step around them is known to the plan. When it is compiled a sink of its own stands before the plan's: what
 * refers to a step within becomes a slot of the step that refers, all else a slot of the plan's. */
#pragma once

#include "drivers/driver.h"

enum { INNER_MAX_ARGS = 256, INNER_MAX_ELEMENTS = 1000 };

struct inner_slot {
	enum { INNER_OUTER, INNER_RESULT, INNER_ITEM } kind;
	unsigned index;   /* of the plan's args; of the step */
	struct path path; /* into the result, the element */
};

/* How a step within has ended. */
struct inner_outcome {
	struct result *result;          /* NULL: null, or `substitute` */
	const struct value *substitute; /* on_error: { default: … } */
	bool replaced;                  /* it failed */
	bool omitted;                   /* … and has no member in the whole */
};

/* The references of one step within. */
struct inner_sink {
	struct reference_sink base;
	struct reference_sink *outer;
	const struct config_step *steps;
	size_t count;
	size_t at;      /* the step that is being compiled */
	bool has_own;   /* … has ended: its result is there, too */
	bool has_item;  /* {item} is the element: its action runs for each */
	uint32_t needs; /* bits of the steps that it refers to */
	struct diagnostics *diagnostics;
	struct inner_slot slots[INNER_MAX_ARGS];
	unsigned slot_count;
};

/* For step `at` of steps; outer and diagnostics are env's. */
void inner_sink_init(struct inner_sink *s, const struct config_step *steps, size_t count, size_t at,
		     const struct action_env *env);
/* The slot of n, which must be one reference. -1: what is wrong was reported; key: `when`, `each`. */
int inner_reference(struct inner_sink *s, const struct node *n, const char *key, struct action_env *env);

/* The slots by now, s->slot_count of them, in a. */
const struct inner_slot *inner_slots(const struct inner_sink *s, struct arena *a);

/* The value of a slot; outer: the plan's args, item: the element or NULL. Lives in a or in what it came from. */
struct value inner_value(const struct inner_slot *slot, const struct value *outer, const struct inner_outcome *outcomes,
			 const struct value *item, struct arena *a);

/* The elements of what `each` refers to, in a. Returns how many, or with e filled -EINVAL (it is not a list) or -E2BIG
 * (413: more than INNER_MAX_ELEMENTS). */
int inner_elements(const struct value *list, const char *reference, struct arena *a, const struct value_member **out,
		   struct error *e) must_check;

/* One document of the steps' results, which are taken over; around: the step that they stand in, for `missing`. names
 * and substitutes live as long as the configuration. */
struct result *inner_document(const struct inner_outcome *outcomes, const char *const *names, size_t count,
			      const char *around);
/* A list of results, in their order; they are taken over, items is not. */
struct result *inner_list(struct result *const *items, size_t count);

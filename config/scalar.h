/* What the text of a scalar means: the YAML 1.2 core schema, sizes, durations. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/node.h"

/* The kind of a plain scalar: NODE_NULL, NODE_BOOL, NODE_INT (fits int64_t), NODE_FLOAT (any other number),
 * NODE_STRING. */
enum node_kind scalar_kind(const char *text, size_t len);
/* Make n what its text says: its kind, its number, its integer, its boolean. The number is in a. */
void scalar_resolve(struct node *n, struct arena *a);
/* The same for a kind that is settled already. */
void scalar_resolve_as(struct node *n, enum node_kind kind, struct arena *a);
/* .inf and .nan in the spellings of the core schema: numbers that JSON has not. */
bool scalar_is_infinite(const char *text);

/* "1MiB", "1.5GiB", "0": bytes. False if it is not a size or too large. */
bool scalar_size(const char *text, int64_t *bytes);
/* "10s", "1.5h", "800ms", "0": microseconds. False if it is not a duration or too long. */
bool scalar_duration(const char *text, int64_t *us);

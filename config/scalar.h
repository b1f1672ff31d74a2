/* What the text of a scalar means: the YAML 1.2 core schema, sizes, durations. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/node.h"

/* The kind of a plain scalar: NODE_NULL, NODE_BOOL, NODE_INT (fits int64_t), NODE_FLOAT (any other number),
 * NODE_STRING. */
enum node_kind scalar_kind(const char *text, size_t len);
/* The digits of a scalar of kind NODE_INT or NODE_FLOAT as JSON writes them: 12 for 012, 12 for 0xC, 0.5 for .5. In a.
 */
const char *scalar_number(struct arena *a, const char *text, size_t len);
/* .inf and .nan in the spellings of the core schema: numbers that JSON has not. */
bool scalar_is_infinite(const char *text);

/* "1MiB", "1.5GiB", "0": bytes. False where it is no size or too large. */
bool scalar_size(const char *text, int64_t *bytes);
/* "10s", "1.5h", "800ms", "0": microseconds. False where it is no duration or too long. */
bool scalar_duration(const char *text, int64_t *us);

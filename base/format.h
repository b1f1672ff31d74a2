/* The `format:` words of parameters, as JSON Schema (2020-12) means them, and MongoDB's ObjectId. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/value.h"

/* Is text of that format? FORMAT_NONE: any text is. */
bool format_valid(enum value_format format, const char *text, size_t len);
/* What is expected: "a date (YYYY-MM-DD)". */
const char *format_description(enum value_format format);

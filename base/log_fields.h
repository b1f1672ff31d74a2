/* A logfmt line of ours taken apart again, for the outputs that want fields. Any thread.
 *
 * Texts that look like numbers stand in quotes (logfmt_value), so a value without quotes that is a JSON number is one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

enum { LOG_FIELDS_MAX = 32 };

struct log_field {
	const char *key, *value; /* not terminated */
	size_t key_len, value_len;
	bool number;
};

struct log_fields {
	struct log_field items[LOG_FIELDS_MAX];
	size_t count;
};

/* Take apart a line, without its newline. Values point into the line or, if they held escapes, into scratch, which is
 * emptied first. What is beyond LOG_FIELDS_MAX is left out. False: it is not a line of that kind. */
bool log_fields_parse(struct log_fields *out, const char *line, size_t len, struct buf *scratch);
/* The field of that name, or NULL. */
const struct log_field *log_fields_find(const struct log_fields *f, const char *key);
/* Is it a number as JSON writes them? */
bool log_is_number(const char *s, size_t len);

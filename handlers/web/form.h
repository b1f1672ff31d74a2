/* The bodies of HTML forms: application/x-www-form-urlencoded (WHATWG URL, 5) and multipart/form-data (RFC 7578). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "handlers/web/exchange.h"

enum { FORM_MAX_FIELDS = 1000 };

struct form_field {
	struct span name;     /* UTF-8 without NUL */
	struct span filename; /* base NULL: it is not a file. Its last segment, in UTF-8 without NUL; may be empty */
	struct span type; /* of a file: what the client says it is; "application/octet-stream" where it says nothing */
	struct span content; /* of a file: any bytes; else UTF-8 without NUL */
};

struct form {
	struct form_field *fields; /* in their order */
	size_t count;
};

/* Everything is in a, or points into body. Returns 0; -EMEDIUMTYPE: content_type is not a form's; or -EBADMSG (not
 * well-formed) or -E2BIG (more than FORM_MAX_FIELDS): *why says what is wrong, quoting nothing. Any thread. */
int form_parse(struct form *out, struct arena *a, struct span content_type, struct span body,
	       const char **why) must_check;

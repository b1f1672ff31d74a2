/* Problem documents (RFC 9457): what every reply that is an error says. */
#pragma once

#include "base/buf.h"

struct problem {
	unsigned status;
	const char *detail;       /* what the client may read; NULL: nothing beyond the title */
	const char *instance;     /* the request id */
	const char *code;         /* NULL or "": none */
	const char *step;         /* NULL: none */
	const char *outcome;      /* "none", "partial", "unknown": of what a request was to change; NULL: not said */
	const char *members_json; /* further members, rendered: `"errors":[…]`; NULL: none */
};

#define PROBLEM_CONTENT_TYPE "application/problem+json"

/* The outcome of a request of this method that was refused before anything was done: "none", or NULL if the method
 * changes nothing (GET, HEAD, OPTIONS). */
const char *problem_outcome_of_refusal(const char *method, size_t len);
/* Append p as JSON. Text that is not UTF-8 is left out. Any thread. */
void problem_render(struct buf *out, const struct problem *p);

/* What went wrong, for whom: filled by whoever fails, logged once and turned into an HTTP status at the edge. */
#pragma once

#include <stdbool.h>

#include "base/compiler.h"

struct error {
	int errnum;        /* -errno; 0: no error */
	int status;        /* the HTTP status that the table of statuses gives it; 0: 500 */
	int retry_after_s; /* with 503: Retry-After in seconds; 0: 1 */
	char code[16];     /* SQLSTATE, MongoDB's code, or "": for the log and, where it helps, the client */
	const char *step;  /* of a plan, where one failed; lives as long as the configuration */
	char public[192];  /* what the client may read: no internals, no data of other clients */
	char what[384];    /* what the log says: what, where, why; no secrets */
};

#define ERROR_INIT ((struct error){0})

/* Fill e and return errnum (negative). public may be NULL: the status's own title is shown. e may be NULL. */
int error_set(struct error *e, int errnum, int status, const char *public_text, const char *format, ...)
	printf_like(5, 6);

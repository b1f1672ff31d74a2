/* What went wrong, for whom: filled by whoever fails, logged once and turned into an HTTP status at the edge. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/reason.h"

/* What a failure has left of the changes that it was about. */
enum change {
	CHANGE_NONE,    /* nothing was changed */
	CHANGE_PARTIAL, /* a part of them was made, and stays */
	CHANGE_UNKNOWN, /* they may or may not have been made */
};

struct error {
	int errnum;        /* -errno; 0: no error */
	int status;        /* the HTTP status that the table of statuses gives it; 0: 500 */
	int retry_after_s; /* with 503 and 409: Retry-After in seconds; 0: 1, and with 409 none */
	uint8_t change;    /* enum change */
	char code[16];     /* SQLSTATE, MongoDB's code, or "": for the log and, if it helps, the client */
	const char *step;  /* of a plan, where one failed; lives as long as the configuration */
	/* Of a step's failure: further members of the problem, `"a":1,"b":2`; NULL: none. Lives as long as the request.
	 */
	const char *members;
	char public[192]; /* what the client may read: no internals, no data of other clients */
	char what[384];   /* what the log says: what, where, why; no secrets */
};

#define ERROR_INIT ((struct error){0})

/* Fill e with the text and the status of m, and return errnum (negative). e may be NULL. */
int error_say(struct error *e, int errnum, enum reason m, const char *format, ...) printf_like(4, 5);
/* The same for a status without a text, and for a public text that was made for the occasion: of parts that stand in
 * base/reason.h, or by a handler. public_text may be NULL: the title of the status is shown. */
int error_set(struct error *e, int errnum, int status, const char *public_text, const char *format, ...)
	printf_like(5, 6);

/* Add to e that the change may or may not have been made: CHANGE_UNKNOWN, in the public text, and in `what`. Once. */
void error_uncertain(struct error *e);
/* Add a sentence (of base/reason.h) to the public text. Cut off if there is no room for it. */
void error_add_public(struct error *e, const char *sentence);

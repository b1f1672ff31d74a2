/* Conditional requests (RFC 9110, 13): does the client have it already, is it still what the client means? */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "handlers/web/exchange.h"

/* What the client asks for; base NULL: it does not. */
struct conditions {
	struct span if_match, if_none_match, if_modified_since, if_unmodified_since, if_range, range;
};

/* What would be sent. */
struct validators {
	const char *etag;   /* with its quotes; a strong one */
	int64_t modified_s; /* since 1970 */
	int64_t now_s;
};

/* Copies them to x's arena. Before the reply only. */
void conditions_take(struct conditions *c, struct exchange *x);
/* The status that is right for what exists: 200: send it; 304; 412. `reads`: GET or HEAD. */
unsigned conditions_status(const struct conditions *c, const struct validators *v, bool reads);
/* Is the range that was asked for one of this version (If-Range)? */
bool conditions_allow_range(const struct conditions *c, const struct validators *v);

/* Is the list "*": any version? */
bool etag_is_any(struct span list);
/* The next tag of a list, with its quotes and without "W/"; what is left of the list goes to *list. `strong`: weak tags
 * are passed over. False: there is none, or what follows is none. */
bool etag_next(struct span *list, struct span *tag, bool strong);
/* Is etag in a list of entity tags, or the list "*"? `strong`: a weak tag matches nothing. */
bool etag_listed(struct span list, const char *etag, bool strong);

/* Prefer (RFC 7240): what a client would like best. Any thread. */
#pragma once

#include <stdbool.h>

#include "handlers/web/exchange.h"

/* Is return=minimal in the fields of that name, joined? Of a preference that stands there twice the first one counts.
 */
bool prefer_minimal(struct span fields);

/* The HTTP status of a failure that is known by its errno alone. */
#pragma once

#include "base/error.h"

/* The failure that belongs to -errno where nobody said more: status and text. */
void error_of_errno(struct error *e, int errnum);

/* What makes a source the one that it is (driver.h, source_identity). */
#pragma once

#include "base/buf.h"

/* Append the contents of that file; NULL, or one that can't be read: nothing. Not on a loop thread. */
void identity_file(struct buf *out, const char *path);

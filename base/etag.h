/* Entity tags (RFC 9110, 8.8.3): the text that stands between their quotes. Any thread. */
#pragma once

#include <stddef.h>

#include "base/buf.h"

/* Append what says that something has the version `text`: the text itself, if it is short and may stand in a tag, else
 * half of its SHA-256 as base64url without padding (RFC 4648, 5). */
void etag_append(struct buf *out, const char *text, size_t len);
/* Append that hash, whatever the text. */
void etag_append_hash(struct buf *out, const char *text, size_t len);

/* A column's text as JSON, as the server's to_json would have rendered it. Any thread. */
#pragma once

#include <stddef.h>

#include "base/buf.h"
#include "drivers/postgres/types/types.h"

/* text is what the server sent for a value of type t that is not null. Cannot fail: text that does not read as its type
 * becomes a string. No recursion: an array may be nested as deep as the server sends it. */
void pg_json_render(struct buf *out, const struct pg_type *t, const char *text, size_t len);

/* How the status page says a value: a word in `data-as` (handlers/admin/status/page.html) names one of these, here and
 * in script.js, where they do the same. */
#pragma once

#include "base/buf.h"
#include "base/json.h"

/* Append v as HTML, as the word of `len` bytes wants it; v NULL: it is not known. `status` is the whole document. */
void status_words_say(struct buf *out, const char *word, size_t len, const struct json *v, const struct json *status);
/* Append text as HTML: nothing in it is markup. */
void status_words_escape(struct buf *out, const char *text, size_t len);

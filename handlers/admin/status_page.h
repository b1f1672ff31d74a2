/* The status page: /-/status.json for people. Its files are in handlers/admin/status/; they are a part of the program.
 */
#pragma once

#include "base/buf.h"
#include "base/compiler.h"

/* Append the page, with what `json` says, which is /-/status.json's text, in its tables and numbers: so it is of use
 * without scripts, too. Any thread. Returns 0, or -EBADMSG: json is not JSON. */
int status_page_render(struct buf *out, const char *json, size_t len) must_check;
/* The Content-Security-Policy under which it works: nothing but its own style and script, by their hashes, and requests
 * to where it came from. Any thread. */
const char *status_page_policy(void);

/* What an HTTP step brought back: JSON text, as it came, and parsed only if something looks inside. */
#pragma once

#include "drivers/http/action.h"
#include "drivers/http/message.h"
#include "drivers/result.h"

/* Make of a whole answer what the step expects of it. Takes r's body where it succeeds. Returns 0; or -EBADMSG (502)
 * with e filled: its status is not a success, it is not JSON, its body is not a text. */
int http_result_new(struct result **out, const struct http_action *a, struct http_response *r,
		    struct error *e) must_check;

/* A whole answer for a handler, as one value: {status, headers, body}; body is what its Content-Type says where that is
 * JSON, else a text if it is UTF-8, else bytes; null where there is none. Set-Cookie is a list, other headers of one
 * name are joined. Takes r's body. */
struct result *http_answer_new(struct http_response *r);
/* The same without body: {status, headers}. Leaves r as it is. */
struct result *http_head_new(const struct http_response *r);

/* The head of an HTTP/1 request, checked line by line as it arrives, before h2o sees it.
 *
 * h2o 2.2.5 takes what must not be taken: a Content-Length beside a Transfer-Encoding, two Content-Lengths, folded
 * fields, two Hosts or none, line ends without CR. Each of them lets somebody hide a request from the proxy in front of
 * us. And what it refuses it refuses in plain text, after up to 400 KiB. So a head reaches h2o only after it was found
 * to be whole, right and within bounds here; whatever is refused is refused as problem+json.
 *
 * No line is read twice, however small the pieces are in which it comes. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/reason.h"

enum {
	HEAD_MAX_METHOD_BYTES = 32,
	HEAD_MAX_TARGET_BYTES = 8 * 1024,
	HEAD_MAX_FIELDS_BYTES = 16 * 1024, /* all of them together, with their line ends */
	HEAD_MAX_FIELDS = 100,             /* h2o has room for no more */
	HEAD_MAX_EMPTY_LINES = 8,          /* before a request line */
};

struct head {
	size_t start;   /* of the request line: after empty lines, which old clients send after a body */
	size_t line;    /* where the line that is being read begins */
	size_t scanned; /* up to here no line end was found */
	size_t size;    /* of the whole head, once it is whole */

	/* of the request line, once it was read; places in the input */
	size_t method_len;
	size_t target, target_len;
	unsigned minor; /* HTTP/1.minor */
	bool have_request_line;

	unsigned empty_lines; /* before it */
	bool cut_line;        /* the line that is being read is not for h2o */
	size_t cut_bytes;     /* of all such lines */

	/* of the fields */
	unsigned fields;
	unsigned hosts;
	bool has_length, chunked, expect_continue;
	bool forwarded; /* Forwarded, X-Forwarded-*, X-Real-IP or Via: a proxy stands between */
	bool close;     /* Connection: close */
	uint64_t content_length;

	enum reason why; /* it was refused */
};

void head_init(struct head *h);

/* Look at what has arrived: base (len bytes) begins where the request begins, and grows between calls; it may move.
 * Blanks behind a field's value are moved before it, so that the value ends where its line ends. What h2o must not see
 * is moved before h->start: empty lines before the request line, Expect in HTTP/1.0.
 * Returns 0: the head is whole (h->size bytes) and right; -EAGAIN: it is right so far; or the status to refuse it with,
 * above 0, and h->why. */
int head_read(struct head *h, char *base, size_t len) must_check;
/* The h->start bytes before the request line were taken out of the input: count from there. Between calls of head_read
 * only. */
void head_drop_start(struct head *h);

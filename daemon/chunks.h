/* The framing of a chunked body (RFC 9112, 7.1), checked as it arrives, before h2o decodes it.
 *
 * h2o 2.2.5 takes chunk lines that end without CR, anything behind a size ("0x5" is a 0), and no end of trailers. A
 * proxy in front that reads one of these differently lets somebody hide a request in a body. What passes here has one
 * meaning: no blanks around sizes and extensions, extensions and trailers as their grammar has them, and no trailer
 * that speaks of the framing. Any thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/reason.h"

enum {
	CHUNKS_MAX_LINE_BYTES = 1024,         /* a size and its extensions */
	CHUNKS_MAX_TRAILER_BYTES = 16 * 1024, /* all of them together, with their line ends */
};

struct chunks {
	unsigned state;
	unsigned digits; /* of the size that is being read */
	uint64_t left;   /* of the chunk; while it is read: its size */
	size_t line;     /* bytes of the chunk line, or of all trailers, so far */
	char name[20];   /* of the trailer that is being read: its first bytes, in lower case */
	size_t name_len; /* … and how long it is so far */
	enum reason why; /* it was refused */
};

void chunks_init(struct chunks *c);

/* Look at the len bytes that follow those before. Returns 0: the body ends among them, what is behind it is none of
 * its; -EAGAIN: it is right so far; or the status to refuse it with, above 0, and c->why. */
int chunks_read(struct chunks *c, const char *p, size_t len) must_check;

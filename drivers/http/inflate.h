/* Decompressing an answer's body while it comes (RFC 9110, 8.4.1: gzip, and deflate, as zlib wraps it or, as many
 * servers send it, bare).
 *
 * libcurl would do it too, but takes a stream that is cut off for a whole one; here the end of the stream must come.
 * One thread at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/compiler.h"

struct inflater {
	z_stream z;
	bool on;       /* the answer is compressed */
	bool choosing; /* its first two bytes decide: zlib's wrapping, or none */
	bool bare;     /* none: no further member can follow */
	uint8_t first; /* the first of them, once it came */
	bool begun;    /* a byte of it came */
	bool ended;    /* and the last one */
};

/* From the value of a Content-Encoding header. Returns 0, -EOPNOTSUPP (a coding that is none of ours, or several), or
 * -ENOMEM. An answer without that header, or with `identity`, is not compressed. */
int inflater_begin(struct inflater *i, const char *coding, size_t len) must_check;
/* Append what data decompresses to, as long as out stays within max bytes. Returns 0, -EMSGSIZE (it would not), or
 * -EBADMSG (it is no such stream, or goes on behind its end). */
int inflater_feed(struct inflater *i, const void *data, size_t len, struct buf *out, size_t max) must_check;
/* The body has ended: was it whole? One without a byte is. */
static inline bool inflater_whole(const struct inflater *i)
{
	return !i->on || !i->begun || i->ended;
}
/* The same up to max bytes in out, and no further: *used says how much of data that took. As long as out was filled
 * there may be more of what was used, to be had with the rest, or with nothing. */
int inflater_some(struct inflater *i, const void *data, size_t len, size_t *used, struct buf *out,
		  size_t max) must_check;
/* Idempotent; a zeroed one may be passed. */
void inflater_end(struct inflater *i);

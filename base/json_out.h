/* Rendering JSON text (RFC 8259) into a buffer, compactly. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* A string with its quotes. Escapes as PostgreSQL's escape_json does: \b \f \n \r \t \" \\ and \u00xx (lower case hex)
 * for the other characters below 0x20; everything else goes through. s must be UTF-8. */
void json_string(struct buf *out, const char *s, size_t len);
/* The same without the quotes. */
void json_escape(struct buf *out, const char *s, size_t len);
/* Short text that reads back as d, as JavaScript would write it: 1.0 is `1`, 0.1 is `0.1`, 1e300 is `1e+300`. NaN and
 * the infinities become the strings "NaN", "Infinity", "-Infinity"; -0.0 is `-0`. */
void json_double(struct buf *out, double d);
/* Binary as a base64 string (RFC 4648, padded) with its quotes. */
void json_base64(struct buf *out, const void *p, size_t len);

#define json_null(out) buf_lit((out), "null")
static inline void json_bool(struct buf *out, int b)
{
	if (b)
		buf_lit(out, "true");
	else
		buf_lit(out, "false");
}

/* Percent-decoding (RFC 3986), of path segments and of query strings. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/compiler.h"

/* Decode s into out, which has room for len bytes; plus: `+` is a blank (application/x-www-form-urlencoded). Returns
 * the decoded bytes, or -EBADMSG: a `%` without two hexadecimal digits, or what comes out holds a NUL or is no UTF-8.
 */
ssize_t percent_decode(char *out, const char *s, size_t len, bool plus) must_check;

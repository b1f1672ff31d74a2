/* UTF-8 (RFC 3629). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. A NUL byte is well-formed. */
bool utf8_valid(const char *s, size_t len);
/* How many bytes from the beginning are well-formed: where the first wrong one stands, or len. */
size_t utf8_prefix(const char *s, size_t len);
/* Code points in well-formed text. */
size_t utf8_length(const char *s, size_t len);
/* Write a code point that is not a surrogate and at most U+10FFFF; out has 4 bytes of room. Returns its bytes. */
size_t utf8_encode(char *out, uint32_t code_point);

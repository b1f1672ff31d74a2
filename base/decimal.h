/* JSON numbers as the decimal numbers that they are, digit for digit: compared and turned into integers without passing
 * through a double. Text must be a valid JSON number (json_is_number). Exponents beyond 10^15 count as 10^15. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Below 0: a is less than b; 0: they are equal (1.0 and 1e0 are); above 0: a is greater. */
int decimal_compare(const char *a, size_t a_len, const char *b, size_t b_len);
/* Is it an integer, in JSON Schema's sense: 1, 1.0 and 10e-1 are? */
bool decimal_is_integer(const char *text, size_t len);
/* The integer's value; false if it is not an integer or does not fit. */
bool decimal_to_int64(const char *text, size_t len, int64_t *out);
/* The same text for equal numbers, and only for them: 1, 1.0 and 10e-1 give "1e1" (0.1 x 10^1). */
void decimal_canonical(struct buf *out, const char *text, size_t len);
/* Is it above 0, with at most 18 significant digits? */
bool decimal_divides(const char *text, size_t len);
/* Is a an integer times b, exactly? decimal_divides(b). Linear in a's length. */
bool decimal_is_multiple(const char *a, size_t a_len, const char *b, size_t b_len);

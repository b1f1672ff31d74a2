/* Range: bytes=… (RFC 9110, 14). */
#pragma once

#include <stdint.h>

#include "base/compiler.h"
#include "handlers/web/exchange.h"

enum { RANGES_MAX = 32 };

struct byte_range {
	uint64_t first, last; /* both are in it */
};

/* The parts that a Range header asks for of `size` bytes, in its order. Returns how many; 0: send the whole (another
 * unit, no right header, more than RANGES_MAX, or parts that come to more than the whole); -ERANGE: none of them is
 * there (416). */
int ranges_parse(struct span header, uint64_t size, struct byte_range out[RANGES_MAX]) must_check;

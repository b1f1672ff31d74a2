/* A 64-bit hash of bytes, for what is compared within one run of the process: FNV-1a. Not for what a stranger chooses,
 * unless the start is a secret. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define HASH_INIT UINT64_C(14695981039346656037)

/* h: HASH_INIT, or the hash of what comes before. */
static inline uint64_t hash_bytes(uint64_t h, const void *data, size_t len)
{
	const unsigned char *s = data;

	for (size_t i = 0; i < len; i++)
		h = (h ^ s[i]) * UINT64_C(1099511628211);
	return h;
}

/* The one question that reading and rendering JSON strings share: how far do characters go that a JSON string holds as
 * they are? Both spend most of their time here, so it looks at eight bytes at once. */
#pragma once

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define JSON_SCAN_EACH(byte) (0x0101010101010101u * (byte))

/* A bit in the highest place of every byte of word that is a quote, a backslash or below 0x20. Bytes above such a byte
 * may be marked wrongly (the borrow of the subtraction); the lowest mark is always right. */
static inline uint64_t json_special_bytes(uint64_t word)
{
	uint64_t quote = word ^ JSON_SCAN_EACH('"');
	uint64_t backslash = word ^ JSON_SCAN_EACH('\\');

	return (((quote - JSON_SCAN_EACH(1)) & ~quote) | ((backslash - JSON_SCAN_EACH(1)) & ~backslash) |
		((word - JSON_SCAN_EACH(0x20)) & ~word)) &
	       JSON_SCAN_EACH(0x80);
}

/* How many bytes of s come before the first quote, backslash or control character, or len. */
static inline size_t json_plain_run(const char *s, size_t len)
{
	size_t i = 0;

	for (; len - i >= 8; i += 8) {
		uint64_t word;

		memcpy(&word, s + i, sizeof(word));
		uint64_t special = json_special_bytes(le64toh(word));
		if (special)
			return i + (size_t)__builtin_ctzll(special) / 8;
	}
	for (; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c == '"' || c == '\\')
			break;
	}
	return i;
}

/* UTF-8: checking, counting, encoding. Most of what passes is ASCII, so that is skipped eight bytes at a time. */
#include "base/utf8.h"

#include <string.h>

#define HIGH_BITS 0x8080808080808080u

static bool is_continuation(unsigned char c)
{
	return (c & 0xC0) == 0x80;
}

/* The length of the well-formed sequence of two to four bytes at p, or 0. The second byte's range is narrower after E0
 * (overlong), ED (surrogates), F0 (overlong) and F4 (above U+10FFFF): RFC 3629, section 4. */
static size_t sequence_length(const unsigned char *p, size_t left)
{
	unsigned char lead = p[0];

	if (lead < 0xC2 || lead > 0xF4)
		return 0;
	if (lead < 0xE0)
		return left >= 2 && is_continuation(p[1]) ? 2 : 0;
	if (left < 3)
		return 0;

	unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
	unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;

	if (p[1] < low || p[1] > high || !is_continuation(p[2]))
		return 0;
	if (lead < 0xF0)
		return 3;
	return left >= 4 && is_continuation(p[3]) ? 4 : 0;
}

size_t utf8_prefix(const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t i = 0;

	while (i < len) {
		uint64_t word;

		while (len - i >= sizeof(word)) {
			memcpy(&word, p + i, sizeof(word));
			if (word & HIGH_BITS)
				break;
			i += sizeof(word);
		}
		while (i < len && p[i] < 0x80)
			i++;
		while (i < len && p[i] >= 0x80) {
			size_t n = sequence_length(p + i, len - i);

			if (n == 0)
				return i;
			i += n;
		}
	}
	return len;
}

bool utf8_valid(const char *s, size_t len)
{
	return utf8_prefix(s, len) == len;
}

size_t utf8_length(const char *s, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++)
		n += !is_continuation((unsigned char)s[i]);
	return n;
}

size_t utf8_encode(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xC0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3F));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xE0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3F));
		out[2] = (char)(0x80 | (c & 0x3F));
		return 3;
	}
	out[0] = (char)(0xF0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3F));
	out[2] = (char)(0x80 | (c >> 6 & 0x3F));
	out[3] = (char)(0x80 | (c & 0x3F));
	return 4;
}

/* Names and values of headers. */
#include "base/token.h"

#include <stdint.h>
#include <string.h>

bool is_token_byte(unsigned char byte)
{
	static const bool token[256] = {
		['!'] = true,         ['#' ... '\''] = true, ['*' ... '+'] = true,
		['-' ... '.'] = true, ['0' ... '9'] = true,  ['A' ... 'Z'] = true,
		['^' ... 'z'] = true, ['|'] = true,          ['~'] = true,
	};
	return token[byte];
}

bool is_token(const char *s)
{
	size_t n = 0;
	while (is_token_byte((unsigned char)s[n]))
		n++;
	return n > 0 && s[n] == '\0';
}

/* Eight bytes without a control character, as most are. False may also be said of others. */
static bool is_plain(const char *s)
{
	const uint64_t each = UINT64_MAX / 255;
	uint64_t bytes, low, deleted;

	memcpy(&bytes, s, sizeof(bytes));
	low = (bytes - each * ' ') & ~bytes;
	bytes ^= each * 0x7F;
	deleted = (bytes - each) & ~bytes;
	return ((low | deleted) & each * 0x80) == 0;
}

bool is_field_value(const char *s, size_t len)
{
	size_t i = 0;

	while (i < len) {
		if (len - i >= 8 && is_plain(s + i)) {
			i += 8;
			continue;
		}
		if (((unsigned char)s[i] < ' ' && s[i] != '\t') || s[i] == 0x7F)
			return false;
		i++;
	}
	return true;
}

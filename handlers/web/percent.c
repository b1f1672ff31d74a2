/* Percent-decoding. What comes out is text: NUL and bad UTF-8 are refused here, once, for everybody. */
#include "handlers/web/percent.h"

#include <errno.h>
#include <string.h>

#include "base/utf8.h"

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

ssize_t percent_decode(char *out, const char *s, size_t len, bool plus)
{
	char *to = out;

	for (size_t i = 0; i < len; i++) {
		char c = s[i];

		if (c == '%') {
			int high = len - i > 2 ? hex_digit(s[i + 1]) : -1;
			int low = len - i > 2 ? hex_digit(s[i + 2]) : -1;

			if (high < 0 || low < 0)
				return -EBADMSG;
			c = (char)(high << 4 | low);
			i += 2;
		} else if (plus && c == '+') {
			c = ' ';
		}
		if (c == '\0')
			return -EBADMSG;
		*to++ = c;
	}

	size_t n = (size_t)(to - out);
	return utf8_valid(out, n) ? (ssize_t)n : -EBADMSG;
}

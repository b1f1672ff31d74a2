/* Percent-decoding. What comes out is text: NUL and bad UTF-8 are refused here, once, for everybody. */
#include "handlers/web/percent.h"

#include <errno.h>
#include <string.h>

#include "base/ascii.h"
#include "base/utf8.h"

ssize_t percent_decode(char *out, const char *s, size_t len, bool plus)
{
	char *to = out;

	for (size_t i = 0; i < len; i++) {
		char c = s[i];

		if (c == '%') {
			int high = len - i > 2 ? ascii_hex_value(s[i + 1]) : -1;
			int low = len - i > 2 ? ascii_hex_value(s[i + 2]) : -1;

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

/* Rendering JSON: strings, numbers, binary. Strings are copied in runs between the characters that need escaping. */
#include "base/json_out.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/ascii.h"
#include "base/compiler.h"
#include "base/json_scan.h"

static void escape_one(struct buf *out, unsigned char c)
{
	static const char letters[] = {
		['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\',
	};

	if (letters[c]) {
		buf_append(out, (char[]){'\\', letters[c]}, 2);
		return;
	}
	buf_append(out, (char[]){'\\', 'u', '0', '0', ascii_hex_digit(c >> 4), ascii_hex_digit(c)}, 6);
}

void json_escape(struct buf *out, const char *s, size_t len)
{
	for (;;) {
		size_t run = json_plain_run(s, len);

		buf_append(out, s, run);
		if (run == len)
			return;
		escape_one(out, (unsigned char)s[run]);
		s += run + 1;
		len -= run + 1;
	}
}

void json_string(struct buf *out, const char *s, size_t len)
{
	buf_reserve(out, len + 2);
	buf_char(out, '"');
	json_escape(out, s, len);
	buf_char(out, '"');
}

/* Write n / 10^places. */
static void decimal_text(struct buf *out, int64_t n, unsigned places)
{
	static const int64_t tens[] = {1, 10, 100, 1000, 10000, 100000, 1000000};

	if (n < 0)
		buf_char(out, '-');
	uint64_t magnitude = n < 0 ? -(uint64_t)n : (uint64_t)n;
	buf_int(out, (int64_t)(magnitude / (uint64_t)tens[places]));
	if (places == 0)
		return;

	uint64_t fraction = magnitude % (uint64_t)tens[places];
	char digits[8];
	for (unsigned i = places; i > 0; i--, fraction /= 10)
		digits[i - 1] = (char)('0' + fraction % 10);
	buf_char(out, '.');
	buf_append(out, digits, places);
}

/* Prices, coordinates and counts have few decimal places. If n / 10^k gives d, with n below 2^53 and k small, the
 * division is exact to the last bit, and so is reading the text back (Clinger 1990); below 10^15 no other text of 15
 * digits does, so the first k that fits is the shortest. */
static bool few_places(struct buf *out, double d)
{
	static const double tens[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6};

	if (d == 0 && signbit(d))
		return false;
	for (unsigned k = 0; k < ARRAY_SIZE(tens); k++) {
		double scaled = d * tens[k];

		if (fabs(scaled) >= 1e15)
			return false;
		int64_t n = llrint(scaled);
		if ((double)n / tens[k] == d) {
			decimal_text(out, n, k);
			return true;
		}
	}
	return false;
}

void json_double(struct buf *out, double d)
{
	if (isnan(d)) {
		buf_lit(out, "\"NaN\"");
		return;
	}
	if (isinf(d)) {
		if (d > 0)
			buf_lit(out, "\"Infinity\"");
		else
			buf_lit(out, "\"-Infinity\"");
		return;
	}
	if (few_places(out, d))
		return;

	/* 15 digits always survive being a double, 17 always bring it back. Subnormals have fewer. */
	char text[32];
	int digits = fabs(d) < DBL_MIN ? 1 : DBL_DIG;
	int n;
	do
		n = snprintf(text, sizeof(text), "%.*g", digits, d);
	while (digits++ < 17 && strtod(text, NULL) != d);
	buf_append(out, text, (size_t)n);
}

void json_base64(struct buf *out, const void *p, size_t len)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *in = p;

	buf_reserve(out, (len + 2) / 3 * 4 + 2);
	char *to = out->data + out->len;
	*to++ = '"';
	for (; len >= 3; len -= 3, in += 3) {
		uint32_t group = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];

		*to++ = digits[group >> 18];
		*to++ = digits[group >> 12 & 63];
		*to++ = digits[group >> 6 & 63];
		*to++ = digits[group & 63];
	}
	if (len > 0) {
		uint32_t group = (uint32_t)in[0] << 16 | (len == 2 ? (uint32_t)in[1] << 8 : 0);

		*to++ = digits[group >> 18];
		*to++ = digits[group >> 12 & 63];
		*to++ = len == 2 ? digits[group >> 6 & 63] : '=';
		*to++ = '=';
	}
	*to++ = '"';
	out->len = (size_t)(to - out->data);
}

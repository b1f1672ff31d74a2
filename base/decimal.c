/* Decimal numbers as text: sign, significant digits and the place of the point, compared from the left. */
#include "base/decimal.h"

#include <string.h>

#define EXPONENT_LIMIT 1000000000000000 /* 10^15: no text has as many digits */

/* Its value is 0.d1d2d3… × 10^point, with d1 and the last digit not 0; zero has no digits. */
struct decimal {
	bool negative;
	const char *digits; /* may have a '.' among them */
	const char *end;    /* after the last digit that is not 0 */
	int64_t point;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int64_t exponent_of(const char *s, const char *end)
{
	bool negative = s < end && *s == '-';
	int64_t n = 0;

	if (s < end && (*s == '-' || *s == '+'))
		s++;
	for (; s < end && n < EXPONENT_LIMIT; s++)
		n = n * 10 + (*s - '0');
	if (n > EXPONENT_LIMIT)
		n = EXPONENT_LIMIT;
	return negative ? -n : n;
}

static struct decimal decimal_of(const char *text, size_t len)
{
	struct decimal d = {.negative = len > 0 && text[0] == '-'};
	const char *s = text + d.negative, *end = text + len;
	const char *e = s;

	while (e < end && (is_digit(*e) || *e == '.'))
		e++;
	if (e < end)
		d.point = exponent_of(e + 1, end);

	const char *dot = memchr(s, '.', (size_t)(e - s));
	if (!dot)
		dot = e;
	while (s < e && (*s == '0' || *s == '.'))
		s++;
	while (e > s && (e[-1] == '0' || e[-1] == '.'))
		e--;
	/* The digits before the point, or as a negative number the zeros between it and the first digit. */
	d.point += s < dot ? dot - s : dot + 1 - s;
	d.digits = s;
	d.end = e;
	if (s == e)
		d = (struct decimal){.digits = s, .end = s};
	return d;
}

/* The next digit, 0 after the last. */
static char next_digit(const char **s, const char *end)
{
	if (*s < end && **s == '.')
		++*s;
	return *s < end ? *(*s)++ : '0';
}

static int compare_magnitude(const struct decimal *a, const struct decimal *b)
{
	bool a_zero = a->digits == a->end, b_zero = b->digits == b->end;

	if (a_zero || b_zero)
		return b_zero - a_zero;
	if (a->point != b->point)
		return a->point < b->point ? -1 : 1;
	for (const char *s = a->digits, *t = b->digits; s < a->end || t < b->end;) {
		char x = next_digit(&s, a->end), y = next_digit(&t, b->end);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return 0;
}

int decimal_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
	struct decimal x = decimal_of(a, a_len), y = decimal_of(b, b_len);

	if (x.negative != y.negative)
		return x.negative ? -1 : 1;
	return x.negative ? compare_magnitude(&y, &x) : compare_magnitude(&x, &y);
}

/* How many digits there are, the point not counted. */
static int64_t digit_count(const struct decimal *d)
{
	size_t bytes = (size_t)(d->end - d->digits);

	return (int64_t)bytes - (memchr(d->digits, '.', bytes) != NULL);
}

bool decimal_is_integer(const char *text, size_t len)
{
	struct decimal d = decimal_of(text, len);

	return digit_count(&d) <= d.point;
}

bool decimal_to_int64(const char *text, size_t len, int64_t *out)
{
	struct decimal d = decimal_of(text, len);
	int64_t n = 0;

	if (d.point > 19 || digit_count(&d) > d.point)
		return false;
	const char *s = d.digits;
	for (int64_t i = 0; i < d.point; i++) {
		int digit = next_digit(&s, d.end) - '0';

		/* Built up below zero: INT64_MIN has no positive counterpart. */
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_sub_overflow(n, digit, &n))
			return false;
	}
	if (!d.negative && n == INT64_MIN)
		return false;
	*out = d.negative ? n : -n;
	return true;
}

void decimal_canonical(struct buf *out, const char *text, size_t len)
{
	struct decimal d = decimal_of(text, len);

	if (d.negative)
		buf_char(out, '-');
	for (const char *s = d.digits; s < d.end; s++) {
		if (*s != '.')
			buf_char(out, *s);
	}
	buf_char(out, 'e');
	buf_int(out, d.point);
}

enum { DIVISOR_DIGITS = 18 }; /* a rest, times ten, and a digit fit 64 bits */

bool decimal_divides(const char *text, size_t len)
{
	struct decimal d = decimal_of(text, len);

	return !d.negative && d.digits < d.end && digit_count(&d) <= DIVISOR_DIGITS;
}

/* 10^n modulo m. */
static uint64_t power_of_ten(uint64_t n, uint64_t m)
{
	unsigned __int128 square = 10 % m, power = 1 % m;

	for (; n > 0; n >>= 1) {
		if (n & 1)
			power = power * square % m;
		square = square * square % m;
	}
	return (uint64_t)power;
}

bool decimal_is_multiple(const char *a, size_t a_len, const char *b, size_t b_len)
{
	struct decimal x = decimal_of(a, a_len), y = decimal_of(b, b_len);
	uint64_t divisor = 0, rest = 0;

	/* As integers times powers of ten. The last digit of an integer is not 0, so no power of ten divides it. */
	int64_t power = (x.point - digit_count(&x)) - (y.point - digit_count(&y));
	if (x.digits == x.end || power < 0)
		return x.digits == x.end;
	for (const char *s = y.digits; s < y.end; s++) {
		if (*s != '.')
			divisor = divisor * 10 + (uint64_t)(*s - '0');
	}
	if (divisor == 0)
		return false;
	for (const char *s = x.digits; s < x.end; s++) {
		if (*s != '.')
			rest = (rest * 10 + (uint64_t)(*s - '0')) % divisor;
	}
	return (unsigned __int128)rest * power_of_ten((uint64_t)power, divisor) % divisor == 0;
}

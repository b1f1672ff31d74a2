/* What the text of a scalar means. Nothing passes through a double: 0.1 stays 0.1, and 1.5GiB is exact. */
#include "config/scalar.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/decimal.h"

#define RADIX_DIGITS_MAX 4096 /* of 0x… and 0o…: turning them into decimal ones takes their square */

static bool one_of(const char *text, const char *const *words)
{
	for (; *words; words++) {
		if (strcmp(text, *words) == 0)
			return true;
	}
	return false;
}

static size_t digits_at(const char *p)
{
	return strspn(p, "0123456789");
}

/* 0x1F, 0o17: the radix; 0: text is neither. */
static unsigned radix_of(const char *text, size_t len)
{
	bool hex = text[0] == '0' && text[1] == 'x', octal = text[0] == '0' && text[1] == 'o';
	size_t digits = hex || octal ? strspn(text + 2, hex ? "0123456789abcdefABCDEF" : "01234567") : 0;

	if (digits == 0 || digits + 2 != len || digits > RADIX_DIGITS_MAX)
		return 0;
	return hex ? 16 : 8;
}

/* The parts of [-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)? */
struct number {
	bool negative;
	const char *whole, *fraction, *exponent; /* fraction behind the point, exponent from its letter on */
	size_t whole_len, fraction_len, exponent_len;
	bool point;
};

static bool number_parse(struct number *n, const char *text, size_t len)
{
	const char *p = text;

	*n = (struct number){.negative = *p == '-'};
	p += *p == '-' || *p == '+';
	n->whole = p;
	n->whole_len = digits_at(p);
	p += n->whole_len;
	n->point = *p == '.';
	p += n->point;
	n->fraction = p;
	n->fraction_len = n->point ? digits_at(p) : 0;
	p += n->fraction_len;
	if (n->whole_len + n->fraction_len == 0)
		return false;
	n->exponent = p;
	if (*p == 'e' || *p == 'E') {
		p += 1 + (p[1] == '-' || p[1] == '+');
		size_t digits = digits_at(p);
		if (digits == 0)
			return false;
		p += digits;
	}
	n->exponent_len = (size_t)(p - n->exponent);
	return p == text + len;
}

/* Decimal digits, the last first, of a number in another radix. */
static void add_radix(struct buf *out, const char *digits, unsigned radix)
{
	struct buf reversed = BUF_INIT;

	for (; *digits; digits++) {
		unsigned carry = (unsigned)(*digits <= '9' ? *digits - '0' : (*digits | 0x20) - 'a' + 10);
		for (size_t i = 0; i < reversed.len; i++) {
			carry += radix * (unsigned)(reversed.data[i] - '0');
			reversed.data[i] = (char)('0' + carry % 10);
			carry /= 10;
		}
		for (; carry; carry /= 10)
			buf_char(&reversed, (char)('0' + carry % 10));
	}
	if (reversed.len == 0)
		buf_char(out, '0');
	while (reversed.len > 0)
		buf_char(out, reversed.data[--reversed.len]);
	buf_done(&reversed);
}

static void add_number(struct buf *out, const struct number *n)
{
	const char *whole = n->whole;
	size_t len = n->whole_len;

	for (; len > 1 && *whole == '0'; whole++)
		len--;
	if (n->negative)
		buf_char(out, '-');
	buf_append(out, len ? whole : "0", len ? len : 1);
	if (n->point) {
		buf_char(out, '.');
		buf_append(out, n->fraction_len ? n->fraction : "0", n->fraction_len ? n->fraction_len : 1);
	}
	buf_append(out, n->exponent, n->exponent_len);
}

/* text as JSON's digits; false: it is not a number. */
static bool write_number(struct buf *out, const char *text, size_t len)
{
	unsigned radix = radix_of(text, len);
	struct number n;

	if (radix)
		add_radix(out, text + 2, radix);
	else if (number_parse(&n, text, len))
		add_number(out, &n);
	else
		return false;
	return true;
}

static const char *number_of(struct arena *a, const char *text, size_t len)
{
	struct buf out = BUF_INIT;
	const char *number = "0";

	if (write_number(&out, text, len))
		number = arena_strndup(a, out.data, out.len);
	buf_done(&out);
	return number;
}

static enum node_kind number_kind(const char *text, size_t len)
{
	struct buf out = BUF_INIT;
	enum node_kind kind = NODE_STRING;
	int64_t n;

	if (write_number(&out, text, len)) {
		bool whole = strspn(buf_cstr(&out), "-0123456789") == out.len;
		kind = whole && decimal_to_int64(out.data, out.len, &n) ? NODE_INT : NODE_FLOAT;
	}
	buf_done(&out);
	return kind;
}

enum node_kind scalar_kind(const char *text, size_t len)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
	static const char *const booleans[] = {"true", "True", "TRUE", "false", "False", "FALSE", NULL};

	if (one_of(text, nulls))
		return NODE_NULL;
	if (one_of(text, booleans))
		return NODE_BOOL;
	return number_kind(text, len);
}

void scalar_resolve_as(struct node *n, enum node_kind kind, struct arena *a)
{
	n->kind = kind;
	n->boolean = kind == NODE_BOOL && (n->text[0] == 't' || n->text[0] == 'T');
	if (kind == NODE_INT || kind == NODE_FLOAT)
		n->number = number_of(a, n->text, n->len);
	/* It fits, or it would be a float. */
	if (kind == NODE_INT)
		(void)decimal_to_int64(n->number, strlen(n->number), &n->integer);
}

void scalar_resolve(struct node *n, struct arena *a)
{
	scalar_resolve_as(n, scalar_kind(n->text, n->len), a);
}

bool scalar_is_infinite(const char *text)
{
	static const char *const words[] = {".inf",  ".Inf",  ".INF", "+.inf", "+.Inf", "+.INF", "-.inf",
					    "-.Inf", "-.INF", ".nan", ".NaN",  ".NAN",  NULL};
	return one_of(text, words);
}

struct unit {
	const char *name;
	int64_t factor;
};

/* number = digits [ "." digits ] unit; a lone 0 needs no unit. */
static bool with_unit(const char *text, const struct unit *units, int64_t *out)
{
	const char *p = text;
	__int128 whole = 0, fraction = 0, scale = 1;

	if (strcmp(text, "0") == 0) {
		*out = 0;
		return true;
	}
	for (; *p >= '0' && *p <= '9'; p++) {
		whole = whole * 10 + (*p - '0');
		if (whole > INT64_MAX)
			return false;
	}
	if (p == text)
		return false;
	if (*p == '.') {
		const char *point = p++;
		for (; *p >= '0' && *p <= '9'; p++) {
			if (p - point > 9)
				return false;
			fraction = fraction * 10 + (*p - '0');
			scale *= 10;
		}
		if (p == point + 1)
			return false;
	}
	for (; units->name; units++) {
		if (strcmp(p, units->name) != 0)
			continue;
		__int128 n = whole * units->factor + fraction * units->factor / scale;
		if (n > INT64_MAX)
			return false;
		*out = (int64_t)n;
		return true;
	}
	return false;
}

bool scalar_size(const char *text, int64_t *bytes)
{
	static const struct unit units[] = {{"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {0}};
	return with_unit(text, units, bytes);
}

bool scalar_duration(const char *text, int64_t *us)
{
	static const struct unit units[] = {{"ms", 1000}, {"s", 1000000}, {"m", 60000000}, {"h", 3600000000}, {0}};
	return with_unit(text, units, us);
}

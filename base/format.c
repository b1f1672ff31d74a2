/* Formats of strings. Each check reads the text once, from the left. */
#include "base/format.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/ascii.h"

/* The text that is left. */
struct text {
	const char *at, *end;
};

static bool is_one_of(char c, const char *set)
{
	return c && strchr(set, c);
}

static bool take(struct text *t, char c)
{
	if (t->at == t->end || *t->at != c)
		return false;
	t->at++;
	return true;
}

/* Exactly n digits, between low and high. */
static bool take_number(struct text *t, int n, int low, int high, int *out)
{
	*out = 0;
	if (t->end - t->at < n)
		return false;
	for (; n > 0; n--, t->at++) {
		if (!ascii_is_digit(*t->at))
			return false;
		*out = *out * 10 + (*t->at - '0');
	}
	return *out >= low && *out <= high;
}

static bool take_hex(struct text *t, int n)
{
	for (; n > 0; n--, t->at++)
		if (t->at == t->end || ascii_hex_value(*t->at) < 0)
			return false;
	return true;
}

static int days_in(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

/* RFC 3339's full-date. */
static bool take_date(struct text *t)
{
	int year, month, day;

	return take_number(t, 4, 0, 9999, &year) && take(t, '-') && take_number(t, 2, 1, 12, &month) && take(t, '-') &&
	       take_number(t, 2, 1, days_in(year, month), &day);
}

static bool is_date(struct text t)
{
	return take_date(&t) && t.at == t.end;
}

/* RFC 3339's full-time; a leap second may end an hour. */
static bool take_time(struct text *t)
{
	int hour, minute, second;

	if (!take_number(t, 2, 0, 23, &hour) || !take(t, ':') || !take_number(t, 2, 0, 59, &minute) || !take(t, ':') ||
	    !take_number(t, 2, 0, minute == 59 ? 60 : 59, &second))
		return false;
	if (take(t, '.')) {
		const char *digits = t->at;

		while (t->at < t->end && ascii_is_digit(*t->at))
			t->at++;
		if (t->at == digits)
			return false;
	}
	if (take(t, 'Z') || take(t, 'z'))
		return true;
	return (take(t, '+') || take(t, '-')) && take_number(t, 2, 0, 23, &hour) && take(t, ':') &&
	       take_number(t, 2, 0, 59, &minute);
}

static bool is_date_time(struct text t)
{
	return take_date(&t) && (take(&t, 'T') || take(&t, 't')) && take_time(&t) && t.at == t.end;
}

static bool is_uuid(struct text t)
{
	return take_hex(&t, 8) && take(&t, '-') && take_hex(&t, 4) && take(&t, '-') && take_hex(&t, 4) &&
	       take(&t, '-') && take_hex(&t, 4) && take(&t, '-') && take_hex(&t, 12) && t.at == t.end;
}

static bool is_objectid(struct text t)
{
	return take_hex(&t, 24) && t.at == t.end;
}

/* Labels of letters, digits and inner hyphens, with dots between them: RFC 1123. */
static bool is_domain(struct text t)
{
	const char *label = t.at;

	if (t.end - t.at > 253)
		return false;
	for (;; t.at++) {
		bool ends = t.at == t.end || *t.at == '.';

		if (ends) {
			if (t.at == label || t.at - label > 63 || *label == '-' || t.at[-1] == '-')
				return false;
			if (t.at == t.end)
				return true;
			label = t.at + 1;
		} else if (!ascii_is_letter(*t.at) && !ascii_is_digit(*t.at) && *t.at != '-') {
			return false;
		}
	}
}

/* RFC 5321's Dot-string at a domain; no quoted local parts, no address literals. */
static bool is_email(struct text t)
{
	const char *at = memchr(t.at, '@', (size_t)(t.end - t.at));

	if (!at || at == t.at || at - t.at > 64 || at[-1] == '.')
		return false;
	for (char before = '.'; t.at < at; before = *t.at++) {
		if (*t.at == '.' && before == '.')
			return false;
		if (!ascii_is_letter(*t.at) && !ascii_is_digit(*t.at) && !is_one_of(*t.at, ".!#$%&'*+-/=?^_`{|}~"))
			return false;
	}
	return is_domain((struct text){at + 1, t.end});
}

static bool is_address(int family, struct text t)
{
	char copy[INET6_ADDRSTRLEN], binary[sizeof(struct in6_addr)];
	size_t len = (size_t)(t.end - t.at);

	if (len >= sizeof(copy) || memchr(t.at, '\0', len))
		return false;
	memcpy(copy, t.at, len);
	copy[len] = '\0';
	return inet_pton(family, copy, binary) == 1;
}

static bool is_ipv4(struct text t)
{
	return is_address(AF_INET, t);
}

static bool is_ipv6(struct text t)
{
	return is_address(AF_INET6, t);
}

/* Unreserved characters, sub-delims, percent-encoded bytes and those of extra (RFC 3986). */
static bool is_uri_text(struct text t, const char *extra)
{
	while (t.at < t.end) {
		char c = *t.at++;

		if (c == '%') {
			if (!take_hex(&t, 2))
				return false;
		} else if (!ascii_is_letter(c) && !ascii_is_digit(c) && !is_one_of(c, "-._~!$&'()*+,;=") &&
			   !is_one_of(c, extra)) {
			return false;
		}
	}
	return true;
}

/* The text up to the first of the characters in set; t goes on there. */
static struct text take_until(struct text *t, const char *set)
{
	struct text before = *t;

	while (t->at < t->end && !is_one_of(*t->at, set))
		t->at++;
	before.end = t->at;
	return before;
}

/* [ userinfo "@" ] host [ ":" port ] */
static bool is_authority(struct text t)
{
	const char *at = memchr(t.at, '@', (size_t)(t.end - t.at));

	if (at) {
		if (!is_uri_text((struct text){t.at, at}, ":"))
			return false;
		t.at = at + 1;
	}
	if (take(&t, '[')) {
		if (!is_ipv6(take_until(&t, "]")) || !take(&t, ']'))
			return false;
	} else if (!is_uri_text(take_until(&t, ":"), "")) {
		return false;
	}
	if (take(&t, ':'))
		while (t.at < t.end && ascii_is_digit(*t.at))
			t.at++;
	return t.at == t.end;
}

static bool is_uri(struct text t)
{
	if (t.at == t.end || !ascii_is_letter(*t.at))
		return false;
	while (t.at < t.end && (ascii_is_letter(*t.at) || ascii_is_digit(*t.at) || is_one_of(*t.at, "+-.")))
		t.at++;
	if (!take(&t, ':'))
		return false;
	if (t.end - t.at >= 2 && t.at[0] == '/' && t.at[1] == '/') {
		t.at += 2;
		if (!is_authority(take_until(&t, "/?#")))
			return false;
	}
	if (!is_uri_text(take_until(&t, "?#"), ":@/"))
		return false;
	if (take(&t, '?') && !is_uri_text(take_until(&t, "#"), ":@/?"))
		return false;
	return t.at == t.end || (take(&t, '#') && is_uri_text(t, ":@/?"));
}

static const struct {
	bool (*valid)(struct text t);
	const char *description;
} formats[] = {
	[FORMAT_NONE] = {NULL, "text"},
	[FORMAT_DATE] = {is_date, "a date (YYYY-MM-DD)"},
	[FORMAT_DATE_TIME] = {is_date_time, "a date and time (RFC 3339: YYYY-MM-DDThh:mm:ssZ)"},
	[FORMAT_UUID] = {is_uuid, "a UUID"},
	[FORMAT_EMAIL] = {is_email, "an e-mail address"},
	[FORMAT_URI] = {is_uri, "a URI with its scheme"},
	[FORMAT_IPV4] = {is_ipv4, "an IPv4 address"},
	[FORMAT_IPV6] = {is_ipv6, "an IPv6 address"},
	[FORMAT_OBJECTID] = {is_objectid, "an ObjectId (24 hexadecimal digits)"},
};

bool format_valid(enum value_format format, const char *text, size_t len)
{
	return !formats[format].valid || formats[format].valid((struct text){text, text + len});
}

const char *format_description(enum value_format format)
{
	return formats[format].description;
}

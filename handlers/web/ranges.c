/* Parsing ranges. Many or overlapping ones would make a small request a large reply: they get the whole instead. */
#include "handlers/web/ranges.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

struct cursor {
	const char *at, *end;
};

static void skip_blanks(struct cursor *c)
{
	while (c->at < c->end && (*c->at == ' ' || *c->at == '\t'))
		c->at++;
}

static bool take(struct cursor *c, char wanted)
{
	if (c->at == c->end || *c->at != wanted)
		return false;
	c->at++;
	return true;
}

/* Digits; a number that does not fit is the largest that does. */
static bool take_number(struct cursor *c, uint64_t *n)
{
	const char *begin = c->at;
	uint64_t sum = 0;

	for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
		unsigned digit = (unsigned)(*c->at - '0');
		sum = sum > (UINT64_MAX - digit) / 10 ? UINT64_MAX : sum * 10 + digit;
	}
	if (c->at == begin)
		return false;
	*n = sum;
	return true;
}

enum found { IGNORE, ABSENT, FOUND };

/* The last bytes: "-5". All of an empty file can't be said as a range. */
static enum found take_suffix(struct cursor *c, uint64_t size, struct byte_range *out)
{
	uint64_t length;

	if (!take_number(c, &length) || (size == 0 && length > 0))
		return IGNORE;
	*out = (struct byte_range){size > length ? size - length : 0, size - 1};
	return length > 0 ? FOUND : ABSENT;
}

/* One of the list: "5-9", "5-", "-5". ABSENT: it is right, but lies behind the end. */
static enum found take_range(struct cursor *c, uint64_t size, struct byte_range *out)
{
	uint64_t first, last = UINT64_MAX;

	if (take(c, '-'))
		return take_suffix(c, size, out);
	if (!take_number(c, &first) || !take(c, '-'))
		return IGNORE;
	if (take_number(c, &last) && last < first)
		return IGNORE;
	*out = (struct byte_range){first, last < size ? last : size - 1};
	return first < size ? FOUND : ABSENT;
}

int ranges_parse(struct span header, uint64_t size, struct byte_range out[RANGES_MAX])
{
	static const char unit[] = "bytes=";
	struct cursor c = {header.base, header.base + header.len};
	uint64_t total = 0;
	int count = 0, listed = 0;

	if (header.len < sizeof(unit) - 1 || strncasecmp(header.base, unit, sizeof(unit) - 1) != 0)
		return 0;
	c.at += sizeof(unit) - 1;
	do {
		struct byte_range range;
		skip_blanks(&c);
		if (c.at < c.end && *c.at == ',') /* empty elements of a list do not count */
			continue;
		if (c.at == c.end && listed > 0)
			break;
		enum found found = take_range(&c, size, &range);
		skip_blanks(&c);
		if (found == IGNORE || ++listed > RANGES_MAX)
			return 0;
		if (found == ABSENT)
			continue;
		total += range.last - range.first + 1;
		if (total > size)
			return 0;
		out[count++] = range;
	} while (take(&c, ','));
	if (c.at < c.end)
		return 0;
	return count ? count : -ERANGE;
}

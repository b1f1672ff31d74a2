/* What the text of a scalar means. Nothing passes through a double: 0.1 stays 0.1, and 1.5GiB is exact. */
#include "config/scalar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static bool one_of(const char *text, const char *const *words)
{
	for (; *words; words++) {
		if (strcmp(text, *words) == 0)
			return true;
	}
	return false;
}

enum node_kind scalar_kind(const char *text, size_t len)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
	static const char *const booleans[] = {"true", "True", "TRUE", "false", "False", "FALSE", NULL};

	if (one_of(text, nulls))
		return NODE_NULL;
	if (one_of(text, booleans))
		return NODE_BOOL;
	if (!json_is_number(text, len))
		return NODE_STRING;
	if (strpbrk(text, ".eE"))
		return NODE_FLOAT;
	errno = 0;
	(void)strtoll(text, NULL, 10);
	return errno == ERANGE ? NODE_FLOAT : NODE_INT;
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

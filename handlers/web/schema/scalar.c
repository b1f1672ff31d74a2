/* Numbers, compared digit for digit, strings, counted in characters, and files of forms. */
#include <string.h>
#include <strings.h>

#include "base/decimal.h"
#include "base/format.h"
#include "base/utf8.h"
#include "handlers/web/schema/internal.h"

static int compare(const struct json *j, const char *bound)
{
	return decimal_compare(j->text, j->len, bound, strlen(bound));
}

bool schema_number(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	bool right = true;
	int64_t n;

	if (!schema_spend(c, j->len / 256))
		return false;
	if (s->type == TYPE_INTEGER && !decimal_to_int64(j->text, j->len, &n))
		return schema_found(c, s, KEYWORD_INTEGER);
	if (s->has_minimum && compare(j, s->minimum) < 0)
		right = schema_found(c, s, KEYWORD_MINIMUM);
	if (s->has_maximum && compare(j, s->maximum) > 0)
		right = schema_found(c, s, KEYWORD_MAXIMUM);
	if (s->exclusive_minimum && compare(j, s->exclusive_minimum) <= 0)
		right = schema_found(c, s, KEYWORD_ABOVE);
	if (s->exclusive_maximum && compare(j, s->exclusive_maximum) >= 0)
		right = schema_found(c, s, KEYWORD_BELOW);
	if (s->multiple_of && !decimal_is_multiple(j->text, j->len, s->multiple_of, strlen(s->multiple_of)))
		right = schema_found(c, s, KEYWORD_MULTIPLE);
	return right;
}

static bool check_length(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	size_t length = s->has_min_length || s->has_max_length ? utf8_length(j->text, j->len) : 0;

	if (s->has_min_length && length < s->min_length)
		return schema_found(c, s, KEYWORD_SHORT);
	if (s->has_max_length && length > s->max_length)
		return schema_found(c, s, KEYWORD_LONG);
	return true;
}

bool schema_string(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	if (!schema_spend(c, j->len / 256))
		return false;
	if (memchr(j->text, '\0', j->len))
		return schema_found(c, s, KEYWORD_NUL);
	if (!check_length(c, s, j))
		return false;
	if (s->format != FORMAT_NONE && !format_valid(s->format, j->text, j->len))
		return schema_found(c, s, KEYWORD_FORMAT);
	if (!s->pattern_compiled)
		return true;
	int matches = schema_match(c, s->pattern_compiled, j->text, j->len);
	return matches > 0 || schema_found(c, s, matches ? KEYWORD_PATTERN_SLOW : KEYWORD_PATTERN);
}

/* Without its parameters, whatever the case (RFC 9110, 8.3.1). */
static bool is_media_type(const struct json *type, const char *wanted)
{
	size_t len = strlen(wanted);

	return type->len >= len && strncasecmp(type->text, wanted, len) == 0 &&
	       (type->len == len || strchr("; \t", type->text[len]));
}

bool schema_file(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	const struct json *type = json_member(j, "type", 4), *size = json_member(j, "size", 4);
	bool allowed = s->media_type_count == 0;
	int64_t bytes;

	if (!type || !size || !decimal_to_int64(size->text, size->len, &bytes))
		return schema_found(c, s, KEYWORD_FILE);
	for (size_t i = 0; i < s->media_type_count && !allowed; i++)
		allowed = is_media_type(type, s->media_types[i]);
	if (!allowed)
		return schema_found(c, s, KEYWORD_MEDIA_TYPE);
	return !s->has_max_length || (uint64_t)bytes <= s->max_length || schema_found(c, s, KEYWORD_FILE_LONG);
}

/* Methods, and the header lines of an answer. */
#include "drivers/http/message.h"

#include <string.h>
#include <strings.h>

#include "base/compiler.h"

bool http_method_idempotent(const char *method)
{
	static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (strcmp(method, methods[i]) == 0)
			return true;
	return false;
}

bool http_method_safe(const char *method)
{
	static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "TRACE"};

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (strcmp(method, methods[i]) == 0)
			return true;
	return false;
}

/* --- headers --- */

bool http_header_next(const struct http_response *r, size_t *at, struct http_header *out)
{
	while (*at < r->head.len) {
		const char *line = r->head.data + *at, *end = r->head.data + r->head.len;
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		const char *stop = newline ? newline : end;
		*at += (size_t)(stop - line) + (newline ? 1 : 0);
		const char *colon = memchr(line, ':', (size_t)(stop - line));
		if (!colon || colon == line)
			continue;
		const char *value = colon + 1;
		while (value < stop && (*value == ' ' || *value == '\t'))
			value++;
		while (stop > value && (stop[-1] == '\r' || stop[-1] == ' ' || stop[-1] == '\t'))
			stop--;
		*out = (struct http_header){line, value, (size_t)(colon - line), (size_t)(stop - value)};
		return true;
	}
	return false;
}

bool http_header_find(const struct http_response *r, const char *name, struct http_header *out)
{
	size_t len = strlen(name);

	for (size_t at = 0; http_header_next(r, &at, out);)
		if (out->name_len == len && strncasecmp(out->name, name, len) == 0)
			return true;
	return false;
}

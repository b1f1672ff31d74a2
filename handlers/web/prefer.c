/* A list of preferences: name, perhaps = and a token or a quoted text, perhaps parameters behind ";". */
#include "handlers/web/prefer.h"

#include <string.h>
#include <strings.h>

static struct span trimmed(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	while (p < end && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return (struct span){p, (size_t)(end - p)};
}

static bool is(struct span s, const char *word)
{
	return s.len == strlen(word) && strncasecmp(s.base, word, s.len) == 0;
}

/* The first of p..end that is one of two characters, and not quoted; end: none is. */
static const char *find(const char *p, const char *end, char a, char b)
{
	bool quoted = false;

	for (; p < end && (quoted || (*p != a && *p != b)); p++) {
		if (*p == '"')
			quoted = !quoted;
		else if (quoted && *p == '\\' && p + 1 < end)
			p++;
	}
	return p;
}

bool prefer_minimal(struct span fields)
{
	const char *end = fields.base + fields.len;

	for (const char *p = fields.base, *next; p && p < end; p = next + 1) {
		next = find(p, end, ',', ',');
		const char *preference = find(p, next, ';', ';');
		const char *equals = find(p, preference, '=', '=');
		if (!is(trimmed(p, equals), "return"))
			continue;
		struct span value = trimmed(equals < preference ? equals + 1 : preference, preference);
		return is(value, "minimal") || is(value, "\"minimal\"");
	}
	return false;
}

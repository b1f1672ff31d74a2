/* A traceparent is "00-" trace id (32) "-" span id (16) "-" flags (2), in lower-case hexadecimal; later versions may go
 * on after another "-". A tracestate is a list of key=value, separated by commas. */
#include "drivers/http/trace.h"

#include <stdbool.h>
#include <string.h>

enum { TRACE_AT = 3, TRACE_LEN = 32, SPAN_AT = 36, SPAN_LEN = 16, FLAGS_AT = 53, LENGTH = 55 };
enum { SAMPLED = 1, RANDOM = 2 }; /* the flags that are defined; others must be 0 */

uint64_t trace_random(uint64_t *state)
{
	/* xorshift64* (Vigna 2016) */
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(0x2545F4914F6CDD1D);
}

static bool is_traceparent(const char *s)
{
	static const char shape[] = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";

	for (size_t i = 0; i < LENGTH; i++) {
		bool hex = (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f');
		if (shape[i] == 'x' ? !hex : s[i] != '-')
			return false;
	}
	/* Zero is not an id. */
	if (strspn(s + TRACE_AT, "0") == TRACE_LEN || strspn(s + SPAN_AT, "0") == SPAN_LEN)
		return false;
	return memcmp(s, "ff", 2) != 0 && (s[LENGTH] == '\0' || (s[LENGTH] == '-' && memcmp(s, "00", 2) != 0));
}

static unsigned hex_value(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

const char *trace_child(const char *parent, struct arena *a, uint64_t *random)
{
	static const char hex[] = "0123456789abcdef";

	if (!is_traceparent(parent))
		return NULL;
	/* What a later version holds after the flags is not ours to hand on. */
	char *child = arena_strndup(a, parent, LENGTH);
	child[0] = child[1] = '0';
	uint64_t span = trace_random(random) | 1;
	for (int i = 0; i < SPAN_LEN; i++, span >>= 4)
		child[SPAN_AT + i] = hex[span & 15];
	child[FLAGS_AT] = '0';
	child[FLAGS_AT + 1] = hex[hex_value(child[FLAGS_AT + 1]) & (SAMPLED | RANDOM)];
	return child;
}

/* --- tracestate --- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool begins_key(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool continues_key(char c)
{
	return begins_key(c) || c == '_' || c == '-' || c == '*' || c == '/' || c == '@';
}

static size_t key_span(const char *s, size_t len)
{
	size_t n = len > 0 && begins_key(*s) ? 1 : 0;
	while (n > 0 && n < len && continues_key(s[n]))
		n++;
	return n;
}

/* key "=" value, without blanks around it. The blanks that a value begins with are its own. */
static bool is_member(const char *s, size_t len)
{
	size_t key = key_span(s, len);
	if (key == 0 || key > TRACE_MAX_KEY_BYTES || key == len || s[key] != '=')
		return false;
	size_t value_len = len - key - 1;
	if (value_len == 0 || value_len > TRACE_MAX_VALUE_BYTES)
		return false;
	for (const char *p = s + key + 1; p < s + len; p++)
		if (*p < ' ' || *p > '~' || *p == '=')
			return false;
	return true;
}

const char *trace_state(const char *list, struct arena *a)
{
	char *out = arena_alloc(a, strlen(list) + 1), *at = out;
	unsigned members = 0;

	for (;;) {
		while (is_blank(*list))
			list++;
		size_t whole = strcspn(list, ","), len = whole;
		while (len > 0 && is_blank(list[len - 1]))
			len--;
		if (len > 0 && (++members > TRACE_MAX_MEMBERS || !is_member(list, len)))
			return NULL;
		if (len > 0 && at > out)
			*at++ = ',';
		memcpy(at, list, len);
		at += len;
		if (list[whole] == '\0')
			break;
		list += whole + 1;
	}
	*at = '\0';
	return members ? out : NULL;
}

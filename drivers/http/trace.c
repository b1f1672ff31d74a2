/* "00-" trace id (32) "-" span id (16) "-" flags (2), in lower-case hexadecimal; later versions may go on behind it. */
#include "drivers/http/trace.h"

#include <stdbool.h>
#include <string.h>

enum { TRACE_AT = 3, TRACE_LEN = 32, SPAN_AT = 36, SPAN_LEN = 16, LENGTH = 55 };

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
	/* Zero is no id. */
	if (strspn(s + TRACE_AT, "0") == TRACE_LEN || strspn(s + SPAN_AT, "0") == SPAN_LEN)
		return false;
	return memcmp(s, "ff", 2) != 0 && (s[LENGTH] == '\0' || (s[LENGTH] == '-' && memcmp(s, "00", 2) != 0));
}

const char *trace_child(const char *parent, struct arena *a, uint64_t *random)
{
	static const char hex[] = "0123456789abcdef";

	if (!is_traceparent(parent))
		return NULL;
	/* What a later version holds behind the flags is not ours to hand on. */
	char *child = arena_strndup(a, parent, LENGTH);
	child[0] = child[1] = '0';
	uint64_t span = trace_random(random) | 1;
	for (int i = 0; i < SPAN_LEN; i++, span >>= 4)
		child[SPAN_AT + i] = hex[span & 15];
	return child;
}

/* Patterns, matched with limits. All patterns of a request together get a share of CPU time: one that backtracks
 * without end is a mistake of what it was for. */
#include <time.h>

#include "handlers/web/schema/internal.h"

enum {
	PATTERN_MATCH_LIMIT = 100000,
	PATTERN_DEPTH_LIMIT = 10000,
	PATTERN_HEAP_LIMIT_KIB = 1024,
	PATTERN_SHORT_BYTES = 2048,
	PATTERN_BUDGET_NS = 20 * 1000 * 1000, /* of the thread's CPU time, a request */
};

static int64_t thread_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static bool prepare_patterns(struct schema_check *c)
{
	if (c->limits)
		return true;
	if (!c->match)
		c->match = pcre2_match_data_create(1, NULL);
	c->limits = pcre2_match_context_create(NULL);
	if (!c->limits || !c->match)
		return false;
	pcre2_set_match_limit(c->limits, PATTERN_MATCH_LIMIT);
	pcre2_set_depth_limit(c->limits, PATTERN_DEPTH_LIMIT);
	pcre2_set_heap_limit(c->limits, PATTERN_HEAP_LIMIT_KIB);
	c->patterns_until_ns = thread_cpu_ns() + PATTERN_BUDGET_NS;
	return true;
}

static bool is_anchored(const pcre2_code *code)
{
	uint32_t options = 0;

	pcre2_pattern_info(code, PCRE2_INFO_ALLOPTIONS, &options);
	return options & PCRE2_ANCHORED;
}

/* Returns whether the pattern matches somewhere, or PCRE2_ERROR_MATCHLIMIT and the like. A search tries every start,
 * and each try may run to the end of the text: quadratic in a way that PCRE2's limits do not count. So long texts are
 * searched start by start, with an eye on the budget. The text was checked to be UTF-8 when it was read. */
static int search(struct schema_check *c, const pcre2_code *code, const char *text, size_t len)
{
	if (thread_cpu_ns() > c->patterns_until_ns)
		return PCRE2_ERROR_MATCHLIMIT;
	if (len <= PATTERN_SHORT_BYTES || is_anchored(code))
		return pcre2_match(code, (PCRE2_SPTR)text, len, 0, PCRE2_NO_UTF_CHECK, c->match, c->limits);

	for (size_t start = 0; start <= len; start++) {
		if (start < len && ((unsigned char)text[start] & 0xC0) == 0x80)
			continue;
		int r = pcre2_match(code, (PCRE2_SPTR)text, len, start, PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED, c->match,
				    c->limits);
		if (r != PCRE2_ERROR_NOMATCH)
			return r;
		if (thread_cpu_ns() > c->patterns_until_ns)
			return PCRE2_ERROR_MATCHLIMIT;
	}
	return PCRE2_ERROR_NOMATCH;
}

int schema_match(struct schema_check *c, const void *pattern, const char *text, size_t len)
{
	int r = prepare_patterns(c) ? search(c, pattern, text, len) : PCRE2_ERROR_NOMEMORY;

	return r == PCRE2_ERROR_NOMATCH ? 0 : r < 0 ? r : 1;
}

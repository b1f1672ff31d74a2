/* Conditions, in the order of RFC 9110, 13.2.2. What can't be understood does not count. */
#include "handlers/web/conditions.h"

#include <string.h>

#include "handlers/web/http_date.h"

void conditions_take(struct conditions *c, struct exchange *x)
{
	*c = (struct conditions){
		.if_match = exchange_header_list(x, "if-match"),
		.if_none_match = exchange_header_list(x, "if-none-match"),
		.if_modified_since = exchange_header(x, "if-modified-since"),
		.if_unmodified_since = exchange_header(x, "if-unmodified-since"),
		.if_range = exchange_header(x, "if-range"),
		.range = exchange_header(x, "range"),
	};
}

static const char *skip(const char *p, const char *end, const char *any)
{
	while (p < end && *p && strchr(any, *p))
		p++;
	return p;
}

bool etag_is_any(struct span list)
{
	const char *end = list.base + list.len;
	const char *p = skip(list.base, end, " \t");

	return p < end && *p == '*' && skip(p + 1, end, " \t") == end;
}

bool etag_next(struct span *list, struct span *tag, bool strong)
{
	const char *end = list->base + list->len;

	for (const char *p = skip(list->base, end, " \t,"); p < end; p = skip(p, end, " \t,")) {
		bool weak = end - p > 2 && p[0] == 'W' && p[1] == '/';
		const char *from = weak ? p + 2 : p;
		const char *close = *from == '"' ? memchr(from + 1, '"', (size_t)(end - from - 1)) : NULL;
		if (!close)
			return false;
		p = close + 1;
		if (weak && strong)
			continue;
		*tag = (struct span){from, (size_t)(p - from)};
		*list = (struct span){p, (size_t)(end - p)};
		return true;
	}
	return false;
}

bool etag_listed(struct span list, const char *etag, bool strong)
{
	size_t len = strlen(etag);
	struct span tag;

	if (etag_is_any(list))
		return true;
	while (etag_next(&list, &tag, strong)) {
		if (tag.len == len && memcmp(tag.base, etag, len) == 0)
			return true;
	}
	return false;
}

static bool date_of(struct span header, int64_t *seconds)
{
	return header.base && http_date_parse(header.base, header.len, seconds);
}

unsigned conditions_status(const struct conditions *c, const struct validators *v, bool reads)
{
	int64_t date;

	if (c->if_match.base) {
		if (!etag_listed(c->if_match, v->etag, true))
			return 412;
	} else if (date_of(c->if_unmodified_since, &date) && v->modified_s > date) {
		return 412;
	}
	if (c->if_none_match.base)
		return !etag_listed(c->if_none_match, v->etag, false) ? 200 : reads ? 304 : 412;
	if (reads && date_of(c->if_modified_since, &date) && v->modified_s <= date)
		return 304;
	return 200;
}

bool conditions_allow_range(const struct conditions *c, const struct validators *v)
{
	struct span wanted = c->if_range;
	int64_t date;

	if (!wanted.base)
		return true;
	if (wanted.len && (*wanted.base == '"' || *wanted.base == 'W'))
		return wanted.len == strlen(v->etag) && memcmp(wanted.base, v->etag, wanted.len) == 0;
	/* A date tells versions apart only if the file can't have changed again within that second. */
	return date_of(wanted, &date) && date == v->modified_s && v->now_s > v->modified_s;
}

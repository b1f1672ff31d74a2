/* From the JSON of /-/status.json to a screen. */
#include "daemon/status_report.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/utf8.h"

enum {
	ERROR_COLUMNS = 60, /* of why a source is down: the log has it whole */
	GAP_COLUMNS = 6,    /* between two sources of a row */
	MINUTE_S = 60,
	HOUR_S = 60 * MINUTE_S,
	DAY_S = 24 * HOUR_S,
};

/* --- the JSON --- */

static const struct json *member(const struct json *object, const char *name)
{
	return object ? json_member(object, name, strlen(name)) : NULL;
}

static const struct json *first(const struct json *list)
{
	return list && list->kind == JSON_ARRAY ? list->child : NULL;
}

/* NAN: it is not a number. */
static double number(const struct json *j)
{
	/* Its digits end where JSON goes on, in the same text. */
	return j && j->kind == JSON_NUMBER ? strtod(j->text, NULL) : (double)NAN;
}

/* Of a history the newest that is known. */
static double newest(const struct json *status, const char *name)
{
	double last = (double)NAN;
	for (const struct json *j = first(member(member(status, "history"), name)); j; j = j->next)
		last = j->kind == JSON_NUMBER ? number(j) : last;
	return last;
}

/* --- words --- */

/* The daemon's text, with some of it from servers: its control characters, C1 included, would speak to the terminal. */
static void put_text(struct buf *out, const struct json *j, size_t most)
{
	size_t columns = 0;
	for (size_t i = 0; j && j->kind == JSON_STRING && i < j->len; i++) {
		unsigned char c = (unsigned char)j->text[i];
		bool c1 = c == 0xc2 && i + 1 < j->len && (unsigned char)j->text[i + 1] < 0xa0;
		if ((c & 0xc0) != 0x80 && ++columns > most) {
			buf_lit(out, "…");
			return;
		}
		i += c1;
		buf_char(out, c < ' ' || c == 0x7f || c1 ? '?' : (char)c);
	}
}

static void put_number(struct buf *out, double d, const char *unit)
{
	if (isnan(d))
		buf_char(out, '-');
	else
		buf_printf(out, "%.*f", d != 0 && d < 100 ? 1 : 0, d);
	buf_str(out, unit);
}

/* The largest unit alone: "12 min". */
static void put_lasting(struct buf *out, double seconds)
{
	static const struct {
		int seconds;
		const char *name;
	} units[] = {{DAY_S, "d"}, {HOUR_S, "h"}, {MINUTE_S, "min"}, {1, "s"}};
	long long s = seconds > 0 ? (long long)seconds : 0;
	size_t i = 0;
	while (i + 1 < ARRAY_SIZE(units) && s < units[i].seconds)
		i++;
	buf_printf(out, "%lld %s", s / units[i].seconds, units[i].name);
}

/* How long ago the time of that name was. */
static void put_since(struct buf *out, const struct json *status, const struct json *time)
{
	put_lasting(out, number(member(status, "now")) - number(time));
}

static void pad(struct buf *out, size_t from, size_t columns)
{
	for (size_t n = utf8_length(out->data + from, out->len - from); n < columns; n++)
		buf_char(out, ' ');
}

/* --- the lines --- */

/* The sources that are down, or else the word for why it is not. */
static void put_readiness(struct buf *out, const struct json *ready, bool is_ready)
{
	const struct json *down = first(member(ready, "down"));
	if (is_ready) {
		buf_lit(out, "ready");
		return;
	}
	buf_lit(out, "NOT READY: ");
	for (const struct json *j = down; j; j = j->next) {
		buf_str(out, j == down ? "" : ", ");
		put_text(out, j, SIZE_MAX);
	}
	if (!down)
		put_text(out, member(ready, "code"), SIZE_MAX);
}

static void put_head(struct buf *out, const struct json *status, const struct json *ready, bool is_ready)
{
	const struct json *workers = member(status, "workers");
	unsigned count = workers && workers->kind == JSON_ARRAY ? workers->count : 0;
	buf_lit(out, "gatherd ");
	put_text(out, member(status, "gatherd"), SIZE_MAX);
	buf_printf(out, "  generation %.0f (", number(member(status, "generation")));
	put_since(out, status, member(status, "loaded"));
	buf_lit(out, ")  up ");
	put_since(out, status, member(status, "started"));
	buf_printf(out, "  %u worker%s     ", count, count == 1 ? "" : "s");
	put_readiness(out, ready, is_ready);
	buf_char(out, '\n');
}

static void put_requests(struct buf *out, const struct json *status)
{
	const struct json *requests = member(status, "requests");
	put_number(out, newest(status, "requests_per_s"), " req/s");
	buf_lit(out, "   p50 ");
	put_number(out, newest(status, "p50_ms"), "  p95 ");
	put_number(out, newest(status, "p95_ms"), "  p99 ");
	put_number(out, newest(status, "p99_ms"), " ms");
	double errors = newest(status, "errors_percent");
	buf_printf(out, "   5xx %.1f %%   running %.0f of %.0f\n", isnan(errors) ? 0.0 : errors,
		   number(member(requests, "running")), number(member(requests, "limit")));
}

static size_t text_columns(const struct json *j)
{
	return j && j->kind == JSON_STRING ? utf8_length(j->text, j->len) : 0;
}

/* How wide the columns of the sources are. */
struct widths {
	size_t name, kind, whole;
};

static void put_source(struct buf *out, const struct json *status, const struct json *s, const struct widths *w)
{
	const struct json *up = member(s, "up"), *pool = member(s, "pool"), *since = member(s, "since");
	size_t from = out->len;
	put_text(out, member(s, "name"), SIZE_MAX);
	pad(out, from, w->name);
	buf_lit(out, "  ");
	from = out->len;
	put_text(out, member(s, "kind"), SIZE_MAX);
	pad(out, from, w->kind);
	if (!up || up->kind != JSON_BOOL || !up->boolean) {
		buf_lit(out, "  DOWN");
		if (!isnan(number(since))) {
			buf_char(out, ' ');
			put_since(out, status, since);
		}
		if (text_columns(member(s, "error")) > 0)
			buf_lit(out, ": ");
		put_text(out, member(s, "error"), ERROR_COLUMNS);
		return;
	}
	buf_lit(out, "  up");
	if (pool && pool->kind == JSON_OBJECT)
		buf_printf(out, "    %.0f/%.0f busy, %.0f wait,", number(member(pool, "busy")),
			   number(member(pool, "size")), number(member(pool, "waiting")));
	else
		buf_lit(out, "   ");
	buf_lit(out, " p95 ");
	put_number(out, number(member(s, "p95_ms")), " ms");
}

static struct widths measure(const struct json *status, const struct json *sources)
{
	struct widths w = {0};
	struct buf line = BUF_INIT;
	for (const struct json *s = sources; s; s = s->next) {
		size_t name = text_columns(member(s, "name")), kind = text_columns(member(s, "kind"));
		w.name = name > w.name ? name : w.name;
		w.kind = kind > w.kind ? kind : w.kind;
	}
	for (const struct json *s = sources; s; s = s->next) {
		line.len = 0;
		put_source(&line, status, s, &w);
		size_t whole = utf8_length(line.data, line.len);
		w.whole = whole > w.whole ? whole : w.whole;
	}
	buf_done(&line);
	return w;
}

/* As many in a row as there is room for. */
static void put_sources(struct buf *out, const struct json *status, size_t columns)
{
	const struct json *sources = first(member(status, "sources"));
	struct widths w = measure(status, sources);
	size_t row = (columns + GAP_COLUMNS) / (w.whole + GAP_COLUMNS), i = 0;
	for (const struct json *s = sources; s; s = s->next) {
		bool last = ++i % (row > 0 ? row : 1) == 0 || !s->next;
		size_t from = out->len;
		put_source(out, status, s, &w);
		if (last)
			buf_char(out, '\n');
		else
			pad(out, from, w.whole + GAP_COLUMNS);
	}
}

static struct json *parse(struct arena *a, const struct buf *text)
{
	struct json *j;
	char why[100];
	if (json_parse(&j, a, text->data ? text->data : "", text->len, JSON_MAX_DEPTH, why, sizeof(why)) < 0)
		return NULL;
	return j->kind == JSON_OBJECT ? j : NULL;
}

int status_report(struct buf *out, const struct status_report *r)
{
	struct arena a;
	arena_init(&a);
	const struct json *status = parse(&a, &r->status), *ready = parse(&a, &r->ready);
	bool right = status && ready && member(status, "gatherd");
	if (right) {
		put_head(out, status, ready, r->is_ready);
		put_requests(out, status);
		put_sources(out, status, r->columns);
	}
	arena_done(&a);
	return right ? 0 : -EBADMSG;
}

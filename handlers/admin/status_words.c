#include "handlers/admin/status_words.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MINUTE_S = 60, HOUR_S = 3600, DAY_S = 86400 };

void status_words_escape(struct buf *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		switch (text[i]) {
		case '&':
			buf_lit(out, "&amp;");
			break;
		case '<':
			buf_lit(out, "&lt;");
			break;
		case '>':
			buf_lit(out, "&gt;");
			break;
		case '"':
			buf_lit(out, "&quot;");
			break;
		case '\0':
			buf_char(out, ' '); /* HTML has none */
			break;
		default:
			buf_char(out, text[i]);
		}
	}
}

/* --- what is in the document --- */

static const struct json *member(const struct json *object, const char *name)
{
	return object ? json_member(object, name, strlen(name)) : NULL;
}

/* NAN: it is not a number. */
static double number_of(const struct json *v)
{
	/* Its digits end where JSON goes on, in the same text. */
	return v && v->kind == JSON_NUMBER ? strtod(v->text, NULL) : (double)NAN;
}

static bool is(const struct json *v, const char *text)
{
	return v && v->kind == JSON_STRING && v->len == strlen(text) && memcmp(v->text, text, v->len) == 0;
}

static bool has_text(const struct json *v)
{
	return v && v->kind == JSON_STRING && v->len > 0;
}

/* --- numbers and times --- */

static void unknown(struct buf *out)
{
	buf_lit(out, "–");
}

static void put_short(struct buf *out, double d)
{
	double size = fabs(d);
	if (isnan(d))
		unknown(out);
	else if (size == 0)
		buf_char(out, '0');
	else
		buf_printf(out, "%.*f", size < 10 ? 2 : size < 100 ? 1 : 0, d);
}

static void put_lasting(struct buf *out, double seconds)
{
	long long s = seconds > 0 ? (long long)seconds : 0;
	if (s < MINUTE_S)
		buf_printf(out, "%lld s", s);
	else if (s < HOUR_S)
		buf_printf(out, "%lld min", s / MINUTE_S);
	else if (s < DAY_S)
		buf_printf(out, "%lld h %lld min", s / HOUR_S, s % HOUR_S / MINUTE_S);
	else
		buf_printf(out, "%lld d %lld h", s / DAY_S, s % DAY_S / HOUR_S);
}

/* How long ago a time is. */
static void put_since(struct buf *out, const struct json *time, const struct json *status)
{
	double then = number_of(time), now = number_of(member(status, "now"));
	if (isnan(then) || isnan(now))
		unknown(out);
	else
		put_lasting(out, now - then);
}

static void put_clock(struct buf *out, const struct json *time)
{
	double seconds = number_of(time);
	struct tm tm;
	char text[sizeof("hh:mm:ss")];
	time_t whole = isnan(seconds) ? 0 : (time_t)seconds;
	if (isnan(seconds) || !gmtime_r(&whole, &tm) || strftime(text, sizeof(text), "%T", &tm) == 0)
		unknown(out);
	else
		buf_str(out, text);
}

/* --- the words --- */

static void say_text(struct buf *out, const struct json *v, const struct json *status)
{
	(void)status;
	if (!v || v->kind == JSON_NULL)
		unknown(out);
	else if (v->kind == JSON_STRING)
		status_words_escape(out, v->text, v->len);
	else
		status_words_escape(out, v->raw, v->raw_len);
}

static void say_whole(struct buf *out, const struct json *v, const struct json *status)
{
	(void)status;
	double d = number_of(v);
	if (isnan(d))
		unknown(out);
	else
		buf_printf(out, "%.0f", d);
}

static void say_short(struct buf *out, const struct json *v, const struct json *status)
{
	(void)status;
	put_short(out, number_of(v));
}

static void say_clock(struct buf *out, const struct json *v, const struct json *status)
{
	(void)status;
	put_clock(out, v);
}

/* Of milliseconds. */
static void say_lasting(struct buf *out, const struct json *v, const struct json *status)
{
	(void)status;
	double ms = number_of(v);
	if (isnan(ms))
		unknown(out);
	else if (ms < 1000)
		buf_printf(out, "%.0f ms", ms);
	else
		put_lasting(out, ms / 1000);
}

static void say_count(struct buf *out, const struct json *v, const struct json *status)
{
	(void)status;
	buf_printf(out, "%u", v && v->kind == JSON_ARRAY ? v->count : 0);
}

static const struct json *first(const struct json *list)
{
	return list && list->kind == JSON_ARRAY ? list->child : NULL;
}

static bool is_down(const struct json *source)
{
	const struct json *up = member(source, "up");
	return !up || up->kind != JSON_BOOL || !up->boolean;
}

/* "rates is down since 3 min; 2 endpoints answer incompletely." Returns whether there was anything. */
static bool put_troubles(struct buf *out, const struct json *status)
{
	size_t begin = out->len;
	const struct json *off = member(status, "off");
	if (off && off->kind == JSON_BOOL && off->boolean)
		buf_lit(out, "taken out by hand");
	for (const struct json *s = first(member(status, "sources")); s; s = s->next) {
		if (!is_down(s))
			continue;
		buf_str(out, out->len > begin ? "; " : "");
		say_text(out, member(s, "name"), status);
		buf_lit(out, " is down");
		if (!isnan(number_of(member(s, "since")))) {
			buf_lit(out, " since ");
			put_since(out, member(s, "since"), status);
		}
	}
	for (const struct json *s = first(member(status, "sources")); s; s = s->next) {
		if (!is(member(s, "breaker"), "open"))
			continue;
		buf_str(out, out->len > begin ? "; " : "");
		buf_lit(out, "the breaker of ");
		say_text(out, member(s, "name"), status);
		buf_lit(out, " is open");
	}
	unsigned incomplete = 0;
	for (const struct json *e = first(member(status, "endpoints")); e; e = e->next)
		incomplete += number_of(member(e, "incomplete_percent")) > 0;
	if (incomplete) {
		buf_str(out, out->len > begin ? "; " : "");
		buf_printf(out, "%u %s incompletely", incomplete,
			   incomplete == 1 ? "endpoint answers" : "endpoints answer");
	}
	if (out->len == begin)
		return false;
	buf_char(out, '.');
	return true;
}

static void say_sentence(struct buf *out, const struct json *v, const struct json *status)
{
	(void)v;
	const struct json *state = member(status, "state"), *sources = member(status, "sources");
	unsigned count = sources && sources->kind == JSON_ARRAY ? sources->count : 0;
	if (is(state, "serving") && count > 1) {
		buf_printf(out, "Serving. All %u sources up.", count);
	} else if (is(state, "serving")) {
		buf_printf(out, "Serving. %s", count ? "Its source is up." : "It has no sources.");
	} else if (is(state, "draining")) {
		buf_lit(out, "Draining: requests that run may end.");
	} else {
		buf_str(out, is(state, "degraded") ? "Degraded: " : "Not ready: ");
		if (!put_troubles(out, status))
			buf_lit(out, "see below.");
	}
}

static void say_refused(struct buf *out, const struct json *v, const struct json *status)
{
	const struct json *refused = member(v, "reload_refused");
	if (!refused || refused->kind != JSON_OBJECT)
		return;
	buf_lit(out, "A reload was refused at ");
	put_clock(out, member(refused, "time"));
	buf_lit(out, ": ");
	say_text(out, member(refused, "error"), status);
}

static void say_generation(struct buf *out, const struct json *v, const struct json *status)
{
	say_text(out, member(v, "generation"), status);
	buf_lit(out, ", loaded ");
	put_since(out, member(v, "loaded"), status);
	buf_lit(out, " ago");
}

static void say_health(struct buf *out, const struct json *v, const struct json *status)
{
	const struct json *since = member(v, "since"), *error = member(v, "error");
	bool down = is_down(v), known = !isnan(number_of(since));
	buf_str(out, down ? "<span class=\"down\">▼ down" : "▲ up");
	if (known) {
		buf_str(out, down ? " since " : " ");
		put_since(out, since, status);
	}
	if (!down)
		return;
	buf_lit(out, "</span>");
	if (has_text(error)) {
		buf_lit(out, ": ");
		say_text(out, error, status);
	}
}

static void say_server(struct buf *out, const struct json *v, const struct json *status)
{
	const struct json *role = member(v, "role"), *host = member(v, "host");
	if (has_text(role))
		say_text(out, role, status);
	if (has_text(role) && has_text(host))
		buf_char(out, ' ');
	if (has_text(host))
		say_text(out, host, status);
	if (!has_text(role) && !has_text(host))
		unknown(out);
}

static void say_pool(struct buf *out, const struct json *v, const struct json *status)
{
	if (!v || v->kind != JSON_OBJECT) {
		unknown(out);
		return;
	}
	say_whole(out, member(v, "busy"), status);
	buf_char(out, '/');
	say_whole(out, member(v, "size"), status);
	buf_lit(out, " busy, ");
	say_whole(out, member(v, "waiting"), status);
	buf_lit(out, " wait");
}

static void say_steps(struct buf *out, const struct json *v, const struct json *status)
{
	for (const struct json *s = first(member(v, "steps")); s; s = s->next) {
		say_text(out, member(s, "name"), status);
		buf_char(out, ' ');
		put_short(out, number_of(member(s, "ms")));
		buf_str(out, s->next ? ", " : "");
	}
}

static const struct {
	const char *word;
	void (*say)(struct buf *out, const struct json *v, const struct json *status);
} words[] = {
	{"text", say_text},
	{"id", say_text},
	{"whole", say_whole},
	{"rate", say_short},
	{"ms", say_short},
	{"percent", say_short},
	{"clock", say_clock},
	{"since", put_since},
	{"lasting", say_lasting},
	{"count", say_count},
	{"sentence", say_sentence},
	{"refused", say_refused},
	{"generation", say_generation},
	{"health", say_health},
	{"server", say_server},
	{"pool", say_pool},
	{"steps", say_steps},
};

void status_words_say(struct buf *out, const char *word, size_t len, const struct json *v, const struct json *status)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strlen(words[i].word) == len && memcmp(words[i].word, word, len) == 0) {
			words[i].say(out, v, status);
			return;
		}
	}
	say_text(out, v, status);
}

/* From the JSON of /-/tasks to a table. */
#include "daemon/tasks_report.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/utf8.h"

enum {
	NAMES_SHOWN = 10, /* where lines are counted */
	NAME_COLUMNS = 28,
	AWAITS_COLUMNS = 34,
};

struct row {
	struct span_text {
		const char *text;
		size_t len;
	} name, state, awaits, request;
	int64_t worker, age_ms, awaits_ms; /* awaits_ms below 0: it awaits nothing */
};

struct report {
	struct buf *out;
	struct tasks_report_size size;
	unsigned lines;
	struct row *rows;
	size_t count;
	struct arena arena;
};

/* --- the JSON --- */

static struct span_text text_of(const struct json *object, const char *name)
{
	const struct json *j = json_member(object, name, strlen(name));
	return j && j->kind == JSON_STRING ? (struct span_text){j->text, j->len} : (struct span_text){"", 0};
}

static int64_t number_of(const struct json *object, const char *name, int64_t otherwise)
{
	const struct json *j = json_member(object, name, strlen(name));
	char digits[24];
	if (!j || j->kind != JSON_NUMBER || j->len >= sizeof(digits))
		return otherwise;
	memcpy(digits, j->text, j->len);
	digits[j->len] = '\0';
	return strtoll(digits, NULL, 10);
}

static const struct json *array_of(const struct json *object, const char *name)
{
	const struct json *j = json_member(object, name, strlen(name));
	return j && j->kind == JSON_ARRAY ? j : NULL;
}

static void take_rows(struct report *r, const struct json *tasks)
{
	r->rows = arena_array(&r->arena, tasks->count + 1, sizeof(*r->rows));
	for (const struct json *j = tasks->child; j; j = j->next) {
		r->rows[r->count++] = (struct row){
			.name = text_of(j, "name"),
			.state = text_of(j, "state"),
			.awaits = text_of(j, "awaits"),
			.request = text_of(j, "request"),
			.worker = number_of(j, "worker", 0),
			.age_ms = number_of(j, "age_ms", 0),
			.awaits_ms = number_of(j, "awaits_ms", -1),
		};
	}
}

/* --- lines --- */

/* Text of the daemon's: its control characters, C1 included, would speak to the terminal. */
static void put_text(struct buf *line, struct span_text t)
{
	for (size_t i = 0; i < t.len; i++) {
		unsigned char c = (unsigned char)t.text[i];
		bool c1 = c == 0xc2 && i + 1 < t.len && (unsigned char)t.text[i + 1] < 0xa0;
		i += c1;
		buf_char(line, c < ' ' || c == 0x7f || c1 ? '?' : (char)c);
	}
}

/* How many bytes of the text fit, a code point a column; columns 0: all. */
static size_t fitting(const char *text, size_t len, size_t columns)
{
	size_t at = 0;
	for (size_t column = 0; at < len && (columns == 0 || column < columns); column++) {
		at++;
		while (at < len && ((unsigned char)text[at] & 0xc0) == 0x80)
			at++;
	}
	return at;
}

/* Returns false if there is no room for it. */
static bool put_line(struct report *r, struct buf *line)
{
	bool room = r->size.lines == 0 || r->lines < r->size.lines;
	if (room) {
		while (line->len > 0 && line->data[line->len - 1] == ' ')
			line->len--;
		buf_append(r->out, line->data, fitting(line->data, line->len, r->size.columns));
		buf_char(r->out, '\n');
		r->lines++;
	}
	line->len = 0;
	return room;
}

/* Fill up to the column that is `columns` behind `from`, and a space. */
static void pad(struct buf *line, size_t from, size_t columns)
{
	for (size_t n = utf8_length(line->data + from, line->len - from); n < columns; n++)
		buf_char(line, ' ');
	buf_char(line, ' ');
}

/* On a terminal what follows stays in its column, however long the text is. */
static void put_cell(const struct report *r, struct buf *line, struct span_text t, size_t columns)
{
	size_t from = line->len;
	put_text(line, t);
	if (r->size.columns > 0 && utf8_length(line->data + from, line->len - from) > columns) {
		line->len = from + fitting(line->data + from, line->len - from, columns - 1);
		buf_lit(line, "…");
	}
	pad(line, from, columns);
}

/* Ten columns: "1.203 s", from ten minutes on "1 h 05 m". */
static void put_time(struct buf *line, int64_t ms)
{
	if (ms < 0)
		buf_printf(line, "%10s", "");
	else if (ms < 600 * INT64_C(1000))
		buf_printf(line, "%4lld.%03lld s", (long long)(ms / 1000), (long long)(ms % 1000));
	else
		buf_printf(line, "%2lld h %02lld m", (long long)(ms / 3600000), (long long)(ms / 60000 % 60));
}

/* --- the parts --- */

static void put_head(struct report *r, const struct json *workers, const char *address)
{
	struct buf line = BUF_INIT;
	buf_printf(&line, "%zu task%s on %u worker%s at %s", r->count, r->count == 1 ? "" : "s", workers->count,
		   workers->count == 1 ? "" : "s", address);
	put_line(r, &line);
	for (const struct json *w = workers->child; w; w = w->next) {
		const struct json *answers = json_member(w, "answers", 7);
		int64_t count = number_of(w, "tasks", 0), left_out = number_of(w, "left_out", 0);
		buf_printf(&line, "worker %lld: ", (long long)number_of(w, "worker", 0));
		if (answers && answers->kind == JSON_BOOL && answers->boolean)
			buf_printf(&line, "%lld task%s", (long long)count, count == 1 ? "" : "s");
		else
			buf_lit(&line, "does not answer: it is blocked");
		if (left_out > 0)
			buf_printf(&line, ", %lld of them not shown", (long long)left_out);
		put_line(r, &line);
	}
	put_line(r, &line);
	buf_done(&line);
}

static int compare_text(struct span_text a, struct span_text b)
{
	size_t shorter = a.len < b.len ? a.len : b.len;
	int c = memcmp(a.text, b.text, shorter);
	return c ? c : (a.len > b.len) - (a.len < b.len);
}

static int by_name(const void *a, const void *b)
{
	return compare_text(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static int by_age(const void *a, const void *b)
{
	int64_t x = ((const struct row *)a)->age_ms, y = ((const struct row *)b)->age_ms;
	return (x < y) - (x > y);
}

struct group {
	struct span_text name;
	size_t count;
	int64_t oldest_ms;
};

static int by_count(const void *a, const void *b)
{
	size_t x = ((const struct group *)a)->count, y = ((const struct group *)b)->count;
	return x != y ? (x < y) - (x > y)
		      : compare_text(((const struct group *)a)->name, ((const struct group *)b)->name);
}

/* Returns how many groups, in the order of their sizes. Orders the rows by name. */
static size_t make_groups(struct report *r, struct group *groups)
{
	size_t count = 0;
	qsort(r->rows, r->count, sizeof(*r->rows), by_name);
	for (size_t i = 0; i < r->count; i++) {
		const struct row *row = &r->rows[i];
		if (count == 0 || compare_text(groups[count - 1].name, row->name) != 0)
			groups[count++] = (struct group){.name = row->name};
		struct group *g = &groups[count - 1];
		g->count++;
		g->oldest_ms = row->age_ms > g->oldest_ms ? row->age_ms : g->oldest_ms;
	}
	qsort(groups, count, sizeof(*groups), by_count);
	return count;
}

static void put_groups(struct report *r)
{
	struct group *groups = arena_array(&r->arena, r->count + 1, sizeof(*groups));
	size_t count = make_groups(r, groups);
	size_t shown = r->size.lines > 0 && count > NAMES_SHOWN ? NAMES_SHOWN : count;
	struct buf line = BUF_INIT;
	buf_printf(&line, "%6s  %10s  NAME", "TASKS", "OLDEST");
	put_line(r, &line);
	for (size_t i = 0; i < shown; i++) {
		buf_printf(&line, "%6zu  ", groups[i].count);
		put_time(&line, groups[i].oldest_ms);
		buf_lit(&line, "  ");
		put_text(&line, groups[i].name);
		put_line(r, &line);
	}
	if (shown < count) {
		buf_printf(&line, "%6s  %10s  and %zu other names", "", "", count - shown);
		put_line(r, &line);
	}
	put_line(r, &line);
	buf_done(&line);
}

static void put_tasks(struct report *r)
{
	struct buf line = BUF_INIT;
	qsort(r->rows, r->count, sizeof(*r->rows), by_age);
	buf_printf(&line, "%10s %6s %-7s %-*s %-*s %10s  REQUEST", "AGE", "WORKER", "STATE", NAME_COLUMNS, "NAME",
		   AWAITS_COLUMNS, "AWAITS", "FOR");
	for (size_t i = 0; put_line(r, &line) && i < r->count; i++) {
		const struct row *row = &r->rows[i];
		put_time(&line, row->age_ms);
		buf_printf(&line, " %6lld ", (long long)row->worker);
		put_cell(r, &line, row->state, 7);
		put_cell(r, &line, row->name, NAME_COLUMNS);
		put_cell(r, &line, row->awaits, AWAITS_COLUMNS);
		put_time(&line, row->awaits_ms);
		buf_lit(&line, "  ");
		put_text(&line, row->request);
	}
	buf_done(&line);
}

int tasks_report(struct buf *out, const char *json, size_t len, const char *address, struct tasks_report_size size)
{
	struct report r = {.out = out, .size = size};
	struct json *root = NULL;
	char what[100];
	arena_init(&r.arena);
	int result = json_parse(&root, &r.arena, json, len, JSON_MAX_DEPTH, what, sizeof(what));
	const struct json *tasks = result == 0 ? array_of(root, "tasks") : NULL;
	const struct json *workers = result == 0 ? array_of(root, "workers") : NULL;
	if (tasks && workers) {
		take_rows(&r, tasks);
		put_head(&r, workers, address);
		put_groups(&r);
		put_tasks(&r);
	} else {
		result = -EBADMSG;
	}
	arena_done(&r.arena);
	return result;
}

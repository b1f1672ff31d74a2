/* Collecting what is wrong with a configuration: mistakes are kept until the end of the run, then sorted by place, so
 * that the order of the checks never shows. */
#include "config/diagnostics.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ascii.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/utf8.h"

#define WORD_MAX 64 /* longer words have no nearest name */

void diagnostics_init(struct diagnostics *d)
{
	*d = (struct diagnostics){0};
	arena_init(&d->arena);
}

void diagnostics_done(struct diagnostics *d)
{
	free(d->items);
	arena_done(&d->arena);
	*d = (struct diagnostics){0};
}

/* The name of the file, kept by d: a mark may come from a configuration that is freed before its diagnostics. */
static const char *keep_file(struct diagnostics *d, const char *file)
{
	if (!file)
		return NULL;
	if (d->count && d->items[d->count - 1].at.file && strcmp(d->items[d->count - 1].at.file, file) == 0)
		return d->items[d->count - 1].at.file;
	return arena_strdup(&d->arena, file);
}

/* Bytes of the UTF-8 character at p, 0 if it is none: a message may have cut one in two. */
static size_t character(const char *p, size_t left)
{
	size_t n = 1;
	while (n <= 4 && n <= left && !utf8_valid(p, n))
		n++;
	return n <= 4 && n <= left ? n : 0;
}

/* The text as it may reach a terminal: UTF-8 without control characters. */
static const char *printable(struct diagnostics *d, const char *text, size_t len)
{
	struct buf out = BUF_INIT;
	for (size_t i = 0; i < len;) {
		size_t n = character(text + i, len - i);
		unsigned char c = (unsigned char)text[i];
		if (n == 0)
			buf_char(&out, '?');
		else if (c < 0x20 || c == 0x7f)
			buf_printf(&out, "\\x%02x", c);
		else
			buf_append(&out, text + i, n);
		i += n ? n : 1;
	}
	const char *kept = arena_strndup(&d->arena, out.data ? out.data : "", out.len);
	buf_done(&out);
	return kept;
}

static printf_like(4, 0) void add(struct diagnostics *d, struct mark at, enum severity severity, const char *format,
				  va_list ap)
{
	mem_reserve(d->items, d->capacity, d->count + 1);
	struct buf text = BUF_INIT;
	buf_vprintf(&text, format, ap);
	at.file = keep_file(d, at.file);
	d->items[d->count++] = (struct diagnostic){
		.at = at, .severity = severity, .text = printable(d, text.data ? text.data : "", text.len)};
	buf_done(&text);
	if (severity == SEVERITY_ERROR)
		d->errors++;
}

void diagnostics_error(struct diagnostics *d, struct mark at, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	add(d, at, SEVERITY_ERROR, format, ap);
	va_end(ap);
}

void diagnostics_warning(struct diagnostics *d, struct mark at, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	add(d, at, SEVERITY_WARNING, format, ap);
	va_end(ap);
}

static int compare_places(const struct mark *a, const struct mark *b)
{
	int files = strcmp(a->file ? a->file : "", b->file ? b->file : "");
	if (files)
		return files;
	if (a->line != b->line)
		return a->line < b->line ? -1 : 1;
	return (a->column > b->column) - (a->column < b->column);
}

static int compare(const void *p, const void *q)
{
	const struct diagnostic *a = p, *b = q;
	int places = compare_places(&a->at, &b->at);
	return places ? places : strcmp(a->text, b->text);
}

void diagnostics_sort(struct diagnostics *d)
{
	if (d->count < 2)
		return;
	qsort(d->items, d->count, sizeof(*d->items), compare);
	size_t kept = 1;
	for (size_t i = 1; i < d->count; i++) {
		if (compare(&d->items[kept - 1], &d->items[i]) != 0)
			d->items[kept++] = d->items[i];
		else if (d->items[i].severity == SEVERITY_ERROR)
			d->errors--;
	}
	d->count = kept;
}

void diagnostics_print(const struct diagnostics *d, struct buf *out)
{
	for (size_t i = 0; i < d->count; i++) {
		const struct diagnostic *item = &d->items[i];
		if (item->at.file)
			buf_printf(out, "%s:", item->at.file);
		if (item->at.line)
			buf_printf(out, "%u:%u:", item->at.line, item->at.column);
		buf_printf(out, "%s%s%s\n", item->at.file ? " " : "",
			   item->severity == SEVERITY_WARNING ? "warning: " : "", item->text);
	}
}

void diagnostic_report(const struct diagnostic *item, struct buf *out)
{
	if (item->at.file)
		buf_printf(out, "%s:", item->at.file);
	if (item->at.file && item->at.line)
		buf_printf(out, "%u:%u:", item->at.line, item->at.column);
	buf_printf(out, "%s%s: %s\n", item->at.file ? " " : "", item->severity == SEVERITY_ERROR ? "error" : "warning",
		   item->text);
}

void diagnostics_report(const struct diagnostics *d, struct buf *out)
{
	size_t warnings = d->count - d->errors;
	for (size_t i = 0; i < d->count; i++)
		diagnostic_report(&d->items[i], out);
	if (d->errors > 0)
		buf_printf(out, "%zu error%s", d->errors, d->errors == 1 ? "" : "s");
	if (warnings > 0)
		buf_printf(out, "%s%zu warning%s", d->errors > 0 ? ", " : "", warnings, warnings == 1 ? "" : "s");
	if (d->count > 0)
		buf_char(out, '\n');
}

static bool same(char a, char b)
{
	return ascii_lower(a) == ascii_lower(b);
}

/* Damerau-Levenshtein (optimal string alignment): insertions, deletions, replacements and swaps of neighbours, without
 * regard to case. Both lengths are below WORD_MAX. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned rows[3][WORD_MAX + 1];
	unsigned *before = rows[0], *above = rows[1], *row = rows[2];
	for (size_t j = 0; j <= b_len; j++)
		above[j] = (unsigned)j;
	for (size_t i = 1; i <= a_len; i++) {
		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b_len; j++) {
			unsigned best = above[j - 1] + !same(a[i - 1], b[j - 1]);
			if (above[j] + 1 < best)
				best = above[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]) &&
			    before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			row[j] = best;
		}
		unsigned *oldest = before;
		before = above;
		above = row;
		row = oldest;
	}
	return above[b_len];
}

const char *nearest_name(const char *word, const char *const *names, size_t count)
{
	size_t len = strlen(word);
	if (len == 0 || len >= WORD_MAX)
		return NULL;
	/* One mistake in a short word, up to three in a long one: beyond that, what is near is seldom what was meant.
	 */
	unsigned nearest = len <= 5 ? 2 : len <= 9 ? 3 : 4;
	const char *found = NULL;
	for (size_t i = 0; i < count; i++) {
		size_t name_len = strlen(names[i]);
		size_t apart = name_len > len ? name_len - len : len - name_len;
		if (name_len >= WORD_MAX || apart >= nearest)
			continue;
		unsigned d = distance(word, len, names[i], name_len);
		if (d < nearest && d < len) {
			nearest = d;
			found = names[i];
		}
	}
	return found;
}

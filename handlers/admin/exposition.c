/* Writing samples. */
#include "handlers/admin/exposition.h"

#include <string.h>

#include "base/json_out.h"

static const char *const type_names[] = {"counter", "gauge", "histogram", "summary", "counter"};

void expose_family(const struct exposition *x, const char *name, enum metric_type type, const char *help)
{
	size_t len = strlen(name);
	const char *word = type == METRIC_TOTAL && x->open_metrics ? "unknown" : type_names[type];
	/* OpenMetrics: the family has no suffix, its samples have. */
	if (x->open_metrics && type == METRIC_COUNTER)
		len -= strlen("_total");
	buf_lit(x->out, "# HELP ");
	buf_append(x->out, name, len);
	buf_char(x->out, ' ');
	buf_str(x->out, help);
	buf_lit(x->out, "\n# TYPE ");
	buf_append(x->out, name, len);
	buf_char(x->out, ' ');
	buf_str(x->out, word);
	buf_char(x->out, '\n');
}

/* --- what stands before values --- */

static void escape(struct buf *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '\\' || *s == '"')
			buf_char(out, '\\');
		if (*s == '\n')
			buf_lit(out, "\\n");
		else
			buf_char(out, *s);
	}
}

static void begin_labels(struct buf *out, const char *name, va_list *labels)
{
	const char *label;
	bool any = false;
	buf_str(out, name);
	while ((label = va_arg(*labels, const char *))) {
		buf_char(out, any ? ',' : '{');
		buf_str(out, label);
		buf_lit(out, "=\"");
		escape(out, va_arg(*labels, const char *));
		buf_char(out, '"');
		any = true;
	}
	if (any)
		buf_char(out, '}');
	buf_char(out, ' ');
}

static struct sample_text keep(struct arena *a, struct buf *text)
{
	struct sample_text kept = {arena_strndup(a, text->data, text->len), text->len};
	buf_done(text);
	return kept;
}

struct sample_text sample_text(struct arena *a, const char *name, ...)
{
	struct buf text = BUF_INIT;
	va_list labels;
	va_start(labels, name);
	begin_labels(&text, name, &labels);
	va_end(labels);
	return keep(a, &text);
}

/* Microseconds as seconds, in the form that OpenMetrics asks of `le`: 0.0005, 2.5, 10.0. */
static void render_bound(struct buf *out, int64_t us)
{
	char digits[8];
	int len = 6;
	buf_int(out, us / 1000000);
	for (int i = 0, left = (int)(us % 1000000); i < 6; i++, left /= 10)
		digits[5 - i] = (char)('0' + left % 10);
	while (len > 1 && digits[len - 1] == '0')
		len--;
	buf_char(out, '.');
	buf_append(out, digits, (size_t)len);
}

/* name_suffix{label="value",le="bound"} */
static struct sample_text part_text(struct arena *a, const char *name, const char *suffix, const char *label,
				    const char *value, const char *bound)
{
	struct buf text = BUF_INIT;
	buf_str(&text, name);
	buf_str(&text, suffix);
	if (label || bound)
		buf_char(&text, '{');
	if (label) {
		buf_str(&text, label);
		buf_lit(&text, "=\"");
		escape(&text, value);
		buf_char(&text, '"');
	}
	if (bound) {
		buf_str(&text, label ? ",le=\"" : "le=\"");
		buf_str(&text, bound);
		buf_char(&text, '"');
	}
	if (label || bound)
		buf_char(&text, '}');
	buf_char(&text, ' ');
	return keep(a, &text);
}

struct histogram_text histogram_text(struct arena *a, const char *name, const char *label, const char *value)
{
	unsigned bounds = histogram_bounds.count;
	struct histogram_text t = {.buckets = arena_array(a, bounds + 1, sizeof(struct sample_text))};
	struct buf bound = BUF_INIT;
	for (unsigned i = 0; i < bounds; i++) {
		bound.len = 0;
		render_bound(&bound, histogram_bounds.us[i]);
		t.buckets[i] = part_text(a, name, "_bucket", label, value, buf_cstr(&bound));
	}
	buf_done(&bound);
	t.buckets[bounds] = part_text(a, name, "_bucket", label, value, "+Inf");
	t.sum = part_text(a, name, "_sum", label, value, NULL);
	t.count = part_text(a, name, "_count", label, value, NULL);
	return t;
}

/* --- samples --- */

void expose_count(const struct exposition *x, struct sample_text text, uint64_t n)
{
	char digits[24];
	size_t at = sizeof(digits);
	digits[--at] = '\n';
	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	buf_append(x->out, text.base, text.len);
	buf_append(x->out, digits + at, sizeof(digits) - at);
}

void expose_seconds(const struct exposition *x, struct sample_text text, uint64_t us)
{
	buf_append(x->out, text.base, text.len);
	buf_int(x->out, (int64_t)(us / 1000000));
	char fraction[8] = ".000000\n";
	unsigned left = (unsigned)(us % 1000000);
	for (int i = 6; i > 0; i--, left /= 10)
		fraction[i] = (char)('0' + left % 10);
	buf_append(x->out, fraction, sizeof(fraction));
}

void expose_double(const struct exposition *x, struct sample_text text, double d)
{
	buf_append(x->out, text.base, text.len);
	json_double(x->out, d);
	buf_char(x->out, '\n');
}

void expose_line(const struct exposition *x, uint64_t n, const char *name, ...)
{
	va_list labels;
	va_start(labels, name);
	begin_labels(x->out, name, &labels);
	va_end(labels);
	expose_count(x, (struct sample_text){"", 0}, n);
}

void expose_histogram(const struct exposition *x, const struct histogram_text *text, const struct tally *t,
		      size_t offset, unsigned first, unsigned last)
{
	uint64_t sums[HISTOGRAM_MOST + 1] = {0}, sum_us = 0, count = 0;
	for (unsigned w = first; w < last; w++) {
		const struct histogram *h = (const struct histogram *)(const void *)(t->blocks[w] + offset);
		for (unsigned i = 0; i <= histogram_bounds.count; i++)
			sums[i] += counter_read(&h->buckets[i]);
		sum_us += counter_read(&h->sum_us);
	}
	for (unsigned i = 0; i <= histogram_bounds.count; i++) {
		count += sums[i];
		expose_count(x, text->buckets[i], count);
	}
	expose_seconds(x, text->sum, sum_us);
	expose_count(x, text->count, count);
}

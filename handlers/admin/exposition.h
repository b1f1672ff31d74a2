/* The text formats of Prometheus and OpenMetrics: families, samples, histograms.
 *
 * What stands before a value never changes while a configuration lives: it is rendered once (sample_text), and a scrape
 * copies it. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/tally.h"

enum metric_type {
	METRIC_COUNTER,
	METRIC_GAUGE,
	METRIC_HISTOGRAM,
	METRIC_SUMMARY,
	/* A counter whose name without _total is that of a gauge: to OpenMetrics it is `unknown`, under its own name.
	 */
	METRIC_TOTAL,
};

struct exposition {
	struct buf *out;
	bool open_metrics; /* else Prometheus' text, version 0.0.4 */
};

/* "name{label="value",…} ", with its length. */
struct sample_text {
	const char *base;
	size_t len;
};

/* HELP and TYPE. The name of a counter ends with _total. */
void expose_family(const struct exposition *x, const char *name, enum metric_type type, const char *help);

/* The text before a sample's value, in a: labels are names and values in turn, up to a NULL. Values are escaped. */
struct sample_text sample_text(struct arena *a, const char *name, ...) __attribute__((sentinel));

void expose_count(const struct exposition *x, struct sample_text text, uint64_t n);
/* Microseconds as seconds. */
void expose_seconds(const struct exposition *x, struct sample_text text, uint64_t us);
void expose_double(const struct exposition *x, struct sample_text text, double d);
/* One whose text is made on the way. labels as for sample_text. */
void expose_line(const struct exposition *x, uint64_t n, const char *name, ...) __attribute__((sentinel));

/* The texts of a histogram: of each bucket, of the sum and of the count. */
struct histogram_text {
	struct sample_text *buckets; /* as many as there are bounds, and +Inf */
	struct sample_text sum, count;
};
/* label NULL: none. */
struct histogram_text histogram_text(struct arena *a, const char *name, const char *label, const char *value);
/* The histogram that stands at that offset in t's blocks, of the workers from `first` up to `last`. */
void expose_histogram(const struct exposition *x, const struct histogram_text *text, const struct tally *t,
		      size_t offset, unsigned first, unsigned last);

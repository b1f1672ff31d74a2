/* The log line of a request, put together piece by piece in a buffer that is used again. */
#include "handlers/web/request_log.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/deadline.h"
#include "base/log.h"

static struct {
	/* written before any worker */
	enum log_requests requests;
	int64_t slow_us;         /* 0: none is slow */
	struct config_rate most; /* count 0: no bound */
	/* shared */
	_Atomic int64_t window; /* of the budget: the time by most's interval */
	atomic_uint used;       /* in it */
	_Atomic uint64_t left_out, left_out_in_all;
} settings;

static void pair(struct buf *line, const char *key, const char *value)
{
	if (!value || !*value)
		return;
	buf_str(line, key);
	logfmt_value(line, value, strlen(value));
}

static void pair_span(struct buf *line, const char *key, struct span value)
{
	if (value.len == 0)
		return;
	buf_str(line, key);
	logfmt_value(line, value.base, value.len);
}

static void pair_ms(struct buf *line, int64_t us)
{
	if (us < 0)
		return;
	buf_lit(line, " ms=");
	buf_int(line, us / 1000);
	char fraction[4] = {'.', (char)('0' + us / 100 % 10), (char)('0' + us / 10 % 10), (char)('0' + us % 10)};
	buf_append(line, fraction, sizeof(fraction));
}

void request_log_configure(const struct config_log *config, struct config_rate most)
{
	settings.requests = config->requests;
	settings.slow_us = config->slow_us;
	settings.most = most;
}

uint64_t request_log_left_out(void)
{
	return atomic_exchange_explicit(&settings.left_out, 0, memory_order_relaxed);
}

uint64_t request_log_left_out_in_all(void)
{
	return atomic_load_explicit(&settings.left_out_in_all, memory_order_relaxed);
}

/* Take a line of the budget. Two threads may begin a window twice: the bound protects the log's reader, and a line more
 * or less does it no harm. */
static bool has_budget(void)
{
	int64_t window = monotonic_us() / settings.most.per_us;
	if (atomic_load_explicit(&settings.window, memory_order_relaxed) != window) {
		atomic_store_explicit(&settings.used, 0, memory_order_relaxed);
		atomic_store_explicit(&settings.window, window, memory_order_relaxed);
	}
	if (atomic_fetch_add_explicit(&settings.used, 1, memory_order_relaxed) < settings.most.count)
		return true;
	atomic_fetch_add_explicit(&settings.left_out, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&settings.left_out_in_all, 1, memory_order_relaxed);
	return false;
}

static bool is_wanted(const struct request_line *r)
{
	if (settings.requests == LOG_REQUESTS_NONE)
		return false;
	if (r->status >= 499 || (settings.slow_us && r->us > settings.slow_us))
		return true;
	return settings.requests == LOG_REQUESTS_ALL && (settings.most.count == 0 || has_budget());
}

void request_log(struct buf *line, const struct request_line *r)
{
	enum log_severity severity = r->status == 503   ? LOG_LINE_WARNING
				     : r->status >= 500 ? LOG_LINE_ERROR
							: LOG_LINE_INFO;
	if (!log_enabled(severity) || !is_wanted(r))
		return;
	line->len = 0;
	log_begin(line, severity, "request");
	pair(line, " id=", r->id);
	pair_span(line, " method=", r->method);
	pair_span(line, " path=", r->path);
	buf_lit(line, " status=");
	buf_int(line, r->status);
	buf_lit(line, " bytes=");
	buf_int(line, (int64_t)r->bytes);
	pair_ms(line, r->us);
	pair(line, " endpoint=", r->endpoint);
	pair(line, " peer=", r->peer);
	pair(line, " step=", r->step);
	pair(line, " missing=", r->missing);
	pair(line, " code=", r->code);
	pair(line, " error=", r->error);
	buf_char(line, '\n');
	log_raw(severity, line->data, line->len);
}

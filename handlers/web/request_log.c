/* The log line of a request, put together piece by piece in a buffer that is used again. */
#include "handlers/web/request_log.h"

#include <string.h>

#include "base/log.h"

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

void request_log(struct buf *line, const struct request_line *r)
{
	enum log_severity severity = r->status == 503   ? LOG_LINE_WARNING
				     : r->status >= 500 ? LOG_LINE_ERROR
							: LOG_LINE_INFO;
	if (!log_enabled(severity))
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

/* Replies that are written while they are made: streams, server-sent events. */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "async/loop.h"
#include "base/token.h"
#include "handlers/module/internal.h"
#include "handlers/module/request.h"

enum { KEEP_ALIVE_MS = 15000, LONGEST_MS = 24 * 3600 * 1000 };

int gd_stream_begin(gd_request *req, int status, const char *content_type)
{
	if (content_type && !is_field_value(content_type, strlen(content_type)))
		return -EINVAL;
	int r = request_reply(req, status, __func__);
	if (r < 0)
		return r;
	if (!req->reply.content_type)
		req->reply.content_type = content_type ? arena_strdup(&req->exchange->arena, content_type)
						       : "application/octet-stream";
	deadline_t narrow = task_deadline();
	r = exchange_stream_begin(req->exchange, &req->reply, EXCHANGE_LENGTH_UNKNOWN);
	req->streaming = r == 1;
	req->discarding = r == 0;
	req->undated = r >= 0;
	if (narrow.us < req->exchange->by.us)
		deadline_pop(narrow); /* the handler's own still holds */
	return r < 0 ? r : 0;
}

int gd_stream_write(gd_request *req, const void *p, size_t len)
{
	int r = request_check(req, __func__);
	if (r < 0)
		return r;
	if ((len > 0 && !p) || (!req->streaming && !req->discarding))
		return -EINVAL;
	if (req->discarding) {
		exchange_stream_unwanted(req->exchange);
		return turn_over(-ECANCELED);
	}
	req->said_us = loop_now_us(loop_current());
	return turn_over(exchange_stream_put(req->exchange, p, len));
}

int gd_stream_printf(gd_request *req, const char *format, ...)
{
	struct buf text = BUF_INIT;
	va_list ap;
	va_start(ap, format);
	if (format)
		buf_vprintf(&text, format, ap);
	va_end(ap);
	int r = gd_stream_write(req, text.data, text.len);
	buf_done(&text);
	return r;
}

int gd_stream_end(gd_request *req)
{
	int r = request_check(req, __func__);
	if (r < 0)
		return r;
	if (!req->streaming && !req->discarding)
		return -EINVAL;
	bool streaming = req->streaming;
	req->streaming = req->discarding = false;
	return streaming ? exchange_stream_end(req->exchange) : 0;
}

/* --- server-sent events (WHATWG HTML, 9.2) --- */

/* A comment whenever nothing was said for a while: proxies close what is silent, and who has left is noticed. */
static int keep_alive(void *arg)
{
	gd_request *req = arg;
	int r = 0;
	deadline_pop(DEADLINE_NEVER); /* what the handler had pushed when the stream began does not bound it */
	while (r == 0 && req->streaming) {
		int64_t due_us = req->said_us + req->keep_alive_us;
		if (due_us <= loop_now_us(loop_current()))
			r = gd_stream_write(req, ":\n\n", 3);
		else
			r = task_sleep((deadline_t){due_us});
	}
	return r == -ECANCELED || !req->streaming ? 0 : r;
}

int gd_sse_begin(gd_request *req, int64_t keep_alive_ms)
{
	int r = gd_reply_header(req, "Cache-Control", "no-store");
	if (r == 0)
		r = gd_reply_header(req, "X-Accel-Buffering", "no");
	if (r == 0)
		r = gd_stream_begin(req, 200, "text/event-stream");
	if (r == 0 && req->streaming) /* so that the client has the headers before the first event */
		r = gd_stream_write(req, ":\n\n", 3);
	if (r < 0)
		return r;
	if (keep_alive_ms <= 0)
		keep_alive_ms = KEEP_ALIVE_MS;
	req->keep_alive_us = (keep_alive_ms < LONGEST_MS ? keep_alive_ms : LONGEST_MS) * 1000;
	if (req->streaming && !gd_spawn("keep-alive of a stream", keep_alive, req))
		return -EAGAIN;
	return 0;
}

static void add_line(struct buf *out, const char *field, const char *text, size_t len)
{
	buf_str(out, field);
	buf_append(out, text, len);
	buf_char(out, '\n');
}

/* Each line of data is a field of its own, whatever its line ends are. */
static void add_data(struct buf *out, const char *data)
{
	for (;;) {
		size_t len = strcspn(data, "\r\n");
		add_line(out, "data: ", data, len);
		data += len;
		if (!*data)
			return;
		data += data[0] == '\r' && data[1] == '\n' ? 2 : 1;
	}
}

int gd_sse_send(gd_request *req, const char *event, const char *id, const char *data)
{
	if ((event && strpbrk(event, "\r\n")) || (id && strpbrk(id, "\r\n")) || !data)
		return -EINVAL;
	struct buf text = BUF_INIT;
	if (event)
		add_line(&text, "event: ", event, strlen(event));
	if (id)
		add_line(&text, "id: ", id, strlen(id));
	add_data(&text, data);
	buf_char(&text, '\n');
	int r = gd_stream_write(req, text.data, text.len);
	buf_done(&text);
	return r;
}

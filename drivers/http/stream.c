/* Streams stand between libcurl, which brings pieces on the loop's own stack, and the task that reads them.
 *
 * What has come and was not read is kept as it came, so that no piece of a compressed body can become large before the
 * reader wants it. Where there is too much of it libcurl is told to wait: it stops watching the socket, and the
 * service's own writes block in the end. */
#include "drivers/http/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/http/internal.h"
#include "drivers/http/transfer.h"

enum {
	MAX_UNREAD = 128 << 10, /* beyond: libcurl waits */
	MIN_UNREAD = 32 << 10,  /* below: it goes on */
	MAX_PIECE = 64 << 10,   /* decompressed at a time */
};

struct http_stream {
	struct http_sink sink;
	struct http_transfer *transfer;
	struct buf unread; /* as it came, from `at` on */
	size_t at;
	struct buf piece;   /* the reader's */
	bool answered;      /* the final head is there */
	bool reading;       /* a task waits for more */
	struct error error; /* errnum below 0: what reading it fails with */
};

/* --- libcurl's side --- */

static void on_answered(struct http_sink *sink)
{
	struct http_stream *s = container_of(sink, struct http_stream, sink);

	s->answered = true;
	task_wake(&s->transfer->waiter, 0);
}

static size_t on_piece(struct http_sink *sink, const char *data, size_t len)
{
	struct http_stream *s = container_of(sink, struct http_stream, sink);
	size_t unread = s->unread.len - s->at;

	if (unread > 0 && unread + len > MAX_UNREAD) {
		s->sink.paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (s->at > MAX_UNREAD / 2 || unread == 0) {
		if (unread > 0)
			memmove(s->unread.data, s->unread.data + s->at, unread);
		s->unread.len = unread;
		s->at = 0;
	}
	buf_append(&s->unread, data, len);
	task_wake(&s->transfer->waiter, 0);
	return len;
}

/* --- the request's --- */

struct http_stream *http_stream_new(struct http_transfer *t)
{
	struct http_stream *s = mem_zalloc(sizeof(*s));

	s->sink = (struct http_sink){.answered = on_answered, .take = on_piece};
	s->transfer = t;
	t->sink = &s->sink;
	return s;
}

bool http_stream_is_answered(const struct http_stream *s)
{
	return s->answered;
}

/* --- the reader's --- */

/* Returns 0 or -EBADMSG; the piece is empty where there is nothing to read. */
static int take_piece(struct http_stream *s)
{
	struct inflater *inflater = &s->transfer->inflater;

	s->piece.len = 0;
	if (!inflater->on) {
		struct buf empty = s->piece;
		s->piece = s->unread;
		s->unread = empty;
		return 0;
	}
	size_t used = 0, unread = s->unread.len - s->at;
	int r = inflater_some(inflater, unread ? s->unread.data + s->at : "", unread, &used, &s->piece, MAX_PIECE);
	s->at += used;
	return r;
}

static void go_on(struct http_stream *s)
{
	struct http_transfer *t = s->transfer;

	if (!s->sink.paused || t->ended || s->unread.len - s->at > MIN_UNREAD)
		return;
	s->sink.paused = false;
	CURLcode code = curl_easy_pause(t->easy, CURLPAUSE_CONT);
	if (code != CURLE_OK && !t->ended)
		http_transfer_ended(t, code);
}

static int fail(struct http_stream *s, int r, int status, const char *what, struct error *e)
{
	http_transfer_stop(s->transfer);
	error_set(&s->error, r, status, NULL, "%s", what);
	*e = s->error;
	return r;
}

/* Suspends. */
static int await_more(struct http_stream *s, deadline_t by, struct error *e)
{
	s->reading = true;
	int r = http_transfer_await(s->transfer, "a piece of an HTTP answer", by);
	s->reading = false;
	if (r == -ETIMEDOUT)
		return fail(s, r, 504, "the deadline passed while the body was awaited", e);
	return r < 0 ? fail(s, r, 503, "cancelled while the body was awaited", e) : 0;
}

/* All that came was read. Was it all there is? */
static int end(struct http_stream *s, struct error *e)
{
	struct http_response ignored = {0};
	int r = http_transfer_judge(s->transfer, &ignored, &s->error);

	if (r < 0)
		*e = s->error;
	return r;
}

int64_t http_stream_read(struct http_stream *s, const void **p, deadline_t by, struct error *e)
{
	int r = 0;

	if (s->reading)
		return error_set(e, -EBUSY, 500, NULL, "another task is reading it");
	if (s->error.errnum < 0) {
		*e = s->error;
		return e->errnum;
	}
	while (r == 0) {
		/* What is there is read, whatever has happened since; the piece before an error, too. */
		r = take_piece(s);
		if (r < 0 && s->piece.len == 0)
			return fail(s, -EPIPE, 502, "the answer's compression is broken", e);
		if (s->piece.len > 0) {
			go_on(s);
			*p = s->piece.data;
			return (int64_t)s->piece.len;
		}
		if (s->transfer->ended)
			return end(s, e);
		go_on(s);
		r = await_more(s, by, e);
	}
	return r;
}

void http_stream_drop(struct http_stream *s)
{
	struct http_transfer *t = s->transfer;

	t->spoilt = s->sink.paused;
	http_transfer_stop(t);
	http_engine_give(t);
	buf_done(&s->unread);
	buf_done(&s->piece);
	free(s);
}

void http_stream_close(struct http_stream *s)
{
	if (!s)
		return;
	struct http_engine *engine = s->transfer->engine;
	http_stream_drop(s);
	shared_semaphore_release(engine->settings.permits);
	engine->callers--;
}

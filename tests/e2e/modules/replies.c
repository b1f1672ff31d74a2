/* Handlers that look at their requests and answer in every way there is. */
#include <errno.h>
#include <gatherd.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

int lines(gd_request *req)
{
	int64_t count = gd_to_int(gd_param(req, "count"), 0);
	int r = gd_stream_begin(req, 200, "text/plain");
	for (int64_t i = 0; i < count && r == 0; i++)
		r = gd_stream_printf(req, "line %lld\n", (long long)i);
	return r < 0 ? r : gd_stream_end(req);
}

static atomic_llong endless_bytes;
static atomic_int endless_end;

/* Writes for ever: how far it gets depends on the client alone. */
int endless(gd_request *req)
{
	static const char block[1024];
	atomic_store(&endless_bytes, 0);
	atomic_store(&endless_end, 0);
	int r = gd_stream_begin(req, 200, NULL);
	while (r == 0) {
		r = gd_stream_write(req, block, sizeof(block));
		if (r == 0)
			atomic_fetch_add(&endless_bytes, sizeof(block));
	}
	atomic_store(&endless_end, r);
	return r;
}

int endless_so_far(gd_request *req)
{
	return gd_reply(req, 200,
			gd_doc("bytes", gd_int(atomic_load(&endless_bytes)), "end", gd_int(atomic_load(&endless_end))));
}

/* A body that breaks off: by a failure, or because the end was forgotten. */
int broken(gd_request *req)
{
	int r = gd_stream_begin(req, 200, "text/plain");
	if (r == 0)
		r = gd_stream_printf(req, "half of it");
	if (r == 0 && gd_truthy(gd_param(req, "fail")))
		r = gd_fail(-EIO, 502, "The other half is missing.");
	return r;
}

int misused(gd_request *req)
{
	int said[8], n = 0;
	said[n++] = gd_stream_write(req, "x", 1);
	said[n++] = gd_stream_end(req);
	said[n++] = gd_stream_begin(req, 99, NULL);
	said[n++] = gd_stream_begin(req, 200, "a/b\r\nX: y");
	said[n++] = gd_sse_send(req, NULL, NULL, "x");
	said[n++] = gd_reply_redirect(req, 200, "/");
	said[n++] = gd_reply_redirect(req, 302, "/a\r\nX: y");
	int r = gd_stream_begin(req, 200, "application/json");
	said[n++] = gd_reply_text(req, 200, "twice");
	gd_value *list = gd_list();
	for (int i = 0; i < n; i++)
		gd_append(list, gd_int(said[i]));
	if (r == 0)
		r = gd_stream_printf(req, "%s", gd_to_json(list));
	return r < 0 ? r : gd_stream_end(req);
}

/* A stream that begins within a narrower deadline, which still holds; the request's does not, not even afterwards. */
int dated(gd_request *req)
{
	gd_deadline before = gd_deadline_push(gd_in_ms(50));
	int r = gd_stream_begin(req, 200, "application/json");
	int narrow = gd_sleep(10000);
	gd_deadline_pop(before);
	int wide = gd_sleep(1000);
	if (r == 0)
		r = gd_stream_printf(req, "[%d,%d]", narrow, wide);
	return r < 0 ? r : gd_stream_end(req);
}

int large(gd_request *req)
{
	static const char block[5000];
	int64_t way = gd_to_int(gd_param(req, "way"), 0);
	if (way == 0)
		return gd_reply_bytes(req, 200, NULL, block, sizeof(block));
	if (way == 1)
		return gd_reply_text(req, 200, "%5000d", 1);
	return gd_reply(req, 200, gd_bytes(block, sizeof(block)));
}

int redirect(gd_request *req)
{
	return gd_reply_redirect(req, (int)gd_to_int(gd_param(req, "status"), 303), "/else?where=1");
}

int events(gd_request *req)
{
	int r = gd_sse_begin(req, gd_to_int(gd_param(req, "keep_alive"), 0));
	if (r == 0)
		r = gd_sleep(gd_to_int(gd_param(req, "wait"), 0));
	if (r == 0)
		r = gd_sse_send(req, "greeting", "7", "one\ntwo\r\n\rfour");
	if (r == 0 && gd_sse_send(req, "a\nb", NULL, "x") != -EINVAL)
		r = -EBADMSG;
	if (r == 0)
		r = gd_sse_send(req, NULL, NULL, "");
	return r < 0 ? r : gd_stream_end(req);
}

/* The same, begun within a deadline that is over long before its end. */
int events_begun_in_time(gd_request *req)
{
	gd_deadline before = gd_deadline_push(gd_in_ms(50));
	int r = gd_sse_begin(req, 100);
	gd_deadline_pop(before);
	if (r == 0)
		r = gd_sleep(1000);
	return r < 0 ? r : gd_stream_end(req);
}

int raw(gd_request *req)
{
	size_t len;
	const void *body = gd_body(req, &len);
	return gd_reply_bytes(req, 200, "application/x-echo", body, len);
}

int json(gd_request *req)
{
	return gd_reply(req, 200, gd_body_json(req));
}

int form(gd_request *req)
{
	return gd_reply(req, 200, gd_body_form(req));
}

/* What is read after the reply has begun is what came. */
int late_body(gd_request *req)
{
	size_t before, after;
	gd_body(req, &before);
	int r = gd_stream_begin(req, 200, "text/plain");
	const char *body = gd_body(req, &after);
	if (r == 0)
		r = gd_stream_write(req, body, before == after ? after : 0);
	return r < 0 ? r : gd_stream_end(req);
}

/* Far more than a socket takes, at once. */
int mouthful(gd_request *req)
{
	enum { LEN = 16 << 20 };
	char *all = gd_alloc(LEN);
	for (size_t i = 0; i < LEN; i++)
		all[i] = (char)(i / 4099);
	int r = gd_stream_begin(req, 200, NULL);
	if (r == 0)
		r = gd_stream_write(req, all, LEN);
	return r < 0 ? r : gd_stream_end(req);
}

static int wait_long(void *arg)
{
	(void)arg;
	sleep(3);
	return 0;
}

/* Looks at its request for the first time when its connection is closed already. */
int too_late(gd_request *req)
{
	size_t len;
	gd_run_blocking(wait_long, NULL);
	const void *body = gd_body(req, &len);
	gd_log(GD_LOG_INFO, "a body of %zu bytes, %s, %s", len, body ? "there" : "NULL",
	       gd_header(req, "Content-Type") ? "a type" : "no type");
	gd_value *form = gd_body_form(req);
	return gd_failed(form);
}

/* What is said of headers with a certain byte in their value, their name, and the type. */
int odd_headers(gd_request *req)
{
	char c = (char)gd_to_int(gd_param(req, "byte"), 0);
	char value[] = {'a', c, 'b', '\0'}, name[] = {'X', c, '\0'};
	gd_value *said = gd_list();
	gd_append(said, gd_int(gd_reply_header(req, "X-Odd", value)));
	gd_append(said, gd_int(gd_reply_header(req, name, "v")));
	gd_append(said, gd_int(gd_reply_header(req, "Content-Type", value)));
	gd_append(said, gd_int(gd_reply_redirect(req, 200, value)));
	if (gd_to_int(gd_get(said, "[0]"), 1) < 0) {
		gd_append(said, gd_int(gd_reply_bytes(req, 200, value, "", 0)));
		gd_append(said, gd_int(gd_stream_begin(req, 200, value)));
		gd_append(said, gd_int(gd_reply_redirect(req, 302, value)));
	}
	gd_reply_header(req, "Content-Type", "application/json");
	return gd_reply(req, 200, said);
}

int file(gd_request *req)
{
	return gd_reply_file(req, "papers", gd_to_text(gd_param(req, "name")));
}

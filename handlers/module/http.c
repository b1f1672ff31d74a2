/* HTTP services for handlers: arguments are taken here, drivers/http does the rest. */
#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include "drivers/http/driver.h"
#include "drivers/http/result.h"
#include "drivers/http/run.h"
#include "drivers/http/target.h"
#include "handlers/module/internal.h"

struct http_call {
	struct call call;
	struct http_ask ask;
};

static int run_json(struct call *call)
{
	const struct http_call *c = container_of(call, struct http_call, call);
	return http_run_json(call->client, &c->ask, &call->options, &call->result, &call->error);
}

static int run_whole(struct call *call)
{
	const struct http_call *c = container_of(call, struct http_call, call);
	int r = http_run(call->client, &c->ask, &call->options, &call->result, &call->error);
	call->changes = r >= 0 && c->ask.method && !http_method_safe(c->ask.method) &&
			call->error.change == CHANGE_NONE;
	return r;
}

/* An argument was wrong; the call's error says how. */
static int fail_call(struct call *c)
{
	return c->error.errnum;
}

static const char *text_of(const struct call *c, const char *text)
{
	return text ? arena_strdup(c->scope->arena, text) : NULL;
}

/* NULL stays NULL. False: the call's error says why. */
static bool take(struct call *c, const struct value **out, const gd_value *v, const char *what)
{
	*out = v ? value_use(v, what, &c->error) : NULL;
	return *out || !v;
}

static bool take_request(struct call *c, struct http_ask *ask, const gd_http_request *request)
{
	if (!request) {
		error_set(&c->error, -EINVAL, 500, NULL, "the request is NULL");
		return false;
	}
	ask->method = text_of(c, request->method);
	ask->path = text_of(c, request->path);
	return take(c, &ask->query, request->query, "the query") &&
	       take(c, &ask->headers, request->headers, "the headers") &&
	       take(c, &ask->body, request->body, "the body");
}

gd_value *gd_http_get(gd_gather *g, const char *source, const char *path)
{
	gd_value *failed;
	struct http_call *c = call_new(sizeof(*c), __func__, source, &http_driver, &failed);

	if (!c)
		return failed;
	c->ask.path = text_of(&c->call, path);
	return call_start(&c->call, g, __func__, run_json);
}

gd_value *gd_http(gd_gather *g, const char *source, const gd_http_request *request)
{
	gd_value *failed;
	struct http_call *c = call_new(sizeof(*c), __func__, source, &http_driver, &failed);

	if (!c)
		return failed;
	return call_start(&c->call, g, __func__, take_request(&c->call, &c->ask, request) ? run_whole : fail_call);
}

/* --- paths --- */

/* A conversion of a number, behind its "%": appended, and *at moved on. */
static bool put_number(struct buf *out, const char **at, va_list *ap)
{
	static const char *const kinds[] = {"d", "i", "u", "ld", "li", "lu", "lld", "lli", "llu", "zu", "zd", NULL};
	size_t kind = 0;

	while (kinds[kind] && strncmp(*at, kinds[kind], strlen(kinds[kind])) != 0)
		kind++;
	switch (kind) {
	case 0:
	case 1:
		buf_int(out, va_arg(*ap, int));
		break;
	case 2:
		buf_printf(out, "%u", va_arg(*ap, unsigned));
		break;
	case 3:
	case 4:
		buf_printf(out, "%ld", va_arg(*ap, long));
		break;
	case 5:
		buf_printf(out, "%lu", va_arg(*ap, unsigned long));
		break;
	case 6:
	case 7:
		buf_printf(out, "%lld", va_arg(*ap, long long));
		break;
	case 8:
		buf_printf(out, "%llu", va_arg(*ap, unsigned long long));
		break;
	case 9:
		buf_printf(out, "%zu", va_arg(*ap, size_t));
		break;
	case 10:
		buf_printf(out, "%zd", va_arg(*ap, ssize_t));
		break;
	default:
		return false;
	}
	*at += strlen(kinds[kind]);
	return true;
}

/* Would it lead to another place than the one that is meant? Only if it stands alone between "/" and "/". */
static bool is_no_segment(const char *text, const char *format, const char *before, const char *behind)
{
	bool alone = before > format && before[-1] == '/' && (*behind == '/' || *behind == '?' || *behind == '\0');
	bool nothing = *text == '\0' || strcmp(text, ".") == 0 || strcmp(text, "..") == 0;

	return alone && nothing && !memchr(format, '?', (size_t)(before - format));
}

static bool put_path(struct buf *out, const char *format, va_list *ap)
{
	const char *at = format;

	while (*at) {
		size_t plain = strcspn(at, "%");
		buf_append(out, at, plain);
		at += plain;
		if (!*at)
			break;
		const char *before = at++;
		if (*at == '%') {
			buf_char(out, *at++);
		} else if (*at == 's') {
			const char *text = va_arg(*ap, const char *);
			at++;
			if (!text || is_no_segment(text, format, before, at))
				return false;
			target_encode(out, text, strlen(text));
		} else if (!put_number(out, &at, ap)) {
			return false;
		}
	}
	return true;
}

char *gd_http_path(const char *format, ...)
{
	struct gd_scope *s = scope_here(__func__);
	struct buf out = BUF_INIT;
	va_list ap;

	if (!s || !format)
		return NULL;
	va_start(ap, format);
	bool good = put_path(&out, format, &ap);
	va_end(ap);
	char *path = good ? arena_strndup(s->arena, out.data ? out.data : "", out.len) : NULL;
	buf_done(&out);
	return path;
}

/* --- streams --- */

struct gd_http_stream {
	struct thing thing;
	struct call call; /* its permit is held while it is open */
	struct http_ask ask;
	struct http_reading reading;
	gd_value *head;
	struct error error; /* errnum below 0: what reads fail with */
	struct gd_scope *scope;
	bool open;
	struct users users; /* a task that reads it: it can't be closed */
};

static void close_stream(struct gd_http_stream *s)
{
	if (!s->open)
		return;
	s->open = false;
	users_enter(&s->users); /* whoever ends its scope meanwhile waits for this, too */
	http_reading_close(&s->reading);
	call_release(&s->call);
	users_leave(&s->users);
}

static void end_stream(struct thing *t)
{
	struct gd_http_stream *s = container_of(t, struct gd_http_stream, thing);

	users_await(&s->users, DEADLINE_NEVER); /* of scopes around this one; the source's timeout bounds that */
	close_stream(s);
}

/* Suspends. */
static int open_it(struct gd_http_stream *s, const gd_http_request *request)
{
	struct call *c = &s->call;

	if (!take_request(c, &s->ask, request))
		return c->error.errnum;
	int r = call_acquire(c);
	if (r < 0)
		return r;
	r = http_reading_open(&s->reading, c->client, &s->ask, &c->options, &c->error);
	if (r < 0)
		call_release(c);
	s->open = r == 0;
	return r;
}

/* What went wrong is remembered for the reply, but if the task was cancelled itself. */
static int tell(struct gd_scope *here, const struct error *e)
{
	if (!(e->errnum == -ECANCELED && task_cancelled()))
		scope_fail(here, e);
	return e->errnum;
}

gd_http_stream *gd_http_open(const char *source, const gd_http_request *request)
{
	gd_value *failed;
	struct call *c = call_new(sizeof(*c), __func__, source, &http_driver, &failed);

	if (!c && !failed)
		return NULL;
	struct gd_scope *scope = c ? c->scope : failed->scope;
	struct gd_http_stream *s = arena_zalloc(scope->arena, sizeof(*s));
	s->scope = scope;
	scope_add(scope, &s->thing, end_stream);
	if (c)
		s->call = *c;
	else
		s->error = *failed->error;
	if (c && open_it(s, request) < 0)
		s->error = s->call.error;
	if (s->error.errnum < 0) {
		tell(scope, &s->error);
		s->head = value_failed(scope, &s->error);
	} else {
		s->head = value_of_result(scope, http_head_new(&s->reading.response));
	}
	return s;
}

gd_value *gd_http_head(gd_http_stream *s)
{
	struct gd_scope *here = scope_here(__func__);

	if (!here)
		return value_outside();
	return s ? s->head : value_fail(here, -EINVAL, 500, "gd_http_head: NULL");
}

int64_t gd_http_read(gd_http_stream *s, const void **p)
{
	struct gd_scope *here = s ? scope_of_worker(s->scope->env->worker, __func__) : scope_here(__func__);
	struct error e = ERROR_INIT;

	if (!here)
		return -EPERM;
	if (!s || !p)
		return -EINVAL;
	if (s->error.errnum < 0)
		return tell(here, &s->error);
	if (!s->open || s->users.count > 0) {
		error_set(&e, s->open ? -EBUSY : -EBADF, 500, NULL, "gd_http_read: %s",
			  s->open ? "another task is reading it" : "it is closed");
		return tell(here, &e);
	}
	users_enter(&s->users);
	int64_t n = http_reading_next(&s->reading, p, &e);
	users_leave(&s->users);
	return n < 0 ? tell(here, &e) : n;
}

void gd_http_close(gd_http_stream *s)
{
	if (s && scope_of_worker(s->scope->env->worker, __func__) && s->users.count == 0)
		close_stream(s);
}

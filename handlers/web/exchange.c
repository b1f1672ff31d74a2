/* One HTTP request and its one reply, over h2o. See exchange.h for the design.
 *
 * An exchange has two ends: its task's (if it has one) and its reply's. It goes back to the pool when both were
 * reached, in whatever order. */
#include "handlers/web/exchange.h"

#include <errno.h>
#include <h2o.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

#include "base/ascii.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/token.h"
#include "handlers/web/exchange_server.h"
#include "handlers/web/recent.h"
#include "handlers/web/request_log.h"

const struct task_local exchange_request_id = {.name = "request"};

enum {
	IDLE_KEPT = 1024,  /* exchanges of a worker that wait for the next request, with their first block of memory */
	PIECE = 64 * 1024, /* of a reply that h2o gets at a time: what has gone out can be seen and counted */
	PENDING = 64 * 1024, /* bytes that gather after those that are being sent before their writer waits */
	STATUS_LEFT = 499,   /* the log's word for a client that did not wait; never sent */
};

struct exchange_private {
	struct exchange exchange;
	struct list link; /* exchanges.live or .idle */
	struct exchanges *all;
	struct carrier *carrier; /* NULL once the reply was sent */
	h2o_req_t *req;          /* NULL once h2o has the reply */
	h2o_generator_t generator;
	struct span method;    /* as sent, for the log */
	struct span authority; /* of an absolute target; base NULL: it is not one */
	struct task *task;     /* NULL: none, or it has ended */
	task_fn fn;
	deadline_t by_before; /* the task's deadline without x->by */
	struct buf body;      /* of the reply, or, streamed, the part of it that is being sent; until it was sent */
	size_t given;         /* of body, to h2o */
	struct buf pending;   /* streamed: what follows that part; exchange_stream_put's */
	uint64_t unwritten;   /* bytes of a streamed reply that are to come */
	struct list writers;  /* tasks that wait for h2o to send the piece before */
	const char *step;     /* for the log */
	int64_t began_us;
	size_t request_bytes;
	size_t sent_bytes; /* of the body, to the kernel */
	size_t in_flight;  /* of the body: the piece that h2o has */
	unsigned status;
	bool replied;          /* exchange_reply or exchange_stream_begin was called */
	bool whole;            /* the reply is in body, to be sent by pieces */
	bool streaming;        /* its last piece is not written yet */
	bool complete;         /* all that was streamed is with the kernel, and its end was said */
	bool sent;             /* the reply is through, or nobody is there for it */
	bool left;             /* the client went away before the reply */
	enum reason cancelled; /* REASON_NONE: it is not */
	void *owed;            /* exchange_owes */
	void (*give_back)(void *owed);
};

static struct exchange_private *private_of(struct exchange *x)
{
	return x->private;
}

/* --- the pool --- */

void exchanges_init(struct exchanges *all, struct loop *l, struct exchange_limits *limits)
{
	*all = (struct exchanges){.loop = l, .limits = limits};
	list_init(&all->live);
	list_init(&all->idle);
	all->none_tally = tally_take(&endpoint_tally, ENDPOINT_NONE);
	all->admin_tally = tally_take(&endpoint_tally, ENDPOINT_ADMIN);
	all->server_tally = tally_take(&server_tally, "");
	all->none = tally_here(all->none_tally);
	all->admin = tally_here(all->admin_tally);
	all->server = tally_here(all->server_tally);
	if (getrandom(all->random, sizeof(all->random), 0) != (ssize_t)sizeof(all->random))
		all->random[0] = (uint64_t)monotonic_us() | 1;
}

static void free_exchange(struct exchange_private *p)
{
	arena_done(&p->exchange.arena);
	free(p);
}

void exchanges_done(struct exchanges *all)
{
	list_for_each_safe (node, &all->idle)
		free_exchange(container_of(node, struct exchange_private, link));
	buf_done(&all->line);
	tally_drop(all->none_tally);
	tally_drop(all->admin_tally);
	tally_drop(all->server_tally);
}

static struct exchange_private *get_exchange(struct exchanges *all)
{
	struct list *node = list_shift(&all->idle);
	struct arena arena = {0};
	struct exchange_private *p;
	if (node) {
		p = container_of(node, struct exchange_private, link);
		arena = p->exchange.arena;
		all->idle_count--;
	} else {
		p = mem_alloc(sizeof(*p));
	}
	*p = (struct exchange_private){.all = all, .exchange = {.arena = arena, .private = p}};
	list_init(&p->writers);
	list_append(&all->live, &p->link);
	all->live_count++;
	return p;
}

/* Both ends were reached. */
static void put_if_over(struct exchange_private *p)
{
	struct exchanges *all = p->all;
	if (p->task || !p->sent)
		return;
	buf_done(&p->body);
	buf_done(&p->pending);
	list_remove(&p->link);
	all->live_count--;
	if (p->give_back)
		p->give_back(p->owed);
	if (all->idle_count >= IDLE_KEPT) {
		free_exchange(p);
		return;
	}
	arena_reset(&p->exchange.arena);
	list_append(&all->idle, &p->link);
	all->idle_count++;
}

/* --- request ids --- */

static uint64_t rotl(uint64_t n, unsigned by)
{
	return n << by | n >> (64 - by);
}

static uint64_t next_random(uint64_t s[4])
{
	uint64_t result = rotl(s[0] + s[3], 23) + s[0];
	uint64_t t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

void exchange_make_id(struct exchanges *all, char *out, size_t size)
{
	uint64_t bits = 0;
	size_t i = 0;
	for (; i < 32 && i + 1 < size; i++) {
		if (i % 16 == 0)
			bits = next_random(all->random);
		out[i] = ascii_hex_digit(bits);
		bits >>= 4;
	}
	out[i] = '\0';
}

static bool id_is_sane(const char *s, size_t len)
{
	if (len == 0 || len > 64)
		return false;
	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		bool letter = ascii_is_letter(c);
		if (!letter && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != '-')
			return false;
	}
	return true;
}

static void take_id(struct exchange *x, const h2o_req_t *req)
{
	ssize_t at = h2o_find_header_by_str(&req->headers, H2O_STRLIT("x-request-id"), -1);
	if (at >= 0) {
		h2o_iovec_t v = req->headers.entries[at].value;
		if (id_is_sane(v.base, v.len)) {
			memcpy(x->id, v.base, v.len);
			x->id[v.len] = '\0';
			return;
		}
	}
	exchange_make_id(private_of(x)->all, x->id, sizeof(x->id));
}

/* --- the request --- */

static struct span copy_span(struct exchange *x, const char *base, size_t len)
{
	return (struct span){arena_strndup(&x->arena, base, len), len};
}

/* Take the authority from an absolute target. Returns what follows it; NULL: it is none. */
static const char *take_authority(struct exchange *x, const char *target, const char *end)
{
	static const struct span schemes[] = {{"http://", 7}, {"https://", 8}};
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		if ((size_t)(end - target) > schemes[i].len &&
		    strncasecmp(target, schemes[i].base, schemes[i].len) == 0) {
			const char *begin = target + schemes[i].len, *p = begin;
			while (p < end && *p != '/' && *p != '?')
				p++;
			private_of(x)->authority = copy_span(x, begin, (size_t)(p - begin));
			return p;
		}
	}
	return NULL;
}

/* Take path and query from the target. Returns false if it has neither: "*", an authority, rubbish. */
static bool take_target(struct exchange *x, const char *target, size_t len)
{
	const char *end = target + len;
	const char *path = len > 0 && *target == '/' ? target : take_authority(x, target, end);
	if (!path) {
		x->path = copy_span(x, target, len);
		return false;
	}
	const char *mark = memchr(path, '?', (size_t)(end - path));
	const char *path_end = mark ? mark : end;
	if (path_end == path)
		x->path = (struct span){"/", 1};
	else
		x->path = copy_span(x, path, (size_t)(path_end - path));
	if (mark)
		x->query = copy_span(x, mark + 1, (size_t)(end - mark - 1));
	return true;
}

/* Methods of HTTP itself that are for proxies and their diagnosis: known, and allowed nowhere. */
static bool is_for_proxies(h2o_iovec_t method)
{
	return h2o_memis(method.base, method.len, H2O_STRLIT("TRACE")) ||
	       h2o_memis(method.base, method.len, H2O_STRLIT("CONNECT"));
}

/* METHOD_COUNT: another one. */
static enum http_method method_of(const char *base, size_t len)
{
	int m = 0;
	while (m < METHOD_COUNT && !h2o_memis(base, len, http_method_names[m], strlen(http_method_names[m])))
		m++;
	return (enum http_method)m;
}

static bool take_method(struct exchange *x, h2o_iovec_t method)
{
	private_of(x)->method = copy_span(x, method.base, method.len);
	x->method = method_of(method.base, method.len);
	return x->method != METHOD_COUNT || is_for_proxies(method);
}

/* Every method that some resource may have. */
static struct header allow_all(struct exchange *x)
{
	struct header allow = {.name = {"allow", 5}};
	struct buf names = BUF_INIT;
	for (int m = 0; m < METHOD_COUNT; m++) {
		if (m > 0)
			buf_lit(&names, ", ");
		buf_str(&names, http_method_names[m]);
	}
	allow.value = copy_span(x, names.data, names.len);
	buf_done(&names);
	return allow;
}

/* The target is not a path. */
static void answer_for_server(struct exchange *x)
{
	struct error e = ERROR_INIT;
	struct header allow = allow_all(x);
	if (x->method == METHOD_COUNT) {
		error_say(&e, -EOPNOTSUPP, REASON_METHOD_NOT_OF_SERVER, "method not allowed");
		exchange_problem(x, &e, NULL, NULL, &allow);
	} else if (x->method == METHOD_OPTIONS && x->path.len == 1 && *x->path.base == '*') {
		/* About the server, not about a resource (RFC 9110, 9.3.7). */
		exchange_reply(x, &(struct reply){.status = 204, .headers = {allow}, .header_count = 1});
	} else {
		error_say(&e, -EBADMSG, REASON_HEAD_TARGET_NOT_PATH, "a target that is no path");
		exchange_problem(x, &e, NULL, NULL, NULL);
	}
}

struct exchange *exchange_begin(struct exchanges *all, struct carrier *c, struct st_h2o_req_t *req, bool forwarded)
{
	struct exchange_private *p = get_exchange(all);
	struct exchange *x = &p->exchange;
	p->carrier = c;
	p->req = req;
	p->began_us = monotonic_us();
	c->exchange = x;
	memcpy(x->peer, c->peer, sizeof(x->peer));
	x->loopback_peer = c->loopback && !forwarded;
	x->unix_peer = c->local;
	x->admin_listener = c->admin;
	x->control_listener = c->control;
	x->numbers = all->none;
	x->by = (deadline_t){p->began_us + all->limits->request_timeout_us};
	x->body = (struct span){req->entity.base, req->entity.len};
	x->has_body = req->entity.len > 0;
	p->request_bytes = req->entity.len;
	ssize_t at = h2o_find_header(&req->headers, H2O_TOKEN_CONTENT_TYPE, -1);
	if (at >= 0)
		x->content_type = (struct span){req->headers.entries[at].value.base,
						req->headers.entries[at].value.len};
	take_id(x, req);

	bool has_path = take_target(x, req->input.path.base, req->input.path.len);
	struct error e = ERROR_INIT;
	if (!take_method(x, req->input.method)) {
		counter_add(&all->server->refused[REFUSED_MALFORMED], 1);
		error_say(&e, -ENOTSUP, REASON_METHOD_UNKNOWN, "unknown method");
		exchange_problem(x, &e, NULL, NULL, NULL);
		return NULL;
	}
	if (!has_path) {
		answer_for_server(x);
		return NULL;
	}
	return x;
}

struct span exchange_header(struct exchange *x, const char *name)
{
	const h2o_req_t *req = private_of(x)->req;
	size_t len = strlen(name);
	if (!req)
		return (struct span){NULL, 0};
	if (h2o_memis(name, len, H2O_STRLIT("host"))) {
		/* An absolute target has the last word (RFC 9112, 3.2.2). */
		struct span target = private_of(x)->authority;
		return target.base ? target : copy_span(x, req->input.authority.base, req->input.authority.len);
	}
	ssize_t at = h2o_find_header_by_str(&req->headers, name, len, -1);
	if (at < 0)
		return (struct span){NULL, 0};
	h2o_iovec_t v = req->headers.entries[at].value;
	return copy_span(x, v.base, v.len);
}

struct span exchange_header_list(struct exchange *x, const char *name)
{
	const h2o_req_t *req = private_of(x)->req;
	struct buf list = BUF_INIT;
	struct span span = {NULL, 0};
	ssize_t at = -1;
	const char *between = strcmp(name, "cookie") == 0 ? "; " : ", ";
	if (strcmp(name, "host") == 0)
		return exchange_header(x, name);
	while (req && (at = h2o_find_header_by_str(&req->headers, name, strlen(name), at)) >= 0) {
		h2o_iovec_t v = req->headers.entries[at].value;
		if (span.base)
			buf_str(&list, between);
		buf_append(&list, v.base, v.len);
		span.base = "";
	}
	/* The last one may have been empty. */
	while (list.len > 0 && (list.data[list.len - 1] == ' ' || list.data[list.len - 1] == '\t'))
		list.len--;
	if (span.base)
		span = copy_span(x, list.data ? list.data : "", list.len);
	buf_done(&list);
	return span;
}

void exchange_trace(struct exchange *x, struct span *traceparent, struct span *tracestate)
{
	*traceparent = exchange_header_list(x, "traceparent");
	*tracestate = (struct span){NULL, 0};
	if (traceparent->base)
		*tracestate = exchange_header_list(x, "tracestate");
}

/* --- the task --- */

static int run_task(void *arg)
{
	struct exchange *x = arg;
	struct exchange_private *p = private_of(x);
	p->by_before = deadline_push(x->by);
	(void)task_local_set_copy(&exchange_request_id, x->id, strlen(x->id) + 1); /* it only fails outside tasks */
	int r = p->fn(x);
	deadline_pop(p->by_before);
	return r;
}

/* The handler has returned without a reply: make the one that it should have made. */
static void reply_instead(struct exchange_private *p, int result)
{
	struct exchange *x = &p->exchange;
	struct error e = ERROR_INIT;
	if (p->cancelled)
		counter_add(&p->all->server->refused[REFUSED_DRAINING], 1);
	if (p->cancelled)
		error_say(&e, -ECANCELED, p->cancelled, "cancelled: %s", reason_text(p->cancelled));
	else if (result == -ETIMEDOUT)
		error_set(&e, result, 504, NULL, "the request's deadline passed");
	else
		error_set(&e, -EIO, 500, NULL, "the handler returned %d without a reply", result);
	exchange_problem(x, &e, NULL, NULL, NULL);
}

/* Pages about the daemon count as nothing: whoever asks what a full one is full of is answered, and takes nobody's
 * place. */
static bool takes_place(const struct exchange_private *p)
{
	return p->exchange.numbers != p->all->admin;
}

static bool take_place(struct exchange_private *p)
{
	struct exchange_limits *limits = p->all->limits;
	if (!takes_place(p))
		return true;
	if (atomic_fetch_add_explicit(&limits->running, 1, memory_order_relaxed) < limits->max_requests)
		return true;
	atomic_fetch_sub_explicit(&limits->running, 1, memory_order_relaxed);
	return false;
}

static void leave_place(struct exchange_private *p)
{
	if (takes_place(p))
		atomic_fetch_sub_explicit(&p->all->limits->running, 1, memory_order_relaxed);
}

static void task_over(void *arg, int result)
{
	struct exchange_private *p = private_of(arg);
	p->task = NULL;
	leave_place(p);
	if ((p->left || p->streaming) && !p->sent) {
		p->carrier->ops->drop(p->carrier);
		return;
	}
	if (!p->replied && !p->sent) {
		reply_instead(p, result);
		return;
	}
	put_if_over(p);
}

static void reply_busy(struct exchange *x, const char *why)
{
	struct error e = ERROR_INIT;
	counter_add(&private_of(x)->all->server->refused[REFUSED_MAX_REQUESTS], 1);
	error_say(&e, -EBUSY, REASON_REQUESTS_FULL, "%s", why);
	exchange_problem(x, &e, NULL, NULL, NULL);
}

void exchange_spawn(struct exchange *x, task_fn fn)
{
	struct exchange_private *p = private_of(x);
	if (!take_place(p)) {
		reply_busy(x, "max_requests are running");
		return;
	}
	p->fn = fn;
	int r = task_spawn(&p->task, run_task, x,
			   &(struct task_options){
				   .name = x->endpoint ? x->endpoint : "request", .ended = task_over, .ended_arg = x});
	if (r < 0) {
		p->task = NULL;
		leave_place(p);
		reply_busy(x, "no memory for another stack");
		return;
	}
	p->carrier->ops->watch(p->carrier);
}

void exchange_left(struct exchange *x)
{
	struct exchange_private *p = private_of(x);
	if (p->replied) {
		/* h2o hears of it when it writes; a stream may be silent for long, and its end unknown. */
		if (!p->streaming || p->unwritten != EXCHANGE_LENGTH_UNKNOWN)
			return;
		if (!x->error.errnum)
			error_set(&x->error, -ECANCELED, 0, NULL, "the client left before the end of the stream");
	} else {
		p->left = true;
	}
	if (p->task)
		task_cancel(p->task);
}

void exchange_owes(struct exchange *x, void *what, void (*give_back)(void *what))
{
	struct exchange_private *p = private_of(x);
	p->owed = what;
	p->give_back = give_back;
}

void exchanges_cancel(struct exchanges *all, const void *owing, enum reason why)
{
	list_for_each (node, &all->live) {
		struct exchange_private *p = container_of(node, struct exchange_private, link);
		if (owing && p->owed != owing)
			continue;
		p->cancelled = why;
		if (p->task)
			task_cancel(p->task);
	}
}

/* --- the reply --- */

static void piece_sent(struct exchange_private *p)
{
	p->sent_bytes += p->in_flight;
	p->in_flight = 0;
	waiters_wake_all(&p->writers, 0);
}

static void send_next(struct exchange_private *p);
static void send_pending(struct exchange_private *p);

/* h2o has sent a piece and asks for more. Its address also marks our replies. */
static void proceed(h2o_generator_t *self, h2o_req_t *req)
{
	struct exchange_private *p = container_of(self, struct exchange_private, generator);
	(void)req;
	piece_sent(p);
	if (p->given < p->body.len)
		send_next(p);
	else if (p->pending.len > 0)
		send_pending(p);
}

bool exchange_made_reply(const h2o_req_t *req)
{
	return req->_generator && req->_generator->proceed == proceed;
}

/* The name of the first header that can't be sent as it is; base NULL: all can. */
static struct span first_bad_header(const struct reply *r)
{
	if (r->content_type && !is_field_value(r->content_type, strlen(r->content_type)))
		return (struct span){"content-type", 12};
	for (size_t i = 0; i < r->header_count; i++) {
		const struct header *h = &r->headers[i];
		if (h->name.len == 0 || !is_field_value(h->name.base, h->name.len) ||
		    !is_field_value(h->value.base, h->value.len))
			return h->name;
	}
	return (struct span){NULL, 0};
}

/* A reply of these statuses has no body, and no length either. */
static bool is_bodyless(unsigned status)
{
	return status == 204 || status == 304;
}

static void start_response(struct exchange_private *p, const struct reply *r, uint64_t length)
{
	h2o_req_t *req = p->req;
	req->res.status = (int)r->status;
	req->res.reason = reason_title(r->status);
	req->res.content_length = is_bodyless(r->status) || length == EXCHANGE_LENGTH_UNKNOWN ? SIZE_MAX : length;
	if (!is_bodyless(r->status) && (!r->content_type || *r->content_type)) {
		const char *type = r->content_type ? r->content_type : "application/json";
		h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, type, strlen(type));
	}
	h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("x-request-id"), 0, NULL, p->exchange.id,
			      strlen(p->exchange.id));
	for (size_t i = 0; i < r->header_count; i++)
		h2o_add_header_by_str(&req->pool, &req->res.headers, r->headers[i].name.base, r->headers[i].name.len, 0,
				      NULL, r->headers[i].value.base, r->headers[i].value.len);
	for (unsigned i = 0; i < p->exchange.always_count; i++) {
		const struct header *h = &p->exchange.always[i];
		h2o_add_header_by_str(&req->pool, &req->res.headers, h->name.base, h->name.len, 0, NULL, h->value.base,
				      h->value.len);
	}
	bool open_ended = length == EXCHANGE_LENGTH_UNKNOWN && !is_bodyless(r->status);
	if (p->all->draining || (open_ended && req->version < 0x101)) /* its end is that of the connection */
		req->http1_is_persistent = 0;
	p->generator = (h2o_generator_t){.proceed = proceed};
	/* h2o gives only a 200 chunks: with others it would close the connection, and a body that is cut off looked
	 * whole. */
	if (open_ended)
		req->res.status = 200;
	h2o_start_response(req, &p->generator);
	req->res.status = (int)r->status;
}

/* Give h2o that much of p->body, or nothing. Nothing may be said to h2o after the last piece. */
static void send_piece(struct exchange_private *p, size_t from, size_t len, bool last)
{
	h2o_req_t *req = p->req;
	h2o_iovec_t piece = {p->body.data + from, len};
	p->in_flight = len;
	p->given = from + len;
	if (last)
		p->req = NULL;
	h2o_send(req, len > 0 ? &piece : NULL, len > 0, last ? H2O_SEND_STATE_FINAL : H2O_SEND_STATE_IN_PROGRESS);
	if (last)
		p->carrier->ops->replied(p->carrier);
	else
		p->carrier->ops->streaming(p->carrier);
}

static void send_next(struct exchange_private *p)
{
	size_t left = p->body.len - p->given;
	send_piece(p, p->given, left < PIECE ? left : PIECE, p->whole && left <= PIECE);
}

static void send_pending(struct exchange_private *p)
{
	struct buf sent = p->body;
	p->body = p->pending;
	p->pending = sent;
	p->pending.len = 0;
	p->given = 0;
	send_next(p);
}

static void send_whole(struct exchange_private *p, const struct reply *r)
{
	start_response(p, r, p->body.len);
	p->whole = !is_bodyless(r->status) && p->exchange.method != METHOD_HEAD && p->body.len > 0;
	if (p->whole)
		send_next(p);
	else
		send_piece(p, 0, 0, true);
}

/* Is it the first reply, and one that can be sent? Otherwise what is right instead was done. */
static bool begin_reply(struct exchange_private *p, const struct reply *r)
{
	struct exchange *x = &p->exchange;
	if (p->replied) {
		log_line(LOG_LINE_ERROR, "second reply to one request", "id=%s status=%u", x->id, r->status);
		return false;
	}
	struct span bad = first_bad_header(r);
	if (bad.base) {
		struct error e = ERROR_INIT;
		error_set(&e, -EINVAL, 500, NULL, "reply header %.*s: a control character in it", (int)bad.len,
			  bad.base);
		exchange_problem(x, &e, NULL, NULL, NULL);
		return false;
	}
	p->replied = true;
	p->status = r->status;
	return true;
}

void exchange_reply(struct exchange *x, struct reply *r)
{
	struct exchange_private *p = private_of(x);
	if (!begin_reply(p, r)) {
		buf_done(&r->body);
		return;
	}
	p->body = r->body;
	r->body = BUF_INIT;
	/* A reply that comes too late is dropped with its connection, when the task has ended. */
	if (p->left || p->sent)
		return;
	send_whole(p, r);
}

int exchange_stream_begin(struct exchange *x, struct reply *r, uint64_t length)
{
	struct exchange_private *p = private_of(x);
	if (!begin_reply(p, r))
		return -EINVAL;
	if (p->left || p->sent)
		return -ECANCELED;
	deadline_pop(p->by_before);
	start_response(p, r, length);
	if (is_bodyless(r->status) || x->method == METHOD_HEAD || length == 0) {
		send_piece(p, 0, 0, true);
		return 0;
	}
	p->streaming = true;
	p->unwritten = length;
	return 1;
}

/* May more be written? -ECANCELED, also to a writer that is shielded, or is another task than the one that the end of
 * the connection has cancelled: there is nobody to write to. */
static int check_reader(const struct exchange_private *p)
{
	return p->streaming && p->sent ? -ECANCELED : task_check();
}

/* Suspends until what is in flight was sent: the connection has a deadline for that, and its end wakes the writers. */
static int await_sent(struct exchange_private *p)
{
	int r = check_reader(p);
	if (r == 0 && p->in_flight) {
		struct waiter w;
		waiter_init(&w, NULL, "its reply to be sent");
		list_append(&p->writers, &w.link);
		r = task_suspend(&w, DEADLINE_NEVER);
		if (r == 0)
			r = check_reader(p);
	}
	return r;
}

int exchange_stream_write(struct exchange *x, struct buf *b)
{
	struct exchange_private *p = private_of(x);
	int r = await_sent(p);
	if (r < 0 || b->len == 0)
		return r;
	if (!p->streaming || b->len > p->unwritten)
		return -EMSGSIZE;
	struct buf taken = p->body;
	p->body = *b;
	*b = taken;
	b->len = 0;
	if (p->unwritten != EXCHANGE_LENGTH_UNKNOWN)
		p->unwritten -= p->body.len;
	p->streaming = p->unwritten > 0;
	send_piece(p, 0, p->body.len, !p->streaming);
	return 0;
}

int exchange_stream_put(struct exchange *x, const void *data, size_t len)
{
	struct exchange_private *p = private_of(x);
	int r = check_reader(p);
	while (r == 0 && p->in_flight && p->pending.len >= PENDING)
		r = await_sent(p);
	if (r < 0)
		return r;
	if (!p->streaming)
		return -EMSGSIZE;
	buf_append(&p->pending, data, len);
	if (!p->in_flight && p->pending.len > 0)
		send_pending(p);
	return 0;
}

void exchange_stream_unwanted(struct exchange *x)
{
	struct exchange_private *p = private_of(x);
	if (p->task)
		task_cancel(p->task);
}

int exchange_stream_end(struct exchange *x)
{
	struct exchange_private *p = private_of(x);
	int r = check_reader(p);
	while (r == 0 && p->in_flight)
		r = await_sent(p);
	if (r < 0 || !p->streaming)
		return r;
	p->streaming = false;
	p->complete = true;
	h2o_req_t *req = p->req;
	if (req->version < 0x101) {
		/* Nothing marks the end but that of the connection: h2o closes it in this call. */
		p->req = NULL;
		h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
	} else {
		send_piece(p, 0, 0, true);
	}
	return 0;
}

/* The outcome of the changes that the request was to make. x->error says it, too. NULL: it was to make none. */
static const char *settle_outcome(struct exchange *x)
{
	static const char *const names[] = {
		[CHANGE_NONE] = "none", [CHANGE_PARTIAL] = "partial", [CHANGE_UNKNOWN] = "unknown"};
	struct error *e = &x->error;
	bool safe = x->method == METHOD_GET || x->method == METHOD_HEAD || x->method == METHOD_OPTIONS;
	if (x->uncertain)
		error_uncertain(e);
	else if (x->changed && e->change == CHANGE_NONE)
		e->change = CHANGE_PARTIAL;
	return safe && e->change == CHANGE_NONE ? NULL : names[e->change];
}

void exchange_problem(struct exchange *x, const struct error *e, const char *step, const char *members_json,
		      const struct header *extra)
{
	unsigned status = e->status ? (unsigned)e->status : 500;
	struct reply r = {.status = status, .content_type = PROBLEM_CONTENT_TYPE};
	char retry_after[16];
	x->error = *e;
	const char *outcome = settle_outcome(x);
	private_of(x)->step = step;
	problem_render(&r.body, &(struct problem){.status = status,
						  .detail = x->error.public,
						  .instance = x->id,
						  .code = x->error.code,
						  .step = step,
						  .outcome = outcome,
						  .members_json = members_json});
	bool again = status == 503 || status == 429 || (status == 409 && e->retry_after_s);
	if (again && x->error.change == CHANGE_NONE) {
		int n = snprintf(retry_after, sizeof(retry_after), "%d", e->retry_after_s ? e->retry_after_s : 1);
		r.headers[r.header_count++] = (struct header){{"retry-after", 11}, {retry_after, (size_t)n}};
	}
	if (extra)
		r.headers[r.header_count++] = *extra;
	exchange_reply(x, &r);
}

uint64_t exchange_sent_bytes(const struct exchange *x)
{
	return x->private->sent_bytes;
}

/* Count it and log it. */
static void finish_request(struct exchange_private *p)
{
	struct exchange *x = &p->exchange;
	unsigned status = p->left ? STATUS_LEFT : p->status;
	size_t bytes = p->left ? 0 : p->sent_bytes;
	int64_t us = monotonic_us() - p->began_us;
	endpoint_count(x->numbers, x->method, status, us);
	counter_add(&x->numbers->request_bytes, (int64_t)p->request_bytes);
	counter_add(&x->numbers->reply_bytes, (int64_t)bytes);
	if (x->missing)
		counter_add(&x->numbers->incomplete, 1);
	const struct request_line line = {
		.id = x->id,
		.peer = x->peer,
		.method = p->method,
		.path = x->path,
		.status = status,
		.bytes = bytes,
		.us = us,
		.endpoint = x->endpoint,
		.step = p->step,
		.missing = x->missing,
		.code = x->error.code,
		.error = x->error.what,
	};
	request_log(&p->all->line, &line);
	if (x->numbers != p->all->admin)
		recent_note(&line, x->parts, x->parts_of);
}

void exchange_sent(struct exchange *x, bool whole)
{
	struct exchange_private *p = private_of(x);
	p->carrier->exchange = NULL;
	p->carrier = NULL;
	p->req = NULL;
	x->body = x->content_type = (struct span){NULL, 0}; /* h2o's, and gone */
	p->sent = true;
	if (!p->replied)
		exchange_left(x);
	if (p->in_flight && whole)
		piece_sent(p);
	waiters_wake_all(&p->writers, -ECANCELED);
	if (p->streaming && p->task)
		task_cancel(p->task);
	if (!whole && !p->complete && !p->left && !x->error.errnum)
		error_set(&x->error, -EPIPE, 0, NULL, "the connection broke before the reply was sent");
	finish_request(p);
	put_if_over(p);
}

void exchange_count_refusal(struct exchange *x, enum refusal_reason reason)
{
	counter_add(&private_of(x)->all->server->refused[reason], 1);
}

unsigned exchange_running(const struct exchange *x)
{
	return atomic_load_explicit(&x->private->all->limits->running, memory_order_relaxed);
}

void exchange_count_admin(struct exchange *x)
{
	x->numbers = private_of(x)->all->admin;
}

void exchanges_count(struct exchanges *all, struct span method, unsigned status, int64_t us)
{
	endpoint_count(all->none, method_of(method.base, method.len), status, us);
}

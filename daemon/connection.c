/* Client connections. See connection.h for how they stand to h2o. */
#include "daemon/connection.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <h2o.h>
#include <h2o/http1.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/mem.h"
#include "daemon/chunks.h"
#include "daemon/head.h"
#include "handlers/web/request_log.h"

enum {
	SWEEP_MS = 1000,
	QUIET_MS = 250, /* for so long a connection must have been idle to be closed by a drain */
};

enum state {
	IDLE,      /* not a byte of a request yet */
	HEAD,      /* its head is coming */
	BODY,      /* h2o reads its body */
	RUNNING,   /* it is being answered */
	SENDING,   /* h2o writes the reply */
	REFUSING,  /* the last reply of the connection is written */
	LINGERING, /* nothing more is said; what still comes is dropped, lest it reset our last words away */
	STATES
};

/* The moves that are allowed, and how long a connection may stay. */
static const struct {
	unsigned next;
	size_t configured; /* that time is this member of struct connections */
	int64_t limit_us;  /* where it is none; 0: no limit here */
} states[STATES] = {
	[IDLE] = {.next = BIT(HEAD), .configured = offsetof(struct connections, idle_timeout_us)},
	[HEAD] = {.next = BIT(BODY) | BIT(REFUSING), .limit_us = 10 * 1000000},
	[BODY] = {.next = BIT(RUNNING) | BIT(REFUSING), .configured = offsetof(struct connections, read_timeout_us)},
	[RUNNING] = {.next = BIT(SENDING)}, /* the request has a deadline of its own */
	[SENDING] = {.next = BIT(IDLE), .configured = offsetof(struct connections, write_timeout_us)},
	[REFUSING] = {.next = BIT(LINGERING), .limit_us = 10 * 1000000},
	[LINGERING] = {.limit_us = 2 * 1000000},
};

struct connection {
	struct carrier carrier;
	struct connections *all;
	struct list link;
	h2o_socket_t *sock; /* NULL: closed */
	enum state state;
	unsigned busy;          /* callbacks of ours that are on the stack: the last one frees what was closed */
	int64_t since_us;       /* in this state; SENDING: since the client had taken enough, or all there was */
	int64_t progress;       /* reply_progress at since_us, or soon after */
	bool measured;          /* progress is of this reply */
	h2o_socket_cb h2o_read; /* what h2o wants called when bytes have come */
	h2o_socket_cb h2o_sent; /* … and when its reply was written */
	size_t request_size;    /* of the request that is being answered, in the input */
	h2o_buffer_t *request;  /* that input, while the socket reads ahead into another one; else NULL */
	struct head head;
	struct chunks chunks; /* of its body */
	size_t looked;        /* in BODY: how much of the input was looked at, and is h2o's */
	struct watch leaving;
	bool finished; /* the client will send nothing more: it has gone, or awaits its reply */
	bool gone;     /* it has gone */
	bool closing;  /* `close` is on its way */
	struct message close;
	struct buf refusal; /* the reply that is being written in REFUSING */
	struct entrance *entrance;
};

static void look(struct connection *c);
static void on_input(h2o_socket_t *sock, const char *err);

static struct connection *connection_on(const h2o_socket_t *sock)
{
	return sock->on_close.data;
}

struct connection *connection_of(struct st_h2o_req_t *req)
{
	return connection_on(req->conn->callbacks->get_socket(req->conn));
}

static void set_state(struct connection *c, enum state next)
{
	assert(states[c->state].next & BIT(next));
	c->state = next;
	c->since_us = loop_now_us(c->all->loop);
}

/* Around each of our callbacks. */
static void enter(struct connection *c)
{
	c->busy++;
	loop_enter(c->all->loop);
}

static void leave(struct connection *c)
{
	loop_leave(c->all->loop);
	if (--c->busy == 0 && !c->sock)
		free(c);
}

static void close_in_turn(struct message *m)
{
	struct connection *c = container_of(m, struct connection, close);
	loop_enter(c->all->loop);
	if (c->sock)
		c->h2o_read(c->sock, h2o_socket_error_closed);
	leave(c); /* of close_now */
}

/* Ends in on_close, now or in the next turn. The way that h2o itself takes when reading fails, right in every state.
 *
 * What was written at once is called back for after h2o's next poll, and h2o 2.2.5 frees what was closed before that
 * poll: a socket that was written to and closed between two turns would be called back when it is freed. Messages come
 * in h2o's own callbacks, where closing is safe. */
static void close_now(struct connection *c)
{
	if (!c->sock->_cb.write) {
		c->h2o_read(c->sock, h2o_socket_error_closed);
	} else if (!c->closing) {
		c->closing = true;
		c->busy++;
		c->close.run = close_in_turn;
		loop_post(c->all->loop, &c->close);
	}
}

static void on_close(void *arg)
{
	struct connection *c = arg;
	struct connections *all = c->all;
	c->sock = NULL;
	watch_forget(&c->leaving); /* the descriptor is closed already */
	if (c->carrier.exchange)
		exchange_sent(c->carrier.exchange, false);
	if (c->request)
		h2o_buffer_dispose(&c->request);
	buf_done(&c->refusal);
	list_remove(&c->link);
	all->count--;
	counter_add(&c->entrance->numbers->open, -1);
	entrance_leave(c->entrance);
	loop_freed(all->loop);
	atomic_fetch_sub_explicit(all->total, 1, memory_order_relaxed);
	if (c->busy == 0)
		free(c);
}

/* --- the end of a connection --- */

static void on_linger_input(h2o_socket_t *sock, const char *err)
{
	struct connection *c = connection_on(sock);
	enter(c);
	if (err)
		close_now(c);
	else
		h2o_buffer_consume(&sock->input, sock->input->size);
	leave(c);
}

/* Closing with bytes unread would reset the connection, and the client might never see our reply. */
static void linger(struct connection *c)
{
	set_state(c, LINGERING);
	shutdown(h2o_socket_get_fd(c->sock), SHUT_WR);
	h2o_buffer_consume(&c->sock->input, c->sock->input->size);
	h2o_socket_read_start(c->sock, on_linger_input);
}

static void on_refusal_sent(h2o_socket_t *sock, const char *err)
{
	struct connection *c = connection_on(sock);
	enter(c);
	if (err)
		close_now(c);
	else
		linger(c);
	leave(c);
}

static struct span request_part(const struct connection *c, size_t at, size_t len)
{
	const h2o_buffer_t *in = c->sock->input;
	if (!in->bytes || at + len > in->size)
		return (struct span){NULL, 0};
	return (struct span){in->bytes + at, len};
}

static void note_refusal(const struct connection *c, const char *id, unsigned status, const char *why)
{
	struct exchanges *exchanges = c->all->exchanges;
	struct span method = request_part(c, c->head.start, c->head.method_len);
	counter_add(&exchanges->server->refused[status == 408 ? REFUSED_TIMEOUT : REFUSED_MALFORMED], 1);
	exchanges_count(exchanges, method, status, -1);
	struct span target = request_part(c, c->head.target, c->head.target_len);
	const char *mark = target.base ? memchr(target.base, '?', target.len) : NULL;
	if (mark) /* a query may hold secrets */
		target.len = (size_t)(mark - target.base);
	request_log(&exchanges->line, &(struct request_line){
					      .id = id,
					      .peer = c->carrier.peer,
					      .method = method,
					      .path = target,
					      .status = status,
					      .us = -1,
					      .error = why,
				      });
}

/* Answer with a problem and end the connection: h2o is not to see this request, or not to see it through. */
static void refuse(struct connection *c, enum reason why)
{
	unsigned status = (unsigned)reason_status(why);
	h2o_context_t *ctx = c->all->accept->ctx;
	char id[40];
	struct buf body = BUF_INIT;
	exchange_make_id(c->all->exchanges, id, sizeof(id));
	struct span method = request_part(c, c->head.start, c->head.method_len);
	problem_render(&body, &(struct problem){.status = status,
						.detail = reason_text(why),
						.instance = id,
						.outcome = problem_outcome_of_refusal(method.base, method.len)});
	(void)h2o_get_timestamp(ctx, NULL, NULL);
	buf_printf(&c->refusal,
		   "HTTP/1.1 %u %s\r\nDate: %s\r\nConnection: close\r\nContent-Type: " PROBLEM_CONTENT_TYPE
		   "\r\nX-Request-Id: %s\r\n%sContent-Length: %zu\r\n\r\n",
		   status, reason_title(status), ctx->_timestamp_cache.value->rfc1123, id,
		   status == 415 ? "Accept-Encoding: identity\r\n" : "", body.len);
	if (!(method.len == 4 && memcmp(method.base, "HEAD", 4) == 0))
		buf_append(&c->refusal, body.data, body.len);
	buf_done(&body);
	note_refusal(c, id, status, reason_text(why));

	set_state(c, REFUSING);
	h2o_socket_read_stop(c->sock);
	h2o_iovec_t text = {c->refusal.data, c->refusal.len};
	h2o_socket_write(c->sock, &text, 1, on_refusal_sent);
}

void connection_make_id(struct connection *c, char *out, size_t size)
{
	exchange_make_id(c->all->exchanges, out, size);
}

void connection_refused(struct connection *c, struct st_h2o_req_t *req, const char *id)
{
	note_refusal(c, id, (unsigned)req->res.status, "refused while its body was read");
	set_state(c, REFUSING);
	assert(c->sock->_cb.write);
	c->sock->_cb.write = on_refusal_sent;
}

/* --- from one request to the next --- */

/* h2o waits for the next request: stand before it. */
static void await_request(struct connection *c)
{
	c->h2o_read = c->sock->_cb.read;
	c->sock->_cb.read = on_input;
	head_init(&c->head);
	if (c->sock->input->size > 0)
		look(c);
}

/* --- chunked bodies --- */

static void on_chunks(h2o_socket_t *sock, const char *err);
static void on_continue_sent(h2o_socket_t *sock, const char *err);

/* h2o wants more of a chunked body: stand before it. It has decoded in place what it was given. */
static void await_chunks(struct connection *c)
{
	if (!c->sock || c->state != BODY || !c->head.chunked)
		return;
	c->looked = c->sock->input->size;
	if (c->sock->_cb.read == c->h2o_read) {
		c->sock->_cb.read = on_chunks;
	} else if (c->head.expect_continue && c->sock->_cb.write && c->sock->_cb.write != on_continue_sent) {
		/* It reads on when the client was told to. */
		c->h2o_sent = c->sock->_cb.write;
		c->sock->_cb.write = on_continue_sent;
	}
}

static void on_continue_sent(h2o_socket_t *sock, const char *err)
{
	struct connection *c = connection_on(sock);
	enter(c);
	c->h2o_sent(sock, err);
	await_chunks(c);
	leave(c);
}

/* What has come of a chunked body, from c->looked on. Returns false if it was refused. */
static bool look_at_chunks(struct connection *c)
{
	const h2o_buffer_t *in = c->sock->input;
	int r = chunks_read(&c->chunks, in->bytes + c->looked, in->size - c->looked);
	if (r > 0)
		refuse(c, c->chunks.why);
	return r <= 0;
}

static void on_chunks(h2o_socket_t *sock, const char *err)
{
	struct connection *c = connection_on(sock);
	enter(c);
	if (err || look_at_chunks(c)) {
		sock->_cb.read = c->h2o_read;
		c->h2o_read(sock, err);
		await_chunks(c);
	}
	leave(c);
}

/* --- heads --- */

/* Take what stands before the request line out of the input. */
static void drop_start(struct connection *c)
{
	if (c->head.start == 0)
		return;
	h2o_buffer_consume(&c->sock->input, c->head.start);
	head_drop_start(&c->head);
}

/* Will the body be larger than what the request leads to takes? */
static bool is_body_large(const struct connection *c)
{
	if (c->head.content_length <= c->all->body_limit)
		return false;
	struct span method = request_part(c, c->head.start, c->head.method_len);
	struct span target = request_part(c, c->head.target, c->head.target_len);
	return c->head.content_length >
	       service_body_limit(c->all->service, method.base, method.len, target.base, target.len);
}

/* What has come of a head. c may be closed afterwards. */
static void look(struct connection *c)
{
	const h2o_buffer_t *in = c->sock->input;
	int r = head_read(&c->head, in->bytes, in->size);
	if (r <= 0)
		drop_start(c);
	/* Empty lines are not the beginning of a request: the connection may be idle after them. */
	if (c->state == IDLE && c->sock->input->size > 0)
		set_state(c, HEAD);
	if (r == -EAGAIN)
		return;
	if (r == 0 && is_body_large(c)) {
		r = 413;
		c->head.why = REASON_BODY_LARGE;
	}
	if (r > 0) {
		refuse(c, c->head.why);
		return;
	}
	set_state(c, BODY);
	if (c->head.chunked) {
		chunks_init(&c->chunks);
		c->looked = c->head.size;
		if (!look_at_chunks(c))
			return;
	}
	c->sock->_cb.read = c->h2o_read;
	c->h2o_read(c->sock, NULL);
	await_chunks(c);
}

static void on_input(h2o_socket_t *sock, const char *err)
{
	struct connection *c = connection_on(sock);
	enter(c);
	if (err)
		c->h2o_read(sock, err);
	else
		look(c);
	leave(c);
}

/* --- reading ahead --- */

/* The next request, or the end, which `leaving` reports. It waits for its turn. */
static void on_early_input(h2o_socket_t *sock, const char *err)
{
	(void)err;
	h2o_socket_read_stop(sock);
}

/* h2o does not read while a request is answered. If that takes longer than a turn, its loop takes the socket out of
 * epoll and then puts it in again: two system calls a request, and most clients send nothing meanwhile. So the socket
 * goes on reading, into an input of its own: the strings of the request lie in the present one. */
static void read_ahead(struct connection *c)
{
	c->request = c->sock->input;
	h2o_buffer_init(&c->sock->input, &h2o_socket_buffer_prototype);
	c->sock->_cb.read = on_early_input;
}

/* Give h2o its input back. Returns what was read ahead, or NULL. */
static h2o_buffer_t *end_read_ahead(struct connection *c)
{
	h2o_buffer_t *early = c->sock->input;
	if (!c->request)
		return NULL;
	h2o_socket_read_stop(c->sock);
	c->sock->input = c->request;
	c->request = NULL;
	if (early->size > 0)
		return early;
	h2o_buffer_dispose(&early);
	return NULL;
}

void connection_request(struct connection *c, struct st_h2o_req_t *req)
{
	enter(c);
	set_state(c, RUNNING);
	c->request_size = req->entity.base ? (size_t)(req->entity.base + req->entity.len - c->sock->input->bytes)
					   : c->head.size;
	/* h2o takes every Connection field without "keep-alive" for the end. */
	if (c->head.close)
		req->http1_is_persistent = 0;
	else if (c->head.minor >= 1)
		req->http1_is_persistent = 1;
	struct exchange *x = exchange_begin(c->all->exchanges, &c->carrier, req, c->head.forwarded);
	if (x)
		service_handle(c->all->service, x);
	if (c->sock && c->state == RUNNING)
		read_ahead(c);
	leave(c);
}

/* Take what lies behind the answered request out of the input, without copying it: h2o is left with a buffer of the
 * size that it is about to consume. */
static h2o_buffer_t *take_pipelined(struct connection *c)
{
	h2o_buffer_t *rest = c->sock->input;
	if (rest->size <= c->request_size)
		return NULL;
	h2o_buffer_init(&c->sock->input, &h2o_socket_buffer_prototype);
	h2o_buffer_reserve(&c->sock->input, 1);
	c->sock->input->size = c->request_size;
	h2o_buffer_consume(&rest, c->request_size);
	return rest;
}

/* What follows the answered request, of what was read with it and of what was read after it; or NULL. */
static h2o_buffer_t *take_rest(struct connection *c)
{
	h2o_buffer_t *early = end_read_ahead(c), *rest = take_pipelined(c);
	if (!early || !rest)
		return early ? early : rest;
	h2o_iovec_t room = h2o_buffer_reserve(&rest, early->size);
	memcpy(room.base, early->bytes, early->size);
	rest->size += early->size;
	h2o_buffer_dispose(&early);
	return rest;
}

static void on_sent(h2o_socket_t *sock, const char *err)
{
	struct connection *c = connection_on(sock);
	enter(c);
	exchange_sent(c->carrier.exchange, !err);
	h2o_buffer_t *rest = take_rest(c);
	c->h2o_sent(sock, err); /* closes, or waits for the next request */
	if (c->sock) {
		if (rest) {
			h2o_buffer_dispose(&sock->input);
			sock->input = rest;
		}
		set_state(c, IDLE);
		await_request(c);
	} else if (rest) {
		h2o_buffer_dispose(&rest);
	}
	leave(c);
}

/* The tasks that write run when h2o is through with its own callback: they may end the connection. */
static void on_part_sent(h2o_socket_t *sock, const char *err)
{
	struct connection *c = connection_on(sock);
	enter(c);
	c->h2o_sent(sock, err); /* asks for the next part, or closes */
	leave(c);
}

/* --- what exchanges ask for --- */

static struct connection *connection_under(struct carrier *carrier)
{
	return container_of(carrier, struct connection, carrier);
}

/* Whoever has closed and whoever has only said that nothing more will be sent (shutdown) look the same. Of a Unix
 * socket the kernel tells them apart. Else what is sent to the one comes back as a reset, and the other one passes over
 * an interim reply (RFC 9110, 15.2), as long as there is no final one. HTTP/1.0 has none of these. */
static void ask_whether_there(struct connection *c)
{
	static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
	const size_t len = sizeof(interim) - 1;
	if (c->carrier.local)
		return;
	if (c->state != RUNNING || c->head.minor < 1 ||
	    send(h2o_socket_get_fd(c->sock), interim, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len)
		exchange_left(c->carrier.exchange);
}

static void on_leaving(struct watch *w, uint32_t events)
{
	struct connection *c = container_of(w, struct connection, leaving);
	c->finished = true;
	c->gone |= (events & (EPOLLHUP | EPOLLERR)) != 0;
	if ((c->state != RUNNING && c->state != SENDING) || !c->carrier.exchange)
		return;
	if (c->gone)
		exchange_left(c->carrier.exchange);
	else
		ask_whether_there(c);
}

static void carrier_watch(struct carrier *carrier)
{
	struct connection *c = connection_under(carrier);
	if (c->gone)
		exchange_left(carrier->exchange);
	else if (c->finished)
		ask_whether_there(c);
	else if (watch_set(&c->leaving, loop_poller(c->all->loop), h2o_socket_get_fd(c->sock), EPOLLRDHUP | EPOLLET) <
		 0)
		log_line(LOG_LINE_WARNING, "a client's leaving can't be watched", "peer=%s", carrier->peer);
}

/* Stand between the socket and what h2o wants called when its bytes are written. */
static void stand_before_sent(struct connection *c, h2o_socket_cb ours)
{
	if (c->state != SENDING) {
		set_state(c, SENDING);
		c->measured = false;
	}
	assert(c->sock->_cb.write);
	c->h2o_sent = c->sock->_cb.write;
	c->sock->_cb.write = ours;
}

static void carrier_streaming(struct carrier *carrier)
{
	struct connection *c = connection_under(carrier);
	stand_before_sent(c, on_part_sent);
	if (c->finished)
		ask_whether_there(c);
}

static void carrier_replied(struct carrier *carrier)
{
	stand_before_sent(connection_under(carrier), on_sent);
}

static void carrier_drop(struct carrier *carrier)
{
	close_now(connection_under(carrier));
}

static const struct carrier_ops carrier_ops = {
	.watch = carrier_watch,
	.streaming = carrier_streaming,
	.replied = carrier_replied,
	.drop = carrier_drop,
};

/* --- the sweep --- */

/* A number that grows by as many bytes as the client takes of its reply. Of a Unix socket it is known what was written
 * and what is unread, both about so: it may stand still for as much as one piece of the reply. */
static int64_t reply_progress(const struct connection *c)
{
	int fd = h2o_socket_get_fd(c->sock);
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int unread = 0;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0)
		return (int64_t)info.tcpi_bytes_acked;
	if (!c->carrier.exchange || ioctl(fd, SIOCOUTQ, &unread) < 0)
		return 0;
	return (int64_t)exchange_sent_bytes(c->carrier.exchange) - unread;
}

/* Has the client taken enough of the reply, or all that there was? While there is nothing to take it owes nothing. */
static void measure_reply(struct connection *c, int64_t now_us)
{
	int64_t progress = reply_progress(c);
	if (c->measured && c->sock->_cb.write && progress - c->progress < CONNECTION_LEAST_TAKEN)
		return;
	if (c->measured)
		c->since_us = now_us;
	c->measured = true;
	c->progress = progress;
}

static int64_t limit_of(const struct connection *c)
{
	size_t at = states[c->state].configured;
	return at ? *(const int64_t *)((const char *)c->all + at) : states[c->state].limit_us;
}

static void sweep_one(struct connection *c, int64_t now_us)
{
	if (c->state == RUNNING && c->finished)
		ask_whether_there(c);
	if (c->state == SENDING)
		measure_reply(c, now_us);
	int64_t limit_us = limit_of(c);
	if (limit_us == 0 || now_us - c->since_us < limit_us)
		return;
	if (c->state == HEAD || (c->state == BODY && !c->sock->_cb.write)) {
		refuse(c, REASON_REQUEST_LATE);
		return;
	}
	if (c->state == SENDING && c->carrier.exchange && !c->carrier.exchange->error.errnum)
		error_set(&c->carrier.exchange->error, -ETIMEDOUT, 0, NULL,
			  "the client did not take the reply within write_timeout");
	close_now(c);
}

static void on_sweep(struct timer *t)
{
	struct connections *all = container_of(t, struct connections, sweep);
	int64_t now_us = loop_now_us(all->loop);
	list_for_each_safe (node, &all->live) {
		sweep_one(container_of(node, struct connection, link), now_us);
	}
	if (all->count > 0)
		timer_start(&all->sweep, loop_timers(all->loop), (deadline_t){now_us + SWEEP_MS * 1000});
}

/* --- all of them --- */

void connections_init(struct connections *all, struct loop *l)
{
	*all = (struct connections){.loop = l};
	list_init(&all->live);
	timer_init(&all->sweep, on_sweep);
}

void connections_done(struct connections *all)
{
	timer_stop(&all->sweep, loop_timers(all->loop));
}

static void name_peer(struct carrier *carrier, const struct sockaddr_storage *peer)
{
	const struct sockaddr_in *in = (const void *)peer;
	const struct sockaddr_in6 *in6 = (const void *)peer;
	struct in_addr four = in->sin_addr;
	bool mapped = peer->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr);
	if (mapped)
		memcpy(&four, in6->sin6_addr.s6_addr + 12, sizeof(four));
	if (peer->ss_family == AF_INET || mapped) {
		inet_ntop(AF_INET, &four, carrier->peer, sizeof(carrier->peer));
		carrier->loopback = ntohl(four.s_addr) >> 24 == 127;
	} else if (peer->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, carrier->peer, sizeof(carrier->peer));
		carrier->loopback = IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
	} else {
		snprintf(carrier->peer, sizeof(carrier->peer), "unix");
		carrier->loopback = carrier->local = true;
	}
}

struct entrance *entrance_new(const char *name)
{
	struct entrance *e = mem_alloc(sizeof(*e));
	struct tally *tally = tally_take(&listener_tally, name);
	*e = (struct entrance){.tally = tally, .numbers = tally_here(tally), .users = 1};
	return e;
}

void entrance_leave(struct entrance *e)
{
	if (--e->users > 0)
		return;
	tally_drop(e->tally);
	free(e);
}

static void enter_by(struct connection *c, struct entrance *e)
{
	c->entrance = e;
	e->users++;
	counter_add(&e->numbers->open, 1);
	counter_add(&e->numbers->accepted, 1);
}

void connection_open(struct connections *all, int fd, const struct sockaddr_storage *peer, bool admin, bool control,
		     struct entrance *entrance)
{
	struct connection *c = mem_zalloc(sizeof(*c));
	c->all = all;
	c->carrier = (struct carrier){.ops = &carrier_ops, .admin = admin, .control = control};
	name_peer(&c->carrier, peer);
	watch_init(&c->leaving, on_leaving);
	c->since_us = loop_now_us(all->loop);
	list_append(&all->live, &c->link);
	all->count++;
	enter_by(c, entrance);
	atomic_fetch_add_explicit(all->total, 1, memory_order_relaxed);
	if (!timer_running(&all->sweep))
		timer_start(&all->sweep, loop_timers(all->loop), (deadline_t){c->since_us + SWEEP_MS * 1000});

	c->sock = h2o_evloop_socket_create(loop_h2o(all->loop), fd, H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
	c->sock->on_close.cb = on_close;
	c->sock->on_close.data = c;
	h2o_http1_accept(all->accept, c->sock, *h2o_get_timestamp(all->accept->ctx, NULL, NULL));
	await_request(c);
}

/* Is there nothing to read on a connection that is idle? */
static bool is_silent(const struct connection *c)
{
	char byte;
	return c->sock->input->size == 0 && recv(h2o_socket_get_fd(c->sock), &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0;
}

void connections_drain(struct connections *all)
{
	int64_t now_us = loop_now_us(all->loop);
	list_for_each_safe (node, &all->live) {
		struct connection *c = container_of(node, struct connection, link);
		if (c->state == IDLE && now_us - c->since_us >= QUIET_MS * 1000 && is_silent(c))
			close_now(c);
	}
}

void connections_close(struct connections *all, bool everything)
{
	list_for_each_safe (node, &all->live) {
		struct connection *c = container_of(node, struct connection, link);
		if (everything || (c->state != RUNNING && c->state != SENDING && c->state != REFUSING))
			close_now(c);
	}
}

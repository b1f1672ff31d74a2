/* A mongoc_stream_t over a non-blocking socket. What libmongoc 1.23 expects of one, beyond its headers:
 *  - in its scans it calls readv and writev with a timeout of 0, which must not suspend: -1, EAGAIN and should_retry
 *    mean "poll again"; commands come with a timeout above 0 and want all of min_bytes;
 *  - poll is called for all streams of a scan at once, and an error of poll itself is ignored and tried again forever:
 *    whatever ends a scan is reported as POLLERR on the streams;
 *  - failed is called in place of destroy and frees, too; errno is looked at last. */
#include "drivers/mongo/wire/stream.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "async/loop.h"
#include "async/task.h"
#include "base/mem.h"
#include "drivers/mongo/wire/frame.h"
#include "drivers/mongo/wire/resolve.h"
#include "drivers/mongo/wire/tls.h"

#define STREAM_TYPE      100 /* none of libmongoc's own */
#define READ_BUFFER_SIZE 16384
#define TLS_RECORD_SIZE  16384
#define IOVECS_AT_ONCE   8
#define OTHERS_US        250000
#define LAST_WORD_US     500000 /* that a server has, at the deadline of a write */
#define EVENTS           (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

enum stream_state { CONNECTING, SHAKING_HANDS, OPEN, FAILED };

struct stream {
	mongoc_stream_t base; /* first: libmongoc knows the stream by it */
	struct mongo_stream_set *set;
	struct list link; /* in set->streams */
	enum stream_state state;
	int fd; /* -1: none */
	struct watch watch;
	struct waiter *waiter; /* who waits for an event; NULL: nobody */
	bool readable;         /* may hold something to read: since the last event no read came back short */
	bool writable;
	bool hung_up;
	bool again; /* for should_retry: the last call would have had to wait */
	bool timed_out;
	SSL *session;                   /* NULL: clear text, or not connected yet */
	char *host;                     /* the name to verify */
	struct mongo_addresses *places; /* NULL once connected */
	deadline_t connect_by;          /* all of them */
	deadline_t attempt_by;          /* the one that is being tried */
	char *record;                   /* TLS: where small pieces are gathered; NULL until needed */
	struct mongo_frames frames;     /* what went by */
	size_t begin, end;              /* what is in buffer and was not read yet */
	uint8_t buffer[READ_BUFFER_SIZE];
};

static struct stream *stream_of(mongoc_stream_t *base)
{
	return container_of(base, struct stream, base);
}

/* --- life --- */

static void close_socket(struct stream *s, bool sound)
{
	if (s->fd < 0)
		return;
	watch_clear(&s->watch);
	mongo_tls_session_free(s->session, sound);
	s->session = NULL;
	close(s->fd);
	s->fd = -1;
}

static void fail_stream(struct stream *s)
{
	close_socket(s, false);
	s->state = FAILED;
	s->readable = s->writable = true;
	if (s->waiter)
		task_wake(s->waiter, 0);
}

static void stream_ready(struct watch *w, uint32_t events)
{
	struct stream *s = container_of(w, struct stream, watch);

	if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->readable = true;
	if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
		s->writable = true;
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		s->hung_up = true;
	if (s->waiter)
		task_wake(s->waiter, 0);
	else if (s->state == OPEN && (s->hung_up || ((events & EPOLLIN) && !s->session)))
		s->set->disturbed(s->set); /* under TLS, input may be a ticket or a new key */
}

static void stream_destroy(mongoc_stream_t *base)
{
	struct stream *s = stream_of(base);

	close_socket(s, s->state == OPEN);
	list_remove(&s->link);
	mongo_frames_done(&s->frames);
	free(s->places);
	free(s->record);
	free(s->host);
	free(s);
}

static int stream_close(mongoc_stream_t *base)
{
	fail_stream(stream_of(base));
	return 0;
}

static int stream_flush(mongoc_stream_t *base)
{
	(void)base;
	return 0;
}

void mongo_stream_set_init(struct mongo_stream_set *set, const struct mongo_stream_settings *settings,
			   void (*disturbed)(struct mongo_stream_set *set))
{
	*set = (struct mongo_stream_set){.settings = settings, .others_by = DEADLINE_NEVER, .disturbed = disturbed};
	list_init(&set->streams);
}

void mongo_stream_set_fail(struct mongo_stream_set *set, int fault)
{
	if (!set->fault)
		set->fault = fault;
	list_for_each (node, &set->streams)
		fail_stream(container_of(node, struct stream, link));
}

void mongo_stream_set_detach(struct mongo_stream_set *set)
{
	list_for_each (node, &set->streams)
		watch_clear(&container_of(node, struct stream, link)->watch);
}

void mongo_stream_set_attach(struct mongo_stream_set *set)
{
	list_for_each (node, &set->streams) {
		struct stream *s = container_of(node, struct stream, link);
		if (s->fd >= 0 && watch_set(&s->watch, loop_poller(loop_current()), s->fd, EVENTS) < 0)
			fail_stream(s);
	}
}

/* --- connecting --- */

static void set_options(int fd, int family)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},    {SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 60},
		{IPPROTO_TCP, TCP_KEEPINTVL, 10}, {IPPROTO_TCP, TCP_KEEPCNT, 6},
	};

	for (size_t i = 0; family != AF_UNIX && i < ARRAY_SIZE(options); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(options[i].value));
}

static void connected(struct stream *s)
{
	const struct mongo_tls *tls = s->set->settings->tls;

	free(s->places);
	s->places = NULL;
	s->attempt_by = s->connect_by;
	if (!tls) {
		s->state = OPEN;
		return;
	}
	s->session = mongo_tls_session_new(tls, s->fd, s->host);
	s->state = SHAKING_HANDS;
	s->readable = s->writable = true;
	if (!s->session)
		fail_stream(s);
}

/* Returns 0 (connected, or on the way) or -errno. */
static int start_connecting(struct stream *s)
{
	struct mongo_addresses *a = s->places;
	const struct sockaddr *to = (const struct sockaddr *)&a->item[a->next].at;
	socklen_t len = a->item[a->next].len;
	int64_t share = deadline_left_us(s->connect_by) / (a->count - a->next);

	a->next++;
	s->attempt_by = deadline_in_us(share);
	s->readable = s->writable = s->hung_up = false;
	s->fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s->fd < 0)
		return -errno;
	set_options(s->fd, to->sa_family);
	bool at_once = connect(s->fd, to, len) == 0;
	if (!at_once && errno != EINPROGRESS)
		return -errno;
	int r = watch_set(&s->watch, loop_poller(loop_current()), s->fd, EVENTS);
	if (r == 0 && at_once)
		connected(s);
	return r;
}

/* Try the addresses that are left until one is on its way. */
static void try_next_address(struct stream *s, int error)
{
	do {
		close_socket(s, false);
		if (error)
			snprintf(s->set->why, sizeof(s->set->why), "connecting: %s", strerror(-error));
		if (s->places->next == s->places->count) {
			fail_stream(s);
			return;
		}
		error = start_connecting(s);
	} while (error);
}

static void advance_connecting(struct stream *s)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (!s->writable) {
		if (deadline_passed(s->attempt_by))
			try_next_address(s, -ETIMEDOUT);
		return;
	}
	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error)
		try_next_address(s, -error);
	else
		connected(s);
}

static void advance_handshake(struct stream *s)
{
	if (!s->readable && !s->writable) {
		if (deadline_passed(s->attempt_by)) {
			snprintf(s->set->why, sizeof(s->set->why), "TLS: the server did not answer in time");
			fail_stream(s);
		}
		return;
	}
	s->readable = s->writable = false;
	switch (mongo_tls_handshake(s->session, s->set->why, sizeof(s->set->why))) {
	case TLS_DONE:
		s->state = OPEN;
		s->readable = s->writable = true;
		break;
	case TLS_WANT_READ:
	case TLS_WANT_WRITE:
		break;
	default:
		fail_stream(s);
	}
}

/* As far as it goes without waiting. */
static void advance(struct stream *s)
{
	if (s->state == CONNECTING)
		advance_connecting(s);
	if (s->state == SHAKING_HANDS)
		advance_handshake(s);
}

/* --- polling --- */

static bool has_input(const struct stream *s)
{
	return s->begin < s->end || s->readable || (s->session && SSL_has_pending(s->session));
}

static int events_of(struct stream *s, int wanted)
{
	advance(s);
	if (s->state == FAILED)
		return POLLERR | POLLHUP;
	if (s->state != OPEN)
		return 0;
	/* Writing is always worth a try: it says EAGAIN itself. */
	int events = (wanted & POLLOUT) && s->writable ? POLLOUT : 0;
	if ((wanted & POLLIN) && has_input(s))
		events |= POLLIN;
	return events;
}

static ssize_t look(mongoc_stream_poll_t *polled, size_t count)
{
	ssize_t active = 0;

	for (size_t i = 0; i < count; i++) {
		polled[i].revents = events_of(stream_of(polled[i].stream), polled[i].events);
		active += polled[i].revents != 0;
	}
	return active;
}

static int wait_for_any(mongoc_stream_poll_t *polled, size_t count, deadline_t by)
{
	struct waiter w;

	waiter_init(&w, NULL, "an answer from MongoDB");
	for (size_t i = 0; i < count; i++) {
		struct stream *s = stream_of(polled[i].stream);
		s->waiter = &w;
		if (s->state == CONNECTING || s->state == SHAKING_HANDS)
			by = deadline_min(by, s->attempt_by);
	}
	int r = task_suspend(&w, by);
	for (size_t i = 0; i < count; i++)
		stream_of(polled[i].stream)->waiter = NULL;
	return r;
}

/* The primary is known, and these did not answer: libmongoc would wait for them all. */
static void give_up(mongoc_stream_poll_t *polled, size_t count)
{
	for (size_t i = 0; i < count; i++)
		fail_stream(stream_of(polled[i].stream));
}

static ssize_t stream_poll(mongoc_stream_poll_t *polled, size_t count, int32_t timeout_ms)
{
	struct mongo_stream_set *set = stream_of(polled[0].stream)->set;
	ssize_t active = look(polled, count);

	set->polled_us = monotonic_us();
	if (active || timeout_ms == 0)
		return active;
	deadline_t by = deadline_in_ms(timeout_ms);
	while (!active) {
		int r = wait_for_any(polled, count, deadline_min(by, set->others_by));
		if (r == -ECANCELED || deadline_passed(task_deadline()))
			mongo_stream_set_fail(set, r < 0 ? r : -ETIMEDOUT);
		else if (r == -ETIMEDOUT && deadline_passed(set->others_by))
			give_up(polled, count);
		active = look(polled, count);
		if (!active && deadline_passed(by))
			return 0;
	}
	set->polled_us = monotonic_us();
	return active;
}

/* --- reading and writing --- */

/* The fault that a broken call leaves. A scan may lose one server and go on with the others; a command's failure is the
 * end of the client. Returns -1 with errno set. */
static ssize_t broken(struct stream *s, int error, bool scanning)
{
	s->timed_out = error == -ETIMEDOUT;
	fail_stream(s);
	if (!scanning)
		mongo_stream_set_fail(s->set, error);
	errno = -error;
	return -1;
}

/* Suspends until something happens on the socket. Returns 0, -ETIMEDOUT or -ECANCELED. */
static int wait_for_event(struct stream *s, deadline_t by)
{
	struct waiter w;

	waiter_init(&w, NULL, "an answer from MongoDB");
	s->waiter = &w;
	int r = task_suspend(&w, by);
	s->waiter = NULL;
	return r;
}

/* The same, for an answer. The deadline of a write may pass while the server still works on it, and gives up itself
 * (maxTimeMS): it has a moment to say what has become of it. */
static int wait_for_answer(struct stream *s, deadline_t by)
{
	struct mongo_stream_set *set = s->set;
	int r = wait_for_event(s, by);
	struct shield shield;

	if (r != -ETIMEDOUT || !set->writes || !deadline_passed(task_deadline()))
		return r;
	if (set->word_by.us == DEADLINE_NEVER.us)
		set->word_by = deadline_in_us(LAST_WORD_US);
	if (deadline_passed(set->word_by))
		return r;
	task_shield(&shield, set->word_by);
	r = wait_for_event(s, by);
	task_unshield(&shield);
	return r;
}

static int tls_error(enum mongo_tls_step step)
{
	switch (step) {
	case TLS_DONE:
		return 0;
	case TLS_WANT_READ:
	case TLS_WANT_WRITE:
		return -EAGAIN;
	case TLS_CLOSED:
		return -EPIPE;
	default:
		return -ECONNRESET;
	}
}

/* The next bytes of iov after `done`, in at most `most` pieces. */
static size_t rest_of(const mongoc_iovec_t *iov, size_t count, size_t done, struct iovec *out, size_t most)
{
	size_t n = 0;

	for (size_t i = 0; i < count && n < most; i++) {
		if (done >= iov[i].iov_len) {
			done -= iov[i].iov_len;
			continue;
		}
		out[n].iov_base = (char *)iov[i].iov_base + done;
		out[n++].iov_len = iov[i].iov_len - done;
		done = 0;
	}
	return n;
}

static size_t total_of(const mongoc_iovec_t *iov, size_t count)
{
	size_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += iov[i].iov_len;
	return total;
}

/* One record at a time. Returns bytes written or -errno. */
static ssize_t send_record(struct stream *s, const struct iovec *pieces, size_t count)
{
	size_t len = 0, put;

	if (!s->record)
		s->record = mem_alloc(TLS_RECORD_SIZE);
	for (size_t i = 0; i < count && len < TLS_RECORD_SIZE; i++) {
		size_t n = pieces[i].iov_len < TLS_RECORD_SIZE - len ? pieces[i].iov_len : TLS_RECORD_SIZE - len;
		memcpy(s->record + len, pieces[i].iov_base, n);
		len += n;
	}
	int r = tls_error(mongo_tls_write(s->session, s->record, len, &put));
	return r < 0 ? r : (ssize_t)put;
}

static void note_sent(struct stream *s, const struct iovec *pieces, size_t sent)
{
	for (; sent > 0; pieces++) {
		size_t n = pieces->iov_len < sent ? pieces->iov_len : sent;
		mongo_frames_sent(&s->frames, pieces->iov_base, n);
		sent -= n;
	}
}

static ssize_t send_some(struct stream *s, const mongoc_iovec_t *iov, size_t count, size_t done)
{
	struct iovec pieces[IOVECS_AT_ONCE];
	struct msghdr message = {.msg_iov = pieces};
	ssize_t n;

	message.msg_iovlen = rest_of(iov, count, done, pieces, IOVECS_AT_ONCE);
	if (s->session) {
		n = send_record(s, pieces, message.msg_iovlen);
	} else {
		n = sendmsg(s->fd, &message, MSG_NOSIGNAL);
		if (n < 0)
			n = errno == EINTR || errno == EWOULDBLOCK ? -EAGAIN : -errno;
	}
	if (n == -EAGAIN)
		s->writable = false;
	if (n > 0)
		note_sent(s, pieces, (size_t)n);
	return n;
}

static bool unusable(struct stream *s)
{
	s->again = false;
	if (s->state == OPEN)
		return false;
	errno = s->set->fault ? -s->set->fault : ECONNRESET;
	s->timed_out = errno == ETIMEDOUT;
	return true;
}

static ssize_t would_wait(struct stream *s)
{
	s->again = true;
	errno = EAGAIN;
	return -1;
}

static ssize_t stream_writev(mongoc_stream_t *base, mongoc_iovec_t *iov, size_t count, int32_t timeout_ms)
{
	struct stream *s = stream_of(base);
	size_t done = 0, total = total_of(iov, count);
	deadline_t by = DEADLINE_NEVER;

	if (unusable(s))
		return -1;
	s->set->answering = false;
	while (done < total) {
		ssize_t n = send_some(s, iov, count, done);
		if (n >= 0) {
			done += (size_t)n;
			continue;
		}
		if (n != -EAGAIN) {
			snprintf(s->set->why, sizeof(s->set->why), "sending: %s", strerror((int)-n));
			return broken(s, (int)n, timeout_ms == 0);
		}
		if (timeout_ms == 0)
			return done ? (ssize_t)done : would_wait(s);
		if (by.us == DEADLINE_NEVER.us)
			by = deadline_in_ms(timeout_ms);
		int r = wait_for_event(s, by);
		if (r == 0 && s->state != OPEN)
			r = s->set->fault ? s->set->fault : -ECONNRESET;
		if (r < 0)
			return broken(s, r, false);
	}
	return (ssize_t)done;
}

static size_t take_buffered(struct stream *s, const mongoc_iovec_t *iov, size_t count, size_t done)
{
	size_t taken = 0;
	struct iovec piece;

	while (s->begin < s->end && rest_of(iov, count, done + taken, &piece, 1)) {
		size_t n = s->end - s->begin < piece.iov_len ? s->end - s->begin : piece.iov_len;
		memcpy(piece.iov_base, s->buffer + s->begin, n);
		s->begin += n;
		taken += n;
	}
	return taken;
}

/* Returns bytes, 0 at the end of the stream, or -errno. */
static ssize_t receive_clear(struct stream *s, struct iovec *pieces, size_t count)
{
	size_t room = 0;
	ssize_t n = readv(s->fd, pieces, (int)count);

	if (n < 0) {
		if (errno == EINTR)
			return 0;
		if (errno == EAGAIN)
			s->readable = s->hung_up;
		return -errno;
	}
	for (size_t i = 0; i < count; i++)
		room += pieces[i].iov_len;
	/* A short read has emptied the socket: the next byte comes with an event. */
	if ((size_t)n < room)
		s->readable = s->hung_up;
	return n == 0 ? -EPIPE : n;
}

static ssize_t receive_tls(struct stream *s, struct iovec *pieces)
{
	size_t got;
	int r = tls_error(mongo_tls_read(s->session, pieces[0].iov_base, pieces[0].iov_len, &got));

	if (r == -EAGAIN)
		s->readable = s->hung_up = false;
	return r < 0 ? r : (ssize_t)got;
}

/* Read what is there: straight to where it is wanted, if that is large, and the rest into the buffer. The buffer is
 * empty. Returns the bytes that went to iov or -errno: -EPIPE is the end of the stream. */
static ssize_t receive(struct stream *s, const mongoc_iovec_t *iov, size_t count, size_t done)
{
	struct iovec pieces[2];
	size_t direct = 0, n_pieces = 0;

	if (!has_input(s))
		return -EAGAIN;
	if (rest_of(iov, count, done, pieces, 1) && pieces[0].iov_len >= READ_BUFFER_SIZE / 2) {
		direct = pieces[0].iov_len;
		n_pieces = 1;
	}
	pieces[n_pieces++] = (struct iovec){s->buffer, sizeof(s->buffer)};
	ssize_t n = s->session ? receive_tls(s, pieces) : receive_clear(s, pieces, n_pieces);
	if (n < 0)
		return n;
	s->begin = 0;
	s->end = (size_t)n > direct ? (size_t)n - direct : 0;
	return (size_t)n > direct ? (ssize_t)direct : n;
}

/* The end of the stream, or an error, while reading. */
static ssize_t read_failed(struct stream *s, int error, bool scanning)
{
	bool closed = error == -EPIPE;

	snprintf(s->set->why, sizeof(s->set->why), "receiving: %s",
		 closed ? "the server closed the connection" : strerror(-error));
	broken(s, closed ? -ECONNRESET : error, scanning);
	return closed ? 0 : -1;
}

/* The first `done` bytes of iov were read: is libmongoc to see them? Returns them, or -1 with errno set. */
static ssize_t hand_over(struct stream *s, const mongoc_iovec_t *iov, size_t done, bool scanning)
{
	for (size_t left = done; left > 0; iov++) {
		size_t n = iov->iov_len < left ? iov->iov_len : left;
		if (mongo_frames_received(&s->frames, iov->iov_base, n) < 0) {
			snprintf(s->set->why, sizeof(s->set->why),
				 "receiving: what came is no answer to what was asked");
			return broken(s, -EPROTO, scanning);
		}
		left -= n;
	}
	if (s->frames.primary && s->set->wants_primary)
		s->set->others_by = deadline_min(s->set->others_by, deadline_in_us(OTHERS_US));
	return (ssize_t)done;
}

static ssize_t stream_readv(mongoc_stream_t *base, mongoc_iovec_t *iov, size_t count, size_t min_bytes,
			    int32_t timeout_ms)
{
	struct stream *s = stream_of(base);
	size_t done = 0, total = total_of(iov, count);
	deadline_t by = DEADLINE_NEVER;

	if (unusable(s))
		return -1;
	for (;;) {
		done += take_buffered(s, iov, count, done);
		if (done == total || (done && done >= min_bytes))
			return hand_over(s, iov, done, timeout_ms == 0);
		ssize_t n = receive(s, iov, count, done);
		if (n >= 0) {
			done += (size_t)n;
			s->set->answering = true;
			continue;
		}
		if (n != -EAGAIN)
			return read_failed(s, (int)n, timeout_ms == 0);
		if (timeout_ms == 0)
			return done ? hand_over(s, iov, done, true) : would_wait(s);
		if (by.us == DEADLINE_NEVER.us)
			by = timeout_ms < 0 ? DEADLINE_NEVER : deadline_in_ms(timeout_ms);
		int r = wait_for_answer(s, by);
		if (r == 0 && s->state != OPEN)
			r = s->set->fault ? s->set->fault : -ECONNRESET;
		if (r < 0)
			return broken(s, r, false);
	}
}

/* --- the rest of what libmongoc asks --- */

static bool stream_check_closed(mongoc_stream_t *base)
{
	struct stream *s = stream_of(base);

	return s->state != OPEN || s->hung_up;
}

static bool stream_timed_out(mongoc_stream_t *base)
{
	return stream_of(base)->timed_out;
}

static bool stream_should_retry(mongoc_stream_t *base)
{
	return stream_of(base)->again;
}

static const mongoc_stream_t operations = {
	.type = STREAM_TYPE,
	.destroy = stream_destroy,
	.close = stream_close,
	.flush = stream_flush,
	.writev = stream_writev,
	.readv = stream_readv,
	.check_closed = stream_check_closed,
	.poll = stream_poll,
	.failed = stream_destroy,
	.timed_out = stream_timed_out,
	.should_retry = stream_should_retry,
};

mongoc_stream_t *mongo_stream_initiate(const mongoc_uri_t *uri, const mongoc_host_list_t *host, void *user_data,
				       bson_error_t *error)
{
	struct mongo_stream_set *set = user_data;
	struct stream *s = mem_alloc(sizeof(*s));

	(void)uri;
	(void)error;
	memset(s, 0, offsetof(struct stream, buffer));
	s->base = operations;
	s->set = set;
	s->fd = -1;
	s->connect_by = deadline_in_us(set->settings->connect_timeout_us);
	watch_init(&s->watch, stream_ready);
	list_append(&set->streams, &s->link);
	if (set->fault || !task_self()) {
		fail_stream(s);
		return &s->base;
	}
	s->host = mem_strdup(host->host);
	s->places = mem_alloc(sizeof(*s->places));
	int r = mongo_resolve(s->places, host, set->settings->executor, s->connect_by, set->why, sizeof(set->why));
	if (r == -ECANCELED || (r == -ETIMEDOUT && deadline_passed(task_deadline())))
		mongo_stream_set_fail(set, r);
	if (r < 0)
		fail_stream(s);
	else if (s->state == CONNECTING)
		try_next_address(s, 0);
	return &s->base;
}

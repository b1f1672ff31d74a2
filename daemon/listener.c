/* Accepting. */
#include "daemon/listener.h"

#include <errno.h>
#include <h2o.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "daemon/connection.h"

enum {
	ACCEPTS_A_TURN = 64, /* then the connections that are open get their turn */
	PAUSE_MS = 50,       /* how long nothing is accepted when too many are open or nothing is left for more */
	COMPLAIN_MS = 10000, /* how often it is logged at most */
};

static void on_acceptable(h2o_socket_t *sock, const char *err);

/* Not now: too many are open, or nothing is left to open one with. The kernel queues what comes. */
static void pause_accepting(struct listener *l)
{
	struct loop *loop = l->connections->loop;
	h2o_socket_read_stop(l->sock);
	timer_start(&l->pause, loop_timers(loop), (deadline_t){loop_now_us(loop) + PAUSE_MS * 1000});
}

static void on_pause_over(struct timer *t)
{
	struct listener *l = container_of(t, struct listener, pause);
	h2o_socket_read_start(l->sock, on_acceptable);
}

static void log_starved(struct listener *l, int errnum)
{
	int64_t now_us = loop_now_us(l->connections->loop);
	if (l->complained_us && now_us - l->complained_us < COMPLAIN_MS * 1000)
		return;
	l->complained_us = now_us;
	log_line(LOG_LINE_ERROR, "can't accept connections", "error=\"%s\"", strerror(errnum));
}

/* Returns 0, or -errno: -EAGAIN when nobody waits any more. */
static int accept_one(struct listener *l)
{
	struct sockaddr_storage peer = {0};
	socklen_t len = sizeof(peer);
	int fd = accept4(h2o_socket_get_fd(l->sock), (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return -errno;
	connection_open(l->connections, fd, &peer, l->admin, l->control, l->entrance);
	return 0;
}

static bool is_full(const struct listener *l)
{
	return atomic_load_explicit(l->connections->total, memory_order_relaxed) >= l->max_connections;
}

static void accept_waiting(struct listener *l, unsigned most)
{
	for (unsigned i = 0; i < most; i++) {
		if (is_full(l)) {
			counter_add(&l->connections->exchanges->server->refused[REFUSED_MAX_CONNECTIONS], 1);
			pause_accepting(l);
			return;
		}
		int r = accept_one(l);
		switch (r) {
		case 0:
		case -EINTR:
		case -ECONNABORTED: /* gone before we came; so are the network's errors below (accept(2)) */
		case -EPROTO:
		case -ENETDOWN:
		case -ENETUNREACH:
		case -EHOSTDOWN:
		case -EHOSTUNREACH:
		case -ENONET:
		case -ENOPROTOOPT:
		case -EOPNOTSUPP:
			break;
		case -EAGAIN:
			return;
		default: /* EMFILE, ENFILE, ENOBUFS, ENOMEM */
			log_starved(l, -r);
			pause_accepting(l);
			return;
		}
	}
}

static void on_acceptable(h2o_socket_t *sock, const char *err)
{
	struct listener *l = sock->data;
	(void)err;
	loop_enter(l->connections->loop);
	accept_waiting(l, ACCEPTS_A_TURN);
	loop_leave(l->connections->loop);
}

void listener_open(struct listener *l, struct bound *b, unsigned worker, struct connections *connections,
		   unsigned max_connections)
{
	*l = (struct listener){0};
	if (b->fds[worker] < 0)
		return;
	*l = (struct listener){
		.connections = connections,
		.entrance = entrance_new(b->name),
		.max_connections = max_connections,
		.admin = b->config.admin,
		.control = b->config.control,
		.leaves_waiting = b->kept,
	};
	timer_init(&l->pause, on_pause_over);
	l->sock = h2o_evloop_socket_create(loop_h2o(connections->loop), b->fds[worker], H2O_SOCKET_FLAG_DONT_READ);
	b->fds[worker] = -1;
	l->sock->data = l;
	h2o_socket_read_start(l->sock, on_acceptable);
}

void listener_close(struct listener *l)
{
	if (!l->sock)
		return;
	if (!l->leaves_waiting)
		accept_waiting(l, LISTEN_BACKLOG); /* clients that the kernel has let in already would be reset */
	timer_stop(&l->pause, loop_timers(l->connections->loop));
	h2o_socket_close(l->sock);
	l->sock = NULL;
	entrance_leave(l->entrance);
}

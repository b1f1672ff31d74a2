/* Binding and accepting. */
#include "daemon/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <h2o.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "daemon/connection.h"

enum {
	BACKLOG = 4096,          /* the kernel takes net.core.somaxconn where that is less */
	ACCEPTS_A_TURN = 64,     /* then the connections that are open get their turn */
	PAUSE_MS = 50,           /* how long nothing is accepted when too many are open or nothing is left for more */
	COMPLAIN_MS = 10000,     /* how often it is logged at most */
	USER_TIMEOUT_MS = 60000, /* a peer that acknowledges nothing for so long is gone */
	KEEPALIVE_S = 60,        /* a peer that is silent for so long is asked whether it is there … */
	KEEPALIVE_AGAIN_S = 10,  /* … and asked again, until USER_TIMEOUT_MS have passed */
};

/* --- binding --- */

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

static bool make_tcp_address(struct address *a, const char *host, uint16_t port)
{
	struct sockaddr_in *in = (void *)&a->sa;
	struct sockaddr_in6 *in6 = (void *)&a->sa;
	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		a->len = sizeof(*in);
		return true;
	}
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		a->len = sizeof(*in6);
		return true;
	}
	return false;
}

static uint16_t port_of(const struct address *a)
{
	/* The port stands at the same place in both families. */
	return ntohs(((const struct sockaddr_in *)(const void *)&a->sa)->sin_port);
}

static int set_flag(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int open_socket(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

/* What accepted sockets have of the one that listens. */
static const struct {
	int level, option, value;
} inherited[] = {
	{IPPROTO_TCP, TCP_NODELAY, 1},
	{IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS},
	{SOL_SOCKET, SO_KEEPALIVE, 1},
	{IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_S},
	{IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_AGAIN_S},
};

/* A bound TCP socket, not listening yet; or -errno. */
static int bind_tcp(const struct address *a, bool share)
{
	int fd = open_socket(a->sa.ss_family);
	if (fd < 0)
		return fd;
	int r = set_flag(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (r == 0 && a->sa.ss_family == AF_INET6)
		r = set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (r == 0 && share)
		r = set_flag(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	for (size_t i = 0; i < ARRAY_SIZE(inherited) && r == 0; i++)
		r = set_flag(fd, inherited[i].level, inherited[i].option, inherited[i].value);
	if (r == 0 && bind(fd, (const struct sockaddr *)&a->sa, a->len) < 0)
		r = -errno;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

static int start_listening(int fd)
{
	return listen(fd, BACKLOG) < 0 ? -errno : 0;
}

static int bind_tcp_workers(struct bound *b, unsigned workers, struct address *a)
{
	/* SO_REUSEPORT would also let a second daemon of the same user bind the address, and take half of the
	 * connections: bind it alone, once, to see that it is free. */
	int probe = bind_tcp(a, false);
	if (probe < 0)
		return probe;
	if (getsockname(probe, (struct sockaddr *)&a->sa, &a->len) < 0) {
		close(probe);
		return -errno;
	}
	if (workers == 1) {
		b->fds[0] = probe;
		return start_listening(probe);
	}
	close(probe);
	for (unsigned i = 0; i < workers; i++) {
		b->fds[i] = bind_tcp(a, true);
		if (b->fds[i] < 0)
			return b->fds[i];
		int r = start_listening(b->fds[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int bind_tcp_address(struct bound *b, unsigned workers)
{
	struct address a;
	if (!make_tcp_address(&a, b->config->host, b->config->port))
		return -EINVAL;
	int r = bind_tcp_workers(b, workers, &a);
	bool six = a.sa.ss_family == AF_INET6;
	snprintf(b->name, sizeof(b->name), "%s%s%s:%u", six ? "[" : "", b->config->host, six ? "]" : "", port_of(&a));
	return r;
}

/* The file is there already: does a process still listen on it? */
static bool is_stale(const struct sockaddr_un *sun)
{
	struct stat st;
	if (lstat(sun->sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return false;
	int fd = open_socket(AF_UNIX);
	if (fd < 0)
		return false;
	int r = connect(fd, (const struct sockaddr *)sun, sizeof(*sun));
	bool refused = r < 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static int bind_unix(struct bound *b)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	if (strlen(b->config->path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	memcpy(sun.sun_path, b->config->path, strlen(b->config->path));
	int fd = open_socket(AF_UNIX);
	if (fd < 0)
		return fd;
	b->fds[0] = fd;
	int r = bind(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0 ? -errno : 0;
	if (r == -EADDRINUSE && is_stale(&sun)) {
		unlink(sun.sun_path);
		r = bind(fd, (const struct sockaddr *)&sun, sizeof(sun)) < 0 ? -errno : 0;
	}
	if (r < 0)
		return r;
	struct stat st;
	if (lstat(sun.sun_path, &st) == 0) {
		b->device = st.st_dev;
		b->inode = st.st_ino;
	}
	/* Nobody can connect before listen: the mode is right from the first connection on. */
	if (chmod(sun.sun_path, (mode_t)b->config->mode) < 0)
		return -errno;
	return start_listening(fd);
}

static int bind_one(struct bound *b, unsigned workers)
{
	if (b->config->host)
		return bind_tcp_address(b, workers);
	snprintf(b->name, sizeof(b->name), "unix:%s", b->config->path);
	int r = bind_unix(b);
	for (unsigned i = 1; i < workers && r == 0; i++) {
		b->fds[i] = fcntl(b->fds[0], F_DUPFD_CLOEXEC, 0);
		if (b->fds[i] < 0)
			r = -errno;
	}
	return r;
}

int listeners_bind(struct listeners *l, const struct config_server *server, unsigned workers, struct error *e,
		   struct mark *at)
{
	*l = (struct listeners){
		.bound = mem_array(server->listen_count, sizeof(struct bound)),
		.count = server->listen_count,
		.workers = workers,
	};
	for (size_t i = 0; i < l->count; i++) {
		l->bound[i] = (struct bound){.config = &server->listen[i], .fds = mem_array(workers, sizeof(int))};
		for (unsigned w = 0; w < workers; w++)
			l->bound[i].fds[w] = -1;
	}
	for (size_t i = 0; i < l->count; i++) {
		int r = bind_one(&l->bound[i], workers);
		if (r < 0) {
			*at = l->bound[i].config->at;
			error_set(e, r, 0, NULL, "can't listen on %s: %s", l->bound[i].name, strerror(-r));
			listeners_done(l);
			return r;
		}
	}
	return 0;
}

/* The socket's file, unless another daemon has put its own there meanwhile. */
static void remove_file(const struct bound *b)
{
	struct stat st;
	if (b->inode != 0 && lstat(b->config->path, &st) == 0 && st.st_dev == b->device && st.st_ino == b->inode)
		unlink(b->config->path);
}

void listeners_done(struct listeners *l)
{
	for (size_t i = 0; i < l->count; i++) {
		struct bound *b = &l->bound[i];
		for (unsigned w = 0; w < l->workers; w++)
			if (b->fds[w] >= 0)
				close(b->fds[w]);
		remove_file(b);
		free(b->fds);
	}
	free(l->bound);
	*l = (struct listeners){0};
}

/* --- accepting --- */

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
	connection_open(l->connections, fd, &peer, l->admin);
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
	*l = (struct listener){
		.connections = connections,
		.max_connections = max_connections,
		.admin = b->config->admin,
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
	accept_waiting(l, BACKLOG); /* clients that the kernel has let in already would be reset */
	timer_stop(&l->pause, loop_timers(l->connections->loop));
	h2o_socket_close(l->sock);
	l->sock = NULL;
}

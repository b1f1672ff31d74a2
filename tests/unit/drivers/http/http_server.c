/* The misbehaving HTTP server: its threads. */
#include "tests/unit/drivers/http/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zlib.h>

bool upstream_send(int fd, const void *data, size_t len)
{
	for (const char *p = data; len > 0;) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool upstream_reply(struct upstream_request *r, const char *status, const char *headers, const void *body, size_t len)
{
	char head[4096];
	int n = snprintf(head, sizeof(head), "HTTP/1.1 %s\r\nContent-Length: %zu\r\n%s\r\n", status, len, headers);

	return upstream_send(r->fd, head, (size_t)n) &&
	       (strcmp(r->method, "HEAD") == 0 || upstream_send(r->fd, body, len));
}

bool upstream_json(struct upstream_request *r, const char *json)
{
	return upstream_reply(r, "200 OK", "Content-Type: application/json\r\n", json, strlen(json));
}

bool upstream_reset(struct upstream_request *r)
{
	struct linger now = {.l_onoff = 1, .l_linger = 0};

	setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	return false;
}

void upstream_pause(struct upstream_request *r, int ms)
{
	for (; ms > 0 && !atomic_load(&r->server->stopping); ms--)
		usleep(1000);
}

bool upstream_saw(const struct upstream_request *r, const char *line)
{
	return strcasestr(r->head, line) != NULL;
}

/* --- its threads --- */

/* Read one request into r, which holds a buffer of UPSTREAM_MAX_REQUEST bytes in head. */
static bool upstream_read(struct upstream_request *r, size_t *have)
{
	char *end;

	while (r->head[*have] = '\0', !(end = strstr(r->head, "\r\n\r\n"))) {
		ssize_t n = *have + 1 < UPSTREAM_MAX_REQUEST
				    ? recv(r->fd, r->head + *have, UPSTREAM_MAX_REQUEST - 1 - *have, 0)
				    : 0;
		if (n <= 0)
			return false;
		*have += (size_t)n;
	}
	const char *length = strcasestr(r->head, "\r\nContent-Length:");
	r->body_len = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
	r->body = end + 4;
	while (*have < (size_t)(r->body - r->head) + r->body_len) {
		ssize_t n = recv(r->fd, r->head + *have, UPSTREAM_MAX_REQUEST - 1 - *have, 0);
		if (n <= 0)
			return false;
		*have += (size_t)n;
	}
	end[2] = '\0';
	if (sscanf(r->head, "%15s %4095s", r->method, r->target) != 2)
		return false;
	snprintf(r->path, sizeof(r->path), "%.*s", (int)strcspn(r->target, "?"), r->target);
	return true;
}

static void upstream_serve(struct upstream_connection *c)
{
	struct upstream *u = c->server;
	struct upstream_request r = {.server = u, .fd = c->fd};
	size_t have = 0;

	r.head = malloc(UPSTREAM_MAX_REQUEST);
	while (upstream_read(&r, &have)) {
		r.nth++;
		atomic_fetch_add(&u->requests, 1);
		atomic_fetch_add(&u->posts, strcmp(r.method, "POST") == 0);
		unsigned now = atomic_fetch_add(&u->in_flight, 1) + 1, most = atomic_load(&u->most_in_flight);
		while (most < now && !atomic_compare_exchange_weak(&u->most_in_flight, &most, now))
			;
		bool goes_on = u->answer(&r);
		atomic_fetch_sub(&u->in_flight, 1);
		if (!goes_on)
			break;
		size_t used = (size_t)(r.body - r.head) + r.body_len;
		memmove(r.head, r.head + used, have - used);
		have -= used;
	}
	free(r.head);
}

static void *upstream_connection_main(void *arg)
{
	struct upstream_connection *c = arg;
	struct upstream *u = c->server;

	upstream_serve(c);
	pthread_mutex_lock(&u->lock);
	u->fds[c->slot] = -1;
	close(c->fd);
	free(c);
	pthread_mutex_unlock(&u->lock);
	return NULL;
}

/* A place for one more connection. Under lock, which a thread that frees its place has left but for its return. */
static unsigned upstream_slot(struct upstream *u)
{
	for (unsigned i = 0; i < u->count; i++)
		if (u->fds[i] < 0) {
			pthread_join(u->threads[i], NULL);
			return i;
		}
	if (u->count == UPSTREAM_MAX_CONNECTIONS)
		abort();
	return u->count++;
}

static void *upstream_acceptor_main(void *arg)
{
	struct upstream *u = arg;
	pthread_attr_t attributes;
	int fd, one = 1;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 256 << 10);
	while ((fd = accept(u->listener, NULL, NULL)) >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		pthread_mutex_lock(&u->lock);
		unsigned slot = upstream_slot(u);
		struct upstream_connection *c = malloc(sizeof(*c));
		*c = (struct upstream_connection){.server = u, .slot = slot, .fd = fd};
		u->fds[slot] = fd;
		atomic_fetch_add(&u->connections, 1);
		if (pthread_create(&u->threads[slot], &attributes, upstream_connection_main, c) != 0)
			abort();
		pthread_mutex_unlock(&u->lock);
	}
	pthread_attr_destroy(&attributes);
	return NULL;
}

/* --- its life --- */

static void upstream_listen(struct upstream *u, int family)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(in);

	u->listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(un.sun_path, sizeof(un.sun_path), "%s", u->socket_path);
	int r = family == AF_UNIX ? bind(u->listener, (struct sockaddr *)&un, sizeof(un))
				  : bind(u->listener, (struct sockaddr *)&in, sizeof(in));
	if (r < 0 || listen(u->listener, 512) < 0)
		abort();
	if (family == AF_INET) {
		getsockname(u->listener, (struct sockaddr *)&in, &len);
		u->port = ntohs(in.sin_port);
	}
}

struct upstream *upstream_start_at(upstream_fn *answer, const char *socket_path)
{
	struct upstream *u = calloc(1, sizeof(*u));

	u->answer = answer;
	pthread_mutex_init(&u->lock, NULL);
	snprintf(u->socket_path, sizeof(u->socket_path), "%s", socket_path ? socket_path : "");
	upstream_listen(u, socket_path ? AF_UNIX : AF_INET);
	if (pthread_create(&u->acceptor, NULL, upstream_acceptor_main, u) != 0)
		abort();
	return u;
}

struct upstream *upstream_start(upstream_fn *answer)
{
	return upstream_start_at(answer, NULL);
}

void upstream_hang_up(struct upstream *u)
{
	pthread_mutex_lock(&u->lock);
	for (unsigned i = 0; i < u->count; i++)
		if (u->fds[i] >= 0)
			shutdown(u->fds[i], SHUT_RDWR);
	pthread_mutex_unlock(&u->lock);
}

void upstream_stop(struct upstream *u)
{
	atomic_store(&u->stopping, true);
	shutdown(u->listener, SHUT_RDWR);
	pthread_join(u->acceptor, NULL);
	upstream_hang_up(u);
	for (unsigned i = 0; i < u->count; i++)
		pthread_join(u->threads[i], NULL);
	close(u->listener);
	if (u->socket_path[0])
		unlink(u->socket_path);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

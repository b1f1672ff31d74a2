/* libcurl's multi handle on the loop: sockets, timers, messages.
 *
 * SOCKETS are kept in a table by number. libcurl 7.88 tells of most things that happen to one, but not of all: an
 * attempt to connect that failed is closed without a word, and the next attempt may get the same number (and then,
 * libcurl believes, is being watched). So every socket is opened here, and a watch that is still registered under the
 * number of a new socket is known to be of a closed one. Once data was read from a socket its closing is told. */
#include "drivers/http/engine.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/config.h"
#include "drivers/http/internal.h"
#include "drivers/http/transfer.h"
#include "drivers/http/trust.h"

enum {
	CONNECT_TIMEOUT_US = 5000000,
	MAX_SPARE = 64, /* transfers that are kept */
};

/* --- sockets --- */

static void drain_messages(struct http_engine *engine)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(engine->multi, &left))) {
		struct http_transfer *t;
		CURLcode code = message->data.result;
		if (message->msg != CURLMSG_DONE ||
		    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&t) != CURLE_OK)
			continue;
		http_transfer_ended(t, code);
	}
}

static void act(struct http_engine *engine, curl_socket_t fd, int what)
{
	int running;

	curl_multi_socket_action(engine->multi, fd, what, &running);
	drain_messages(engine);
}

/* What a server says unasked the next request on its connection would take for its answer, the one after that for the
 * answer before it, and so on. libcurl 7.88 looks only whether such a connection was closed: so it is, to it. HTTP/2
 * numbers its answers, and talks while it is idle. */
static void retire(struct http_socket *s)
{
	char scratch[4096];

	if (!s->sequential)
		return;
	for (int i = 0; i < 16 && recv(s->fd, scratch, sizeof(scratch), MSG_DONTWAIT) > 0; i++)
		continue;
	shutdown(s->fd, SHUT_RDWR);
	s->retired = true;
}

static void socket_ready(struct watch *w, uint32_t events)
{
	struct http_socket *s = container_of(w, struct http_socket, watch);
	int what = 0;

	/* Closed by the server, or worse: libcurl will find that out when it wants to use it. */
	if (s->idle) {
		retire(s);
		watch_clear(w);
		return;
	}
	if (events & EPOLLIN)
		what |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		what |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		what |= CURL_CSELECT_ERR;
	act(s->engine, w->fd, what);
}

static struct http_socket *socket_of(struct http_engine *engine, curl_socket_t fd)
{
	size_t room = engine->socket_room;

	if ((size_t)fd >= room) {
		while ((size_t)fd >= room)
			room = room ? room * 2 : 64;
		engine->sockets = mem_realloc_array(engine->sockets, room, sizeof(struct http_socket *));
		memset(&engine->sockets[engine->socket_room], 0,
		       (room - engine->socket_room) * sizeof(struct http_socket *));
		engine->socket_room = room;
	}
	if (!engine->sockets[fd]) {
		struct http_socket *s = mem_zalloc(sizeof(*s));
		s->engine = engine;
		s->fd = fd;
		list_init(&s->kept);
		watch_init(&s->watch, socket_ready);
		engine->sockets[fd] = s;
	}
	return engine->sockets[fd];
}

/* Its port on this side; 0: it has none. */
static unsigned local_port(int fd)
{
	struct sockaddr_storage a = {0};
	socklen_t len = sizeof(a);

	if (getsockname(fd, (struct sockaddr *)&a, &len) < 0)
		return 0;
	if (a.ss_family == AF_INET)
		return ntohs(((struct sockaddr_in *)&a)->sin_port);
	return a.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&a)->sin6_port) : 0;
}

/* The last transfer on it has ended. */
static void socket_idles(struct http_socket *s, CURL *easy)
{
	long version = 0;

	if (!s->established) {
		watch_clear(&s->watch);
		return;
	}
	curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
	s->sequential = version == CURL_HTTP_VERSION_1_0 || version == CURL_HTTP_VERSION_1_1;
	if (!s->port)
		s->port = local_port(s->fd);
	list_remove(&s->kept);
	list_prepend(&s->engine->kept, &s->kept);
}

/* A request is about to be sent on a kept connection from this port, which is all that libcurl says of it; 0: through a
 * Unix socket, whichever. Returns false if something waits there that answers nothing: the request must not go out
 * on it. What came in this very turn no event has told of yet; and libcurl takes a connection that was closed for an
 * open one when more has come on it since. What comes only after this look, when the request is under way, can't be
 * told from its answer. */
static bool may_send(struct http_engine *engine, unsigned port)
{
	bool retired = false;

	list_for_each (node, &engine->kept) {
		struct http_socket *s = container_of(node, struct http_socket, kept);
		int unread = 0;
		if (s->port != port || !s->sequential)
			continue;
		if (!s->retired && ioctl(s->fd, FIONREAD, &unread) == 0 && unread > 0)
			retire(s);
		retired |= s->retired;
	}
	return !retired;
}

/* libcurl watches no socket of a transfer that a slow reader has stopped. */
static bool is_paused(CURL *easy)
{
	struct http_transfer *t = NULL;

	return easy && curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t) == CURLE_OK && t && t->sink &&
	       !t->ended && t->sink->paused;
}

/* CURLMOPT_SOCKETFUNCTION. */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
	struct http_engine *engine = arg;
	struct http_socket *s = socket_of(engine, fd);

	(void)unused;
	if (what == CURL_POLL_REMOVE && is_paused(easy)) {
		watch_clear(&s->watch); /* nobody looks at it until the reader goes on */
		return 0;
	}
	s->idle = what == CURL_POLL_REMOVE;
	if (s->idle) {
		socket_idles(s, easy);
		return 0;
	}
	list_remove(&s->kept);
	if (what & CURL_POLL_IN)
		s->established = true;
	uint32_t events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
	return watch_set(&s->watch, loop_poller(engine->loop), fd, events) < 0 ? -1 : 0;
}

/* From here to where it sends its request a transfer has connect_timeout. libcurl's own CURLOPT_CONNECTTIMEOUT costs a
 * timer for each call, those on kept connections included. */
static void begin_connecting(struct http_transfer *t)
{
	struct http_engine *engine = t->engine;

	if (!list_empty(&t->connecting))
		return;
	t->connect_by = deadline_in_us(engine->settings.connect_timeout_us);
	list_append(&engine->connecting, &t->connecting);
	if (!timer_running(&engine->connect_timer))
		timer_start(&engine->connect_timer, loop_timers(engine->loop), t->connect_by);
}

static void connect_timer_fired(struct timer *timer)
{
	struct http_engine *engine = container_of(timer, struct http_engine, connect_timer);

	while (!list_empty(&engine->connecting)) {
		struct http_transfer *t = container_of(engine->connecting.next, struct http_transfer, connecting);
		if (!deadline_passed(t->connect_by)) {
			timer_start(timer, loop_timers(engine->loop), t->connect_by);
			break;
		}
		http_transfer_ended(t, CURLE_OPERATION_TIMEDOUT);
	}
}

/* CURLOPT_OPENSOCKETFUNCTION. */
static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct http_transfer *t = arg;
	struct http_engine *engine = t->engine;
	int fd = socket(address->family, address->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->protocol);

	(void)purpose;
	if (fd < 0)
		return CURL_SOCKET_BAD;
	struct http_socket *s = socket_of(engine, fd);
	uint32_t events = s->watch.events;
	bool stale = s->watch.poller;
	watch_forget(&s->watch);
	list_remove(&s->kept);
	s->established = s->retired = false;
	s->port = 0;
	if (stale && !s->idle && watch_set(&s->watch, loop_poller(engine->loop), fd, events) < 0) {
		close(fd);
		return CURL_SOCKET_BAD;
	}
	t->opened = true;
	begin_connecting(t);
	return fd;
}

/* CURLOPT_CLOSESOCKETFUNCTION. */
static int close_socket(void *arg, curl_socket_t fd)
{
	struct http_engine *engine = arg;
	struct http_socket *s = socket_of(engine, fd);

	watch_forget(&s->watch); /* closing it takes it out of the poller */
	list_remove(&s->kept);
	s->idle = s->established = false;
	return close(fd);
}

/* CURLOPT_PREREQFUNCTION: the request is about to be sent. If a kept connection turns out to be closed libcurl sends
 * it again, whatever its method, on the next one that it has kept; here, only if it may be, and on a new one. */
static int on_send(void *arg, char *to, char *from, int to_port, int from_port)
{
	struct http_transfer *t = arg;

	(void)to, (void)from, (void)to_port;
	http_transfer_connected(t);
	if (t->sends > 0 && !(t->repeatable && t->opened)) {
		t->trouble = TROUBLE_SENT_TWICE;
		return CURL_PREREQFUNC_ABORT;
	}
	if (!t->opened && !may_send(t->engine, (unsigned)from_port)) {
		t->trouble = TROUBLE_STALE;
		return CURL_PREREQFUNC_ABORT;
	}
	t->sends++;
	t->kept = !t->opened;
	t->opened = false;
	return CURL_PREREQFUNC_OK;
}

/* Make t's easy handle call back about the sockets that it opens, uses and closes. */
static void adopt(struct http_transfer *t)
{
	curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
	curl_easy_setopt(t->easy, CURLOPT_OPENSOCKETDATA, t);
	curl_easy_setopt(t->easy, CURLOPT_CLOSESOCKETFUNCTION, close_socket);
	/* Of the engine: a connection outlives the transfer that made it. */
	curl_easy_setopt(t->easy, CURLOPT_CLOSESOCKETDATA, t->engine);
	curl_easy_setopt(t->easy, CURLOPT_PREREQFUNCTION, on_send);
	curl_easy_setopt(t->easy, CURLOPT_PREREQDATA, t);
}

/* --- transfers --- */

struct http_transfer *http_engine_take(struct http_engine *engine)
{
	struct list *spare = list_shift(&engine->spare);

	if (spare) {
		engine->spare_count--;
		return container_of(spare, struct http_transfer, link);
	}
	struct http_transfer *t = http_transfer_new(engine);
	if (t)
		adopt(t);
	return t;
}

void http_engine_give(struct http_transfer *t)
{
	struct http_engine *engine = t->engine;

	http_transfer_clear(t);
	if (engine->spare_count == MAX_SPARE || engine->closing || t->spoilt) {
		http_transfer_free(t);
		return;
	}
	engine->spare_count++;
	list_prepend(&engine->spare, &t->link);
}

/* --- timers --- */

static void kick(struct deferred *d)
{
	act(container_of(d, struct http_engine, kick), CURL_SOCKET_TIMEOUT, 0);
}

static void timer_fired(struct timer *t)
{
	act(container_of(t, struct http_engine, timer), CURL_SOCKET_TIMEOUT, 0);
}

/* CURLMOPT_TIMERFUNCTION. It is called inside libcurl, which must not be entered again: "at once" is the end of the
 * turn, and one call then serves all transfers that were added in it. */
static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_engine *engine = arg;

	(void)multi;
	if (timeout_ms == 0)
		loop_defer(engine->loop, &engine->kick);
	else if (timeout_ms < 0)
		timer_stop(&engine->timer, loop_timers(engine->loop));
	else
		timer_start(&engine->timer, loop_timers(engine->loop), deadline_in_ms(timeout_ms));
	return 0;
}

/* --- life --- */

static void library_init(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

static void set_up_multi(struct http_engine *engine)
{
	CURLM *multi = engine->multi;

	curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
	curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, engine);
	curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
	curl_multi_setopt(multi, CURLMOPT_TIMERDATA, engine);
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)engine->settings.pool->size);
}

int http_engine_new(struct http_engine **out, const struct http_settings *settings, struct error *e)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct http_engine *engine = mem_zalloc(sizeof(*engine));

	pthread_once(&once, library_init);
	engine->settings = *settings;
	if (!engine->settings.connect_timeout_us)
		engine->settings.connect_timeout_us = CONNECT_TIMEOUT_US;
	engine->loop = loop_current();
	list_init(&engine->connecting);
	list_init(&engine->running);
	list_init(&engine->spare);
	list_init(&engine->kept);
	timer_init(&engine->timer, timer_fired);
	timer_init(&engine->connect_timer, connect_timer_fired);
	deferred_init(&engine->kick, kick);
	const struct http_origin *to = settings->proxy ? settings->proxy : settings->origin;
	http_names_init(&engine->names, to->host, to->port, settings->executor);
	if (settings->trust)
		engine->store = http_trust_store(settings->trust);
	engine->multi = curl_multi_init();
	engine->url = curl_url();
	if (!engine->multi || !engine->url ||
	    curl_url_set(engine->url, CURLUPART_URL, settings->origin->url, 0) != CURLUE_OK ||
	    (settings->trust && !engine->store)) {
		curl_multi_cleanup(engine->multi);
		curl_url_cleanup(engine->url);
		http_trust_store_free(engine->store);
		free(engine);
		return error_set(e, -ENOMEM, 500, NULL, "libcurl can't be set up");
	}
	set_up_multi(engine);
	*out = engine;
	return 0;
}

void http_engine_follow(struct http_engine *engine, const struct config_pool *pool)
{
	engine->settings.pool = pool;
	curl_multi_setopt(engine->multi, CURLMOPT_MAXCONNECTS, (long)pool->size);
}

void http_engine_refuse(struct http_engine *engine)
{
	engine->closing = true;
	while (!list_empty(&engine->running)) {
		struct http_transfer *t = container_of(engine->running.next, struct http_transfer, link);
		t->trouble = TROUBLE_CLOSING;
		http_transfer_ended(t, CURLE_ABORTED_BY_CALLBACK);
	}
}

void http_engine_free(struct http_engine *engine)
{
	struct shield shield;

	if (!engine)
		return;
	task_shield(&shield, DEADLINE_NEVER);
	http_engine_refuse(engine);
	while (engine->callers > 0) {
		http_engine_refuse(engine);
		int r = task_sleep_ms(1);
		(void)r;
	}
	http_names_done(&engine->names);
	task_unshield(&shield);
	while (!list_empty(&engine->spare))
		http_transfer_free(container_of(list_shift(&engine->spare), struct http_transfer, link));
	curl_multi_cleanup(engine->multi);
	curl_url_cleanup(engine->url);
	timer_stop(&engine->timer, loop_timers(engine->loop));
	timer_stop(&engine->connect_timer, loop_timers(engine->loop));
	deferred_cancel(&engine->kick);
	for (size_t i = 0; i < engine->socket_room; i++) {
		if (engine->sockets[i])
			watch_forget(&engine->sockets[i]->watch);
		free(engine->sockets[i]);
	}
	free(engine->sockets);
	http_trust_store_free(engine->store);
	free(engine);
}

bool http_engine_idle(const struct http_engine *engine)
{
	return engine->callers == 0;
}

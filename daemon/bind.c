/* Binding. See bind.h. */
#include "daemon/bind.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "daemon/address.h"
#include "daemon/adopt.h"
#include "daemon/systemd.h"

static int set_flag(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int open_socket(int family)
{
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

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
	if (r == 0)
		r = listener_set_options(fd, a->sa.ss_family);
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
	return listen(fd, LISTEN_BACKLOG) < 0 ? -errno : 0;
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
	if (!address_make(&a, &b->config))
		return -EINVAL;
	int r = bind_tcp_workers(b, workers, &a);
	address_name(&a, b->name, sizeof(b->name));
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
	if (strlen(b->config.path) >= sizeof(sun.sun_path))
		return -ENAMETOOLONG;
	memcpy(sun.sun_path, b->config.path, strlen(b->config.path));
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
	bound_know_file(b);
	/* Nobody can connect before listen: the mode is right from the first connection on. */
	if (chmod(sun.sun_path, (mode_t)b->config.mode) < 0)
		return -errno;
	return start_listening(fd);
}

static int bind_one(struct bound *b, unsigned workers)
{
	if (b->config.host)
		return bind_tcp_address(b, workers);
	snprintf(b->name, sizeof(b->name), "unix:%s", b->config.path);
	int r = bind_unix(b);
	for (unsigned i = 1; i < workers && r == 0; i++) {
		b->fds[i] = fcntl(b->fds[0], F_DUPFD_CLOEXEC, 0);
		if (b->fds[i] < 0)
			r = -errno;
	}
	return r;
}

/* Returns 0 or -errno; *name is the address for the message. */
static int open_address(struct listeners *l, const struct config_listen *config, const char **name)
{
	int r = adopt(l, config);
	struct bound *b = r == 0 ? listeners_add(l, config) : l->bound[l->count - 1];
	if (r == 0 && !config->systemd)
		r = bind_one(b, l->workers);
	else if (r == 0)
		r = -ESRCH;
	*name = config->systemd ? "systemd" : b->name;
	return r < 0 ? r : 0;
}

static unsigned stored_count(const struct bound *b, unsigned workers)
{
	return b->config.path ? 1 : workers;
}

/* The name of a worker's socket in the manager's store. */
static const char *stored_name(const struct bound *b, unsigned worker, char *out, size_t size)
{
	snprintf(out, size, SYSTEMD_STORED "%s/%u", b->name, worker);
	for (char *c = out; *c; c++)
		if (*c == ':')
			*c = '_';
	return out;
}

/* Ours, from now on, also while no process of ours runs. */
static void keep(struct bound *b, unsigned workers)
{
	char name[sizeof(b->name) + 16];
	b->kept = b->adopted || (systemd_stores() && !b->config.control);
	for (unsigned w = 0; b->kept && !b->adopted && w < stored_count(b, workers); w++)
		systemd_store(b->fds[w], stored_name(b, w, name, sizeof(name)));
}

/* The same, with e and *at filled if it fails. */
static int open_listener(struct listeners *l, const struct config_listen *config, struct error *e, struct mark *at)
{
	const char *name;
	int r = open_address(l, config, &name);
	if (r == 0)
		return 0;
	*at = config->at;
	if (r == -ESRCH)
		return error_set(e, r, 0, NULL, "no socket%s%s was passed: is gatherd.socket started?",
				 *config->systemd ? " of the name " : "", config->systemd);
	return error_set(e, r, 0, NULL, "can't listen on %s: %s", name, strerror(-r));
}

int listeners_bind(struct listeners *l, const struct config_server *server, unsigned workers, struct error *e,
		   struct mark *at)
{
	int r = 0;
	*l = (struct listeners){.workers = workers};
	for (size_t i = 0; i < server->listen_count && r == 0; i++)
		r = open_listener(l, &server->listen[i], e, at);
	if (r == 0 && server->control.path)
		r = open_listener(l, &server->control, e, at);
	if (r < 0) {
		listeners_done(l);
		return r;
	}
	adopt_rest();
	for (size_t i = 0; i < l->count; i++)
		keep(l->bound[i], workers);
	return 0;
}

/* The socket's file, unless another daemon has put its own there meanwhile. */
static void remove_file(const struct bound *b)
{
	struct stat st;
	if (b->inode != 0 && !b->kept && lstat(b->config.path, &st) == 0 && st.st_dev == b->device &&
	    st.st_ino == b->inode)
		unlink(b->config.path);
}

static void unkeep(struct bound *b, unsigned workers)
{
	char name[sizeof(b->name) + 16];
	adopt_release(b);
	for (unsigned w = 0; b->kept && !b->adopted && w < stored_count(b, workers); w++)
		systemd_unstore(stored_name(b, w, name, sizeof(name)));
}

void listeners_done(struct listeners *l)
{
	for (size_t i = 0; i < l->count; i++) {
		remove_file(l->bound[i]);
		bound_free(l->bound[i], l->workers);
	}
	free(l->bound);
	*l = (struct listeners){0};
}

void listeners_tell(const struct bound *b)
{
	log_line(LOG_LINE_INFO, "listening", "address=%s%s", b->name,
		 b->config.control ? " control=true"
		 : b->config.admin ? " admin=true"
				   : "");
}

/* --- when the configuration changes --- */

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool is_for(const struct bound *b, const struct config_listen *config)
{
	return !b->config.control && same_text(b->config.host, config->host) && b->config.port == config->port &&
	       same_text(b->config.path, config->path) && same_text(b->config.systemd, config->systemd);
}

bool listeners_have(const struct listeners *l, const struct bound *b)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->bound[i] == b)
			return true;
	return false;
}

/* The rows of that address that are there already: one, and those that were adopted because more sockets were passed
 * than there are workers. */
static bool carry_over(struct listeners *next, const struct listeners *now, const struct config_listen *config)
{
	bool found = false;
	for (size_t i = 0; i < now->count; i++) {
		if (!is_for(now->bound[i], config) || listeners_have(next, now->bound[i]))
			continue;
		listeners_share(next, now->bound[i]);
		found = true;
		if (!now->bound[i]->adopted)
			break;
	}
	return found;
}

int listeners_change(struct listeners *next, const struct listeners *now, const struct config_server *server,
		     struct error *e, struct mark *at)
{
	int r = 0;
	*next = (struct listeners){.workers = now->workers};
	for (size_t i = 0; i < server->listen_count && r == 0; i++)
		if (!carry_over(next, now, &server->listen[i]))
			r = open_listener(next, &server->listen[i], e, at);
	for (size_t i = 0; i < now->count; i++)
		if (now->bound[i]->config.control)
			listeners_share(next, now->bound[i]);
	if (r < 0)
		listeners_unchange(next, now);
	return r;
}

void listeners_unchange(struct listeners *next, const struct listeners *now)
{
	for (size_t i = 0; i < next->count; i++) {
		if (listeners_have(now, next->bound[i]))
			continue;
		adopt_release(next->bound[i]);
		remove_file(next->bound[i]);
		bound_free(next->bound[i], next->workers);
	}
	free(next->bound);
	*next = (struct listeners){0};
}

/* What may change of a row in place: who may come, and by which file's mode. */
static void update(struct bound *b, const struct config_listen *config)
{
	b->config.admin = config->admin;
	if (b->config.path && b->config.mode != config->mode && chmod(b->config.path, (mode_t)config->mode) == 0)
		b->config.mode = config->mode;
}

void listeners_update(struct listeners *next, const struct listeners *now, const struct config_server *server)
{
	for (size_t i = 0; i < next->count; i++) {
		struct bound *b = next->bound[i];
		for (size_t k = 0; k < server->listen_count; k++)
			if (is_for(b, &server->listen[k]))
				update(b, &server->listen[k]);
		if (!listeners_have(now, b))
			keep(b, next->workers);
	}
}

void listeners_replace(struct listeners *now, struct listeners *next)
{
	for (size_t i = 0; i < now->count; i++) {
		struct bound *b = now->bound[i];
		if (listeners_have(next, b))
			continue;
		unkeep(b, now->workers);
		b->kept = false; /* nobody comes for its file any more */
		remove_file(b);
		bound_free(b, now->workers);
	}
	free(now->bound);
	*now = *next;
	*next = (struct listeners){0};
}

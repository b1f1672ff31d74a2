/* Adopting passed sockets. */
#include "daemon/adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/address.h"
#include "daemon/systemd.h"

/* Does connecting to the path of a Unix socket reach a listener? Its file may have gone with its folder. */
static bool is_reached(const struct address *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	/* EAGAIN: so many wait there that there is no room for one more. */
	bool reached = connect(fd, (const struct sockaddr *)&a->sa, a->len) == 0 || errno == EAGAIN;
	close(fd);
	return reached;
}

static bool belongs(const struct systemd_socket *s, const struct config_listen *config)
{
	struct address wanted, bound;
	if (s->fd < 0 || s->taker)
		return false;
	if (config->systemd)
		return !systemd_is_stored(s) && (!*config->systemd || strcmp(s->name, config->systemd) == 0);
	return systemd_is_stored(s) && address_make(&wanted, config) && address_of_socket(&bound, s->fd) &&
	       address_equal(&wanted, &bound) && (!config->path || is_reached(&bound));
}

/* Socket k goes to worker k mod W: the first W to the first row. */
static int take(struct listeners *l, const struct config_listen *config, struct systemd_socket *s, unsigned k)
{
	struct address a;
	struct bound *b = k % l->workers == 0 ? listeners_add(l, config) : l->bound[l->count - 1];
	b->adopted = true;
	b->fds[k % l->workers] = fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
	if (b->fds[k % l->workers] < 0)
		return -errno;
	s->taker = b;
	if (!address_of_socket(&a, s->fd))
		return -errno;
	address_name(&a, b->name, sizeof(b->name));
	if (config->path && chmod(config->path, (mode_t)config->mode) < 0)
		return -errno;
	bound_know_file(b);
	return listener_set_options(b->fds[k % l->workers], a.sa.ss_family);
}

/* A worker without a socket of its own shares one. */
static int share(struct bound *b, unsigned first, unsigned workers)
{
	for (unsigned w = first; w < workers; w++) {
		b->fds[w] = fcntl(b->fds[w % first], F_DUPFD_CLOEXEC, 0);
		if (b->fds[w] < 0)
			return -errno;
	}
	return 0;
}

int adopt(struct listeners *l, const struct config_listen *config)
{
	size_t count;
	struct systemd_socket *sockets = systemd_sockets(&count);
	unsigned found = 0;
	int r = 0;
	for (size_t i = 0; i < count && r == 0; i++)
		if (belongs(&sockets[i], config))
			r = take(l, config, &sockets[i], found++);
	if (r == 0 && found > 0 && found < l->workers)
		r = share(l->bound[l->count - 1], found, l->workers);
	return r < 0 ? r : (int)found;
}

/* One of ours that nobody wants. */
static void end(struct systemd_socket *s)
{
	close(s->fd);
	s->fd = -1;
	systemd_unstore(s->name);
}

void adopt_rest(void)
{
	size_t count;
	struct systemd_socket *sockets = systemd_sockets(&count);
	for (size_t i = 0; i < count; i++) {
		if (sockets[i].fd >= 0 && !sockets[i].taker && systemd_is_stored(&sockets[i]))
			end(&sockets[i]);
	}
}

void adopt_release(const struct bound *b)
{
	size_t count;
	struct systemd_socket *sockets = systemd_sockets(&count);
	for (size_t i = 0; i < count; i++) {
		if (sockets[i].taker != b)
			continue;
		sockets[i].taker = NULL;
		if (systemd_is_stored(&sockets[i]))
			end(&sockets[i]);
	}
}

/* Rows of sockets, and the options that all of them have. */
#include "daemon/bound.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

enum {
	USER_TIMEOUT_MS = 60000, /* a peer that acknowledges nothing for that long is gone */
	KEEPALIVE_S = 60,        /* a peer that is silent for that long is asked whether it is there … */
	KEEPALIVE_AGAIN_S = 10,  /* … and asked again, until USER_TIMEOUT_MS have passed */
};

static const char *copy(const char *text)
{
	return text ? mem_strdup(text) : NULL;
}

struct bound *listeners_add(struct listeners *l, const struct config_listen *config)
{
	struct bound *b = mem_alloc(sizeof(*b));
	*b = (struct bound){.config = *config, .fds = mem_array(l->workers, sizeof(int))};
	b->config.host = copy(config->host);
	b->config.path = copy(config->path);
	b->config.systemd = copy(config->systemd);
	b->config.at = (struct mark){0};
	for (unsigned w = 0; w < l->workers; w++)
		b->fds[w] = -1;
	listeners_share(l, b);
	return b;
}

void listeners_share(struct listeners *l, struct bound *b)
{
	mem_reserve(l->bound, l->capacity, l->count + 1);
	l->bound[l->count++] = b;
}

void bound_know_file(struct bound *b)
{
	struct stat st;
	if (b->config.path && lstat(b->config.path, &st) == 0) {
		b->device = st.st_dev;
		b->inode = st.st_ino;
	}
}

static void free_text(const char *text)
{
	free((char *)(uintptr_t)text);
}

void bound_free(struct bound *b, unsigned workers)
{
	for (unsigned w = 0; w < workers; w++)
		if (b->fds[w] >= 0)
			close(b->fds[w]);
	free_text(b->config.host);
	free_text(b->config.path);
	free_text(b->config.systemd);
	free(b->fds);
	free(b);
}

static const struct {
	int level, option, value;
} inherited[] = {
	{IPPROTO_TCP, TCP_NODELAY, 1},
	{IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS},
	{SOL_SOCKET, SO_KEEPALIVE, 1},
	{IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_S},
	{IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_AGAIN_S},
};

static int set_option(int fd, size_t i)
{
	int value = inherited[i].value;
	return setsockopt(fd, inherited[i].level, inherited[i].option, &value, sizeof(value)) < 0 ? -errno : 0;
}

int listener_set_options(int fd, int family)
{
	int r = 0;
	for (size_t i = 0; i < ARRAY_SIZE(inherited) && family != AF_UNIX && r == 0; i++)
		r = set_option(fd, i);
	return r;
}

/* Rows of sockets, and the options that all of them have. */
#include "daemon/bound.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/mem.h"

enum {
	USER_TIMEOUT_MS = 60000, /* a peer that acknowledges nothing for that long is gone */
	KEEPALIVE_S = 60,        /* a peer that is silent for that long is asked whether it is there … */
	KEEPALIVE_AGAIN_S = 10,  /* … and asked again, until USER_TIMEOUT_MS have passed */
};

struct bound *listeners_add(struct listeners *l, const struct config_listen *config)
{
	mem_reserve(l->bound, l->capacity, l->count + 1);
	struct bound *b = &l->bound[l->count++];
	*b = (struct bound){.config = config, .fds = mem_array(l->workers, sizeof(int))};
	for (unsigned w = 0; w < l->workers; w++)
		b->fds[w] = -1;
	return b;
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

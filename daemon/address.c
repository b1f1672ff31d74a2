/* Addresses of sockets. */
#include "daemon/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static struct sockaddr_in *in(struct address *a)
{
	return (void *)&a->sa;
}

static struct sockaddr_in6 *in6(struct address *a)
{
	return (void *)&a->sa;
}

static bool make_unix(struct address *a, const char *path)
{
	struct sockaddr_un *sun = (void *)&a->sa;
	size_t len = strlen(path);
	if (len >= sizeof(sun->sun_path))
		return false;
	sun->sun_family = AF_UNIX;
	memcpy(sun->sun_path, path, len);
	a->len = sizeof(*sun);
	return true;
}

bool address_make(struct address *a, const struct config_listen *l)
{
	memset(a, 0, sizeof(*a));
	if (l->path)
		return make_unix(a, l->path);
	if (l->host && inet_pton(AF_INET, l->host, &in(a)->sin_addr) == 1) {
		in(a)->sin_family = AF_INET;
		in(a)->sin_port = htons(l->port);
		a->len = sizeof(struct sockaddr_in);
		return true;
	}
	if (l->host && inet_pton(AF_INET6, l->host, &in6(a)->sin6_addr) == 1) {
		in6(a)->sin6_family = AF_INET6;
		in6(a)->sin6_port = htons(l->port);
		a->len = sizeof(struct sockaddr_in6);
		return true;
	}
	return false;
}

bool address_of_socket(struct address *a, int fd)
{
	memset(a, 0, sizeof(*a));
	a->len = sizeof(a->sa);
	return getsockname(fd, (struct sockaddr *)&a->sa, &a->len) == 0;
}

uint16_t address_port(const struct address *a)
{
	/* The port stands at the same place in both families. */
	return a->sa.ss_family == AF_UNIX ? 0 : ntohs(((const struct sockaddr_in *)(const void *)&a->sa)->sin_port);
}

bool address_equal(const struct address *a, const struct address *b)
{
	const struct sockaddr_in6 *six[] = {(const void *)&a->sa, (const void *)&b->sa};
	const struct sockaddr_in *four[] = {(const void *)&a->sa, (const void *)&b->sa};
	const struct sockaddr_un *local[] = {(const void *)&a->sa, (const void *)&b->sa};
	if (a->sa.ss_family != b->sa.ss_family || address_port(a) != address_port(b))
		return false;
	switch (a->sa.ss_family) {
	case AF_INET:
		return four[0]->sin_addr.s_addr == four[1]->sin_addr.s_addr;
	case AF_INET6:
		return memcmp(&six[0]->sin6_addr, &six[1]->sin6_addr, sizeof(six[0]->sin6_addr)) == 0;
	case AF_UNIX:
		return strncmp(local[0]->sun_path, local[1]->sun_path, sizeof(local[0]->sun_path)) == 0;
	default:
		return false;
	}
}

void address_name(const struct address *a, char *out, size_t size)
{
	char host[INET6_ADDRSTRLEN] = "";
	const struct sockaddr_un *sun = (const void *)&a->sa;
	switch (a->sa.ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)&a->sa)->sin_addr, host, sizeof(host));
		snprintf(out, size, "%s:%u", host, address_port(a));
		break;
	case AF_INET6:
		inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)&a->sa)->sin6_addr, host,
			  sizeof(host));
		snprintf(out, size, "[%s]:%u", host, address_port(a));
		break;
	default:
		snprintf(out, size, "unix:%.*s", (int)sizeof(sun->sun_path), sun->sun_path);
	}
}

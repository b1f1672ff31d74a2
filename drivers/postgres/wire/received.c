/* TCP tells what has come and what is still to be read. A Unix socket has an offset for MSG_PEEK, which nobody uses
 * here: each read brings it nearer to the beginning by as much as it takes. */
#include "drivers/postgres/wire/received.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define FAR (1 << 30)

static int64_t from_tcp(int fd)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int unread;

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0 ||
	    len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received) ||
	    ioctl(fd, SIOCINQ, &unread) < 0)
		return -1;
	return (int64_t)info.tcpi_bytes_received - unread;
}

static int64_t from_unix(int fd, bool begin)
{
	int offset = FAR;
	socklen_t len = sizeof(offset);

	if (begin ? setsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, len) < 0
		  : getsockopt(fd, SOL_SOCKET, SO_PEEK_OFF, &offset, &len) < 0)
		return -1;
	return FAR - offset;
}

int64_t pg_received(int fd, bool begin)
{
	int domain;
	socklen_t len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
		return -1;
	return domain == AF_UNIX ? from_unix(fd, begin) : from_tcp(fd);
}

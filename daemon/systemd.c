/* sd_notify and its relatives, by hand. See systemd.h. */
#include "daemon/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/log.h"
#include "base/mem.h"

enum {
	FIRST_PASSED = 3, /* SD_LISTEN_FDS_START */
	PASSED_MAX = 4096,
	STATUS_BYTES = 512,
	STORE_WAIT_MS = 1000, /* for room in the manager's queue: a socket that is not stored is lost at a crash */
};

static struct {
	int fd;              /* connected to NOTIFY_SOCKET; -1: no manager */
	const char *pending; /* what must get through and had no room: READY=1 or STOPPING=1; static */
	char status[STATUS_BYTES + 1];
	bool status_pending;
	int64_t watchdog_us;
	bool stores;
	struct systemd_socket *sockets;
	size_t count;
} manager = {.fd = -1};

/* --- datagrams --- */

/* Returns 0 or -errno. fd: to be passed along; -1: none. */
static int send_text(const char *text, int fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec part = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	if (fd >= 0) {
		message.msg_control = &control;
		message.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&message);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	}
	return sendmsg(manager.fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static bool is_full(int r)
{
	return r == -EAGAIN || r == -ENOBUFS;
}

/* text is static. */
static void send_or_keep(const char *text)
{
	if (manager.fd >= 0 && is_full(send_text(text, -1)))
		manager.pending = text;
}

static void send_status(void)
{
	char text[STATUS_BYTES + sizeof("STATUS=")];
	snprintf(text, sizeof(text), "STATUS=%s", manager.status);
	manager.status_pending = manager.fd >= 0 && is_full(send_text(text, -1));
}

static printf_like(1, 0) void set_status(const char *format, va_list arguments)
{
	char text[sizeof(manager.status)];
	vsnprintf(text, sizeof(text), format, arguments);
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = ' ';
	}
	if (strcmp(text, manager.status) == 0)
		return;
	memcpy(manager.status, text, sizeof(text));
	send_status();
}

bool systemd_is_there(void)
{
	return manager.fd >= 0;
}

void systemd_status(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	set_status(format, arguments);
	va_end(arguments);
}

void systemd_ready(const char *format, ...)
{
	va_list arguments;
	send_or_keep("READY=1");
	va_start(arguments, format);
	set_status(format, arguments);
	va_end(arguments);
}

void systemd_reloading(void)
{
	char text[96];
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld", (long long)monotonic_us());
	if (manager.fd >= 0)
		(void)send_text(text, -1);
	systemd_status("reloading");
}

void systemd_stopping(void)
{
	send_or_keep("STOPPING=1");
}

void systemd_failed(int errnum, const char *why)
{
	char text[32];
	systemd_status("%s", why);
	snprintf(text, sizeof(text), "ERRNO=%d", errnum < 0 ? -errnum : errnum);
	if (manager.fd >= 0 && errnum)
		(void)send_text(text, -1);
}

void systemd_extend(int64_t us)
{
	char text[64];
	snprintf(text, sizeof(text), "EXTEND_TIMEOUT_USEC=%lld", (long long)us);
	if (manager.fd >= 0)
		(void)send_text(text, -1);
}

void systemd_flush(void)
{
	const char *text = manager.pending;
	manager.pending = NULL;
	if (text)
		send_or_keep(text);
	if (manager.status_pending)
		send_status();
}

int64_t systemd_watchdog_us(void)
{
	return manager.watchdog_us;
}

void systemd_watchdog_feed(void)
{
	if (manager.fd >= 0)
		(void)send_text("WATCHDOG=1", -1);
}

/* --- the store --- */

bool systemd_stores(void)
{
	return manager.stores;
}

void systemd_store(int fd, const char *name)
{
	char text[NAME_MAX + 32];
	if (!manager.stores || manager.fd < 0)
		return;
	snprintf(text, sizeof(text), "FDSTORE=1\nFDNAME=%s", name);
	int r = send_text(text, fd);
	if (is_full(r) && poll(&(struct pollfd){.fd = manager.fd, .events = POLLOUT}, 1, STORE_WAIT_MS) > 0)
		r = send_text(text, fd);
	if (r < 0)
		log_line(LOG_LINE_WARNING, "the service manager does not keep a socket", "name=\"%s\" error=\"%s\"",
			 name, strerror(-r));
}

void systemd_unstore(const char *name)
{
	char text[NAME_MAX + 32];
	snprintf(text, sizeof(text), "FDSTOREREMOVE=1\nFDNAME=%s", name);
	if (manager.stores && manager.fd >= 0)
		(void)send_text(text, -1);
}

struct systemd_socket *systemd_sockets(size_t *count)
{
	*count = manager.count;
	return manager.sockets;
}

bool systemd_is_stored(const struct systemd_socket *s)
{
	return strncmp(s->name, SYSTEMD_STORED, sizeof(SYSTEMD_STORED) - 1) == 0;
}

/* --- the environment --- */

/* A variable's value as a number, or -1. */
static int64_t number_of(const char *name)
{
	const char *text = getenv(name);
	char *end;
	if (!text || *text < '0' || *text > '9')
		return -1;
	errno = 0;
	long long n = strtoll(text, &end, 10);
	return errno || *end ? -1 : n;
}

/* Is the variable absent, or our process id? */
static bool is_for_us(const char *name, bool absent)
{
	return getenv(name) ? number_of(name) == getpid() : absent;
}

static void connect_to(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	size_t len = strlen(path);
	if ((*path != '/' && *path != '@') || len < 2 || len >= sizeof(sun.sun_path)) {
		log_line(LOG_LINE_DEBUG, "NOTIFY_SOCKET is neither a path nor an abstract name", "value=\"%s\"", path);
		return;
	}
	memcpy(sun.sun_path, path, len);
	if (*path == '@')
		sun.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	if (fd >= 0 && connect(fd, (const struct sockaddr *)&sun, size) == 0)
		manager.fd = fd;
	else if (fd >= 0)
		close(fd);
}

/* A socket that listens, of a kind that we serve. */
static bool listens(int fd)
{
	int domain, type, accepts;
	socklen_t len = sizeof(int);
	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
	       (domain == AF_INET || domain == AF_INET6 || domain == AF_UNIX) &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &len) == 0 && accepts;
}

/* The next name of the list at *names, which it leaves behind; "unknown", as systemd says, when there is none left. */
static char *next_name(const char **names)
{
	if (!*names)
		return mem_strdup("unknown");
	const char *end = strchrnul(*names, ':');
	char *name = mem_strndup(*names, (size_t)(end - *names));
	*names = *end ? end + 1 : NULL;
	return name;
}

static int take_passed(struct error *e)
{
	int64_t count = is_for_us("LISTEN_PID", false) ? number_of("LISTEN_FDS") : 0;
	const char *names = getenv("LISTEN_FDNAMES");
	if (count <= 0 || count > PASSED_MAX)
		return 0;
	manager.sockets = mem_array((size_t)count, sizeof(struct systemd_socket));
	for (int fd = FIRST_PASSED; fd < FIRST_PASSED + count; fd++) {
		struct systemd_socket *s = &manager.sockets[manager.count++];
		*s = (struct systemd_socket){.fd = fd, .name = next_name(&names)};
		if (!listens(fd))
			return error_set(e, -EINVAL, 0, NULL,
					 "fd %d (name \"%s\") is not a listening socket: Accept=yes?", fd, s->name);
		int flags = fcntl(fd, F_GETFL);
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
			return error_set(e, -errno, 0, NULL, "fd %d (name \"%s\"): %s", fd, s->name, strerror(errno));
	}
	return 0;
}

int systemd_begin(struct error *e)
{
	static const char *const ours[] = {"NOTIFY_SOCKET", "LISTEN_PID",    "LISTEN_FDS", "LISTEN_FDNAMES",
					   "WATCHDOG_PID",  "WATCHDOG_USEC", "FDSTORE"};
	const char *path = getenv("NOTIFY_SOCKET");
	if (path)
		connect_to(path);
	int64_t watchdog_us = is_for_us("WATCHDOG_PID", true) ? number_of("WATCHDOG_USEC") : 0;
	manager.watchdog_us = manager.fd >= 0 && watchdog_us > 0 ? watchdog_us : 0;
	manager.stores = manager.fd >= 0 && number_of("FDSTORE") > 0;
	int r = take_passed(e);
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		unsetenv(ours[i]);
	return r;
}

void systemd_end(void)
{
	for (size_t i = 0; i < manager.count; i++) {
		if (manager.sockets[i].fd >= 0)
			close(manager.sockets[i].fd);
		free(manager.sockets[i].name);
	}
	free(manager.sockets);
	manager.sockets = NULL;
	manager.count = 0;
	if (manager.fd >= 0)
		close(manager.fd);
	manager.fd = -1;
}

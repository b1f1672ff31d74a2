/* The loop itself: soon, later, and when a descriptor is readable. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <gatherd.h>
#include <unistd.h>

static int say_soon(void *said)
{
	return gd_append(said, gd_string("soon"));
}

static int say_later(void *said)
{
	return gd_append(said, gd_string("later"));
}

static int say_hello(void *writing)
{
	return write(*(int *)writing, "hello", 5) == 5 ? 0 : -EIO;
}

int watch(gd_request *req)
{
	int *pipes = gd_alloc(2 * sizeof(*pipes)); /* those that write may run after this function */
	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	gd_value *said = gd_list();
	gd_call_later("hello", 20, say_hello, &pipes[1]);
	gd_call_later("later", 10, say_later, said);
	gd_spawn("soon", say_soon, said);

	char text[100];
	int r = gd_await_fd(pipes[0], GD_READABLE, GD_NEVER);
	ssize_t n = r < 0 ? 0 : read(pipes[0], text, sizeof(text));
	if (n > 0)
		gd_append(said, gd_string_n(text, (size_t)n));
	close(pipes[0]);
	close(pipes[1]);
	pipes[1] = -1;
	return r < 0 ? r : gd_reply(req, 200, said);
}

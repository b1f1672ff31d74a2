/* Files that a URL names: certificates, keys. They are small. */
#include "drivers/identity.h"

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

enum { MOST_BYTES = 1 << 20 };

void identity_file(struct buf *out, const char *path)
{
	char piece[4096];
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	ssize_t n;

	buf_char(out, '\n');
	if (fd < 0)
		return;
	for (size_t taken = 0; taken < MOST_BYTES && (n = read(fd, piece, sizeof(piece))) > 0; taken += (size_t)n)
		buf_append(out, piece, (size_t)n);
	close(fd);
}

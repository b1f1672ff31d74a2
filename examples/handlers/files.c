/* Files: three read at once, one written in pieces, and a part of it read again. */
#include <gatherd.h>
#include <stdio.h>
#include <string.h>

int files(gd_request *req)
{
	const char *names[] = {"one.txt", "two.txt", "three.txt"};
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	gd_value *texts[3];
	for (int i = 0; i < 3; i++)
		texts[i] = gd_read_file(g, "papers", names[i]);
	int r = gd_gather_wait(g, GD_NEVER);
	if (r < 0)
		return r;

	gd_file *f = gd_file_open("papers", "all.txt", GD_OPEN_WRITE);
	for (int i = 0; i < 3; i++) {
		const char *text = gd_to_text(texts[i]);
		int64_t written = gd_file_write(f, text, strlen(text));
		if (written < 0)
			return (int)written;
	}
	if ((r = gd_file_close(f, false)) < 0)
		return r;

	char part[9];
	f = gd_file_open("papers", "all.txt", GD_OPEN_READ);
	gd_file_seek(f, 4, SEEK_SET);
	int64_t n = gd_file_read(f, part, sizeof(part));
	return n < 0 ? (int)n : gd_reply(req, 200, gd_string_n(part, (size_t)n));
}

/* Files read and written by handlers: test_handlers_files.py says what each must answer. */
#include <errno.h>
#include <gatherd.h>
#include <stdio.h>
#include <string.h>

/* One of the functions of whole files, by its name: what it brought, or how it failed. */
int whole(gd_request *req)
{
	const char *op = gd_to_text(gd_param(req, "op")), *path = gd_to_text(gd_param(req, "path"));
	const char *source = gd_to_text(gd_param(req, "source"));
	gd_value *content = gd_get(gd_parse("null", 4), "x"), *v;

	if (gd_truthy(gd_param(req, "json"))) {
		const char *text = gd_to_text(gd_param(req, "json"));
		content = gd_parse(text, strlen(text));
	}
	if (strcmp(op, "read") == 0)
		v = gd_read_file(NULL, source, path);
	else if (strcmp(op, "stat") == 0)
		v = gd_stat_file(NULL, source, path);
	else if (strcmp(op, "list") == 0)
		v = gd_list_folder(NULL, source, path);
	else if (strcmp(op, "write") == 0)
		v = gd_write_file(NULL, source, path, content);
	else if (strcmp(op, "bytes") == 0)
		v = gd_write_file(NULL, source, path, gd_bytes("\xff\0\xfe", 3));
	else if (strcmp(op, "append") == 0)
		v = gd_append_file(NULL, source, path, content);
	else
		v = gd_remove_file(NULL, source, path);
	if (gd_failed(v) && gd_truthy(gd_param(req, "reply")))
		return gd_fail_with(v);
	if (gd_failed(v))
		return gd_reply(req, 200,
				gd_build("{failed: %d, status: %d, text: %s}", gd_failed(v), gd_error_status(v),
					 gd_error_text(v)));
	return gd_reply(req, 200, gd_build("{value: %p, bytes: %d}", v, gd_kind_of(v) == GD_BYTES));
}

/* Eight at once of the same file, each write whole. */
int at_once(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	gd_value *texts = gd_list(), *read[8];

	for (int i = 0; i < 8; i++) {
		char *text = gd_alloc(100001);
		memset(text, 'a' + i, 100000);
		gd_write_file(g, "rw", "shared.txt", gd_string(text));
	}
	for (int i = 0; i < 8; i++)
		read[i] = gd_read_file(g, "rw", "shared.txt");
	int r = gd_gather_wait(g, GD_NEVER);
	if (r < 0)
		return r;
	for (int i = 0; i < 8; i++) {
		const char *text = gd_to_text(read[i]);
		gd_append(texts, gd_int(strlen(text) == 100000 && strspn(text, (char[]){text[0], 0}) == 100000));
	}
	return gd_reply(req, 200, texts);
}

/* The script: letters with numbers, "r3 w5 s-2 e0": read, write that many, seek by, seek from the end. */
int script(gd_request *req)
{
	gd_file *f = gd_file_open(gd_to_text(gd_param(req, "source")), gd_to_text(gd_param(req, "path")),
				  (gd_open_mode)gd_to_int(gd_param(req, "mode"), 0));
	const char *at = gd_to_text(gd_param(req, "script"));
	gd_value *said = gd_list();
	char op;
	long n;
	int used;

	while (sscanf(at, " %c%ld%n", &op, &n, &used) == 2) {
		at += used;
		char *p = gd_alloc((size_t)(n > 0 ? n : 1) + 1);
		int64_t r = -1;
		if (op == 'w')
			memset(p, 'w', (size_t)n);
		switch (op) {
		case 'r':
			r = gd_file_read(f, p, (size_t)n);
			break;
		case 'w':
			r = gd_file_write(f, p, (size_t)n);
			break;
		case 's':
			r = gd_file_seek(f, n, SEEK_SET);
			break;
		case 'c':
			r = gd_file_seek(f, n, SEEK_CUR);
			break;
		case 'e':
			r = gd_file_seek(f, n, SEEK_END);
			break;
		case 'q':
			r = gd_file_seek(f, 0, (int)n);
			break;
		case 'x':
			r = gd_file_close(f, n != 0);
			break;
		}
		gd_append(said, op == 'r' && r > 0 && r < 100 ? gd_string_n(p, (size_t)r) : gd_int(r));
	}
	return gd_reply(req, 200, said);
}

/* A failure of an open file is the reply's. */
int failing(gd_request *req)
{
	gd_file *f = gd_file_open("ro", gd_to_text(gd_param(req, "path")), GD_OPEN_READ);
	char c;
	int64_t r = gd_file_read(f, &c, 1);

	return r < 0 ? (int)r : gd_reply(req, 200, gd_null());
}

static int pull_long(void *arg)
{
	static char large[8 << 20];
	return (int)gd_file_read(arg, large, sizeof(large));
}

/* A reader that is cancelled leaves a closed file; a second one beside it is refused. */
int left(gd_request *req)
{
	gd_file *f = gd_file_open("rw", "large.bin", GD_OPEN_READ);
	char c;

	gd_task *t = gd_spawn("reader", pull_long, f);
	gd_yield();
	int64_t second = gd_file_read(f, &c, 1);
	gd_cancel(t);
	int r = gd_await(t, GD_NEVER);
	int64_t late = gd_file_read(f, &c, 1);
	return gd_reply(
		req, 200,
		gd_build("[%lld, %d, %lld, %d]", (long long)second, r, (long long)late, gd_file_close(f, true)));
}

int nothing(gd_request *req)
{
	gd_file *none = gd_file_open("none", "x", GD_OPEN_READ);
	gd_file *f = gd_file_open("ro", "a.txt", GD_OPEN_READ);
	char c;

	return gd_reply(req, 200,
			gd_build("[%d, %d, %d, %lld, %lld, %lld, %d, %lld, %lld, %d]",
				 gd_failed(gd_read_file(NULL, "none", "x")), gd_failed(gd_read_file(NULL, "ro", NULL)),
				 gd_failed(gd_write_file(NULL, "rw", "x", NULL)), (long long)gd_file_read(none, &c, 1),
				 (long long)gd_file_read(NULL, &c, 1), (long long)gd_file_seek(NULL, 0, SEEK_SET),
				 gd_file_close(NULL, false), (long long)gd_file_read(f, NULL, 1),
				 (long long)gd_file_read(gd_file_open("ro", NULL, GD_OPEN_READ), &c, 1),
				 gd_file_close(gd_file_open("ro", "a.txt", (gd_open_mode)9), false)));
}

/* Open files of handlers at the level of the driver: callers that leave at every moment, and a disk that hangs. */
#include <fcntl.h>
#include <ftw.h>
#include <semaphore.h>
#include <string.h>
#include <sys/stat.h>

#include "async/executor.h"
#include "base/mem.h"
#include "drivers/files/driver.h"
#include "drivers/files/keys.h"
#include "drivers/files/open.h"
#include "drivers/files/run.h"
#include "tests/unit/async/async_fixture.h"

static struct {
	char folder[64];
	struct config_source config;
	struct files_source_keys keys;
	struct arena arena;
	struct executor *executor;
	struct source *source;
	struct client *client;
	struct run_options options;
} f;

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static void open_bench(unsigned max_queued)
{
	struct error e;

	memset(&f, 0, sizeof(f));
	arena_init(&f.arena);
	snprintf(f.folder, sizeof(f.folder), "/tmp/gatherd-open-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f.folder));
	f.keys = (struct files_source_keys){.max_size = 4 << 20, .write = true};
	f.config = (struct config_source){.own = &f.keys, .name = "papers", .kind = &files_kind, .url = f.folder};
	f.options.arena = &f.arena;
	ck_assert_int_eq(executor_new(&f.executor, 1, max_queued), 0);
	ck_assert_int_eq(files_driver.source_new(&f.source, &f.config, f.executor, 1, &e), 0);
	ck_assert_int_eq(files_driver.client_open(&f.client, f.source, &e), 0);
}

static void close_bench(void)
{
	ck_assert(files_driver.client_idle(f.client));
	files_driver.client_close(f.client);
	files_driver.source_free(f.source);
	executor_free(f.executor);
	settle(); /* jobs that were left behind come home */
	arena_done(&f.arena);
	ck_assert_int_eq(nftw(f.folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

#define OPEN_TEST(name)                                                                                                \
	static void name##_body(void);                                                                                 \
	LOOP_TEST(name)                                                                                                \
	{                                                                                                              \
		int fds = open_fds();                                                                                  \
		open_bench(8);                                                                                         \
		name##_body();                                                                                         \
		close_bench();                                                                                         \
		ck_assert_int_eq(open_fds(), fds);                                                                     \
		return 0;                                                                                              \
	}                                                                                                              \
	static void name##_body(void)

/* --- an executor that hangs --- */

static sem_t gate;

static void wait_at_gate(struct job *j)
{
	(void)j;
	while (sem_wait(&gate) < 0)
		;
}

static void free_plain(struct job *j)
{
	free(j);
}

static void hang(void)
{
	struct job *j = mem_zalloc(sizeof(*j));

	sem_init(&gate, 0, 0);
	j->run = wait_at_gate;
	j->free = free_plain;
	ck_assert_int_eq(executor_submit(f.executor, j), 0);
}

static void go_on(void)
{
	sem_post(&gate);
}

/* --- tests --- */

static struct open_file *opened(const char *path, enum open_mode mode)
{
	struct open_file *file = NULL;
	struct error e;

	ck_assert_msg(open_file_new(&file, f.client, path, mode, &f.options, &e) == 0, "%s", e.what);
	return file;
}

/* More than one job's worth, there and back. */
OPEN_TEST(large_pieces)
{
	size_t len = (3 << 20) + 17;
	char *out = malloc(len), *in = malloc(len + 1);
	struct error e;

	for (size_t i = 0; i < len; i++)
		out[i] = (char)(i * 31 >> 5);
	struct open_file *file = opened("x", OPEN_WRITE);
	ck_assert_int_eq(open_file_write(file, out, len, &e), (int64_t)len);
	ck_assert_int_eq(open_file_close(file, true, &e), 0);
	open_file_free(file);
	file = opened("x", OPEN_READ);
	ck_assert_int_eq(open_file_read(file, in, len + 1, &e), (int64_t)len);
	ck_assert_int_eq(memcmp(in, out, len), 0);
	ck_assert_int_eq(open_file_seek(file, -10, SEEK_END, &e), (int64_t)len - 10);
	ck_assert_int_eq(open_file_read(file, in, 100, &e), 10);
	open_file_free(file); /* open */
	free(out);
	free(in);
}

/* Appends to a file, until something fails. */
static int append_thrice(void *arg)
{
	const char *bytes = arg;
	struct open_file *file = NULL;
	struct error e;
	int64_t r = open_file_new(&file, f.client, "story", OPEN_APPEND, &f.options, &e);

	if (r < 0)
		return (int)r;
	for (int i = 0; i < 3 && r >= 0; i++)
		r = open_file_write(file, bytes, 1000, &e);
	if (r >= 0)
		r = open_file_close(file, false, &e);
	if (r < 0) {
		int64_t late = open_file_write(file, bytes, 1, &e);
		ck_assert(late == -EBADF || late == -ECANCELED);
		ck_assert_int_eq(late, e.errnum);
	}
	open_file_free(file);
	return (int)(r < 0 ? r : 0);
}

/* Cancelled after every number of turns: nothing is lost, and no descriptor stays. */
OPEN_TEST(callers_leave_at_any_moment)
{
	char *bytes = calloc(1, 1000);

	for (int turns = 0; turns < 40; turns++) {
		struct task *t = spawn(append_thrice, bytes);
		for (int i = 0; i < turns; i++)
			ck_assert_int_eq(i % 4 == 3 ? task_sleep_ms(1) : task_yield(), 0);
		task_cancel(t);
		int r = task_await(&t, DEADLINE_NEVER);
		ck_assert_msg(r == 0 || r == -ECANCELED, "%d", r);
		ck_assert(files_driver.client_idle(f.client));
	}
	free(bytes);
}

/* A deadline that passes while the disk hangs: the caller's bytes may go at once, and the file is closed. */
OPEN_TEST(a_disk_that_hangs_keeps_nobody)
{
	struct open_file *file = opened("x", OPEN_WRITE);
	char *bytes = malloc(1000);
	struct error e;

	hang();
	memset(bytes, 'x', 1000);
	deadline_t before = deadline_push(deadline_in_ms(30));
	ck_assert_int_eq(open_file_write(file, bytes, 1000, &e), -ETIMEDOUT);
	deadline_pop(before);
	ck_assert_int_eq(e.status, 504);
	free(bytes);
	ck_assert_int_eq(open_file_close(file, true, &e), -EBADF);
	ck_assert_int_eq(e.errnum, -EBADF);
	open_file_free(file);
	go_on();
}

OPEN_TEST(a_full_queue_is_an_answer)
{
	struct open_file *file = opened("x", OPEN_WRITE), *other = opened("y", OPEN_WRITE);
	struct error e;

	hang();
	ck_assert_int_eq(task_sleep_ms(20), 0);
	for (int i = 0; i < 8; i++) {
		struct job *j = mem_zalloc(sizeof(*j));
		j->run = wait_at_gate;
		j->free = free_plain;
		int r = executor_submit(f.executor, j);
		ck_assert_int_eq(r, 0);
	}
	ck_assert_int_eq(open_file_write(file, "x", 1, &e), -EBUSY);
	ck_assert_int_eq(e.status, 503);
	open_file_free(file);
	open_file_free(other); /* closed here: there is no room for a job */
	for (int i = 0; i < 9; i++)
		go_on();
}

OPEN_TEST(what_may_not_be_written)
{
	struct open_file *file = NULL;
	struct result *result = NULL;
	struct value text = value_string("x", 1);
	struct error e = ERROR_INIT;

	f.keys.write = false;
	ck_assert_int_eq(open_file_new(&file, f.client, "x", OPEN_WRITE, &f.options, &e), -EPERM);
	ck_assert_int_eq(e.status, 500);
	ck_assert_ptr_nonnull(strstr(e.what, "write: true"));
	ck_assert_int_eq(files_run(f.client, ACTION_WRITE, "x", &text, &f.options, &result, &e), -EPERM);
	ck_assert_int_eq(open_file_new(&file, f.client, "a\xff", OPEN_READ, &f.options, &e), -EINVAL);
	ck_assert_int_eq(open_file_new(&file, f.client, "a/../../b", OPEN_READ, &f.options, &e), -ENOENT);
	ck_assert_int_eq(e.status, 404);
}

int main(void)
{
	Suite *s = suite_create("open files");
	TCase *c = async_tcase(s, "open");

	tcase_add_test(c, large_pieces);
	tcase_add_test(c, callers_leave_at_any_moment);
	tcase_add_test(c, a_disk_that_hangs_keeps_nobody);
	tcase_add_test(c, a_full_queue_is_an_answer);
	tcase_add_test(c, what_may_not_be_written);
	return run_suite(s);
}

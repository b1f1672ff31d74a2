/* Uploads on a scripted server: whatever happens on the way, a file is whole or what was sent of it is removed. */
#include "drivers/mongo/calls/gridfs.h"
#include "tests/unit/drivers/mongo/mongo_values.h"

enum { PATIENCE_US = 60000000, SIZE = 2 * GRIDFS_CHUNK_BYTES + 10 };

/* What the server was asked. */
struct seen {
	pthread_mutex_t lock;
	int chunks, files, indexes;
	int removed_chunks, removed_files;
	int refuse; /* the n-th insert, from 1; 0: none */
};

static struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static enum script count_insert(bool chunk, bson_t *reply)
{
	int *count = chunk ? &seen.chunks : &seen.files;

	++*count;
	if (seen.chunks + seen.files != seen.refuse)
		return SCRIPT_NOTHING;
	say_error(reply, 13);
	return SCRIPT_ANSWER;
}

static enum script look(struct server *s, const char *name, const bson_t *command, bson_t *reply)
{
	enum script what = SCRIPT_NOTHING;
	bson_iter_t i;

	(void)s;
	bson_iter_init(&i, command);
	bson_iter_next(&i);
	bool chunk = BSON_ITER_HOLDS_UTF8(&i) && strcmp(bson_iter_utf8(&i, NULL), "b.chunks") == 0;
	pthread_mutex_lock(&seen.lock);
	if (strcmp(name, "insert") == 0) {
		what = count_insert(chunk, reply);
	} else if (strcmp(name, "delete") == 0) {
		seen.removed_chunks += chunk;
		seen.removed_files += !chunk;
	} else if (strcmp(name, "find") == 0) {
		say_batch(reply, "firstBatch", "b.files", 0, 0, 0);
		what = SCRIPT_ANSWER;
	} else if (strcmp(name, "createIndexes") == 0) {
		seen.indexes++;
		what = SCRIPT_ANSWER;
	}
	pthread_mutex_unlock(&seen.lock);
	return what;
}

static void forget(struct fixture *f)
{
	f->server.script = look;
	pthread_mutex_lock(&seen.lock);
	seen.chunks = seen.files = seen.indexes = seen.removed_chunks = seen.removed_files = seen.refuse = 0;
	pthread_mutex_unlock(&seen.lock);
}

struct one_upload {
	struct fixture *f;
	struct error error;
	bool finish, done;
};

static int run_upload(void *arg)
{
	static char bytes[SIZE];
	struct one_upload *o = arg;
	struct mongo_gridfs_upload u;
	struct result *out;

	o->error = ERROR_INIT;
	int r = mongo_gridfs_create(&u, target(o->f, NULL, PATIENCE_US), "b", "name", NULL, &o->error);
	if (r == 0) {
		r = mongo_gridfs_write(&u, bytes, SIZE, &o->error);
		if (r == 0 && o->finish)
			r = mongo_gridfs_finish(&u, &out, &o->error);
		if (r == 0 && o->finish)
			result_free(out);
		mongo_gridfs_upload_done(&u);
	}
	o->done = true;
	return r;
}

static void check_nothing_left(const char *when, int n)
{
	ck_assert_msg(seen.chunks + seen.files == 0 || (seen.removed_chunks == 1 && seen.removed_files == 1),
		      "%s %d: %d chunks, %d files, removed %d and %d", when, n, seen.chunks, seen.files,
		      seen.removed_chunks, seen.removed_files);
}

MONGO_TEST(whole)
{
	struct one_upload o = {.f = f, .finish = true};

	forget(f);
	ck_assert_int_eq(run_upload(&o), 0);
	ck_assert_int_eq(seen.indexes, 2);
	ck_assert_int_eq(seen.chunks, 3);
	ck_assert_int_eq(seen.files, 1);
	ck_assert_int_eq(seen.removed_chunks + seen.removed_files, 0);
}

MONGO_TEST(not_finished)
{
	struct one_upload o = {.f = f};

	forget(f);
	ck_assert_int_eq(run_upload(&o), 0);
	ck_assert_int_eq(seen.chunks, 2);
	ck_assert_int_eq(seen.files, 0);
	check_nothing_left("not finished", 0);
}

MONGO_TEST(each_insert_fails)
{
	struct one_upload o = {.f = f, .finish = true};

	for (int n = 1; n <= 4; n++) {
		forget(f);
		seen.refuse = n;
		int r = run_upload(&o);
		check_error(&o.error, r);
		check_nothing_left("refused", n);
	}
}

MONGO_TEST(cancel_at_each_suspension)
{
	struct one_upload o = {.f = f, .finish = true};
	int canceled = 0, n = 0, r;

	for (bool finished = false; !finished; n += n > 60 ? n / 20 : 1) {
		forget(f);
		o.done = false;
		finished = cancel_in_turn(n, run_upload, &o, &o.done, &r);
		ck_assert_msg(r == 0 || r == -ECANCELED, "%d: %d %s", n, r, o.error.what);
		if (r < 0)
			check_nothing_left("cancelled at", n);
		canceled += r < 0;
		await_idle(f);
	}
	ck_assert_int_ge(canceled, 5);
}

int main(void)
{
	Suite *s = suite_create("mongo gridfs");
	TCase *c = async_tcase(s, "uploads");

	tcase_add_test(c, whole);
	tcase_add_test(c, not_finished);
	tcase_add_test(c, each_insert_fails);
	tcase_add_test(c, cancel_at_each_suspension);
	return run_suite(s);
}

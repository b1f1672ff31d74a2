/* Reads that are made at run time, and streams of documents on a scripted server: batches, what is held and given back,
 * whatever happens on the way. */
#include "drivers/mongo/bson/follow.h"
#include "drivers/mongo/calls/cursor.h"
#include "drivers/mongo/driver.h"
#include "drivers/mongo/keys.h"
#include "tests/unit/drivers/mongo/mongo_values.h"

enum { PATIENCE_US = 60000000 };

/* --- whole results --- */

typedef int read_fn(const struct mongo_target *t, const struct value *what, const struct value *options,
		    struct result **out, struct error *e);

static const char *read_with(struct fixture *f, read_fn *read, const char *collection, const struct value *what,
			     const char *options)
{
	struct result *r = NULL;
	struct error e = ERROR_INIT;
	return told(f, read(target(f, collection, PATIENCE_US), what, made(f, options), &r, &e), &r, &e);
}

static const char *find(struct fixture *f, const char *collection, const char *filter, const char *options)
{
	return read_with(f, mongo_find, collection, made(f, filter), options);
}

static const char *aggregate(struct fixture *f, const char *collection, const char *pipeline, const char *options)
{
	return read_with(f, mongo_aggregate, collection, made(f, pipeline), options);
}

static const char *distinct(struct fixture *f, const char *collection, const char *field, const char *filter)
{
	struct result *r = NULL;
	struct error e = ERROR_INIT;
	return told(f, mongo_distinct(target(f, collection, PATIENCE_US), field, made(f, filter), &r, &e), &r, &e);
}

MONGO_TEST(reads)
{
	ck_assert_str_eq(find(f, "docs_3", "{}", NULL), "[{\"n\":0},{\"n\":1},{\"n\":2}]");
	ck_assert_str_eq(find(f, "many_2_2", "{}", NULL), "[{\"n\":0},{\"n\":1},{\"n\":0},{\"n\":1}]");
	ck_contains(
		find(f, "echo", "{'a':'~x','b':{'$gt':'~$3'}}",
		     "{'projection':{'a':1},'sort':{'b':-1,'a':1},'skip':2,'limit':5,'batch_size':7,'hint':'b_1',"
		     "'collation':{'locale':'de'},'allow_disk_use':true,'comment':'why'}"),
		"[{\"find\":\"echo\",\"filter\":{\"a\":\"x\",\"b\":{\"$gt\":\"$3\"}},\"projection\":{\"a\":1},"
		"\"sort\":{\"b\":-1,\"a\":1},\"hint\":\"b_1\",\"collation\":{\"locale\":\"de\"},\"allowDiskUse\":true,"
		"\"comment\":\"why\",\"skip\":2,\"limit\":5,\"batchSize\":7,\"maxTimeMS\":");
	ck_assert_str_eq(read_with(f, mongo_find_one, "docs_1", made(f, "{}"), NULL), "{\"n\":0}");
	ck_assert_str_eq(read_with(f, mongo_find_one, "docs_0", made(f, "{}"), NULL), "null");
	ck_contains(read_with(f, mongo_find_one, "echo", made(f, "{}"), "{'limit':null}"),
		    "\"limit\":1,\"singleBatch\":true,");
	ck_assert_str_eq(aggregate(f, "docs_2", "[]", NULL), "[{\"n\":0},{\"n\":1}]");
	ck_contains(aggregate(f, "echo", "[{'$match':{'a':'~$x'}},{'$set':{'b':'~$y','c':'$z'}}]", "{'batch_size':3}"),
		    "\"pipeline\":[{\"$match\":{\"a\":\"$x\"}},{\"$set\":{\"b\":{\"$literal\":\"$y\"},\"c\":\"$z\"}}],"
		    "\"cursor\":{\"batchSize\":3},\"maxTimeMS\":");
	ck_assert_str_eq(read_with(f, mongo_count, "c", made(f, "{}"), NULL), "41");
	ck_assert_str_eq(read_with(f, mongo_count, "docs_0", made(f, "{'a':1}"), NULL), "0");
	ck_assert_str_eq(read_with(f, mongo_count, "docs_0", made(f, "{'a':1}"), "{'limit':5,'skip':1}"), "0");
	ck_assert_str_eq(distinct(f, "docs_1", "a", "{}"), "[\"a\",2]");
	/* 0 is none, as it is in a step. */
	ck_assert_str_eq(find(f, "docs_3", "{}", "{'limit':0}"), "[]");
	ck_assert_str_eq(read_with(f, mongo_find_one, "docs_3", made(f, "{}"), "{'limit':0}"), "null");
	ck_assert_str_eq(read_with(f, mongo_count, "docs_3", made(f, "{'a':1}"), "{'limit':0}"), "0");
}

MONGO_TEST(mistakes)
{
	ck_assert_str_eq(find(f, "docs_1", "{}", NULL), "[{\"n\":0}]");
	int before = atomic_load(&f->server.finds);
	ck_contains(find(f, "", "{}", NULL), "! 500 : the collection has no name");
	ck_contains(find(f, "c", NULL, NULL), "the filter: it is null");
	ck_contains(find(f, "c", "[]", NULL), "the filter: it is not a document");
	ck_contains(find(f, "c", "{}", "{'sorted':{}}"), "did you mean \"sort\"?");
	ck_contains(find(f, "c", "{}", "{'batchSize':1}"), "did you mean \"batch_size\"?");
	ck_contains(find(f, "c", "{}", "{'xyz':1}"), "there is no \"xyz\" here, only projection, sort, limit, skip");
	ck_contains(find(f, "c", "{}", "{'limit':-1}"), "! 500 : the options: limit is not an integer of 0 or more");
	ck_contains(find(f, "c", "{}", "{'limit':'~x'}"), "! 400 : the options: limit is not");
	ck_contains(find(f, "c", "{}", "{'sort':1}"), "sort: it is not a document");
	ck_contains(aggregate(f, "c", "{}", NULL), "the pipeline: it is not a list");
	ck_contains(aggregate(f, "c", "[{'match':{}}]", NULL), "stage 0 is not a document with one operator");
	ck_contains(aggregate(f, "c", "[{}]", NULL), "stage 0 is not a document");
	ck_contains(distinct(f, "c", "", "{}"), "the field has no name");
	ck_contains(read_with(f, mongo_aggregate, "c", sent(f, "[{'$match':{}}]", true), NULL), "! 400");
	/* One stage of the handler's own list that a request brought. */
	struct value stages[] = {*made(f, "{'$match':{}}"), *sent(f, "{'$match':{}}", true)};
	struct value pipeline = {.kind = VALUE_LIST, .count = ARRAY_SIZE(stages), .list = stages};
	ck_contains(read_with(f, mongo_aggregate, "c", &pipeline, NULL), "! 400 : the pipeline: stage 1 is not");
	ck_contains(read_with(f, mongo_find, "c", sent(f, "{'a':1}", false), NULL), "! 400");
	ck_contains(read_with(f, mongo_find, "c", sent(f, "{'a':{'$ne':1}}", true), NULL), "! 400");
	ck_contains(find(f, "c", "{'$expr':{'$function':{'body':'~x'}}}", NULL), "! 500 : the filter: body: no value");
	ck_assert_int_eq(atomic_load(&f->server.finds), before);
}

/* A pipeline that writes is a write. */
MONGO_TEST(pipelines_that_write)
{
	ck_contains(aggregate(f, "error_50", "[{'$out':'x'}]", NULL), "may or may not have happened");
	int before = atomic_load(&f->server.finds);
	atomic_store(&f->server.not_primary, true);
	ck_contains(aggregate(f, "docs_1", "[{'$merge':{'into':'x'}}]", NULL), "! 503 10107");
	ck_assert_int_eq(atomic_load(&f->server.finds), before + 1);
	/* A read is asked again. */
	ck_contains(aggregate(f, "docs_1", "[]", NULL), "! 503 10107");
	ck_assert_int_eq(atomic_load(&f->server.finds), before + 3);
}

/* --- streams --- */

static int open_find(struct fixture *f, struct mongo_cursor *c, const char *collection, const char *options,
		     struct error *e)
{
	*e = ERROR_INIT;
	return mongo_cursor_find(c, target(f, collection, PATIENCE_US), made(f, "{}"), made(f, options), e);
}

/* All of them. Returns how many, or -errno. */
static int drain(struct mongo_cursor *c, struct error *e)
{
	struct mongo_element document;
	int r, n = 0;

	while ((r = mongo_cursor_next(c, &document, e)) > 0) {
		ck_assert_int_eq(document.type, BSON_TYPE_DOCUMENT);
		n++;
	}
	return r < 0 ? r : n;
}

MONGO_TEST(a_stream_has_them_all_in_order)
{
	struct mongo_cursor c;
	struct error e;
	struct mongo_element document;
	struct path_segment way[] = {{.kind = PATH_MEMBER, .name = "n", .name_len = 1}};

	ck_assert_int_eq(open_find(f, &c, "many_3_4", NULL, &e), 0);
	for (int i = 0; i < 12; i++) {
		ck_assert_int_eq(mongo_cursor_next(&c, &document, &e), 1);
		ck_assert_int_eq(mongo_follow(&document, MONGO_JSON_PLAIN, way, 1, &f->arena).integer, i % 3);
	}
	/* The last batch is here: its connection is free before it is read. */
	await_idle(f);
	ck_assert_int_eq(mongo_cursor_next(&c, &document, &e), 0);
	ck_assert_int_eq(mongo_cursor_next(&c, &document, &e), 0);
	mongo_cursor_close(&c);
	mongo_cursor_close(&c);
	ck_assert_int_eq(atomic_load(&f->server.get_mores), 3);
	ck_assert_int_eq(atomic_load(&f->server.killed), 0);
	ck_assert_int_eq(atomic_load(&f->server.other_session), 0);
	ck_assert_int_eq(open_find(f, &c, "docs_0", NULL, &e), 0);
	ck_assert_int_eq(drain(&c, &e), 0);
	mongo_cursor_close(&c);
	ck_assert_int_eq(open_find(f, &c, "docs_5", "{'limit':0}", &e), 0);
	ck_assert_int_eq(drain(&c, &e), 0);
	mongo_cursor_close(&c);
}

/* The first batch is small; the server's time is not bounded over the whole life of a cursor. */
MONGO_TEST(batches_have_a_size)
{
	struct mongo_cursor c;
	struct error e;
	struct mongo_element document;

	ck_assert_int_eq(open_find(f, &c, "echo", "{'sort':{'a':1}}", &e), 0);
	ck_assert_int_eq(mongo_cursor_next(&c, &document, &e), 1);
	struct buf json = BUF_INIT;
	struct value v = mongo_follow(&document, MONGO_JSON_PLAIN, NULL, 0, &f->arena);
	value_render(&v, &json);
	ck_contains(buf_cstr(&json), "\"sort\":{\"a\":1},\"batchSize\":32,");
	ck_assert_ptr_null(strstr(json.data, "maxTimeMS"));
	buf_done(&json);
	mongo_cursor_close(&c);
	ck_assert_int_eq(open_find(f, &c, "many_2_3", NULL, &e), 0);
	ck_assert_int_eq(drain(&c, &e), 6);
	ck_assert_int_eq(atomic_load(&f->server.last_batch_size), 256);
	mongo_cursor_close(&c);
	ck_assert_int_eq(open_find(f, &c, "many_2_3", "{'batch_size':1000}", &e), 0);
	ck_assert_int_eq(drain(&c, &e), 6);
	ck_assert_int_eq(atomic_load(&f->server.last_batch_size), 1000);
	mongo_cursor_close(&c);
}

MONGO_TEST(a_stream_that_is_closed_early_is_forgotten)
{
	struct mongo_cursor c;
	struct error e;
	struct mongo_element document;

	ck_assert_int_eq(open_find(f, &c, "many_3_4", NULL, &e), 0);
	ck_assert_int_eq(mongo_cursor_next(&c, &document, &e), 1);
	ck_assert(!mongo_driver.client_idle(f->client));
	mongo_cursor_close(&c);
	ck_assert(mongo_driver.client_idle(f->client));
	ck_assert_int_eq(atomic_load(&f->server.killed), 1);
	ck_assert_int_eq(atomic_load(&f->server.other_session), 0);
	ck_assert_uint_eq(server_accepted(&f->server), 1);
	ck_assert_int_eq(mongo_cursor_next(&c, &document, &e), 0);
	ck_assert_int_eq(open_find(f, &c, "error_13", NULL, &e), -EPROTO);
	ck_assert_int_eq(e.status, 500);
	ck_assert_int_eq(mongo_cursor_aggregate(&c, target(f, "c", 0), made(f, "[{'$out':'x'}]"), NULL, &e), -EINVAL);
	ck_contains(e.what, "$out and $merge");
	ck_assert_int_eq(mongo_cursor_aggregate(&c, target(f, "docs_2", 0), made(f, "[]"), NULL, &e), 0);
	ck_assert_int_eq(drain(&c, &e), 2);
	mongo_cursor_close(&c);
}

#if defined(__SANITIZE_ADDRESS__)
enum {
	READ = 300000,
	GROWTH_KIB = 1 << 20
}; /* what is freed is kept for a while: only that all of it is freed is seen */
#else
enum { READ = 3000000, GROWTH_KIB = 8192 }; /* 60 MB of documents */
#endif

MONGO_TEST(memory_does_not_grow)
{
	struct mongo_cursor c;
	struct error e;
	struct mongo_element document;
	long before = 0;

	ck_assert_int_eq(open_find(f, &c, "endless", NULL, &e), 0);
	for (int i = 0; i < READ; i++) {
		ck_assert_int_eq(mongo_cursor_next(&c, &document, &e), 1);
		if (i == READ / 10)
			before = resident_kib();
	}
	ck_assert_int_lt(resident_kib() - before, GROWTH_KIB);
	mongo_cursor_close(&c);
	ck_assert_int_eq(atomic_load(&f->server.killed), 1);
}

MONGO_TEST(time_runs_out_between_batches)
{
	struct mongo_cursor c;
	struct error e = ERROR_INIT;

	ck_assert(await_ready(f, 1000));
	ck_assert_int_eq(mongo_cursor_find(&c, target(f, "stuck_2", 50000), made(f, "{}"), NULL, &e), 0);
	ck_assert_int_eq(drain(&c, &e), -ETIMEDOUT);
	ck_assert_int_eq(e.status, 504);
	ck_assert(mongo_driver.client_idle(f->client));
	mongo_cursor_close(&c);
	ck_assert_int_eq(mongo_cursor_find(&c, target(f, "hang", 50000), made(f, "{}"), NULL, &e), -ETIMEDOUT);
	deadline_t before = deadline_push(deadline_in_ms(60));
	ck_assert_int_eq(mongo_cursor_find(&c, target(f, "stuck_2", 0), made(f, "{}"), NULL, &e), 0);
	ck_assert_int_eq(drain(&c, &e), -ETIMEDOUT);
	deadline_pop(before);
	mongo_cursor_close(&c);
}

/* --- whatever happens on the way --- */

static void sweep_bytes(struct fixture *f, atomic_long *where)
{
	struct mongo_cursor c;
	struct error e;
	int whole = 0, broken = 0;
	long n = 0;

	for (bool cut = true; cut; n++) {
		cut_begin(f, where, n);
		int r = open_find(f, &c, "many_2_3", NULL, &e);
		if (r == 0)
			r = drain(&c, &e);
		cut = cut_end(f, where);
		if (r < 0)
			check_error(&e, r);
		ck_assert_msg(r == 6 || e.status == 502 || e.status == 503, "after byte %ld: %d %s", n, r, e.what);
		whole += r == 6;
		broken += r < 0;
		mongo_cursor_close(&c);
		await_idle(f);
	}
	ck_assert_int_gt(whole, 100);
	ck_assert_int_gt(broken, 50);
}

MONGO_TEST(cut_after_each_byte_of_the_answers)
{
	sweep_bytes(f, &f->server.cut_after);
}

MONGO_TEST(cut_after_each_byte_of_the_requests)
{
	sweep_bytes(f, &f->server.cut_requests);
}

struct one_stream {
	struct fixture *f;
	struct error error;
	bool whole; /* read to the end, or closed early */
	bool done;
};

static int read_stream(void *arg)
{
	struct one_stream *o = arg;
	struct mongo_cursor c;
	struct mongo_element document;
	int r = open_find(o->f, &c, "many_2_3", NULL, &o->error);

	if (r == 0) {
		r = o->whole ? drain(&c, &o->error) : mongo_cursor_next(&c, &document, &o->error);
		mongo_cursor_close(&c);
	}
	o->done = true;
	return r;
}

static void sweep_cancellation(struct fixture *f, bool warm, bool whole)
{
	struct one_stream o = {.f = f, .whole = whole};
	int canceled = 0, n = 0, r;

	for (bool finished = false; !finished; n += n > 60 ? n / 20 : 1) {
		if (warm)
			ck_assert_str_eq(find(f, "docs_1", "{}", NULL), "[{\"n\":0}]");
		else
			lose_connections(f);
		o.done = false;
		finished = cancel_in_turn(n, read_stream, &o, &o.done, &r);
		ck_assert_msg(r > 0 || r == -ECANCELED, "%d: %d %s", n, r, o.error.what);
		canceled += r == -ECANCELED;
		await_idle(f);
	}
	ck_assert_int_ge(canceled, whole ? 2 : 1);
	ck_assert_str_eq(find(f, "docs_1", "{}", NULL), "[{\"n\":0}]");
}

MONGO_TEST(cancel_at_each_suspension)
{
	sweep_cancellation(f, true, true);
	sweep_cancellation(f, true, false);
}

MONGO_TEST(cancel_at_each_suspension_while_connecting)
{
	sweep_cancellation(f, false, true);
}

/* The source is closed under a stream that somebody still reads. */
static int read_slowly(void *arg)
{
	struct one_stream *o = arg;
	struct mongo_cursor c;
	struct mongo_element document;
	int r = open_find(o->f, &c, "endless", NULL, &o->error);

	ck_assert_int_eq(r, 0);
	while ((r = mongo_cursor_next(&c, &document, &o->error)) > 0 && task_yield() == 0)
		;
	mongo_cursor_close(&c);
	return r;
}

static int closed_under_a_stream_main(void *arg)
{
	struct fixture *f = arg;
	struct one_stream o = {.f = f};

	fixture_open(f);
	struct task *t = spawn(read_slowly, &o);
	while (atomic_load(&f->server.get_mores) == 0)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	mongo_driver.client_close(f->client);
	ck_assert_int_lt(join(t), 0);
	mongo_driver.source_free(f->source);
	return 0;
}

MONGO_MAIN_TEST(closed_under_a_stream, closed_under_a_stream_main)

int main(void)
{
	Suite *s = suite_create("mongo cursor");
	TCase *c = async_tcase(s, "cursors");

	tcase_add_test(c, reads);
	tcase_add_test(c, mistakes);
	tcase_add_test(c, pipelines_that_write);
	tcase_add_test(c, a_stream_has_them_all_in_order);
	tcase_add_test(c, batches_have_a_size);
	tcase_add_test(c, a_stream_that_is_closed_early_is_forgotten);
	tcase_add_test(c, memory_does_not_grow);
	tcase_add_test(c, time_runs_out_between_batches);
	tcase_add_test(c, cut_after_each_byte_of_the_answers);
	tcase_add_test(c, cut_after_each_byte_of_the_requests);
	tcase_add_test(c, cancel_at_each_suspension);
	tcase_add_test(c, cancel_at_each_suspension_while_connecting);
	tcase_add_test(c, closed_under_a_stream);
	return run_suite(s);
}

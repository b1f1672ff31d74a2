/* Change streams on a scripted server that keeps a list of changes: where a stream begins, waits, and goes on. */
#include "drivers/mongo/calls/transaction.h"
#include "drivers/mongo/calls/watch.h"
#include "drivers/mongo/driver.h"
#include "drivers/mongo/keys.h"
#include "tests/unit/drivers/mongo/mongo_values.h"

enum { PATIENCE_US = 60000000, TOKENS_OF_BATCHES = 100000 };

/* What happened: changes 1 to `count`, each with the token {t: number}; that of a batch is more than
 * all of theirs. */
struct history {
	pthread_mutex_t lock;
	int count;
	int at;        /* of the only cursor: the last one it has handed out */
	int64_t id;    /* its; counted up */
	int batch;     /* changes in one */
	bool tokens;   /* postBatchResumeToken */
	bool nameless; /* changes have no _id */
	int dropped;   /* after that one there is an end; 0: none */
	unsigned starts, asked, closed, refuse_starts;
	char first[512], last[512]; /* how it was started; without lsid */
	int64_t await_ms;
	int code; /* the next getMore fails with it; -1: the connection is cut */
	const char *label;
};

static void describe(const bson_t *command, char *out, size_t size)
{
	bson_t shown = BSON_INITIALIZER;

	bson_copy_to_excluding_noinit(command, &shown, "lsid", "$db", "$readPreference", NULL);
	char *json = bson_as_relaxed_extended_json(&shown, NULL);
	snprintf(out, size, "%s", json);
	bson_free(json);
	bson_destroy(&shown);
}

static void put_token(bson_t *to, const char *name, int number)
{
	bson_t token;

	bson_append_document_begin(to, name, -1, &token);
	BSON_APPEND_INT32(&token, "t", number);
	bson_append_document_end(to, &token);
}

static void put_batch(struct history *h, bson_t *reply, const char *name, int most)
{
	bson_t cursor, list, change;
	char key[16];
	int until = h->at + most < h->count ? h->at + most : h->count;
	bool over = h->dropped && until >= h->dropped;

	BSON_APPEND_DOCUMENT_BEGIN(reply, "cursor", &cursor);
	BSON_APPEND_INT64(&cursor, "id", over ? 0 : h->id);
	BSON_APPEND_UTF8(&cursor, "ns", "catalog.things");
	BSON_APPEND_ARRAY_BEGIN(&cursor, name, &list);
	for (int i = 0; h->at < until; i++) {
		snprintf(key, sizeof(key), "%d", i);
		BSON_APPEND_DOCUMENT_BEGIN(&list, key, &change);
		h->at++;
		if (!h->nameless)
			put_token(&change, "_id", h->at);
		BSON_APPEND_INT32(&change, "n", h->at);
		bson_append_document_end(&list, &change);
	}
	bson_append_array_end(&cursor, &list);
	if (h->tokens)
		put_token(&cursor, "postBatchResumeToken", h->at + TOKENS_OF_BATCHES);
	bson_append_document_end(reply, &cursor);
	BSON_APPEND_TIMESTAMP(reply, "operationTime", 7, (uint32_t)h->at);
}

/* Where the stream is to begin. */
static int beginning(const struct history *h, const bson_t *command)
{
	static const char *const ways[] = {"resumeAfter.t", "startAfter.t"};
	char path[80];
	bson_iter_t i, found;

	for (size_t w = 0; w < ARRAY_SIZE(ways); w++) {
		snprintf(path, sizeof(path), "pipeline.0.$changeStream.%s", ways[w]);
		if (bson_iter_init(&i, command) && bson_iter_find_descendant(&i, path, &found))
			return bson_iter_int32(&found) % TOKENS_OF_BATCHES;
	}
	if (bson_iter_init(&i, command) &&
	    bson_iter_find_descendant(&i, "pipeline.0.$changeStream.startAtOperationTime", &found)) {
		uint32_t seconds, n;
		bson_iter_timestamp(&found, &seconds, &n);
		return (int)n;
	}
	return h->count;
}

static enum script start(struct history *h, const bson_t *command, bson_t *reply)
{
	describe(command, h->starts++ ? h->last : h->first, sizeof(h->last));
	if (h->refuse_starts) {
		h->refuse_starts--;
		say_error(reply, 10107);
		return SCRIPT_ANSWER;
	}
	h->at = beginning(h, command);
	h->id++;
	put_batch(h, reply, "firstBatch", 0);
	return SCRIPT_ANSWER;
}

static enum script go_on(struct history *h, const bson_t *command, bson_t *reply)
{
	bson_iter_t i;

	ck_assert(bson_iter_init_find(&i, command, "maxTimeMS"));
	h->await_ms = bson_iter_as_int64(&i);
	h->asked++;
	if (h->code) {
		int code = h->code;
		h->code = 0;
		if (code < 0)
			return SCRIPT_CUT;
		say_error(reply, code);
		if (h->label) {
			bson_t list;
			BSON_APPEND_ARRAY_BEGIN(reply, "errorLabels", &list);
			BSON_APPEND_UTF8(&list, "0", h->label);
			bson_append_array_end(reply, &list);
		}
		return SCRIPT_ANSWER;
	}
	/* It waits for something to happen. */
	for (int64_t ms = 0; ms < h->await_ms && h->at == h->count && h->id > 0; ms++) {
		pthread_mutex_unlock(&h->lock);
		usleep(1000);
		pthread_mutex_lock(&h->lock);
	}
	put_batch(h, reply, "nextBatch", h->batch);
	return SCRIPT_ANSWER;
}

static enum script look(struct server *s, const char *name, const bson_t *command, bson_t *reply)
{
	struct history *h = s->script_state;
	enum script what = SCRIPT_NOTHING;

	pthread_mutex_lock(&h->lock);
	if (strcmp(name, "aggregate") == 0)
		what = start(h, command, reply);
	else if (strcmp(name, "getMore") == 0)
		what = go_on(h, command, reply);
	else if (strcmp(name, "killCursors") == 0)
		h->closed++;
	pthread_mutex_unlock(&h->lock);
	return what;
}

static void happen(struct fixture *f, int n)
{
	struct history *h = f->server.script_state;

	pthread_mutex_lock(&h->lock);
	h->count += n;
	pthread_mutex_unlock(&h->lock);
}

/* The server's threads may look at it for as long as they live. */
static struct history history = {.lock = PTHREAD_MUTEX_INITIALIZER, .batch = 2};

#define WATCH_TEST(name)                                                                                               \
	static void name##_of(struct fixture *f, struct history *h);                                                   \
	MONGO_TEST(name)                                                                                               \
	{                                                                                                              \
		f->server.script_state = &history;                                                                     \
		f->server.script = look;                                                                               \
		name##_of(f, &history);                                                                                \
		await_idle(f);                                                                                         \
	}                                                                                                              \
	static void name##_of(struct fixture *f, struct history *h)

static int watch(struct fixture *f, struct mongo_watch *w, const char *collection, const char *pipeline,
		 const char *options, struct error *e)
{
	*e = ERROR_INIT;
	return mongo_watch(w, target(f, collection, PATIENCE_US), made(f, pipeline), made(f, options), e);
}

/* The number of the change that comes, or -errno; 0: the end. */
static int next(struct mongo_watch *w, struct error *e)
{
	struct mongo_element change;
	int r = mongo_watch_next(w, &change, e);

	if (r <= 0)
		return r;
	struct mongo_element n = mongo_element_find(change.value, change.len, "n", 1);
	return (int)mongo_element_integer(&n, -1);
}

WATCH_TEST(what_happens_comes_in_order)
{
	struct mongo_watch w;
	struct error e;

	happen(f, 3);
	ck_assert_int_eq(watch(f, &w, "things", "[{'$match':{'a':'~$x'}},{'$set':{'b':1}}]",
			       "{'full_document':'updateLookup','batch_size':7}", &e),
			 0);
	ck_assert_str_eq(h->first, "{ \"aggregate\" : \"things\", \"pipeline\" : [ { \"$changeStream\" : { "
				   "\"fullDocument\" : \"updateLookup\" } }, { \"$match\" : { \"a\" : \"$x\" } }, "
				   "{ \"$set\" : { \"b\" : 1 } } ], \"cursor\" : { \"batchSize\" : 7 } }");
	happen(f, 5);
	for (int i = 4; i <= 8; i++)
		ck_assert_int_eq(next(&w, &e), i);
	ck_assert(!mongo_driver.client_idle(f->client));
	mongo_watch_close(&w);
	mongo_watch_close(&w);
	ck_assert(mongo_driver.client_idle(f->client));
	ck_assert_uint_eq(h->closed, 1);
	ck_assert_uint_eq(server_accepted(&f->server), 1);
}

WATCH_TEST(a_database)
{
	struct mongo_watch w;
	struct error e;

	ck_assert_int_eq(watch(f, &w, NULL, NULL, NULL, &e), 0);
	ck_assert_str_eq(h->first,
			 "{ \"aggregate\" : 1, \"pipeline\" : [ { \"$changeStream\" : {  } } ], \"cursor\" : {  } }");
	mongo_watch_close(&w);
}

WATCH_TEST(mistakes)
{
	struct mongo_watch w;
	struct error e;

	ck_assert_int_eq(watch(f, &w, "", NULL, NULL, &e), -EINVAL);
	ck_assert_int_eq(watch(f, &w, "c", "{}", NULL, &e), -EINVAL);
	ck_contains(e.what, "the pipeline: it is not a list");
	ck_assert_int_eq(watch(f, &w, "c", "[{'$out':'x'}]", NULL, &e), -EINVAL);
	ck_assert_int_eq(watch(f, &w, "c", NULL, "{'fullDocument':'x'}", &e), -EINVAL);
	ck_contains(e.what, "did you mean \"full_document\"?");
	ck_assert_int_eq(watch(f, &w, "c", NULL, "{'resume_after':'x'}", &e), -EINVAL);
	ck_contains(e.what, "resume_after: it is not a document");
	ck_assert_uint_eq(h->starts, 0);
	h->refuse_starts = 2;
	ck_assert_int_eq(watch(f, &w, "c", NULL, NULL, &e), -EHOSTUNREACH);
	check_error(&e, -EHOSTUNREACH);
}

WATCH_TEST(an_end)
{
	struct mongo_watch w;
	struct error e;

	h->dropped = 2;
	ck_assert_int_eq(watch(f, &w, "things", NULL, NULL, &e), 0);
	happen(f, 2);
	ck_assert_int_eq(next(&w, &e), 1);
	ck_assert(mongo_driver.client_idle(f->client));
	ck_assert_int_eq(next(&w, &e), 2);
	ck_assert_int_eq(next(&w, &e), 0);
	ck_assert_int_eq(next(&w, &e), 0);
	mongo_watch_close(&w);
	ck_assert_uint_eq(h->closed, 0);
}

/* --- waiting --- */

/* Its last question before the deadline has little time. On a machine that is busy the answer may come too late; then
 * the watch has asked anew, and there is nothing to see. */
static bool waits_undisturbed(struct fixture *f, struct history *h)
{
	struct mongo_watch w;
	struct error e;

	h->starts = h->asked = 0;
	ck_assert_int_eq(watch(f, &w, "things", NULL, NULL, &e), 0);
	deadline_t before = deadline_push(deadline_in_ms(3000));
	ck_assert_int_eq(next(&w, &e), -ETIMEDOUT);
	deadline_pop(before);
	check_error(&e, -ETIMEDOUT);
	ck_assert_int_le(h->await_ms, 1500);
	bool undisturbed = h->starts == 1;
	if (undisturbed) {
		ck_assert_uint_lt(h->asked, 50);
		/* Nothing was left unanswered, and it goes on. */
		happen(f, 1);
		ck_assert_int_eq(next(&w, &e), 1);
		ck_assert_uint_eq(h->starts, 1);
	}
	mongo_watch_close(&w);
	return undisturbed;
}

WATCH_TEST(it_waits_until_the_deadline)
{
	unsigned attempts = 1;
	while (!waits_undisturbed(f, h))
		ck_assert_uint_lt(attempts++, 10);
	if (attempts == 1) {
		ck_assert_uint_eq(h->closed, 1);
		ck_assert_uint_eq(server_accepted(&f->server), 1);
	}
}

struct one_watch {
	struct fixture *f;
	struct error error;
	int got;
	bool ready, done;
};

static int watch_all(void *arg)
{
	struct one_watch *o = arg;
	struct mongo_watch w;
	int r = watch(o->f, &w, "things", NULL, NULL, &o->error);

	o->ready = r == 0;
	while (r == 0 && o->got < 4) {
		r = next(&w, &o->error);
		if (r > 0) {
			o->got++;
			r = 0;
		}
	}
	mongo_watch_close(&w);
	o->done = true;
	return r;
}

WATCH_TEST(each_wait_at_the_server_is_bounded)
{
	struct one_watch o = {.f = f};
	struct task *t = spawn(watch_all, &o);

	for (int i = 0; i < 10000 && __atomic_load_n(&h->asked, __ATOMIC_RELAXED) < 2; i++)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(h->await_ms, 1000);
	happen(f, 4);
	ck_assert_int_eq(join(t), 0);
	ck_assert_int_eq(o.got, 4);
	ck_assert_uint_eq(h->starts, 1);
}

/* --- going on --- */

static void goes_on(struct fixture *f, struct history *h, int code, const char *label)
{
	struct mongo_watch w;
	struct error e;
	unsigned starts = h->starts;

	ck_assert_int_eq(watch(f, &w, "things", NULL, NULL, &e), 0);
	int n = h->count;
	happen(f, 1);
	ck_assert_int_eq(next(&w, &e), n + 1);
	happen(f, 3);
	h->label = label;
	h->code = code;
	for (int i = 2; i <= 4; i++)
		ck_assert_int_eq(next(&w, &e), n + i);
	ck_assert_uint_eq(h->starts, starts + 2);
	ck_contains(h->last, "\"$changeStream\" : { \"resumeAfter\" : { \"t\" : ");
	mongo_watch_close(&w);
	await_idle(f);
}

WATCH_TEST(it_goes_on_behind_what_was_handed_out)
{
	goes_on(f, h, -1, NULL);
	goes_on(f, h, 43, NULL);
	goes_on(f, h, 10107, NULL);
	goes_on(f, h, 234, NULL); /* RetryChangeStream, before 4.4 */
	goes_on(f, h, 280, "ResumableChangeStreamError");
}

WATCH_TEST(what_can_not_be_resumed)
{
	struct mongo_watch w;
	struct error e;

	ck_assert_int_eq(watch(f, &w, "things", NULL, NULL, &e), 0);
	h->code = 280;
	ck_assert_int_eq(next(&w, &e), -EPROTO);
	check_error(&e, -EPROTO);
	ck_assert_uint_eq(h->starts, 1);
	mongo_watch_close(&w);
	/* Its cursor was killed by somebody who wants it to end. */
	ck_assert_int_eq(watch(f, &w, "things", NULL, NULL, &e), 0);
	h->code = 237;
	ck_assert_int_eq(next(&w, &e), -EAGAIN);
	ck_assert_uint_eq(h->starts, 2);
	mongo_watch_close(&w);
	/* Nor is a change without a name. */
	h->nameless = true;
	ck_assert_int_eq(watch(f, &w, "things", "[{'$project':{'_id':0}}]", NULL, &e), 0);
	happen(f, 1);
	ck_assert_int_eq(next(&w, &e), -EINVAL);
	ck_contains(e.what, "without its _id");
	mongo_watch_close(&w);
	/* A server that takes it back only to refuse it. */
	h->nameless = false;
	ck_assert_int_eq(watch(f, &w, "things", NULL, NULL, &e), 0);
	h->code = -1;
	h->refuse_starts = 10000;
	deadline_t before = deadline_push(deadline_in_ms(300));
	ck_assert_int_eq(next(&w, &e), -ETIMEDOUT);
	deadline_pop(before);
	ck_assert_uint_gt(h->starts, 5);
	/* The time was over, and no more. */
	h->refuse_starts = 0;
	happen(f, 1);
	ck_assert_int_eq(next(&w, &e), h->count);
	mongo_watch_close(&w);
}

WATCH_TEST(a_server_that_comes_back)
{
	struct mongo_watch w;
	struct error e;

	ck_assert_int_eq(watch(f, &w, "things", NULL, NULL, &e), 0);
	happen(f, 1);
	h->code = -1;
	h->refuse_starts = 5;
	ck_assert_int_eq(next(&w, &e), 1);
	mongo_watch_close(&w);
}

/* Before anything was handed out: from where it began. */
WATCH_TEST(it_goes_on_from_its_beginning)
{
	struct mongo_watch w;
	struct error e;

	happen(f, 5);
	ck_assert_int_eq(watch(f, &w, "things", NULL, NULL, &e), 0);
	h->code = -1;
	happen(f, 1);
	ck_assert_int_eq(next(&w, &e), 6);
	ck_contains(h->last, "{ \"startAtOperationTime\" : { \"$timestamp\" : { \"t\" : 7, \"i\" : 5 } } }");
	mongo_watch_close(&w);
	h->tokens = true;
	ck_assert_int_eq(watch(f, &w, "things", NULL, NULL, &e), 0);
	h->code = -1;
	happen(f, 1);
	ck_assert_int_eq(next(&w, &e), 7);
	ck_contains(h->last, "\"$changeStream\" : { \"resumeAfter\" : { \"t\" : 100006 } } }");
	mongo_watch_close(&w);
	ck_assert_int_eq(watch(f, &w, "things", NULL, "{'start_after':{'t':2}}", &e), 0);
	ck_contains(h->last, "{ \"startAfter\" : { \"t\" : 2 } }");
	h->code = -1;
	ck_assert_int_eq(next(&w, &e), 3);
	ck_contains(h->last, "\"$changeStream\" : { \"startAfter\" : { \"t\" : 100002 } } }");
	h->code = -1;
	ck_assert_int_eq(next(&w, &e), 4); /* of the same batch */
	ck_assert_int_eq(next(&w, &e), 5);
	ck_contains(h->last, "\"$changeStream\" : { \"resumeAfter\" : { \"t\" : 100004 } } }");
	mongo_watch_close(&w);
	ck_assert_int_eq(watch(f, &w, "things", NULL, "{'resume_after':{'t':4}}", &e), 0);
	ck_contains(h->last, "{ \"resumeAfter\" : { \"t\" : 4 } }");
	ck_assert_int_eq(next(&w, &e), 5);
	mongo_watch_close(&w);
}

/* A server that can't be told to begin at a time: what happened meanwhile is not passed over in silence. */
WATCH_TEST(an_old_server_goes_on_behind_changes_only)
{
	struct mongo_watch w;
	struct error e;

	atomic_store(&f->server.wire, 6);
	goes_on(f, h, -1, NULL);
	ck_assert_int_eq(watch(f, &w, "things", NULL, NULL, &e), 0);
	h->code = -1;
	unsigned starts = h->starts;
	ck_assert_int_eq(next(&w, &e), -EIO);
	check_error(&e, -EIO);
	ck_assert_uint_eq(h->starts, starts);
	mongo_watch_close(&w);
}

/* --- whatever happens on the way --- */

static void sweep_bytes(struct fixture *f, struct history *h, atomic_long *where)
{
	struct mongo_watch w;
	struct error e;
	int whole = 0;
	long n = 0;

	for (int uncut = 0; uncut < 5; n += 3) {
		cut_begin(f, where, n);
		int r = watch(f, &w, "things", NULL, NULL, &e);
		int first = h->count;
		happen(f, 5);
		for (int i = 1; r == 0 && i <= 5; i++)
			ck_assert_int_eq(next(&w, &e), first + i);
		uncut = cut_end(f, where) ? 0 : uncut + 1;
		if (r < 0)
			check_error(&e, r);
		else
			mongo_watch_close(&w);
		whole += r == 0;
		await_idle(f);
	}
	ck_assert_int_gt(whole, 100);
}

WATCH_TEST(cut_after_bytes_of_the_answers)
{
	sweep_bytes(f, h, &f->server.cut_after);
}

WATCH_TEST(cut_after_bytes_of_the_requests)
{
	sweep_bytes(f, h, &f->server.cut_requests);
}

WATCH_TEST(cancel_at_each_suspension)
{
	struct one_watch o = {.f = f};
	int canceled = 0, n = 0;

	for (bool finished = false; !finished; n += n > 60 ? n / 20 : 1) {
		o.done = o.ready = false;
		o.got = 0;
		struct task *t = spawn(watch_all, &o);
		for (int i = 0; i < n && !o.done; i++) {
			if (o.ready) {
				happen(f, 4);
				o.ready = false;
			}
			ck_assert_int_eq(task_yield(), 0);
		}
		finished = o.done && n > 10;
		task_cancel(t);
		int r = join(t);
		ck_assert_msg(r == 0 || r == -ECANCELED, "%d: %d %s", n, r, o.error.what);
		canceled += r == -ECANCELED;
		await_idle(f);
	}
	ck_assert_int_ge(canceled, 2);
	(void)h;
}

/* A stream stands outside transactions. */
static int watch_within(void *arg)
{
	struct mongo_watch w;
	struct error e;
	int r = watch(arg, &w, "things", NULL, NULL, &e);

	mongo_watch_close(&w);
	return r;
}

WATCH_TEST(it_is_no_part_of_a_transaction)
{
	struct mongo_transaction_options options = {0};
	struct error e = ERROR_INIT;

	atomic_store(&f->server.replica, true);
	ck_assert_int_eq(mongo_transact(f->client, &options, watch_within, f, &e), 0);
	ck_assert_uint_eq(server_accepted(&f->server), 2);
	ck_assert_ptr_null(strstr(h->first, "autocommit"));
}

int main(void)
{
	Suite *s = suite_create("mongo watch");
	TCase *c = async_tcase(s, "watch");

	tcase_add_test(c, what_happens_comes_in_order);
	tcase_add_test(c, a_database);
	tcase_add_test(c, mistakes);
	tcase_add_test(c, an_end);
	tcase_add_test(c, it_waits_until_the_deadline);
	tcase_add_test(c, each_wait_at_the_server_is_bounded);
	tcase_add_test(c, it_goes_on_behind_what_was_handed_out);
	tcase_add_test(c, what_can_not_be_resumed);
	tcase_add_test(c, a_server_that_comes_back);
	tcase_add_test(c, it_goes_on_from_its_beginning);
	tcase_add_test(c, an_old_server_goes_on_behind_changes_only);
	tcase_add_test(c, cut_after_bytes_of_the_answers);
	tcase_add_test(c, cut_after_bytes_of_the_requests);
	tcase_add_test(c, cancel_at_each_suspension);
	tcase_add_test(c, it_is_no_part_of_a_transaction);
	return run_suite(s);
}

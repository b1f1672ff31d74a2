/* Transactions on a scripted server: each field of each command, what is part of one, whatever goes wrong on the way.
 */
#include "async/run.h"
#include "drivers/mongo/calls/cursor.h"
#include "drivers/mongo/calls/transaction.h"
#include "drivers/mongo/calls/write.h"
#include "tests/unit/drivers/mongo/mongo_values.h"

enum { PATIENCE_US = 60000000, LOG_MAX = 64 };

/* What goes wrong with the n-th command of that name (from 0), in a transaction or at its end. */
struct fault {
	const char *command;
	int at;
	int times; /* 0: once */
	int code;  /* 0: the connection is cut */
	const char *label;
	int concern; /* the code of its writeConcernError: done, but not confirmed */
};

struct entry {
	char json[400]; /* without lsid and maxTimeMS */
	uint8_t lsid[16];
};

struct log {
	pthread_mutex_t lock;
	struct entry entries[LOG_MAX]; /* of the commands of transactions */
	unsigned count;
	unsigned outside; /* the others */
	char last_outside[400];
	struct fault fault;
	int seen; /* of the fault's command */
	bool recovery;
	int64_t committed; /* the number of the last one that was */
};

static void put_label(bson_t *reply, const char *label)
{
	bson_t list;

	BSON_APPEND_ARRAY_BEGIN(reply, "errorLabels", &list);
	BSON_APPEND_UTF8(&list, "0", label);
	bson_append_array_end(reply, &list);
}

static void describe(const bson_t *command, char *out, size_t size)
{
	bson_t shown = BSON_INITIALIZER;

	bson_copy_to_excluding_noinit(command, &shown, "maxTimeMS", "lsid", NULL);
	char *json = bson_as_relaxed_extended_json(&shown, NULL);
	snprintf(out, size, "%s", json);
	bson_free(json);
	bson_destroy(&shown);
}

static void read_lsid(const bson_t *command, uint8_t *out)
{
	bson_iter_t i, inner;
	bson_subtype_t subtype;
	uint32_t len;
	const uint8_t *id;

	ck_assert(bson_iter_init_find(&i, command, "lsid"));
	ck_assert(bson_iter_recurse(&i, &inner) && bson_iter_next(&inner));
	bson_iter_binary(&inner, &subtype, &len, &id);
	ck_assert_int_eq(subtype, BSON_SUBTYPE_UUID);
	ck_assert_uint_eq(len, 16);
	memcpy(out, id, 16);
}

static enum script go_wrong(const struct log *log, bson_t *reply)
{
	if (log->fault.concern) {
		say_concern(reply, log->fault.concern);
		return SCRIPT_ANSWER;
	}
	if (!log->fault.code)
		return SCRIPT_CUT;
	say_error(reply, log->fault.code);
	if (log->fault.label)
		put_label(reply, log->fault.label);
	return SCRIPT_ANSWER;
}

static enum script look(struct server *s, const char *name, const bson_t *command, bson_t *reply)
{
	struct log *log = s->script_state;
	enum script what = SCRIPT_NOTHING;
	bson_iter_t i;

	if (strcmp(name, "endSessions") == 0 || strcasecmp(name, "hello") == 0 || strcasecmp(name, "ismaster") == 0 ||
	    strcmp(name, "ping") == 0)
		return what;
	pthread_mutex_lock(&log->lock);
	if (!bson_iter_init_find(&i, command, "txnNumber")) {
		log->outside++;
		describe(command, log->last_outside, sizeof(log->last_outside));
	} else {
		int times = log->fault.times ? log->fault.times : 1;
		ck_assert_uint_lt(log->count, LOG_MAX);
		struct entry *e = &log->entries[log->count++];
		describe(command, e->json, sizeof(e->json));
		read_lsid(command, e->lsid);
		if (log->fault.command && strcmp(name, log->fault.command) == 0) {
			int n = log->seen++ - log->fault.at;
			what = n >= 0 && n < times ? go_wrong(log, reply) : what;
		}
		if (strcmp(name, "commitTransaction") == 0 && what == SCRIPT_NOTHING)
			log->committed = bson_iter_int64(&i);
		if (log->recovery && what == SCRIPT_NOTHING) {
			bson_t token;
			BSON_APPEND_DOCUMENT_BEGIN(reply, "recoveryToken", &token);
			BSON_APPEND_INT32(&token, "shard", (int32_t)log->count);
			bson_append_document_end(reply, &token);
		}
	}
	pthread_mutex_unlock(&log->lock);
	return what;
}

static void forget(struct log *log)
{
	log->count = log->outside = 0;
	log->seen = 0;
	log->fault = (struct fault){0};
	log->committed = 0;
}

static struct log *log_of(struct fixture *f)
{
	return f->server.script_state;
}

/* What was sent must be exactly this. */
static void sent_exactly(struct fixture *f, const char *const *expected, unsigned count)
{
	struct log *log = log_of(f);

	for (unsigned i = 0; i < count && i < log->count; i++) {
		char *text = arena_strdup(&f->arena, expected[i]);
		for (char *p = text; *p; p++)
			*p = *p == '\'' ? '"' : *p;
		ck_assert_str_eq(log->entries[i].json, text);
	}
	ck_assert_uint_eq(log->count, count);
}

#define SENT(...) sent_exactly(f, (const char *const[]){__VA_ARGS__}, ARRAY_SIZE(((const char *const[]){__VA_ARGS__})))

/* The commands of one transaction have one session. */
static void same_session(struct fixture *f, unsigned a, unsigned b, bool same)
{
	struct log *log = log_of(f);

	ck_assert_int_eq(memcmp(log->entries[a].lsid, log->entries[b].lsid, 16) == 0, same);
}

#define TRANSACTION_TEST(name)                                                                                         \
	static void name##_of(struct fixture *f);                                                                      \
	MONGO_TEST(name)                                                                                               \
	{                                                                                                              \
		struct log *log = calloc(1, sizeof(*log));                                                             \
		pthread_mutex_init(&log->lock, NULL);                                                                  \
		f->server.script_state = log;                                                                          \
		f->server.script = look;                                                                               \
		atomic_store(&f->server.replica, true);                                                                \
		name##_of(f);                                                                                          \
		await_idle(f);                                                                                         \
		ck_assert(list_empty(&mongo_client_of(f->client)->transactions));                                      \
		f->server.script = NULL;                                                                               \
		free(log);                                                                                             \
	}                                                                                                              \
	static void name##_of(struct fixture *f)

/* --- what is asked in them --- */

struct work {
	struct fixture *f;
	int result;    /* of the function */
	bool ignores;  /* returns `result` whatever comes of the insert */
	unsigned runs; /* of the function */
	int r;         /* of the last call */
	struct error error;
};

static int insert(struct fixture *f, const char *collection, struct error *e)
{
	struct result *out;
	int r = mongo_insert_one(target(f, collection, PATIENCE_US), made(f, "{'_id':1}"), &out, e);

	if (r == 0)
		result_free(out);
	return r;
}

static int count(struct fixture *f, const char *collection, struct error *e)
{
	struct result *out;
	int r = mongo_find_one(target(f, collection, PATIENCE_US), made(f, "{}"), NULL, &out, e);

	if (r == 0)
		result_free(out);
	return r;
}

static int find_and_insert(void *arg)
{
	struct work *w = arg;

	w->runs++;
	w->error = ERROR_INIT;
	w->r = count(w->f, "docs_1", &w->error);
	if (w->r == 0)
		w->r = insert(w->f, "things", &w->error);
	return w->ignores || w->r == 0 ? w->result : w->r;
}

static int transact(struct fixture *f, struct work *w, unsigned attempts, struct error *e)
{
	struct mongo_transaction_options options = {.attempts = attempts, .timeout_us = PATIENCE_US};

	w->f = f;
	w->runs = 0;
	*e = ERROR_INIT;
	return mongo_transact(f->client, &options, find_and_insert, w, e);
}

#define FIND(n)                                                                                                        \
	"{ 'find' : 'docs_1', 'filter' : {  }, 'limit' : 1, 'singleBatch' : true, 'txnNumber' : " #n                   \
	", 'startTransaction' : true, 'autocommit' : false, '$db' : 'catalog' }"
#define INSERT(n)                                                                                                      \
	"{ 'insert' : 'things', 'documents' : [ { '_id' : 1 } ], 'ordered' : true, 'txnNumber' : " #n                  \
	", 'autocommit' : false, '$db' : 'catalog' }"
#define END(name, n) "{ '" name "Transaction' : 1, 'txnNumber' : " #n ", 'autocommit' : false, '$db' : 'admin' }"
#define COMMIT_AGAIN(n)                                                                                                \
	"{ 'commitTransaction' : 1, 'writeConcern' : { 'w' : 'majority', 'wtimeout' : 10000 }, 'txnNumber' : " #n      \
	", 'autocommit' : false, '$db' : 'admin' }"

TRANSACTION_TEST(committed)
{
	struct work w = {.result = 7};
	struct error e;

	ck_assert_int_eq(transact(f, &w, 0, &e), 7);
	SENT(FIND(1), INSERT(1), END("commit", 1));
	same_session(f, 0, 1, true);
	same_session(f, 0, 2, true);
	/* What comes after it stands by itself, the next one has the next number. */
	ck_assert_int_eq(insert(f, "things", &e), 0);
	ck_assert_uint_eq(log_of(f)->outside, 1);
	ck_assert_ptr_null(strstr(log_of(f)->last_outside, "autocommit"));
	forget(log_of(f));
	ck_assert_int_eq(transact(f, &w, 0, &e), 7);
	SENT(FIND(2), INSERT(2), END("commit", 2));
	ck_assert_uint_eq(server_accepted(&f->server), 1);
	ck_assert_int_eq(atomic_load(&f->server.other_session), 0);
}

static int ask_nothing(void *arg)
{
	(void)arg;
	return 3;
}

TRANSACTION_TEST(nothing_is_sent_for_nothing)
{
	struct mongo_transaction_options options = {0};
	struct error e = ERROR_INIT;

	ck_assert_int_eq(mongo_transact(f->client, &options, ask_nothing, NULL, &e), 3);
	ck_assert_uint_eq(log_of(f)->count, 0);
}

TRANSACTION_TEST(aborted)
{
	struct work w = {.result = -ENOENT};
	struct error e;

	ck_assert_int_eq(transact(f, &w, 5, &e), -ENOENT);
	ck_assert_int_eq(e.errnum, 0);
	ck_assert_uint_eq(w.runs, 1);
	SENT(FIND(1), INSERT(1), END("abort", 1));
}

/* The server has given it up: it can't be committed, and nothing more is asked. */
static int fail_and_go_on(void *arg)
{
	struct work *w = arg;
	struct error e = ERROR_INIT;

	ck_assert_int_eq(insert(w->f, "bad_0_11000", &e), -EEXIST);
	e = ERROR_INIT;
	ck_assert_int_eq(count(w->f, "docs_1", &e), -EEXIST);
	ck_assert_int_eq(e.status, 409);
	return 0;
}

TRANSACTION_TEST(a_call_that_fails)
{
	struct mongo_transaction_options options = {.attempts = 3};
	struct work w = {.f = f};
	struct error e = ERROR_INIT;

	ck_assert_int_eq(mongo_transact(f->client, &options, fail_and_go_on, &w, &e), -EEXIST);
	ck_assert_str_eq(e.code, "11000");
	SENT("{ 'insert' : 'bad_0_11000', 'documents' : [ { '_id' : 1 } ], 'ordered' : true, 'txnNumber' : 1, "
	     "'startTransaction' : true, 'autocommit' : false, '$db' : 'catalog' }",
	     END("abort", 1));
}

/* --- once more --- */

TRANSACTION_TEST(again_where_that_may_help)
{
	struct work w = {0};
	struct error e;

	log_of(f)->fault = (struct fault){
		.command = "insert", .times = 2, .code = 112, .label = "TransientTransactionError"};
	ck_assert_int_eq(transact(f, &w, 3, &e), 0);
	ck_assert_uint_eq(w.runs, 3);
	SENT(FIND(1), INSERT(1), END("abort", 1), FIND(2), INSERT(2), END("abort", 2), FIND(3), INSERT(3),
	     END("commit", 3));
	same_session(f, 0, 8, true);
	/* No more than was asked for. */
	forget(log_of(f));
	log_of(f)->fault = (struct fault){
		.command = "insert", .times = 9, .code = 112, .label = "TransientTransactionError"};
	ck_assert_int_eq(transact(f, &w, 2, &e), -EAGAIN);
	check_error(&e, -EAGAIN);
	ck_assert_uint_eq(w.runs, 2);
	ck_assert_int_eq(transact(f, &w, 0, &e), -EAGAIN);
	ck_assert_uint_eq(w.runs, 1);
	/* Not without the label; but whatever the function makes of the failure. */
	forget(log_of(f));
	log_of(f)->fault = (struct fault){.command = "insert", .times = 9, .code = 112};
	ck_assert_int_eq(transact(f, &w, 3, &e), -EAGAIN);
	ck_assert_uint_eq(w.runs, 1);
	forget(log_of(f));
	log_of(f)->fault = (struct fault){.command = "insert", .code = 112, .label = "TransientTransactionError"};
	w = (struct work){.result = 5, .ignores = true};
	ck_assert_int_eq(transact(f, &w, 3, &e), 5);
	ck_assert_uint_eq(w.runs, 2);
}

TRANSACTION_TEST(again_on_another_connection)
{
	struct work w = {0};
	struct error e;

	log_of(f)->fault = (struct fault){.command = "insert"};
	ck_assert_int_eq(transact(f, &w, 2, &e), 0);
	ck_assert_uint_eq(w.runs, 2);
	SENT(FIND(1), INSERT(1), END("abort", 1), FIND(1), INSERT(1), END("commit", 1));
	same_session(f, 0, 2, true);
	same_session(f, 0, 3, false);
	same_session(f, 3, 5, true);
	forget(log_of(f));
	log_of(f)->fault = (struct fault){.command = "insert"};
	ck_assert_int_eq(transact(f, &w, 1, &e), -ECONNRESET);
	ck_assert_ptr_null(strstr(e.what, "may or may not"));
	ck_assert_int_eq(e.status, 503);
}

struct leaving {
	struct fixture *f;
	int64_t timeout_us; /* of the call */
	struct error error;
};

static int insert_in_vain(void *arg)
{
	struct leaving *l = arg;
	struct result *out;

	return mongo_insert_one(target(l->f, "hang", l->timeout_us), made(l->f, "{'_id':1}"), &out, &l->error);
}

static int transact_in_vain(void *arg)
{
	struct leaving *l = arg;
	struct mongo_transaction_options options = {.attempts = 3};

	return mongo_transact(l->f->client, &options, insert_in_vain, l, &l->error);
}

static void check_let_go(struct fixture *f)
{
	ck_assert_uint_eq(log_of(f)->count, 2);
	ck_contains(log_of(f)->entries[0].json, "{ \"insert\" : \"hang\", ");
	ck_assert_str_eq(log_of(f)->entries[1].json, "{ \"abortTransaction\" : 1, \"txnNumber\" : 1, "
						     "\"autocommit\" : false, \"$db\" : \"admin\" }");
	same_session(f, 0, 1, true);
	forget(log_of(f));
}

/* The server is told, on another connection: what it did may stand in the way of others. */
TRANSACTION_TEST(one_that_is_broken_off_is_aborted)
{
	struct leaving l = {.f = f, .timeout_us = 20000, .error = ERROR_INIT};

	ck_assert_int_eq(transact_in_vain(&l), -ETIMEDOUT);
	check_let_go(f);
	l.timeout_us = PATIENCE_US;
	struct task *t = spawn(transact_in_vain, &l);
	for (int i = 0; i < 10000 && __atomic_load_n(&log_of(f)->count, __ATOMIC_RELAXED) < 1; i++)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	task_cancel(t);
	ck_assert_int_eq(join(t), -ECANCELED);
	check_let_go(f);
}

/* --- the commit --- */

TRANSACTION_TEST(a_commit_that_is_not_known)
{
	struct work w = {.result = 2};
	struct error e;
	static const struct fault faults[] = {
		{.command = "commitTransaction", .code = 50, .label = "UnknownTransactionCommitResult"},
		{.command = "commitTransaction", .code = 9999, .label = "UnknownTransactionCommitResult"},
		{.command = "commitTransaction", .code = 91},
		{.command = "commitTransaction", .code = 10107},
		{.command = "commitTransaction"},
		{.command = "commitTransaction", .concern = 64},
	};

	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		log_of(f)->fault = faults[i];
		server_drop_all(&f->server);
		settle();
		ck_assert_int_eq(transact(f, &w, 3, &e), 2);
		ck_assert_uint_eq(w.runs, 1);
		SENT(FIND(1), INSERT(1), END("commit", 1), COMMIT_AGAIN(1));
		/* Wherever it is committed, it is the same transaction. */
		same_session(f, 0, 3, true);
		/* The next one on that connection is another. */
		forget(log_of(f));
		ck_assert_int_eq(transact(f, &w, 1, &e), 2);
		ck_contains(log_of(f)->entries[2].json, "commitTransaction");
		forget(log_of(f));
	}
}

TRANSACTION_TEST(the_connection_of_another_ones_commit)
{
	struct work w = {0};
	struct error e;
	uint8_t first[16];

	log_of(f)->fault = (struct fault){.command = "commitTransaction"};
	ck_assert_int_eq(transact(f, &w, 1, &e), 0);
	memcpy(first, log_of(f)->entries[0].lsid, sizeof(first));
	forget(log_of(f));
	ck_assert_int_eq(transact(f, &w, 1, &e), 0);
	SENT(FIND(1), INSERT(1), END("commit", 1));
	ck_assert_mem_ne(first, log_of(f)->entries[0].lsid, sizeof(first));
	same_session(f, 0, 2, true);
}

TRANSACTION_TEST(a_commit_that_is_never_known)
{
	struct work w = {0};
	struct error e;

	log_of(f)->fault = (struct fault){.command = "commitTransaction", .times = 2};
	ck_assert_int_eq(transact(f, &w, 3, &e), -EIO);
	ck_assert_uint_eq(w.runs, 1);
	check_error(&e, -EIO);
	ck_contains(e.what, "the transaction may or may not have happened");
	ck_contains(e.public, "may or may not");
	SENT(FIND(1), INSERT(1), END("commit", 1), COMMIT_AGAIN(1));
	forget(log_of(f));
	log_of(f)->fault = (struct fault){.command = "commitTransaction", .times = 2, .concern = 64};
	ck_assert_int_eq(transact(f, &w, 3, &e), -EIO);
	ck_contains(e.what, "may not last");
	/* One that can't be met is not asked for again. */
	forget(log_of(f));
	log_of(f)->fault = (struct fault){.command = "commitTransaction", .concern = 100};
	ck_assert_int_eq(transact(f, &w, 3, &e), -EIO);
	ck_contains(e.what, "may not last");
	ck_assert_uint_eq(log_of(f)->count, 3);
}

TRANSACTION_TEST(a_commit_that_did_not_happen)
{
	struct work w = {0};
	struct error e;

	log_of(f)->fault = (struct fault){
		.command = "commitTransaction", .code = 251, .label = "TransientTransactionError"};
	ck_assert_int_eq(transact(f, &w, 2, &e), 0);
	ck_assert_uint_eq(w.runs, 2);
	SENT(FIND(1), INSERT(1), END("commit", 1), FIND(2), INSERT(2), END("commit", 2));
	forget(log_of(f));
	log_of(f)->fault = (struct fault){.command = "commitTransaction", .code = 9999};
	ck_assert_int_eq(transact(f, &w, 2, &e), -EPROTO);
	ck_assert_uint_eq(w.runs, 1);
	ck_assert_ptr_null(strstr(e.what, "may or may not"));
}

TRANSACTION_TEST(a_router_gets_its_token_back)
{
	struct work w = {0};
	struct error e;

	log_of(f)->recovery = true;
	log_of(f)->fault = (struct fault){.command = "commitTransaction"};
	ck_assert_int_eq(transact(f, &w, 1, &e), 0);
	ck_contains(log_of(f)->entries[2].json, "{ \"commitTransaction\" : 1, \"recoveryToken\" : { \"shard\" : 2 }, ");
	ck_contains(log_of(f)->entries[3].json, "\"recoveryToken\" : { \"shard\" : 2 }, \"writeConcern\"");
	forget(log_of(f));
	w.result = -EINVAL;
	ck_assert_int_eq(transact(f, &w, 1, &e), -EINVAL);
	ck_contains(log_of(f)->entries[2].json, "{ \"abortTransaction\" : 1, \"recoveryToken\" : { \"shard\" : 2 }, ");
}

/* --- what the URL and the options say --- */

static int concerns_main(void *arg)
{
	struct fixture *f = arg;
	struct work w = {.f = f};
	struct error e;
	struct mongo_transaction_options options = {.snapshot = true};

	fixture_open(f);
	ck_assert_int_eq(transact(f, &w, 1, &e), 0);
	ck_contains(log_of(f)->entries[0].json,
		    "\"startTransaction\" : true, \"readConcern\" : { \"level\" : \"majority\" }, ");
	ck_assert_ptr_null(strstr(log_of(f)->entries[0].json, "writeConcern"));
	ck_assert_ptr_null(strstr(log_of(f)->entries[1].json, "Concern"));
	ck_contains(log_of(f)->entries[2].json,
		    "{ \"commitTransaction\" : 1, \"writeConcern\" : { \"w\" : 2, \"j\" : true }, ");
	ck_assert_int_eq(insert(f, "things", &e), 0);
	ck_contains(log_of(f)->last_outside, "\"writeConcern\" : { \"w\" : 2, \"j\" : true }");
	forget(log_of(f));
	ck_assert_int_eq(mongo_transact(f->client, &options, find_and_insert, &w, &e), 0);
	ck_contains(log_of(f)->entries[0].json, "\"readConcern\" : { \"level\" : \"snapshot\" }, ");
	ck_assert_ptr_null(strstr(log_of(f)->entries[1].json, "Concern"));
	forget(log_of(f));
	ck_assert_int_eq(transact(f, &w, 1, &e), 0);
	ck_contains(log_of(f)->entries[0].json, "\"readConcern\" : { \"level\" : \"majority\" }, ");
	fixture_close(f);
	return 0;
}

static int refused_main(void *arg)
{
	struct fixture *f = arg;
	struct work w = {0};
	struct error e;

	fixture_open(f);
	int r = transact(f, &w, 3, &e);
	check_error(&e, r);
	ck_assert_int_eq(e.status, 500);
	ck_assert_uint_eq(w.runs, 0);
	ck_assert_uint_eq(log_of(f)->count, 0);
	fixture_close(f);
	return r;
}

/* old: of MongoDB 3.6 */
static int run_on(const char *url, bool replica, bool secondary, bool old, int (*body)(void *arg))
{
	struct fixture *f = malloc(sizeof(*f));
	struct log *log = calloc(1, sizeof(*log));

	fixture_config(f);
	pthread_mutex_init(&log->lock, NULL);
	f->server.script_state = log;
	f->server.script = look;
	atomic_store(&f->server.replica, replica);
	atomic_store(&f->server.secondary, secondary);
	atomic_store(&f->server.wire, old ? 6 : 0);
	server_start(&f->server, 0);
	fixture_url(f, url);
	int r = loop_run_main(body, f);
	server_stop(&f->server);
	fixture_done(f);
	free(f);
	free(log);
	return r;
}

static int run_with(const char *url, bool replica, bool secondary, int (*body)(void *arg))
{
	return run_on(url, replica, secondary, false, body);
}

START_TEST(concerns)
{
	ck_assert_int_eq(run_with("?readConcernLevel=majority&w=2&journal=true", true, false, concerns_main), 0);
}
END_TEST

START_TEST(servers_without)
{
	ck_assert_int_eq(run_with("", false, false, refused_main), -EOPNOTSUPP);
	ck_assert_int_eq(run_on("", true, false, true, refused_main), -EOPNOTSUPP);
	ck_assert_int_eq(run_with("?readPreference=secondary", true, true, refused_main), -EROFS);
	ck_assert_int_eq(run_with("?w=0", true, false, refused_main), -EINVAL);
}
END_TEST

/* --- what is part of it --- */

static int begin_another(void *arg)
{
	struct work *w = arg;
	struct mongo_transaction_options options = {.attempts = 2};
	struct error e = ERROR_INIT;

	ck_assert_int_eq(mongo_transact(w->f->client, &options, ask_nothing, NULL, &e), -EBUSY);
	check_error(&e, -EBUSY);
	return find_and_insert(w);
}

TRANSACTION_TEST(one_at_a_time)
{
	struct mongo_transaction_options options = {.attempts = 2};
	struct work w = {.f = f};
	struct error e = ERROR_INIT;

	ck_assert_int_eq(mongo_transact(f->client, &options, begin_another, &w, &e), 0);
	SENT(FIND(1), INSERT(1), END("commit", 1));
}

static int count_all(void *arg)
{
	struct fixture *f = arg;
	struct result *out;
	struct error e = ERROR_INIT;
	int r = mongo_count(target(f, "docs_0", PATIENCE_US), made(f, "{}"), NULL, &out, &e);

	if (r == 0)
		result_free(out);
	return r;
}

/* MongoDB has no `count` in transactions. */
TRANSACTION_TEST(a_collection_is_counted)
{
	struct mongo_transaction_options options = {0};
	struct error e = ERROR_INIT;

	ck_assert_int_eq(mongo_transact(f->client, &options, count_all, f, &e), 0);
	ck_contains(log_of(f)->entries[0].json,
		    "{ \"aggregate\" : \"docs_0\", \"pipeline\" : [ { \"$match\" : {  } }, ");
	ck_assert_int_eq(count_all(f), 0);
	ck_contains(log_of(f)->last_outside, "{ \"count\" : \"docs_0\"");
}

static int insert_elsewhere(void *arg)
{
	struct error e = ERROR_INIT;
	return insert(arg, "elsewhere", &e);
}

static int ask_in_another_task(void *arg)
{
	struct work *w = arg;

	ck_assert_int_eq(join(spawn(insert_elsewhere, w->f)), 0);
	return find_and_insert(w);
}

TRANSACTION_TEST(other_tasks_are_no_part_of_it)
{
	struct mongo_transaction_options options = {0};
	struct work w = {.f = f};
	struct error e = ERROR_INIT;

	ck_assert_int_eq(mongo_transact(f->client, &options, ask_in_another_task, &w, &e), 0);
	SENT(FIND(1), INSERT(1), END("commit", 1));
	ck_assert_uint_eq(log_of(f)->outside, 1);
	ck_contains(log_of(f)->last_outside, "elsewhere");
	ck_assert_uint_eq(server_accepted(&f->server), 2);
}

struct reading {
	struct fixture *f;
	struct mongo_cursor cursor;
	bool close;
};

static int read_another_ones(void *arg)
{
	struct reading *r = arg;
	struct mongo_element document;
	struct error e = ERROR_INIT;
	int status;

	while ((status = mongo_cursor_next(&r->cursor, &document, &e)) > 0)
		;
	return status;
}

static int read_some(void *arg)
{
	struct reading *r = arg;
	struct mongo_element document;
	struct error e = ERROR_INIT;

	ck_assert_int_eq(
		mongo_cursor_find(&r->cursor, target(r->f, "many_2_4", PATIENCE_US), made(r->f, "{}"), NULL, &e), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(mongo_cursor_next(&r->cursor, &document, &e), 1);
	ck_assert_int_eq(join(spawn(read_another_ones, r)), -EBUSY);
	if (r->close)
		mongo_cursor_close(&r->cursor);
	return 0;
}

#define READ_SOME                                                                                                      \
	"{ 'find' : 'many_2_4', 'filter' : {  }, 'batchSize' : 32, 'txnNumber' : 1, 'startTransaction' : true, "       \
	"'autocommit' : false, '$db' : 'catalog' }",                                                                   \
		"{ 'getMore' : 12884901890, 'collection' : 'many_2_4', 'batchSize' : 256, 'txnNumber' : 1, "           \
		"'autocommit' : false, '$db' : 'catalog' }",                                                           \
		"{ 'killCursors' : 'many_2_4', 'cursors' : [ 8589934594 ], 'txnNumber' : 1, 'autocommit' : false, "    \
		"'$db' : 'catalog' }"

TRANSACTION_TEST(cursors_end_with_it)
{
	struct mongo_transaction_options options = {0};
	struct reading r = {.f = f};
	struct mongo_element document;
	struct error e = ERROR_INIT;

	ck_assert_int_eq(mongo_transact(f->client, &options, read_some, &r, &e), 0);
	SENT(READ_SOME, END("commit", 1));
	ck_assert_int_eq(mongo_cursor_next(&r.cursor, &document, &e), -EPIPE);
	check_error(&e, -EPIPE);
	mongo_cursor_close(&r.cursor);
}

TRANSACTION_TEST(cursors_are_closed_in_it)
{
	struct mongo_transaction_options options = {0};
	struct reading r = {.f = f, .close = true};
	struct error e = ERROR_INIT;

	ck_assert_int_eq(mongo_transact(f->client, &options, read_some, &r, &e), 0);
	SENT(READ_SOME, END("commit", 1));
}

/* --- whatever happens on the way --- */

/* What is told must be what the server knows. */
static void check_outcome(struct fixture *f, int r, const struct error *e, const char *when, long n)
{
	bool happened = log_of(f)->committed != 0;

	ck_assert_msg(r == 0 || e->errnum == r, "%s %ld: %d", when, n, r);
	if (r == 0)
		ck_assert_msg(happened, "%s %ld: said to be committed", when, n);
	else if (r != -EIO)
		ck_assert_msg(!happened, "%s %ld: said to be aborted (%d %s)", when, n, r, e->what);
}

static void sweep_bytes(struct fixture *f, atomic_long *where)
{
	struct work w = {0};
	struct error e;
	int good = 0, broken = 0;
	long n = 0;

	/* On a slow machine a cut may come too late to be seen: that alone is not the end. */
	for (int whole = 0; whole < 10; n++) {
		forget(log_of(f));
		cut_begin(f, where, n);
		int r = transact(f, &w, 1, &e);
		whole = cut_end(f, where) ? 0 : whole + 1;
		check_outcome(f, r, &e, "after byte", n);
		good += r == 0;
		broken += r < 0;
		await_idle(f);
	}
	ck_assert_int_gt(good, 50);
	ck_assert_int_gt(broken, 50);
}

TRANSACTION_TEST(cut_after_each_byte_of_the_answers)
{
	sweep_bytes(f, &f->server.cut_after);
}

TRANSACTION_TEST(cut_after_each_byte_of_the_requests)
{
	sweep_bytes(f, &f->server.cut_requests);
}

struct one_transaction {
	struct fixture *f;
	struct work work;
	struct error error;
	bool done;
};

static int run_one(void *arg)
{
	struct one_transaction *o = arg;
	int r = transact(o->f, &o->work, 2, &o->error);

	o->done = true;
	return r;
}

TRANSACTION_TEST(cancel_at_each_suspension)
{
	struct one_transaction o = {.f = f};
	int canceled = 0, good = 0, n = 0, r;

	for (bool finished = false; !finished; n += n > 60 ? n / 20 : 1) {
		forget(log_of(f));
		o.done = false;
		finished = cancel_in_turn(n, run_one, &o, &o.done, &r);
		check_outcome(f, r, &o.error, "cancelled at", n);
		canceled += r == -ECANCELED;
		good += r == 0;
		await_idle(f);
	}
	ck_assert_int_ge(canceled, 3);
	ck_assert_int_ge(good, 1);
	ck_assert_int_eq(run_one(&o), 0);
}

/* Cancelled in the function, which does not care: nothing is committed. */
static int cancel_oneself(void *arg)
{
	task_cancel(task_self());
	(void)arg;
	return 0;
}

static int insert_and_cancel(void *arg)
{
	struct work *w = arg;
	int r = find_and_insert(w);

	return r < 0 ? r : cancel_oneself(w);
}

static int run_cancelled(void *arg)
{
	struct work *w = arg;
	struct mongo_transaction_options options = {0};
	struct error e = ERROR_INIT;

	return mongo_transact(w->f->client, &options, insert_and_cancel, w, &e);
}

TRANSACTION_TEST(a_cancelled_one_is_aborted)
{
	struct work w = {.f = f};

	ck_assert_int_eq(join(spawn(run_cancelled, &w)), -ECANCELED);
	SENT(FIND(1), INSERT(1), END("abort", 1));
	/* Its connection is as good as before. */
	struct error e;
	forget(log_of(f));
	ck_assert_int_eq(transact(f, &w, 1, &e), 0);
	SENT(FIND(2), INSERT(2), END("commit", 2));
}

/* --- as a step declares them --- */

#define MOVE                                                                                                           \
	"{ transaction: [ { a: { find_one: docs_1, filter: { _id: \"{id}\" }, expect: one } }, "                       \
	"{ b: { update_one: moved, filter: { _id: \"{a.n}\" }, update: { $set: { x: \"{id}\" } }, affected: 1 } }, "   \
	"{ c: { when: \"{a.absent}\", delete_many: moved, filter: {} } }, "                                            \
	"{ d: { each: \"{list}\", insert_one: kept, document: { _id: \"{item.k}\", n: \"{a.n}\" } } } ] }"

static struct value *move_args(struct fixture *f)
{
	struct value *args = arena_array(&f->arena, 2, sizeof(*args));

	args[0] = *sent(f, "7", false);
	args[1] = *sent(f, "[{'k':1},{'k':2}]", true);
	return args;
}

/* How many of the commands begin with that name. */
static unsigned count_of(const struct log *log, const char *name)
{
	unsigned n = 0;

	for (unsigned i = 0; i < log->count; i++)
		n += strncmp(log->entries[i].json + strlen("{ \""), name, strlen(name)) == 0;
	return n;
}

static int move(struct fixture *f, struct buf *json, struct error *e)
{
	*e = ERROR_INIT;
	*json = BUF_INIT;
	return run_for(f, compile(f, MOVE), move_args(f), PATIENCE_US, json, e);
}

TRANSACTION_TEST(declared_steps_are_one_transaction)
{
	struct buf json;
	struct error e;

	ck_assert_int_eq(move(f, &json, &e), 0);
	ck_assert_str_eq(buf_cstr(&json),
			 "{\"a\":{\"n\":0},\"b\":{\"matched_count\":1,\"modified_count\":1,"
			 "\"upserted_id\":null},\"c\":null,\"d\":[{\"inserted_id\":1},{\"inserted_id\":2}]}");
	buf_done(&json);
	struct log *log = log_of(f);
	ck_assert_uint_eq(log->count, 4); /* find, update, one insert of two, commit */
	ck_assert_uint_eq(log->outside, 0);
	ck_assert(strstr(log->entries[1].json, "\"q\" : { \"_id\" : 0 }, \"u\" : { \"$set\" : { \"x\" : 7 } }"));
	ck_assert(strstr(log->entries[2].json, "[ { \"_id\" : 1, \"n\" : 0 }, { \"_id\" : 2, \"n\" : 0 } ]"));
	ck_assert_uint_eq(count_of(log, "commitTransaction"), 1);
}

TRANSACTION_TEST(a_declared_one_begins_again_if_the_server_says_so)
{
	struct log *log = log_of(f);
	struct buf json;
	struct error e;

	log->fault = (struct fault){"insert", 0, 2, 112, "TransientTransactionError", 0};
	ck_assert_int_eq(move(f, &json, &e), 0);
	buf_done(&json);
	ck_assert_uint_eq(count_of(log, "find"), 3);
	ck_assert_uint_eq(count_of(log, "commitTransaction"), 1);
	forget(log);
	/* Three attempts in all. */
	log->fault = (struct fault){"insert", 0, 9, 112, "TransientTransactionError", 0};
	ck_assert_int_eq(move(f, &json, &e), -EAGAIN);
	buf_done(&json);
	ck_assert_int_eq(e.status, 503);
	ck_assert_int_eq(e.change, CHANGE_NONE);
	ck_assert_uint_eq(count_of(log, "find"), 3);
	ck_assert_uint_eq(count_of(log, "commitTransaction"), 0);
}

TRANSACTION_TEST(the_commit_of_a_declared_one_is_asked_for_again)
{
	struct log *log = log_of(f);
	struct buf json;
	struct error e;

	log->fault = (struct fault){"commitTransaction", 0, 1, 91, "UnknownTransactionCommitResult", 0};
	ck_assert_int_eq(move(f, &json, &e), 0);
	buf_done(&json);
	ck_assert_uint_eq(count_of(log, "find"), 1);
	ck_assert_uint_eq(count_of(log, "commitTransaction"), 2);
	forget(log);
	log->fault = (struct fault){"commitTransaction", 0, 9, 91, "UnknownTransactionCommitResult", 0};
	ck_assert_int_eq(move(f, &json, &e), -EIO);
	buf_done(&json);
	ck_assert_int_eq(e.status, 502);
	ck_assert_int_eq(e.change, CHANGE_UNKNOWN);
	ck_assert_uint_eq(count_of(log, "find"), 1);
}

TRANSACTION_TEST(what_a_declared_one_did_before_it_failed_is_not_there)
{
	struct error e = ERROR_INIT;
	struct buf json = BUF_INIT;
	struct action *a = compile(f, "{ transaction: [ { a: { delete_many: moved, filter: {}, affected: 5 } } ] }");

	ck_assert_int_eq(run_for(f, a, NULL, PATIENCE_US, &json, &e), -EMLINK);
	ck_assert_int_eq(e.status, 409);
	ck_assert_int_eq(e.change, CHANGE_NONE);
	ck_assert_uint_eq(count_of(log_of(f), "abortTransaction"), 1);
	a = compile(f, "{ transaction: [ { a: { delete_one: moved, filter: {} } }, { b: { insert_many: bad_1_11000, "
		       "documents: [ {}, {} ] } } ] }");
	ck_assert_int_eq(run_for(f, a, NULL, PATIENCE_US, &json, &e), -EEXIST);
	ck_assert_int_eq(e.change, CHANGE_NONE);
	buf_done(&json);
}

int main(void)
{
	Suite *s = suite_create("mongo transaction");
	TCase *c = async_tcase(s, "transactions");

	tcase_add_test(c, committed);
	tcase_add_test(c, nothing_is_sent_for_nothing);
	tcase_add_test(c, aborted);
	tcase_add_test(c, a_call_that_fails);
	tcase_add_test(c, again_where_that_may_help);
	tcase_add_test(c, again_on_another_connection);
	tcase_add_test(c, one_that_is_broken_off_is_aborted);
	tcase_add_test(c, a_commit_that_is_not_known);
	tcase_add_test(c, the_connection_of_another_ones_commit);
	tcase_add_test(c, a_commit_that_is_never_known);
	tcase_add_test(c, a_commit_that_did_not_happen);
	tcase_add_test(c, a_router_gets_its_token_back);
	tcase_add_test(c, concerns);
	tcase_add_test(c, servers_without);
	tcase_add_test(c, one_at_a_time);
	tcase_add_test(c, a_collection_is_counted);
	tcase_add_test(c, other_tasks_are_no_part_of_it);
	tcase_add_test(c, cursors_end_with_it);
	tcase_add_test(c, cursors_are_closed_in_it);
	tcase_add_test(c, cut_after_each_byte_of_the_answers);
	tcase_add_test(c, cut_after_each_byte_of_the_requests);
	tcase_add_test(c, cancel_at_each_suspension);
	tcase_add_test(c, a_cancelled_one_is_aborted);
	tcase_add_test(c, declared_steps_are_one_transaction);
	tcase_add_test(c, a_declared_one_begins_again_if_the_server_says_so);
	tcase_add_test(c, the_commit_of_a_declared_one_is_asked_for_again);
	tcase_add_test(c, what_a_declared_one_did_before_it_failed_is_not_there);
	return run_suite(s);
}

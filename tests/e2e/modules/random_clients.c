/* Random programs: PostgreSQL, MongoDB, HTTP, files. See random.h.
 *
 * The sources may be gone at any moment: what a call fails with then is some failure of its kind. What it brings where
 * it succeeds must be right, and accounts must add up. */
#include <stdio.h>
#include <stdlib.h>

#include "random.h"

/* Is v what it was to be? A failure has all that belongs to one. */
static bool good(struct node *n, gd_value *v)
{
	int r = gd_failed(v);
	if (r == 0)
		return true;
	must(n, gd_kind_of(v) == GD_FAILED && gd_error_text(v)[0] && gd_error_status(v) >= 400);
	if (r == -ECANCELED)
		must(n, gd_cancelled()); /* a gather's children are, though their owner is shielded */
	else if (n->program->calm && gd_error_status(v) != 503 && gd_error_status(v) != 504)
		violation(n, "%d %d %s %s", r, gd_error_status(v), gd_error_code(v), gd_error_text(v));
	return false;
}

/* The same of a number. */
static bool fine(struct node *n, int64_t r)
{
	if (r >= 0)
		return true;
	if (r == -ECANCELED)
		must(n, gd_cancelled() && n->shields == 0);
	else if (n->program->calm && r != -ETIMEDOUT && r != -EBUSY && r != -EHOSTUNREACH)
		violation(n, "an answer of %d", (int)r);
	return false;
}

/* --- PostgreSQL --- */

static void op_pg_query(struct node *n)
{
	unsigned rows = pick(n, 200);
	gd_value *v = gd_pg_query(NULL, "pg", "select n, n::text || 'x' as t from generate_series(1, $1) n",
				  gd_list(gd_int(rows)));
	if (!good(n, v))
		return;
	must(n, gd_count(v) == rows);
	if (rows > 0)
		must(n, gd_to_int(gd_get(gd_at(v, rows - 1), "n"), 0) == rows);
}

static void op_pg_wrong(struct node *n)
{
	gd_value *v = gd_pg_scalar(NULL, "pg", "select 1 / ($1::int - 1)", gd_list(gd_int(1)));
	int r = gd_failed(v);
	must(n, r < 0);
	if (r == -ECANCELED)
		must(n, gd_cancelled() && n->shields == 0);
	if (n->program->calm && r != -ECANCELED && gd_error_status(v) < 503)
		must(n, strcmp(gd_error_code(v), "22012") == 0);
}

/* Each child brings its own. */
static void op_pg_gather(struct node *n)
{
	gd_gather *g = gd_gather_new(chance(n, 2) ? GD_ALL : GD_FAIL_FAST);
	gd_value *values[12];
	unsigned count = 1 + pick(n, 12);
	gd_scope *s = chance(n, 4) ? gd_scope_begin() : NULL;
	for (unsigned i = 0; i < count; i++)
		values[i] = chance(n, 6)
				    ? gd_pg_scalar(g, "pg", "select $1::int from pg_sleep(0.02)", gd_list(gd_int(i)))
				    : gd_pg_scalar(g, "pg", "select $1::int", gd_list(gd_int(i)));
	if (chance(n, 4))
		run_within(n);
	gd_deadline by = soon(n);
	int r = gd_gather_wait(g, by);
	for (unsigned i = 0; i < count; i++) {
		if (gd_failed(values[i]) == 0)
			must(n, gd_to_int(values[i], -1) == i);
		else
			must(n, r < 0 || gd_failed(values[i]) != -EINPROGRESS);
	}
	if (s)
		gd_scope_end(s);
}

struct transfer {
	struct node *n;
	int from, to, amount;
	bool fails;
};

static int fail_within(gd_pg *tx, void *arg)
{
	(void)arg;
	gd_value *v = gd_tx_scalar(tx, "select 1 / ($1::int - 1)", gd_list(gd_int(1)));
	return gd_failed(v);
}

static int add_within(gd_pg *tx, void *arg)
{
	const struct transfer *t = arg;
	gd_value *v = gd_tx_execute(tx, "update random_accounts set amount = amount + $2 where id = $1",
				    gd_list(gd_int(t->to), gd_int(t->amount)));
	return gd_failed(v);
}

/* Money moves from one account to another, or does not. */
static int move(gd_pg *tx, void *arg)
{
	struct transfer *t = arg;
	gd_value *sum = gd_tx_scalar(tx, "select sum(amount)::int from random_accounts", NULL);
	if (gd_failed(sum) == 0)
		must(t->n, gd_to_int(sum, -1) == 400);
	gd_value *v = gd_tx_execute(tx, "update random_accounts set amount = amount - $2 where id = $1",
				    gd_list(gd_int(t->from), gd_int(t->amount)));
	if (gd_failed(v) < 0)
		return gd_failed(v);
	if (chance(t->n, 4))
		gd_pg_savepoint(tx, fail_within, NULL);
	if (chance(t->n, 4)) {
		gd_cursor *c = gd_tx_stream(tx, "select n from generate_series(1, 30) n", NULL);
		for (unsigned i = pick(t->n, 40); i > 0 && gd_next(c); i--) {}
		gd_close(c);
	}
	if (chance(t->n, 6))
		run_within(t->n);
	int r = gd_pg_savepoint(tx, add_within, t);
	return r < 0 ? r : t->fails ? -ENOENT : 0;
}

static void op_pg_transaction(struct node *n)
{
	struct transfer t = {.n = n, .amount = (int)pick(n, 50), .fails = chance(n, 4)};
	t.from = 1 + (int)pick(n, 4);
	t.to = 1 + (int)pick(n, 4);
	gd_pg_options options = {.isolation = chance(n, 2) ? GD_SERIALIZABLE : GD_REPEATABLE_READ, .attempts = 3};
	int r = gd_pg_transaction("pg", &options, move, &t);
	must(n, r != 0 || !t.fails);
	if (r == -ECANCELED)
		must(n, gd_cancelled() && n->shields == 0);
}

static void op_pg_stream(struct node *n)
{
	gd_cursor *c = gd_pg_stream("pg", "select n from generate_series(1, $1) n", gd_list(gd_int(500)));
	unsigned stop = chance(n, 2) ? pick(n, 500) : 600, seen = 0;
	gd_value *row = NULL;
	while (seen < stop && (row = gd_next(c)) && gd_failed(row) == 0) {
		must(n, gd_to_int(gd_get(row, "n"), 0) == ++seen);
		if (chance(n, 100))
			run_within(n);
	}
	if (!row && stop > 500)
		must(n, seen == 500);
	else if (row)
		good(n, row);
	if (chance(n, 2))
		gd_close(c);
}

static void op_pg_copy(struct node *n)
{
	unsigned rows = pick(n, 100);
	bool in = chance(n, 2);
	gd_copy *c = gd_pg_copy("pg",
				in ? "copy random_rows from stdin" : "copy (select generate_series(1, 300)) to stdout");
	int64_t r = 0, seen = 0;
	const void *p;
	if (in) {
		for (unsigned i = 0; r >= 0 && i < rows; i++)
			r = gd_copy_row(c, gd_list(gd_int((int64_t)(n->program->seed % 1000000)), gd_int(i)));
	} else {
		while (seen <= rows && (r = gd_copy_read(c, &p)) > 0)
			seen++;
	}
	fine(n, r);
	if (chance(n, 3)) {
		gd_copy_close(c);
		return;
	}
	gd_value *end = gd_copy_end(c);
	if (r >= 0 && good(n, end) && in)
		must(n, gd_to_int(end, -1) == rows);
}

static void op_pg_listen(struct node *n)
{
	const char *channel = gd_format("random%u", pick(n, 2));
	gd_cursor *c = gd_pg_listen("pg", channel);
	if (chance(n, 2))
		gd_pg_notify(NULL, "pg", channel, gd_string("hello"));
	gd_deadline before = gd_deadline_push(gd_in_ms(1 + pick(n, 40)));
	gd_value *v = gd_next(c);
	gd_deadline_pop(before);
	if (gd_failed(v) == 0)
		must(n, v && strcmp(gd_to_text(gd_get(v, "channel")), channel) == 0 &&
				strcmp(gd_to_text(gd_get(v, "payload")), "hello") == 0);
	else if (v)
		must(n, gd_failed(v) != -ECANCELED || gd_cancelled());
	if (chance(n, 2))
		gd_close(c);
}

/* --- MongoDB --- */

static void op_mongo_writes(struct node *n)
{
	const char *key = gd_format("k%u", pick(n, 1u << 30));
	gd_value *v = gd_mongo_insert_one(NULL, "db", "random_things", gd_build("{_id: %s, n: 1}", key));
	if (!good(n, v))
		return;
	v = gd_mongo_update_one(NULL, "db", "random_things", gd_doc("_id", gd_string(key)), gd_build("{$inc: {n: 4}}"),
				NULL);
	if (!good(n, v))
		return;
	must(n, gd_to_int(gd_get(v, "matched_count"), -1) == 1);
	v = gd_mongo_find_one(NULL, "db", "random_things", gd_doc("_id", gd_string(key)), NULL);
	if (good(n, v))
		must(n, gd_to_int(gd_get(v, "n"), -1) == 5);
	v = gd_mongo_delete_many(NULL, "db", "random_things", gd_doc("_id", gd_string(key)));
	if (good(n, v))
		must(n, gd_to_int(gd_get(v, "deleted_count"), -1) == 1);
}

static void op_mongo_gather(struct node *n)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_value *count = gd_mongo_count(g, "db", "points", gd_doc(), NULL);
	gd_value *some = gd_mongo_find(g, "db", "points", gd_doc(), gd_build("{limit: 7}"));
	gd_value *wrong = gd_mongo_find(g, "db", "points", gd_build("{$nonsense: 1}"), NULL);
	gd_deadline by = soon(n);
	if (gd_gather_wait(g, by) < 0)
		return;
	must(n, gd_failed(wrong) < 0);
	if (gd_failed(count) == 0)
		must(n, gd_to_int(count, -1) == 250);
	if (gd_failed(some) == 0)
		must(n, gd_count(some) == 7);
}

static void op_mongo_stream(struct node *n)
{
	gd_cursor *c = gd_mongo_find_stream("db", "points", gd_doc(), gd_build("{batch_size: 20}"));
	unsigned stop = chance(n, 2) ? pick(n, 250) : 300, seen = 0;
	gd_value *row = NULL;
	while (seen < stop && (row = gd_next(c)) && gd_failed(row) == 0) {
		seen++;
		if (chance(n, 100))
			run_within(n);
	}
	if (!row && stop > 250)
		must(n, seen == 250);
	else if (row)
		good(n, row);
	if (chance(n, 2))
		gd_close(c);
}

static void op_gridfs(struct node *n)
{
	static const char chunk[1000];
	unsigned pieces = pick(n, 600);
	gd_gridfs *f = gd_gridfs_create("db", "random", "a file", NULL);
	int r = 0;
	for (unsigned i = 0; r == 0 && i < pieces; i++)
		r = gd_gridfs_write(f, chunk, sizeof(chunk));
	if (!fine(n, r) || chance(n, 4))
		return; /* the scope removes it */
	gd_value *done = gd_gridfs_finish(f), *part;
	if (!good(n, done))
		return;
	size_t len, sum = 0;
	gd_cursor *c = gd_gridfs_read("db", "random", gd_get(done, "_id"));
	while ((part = gd_next(c)) && gd_failed(part) == 0) {
		gd_to_bytes(part, &len);
		sum += len;
	}
	must(n, part || sum == pieces * sizeof(chunk));
	gd_mongo_count(NULL, "db", "random.files", gd_doc(), NULL);
	gd_gridfs_delete(NULL, "db", "random", gd_get(done, "_id"));
}

/* --- HTTP --- */

static void op_http(struct node *n)
{
	static const char *const paths[] = {"/json", "/slow", "/wrong", "/reset", "/none"};
	gd_gather *g = chance(n, 2) ? gd_gather_new(GD_ALL) : NULL;
	gd_value *values[sizeof(paths) / sizeof(paths[0])];
	unsigned count = 1 + pick(n, sizeof(paths) / sizeof(paths[0]));
	for (unsigned i = 0; i < count; i++)
		values[i] = gd_http_get(g, "web", paths[i]);
	gd_deadline by = soon(n);
	if (g && gd_gather_wait(g, by) < 0)
		return;
	if (gd_failed(values[0]) == 0)
		must(n, gd_to_int(gd_get(values[0], "n"), -1) == 5);
	for (unsigned i = 2; i < count; i++)
		must(n, gd_failed(values[i]) < 0 && gd_failed(values[i]) != -EINPROGRESS);
}

static void op_http_stream(struct node *n)
{
	static const char *const paths[] = {"/big", "/cut", "/json", "/wrong"};
	gd_http_request request = {.path = paths[pick(n, 4)], .query = gd_doc("q", gd_list(gd_int(1), gd_null()))};
	gd_http_stream *s = gd_http_open("web", &request);
	gd_value *head = gd_http_head(s);
	const void *p;
	int64_t r, sum = 0;
	unsigned stop = pick(n, 100);
	if (gd_failed(head) < 0) {
		must(n, gd_failed(head) != -ECANCELED || gd_cancelled());
		return;
	}
	while ((r = gd_http_read(s, &p)) > 0 && stop-- > 0) {
		sum += r;
		if (chance(n, 50))
			run_within(n);
	}
	must(n, r != 0 || strcmp(request.path, "/cut") != 0);
	must(n, r != 0 || strcmp(request.path, "/big") != 0 || sum == 300000);
	if (chance(n, 2))
		gd_http_close(s);
}

/* --- files --- */

/* Whoever reads sees all that one has written, and nothing of another. */
static void op_file_whole(struct node *n)
{
	const char *path = gd_format("whole%u", pick(n, 3));
	size_t len, size = 1 + pick(n, 20000);
	if (chance(n, 2)) {
		char *content = gd_alloc(size);
		memset(content, 'a' + (int)pick(n, 26), size);
		good(n, gd_write_file(NULL, "papers", path, gd_string_n(content, size)));
		return;
	}
	gd_value *v = gd_read_file(NULL, "papers", path);
	if (gd_failed(v) == -ENOENT || !good(n, v))
		return;
	const char *text = gd_to_bytes(v, &len);
	for (size_t i = 1; i < len; i++) {
		if (text[i] != text[0]) {
			violation(n, "a file of two writers");
			return;
		}
	}
}

static void op_file_open(struct node *n)
{
	const char *path = gd_format("open%u", pick(n, 3));
	gd_open_mode mode = (gd_open_mode)pick(n, 4);
	gd_file *f = gd_file_open("papers", path, mode);
	char some[3000] = {0};
	for (unsigned i = pick(n, 6); i > 0; i--) {
		size_t len = pick(n, sizeof(some));
		int64_t r = mode != GD_OPEN_READ ? gd_file_write(f, some, len) : gd_file_read(f, some, len);
		must(n, r <= (int64_t)len);
		must(n, r != -ECANCELED || gd_cancelled());
		r = gd_file_seek(f, (int64_t)pick(n, 100), (int)pick(n, 3));
		must(n, r != -ECANCELED || gd_cancelled());
		if (chance(n, 8))
			run_within(n);
	}
	if (chance(n, 2))
		gd_file_close(f, chance(n, 2));
}

static void op_files(struct node *n)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	const char *path = gd_format("one%u", pick(n, 3));
	gd_value *still = gd_read_file(g, "papers", "still.txt");
	gd_value *appended = gd_append_file(g, "papers", path, gd_string("x"));
	gd_value *removed = gd_remove_file(g, "papers", path);
	gd_value *list = gd_list_folder(g, "papers", "");
	gd_value *stat = gd_stat_file(g, "papers", "still.txt");
	gd_value *out = gd_read_file(g, "papers", "../still.txt");
	gd_deadline by = soon(n);
	if (expect(n, gd_gather_wait(g, by), by, 0) < 0)
		return;
	if (good(n, still))
		must(n, strcmp(gd_to_text(still), "0123456789") == 0);
	if (good(n, stat))
		must(n, gd_to_int(gd_get(stat, "size"), -1) == 10);
	if (good(n, list))
		must(n, gd_count(list) >= 1);
	good(n, appended);
	must(n, gd_failed(out) < 0 && (gd_failed(removed) == 0 || gd_failed(removed) < 0));
}

/* --- what two tasks use, and what ends with its scope while the other one is in it --- */

enum shared_kind { ROWS, NOTIFICATIONS, COPY, DOCUMENTS, ANSWER, FILE_OPEN, SHARED_KINDS };

struct shared {
	enum shared_kind kind;
	gd_cursor *cursor;
	gd_copy *copy;
	gd_http_stream *answer;
	gd_file *file;
	enum { NOT_YET, THERE, GONE } state;
};

static const unsigned shared_clients[SHARED_KINDS] = {PG, PG, PG, MONGO, WEB, PAPERS};

static void open_shared(struct shared *s)
{
	gd_http_request request = {.path = "/big"};
	switch (s->kind) {
	case ROWS:
		s->cursor = gd_pg_stream("pg", "select n, pg_sleep(0.001) from generate_series(1, 500) n", NULL);
		break;
	case NOTIFICATIONS:
		s->cursor = gd_pg_listen("pg", "random0");
		break;
	case COPY:
		s->copy = gd_pg_copy("pg", "copy (select n, pg_sleep(0.001) from generate_series(1, 500) n) to stdout");
		break;
	case DOCUMENTS:
		s->cursor = gd_mongo_find_stream("db", "points", gd_doc(), gd_build("{batch_size: 5}"));
		break;
	case ANSWER:
		s->answer = gd_http_open("web", &request);
		break;
	default:
		s->file = gd_file_open("papers", "still.txt", GD_OPEN_READ);
	}
	s->state = THERE;
}

/* Below 0: it failed, or is at its end. */
static int64_t use_shared(struct shared *s)
{
	char some[10];
	const void *p;
	gd_value *v;
	switch (s->kind) {
	case COPY:
		return gd_copy_read(s->copy, &p) - 1;
	case ANSWER:
		return gd_http_read(s->answer, &p) - 1;
	case FILE_OPEN:
		gd_file_seek(s->file, 0, SEEK_SET);
		return gd_file_read(s->file, some, sizeof(some)) - 1;
	default:
		v = gd_next(s->cursor);
		return v ? gd_failed(v) : -1;
	}
}

static int use_beside(void *arg)
{
	struct shared *s = arg;
	int r = 0;
	while (s->state == NOT_YET && r == 0)
		r = gd_yield();
	for (int i = 0; i < 20 && s->state == THERE && use_shared(s) >= 0; i++) {}
	return 0;
}

static void op_shared(struct node *n)
{
	struct shared *shared = gd_alloc(sizeof(*shared));
	shared->kind = (enum shared_kind)pick(n, SHARED_KINDS);
	if (!(n->program->clients & shared_clients[shared->kind]))
		return;
	gd_task *other = gd_spawn("uses it, too", use_beside, shared);
	gd_scope *s = gd_scope_begin();
	gd_deadline before = gd_deadline_push(gd_in_ms(50 + pick(n, 100)));
	open_shared(shared);
	gd_deadline_pop(before);
	for (unsigned i = pick(n, 4); i > 0; i--)
		chance(n, 2) ? (void)gd_yield() : (void)use_shared(shared);
	shared->state = GONE;
	gd_scope_end(s);
	gd_await(other, soon(n));
}

/* clang-format off */
const struct operation client_operations[] = {
	{"pg_query",       5, PG,     op_pg_query},
	{"pg_wrong",       2, PG,     op_pg_wrong},
	{"pg_gather",      5, PG,     op_pg_gather},
	{"pg_transaction", 5, PG,     op_pg_transaction},
	{"pg_stream",      3, PG,     op_pg_stream},
	{"pg_copy",        2, PG,     op_pg_copy},
	{"pg_listen",      3, PG,     op_pg_listen},
	{"mongo_writes",   2, MONGO,  op_mongo_writes},
	{"mongo_gather",   3, MONGO,  op_mongo_gather},
	{"mongo_stream",   3, MONGO,  op_mongo_stream},
	{"gridfs",         1, MONGO,  op_gridfs},
	{"http",           4, WEB,    op_http},
	{"http_stream",    4, WEB,    op_http_stream},
	{"file_whole",     3, PAPERS, op_file_whole},
	{"file_open",      3, PAPERS, op_file_open},
	{"shared",         3, 0, op_shared},
	{"files",          3, PAPERS, op_files},
	{NULL, 0, 0, NULL},
};
/* clang-format on */

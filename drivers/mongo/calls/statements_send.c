/* Cutting statements into commands, sending them, adding up what the answers say. */
#include "drivers/mongo/calls/statements_send.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"
#include "base/mem.h"
#include "base/reason.h"
#include "drivers/mongo/calls/send.h"
#include "drivers/mongo/wire/errors.h"

#define KEY(s)      s, sizeof(s) - 1
#define KEY_LEN_MAX 12 /* of a statement in an array: type, digits, NUL */

static const struct {
	const char *command, *list;
} kinds[STATEMENT_KINDS] = {
	[STATEMENT_INSERT] = {"insert", "documents"},
	[STATEMENT_UPDATE] = {"update", "updates"},
	[STATEMENT_DELETE] = {"delete", "deletes"},
};

/* The first error of each kind that the answers report. */
struct reported {
	unsigned count;
	uint32_t index; /* of the statement */
	uint32_t code;
	char message[256];
};

/* A statement that failed, for the problem's `errors`. */
enum { FAILURES_SHOWN = 50 };
struct failure {
	uint32_t index, code;
};

struct dispatch {
	struct mongo_operation operation;
	struct mongo_statements *statements;
	const char *collection;
	uint32_t *order; /* the statements in the order in which they are sent */
	struct buf command;
	uint32_t done; /* statements without an error */
	struct reported error, concern;
	struct failure failures[FAILURES_SHOWN]; /* the first ones */
	const struct run_options *options;
};

/* Of one command: statements order[first] to before order[end]. */
struct span {
	uint32_t first, end;
};

static void put_in_order(struct dispatch *x)
{
	const struct mongo_statements *s = x->statements;
	uint32_t n = 0;

	for (uint32_t i = 0; s->ordered && i < s->count; i++)
		x->order[i] = i;
	for (int kind = 0; !s->ordered && kind < STATEMENT_KINDS; kind++) {
		for (uint32_t i = 0; i < s->count; i++) {
			if (s->items[i].kind == (enum mongo_statement_kind)kind)
				x->order[n++] = i;
		}
	}
}

/* As many of one kind as go into one command. Its own document is not to be larger than the largest that may be stored;
 * the server leaves 16 KiB beyond that for what stands beside the statements. */
static struct span next_span(const struct dispatch *x, uint32_t first, const struct mongo_connection_limits *limits)
{
	const struct mongo_statements *s = x->statements;
	enum mongo_statement_kind kind = s->items[x->order[first]].kind;
	struct span span = {first, first};
	size_t bytes = 0;

	for (; span.end < s->count && span.end - first < limits->statements; span.end++) {
		const struct mongo_statement *i = &s->items[x->order[span.end]];
		bytes += i->len + KEY_LEN_MAX;
		if (i->kind != kind || (bytes > limits->document_bytes && span.end > first))
			break;
	}
	return span;
}

static void make_command(struct dispatch *x, struct span span)
{
	const struct mongo_statements *s = x->statements;
	enum mongo_statement_kind kind = s->items[x->order[span.first]].kind;
	struct mongo_command limited = {0};
	struct mongo_out out;
	char digits[16];
	const char *key;

	x->command.len = 0;
	mongo_out_init(&out, &x->command);
	mongo_out_document(&out);
	mongo_out_text(&out, kinds[kind].command, strlen(kinds[kind].command), x->collection, strlen(x->collection));
	mongo_out_begin(&out, BSON_TYPE_ARRAY, kinds[kind].list, strlen(kinds[kind].list));
	for (uint32_t i = span.first; i < span.end; i++) {
		const struct mongo_statement *one = &s->items[x->order[i]];
		size_t len = bson_uint32_to_string(i - span.first, &key, digits, sizeof(digits));
		mongo_out_raw(&out, BSON_TYPE_DOCUMENT, key, len, s->bytes.data + one->at, one->len);
	}
	mongo_out_end(&out);
	mongo_out_bool(&out, KEY("ordered"), s->ordered);
	buf_append(&x->command, s->beside.data, s->beside.len);
	mongo_out_int32(&out, KEY("maxTimeMS"), INT32_MAX);
	limited.max_time_at = x->command.len - sizeof(int32_t);
	mongo_out_end(&out);
	limited.bytes = x->command;
	mongo_command_limit(&limited, task_deadline());
}

static int64_t number_in(const struct mongo_element *document, const char *name)
{
	struct mongo_element n = mongo_element_find(document->value, document->len, name, strlen(name));
	return mongo_element_integer(&n, 0);
}

/* {index, code, errmsg} */
static void note_reported(struct reported *r, const struct mongo_element *error, uint32_t index)
{
	struct mongo_element text = mongo_element_find(error->value, error->len, KEY("errmsg"));
	size_t len = 0;

	if (r->count++)
		return;
	const char *message = text.type == BSON_TYPE_UTF8 ? mongo_read_text(&text, &len) : "";
	r->index = index;
	r->code = (uint32_t)number_in(error, "code");
	snprintf(r->message, sizeof(r->message), "%.*s", (int)(len < sizeof(r->message) ? len : sizeof(r->message)),
		 message);
}

static void note_error(struct dispatch *x, const struct mongo_element *e, uint32_t index)
{
	if (x->error.count < FAILURES_SHOWN)
		x->failures[x->error.count] = (struct failure){index, (uint32_t)number_in(e, "code")};
	note_reported(&x->error, e, index);
}

/* Which statement an element of an answer's list speaks of. */
static uint32_t index_of(const struct dispatch *x, struct span span, const struct mongo_element *e)
{
	int64_t n = number_in(e, "index");
	uint32_t last = span.end - span.first - 1;

	return x->order[span.first + (n >= 0 && n <= (int64_t)last ? (uint32_t)n : last)];
}

static void note_upsert(struct dispatch *x, const struct mongo_element *e, uint32_t index)
{
	struct mongo_statements *s = x->statements;
	struct mongo_element id = mongo_element_find(e->value, e->len, KEY("_id"));
	char digits[16];
	const char *key;
	size_t len = bson_uint32_to_string(s->upserts++, &key, digits, sizeof(digits));

	mongo_out_begin(&s->upserted, BSON_TYPE_DOCUMENT, key, len);
	mongo_out_int(&s->upserted, KEY("index"), index);
	mongo_out_raw(&s->upserted, id.type, KEY("id"), id.value, id.len);
	mongo_out_end(&s->upserted);
}

static void count_done(struct dispatch *x, enum mongo_statement_kind kind, int64_t n, int64_t modified,
		       uint32_t upserts)
{
	struct mongo_statements *s = x->statements;

	switch (kind) {
	case STATEMENT_INSERT:
		s->inserted += n;
		break;
	case STATEMENT_UPDATE:
		s->matched += n - upserts;
		s->modified += modified;
		break;
	default:
		s->deleted += n;
	}
}

/* Each document in a list of the answer. */
static void note_each(struct dispatch *x, struct span span, const struct mongo_element *list,
		      void (*note)(struct dispatch *x, const struct mongo_element *e, uint32_t index))
{
	struct mongo_element_iter i;
	struct mongo_element e;

	if (list->type != BSON_TYPE_ARRAY || !mongo_element_iter_init(&i, list->value, list->len))
		return;
	while (mongo_element_next(&i, &e)) {
		if (e.type == BSON_TYPE_DOCUMENT)
			note(x, &e, index_of(x, span, &e));
	}
}

static int read_answer(struct dispatch *x, const struct mongo_sending *sending, struct span span,
		       const struct mongo_answer *answer)
{
	enum mongo_statement_kind kind = x->statements->items[x->order[span.first]].kind;
	struct mongo_element n = mongo_answer_member(answer, "n"), modified = mongo_answer_member(answer, "nModified");
	struct mongo_element upserted = mongo_answer_member(answer, "upserted"),
			     errors = mongo_answer_member(answer, "writeErrors");
	struct mongo_element concern = mongo_answer_member(answer, "writeConcernError");
	uint32_t upserts = x->statements->upserts, before = x->error.count;

	if (!n.type) {
		int r = mongo_answer_lacks(sending, "n");
		mongo_error_uncertain(sending->error);
		return r;
	}
	note_each(x, span, &upserted, note_upsert);
	note_each(x, span, &errors, note_error);
	if (concern.type == BSON_TYPE_DOCUMENT)
		note_reported(&x->concern, &concern, 0);
	count_done(x, kind, mongo_element_integer(&n, 0), mongo_element_integer(&modified, 0),
		   x->statements->upserts - upserts);
	uint32_t failed = x->error.count - before;
	x->done += failed && x->statements->ordered ? x->error.index - span.first : span.end - span.first - failed;
	return 0;
}

/* How far it came, for whoever has to clean up. */
static void say_done(const struct dispatch *x, bool open, struct error *e)
{
	uint32_t count = x->statements->count;
	size_t what = strlen(e->what);
	char part[64];

	/* Nothing stays of a transaction that was not committed. */
	if (x->done && !open && e->change == CHANGE_NONE)
		e->change = x->concern.count ? CHANGE_UNKNOWN : CHANGE_PARTIAL;
	if (count <= 1)
		return;
	snprintf(e->what + what, sizeof(e->what) - what, "; %u of %u were done", x->done, count);
	if (!e->public[0])
		return;
	snprintf(part, sizeof(part), REASON_PART_DONE, x->done, count);
	error_add_public(e, part);
}

static void put_count(struct buf *out, const char *name, int64_t n)
{
	buf_printf(out, "%s\"%s\":%lld", out->len ? "," : "", name, (long long)n);
}

/* {pointer, detail, code}: where in the list it stands that was given. */
static void put_failure(struct buf *out, const struct failure *f, bool from_request)
{
	struct error e = ERROR_INIT;
	unsigned ignored;

	(void)mongo_statement_error(&e, f->code, "", from_request, &ignored);
	buf_printf(out, "{\"pointer\":\"#/%u\"", f->index);
	if (e.public[0]) {
		buf_lit(out, ",\"detail\":");
		json_string(out, e.public, strlen(e.public));
	}
	buf_printf(out, ",\"code\":\"%u\"}", f->code);
}

/* The members of the problem that say which statements failed, and how much was done. */
static const char *failure_members(const struct dispatch *x)
{
	const struct mongo_statements *s = x->statements;
	bool has[STATEMENT_KINDS] = {false};
	struct buf out = BUF_INIT;

	for (uint32_t i = 0; i < s->count; i++)
		has[s->items[i].kind] = true;
	if (has[STATEMENT_INSERT])
		put_count(&out, "inserted_count", s->inserted);
	if (has[STATEMENT_UPDATE]) {
		put_count(&out, "matched_count", s->matched);
		put_count(&out, "modified_count", s->modified);
	}
	if (has[STATEMENT_DELETE])
		put_count(&out, "deleted_count", s->deleted);
	buf_lit(&out, ",\"errors\":[");
	for (unsigned i = 0; i < x->error.count && i < FAILURES_SHOWN; i++) {
		if (i)
			buf_char(&out, ',');
		put_failure(&out, &x->failures[i], s->maker.from_request);
	}
	buf_char(&out, ']');
	const char *text = arena_strndup(x->options->arena, out.data, out.len);
	buf_done(&out);
	return text;
}

static int refused(const struct dispatch *x, bool open, struct error *e, unsigned *consequences)
{
	const struct mongo_statements *s = x->statements;
	char text[sizeof(x->error.message) + 32];

	if (s->count > 1)
		snprintf(text, sizeof(text), "at index %u: %s", x->error.index, x->error.message);
	int r = mongo_statement_error(e, x->error.code, s->count > 1 ? text : x->error.message, s->maker.from_request,
				      consequences);
	say_done(x, open, e);
	if (s->listed && x->options->arena)
		e->members = failure_members(x);
	return r;
}

static int check_sizes(const struct dispatch *x, const struct mongo_connection_limits *limits)
{
	const struct mongo_statements *s = x->statements;
	bool theirs = s->maker.from_request;

	for (uint32_t i = 0; i < s->count; i++) {
		if (s->items[i].kind == STATEMENT_INSERT && s->items[i].len > limits->document_bytes)
			return error_say(x->operation.error, -E2BIG, theirs ? REASON_DOCUMENT_LARGE : REASON_NONE,
					 "document %u has %zu bytes, of %zu that MongoDB takes", i, s->items[i].len,
					 limits->document_bytes);
	}
	return 0;
}

static int send_span(struct dispatch *x, const struct mongo_sending *sending, struct span span)
{
	struct mongo_answer answer = {0};
	bson_t document;

	make_command(x, span);
	if (!bson_init_static(&document, (const uint8_t *)x->command.data, x->command.len))
		return error_set(sending->error, -E2BIG, sending->from_request ? 413 : 500, NULL,
				 "the command is too large");
	int r = mongo_send_write(sending, &document, &answer);
	if (r == 0)
		r = read_answer(x, sending, span, &answer);
	bson_free(answer.data);
	if (r < 0 && x->done)
		say_done(x, sending->connection->session.open, sending->error);
	return r;
}

static int send_all(struct mongo_operation *a, struct mongo_connection *c, unsigned *consequences)
{
	struct dispatch *x = container_of(a, struct dispatch, operation);
	const struct mongo_statements *s = x->statements;
	struct mongo_sending sending = {.connection = c,
					.database = a->client->pool.settings->database,
					.from_request = s->maker.from_request,
					.error = a->error,
					.consequences = consequences};
	struct span span = {0};
	int r = check_sizes(x, &c->limits);

	while (r == 0 && span.end < s->count && !(x->error.count && s->ordered)) {
		span = next_span(x, span.end, &c->limits);
		r = send_span(x, &sending, span);
	}
	if (r == 0 && x->error.count)
		r = refused(x, c->session.open, a->error, consequences);
	else if (r == 0 && x->concern.count)
		r = mongo_concern_error(a->error, x->concern.code, x->concern.message);
	return r;
}

int mongo_statements_send(struct mongo_statements *s, const struct mongo_target *t, struct error *e)
{
	struct dispatch x = {.operation = {.client = mongo_client_of(t->client),
					   .run = send_all,
					   .timeout_us = t->options->timeout_us,
					   .once = true,
					   .by = DEADLINE_NEVER,
					   .error = e},
			     .statements = s,
			     .options = t->options,
			     .collection = t->collection};

	if (s->count == 0)
		return 0;
	x.order = mem_alloc(s->count * sizeof(*x.order));
	put_in_order(&x);
	int r = mongo_run(&x.operation);
	buf_done(&x.command);
	free(x.order);
	return r;
}

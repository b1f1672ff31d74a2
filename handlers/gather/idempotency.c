/* Keys and their rows. Everything that is asked of the store is one statement. */
#include "handlers/gather/idempotency.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#include "async/task.h"
#include "base/ascii.h"
#include "base/json_out.h"
#include "base/log.h"
#include "drivers/postgres/calls/query.h"

#define MAX_KEY         255
#define MAX_KEPT_BYTES  ((size_t)1 << 20)
#define LEASE_MARGIN_US 10000000 /* beyond the request's deadline */
#define SETTLE_US       2000000
#define EXPIRE_US       5000000
#define MAX_CLAIMS      5 /* a row that others give back and take all the time */
#define DIGEST_BYTES    32
#define CLAIM_BYTES     16
#define TOO_LARGE       0 /* as a status: the request was done, its reply was too large to be kept */

const char idempotency_schema[] =
	"-- What `idempotency` of gatherd's endpoints keeps. Its user needs select, insert, update and delete.\n"
	"create table if not exists gatherd_idempotency (\n"
	"  endpoint    text not null,\n"
	"  subject     text not null,        -- who: the same key of two users is two keys\n"
	"  key         text not null,\n"
	"  fingerprint bytea not null,       -- SHA-256 of the request\n"
	"  claim       text not null,        -- the run that has claimed the key\n"
	"  lease       timestamptz not null, -- until then the request that has claimed the key may run\n"
	"  expires     timestamptz not null,\n"
	"  status      integer,              -- of the reply; null: there is none yet\n"
	"  headers     json,                 -- of the reply: [name, value], ...\n"
	"  body        text,\n"
	"  primary key (endpoint, subject, key)\n"
	");\n"
	"create index if not exists gatherd_idempotency_expires on gatherd_idempotency (expires);\n";

struct idempotency {
	const struct config_idempotency *config;
	struct exchange *exchange;
	const char *endpoint;
	struct span key;
	unsigned char digest[DIGEST_BYTES];
	char hex[2 * DIGEST_BYTES + 1];  /* of the digest */
	char claim[2 * CLAIM_BYTES + 1]; /* whose the row is: made by chance */
};

/* --- the key --- */

/* As it is, or a quoted string of structured fields (RFC 8941, 3.3.3). base NULL: it is neither. */
static struct span key_of(struct span field, struct arena *a)
{
	bool quoted = field.len >= 2 && field.base[0] == '"' && field.base[field.len - 1] == '"';
	const char *p = field.base + quoted, *end = field.base + field.len - quoted;
	char *out = arena_alloc(a, field.len + 1);
	size_t len = 0;

	for (; p < end; p++) {
		if (quoted && *p == '\\' && p + 1 < end)
			p++;
		else if (*p <= ' ' || *p > '~' || *p == '"')
			return (struct span){0};
		out[len++] = *p;
	}
	return len > 0 && len <= MAX_KEY ? (struct span){out, len} : (struct span){0};
}

/* NUL-terminated. */
static void to_hex(char *out, const unsigned char *p, size_t len)
{
	for (size_t n = 0; n < len; n++) {
		*out++ = ascii_hex_digit(p[n] >> 4);
		*out++ = ascii_hex_digit(p[n]);
	}
	*out = '\0';
}

static void add_part(EVP_MD_CTX *md, const void *p, size_t len)
{
	uint64_t size = len;

	EVP_DigestUpdate(md, &size, sizeof(size));
	EVP_DigestUpdate(md, p, len);
}

/* SHA-256 of method, target, type and body. */
static void digest_of(struct idempotency *i)
{
	const struct exchange *x = i->exchange;
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	EVP_DigestInit_ex(md, EVP_sha256(), NULL);
	add_part(md, &x->method, sizeof(x->method));
	add_part(md, x->path.base, x->path.len);
	add_part(md, x->query.base, x->query.len);
	add_part(md, x->content_type.base, x->content_type.len);
	add_part(md, x->body.base, x->body.len);
	EVP_DigestFinal_ex(md, i->digest, NULL);
	EVP_MD_CTX_free(md);
	to_hex(i->hex, i->digest, DIGEST_BYTES);
}

int idempotency_take(struct idempotency **out, const struct config_endpoint *endpoint, struct exchange *x,
		     struct error *e)
{
	struct span field = exchange_header_list(x, "idempotency-key");

	*out = NULL;
	if (!field.base && endpoint->idempotency->required)
		return error_say(e, -EINVAL, REASON_KEY_MISSING, "no Idempotency-Key");
	if (!field.base)
		return 0;
	struct idempotency *i = arena_zalloc(&x->arena, sizeof(*i));
	*i = (struct idempotency){.config = endpoint->idempotency, .exchange = x, .endpoint = endpoint->name};
	i->key = key_of(field, &x->arena);
	if (!i->key.base)
		return error_say(e, -EINVAL, REASON_KEY_BAD, "the Idempotency-Key is not 1 to %d visible characters",
				 MAX_KEY);
	digest_of(i);
	unsigned char claim[CLAIM_BYTES];
	if (RAND_bytes(claim, sizeof(claim)) != 1)
		return error_set(e, -EIO, 500, NULL, "no random bytes are to be had");
	to_hex(i->claim, claim, sizeof(claim));
	*out = i;
	return 0;
}

/* --- its row --- */

static void log_failure(const struct idempotency *i, const char *message, const struct error *e)
{
	struct buf what = BUF_INIT;

	logfmt_value(&what, e->what, strlen(e->what));
	log_line(LOG_LINE_WARNING, message, "id=%s endpoint=\"%s\" error=%s", i->exchange->id, i->endpoint,
		 buf_cstr(&what));
	buf_done(&what);
}

/* The parameters of every statement begin with these. */
enum { ENDPOINT, SUBJECT, KEY, OWN };

static struct value text_value(const char *text)
{
	return value_string(text, strlen(text));
}

/* Suspends. One statement; args: from OWN on those of its own. *rows is what it brings, as JSON in the exchange's
 * arena; NULL: nothing. It is committed in its flush: no row is looked at before that. */
static int ask(struct idempotency *i, struct client *store, const char *sql, struct value *args, unsigned count,
	       struct span *rows, struct error *e)
{
	struct pg_ask ask = {.call = "idempotency",
			     .sql = sql,
			     .len = strlen(sql),
			     .args = args,
			     .count = count,
			     .expect = EXPECT_MANY,
			     .writes = true};
	struct pg_answer answer;
	struct buf text = BUF_INIT;

	args[ENDPOINT] = text_value(i->endpoint);
	args[SUBJECT] = text_value("");
	args[KEY] = value_string(i->key.base, i->key.len);
	int r = pg_query(pg_client_of(store), &ask, &answer, e);
	if (r < 0)
		return r;
	if (rows && answer.result) {
		answer.result->ops->render(answer.result, &text);
		*rows = (struct span){arena_strndup(&i->exchange->arena, text.data, text.len), text.len};
		buf_done(&text);
	}
	result_free(answer.result);
	return 0;
}

/* Make the row, or take over one that has expired or (if that is wanted) was left; and say what is there. Whoever
 * inserts the same key at the same time is waited for; its row may then be there without being seen here. */
static const char claim_query[] =
	"with claim as (insert into gatherd_idempotency as i (endpoint, subject, key, claim, fingerprint, lease, "
	"expires) "
	"values ($1, $2, $3, $4, decode($5, 'hex'), now() + $6 * interval '1 microsecond', "
	"now() + $7 * interval '1 microsecond') "
	"on conflict (endpoint, subject, key) do update set claim = excluded.claim, "
	"fingerprint = excluded.fingerprint, lease = excluded.lease, expires = excluded.expires, status = null, "
	"headers = null, body = null "
	"where i.expires <= now() "
	"or ($8 and i.status is null and i.lease <= now() and i.fingerprint = excluded.fingerprint) returning 1) "
	"select json_build_object('claimed', exists(select from claim), 'same', k.fingerprint = decode($5, 'hex'), "
	"'wait', ceil(extract(epoch from k.lease - now())), 'status', k.status, 'headers', k.headers, 'body', k.body) "
	"row "
	"from (select) one left join gatherd_idempotency k on (k.endpoint, k.subject, k.key) = ($1, $2, $3)";

static const struct json *member(const struct json *row, const char *name)
{
	const struct json *m = json_member(row, name, strlen(name));

	return m && m->kind != JSON_NULL ? m : NULL;
}

static bool is(const struct json *j, enum json_kind kind)
{
	return j && j->kind == kind;
}

static int64_t whole(const struct json *number)
{
	struct value v = value_from_json(number);

	return v.kind == VALUE_INT ? v.integer : 0;
}

/* The reply, as it was kept. */
static void read_reply(const struct idempotency *i, const struct json *row, struct reply *kept)
{
	const struct json *headers = member(row, "headers"), *body = member(row, "body");
	struct arena *a = &i->exchange->arena;

	*kept = (struct reply){.status = (unsigned)whole(member(row, "status")), .content_type = ""};
	for (const struct json *h = is(headers, JSON_ARRAY) ? headers->child : NULL; h; h = h->next) {
		const struct json *name = is(h, JSON_ARRAY) ? h->child : NULL, *value = name ? name->next : NULL;
		if (!is(name, JSON_STRING) || !is(value, JSON_STRING))
			continue;
		struct header *out = &kept->headers[kept->header_count];
		out->name = (struct span){arena_strndup(a, name->text, name->len), name->len};
		out->value = (struct span){arena_strndup(a, value->text, value->len), value->len};
		if (strcmp(out->name.base, "content-type") == 0)
			kept->content_type = out->value.base;
		else if (++kept->header_count == ARRAY_SIZE(kept->headers) - 1)
			break;
	}
	kept->headers[kept->header_count++] = (struct header){{"idempotency-replayed", 20}, {"true", 4}};
	if (is(body, JSON_STRING))
		buf_append(&kept->body, body->text, body->len);
}

/* The key is somebody's. As idempotency_claim; -EAGAIN with e empty: its row is not to be seen yet. */
static int look(const struct idempotency *i, const struct json *row, struct reply *kept, struct error *e)
{
	const struct json *same = member(row, "same"), *status = member(row, "status"), *wait = member(row, "wait");

	if (!same)
		return -EAGAIN;
	if (!same->boolean)
		return error_say(e, -EINVAL, REASON_KEY_OTHER, "the Idempotency-Key is another request's");
	if (status && whole(status) == TOO_LARGE)
		return error_say(e, -EEXIST, REASON_KEY_LARGE, "the first reply was too large to be kept");
	if (status) {
		read_reply(i, row, kept);
		return 1;
	}
	if (wait && whole(wait) > 0) {
		error_say(e, -EBUSY, REASON_KEY_RUNNING, "the first request with the Idempotency-Key runs still");
		e->retry_after_s = 1;
		return -EBUSY;
	}
	error_say(e, -EEXIST, REASON_KEY_UNKNOWN, "nobody knows what became of the first request");
	e->change = CHANGE_UNKNOWN;
	return -EEXIST;
}

/* Suspends. The store has failed. Its row may have been made all the same, for a request that does not run. */
static int not_claimed(struct idempotency *i, struct client *store, int r, struct error *e)
{
	if (e->change == CHANGE_UNKNOWN) {
		idempotency_settle(i, store, IDEMPOTENCY_NOTHING, NULL);
		e->change = CHANGE_NONE;
		snprintf(e->public, sizeof(e->public), "%s", reason_text(REASON_UNAVAILABLE));
	}
	return r;
}

int idempotency_claim(struct idempotency *i, struct client *store, struct reply *kept, struct error *e)
{
	struct value args[] = {[OWN] = text_value(i->claim),
			       text_value(i->hex),
			       value_int(deadline_left_us(i->exchange->by) + LEASE_MARGIN_US),
			       value_int(i->config->ttl_us),
			       value_bool(i->config->rerun)};
	char why[128];

	for (unsigned n = 0; n < MAX_CLAIMS; n++) {
		struct span rows = {0};
		struct json *list;
		int r = ask(i, store, claim_query, args, ARRAY_SIZE(args), &rows, e);
		if (r < 0)
			return not_claimed(i, store, r, e);
		r = json_parse(&list, &i->exchange->arena, rows.base, rows.len, JSON_MAX_DEPTH, why, sizeof(why));
		if (r < 0)
			return error_say(e, -EIO, REASON_ANSWER_DAMAGED, "the row of an Idempotency-Key: %s", why);
		const struct json *row = member(list->child, "row");
		if (member(row, "claimed")->boolean)
			return 0;
		r = look(i, row, kept, e);
		if (r != -EAGAIN)
			return r;
	}
	return error_say(e, -EAGAIN, REASON_CONFLICT, "the row of an Idempotency-Key comes and goes");
}

/* --- the end --- */

static void header_pair(struct buf *out, struct span name, struct span value)
{
	buf_char(out, out->len > 1 ? ',' : ' ');
	buf_char(out, '[');
	json_string(out, name.base, name.len);
	buf_char(out, ',');
	json_string(out, value.base, value.len);
	buf_char(out, ']');
}

static void write_headers(const struct reply *reply, struct buf *out)
{
	const char *type = reply->content_type ? reply->content_type : "application/json";

	buf_char(out, '[');
	if (*type)
		header_pair(out, (struct span){"content-type", 12}, (struct span){type, strlen(type)});
	for (size_t n = 0; n < reply->header_count; n++) {
		if (strcmp(reply->headers[n].name.base, "server-timing") != 0)
			header_pair(out, reply->headers[n].name, reply->headers[n].value);
	}
	buf_char(out, ']');
}

#define OF_THE_CLAIM "endpoint = $1 and subject = $2 and key = $3 and claim = $4 and status is null"

/* Suspends. */
static int keep(struct idempotency *i, struct client *store, const struct reply *reply, struct error *e)
{
	static const char sql[] = "update gatherd_idempotency set status = $5, headers = $6::text::json, body = $7 "
				  "where " OF_THE_CLAIM;
	struct buf headers = BUF_INIT;
	bool large = reply->body.len > MAX_KEPT_BYTES;

	write_headers(reply, &headers);
	struct value args[] = {[OWN] = text_value(i->claim),
			       value_int(large ? TOO_LARGE : reply->status),
			       value_string(headers.data, headers.len),
			       value_string(reply->body.data, reply->body.len)};
	if (large)
		args[OWN + 3] = VALUE_OF_NULL;
	int r = ask(i, store, sql, args, ARRAY_SIZE(args), NULL, e);
	buf_done(&headers);
	return r;
}

void idempotency_settle(struct idempotency *i, struct client *store, enum idempotency_end end,
			const struct reply *reply)
{
	static const char *const queries[] = {
		[IDEMPOTENCY_NOTHING] = "delete from gatherd_idempotency where " OF_THE_CLAIM,
		[IDEMPOTENCY_UNKNOWN] = "update gatherd_idempotency set lease = now() where " OF_THE_CLAIM,
	};
	struct value args[] = {[OWN] = text_value(i->claim)};
	struct error e = ERROR_INIT;
	struct shield shield;

	task_shield(&shield, deadline_in_us(SETTLE_US));
	int r = end == IDEMPOTENCY_DONE ? keep(i, store, reply, &e)
					: ask(i, store, queries[end], args, ARRAY_SIZE(args), NULL, &e);
	task_unshield(&shield);
	if (r < 0)
		log_failure(i, "can't note how a request with an Idempotency-Key has ended", &e);
}

void idempotency_expire(const struct idempotency *i, struct client *store)
{
	static const char sql[] =
		"delete from gatherd_idempotency where ctid = any (array(select ctid from gatherd_idempotency "
		"where expires <= now() limit 1000 for update skip locked))";
	struct pg_ask ask = {
		.call = "idempotency", .sql = sql, .len = sizeof(sql) - 1, .expect = EXPECT_MANY, .writes = true};
	struct pg_answer answer;
	struct error e = ERROR_INIT;
	struct shield shield;

	/* One request of 256, by chance: each leaves one row, and this takes up to a thousand. */
	if (i->digest[0] != 0)
		return;
	task_shield(&shield, deadline_in_us(EXPIRE_US));
	int r = pg_query(pg_client_of(store), &ask, &answer, &e);
	task_unshield(&shield);
	if (r < 0)
		log_failure(i, "can't delete Idempotency-Keys that have expired", &e);
	else
		result_free(answer.result);
}

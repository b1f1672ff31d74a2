/* The answer to a request: the results, a kept reply, or what went wrong. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/ascii.h"
#include "base/json_out.h"
#include "handlers/gather/internal.h"
#include "handlers/web/conditions.h"

static bool replaced(enum outcome_kind kind)
{
	return kind == OUTCOME_NULL || kind == OUTCOME_DEFAULT || kind == OUTCOME_OMITTED || kind == OUTCOME_STALE;
}

/* The parts of the step's result that were replaced; NULL: none was. */
static const char *missing_parts(const struct outcome *o)
{
	return o->kind == OUTCOME_RESULT && o->result ? o->result->missing : NULL;
}

bool run_complete(const struct run *run)
{
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		const struct outcome *o = &run->evaluation.outcomes[i];
		if (replaced(o->kind) || missing_parts(o))
			return false;
	}
	return true;
}

/* "reviews, rate": the steps that were replaced. */
static const char *missing_steps(const struct run *run)
{
	struct buf names = BUF_INIT;
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		const struct outcome *o = &run->evaluation.outcomes[i];
		const char *parts = missing_parts(o);
		if (!replaced(o->kind) && !parts)
			continue;
		if (names.len)
			buf_lit(&names, ", ");
		buf_str(&names, parts ? parts : run->plan->steps[i].config->name);
	}
	const char *text = arena_strndup(run->evaluation.arena, names.data, names.len);
	buf_done(&names);
	return text;
}

/* The failures that were replaced are seen in the log: the first of them. */
static void note_replaced(struct run *run)
{
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		if (!run->steps[i].error)
			continue;
		run->exchange->error = *run->steps[i].error;
		return;
	}
}

static void add_header(struct reply *reply, const char *name, const char *value)
{
	reply->headers[reply->header_count++] = (struct header){.name = {name, strlen(name)},
								.value = {value, strlen(value)}};
}

/* --- explain --- */

/* Server-Timing (W3C): each step's wait and run in milliseconds, and its rows. */
static const char *server_timing(const struct run *run)
{
	struct buf text = BUF_INIT;
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		const struct step_run *s = &run->steps[i];
		const struct result *result = run->evaluation.outcomes[i].result;
		buf_printf(&text, "%s%s;dur=%.3f;desc=\"wait=%.3f run=%.3f rows=%zu\"", i ? ", " : "",
			   run->plan->steps[i].config->name, (double)s->run_us / 1000, (double)s->wait_us / 1000,
			   (double)s->run_us / 1000, result ? result->rows : 0);
	}
	const char *copy = arena_strndup(run->evaluation.arena, text.data, text.len);
	buf_done(&text);
	return copy;
}

/* --- results --- */

static int too_large(struct run *run, const char *what, int step)
{
	error_say(&run->error, -EMSGSIZE, REASON_REPLY_LARGE, "%s is larger than reply_limit (%zu bytes)", what,
		  run->env->reply_limit);
	run->error.step = step < 0 ? NULL : run->plan->steps[step].config->name;
	return -EMSGSIZE;
}

/* True, too, if nothing says that there might be nothing new. */
static bool is_new(const struct run *run)
{
	if (!run->plan->has_created)
		return true;
	struct value created = slot_value(&run->plan->created, &run->evaluation);
	return !value_falsy(&created);
}

/* The status, and what becomes of it by Prefer: return=minimal (RFC 7240, 4.2). */
static void add_status(const struct run *run, struct reply *reply)
{
	reply->status = run->plan->endpoint->status;
	if (run->plan->has_created && is_new(run))
		reply->status = 201;
	if (!run->plan->may_be_minimal)
		return;
	add_header(reply, "vary", "Prefer");
	if (!run->minimal)
		return;
	add_header(reply, "preference-applied", "return=minimal");
	if (reply->status == 200)
		reply->status = 204;
}

static int add_declared_headers(struct run *run, struct reply *reply)
{
	bool new = is_new(run);
	struct buf text = {.limit = run->env->reply_limit};
	for (unsigned i = 0; i < run->plan->reply_header_count && !buf_over(&text); i++) {
		const struct plan_header *h = &run->plan->reply_headers[i];
		if (!new && h->escape == TEXT_URL)
			continue; /* location */
		text.len = 0;
		text_eval(&h->value, &run->evaluation, h->escape, &text);
		const char *value = arena_strndup(run->evaluation.arena, text.data, text.len);
		if (strcmp(h->name.base, "content-type") == 0)
			reply->content_type = value;
		else
			reply->headers[reply->header_count++] = (struct header){.name = h->name,
										.value = {value, text.len}};
	}
	int r = buf_over(&text) ? too_large(run, "a header of the reply", -1) : 0;
	buf_done(&text);
	return r;
}

int reply_head(struct run *run, struct reply *out)
{
	bool complete = run_complete(run);
	*out = (struct reply){0};
	add_status(run, out);
	add_header(out, "gatherd-complete", complete ? "true" : "false");
	if (!complete) {
		run->exchange->missing = missing_steps(run);
		add_header(out, "gatherd-missing", run->exchange->missing);
		note_replaced(run);
	}
	if (run->explained && run->plan->step_count && !run->plan->endpoint->cache.ttl_us)
		add_header(out, "server-timing", server_timing(run));
	return add_declared_headers(run, out);
}

int run_reply(struct run *run, struct reply *out)
{
	int step = -1;
	int r = reply_head(run, out);

	bool complete = run_complete(run);
	if (r == 0 && complete)
		r = preconditions_head(run, out);
	if (r < 0 || out->status == 204 || out->status == 304)
		return r;
	if (run->minimal) {
		out->content_type = "";
		return 0;
	}
	out->body.limit = run->env->reply_limit;
	if (respond_render(&run->plan->respond, &run->evaluation, &out->body, &step) == 0)
		return complete ? preconditions_body(run, out) : 0;
	buf_done(&out->body);
	return too_large(run, "the reply", step);
}

/* --- failures --- */

/* `"done":["a","b"]`: the steps whose changes stay; NULL: there are none. */
static const char *done_member(const struct run *run)
{
	struct buf names = BUF_INIT;
	const char *text = NULL;
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		const char *name = run->plan->steps[i].config->name;
		if (!run->steps[i].changed || run->steps[i].error)
			continue;
		buf_str(&names, names.len ? "," : "\"done\":[");
		json_string(&names, name, strlen(name));
	}
	if (names.len) {
		buf_char(&names, ']');
		text = arena_strndup(run->evaluation.arena, names.data, names.len);
	}
	buf_done(&names);
	return text;
}

void reply_failure(struct run *run, int r)
{
	struct error e = run->failed >= 0 ? *run->steps[run->failed].error : run->error;
	if (e.errnum == 0 && r == -ETIMEDOUT)
		error_say(&e, r, REASON_DEADLINE_PASSED, "the request's deadline passed");
	else if (e.errnum == 0 && r == -EAGAIN)
		error_set(&e, r, 503, NULL, "no memory map is left for a task's stack");
	else if (e.errnum == 0)
		error_set(&e, r, 500, NULL, "a step failed without saying why (%s)", strerror(-r));
	preconditions_explain(run, &e);
	const char *done = done_member(run), *members = e.members;
	if (done)
		error_add_public(&e, reason_text(REASON_ALSO_OTHERS));
	if (done && members)
		members = arena_printf(run->evaluation.arena, "%s,%s", done, members);
	exchange_problem(run->exchange, &e, e.step, members ? members : done, NULL);
}

/* --- kept replies --- */

/* A strong validator (RFC 9110, 8.8.3): half of the body's SHA-256. */
static void make_etag(char etag[36], const char *text, size_t len)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	EVP_Digest(text, len, digest, &n, EVP_sha256(), NULL);
	*etag++ = '"';
	for (unsigned i = 0; i < 16; i++) {
		*etag++ = ascii_hex_digit(digest[i] >> 4);
		*etag++ = ascii_hex_digit(digest[i]);
	}
	*etag++ = '"';
	*etag = '\0';
}

/* Kept as the name, the length of the value (it may hold a NUL, which is refused when it is sent) and the value. */
static void keep_header(struct buf *out, struct span name, struct span value)
{
	uint32_t len = (uint32_t)value.len;
	buf_append(out, name.base, name.len);
	buf_char(out, '\0');
	buf_append(out, &len, sizeof(len));
	buf_append(out, value.base, value.len);
	buf_char(out, '\0');
}

static const char *next_kept(const char *at, struct header *h)
{
	uint32_t len;
	h->name = (struct span){at, strlen(at)};
	at += h->name.len + 1;
	memcpy(&len, at, sizeof(len));
	h->value = (struct span){at + sizeof(len), len};
	return h->value.base + len + 1;
}

/* How long others may keep it (RFC 9111, RFC 5861). What depends on the client's address is not for shared caches. */
static const char *cache_control(const struct run *run)
{
	const struct plan *plan = run->plan;
	const struct config_cache *policy = &plan->endpoint->cache;
	const char *who = "", *stale = "";
	for (unsigned i = 0; i < plan->key_count; i++) {
		if (plan->key[i].kind == SLOT_IP)
			who = "private, ";
	}
	if (policy->stale_us >= 1000000)
		stale = arena_printf(run->evaluation.arena, ", stale-while-revalidate=%lld",
				     (long long)(policy->stale_us / 1000000));
	return arena_printf(run->evaluation.arena, "%smax-age=%lld%s", who, (long long)(policy->ttl_us / 1000000),
			    stale);
}

/* The headers of the request that the reply depends on. */
static const char *vary(const struct run *run)
{
	struct buf names = BUF_INIT;
	for (unsigned i = 0; i < run->plan->header_count; i++) {
		if (i)
			buf_lit(&names, ", ");
		buf_str(&names, run->plan->headers[i]);
	}
	const char *text = arena_strndup(run->evaluation.arena, names.data, names.len);
	buf_done(&names);
	return text;
}

static void keep_text(struct buf *out, const char *name, const char *value)
{
	keep_header(out, (struct span){name, strlen(name)}, (struct span){value, strlen(value)});
}

/* Headers that are the same each time it is sent are kept with it. Returns how many headers. */
static unsigned keep_headers(const struct run *run, const struct reply *r, bool complete, struct buf *out)
{
	unsigned count = 0;
	bool controlled = false;
	for (size_t i = 0; i < r->header_count; i++, count++) {
		keep_header(out, r->headers[i].name, r->headers[i].value);
		controlled |= strcmp(r->headers[i].name.base, "cache-control") == 0;
	}
	if (r->content_type) {
		keep_text(out, "content-type", r->content_type);
		count++;
	}
	if (!controlled) {
		keep_text(out, "cache-control", complete ? cache_control(run) : "no-store");
		count++;
	}
	if (run->plan->header_count) {
		keep_text(out, "vary", vary(run));
		count++;
	}
	return count;
}

struct cached *reply_keep(const struct run *run, struct reply *r)
{
	struct buf headers = BUF_INIT;
	bool complete = run_complete(run);
	unsigned count = keep_headers(run, r, complete, &headers);
	struct cached *v = cached_new(r->body.data, r->body.len, headers.data, headers.len);
	v->status = r->status;
	v->complete = complete;
	v->header_count = count;
	make_etag(v->etag, r->body.data, r->body.len);
	buf_done(&headers);
	buf_done(&r->body);
	return v;
}

static void add_kept_headers(struct reply *reply, const struct cached *v)
{
	const char *at = v->headers;
	for (unsigned i = 0; i < v->header_count; i++) {
		struct header h;
		at = next_kept(at, &h);
		if (strcmp(h.name.base, "content-type") == 0)
			reply->content_type = h.value.base;
		else
			reply->headers[reply->header_count++] = h;
	}
}

/* n is not below 0. printf would be a good part of what a hit costs. */
static const char *digits(struct arena *a, int64_t n)
{
	enum { MOST = 20 };
	char *at = (char *)arena_alloc(a, MOST + 1) + MOST;
	*at = '\0';
	do {
		*--at = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	return at;
}

void reply_cached(struct run *run, const struct cached *v, const char *from)
{
	struct arena *a = run->evaluation.arena;
	bool known = v->complete && run->if_none_match.base && etag_listed(run->if_none_match, v->etag, false);
	struct reply reply = {.status = known ? 304 : v->status};
	int64_t age_us = monotonic_us() - v->stored_us;
	add_kept_headers(&reply, v);
	if (v->complete) {
		add_header(&reply, "etag", v->etag);
		add_header(&reply, "age", digits(a, age_us / 1000000));
	}
	if (run->explained)
		add_header(&reply, "server-timing",
			   from ? arena_printf(a, "cache;desc=\"%s\"", from) : server_timing(run));
	if (!known)
		buf_append(&reply.body, v->text, v->len);
	exchange_reply(run->exchange, &reply);
}

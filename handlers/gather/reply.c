/* What a request is answered with: the results, a kept reply, or what went wrong. */
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/gather/internal.h"

static bool replaced(enum outcome_kind kind)
{
	return kind == OUTCOME_NULL || kind == OUTCOME_DEFAULT || kind == OUTCOME_OMITTED || kind == OUTCOME_STALE;
}

bool run_complete(const struct run *run)
{
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		if (replaced(run->evaluation.outcomes[i].kind))
			return false;
	}
	return true;
}

/* "reviews, rate": the steps that were replaced. */
static const char *missing_steps(const struct run *run)
{
	struct buf names = BUF_INIT;
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		if (!replaced(run->evaluation.outcomes[i].kind))
			continue;
		if (names.len)
			buf_lit(&names, ", ");
		buf_str(&names, run->plan->steps[i].config->name);
	}
	const char *text = arena_strndup(run->evaluation.arena, names.data, names.len);
	buf_done(&names);
	return text;
}

/* The failures that were replaced are seen in the log: the first of them. */
static void note_replaced(struct run *run)
{
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		if (run->steps[i].error.errnum == 0)
			continue;
		run->exchange->error = run->steps[i].error;
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

static void add_declared_headers(struct run *run, struct reply *reply)
{
	for (unsigned i = 0; i < run->plan->reply_header_count; i++) {
		const struct plan_header *h = &run->plan->reply_headers[i];
		struct buf text = BUF_INIT;
		text_eval(&h->value, &run->evaluation, h->escape, &text);
		const char *value = arena_strndup(run->evaluation.arena, text.data, text.len);
		if (strcmp(h->name.base, "content-type") == 0)
			reply->content_type = value;
		else
			reply->headers[reply->header_count++] = (struct header){.name = h->name,
										.value = {value, text.len}};
		buf_done(&text);
	}
}

struct reply run_reply(struct run *run)
{
	struct reply reply = {.status = run->plan->endpoint->status};
	bool complete = run_complete(run);
	add_header(&reply, "gatherd-complete", complete ? "true" : "false");
	if (!complete) {
		run->exchange->missing = missing_steps(run);
		add_header(&reply, "gatherd-missing", run->exchange->missing);
		note_replaced(run);
	}
	if (run->explained && run->plan->step_count)
		add_header(&reply, "server-timing", server_timing(run));
	add_declared_headers(run, &reply);
	if (reply.status != 204)
		respond_render(&run->plan->respond, &run->evaluation, &reply.body);
	return reply;
}

/* --- failures --- */

void reply_failure(struct run *run, int r)
{
	struct error e = run->failed >= 0 ? run->steps[run->failed].error : run->error;
	if (e.errnum == 0 && r == -ETIMEDOUT)
		error_set(&e, r, 504, "The deadline of the request has passed.", "the request's deadline passed");
	else if (e.errnum == 0 && r == -EAGAIN)
		error_set(&e, r, 503, NULL, "no memory map is left for a task's stack");
	else if (e.errnum == 0)
		error_set(&e, r, 500, NULL, "a step failed without saying why (%s)", strerror(-r));
	exchange_problem(run->exchange, &e, e.step, NULL, NULL);
}

/* --- kept replies --- */

/* A strong validator (RFC 9110, 8.8.3): half of the body's SHA-256. */
static void make_etag(char etag[36], const char *text, size_t len)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	EVP_Digest(text, len, digest, &n, EVP_sha256(), NULL);
	static const char hex[] = "0123456789abcdef";
	*etag++ = '"';
	for (unsigned i = 0; i < 16; i++) {
		*etag++ = hex[digest[i] >> 4];
		*etag++ = hex[digest[i] & 15];
	}
	*etag++ = '"';
	*etag = '\0';
}

static void keep_header(struct buf *out, struct span name, struct span value)
{
	buf_append(out, name.base, name.len);
	buf_char(out, '\0');
	buf_append(out, value.base, value.len);
	buf_char(out, '\0');
}

struct cached *reply_keep(struct reply *r)
{
	struct buf headers = BUF_INIT;
	for (size_t i = 0; i < r->header_count; i++)
		keep_header(&headers, r->headers[i].name, r->headers[i].value);
	if (r->content_type)
		keep_header(&headers, (struct span){"content-type", 12},
			    (struct span){r->content_type, strlen(r->content_type)});
	struct cached *v = cached_new(r->body.data, r->body.len, headers.data, headers.len);
	v->status = r->status;
	v->header_count = (unsigned)r->header_count + (r->content_type ? 1 : 0);
	make_etag(v->etag, r->body.data, r->body.len);
	buf_done(&headers);
	buf_done(&r->body);
	return v;
}

/* Does If-None-Match name the tag (weak comparison; RFC 9110, 13.1.2)? */
static bool client_has(struct span if_none_match, const char *etag)
{
	if (!if_none_match.base)
		return false;
	if (if_none_match.len == 1 && if_none_match.base[0] == '*')
		return true;
	return memmem(if_none_match.base, if_none_match.len, etag, strlen(etag)) != NULL;
}

void reply_cached(struct run *run, const struct cached *v)
{
	const struct config_cache *policy = &run->plan->endpoint->cache;
	struct arena *a = run->evaluation.arena;
	struct reply reply = {.status = client_has(run->if_none_match, v->etag) ? 304 : v->status};
	int64_t age_us = monotonic_us() - v->stored_us;
	const char *at = v->headers;
	for (unsigned i = 0; i < v->header_count; i++) {
		const char *name = at, *value = name + strlen(name) + 1;
		at = value + strlen(value) + 1;
		if (strcmp(name, "content-type") == 0)
			reply.content_type = value;
		else if (reply.header_count + 3 < ARRAY_SIZE(reply.headers))
			add_header(&reply, name, value);
	}
	add_header(&reply, "etag", v->etag);
	add_header(&reply, "cache-control", arena_printf(a, "max-age=%lld", (long long)(policy->ttl_us / 1000000)));
	add_header(&reply, "age", arena_printf(a, "%lld", (long long)(age_us / 1000000)));
	if (reply.status != 304)
		buf_append(&reply.body, v->text, v->len);
	exchange_reply(run->exchange, &reply);
}

/* Versions of what an endpoint shows and changes: its ETag, and what a request says of it (RFC 9110, 8.8.3 and 13). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/etag.h"
#include "handlers/gather/internal.h"
#include "handlers/web/conditions.h"

void preconditions_take(struct run *run)
{
	const struct plan *plan = run->plan;
	bool changes = plan->endpoint->method != METHOD_GET;

	if (plan->endpoint->cache.ttl_us || plan->has_etag || changes)
		run->if_none_match = exchange_header_list(run->exchange, "if-none-match");
	if (plan->has_etag || changes)
		run->if_match = exchange_header_list(run->exchange, "if-match");
}

int preconditions_check(const struct run *run, struct error *e)
{
	if (run->plan->endpoint->if_match_required && !run->if_match.base)
		return error_say(e, -EINVAL, REASON_IF_MATCH_MISSING, "no If-Match");
	return 0;
}

/* --- the reply's --- */

/* The tag of a version, or a hash of a reply. */
static const char *quoted(struct run *run, const struct buf *text, bool hash)
{
	struct buf tag = BUF_INIT;

	buf_char(&tag, '"');
	if (hash)
		etag_append_hash(&tag, text->data, text->len);
	else
		etag_append(&tag, text->data, text->len);
	buf_char(&tag, '"');
	const char *copy = arena_strndup(run->evaluation.arena, tag.data, tag.len);
	buf_done(&tag);
	return copy;
}

static int apply(struct run *run, struct reply *reply, const char *tag)
{
	struct conditions c = {.if_match = run->if_match, .if_none_match = run->if_none_match};

	reply->headers[reply->header_count++] = (struct header){{"etag", 4}, {tag, strlen(tag)}};
	if (run->plan->endpoint->method != METHOD_GET)
		return 0;
	unsigned status = conditions_status(&c, &(struct validators){.etag = tag}, true);
	if (status == 412)
		return error_say(&run->error, -ESTALE, REASON_OTHER_VERSION, "If-Match: the version is %s", tag);
	if (status == 304) {
		reply->status = 304;
		buf_done(&reply->body);
	}
	return 0;
}

int preconditions_head(struct run *run, struct reply *reply)
{
	if (!run->plan->has_etag || endpoint_hashes(run->plan->endpoint))
		return 0;
	struct buf version = {.limit = run->env->reply_limit};
	text_eval(&run->plan->etag, &run->evaluation, TEXT_PLAIN, &version);
	int r = version.len ? apply(run, reply, quoted(run, &version, false)) : 0;
	buf_done(&version);
	return r;
}

int preconditions_body(struct run *run, struct reply *reply)
{
	if (!endpoint_hashes(run->plan->endpoint))
		return 0;
	return apply(run, reply, quoted(run, &reply->body, true));
}

/* --- failures --- */

static bool refers_to_if_match(const struct plan_step *p)
{
	for (unsigned i = 0; i < p->arg_count; i++) {
		if (p->args[i].kind == SLOT_IF_MATCH)
			return true;
	}
	return false;
}

void preconditions_explain(const struct run *run, struct error *e)
{
	bool exists = strcmp(e->code, "23505") == 0 || strcmp(e->code, "11000") == 0;
	bool missing = e->errnum == -ENOENT && e->status == 404 && run->failed >= 0 &&
		       refers_to_if_match(&run->plan->steps[run->failed]);

	if (!(missing && run->if_match.base) && !(exists && run->if_none_match.base && etag_is_any(run->if_none_match)))
		return;
	e->status = reason_status(REASON_OTHER_VERSION);
	snprintf(e->public, sizeof(e->public), "%s", reason_text(REASON_OTHER_VERSION));
}

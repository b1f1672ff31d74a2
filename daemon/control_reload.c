/* `gatherd reload`: what became of a reload, printed as `gatherd check` prints. */
#include "daemon/control.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/arena.h"
#include "base/json.h"
#include "config/diagnostics.h"
#include "daemon/control_call.h"

static struct json *parse_answer(struct control_call *c, struct arena *a)
{
	struct json *answer;
	char why[100];
	const struct buf *body = &c->ask.body;
	if (json_parse(&answer, a, body->data ? body->data : "", body->len, 8, why, sizeof(why)) < 0)
		return NULL;
	return answer->kind == JSON_OBJECT ? answer : NULL;
}

/* Of an object's member; "" if it is not a text. */
static const char *text_of(struct arena *a, const struct json *object, const char *name)
{
	const struct json *member = json_member(object, name, strlen(name));
	return member && member->kind == JSON_STRING ? arena_strndup(a, member->text, member->len) : "";
}

static unsigned number_of(struct arena *a, const struct json *object, const char *name)
{
	const struct json *member = json_member(object, name, strlen(name));
	if (!member || member->kind != JSON_NUMBER)
		return 0;
	return (unsigned)strtoul(arena_strndup(a, member->text, member->len), NULL, 10);
}

/* As they were in the daemon. */
static void take_diagnostics(struct arena *a, const struct json *answer, struct diagnostics *d)
{
	const struct json *list = json_member(answer, "diagnostics", strlen("diagnostics"));
	for (const struct json *i = list && list->kind == JSON_ARRAY ? list->child : NULL; i; i = i->next) {
		const char *file = text_of(a, i, "file");
		struct mark at = {
			.file = *file ? file : NULL,
			.line = number_of(a, i, "line"),
			.column = number_of(a, i, "column"),
		};
		if (strcmp(text_of(a, i, "severity"), "error") == 0)
			diagnostics_error(d, at, "%s", text_of(a, i, "text"));
		else
			diagnostics_warning(d, at, "%s", text_of(a, i, "text"));
	}
}

static void print_done(struct arena *a, const struct json *answer, const struct diagnostics *d)
{
	struct buf out = BUF_INIT;
	buf_printf(&out, "%s\n", text_of(a, answer, "text"));
	for (size_t i = 0; i < d->count; i++)
		diagnostic_report(&d->items[i], &out);
	fputs(buf_cstr(&out), stdout);
	buf_done(&out);
}

/* A mistake of the file as `check` prints it; others have no place in it. */
static int tell_refused(struct arena *a, const struct control_call *c, const struct json *answer,
			const struct diagnostics *d)
{
	struct buf out = BUF_INIT;
	diagnostics_report(d, &out);
	if (out.len == 0)
		buf_printf(&out, "gatherd: %s: %s\n", c->path, text_of(a, answer, "detail"));
	fputs(buf_cstr(&out), stderr);
	buf_done(&out);
	unsigned code = number_of(a, answer, "exit");
	return code ? (int)code : EX_UNAVAILABLE;
}

static int tell_outcome(struct control_call *c, long status)
{
	struct arena a;
	struct diagnostics d;
	int code = EX_OK;
	arena_init(&a);
	diagnostics_init(&d);
	const struct json *answer = parse_answer(c, &a);
	if (answer)
		take_diagnostics(&a, answer, &d);
	if (answer && status == 200)
		print_done(&a, answer, &d);
	else if (answer && (status == 422 || status == 503))
		code = tell_refused(&a, c, answer, &d);
	else
		code = control_call_failed(c, status);
	diagnostics_done(&d);
	arena_done(&a);
	return code;
}

static int tell_busy(const struct control_call *c)
{
	fprintf(stderr, "gatherd: %s: another reload is still under way\n", c->path);
	return EX_TEMPFAIL;
}

int control_reload(const char *control, const struct control_reload *wish)
{
	struct control_call c = {0};
	char body[100];
	int code = EX_USAGE;
	int64_t timeout_ms = wish->timeout_us / 1000;
	snprintf(body, sizeof(body), "{\"force\":%s,\"check\":%s,\"timeout_ms\":%lld}", wish->force ? "true" : "false",
		 wish->check ? "true" : "false", (long long)timeout_ms);
	if (control_call_open(&c, control, "/-/reload") && control_call_posts(&c, body) &&
	    curl_easy_setopt(c.ask.curl, CURLOPT_LOW_SPEED_LIMIT, 0L) == CURLE_OK &&
	    curl_easy_setopt(c.ask.curl, CURLOPT_TIMEOUT_MS, (long)(timeout_ms + ASK_TIMEOUT_MS)) == CURLE_OK) {
		long status = ask_once(&c.ask, &c.errnum);
		code = status == 409 ? tell_busy(&c)
		       : status == 0 ? control_call_failed(&c, 0)
				     : tell_outcome(&c, status);
	}
	ask_close(&c.ask);
	return code;
}

/* A reload that is asked for by HTTP: its wish, and its outcome as JSON. */
#include "handlers/admin/reload_page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/json.h"
#include "base/json_out.h"
#include "base/utf8.h"
#include "handlers/admin/reload.h"

enum { DEFAULT_TIMEOUT_MS = 60000, MOST_TIMEOUT_MS = 24 * 3600 * 1000 };

/* --- the wish --- */

/* Returns false: the member is not true or false. Absent, it stays as it is. */
static bool take_bool(const struct json *body, const char *name, bool *out)
{
	const struct json *member = json_member(body, name, strlen(name));
	if (member && member->kind == JSON_BOOL)
		*out = member->boolean;
	return !member || member->kind == JSON_BOOL;
}

static bool take_timeout(const struct json *body, const char *name, int64_t *out)
{
	const struct json *member = json_member(body, name, strlen(name));
	char digits[16];
	if (!member)
		return true;
	if (member->kind != JSON_NUMBER || member->len == 0 || member->len >= sizeof(digits))
		return false;
	memcpy(digits, member->text, member->len);
	digits[member->len] = '\0';
	if (strspn(digits, "0123456789") != member->len)
		return false;
	*out = strtoll(digits, NULL, 10);
	return *out <= MOST_TIMEOUT_MS;
}

static bool parse_wish(struct exchange *x, struct reload_wish *wish, int64_t *timeout_ms)
{
	struct json *body;
	char why[100];
	*wish = (struct reload_wish){0};
	*timeout_ms = DEFAULT_TIMEOUT_MS;
	if (x->body.len == 0)
		return true;
	return json_parse(&body, &x->arena, x->body.base, x->body.len, 2, why, sizeof(why)) == 0 &&
	       body->kind == JSON_OBJECT && take_bool(body, "force", &wish->force) &&
	       take_bool(body, "check", &wish->check) && take_timeout(body, "timeout_ms", timeout_ms);
}

/* --- the outcome --- */

static void put_text(struct buf *out, const char *name, const char *text, size_t len)
{
	buf_printf(out, ",\"%s\":", name);
	json_string(out, text ? text : "", len);
}

/* "diagnostics":[{"file":…,"line":…,"column":…,"severity":"error","text":…},…] */
static void put_diagnostics(struct buf *out, const struct diagnostics *d)
{
	buf_lit(out, "\"diagnostics\":[");
	for (size_t i = 0; i < d->count; i++) {
		const struct diagnostic *item = &d->items[i];
		buf_printf(out, "%s{\"severity\":\"%s\"", i > 0 ? "," : "",
			   item->severity == SEVERITY_ERROR ? "error" : "warning");
		if (item->at.file)
			put_text(out, "file", item->at.file, strlen(item->at.file));
		if (item->at.line)
			buf_printf(out, ",\"line\":%u,\"column\":%u", item->at.line, item->at.column);
		put_text(out, "text", item->text, strlen(item->text));
		buf_char(out, '}');
	}
	buf_char(out, ']');
}

static void reply_done(struct exchange *x, const struct reload_report *r)
{
	struct reply reply = {.status = 200};
	buf_printf(&reply.body, "{\"generation\":%u,\"took_ms\":%lld", r->generation, (long long)r->took_us / 1000);
	put_text(&reply.body, "text", r->text.data, r->text.len);
	buf_char(&reply.body, ',');
	put_diagnostics(&reply.body, &r->diagnostics);
	buf_char(&reply.body, '}');
	exchange_reply(x, &reply);
}

static void reply_refused(struct exchange *x, const struct reload_report *r)
{
	struct buf members = BUF_INIT;
	struct error e;
	char text[sizeof(e.public)] = "";
	if (r->text.len > 0)
		memcpy(text, r->text.data,
		       utf8_prefix(r->text.data, r->text.len < sizeof(text) ? r->text.len : sizeof(text) - 1));
	buf_printf(&members, "\"exit\":%d,\"generation\":%u,", r->code, r->generation);
	put_diagnostics(&members, &r->diagnostics);
	bool ends = r->code == EX_TEMPFAIL;
	error_set(&e, ends ? -ESHUTDOWN : -EINVAL, ends ? 503 : 422, text, "reload refused: %s", text);
	exchange_problem(x, &e, NULL, buf_cstr(&members), NULL);
	buf_done(&members);
}

static void reply_busy(struct exchange *x)
{
	struct error e;
	error_say(&e, -EBUSY, REASON_RELOAD_BUSY, "a reload is still under way");
	exchange_problem(x, &e, NULL, NULL, NULL);
}

/* --- the page --- */

static int page_task(void *arg)
{
	struct exchange *x = arg;
	const struct reload_report *report = NULL;
	int r = reload_ask(x->handler_data, &report, x->by);
	if (r == -ETIMEDOUT)
		reply_busy(x);
	else if (r == 0 && report->code == EX_OK)
		reply_done(x, report);
	else if (r == 0)
		reply_refused(x, report);
	reload_report_drop(report);
	return r == -ETIMEDOUT ? 0 : r;
}

void reload_page(struct exchange *x)
{
	struct reload_wish *wish = arena_alloc(&x->arena, sizeof(*wish));
	int64_t timeout_ms;
	struct error e;
	if (!parse_wish(x, wish, &timeout_ms)) {
		error_say(&e, -EBADMSG, REASON_RELOAD_BODY, "a body that is no wish");
		exchange_problem(x, &e, NULL, NULL, NULL);
		return;
	}
	x->by = deadline_in_ms(timeout_ms);
	x->handler_data = wish;
	exchange_spawn(x, page_task);
}

/* NOTIFY and COPY of gatherd.h: test_handlers_postgres_bulk.py says what each must answer. */
#include <errno.h>
#include <gatherd.h>
#include <string.h>

#include "postgres.h"

/* --- notifications --- */

/* Forwards what it hears to the client, for ever. */
int events(gd_request *req)
{
	gd_cursor *news = gd_pg_listen("pg", gd_to_text(gd_param(req, "channel")));
	gd_value *n;

	int r = gd_sse_begin(req, 0);
	if (r == 0)
		r = gd_sse_send(req, "listening", NULL, "");
	while (r == 0 && (n = gd_next(news))) {
		gd_scope *s = gd_scope_begin();
		if (gd_failed(n))
			r = gd_sse_send(req, "missed", NULL, gd_error_text(n));
		else
			r = gd_sse_send(req, gd_to_text(gd_get(n, "channel")), NULL, gd_to_text(gd_get(n, "payload")));
		gd_scope_end(s);
	}
	return r < 0 ? r : gd_stream_end(req);
}

int tell(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_value *text = gd_pg_notify(g, "pg", gd_to_text(gd_param(req, "channel")), gd_param(req, "payload"));
	int r = gd_gather_wait(g, GD_NEVER);
	gd_value *doc = gd_pg_notify(NULL, "pg", gd_to_text(gd_param(req, "channel")), gd_doc("n", gd_int(1)));
	return r < 0 ? r : gd_reply(req, 200, gd_list(text, doc));
}

/* What it hears, and what is wrong with other ways to listen. */
int hears(gd_request *req)
{
	gd_cursor *news = gd_pg_listen("pg", "hears");
	gd_value *all = gd_list();

	gd_deadline before = gd_deadline_push(gd_in_ms(50));
	gd_append(all, gd_int(gd_failed(gd_next(news))));
	gd_deadline_pop(before);
	gd_append(all, gd_pg_notify(NULL, "pg", "hears", gd_string("ü")));
	gd_value *n = gd_next(news);
	gd_append(all, gd_get(n, "channel"));
	gd_append(all, gd_get(n, "payload"));
	gd_append(all, gd_bool(gd_to_int(gd_get(n, "pid"), 0) > 0));
	gd_append(all, gd_pg_notify(NULL, "pg", "hears", NULL));
	gd_append(all, gd_get(gd_next(news), "payload"));
	gd_close(news);
	gd_append(all, gd_bool(gd_next(news) == NULL));
	gd_append(all, outcome(gd_next(gd_pg_listen("pg", ""))));
	gd_append(all, outcome(gd_next(gd_pg_listen("nobody", "x"))));
	gd_append(all, outcome(gd_next(gd_pg_listen("small", "x"))));
	gd_append(all, outcome(gd_pg_notify(NULL, "pg", "", NULL)));
	gd_append(all, outcome(gd_pg_notify(NULL, "pg", "x", gd_failure(-ENOENT, 404, "Mine."))));
	return gd_reply(req, 200, all);
}

/* --- COPY --- */

/* The body into the table. */
int import(gd_request *req)
{
	size_t len;
	const void *body = gd_body(req, &len);
	gd_copy *c = gd_pg_copy(on(req), "copy bulk from stdin with (format csv)");
	int r = gd_copy_write(c, body, len);
	return r < 0 ? r : gd_reply(req, 200, gd_copy_end(c));
}

int rows(gd_request *req)
{
	int64_t n = gd_to_int(gd_param(req, "n"), 0);
	gd_copy *c = gd_pg_copy(on(req), "copy bulk (n, text) from stdin");

	for (int64_t i = 0; i < n; i++) {
		gd_scope *s = gd_scope_begin();
		int r = gd_copy_row(c, gd_list(gd_int(i), i % 2 ? gd_null() : gd_param(req, "text")));
		gd_scope_end(s);
		if (r < 0)
			return r;
	}
	return gd_reply(req, 200, gd_copy_end(c));
}

/* The table, as it is, to the client. */
int export(gd_request *req)
{
	gd_copy *c = gd_pg_copy(on(req),
				"copy (select n, text from bulk order by n) to stdout with (format csv, header)");
	const void *p;
	int64_t n;

	int r = gd_stream_begin(req, 200, "text/csv");
	while (r == 0 && (n = gd_copy_read(c, &p)) != 0)
		r = n < 0 ? (int)n : gd_stream_write(req, p, (size_t)n);
	if (r == 0)
		r = gd_failed(gd_copy_end(c));
	return r < 0 ? r : gd_stream_end(req);
}

static int copy_within(gd_pg *tx, void *arg)
{
	gd_value *all = arg;
	gd_copy *c = gd_tx_copy(tx, "copy bulk from stdin");
	int r = gd_copy_write(c, "1\tone\n", 6);
	if (r < 0)
		return r;
	gd_append(all, outcome(gd_tx_query(tx, "select 1", NULL)));
	gd_append(all, gd_copy_end(c));
	gd_append(all, gd_tx_scalar(tx, "select count(*) from bulk", NULL));
	return 0;
}

static int left_open(gd_pg *tx, void *arg)
{
	(void)arg;
	return gd_copy_write(gd_tx_copy(tx, "copy bulk from stdin"), "2\ttwo\n", 6);
}

int within(gd_request *req)
{
	gd_value *all = gd_list();
	gd_append(all, gd_int(gd_pg_transaction(on(req), NULL, copy_within, all)));
	gd_append(all, gd_int(gd_pg_transaction(on(req), NULL, left_open, all)));
	gd_append(all, gd_pg_scalar(NULL, on(req), "select count(*) from bulk", NULL));
	return gd_reply(req, 200, all);
}

int misused(gd_request *req)
{
	const char *s = on(req);
	const void *p;
	gd_copy *c = gd_pg_copy(s, "copy bulk from stdin");
	gd_value *all = gd_list();

	gd_append(all, gd_int(gd_copy_read(c, &p)));
	gd_append(all, gd_int(gd_copy_row(c, gd_int(1))));
	gd_append(all, gd_int(gd_copy_row(c, NULL)));
	gd_append(all, gd_copy_end(c));
	gd_append(all, outcome(gd_copy_end(c)));
	gd_append(all, gd_int(gd_copy_write(c, "x", 1)));
	gd_copy_close(c);
	c = gd_pg_copy(s, "copy bulk from '/etc/passwd'");
	gd_append(all, gd_int(gd_copy_write(c, "x", 1)));
	gd_append(all, outcome(gd_copy_end(c)));
	gd_append(all, outcome(gd_copy_end(gd_pg_copy("nobody", "copy bulk from stdin"))));
	gd_append(all, outcome(gd_copy_end(gd_tx_copy(NULL, "copy bulk from stdin"))));
	gd_append(all, gd_int(gd_copy_write(NULL, "x", 1)));
	gd_append(all, outcome(gd_copy_end(NULL)));
	gd_append(all, outcome(gd_copy_end(gd_pg_copy(s, NULL))));
	gd_copy_close(NULL);
	return gd_reply(req, 200, all);
}

/* Its scope ends it; or its client leaves. */
int forgets(gd_request *req)
{
	gd_copy *c = gd_pg_copy(on(req), "copy bulk from stdin");
	int r = gd_copy_write(c, "1\tone\n2", 7);
	if (r == 0 && gd_truthy(gd_param(req, "linger")))
		r = gd_sleep(60000);
	return r < 0 ? r : gd_reply(req, 200, gd_null());
}

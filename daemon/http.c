/* h2o's configuration, its handler, and the filter that turns h2o's own error texts into problem documents. */
#include "daemon/http.h"

#include "async/loop.h"
#include "daemon/connection.h"
#include "handlers/web/problem.h"

enum {
	/* Ours are shorter (connection.c); h2o's follow the wall clock, and a step of it shall harm nobody. */
	H2O_TIMEOUT_MS = 24 * 3600 * 1000,
};

static int on_request(h2o_handler_t *self, h2o_req_t *req)
{
	(void)self;
	connection_request(connection_of(req), req);
	return 0;
}

/* --- h2o's own refusals --- */

struct refusal {
	h2o_ostream_t super;
	h2o_iovec_t body;
	char id[40];
};

/* Instead of h2o's text send ours. */
static void send_refusal(h2o_ostream_t *self, h2o_req_t *req, h2o_iovec_t *bufs, size_t count, h2o_send_state_t state)
{
	struct refusal *r = (void *)self;
	struct connection *c = connection_of(req);
	(void)bufs;
	h2o_ostream_send_next(self, req, &r->body, count > 0, state);
	connection_refused(c, req, r->id);
}

static void setup_refusal(h2o_filter_t *self, h2o_req_t *req, h2o_ostream_t **slot)
{
	(void)self;
	if (!exchange_made_reply(req)) {
		struct refusal *r = (void *)h2o_add_ostream(req, sizeof(*r), slot);
		struct buf body = BUF_INIT;
		r->super.do_send = send_refusal;
		connection_make_id(connection_of(req), r->id, sizeof(r->id));
		const char *outcome = problem_outcome_of_refusal(req->input.method.base, req->input.method.len);
		problem_render(
			&body,
			&(struct problem){.status = (unsigned)req->res.status, .instance = r->id, .outcome = outcome});
		r->body = h2o_strdup(&req->pool, body.data, body.len);
		buf_done(&body);
		slot = &r->super.next;

		req->res.reason = reason_title((unsigned)req->res.status);
		req->res.content_length = r->body.len;
		req->res.headers = (h2o_headers_t){0};
		h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL,
			       H2O_STRLIT(PROBLEM_CONTENT_TYPE));
		h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("x-request-id"), 0, NULL, r->id,
				      strlen(r->id));
	}
	h2o_setup_next_ostream(req, slot);
}

/* --- life --- */

void http_setup(void)
{
	/* Bodies stay in memory, whatever their size: body_limit bounds them. */
	h2o_socket_buffer_mmap_settings.threshold = SIZE_MAX;
}

void http_init(struct http *h, struct loop *l, size_t body_limit)
{
	h2o_config_init(&h->conf);
	h->conf.server_name = h2o_iovec_init(NULL, 0);
	h->conf.max_request_entity_size = body_limit;
	h->conf.http1.req_timeout = H2O_TIMEOUT_MS;
	h->conf.http1.upgrade_to_http2 = 0;
	h2o_hostconf_t *host = h2o_config_register_host(&h->conf, h2o_iovec_init(H2O_STRLIT("default")), 65535);
	h2o_create_handler(&host->fallback_path, sizeof(h2o_handler_t))->on_req = on_request;
	h2o_create_filter(&host->fallback_path, sizeof(h2o_filter_t))->on_setup_ostream = setup_refusal;
	h2o_context_init(&h->context, loop_h2o(l), &h->conf);
	h->accept = (h2o_accept_ctx_t){.ctx = &h->context, .hosts = h->conf.hosts};
}

void http_done(struct http *h)
{
	h2o_context_dispose(&h->context);
	h2o_config_dispose(&h->conf);
}

void http_drain(struct http *h)
{
	/* h2o_context_request_shutdown would start timeouts for HTTP/2 as well, which outlive the context. */
	h->context.shutdown_requested = 1;
}

#ifdef __SANITIZE_ADDRESS__
/* h2o 2.2.5 never frees what it keeps for reuse on a thread, nor the queue of a context. */
/* NOLINTBEGIN(bugprone-reserved-identifier): the names are the sanitizer's */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);

const char *__lsan_default_suppressions(void)
{
	return "leak:h2o_mem_alloc_recycle\nleak:h2o_multithread_create_queue\n";
}

const char *__lsan_default_options(void)
{
	return "print_suppressions=0";
}
/* NOLINTEND(bugprone-reserved-identifier) */
#endif

/* Handles are used again: what is the same for every call is set when one is made, and a call sets what is its own. */
#include "drivers/http/transfer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/config.h"
#include "drivers/http/internal.h"
#include "drivers/http/trust.h"

enum {
	MAX_BODY = 8 << 20,
	TRUSTED_LENGTH = 256 << 10, /* how much room a declared length may ask for in advance */
};

/* --- addresses --- */

/* The multi handle keeps for all of its transfers the addresses that one of them brings. A transfer that is taken off
 * early may not have brought them. */
static void bring_addresses(struct http_transfer *t)
{
	const struct http_names *names = &t->engine->names;

	if (!names->entry || names->version == t->engine->names_known)
		return;
	t->addresses = (struct curl_slist){.data = mem_strdup(names->entry)};
	t->names_version = names->version;
	curl_easy_setopt(t->easy, CURLOPT_RESOLVE, &t->addresses);
}

static void addresses_are_known(struct http_transfer *t)
{
	if (t->addresses.data)
		t->engine->names_known = t->names_version;
}

static void drop_addresses(struct http_transfer *t)
{
	if (!t->addresses.data)
		return;
	curl_easy_setopt(t->easy, CURLOPT_RESOLVE, NULL);
	free(t->addresses.data);
	t->addresses.data = NULL;
}

/* --- what comes --- */

static bool begins(const char *line, size_t len, const char *name, size_t name_len)
{
	return len >= name_len && strncasecmp(line, name, name_len) == 0;
}

/* Content-Length: digits and nothing else, the same if there are two (RFC 9112, 6.3: anything else is an unrecoverable
 * error, where libcurl takes the last one, or as much of it as is a number). Makes room for the body at once. */
static bool take_length(struct http_transfer *t, const char *s, size_t len)
{
	int64_t length = 0;
	bool digits = false;

	while (len > 0 && (*s == ' ' || *s == '\t'))
		s++, len--;
	while (len > 0 && strchr(" \t\r\n", s[len - 1]))
		len--;
	for (; len > 0 && *s >= '0' && *s <= '9' && length < INT64_MAX / 100; s++, len--, digits = true)
		length = length * 10 + (*s - '0');
	if (len > 0 || !digits || (t->length >= 0 && t->length != length))
		return false;
	t->length = length;
	if (length <= TRUSTED_LENGTH)
		buf_reserve(&t->response->body, (size_t)length);
	return true;
}

/* The empty line behind a head came. */
static void end_head(struct http_transfer *t)
{
	long status = 0;

	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	t->head_ended = true;
	t->head_final = status >= 200;
	if (t->sink && t->head_final)
		t->sink->answered(t->sink);
}

/* CURLOPT_HEADERFUNCTION: a whole line, a status line and the empty one at the end included. */
static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
	struct http_transfer *t = arg;
	struct http_response *r = t->response;
	size_t len = size * count;

	t->head_bytes += len;
	if (t->head_bytes > HTTP_MAX_HEAD_BYTES || ++t->head_lines > HTTP_MAX_HEAD_LINES) {
		t->trouble = TROUBLE_HEAD;
		return 0;
	}
	if (t->head_final)
		return len; /* a trailer */
	if (begins(line, len, "HTTP/", 5)) {
		r->head.len = 0; /* what came so far was of an interim answer */
		t->head_ended = false;
		t->length = -1;
		inflater_end(&t->inflater);
		return len;
	}
	if (len <= 2) {
		end_head(t);
		return len;
	}
	if (begins(line, len, "Content-Length:", 15) && !take_length(t, line + 15, len - 15)) {
		t->trouble = TROUBLE_LENGTH;
		return 0;
	}
	if (begins(line, len, "Content-Encoding:", 17) && inflater_begin(&t->inflater, line + 17, len - 17) < 0) {
		t->trouble = TROUBLE_CODING;
		return 0;
	}
	buf_append(&r->head, line, len);
	return len;
}

/* CURLOPT_WRITEFUNCTION: a piece of the body, as it came. */
static size_t on_body(char *data, size_t size, size_t count, void *arg)
{
	struct http_transfer *t = arg;
	size_t len = size * count;

	if (t->sink)
		return t->sink->take(t->sink, data, len);
	if (t->inflater.on) {
		int r = inflater_feed(&t->inflater, data, len, &t->response->body, t->max_size);
		if (r < 0)
			t->trouble = r == -EMSGSIZE ? TROUBLE_LARGE : TROUBLE_CODING;
		return r < 0 ? CURL_WRITEFUNC_ERROR : len;
	}
	if (len > t->max_size - t->response->body.len) {
		t->trouble = TROUBLE_LARGE;
		return CURL_WRITEFUNC_ERROR;
	}
	buf_append(&t->response->body, data, len);
	return len;
}

/* --- easy handles --- */

/* As libcurl counts, to which 0 would be its default or no limit. */
static long whole_seconds(int64_t us)
{
	return us > 1000000 ? (long)(us / 1000000) : 1;
}

static void set_up_network(struct http_transfer *t)
{
	const struct http_settings *s = &t->engine->settings;
	const struct http_origin *o = s->origin;
	CURL *easy = t->easy;

	curl_easy_setopt(easy, CURLOPT_CURLU, t->engine->url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_DNS_CACHE_TIMEOUT, -1L);
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, whole_seconds(s->pool->idle_timeout_us));
	curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, whole_seconds(s->pool->lifetime_us));
	if (o->socket)
		curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, o->socket);
	if (o->user) {
		curl_easy_setopt(easy, CURLOPT_USERNAME, o->user);
		curl_easy_setopt(easy, CURLOPT_PASSWORD, o->password ? o->password : "");
	}
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, o->tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1);
	if (o->tls) {
		/* Calls that come while the first connection is being made wait for it: it may carry them all. */
		curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
		http_trust_apply(t->engine->store, easy);
	}
}

/* The environment's proxies are none of ours. */
static void set_up_proxy(struct http_transfer *t)
{
	const struct http_origin *proxy = t->engine->settings.proxy;

	curl_easy_setopt(t->easy, CURLOPT_PROXY, proxy ? proxy->url : "");
	if (!proxy)
		return;
	curl_easy_setopt(t->easy, CURLOPT_CURLU, NULL); /* it is told the whole URL of each call */
	if (!proxy->user)
		return;
	curl_easy_setopt(t->easy, CURLOPT_PROXYUSERNAME, proxy->user);
	curl_easy_setopt(t->easy, CURLOPT_PROXYPASSWORD, proxy->password ? proxy->password : "");
}

static void set_up_content(struct http_transfer *t)
{
	CURL *easy = t->easy;

	curl_easy_setopt(easy, CURLOPT_PRIVATE, t);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->why);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
}

struct http_transfer *http_transfer_new(struct http_engine *engine)
{
	struct http_transfer *t = mem_zalloc(sizeof(*t));
	t->engine = engine;
	list_init(&t->link);
	list_init(&t->connecting);
	t->easy = curl_easy_init();
	if (!t->easy) {
		free(t);
		return NULL;
	}
	set_up_network(t);
	set_up_proxy(t);
	set_up_content(t);
	return t;
}

void http_transfer_free(struct http_transfer *t)
{
	curl_easy_cleanup(t->easy);
	inflater_end(&t->inflater);
	free(t);
}

/* Nothing may stay that points to what was the caller's. */
void http_transfer_clear(struct http_transfer *t)
{
	if (t->shape != SHAPE_GET) {
		curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, NULL);
		curl_easy_setopt(t->easy, CURLOPT_NOBODY, 0L);
		curl_easy_setopt(t->easy, CURLOPT_HTTPGET, 1L);
		curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, NULL);
		t->shape = SHAPE_GET;
	}
	drop_addresses(t);
	inflater_end(&t->inflater);
	t->response = NULL;
	t->sink = NULL;
}

/* --- a call --- */

static bool has_line(const struct http_request *request, const char *name, size_t len)
{
	for (size_t i = 0; i < request->line_count; i++)
		if (begins(request->lines[i], strlen(request->lines[i]), name, len))
			return true;
	return false;
}

/* Lines of its own libcurl would render again for each call. */
static void set_lines(struct http_transfer *t, const struct http_request *request)
{
	static const struct {
		const char *line;
		size_t name_len;
	} ours[] = {{"User-Agent: gatherd/" GATHERD_VERSION, 11}, {"Accept-Encoding: gzip, deflate", 16}};
	size_t count = request->line_count;

	for (size_t i = 0; i < count; i++)
		t->lines[i].data = (char *)request->lines[i];
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
		if (!has_line(request, ours[i].line, ours[i].name_len))
			t->lines[count++].data = (char *)ours[i].line;
	if (request->body)
		t->lines[count++].data = (char *)"Expect:"; /* do not ask before sending a large body */
	for (size_t i = 0; i < count; i++)
		t->lines[i].next = i + 1 < count ? &t->lines[i + 1] : NULL;
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->lines);
}

static void set_method(struct http_transfer *t, const struct http_request *request)
{
	const char *method = request->method;

	if (strcmp(method, "GET") == 0 && !request->body)
		return;
	if (strcmp(method, "HEAD") == 0) {
		t->shape = SHAPE_HEAD;
		curl_easy_setopt(t->easy, CURLOPT_NOBODY, 1L);
		return;
	}
	/* Without a body, methods that have none say nothing of a length; the others say that it is 0. */
	t->shape = SHAPE_BARE;
	if (request->body || (strcmp(method, "DELETE") != 0 && strcmp(method, "OPTIONS") != 0)) {
		t->shape = SHAPE_BODY;
		curl_easy_setopt(t->easy, CURLOPT_POST, 1L);
		curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, request->body ? request->body : "");
		curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
	}
	curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, method);
}

static void set_target(struct http_transfer *t, const struct http_request *request)
{
	struct http_engine *engine = t->engine;

	if (engine->settings.proxy) {
		struct buf url = BUF_INIT;
		buf_str(&url, engine->settings.origin->url);
		buf_str(&url, request->target + 1);
		curl_easy_setopt(t->easy, CURLOPT_URL, buf_cstr(&url));
		buf_done(&url);
	} else {
		curl_easy_setopt(t->easy, CURLOPT_REQUEST_TARGET, request->target);
	}
}

/* With TLS a stream has a connection of its own, over HTTP/1: on one of HTTP/2 a slow reader would hold the other calls
 * up, and the calls that come later are to find none of HTTP/1. */
static void set_connection(struct http_transfer *t, bool streamed, bool fresh)
{
	bool apart = streamed && t->engine->settings.origin->tls;

	curl_easy_setopt(t->easy, CURLOPT_FRESH_CONNECT, (long)(fresh || apart));
	if (t->apart == apart)
		return;
	curl_easy_setopt(t->easy, CURLOPT_HTTP_VERSION, apart ? CURL_HTTP_VERSION_1_1 : CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, (long)apart);
	t->apart = apart;
}

void http_transfer_prepare(struct http_transfer *t, const struct http_request *request, struct http_response *response,
			   bool fresh)
{
	t->response = response;
	t->max_size = request->max_size ? request->max_size : MAX_BODY;
	t->head_bytes = t->head_lines = t->sends = 0;
	t->length = -1;
	t->repeatable = http_method_idempotent(request->method) && !fresh;
	t->opened = t->kept = false;
	t->head_ended = t->head_final = t->ended = false;
	t->trouble = TROUBLE_NONE;
	t->code = CURLE_OK;
	set_connection(t, request->streamed, fresh);
	set_method(t, request);
	set_target(t, request);
	set_lines(t, request);
	bring_addresses(t);
}

/* Take it off the multi handle; a transfer in its midst loses its connection. */
static void take_off(struct http_transfer *t)
{
	list_remove(&t->link);
	list_remove(&t->connecting);
	curl_multi_remove_handle(t->engine->multi, t->easy);
}

static void abandon(struct waiter *w)
{
	take_off(container_of(w, struct http_transfer, waiter));
}

void http_transfer_connected(struct http_transfer *t)
{
	list_remove(&t->connecting);
	addresses_are_known(t);
}

void http_transfer_ended(struct http_transfer *t, CURLcode code)
{
	t->code = code;
	t->ended = true;
	addresses_are_known(t);
	take_off(t);
	task_wake(&t->waiter, 0);
}

int http_transfer_run(struct http_transfer *t, deadline_t by)
{
	waiter_init(&t->waiter, abandon, "an HTTP answer");
	list_append(&t->engine->running, &t->link);
	if (curl_multi_add_handle(t->engine->multi, t->easy) != CURLM_OK) {
		list_remove(&t->link);
		t->code = CURLE_FAILED_INIT;
		t->ended = true;
		return 0;
	}
	return task_suspend(&t->waiter, by);
}

int http_transfer_await(struct http_transfer *t, const char *what, deadline_t by)
{
	waiter_init(&t->waiter, abandon, what);
	int r = task_suspend(&t->waiter, by);
	t->ended |= r < 0;
	return r;
}

void http_transfer_stop(struct http_transfer *t)
{
	if (t->ended)
		return;
	take_off(t);
	t->ended = true;
}

/* --- how it ended --- */

static const struct {
	CURLcode code;
	enum http_outcome outcome;
	const char *what; /* NULL: libcurl's own words */
} verdicts[] = {
	{CURLE_COULDNT_RESOLVE_HOST, HTTP_NOT_SENT, NULL},
	{CURLE_COULDNT_RESOLVE_PROXY, HTTP_NOT_SENT, NULL},
	{CURLE_COULDNT_CONNECT, HTTP_NOT_SENT, NULL},
	{CURLE_PROXY, HTTP_NOT_SENT, NULL},
	{CURLE_OPERATION_TIMEDOUT, HTTP_NOT_SENT, "connecting took too long"},
	{CURLE_SSL_CONNECT_ERROR, HTTP_NOT_SENT, NULL},
	{CURLE_PEER_FAILED_VERIFICATION, HTTP_NONSENSE, NULL},
	{CURLE_GOT_NOTHING, HTTP_BROKEN, "the connection was closed before an answer"},
	{CURLE_PARTIAL_FILE, HTTP_BROKEN, "the connection was closed in the midst of the answer"},
	{CURLE_SEND_ERROR, HTTP_BROKEN, NULL},
	{CURLE_RECV_ERROR, HTTP_BROKEN, NULL},
	{CURLE_HTTP2, HTTP_BROKEN, NULL},
	{CURLE_HTTP2_STREAM, HTTP_BROKEN, NULL},
	{CURLE_UNSUPPORTED_PROTOCOL, HTTP_NONSENSE, "the answer is no HTTP"},
	{CURLE_WEIRD_SERVER_REPLY, HTTP_NONSENSE, NULL},
	{CURLE_OUT_OF_MEMORY, HTTP_NOT_SENT, NULL},
	{CURLE_FAILED_INIT, HTTP_NOT_SENT, NULL},
};

static int too_large(struct error *e, enum transfer_trouble trouble)
{
	return error_set(e, -EMSGSIZE, 502, NULL, "%s",
			 trouble == TROUBLE_LARGE ? "the answer is larger than max_size"
						  : "the answer has too many headers");
}

int http_transfer_judge(const struct http_transfer *t, struct http_response *r, struct error *e)
{
	const char *what = t->why[0] ? t->why : curl_easy_strerror(t->code);

	r->outcome = t->code == CURLE_OK ? HTTP_ANSWERED : HTTP_NONSENSE;
	switch (t->trouble) {
	case TROUBLE_CLOSING:
		r->outcome = HTTP_NOT_SENT;
		return error_say(e, -ECONNREFUSED, REASON_STOPPING, "closing");
	case TROUBLE_LARGE:
	case TROUBLE_HEAD:
		return too_large(e, t->trouble);
	case TROUBLE_LENGTH:
		return error_set(e, -EPIPE, 502, NULL, "the answer's Content-Length is not one number");
	case TROUBLE_CODING:
		return error_set(e, -EPIPE, 502, NULL, "the answer's compression is broken or unknown");
	case TROUBLE_STALE:
	case TROUBLE_SENT_TWICE:
		r->outcome = HTTP_BROKEN;
		return error_set(e, -EPIPE, 502, NULL, "the connection was closed before an answer");
	case TROUBLE_NONE:
		break;
	}
	if (t->code == CURLE_OK && !inflater_whole(&t->inflater)) {
		r->outcome = HTTP_BROKEN;
		return error_set(e, -EPIPE, 502, NULL, "the answer's compressed body is cut off");
	}
	if (t->code == CURLE_OK && t->head_ended)
		return 0;
	if (t->code == CURLE_OK) {
		/* To libcurl an answer that ends among its headers is one. */
		r->outcome = HTTP_BROKEN;
		return error_set(e, -EPIPE, 502, NULL, "the connection was closed in the midst of the answer");
	}
	for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++) {
		if (verdicts[i].code != t->code)
			continue;
		r->outcome = verdicts[i].outcome;
		what = verdicts[i].what ? verdicts[i].what : what;
	}
	if (r->outcome == HTTP_NOT_SENT && t->sends > 0 && !t->repeatable)
		r->outcome = HTTP_BROKEN; /* only what libcurl wanted to do next was not */
	if (r->outcome == HTTP_NOT_SENT)
		return error_set(e, -ECONNREFUSED, 503, NULL, "%s", what);
	return error_set(e, -EPIPE, 502, NULL, "%s", what);
}

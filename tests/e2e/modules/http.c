/* HTTP services asked by handlers: test_handlers_http.py says what each must answer. */
#include <errno.h>
#include <gatherd.h>
#include <string.h>

/* The source that the request names, or the one that has everything. */
static const char *source_of(gd_request *req)
{
	return gd_to_text(gd_param(req, "source"));
}

int get(gd_request *req)
{
	return gd_reply(req, 200, gd_http_get(NULL, source_of(req), gd_to_text(gd_param(req, "path"))));
}

/* The request that the parameter `ask` describes, as a document. */
static gd_http_request described(gd_request *req)
{
	const char *text = gd_to_text(gd_param(req, "ask"));
	gd_value *ask = gd_parse(text, strlen(text));
	gd_value *query = gd_get(ask, "query"), *headers = gd_get(ask, "headers"), *body = gd_get(ask, "body");
	gd_value *raw = gd_get(ask, "raw");
	size_t len = 0;

	if (gd_truthy(raw)) {
		const void *p = gd_to_bytes(raw, &len);
		body = gd_bytes(p, len);
	}
	return (gd_http_request){
		.method = gd_to_text(gd_get(ask, "method")),
		.path = gd_to_text(gd_get(ask, "path")),
		.query = gd_kind_of(query) == GD_NULL ? NULL : query,
		.headers = gd_kind_of(headers) == GD_NULL ? NULL : headers,
		.body = gd_kind_of(body) == GD_NULL ? NULL : body,
	};
}

int call(gd_request *req)
{
	gd_http_request ask = described(req);
	gd_value *v = gd_http(NULL, source_of(req), &ask);
	const char *kinds[] = {"null", "bool", "int", "number", "text", "bytes", "list", "document"};

	if (gd_failed(v))
		return gd_fail_with(v);
	return gd_reply(req, 200,
			gd_build("{kind: %s, answer: %p, again: %p}", kinds[gd_kind_of(gd_get(v, "body"))], v,
				 gd_build("{body: %p}", gd_get(v, "body"))));
}

/* What fails is a value: the error's parts. */
int failure(gd_request *req)
{
	gd_http_request ask = described(req);
	gd_value *v = gd_http(NULL, source_of(req), &ask);

	return gd_reply(
		req, 200,
		gd_build("{failed: %d, status: %d, text: %s}", gd_failed(v), gd_error_status(v), gd_error_text(v)));
}

int gathered(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_value *all = gd_list(), *values[8];

	for (int i = 0; i < 8; i++)
		values[i] = gd_http_get(g, source_of(req), gd_to_text(gd_param(req, "path")));
	bool pending = gd_kind_of(values[0]) == GD_PENDING;
	int r = gd_gather_wait(g, GD_NEVER);
	for (int i = 0; i < 8; i++)
		gd_append(all, gd_failed(values[i]) ? gd_int(gd_failed(values[i])) : values[i]);
	return gd_reply(req, 200, gd_build("{pending: %d, r: %d, all: %p}", pending, r, all));
}

int paths(gd_request *req)
{
	const char *name = "a/b c%d?\xc3\xa9";
	gd_value *all = gd_list();

	gd_append(all, gd_string(gd_http_path("/users/%s", name)));
	gd_append(all, gd_string(gd_http_path("/n/%d/%ld/%lld/%u/%zu%%20", -1, -2L, 3LL, 4u, (size_t)5)));
	gd_append(all, gd_string(gd_http_path("/q?a=%s&b=%s", "", "..")));
	gd_append(all, gd_string(gd_http_path("/x%s/", ".")));
	gd_append(all, gd_string(gd_http_path("/%s/x", "..")));
	gd_append(all, gd_string(gd_http_path("/%s", "")));
	gd_append(all, gd_string(gd_http_path("/%s", gd_to_text(gd_null()))));
	gd_append(all, gd_string(gd_http_path("/%f", 1.5)));
	return gd_reply(req, 200, all);
}

/* Read a stream: how it ended, how much came, and its beginning. */
static gd_value *read_stream(gd_http_stream *s, int64_t pause_ms, int64_t most)
{
	const void *p;
	int64_t n, sum = 0, largest = 0;
	char begin[64] = "";

	while ((n = gd_http_read(s, &p)) > 0) {
		if (sum < 40)
			strncat(begin, p, n < 20 ? (size_t)n : 20);
		largest = n > largest ? n : largest;
		sum += n;
		if (most && sum >= most)
			break;
		if (pause_ms && gd_sleep(pause_ms) < 0)
			break;
	}
	return gd_build("{ended: %lld, sum: %lld, largest: %lld, begin: %s}", (long long)n, (long long)sum,
			(long long)largest, begin);
}

int stream(gd_request *req)
{
	gd_http_request ask = described(req);
	gd_http_stream *s = gd_http_open(source_of(req), &ask);
	gd_value *head = gd_http_head(s);
	int64_t most = gd_to_int(gd_param(req, "most"), 0);
	const void *p;

	if (gd_failed(head))
		return gd_fail_with(head);
	gd_value *read = read_stream(s, gd_to_int(gd_param(req, "pause_ms"), 0), most);
	if (most < 0)
		return gd_reply(req, 200, gd_null()); /* its scope closes it */
	gd_http_close(s);
	gd_http_close(s);
	int64_t late = gd_http_read(s, &p);
	return gd_reply(req, 200, gd_build("{head: %p, read: %p, late: %lld}", head, read, (long long)late));
}

/* A body that breaks off fails the handler that says so. */
int broken(gd_request *req)
{
	gd_http_request ask = described(req);
	gd_http_stream *s = gd_http_open(source_of(req), &ask);
	const void *p;
	int64_t n;

	while ((n = gd_http_read(s, &p)) > 0)
		;
	return n < 0 ? (int)n : gd_reply(req, 200, gd_null());
}

int nothing(gd_request *req)
{
	const void *p;
	gd_http_stream *s = gd_http_open("svc", NULL);
	gd_http_stream *other = gd_http_open("none", &(gd_http_request){.path = "/"});

	return gd_reply(req, 200,
			gd_build("[%d, %d, %d, %d, %d, %d, %lld, %lld, %lld, %lld]",
				 gd_failed(gd_http_get(NULL, "svc", NULL)), gd_failed(gd_http_get(NULL, "none", "/")),
				 gd_failed(gd_http_get(NULL, NULL, "/")), gd_failed(gd_http(NULL, "svc", NULL)),
				 gd_failed(gd_http_head(s)), gd_failed(gd_http_head(NULL)),
				 (long long)gd_http_read(s, &p), (long long)gd_http_read(NULL, &p),
				 (long long)gd_http_read(s, NULL), (long long)gd_http_read(other, &p)));
}

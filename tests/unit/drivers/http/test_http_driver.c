/* HTTP sources: what is sent for a step, what becomes of the answer, retries, the breaker. */
#include "config/yaml.h"
#include "drivers/http/breaker.h"
#include "drivers/http/driver.h"
#include "drivers/http/keys.h"
#include "drivers/http/proxy.h"
#include "drivers/http/source.h"
#include "drivers/http/trace.h"
#include "tests/unit/async/async_fixture.h"
#include "tests/unit/drivers/http/http_server.h"

#define MAX_SLOTS 8

struct fixture {
	struct upstream *upstream;
	struct config_source config;
	struct http_source_keys keys;
	struct config_endpoint endpoint;
	struct arena arena;
	struct executor *executor;
	struct source *source;
	struct client *client;
	char url[128];
	const char *request_id, *traceparent, *tracestate;
	int64_t timeout_us;
};

/* Slots in the order in which references come; the same text is the same slot. */
struct slots {
	struct reference_sink sink;
	const char *texts[MAX_SLOTS];
	int count;
};

static int add_slot(struct reference_sink *sink, const struct reference *ref)
{
	struct slots *s = container_of(sink, struct slots, sink);

	for (int i = 0; i < s->count; i++)
		if (strcmp(s->texts[i], ref->text) == 0)
			return i;
	ck_assert_int_lt(s->count, MAX_SLOTS);
	s->texts[s->count] = ref->text;
	return s->count++;
}

/* --- the server ------------------------------------------------------------------------------------------------ */

static const struct {
	const char *path, *status, *headers, *body;
} answers[] = {
	{"/api/json", "200 OK", "", " { \"a\" : [ 1 , 2.50 ] ,\n\"b\": \"x y\" } "},
	{"/api/rates", "200 OK", "", "{\"rates\":{\"EUR\":1.2500,\"X\":null},\"list\":[{\"n\":1},{\"n\":\"z\"}]}"},
	{"/api/numbers", "200 OK", "", "[1e999,12345678901234567890,0.10,-0]"},
	{"/api/twice", "200 OK", "", "{\"a\":1,\"a\":2}"},
	{"/api/html", "200 OK", "Content-Type: text/html\r\n", "<p>no</p>"},
	{"/api/cut", "200 OK", "", "{\"a\":"},
	{"/api/nul", "200 OK", "", "\"\\u0000\""},
	{"/api/utf8", "200 OK", "", "\"\xff\""},
	{"/api/empty", "200 OK", "", ""},
	{"/api/none", "204 No Content", "", ""},
	{"/api/404", "404 Not Found", "Content-Type: application/problem+json\r\n", "{ \"title\": \"no\" }"},
	{"/api/500", "500 Internal Server Error", "", "secret"},
	{"/api/301", "301 Moved", "Location: /api/json\r\n", ""},
	{"/api/many", "200 OK", "X-A: 1\r\nx-a: 2\r\nX-Bad: \xff\r\nContent-Type: text/plain; charset=utf-8\r\n",
	 "a\"b"},
	{"/api/binary", "200 OK", "", "\xff\xfe"},
};

static bool answer_echo(struct upstream_request *r)
{
	struct buf out = BUF_INIT;
	const char *type = strcasestr(r->head, "\r\nContent-Type:");

	buf_printf(&out, "[\"%s\",\"%s\",", r->method, r->target);
	buf_printf(&out, "\"%.*s\",", type ? (int)strcspn(type + 2, "\r") : 0, type ? type + 2 : "");
	buf_append(&out, r->body_len ? r->body : "null", r->body_len ? r->body_len : 4);
	buf_char(&out, ']');
	bool good = upstream_reply(r, "200 OK", "", out.data, out.len);
	buf_done(&out);
	return good;
}

/* Fails until the counter is at 0. */
static bool answer_flaky(struct upstream_request *r)
{
	if (atomic_fetch_sub(&r->server->counter, 1) <= 0)
		return upstream_json(r, "\"fine\"");
	if (strcmp(r->path, "/api/flaky/reset") == 0)
		return upstream_reset(r);
	if (strcmp(r->path, "/api/flaky/later") == 0)
		return upstream_reply(r, "503 Later", "Retry-After: 1\r\n", "", 0);
	if (strcmp(r->path, "/api/flaky/500") == 0)
		return upstream_reply(r, "500 No", "", "", 0);
	return upstream_reply(r, strcmp(r->path, "/api/flaky/429") == 0 ? "429 Slow" : "503 Later", "", "", 0);
}

static bool answer_deep(struct upstream_request *r)
{
	static char deep[100000];

	memset(deep, '[', sizeof(deep));
	return upstream_reply(r, "200 OK", "", deep, sizeof(deep));
}

static bool answer_headers(struct upstream_request *r)
{
	struct buf out = BUF_INIT;

	buf_char(&out, '[');
	for (char *line = strtok(r->head, "\r\n"); line; line = strtok(NULL, "\r\n"))
		if (strncmp(line, "Host", 4) != 0 && strchr(line, ':') && !strstr(line, " HTTP/"))
			buf_printf(&out, "%s\"%s\"", out.len > 1 ? "," : "", line);
	buf_char(&out, ']');
	bool good = upstream_reply(r, "200 OK", "", out.data, out.len);
	buf_done(&out);
	return good;
}

static bool answer(struct upstream_request *r)
{
	if (strncmp(r->path, "/api/flaky/", 11) == 0)
		return answer_flaky(r);
	if (strcmp(r->path, "/api/deep") == 0)
		return answer_deep(r);
	if (strcmp(r->path, "/api/headers") == 0)
		return answer_headers(r);
	if (strcmp(r->path, "/api/hang") == 0)
		upstream_pause(r, 60000);
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++)
		if (strcmp(answers[i].path, r->path) == 0)
			return upstream_reply(r, answers[i].status, answers[i].headers, answers[i].body,
					      strlen(answers[i].body));
	return answer_echo(r);
}

/* --- a test's own ---------------------------------------------------------------------------------------------- */

static void fixture_open(struct fixture *f)
{
	struct diagnostics d;
	struct error e = ERROR_INIT;

	diagnostics_init(&d);
	http_driver.source_check(&f->config, &d);
	ck_assert_uint_eq(d.errors, 0);
	diagnostics_done(&d);
	ck_assert_int_eq(executor_new(&f->executor, 2, 100), 0);
	ck_assert_int_eq(http_driver.source_new(&f->source, &f->config, f->executor, 1, &e), 0);
	ck_assert_int_eq(http_driver.client_open(&f->client, f->source, &e), 0);
	ck_assert(http_driver.source_ready(f->source));
}

static void fixture_init(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	arena_init(&f->arena);
	f->upstream = upstream_start(answer);
	snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u/api/", f->upstream->port);
	f->keys = (struct http_source_keys){.max_size = 1 << 20};
	f->config = (struct config_source){.own = &f->keys,
					   .name = "rates",
					   .kind = &http_kind,
					   .url = f->url,
					   .pool = {.size = 256,
						    .max_waiting = 1024,
						    .acquire_timeout_us = 30000000,
						    .idle_timeout_us = 30000000,
						    .lifetime_us = 60000000}};
}

static void fixture_close(struct fixture *f)
{
	ck_assert(http_driver.client_idle(f->client));
	http_driver.client_close(f->client);
	http_driver.source_free(f->source);
	executor_free(f->executor);
	upstream_stop(f->upstream);
	arena_done(&f->arena);
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 1);
}

#define HTTP_TEST(name)                                                                                                \
	static void name##_body(struct fixture *f);                                                                    \
	LOOP_TEST(name)                                                                                                \
	{                                                                                                              \
		struct fixture f;                                                                                      \
		int fds = open_fds();                                                                                  \
		fixture_init(&f);                                                                                      \
		fixture_open(&f);                                                                                      \
		name##_body(&f);                                                                                       \
		fixture_close(&f);                                                                                     \
		ck_assert_int_eq(open_fds(), fds);                                                                     \
		return 0;                                                                                              \
	}                                                                                                              \
	static void name##_body(struct fixture *f)

static const struct node *yaml(struct fixture *f, const char *text)
{
	struct diagnostics d;

	diagnostics_init(&d);
	const struct node *n = yaml_parse(&f->arena, "test.yaml", text, strlen(text), &d);
	ck_assert_msg(n && d.errors == 0, "%s", text);
	diagnostics_done(&d);
	return n;
}

static void step_from(struct fixture *f, struct config_step *step, const char *text)
{
	static const struct {
		const char *name;
		enum http_action_kind kind;
	} actions[] = {{"get", ACTION_GET}, {"head", ACTION_HEAD},   {"post", ACTION_POST},
		       {"put", ACTION_PUT}, {"patch", ACTION_PATCH}, {"delete", ACTION_DELETE}};
	const struct node *n = yaml(f, text), *expect = node_member(n, "expect");

	struct http_step_keys *own = arena_zalloc(&f->arena, sizeof(*own));

	*own = (struct http_step_keys){
		.query = node_member(n, "query"),
		.headers = node_member(n, "headers"),
		.body = node_member(n, "body"),
		.pick = node_member(n, "pick"),
	};
	*step = (struct config_step){.own = own, .name = "rate", .source = &f->config, .expect = EXPECT_JSON};
	if (expect)
		step->expect = strcmp(expect->text, "none") == 0 ? EXPECT_NONE : EXPECT_RESPONSE;
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (node_member(n, actions[i].name)) {
			step->action = actions[i].kind;
			step->action_value = node_member(n, actions[i].name);
		}
}

/* The action, or NULL with the first diagnostic in why. */
static struct action *compile(struct fixture *f, const char *text, bool read_only, char *why, size_t why_size)
{
	struct slots slots = {.sink.add = add_slot};
	struct diagnostics d;
	struct config_step *step = arena_alloc(&f->arena, sizeof(*step));
	struct action_env env = {.arena = &f->arena,
				 .diagnostics = &d,
				 .references = &slots.sink,
				 .endpoint = &f->endpoint,
				 .read_only = read_only};

	diagnostics_init(&d);
	step_from(f, step, text);
	struct action *a = http_driver.action_new(&f->config, step, &env);
	ck_assert_int_eq(a == NULL, d.errors > 0);
	snprintf(why, why_size, "%s", d.count ? d.items[0].text : "");
	diagnostics_done(&d);
	return a;
}

static int run(struct fixture *f, const char *text, const struct value *args, struct result **out, struct error *e)
{
	char why[256];
	struct action *a = compile(f, text, false, why, sizeof(why));
	struct run_options options = {.timeout_us = f->timeout_us,
				      .arena = &f->arena,
				      .request_id = f->request_id,
				      .traceparent = f->traceparent,
				      .tracestate = f->tracestate};

	ck_assert_msg(a, "%s: %s", text, why);
	*e = ERROR_INIT;
	return http_driver.run(f->client, a, args, &options, out, e);
}

/* The result's JSON, or "! status public | what". */
static const char *call(struct fixture *f, const char *text, const struct value *args)
{
	struct result *result;
	struct error e;
	struct buf out = BUF_INIT;

	if (run(f, text, args, &result, &e) == 0) {
		result->ops->render(result, &out);
		result_free(result);
	} else {
		buf_printf(&out, "! %d %s | %s", e.status, e.public, e.what);
	}
	const char *kept = arena_strndup(&f->arena, out.data, out.len);
	buf_done(&out);
	return kept;
}

static struct value text(const char *s)
{
	struct value v = value_string(s, strlen(s));

	v.from_request = true;
	return v;
}

static struct value parsed(struct fixture *f, const char *json)
{
	struct json *tree;
	char why[100];

	ck_assert_int_eq(json_parse(&tree, &f->arena, json, strlen(json), 64, why, sizeof(why)), 0);
	return value_from_json(tree);
}

static bool begins(const char *s, const char *with)
{
	return strncmp(s, with, strlen(with)) == 0;
}

/* --- what is sent ---------------------------------------------------------------------------------------------- */

static const struct {
	const char *step;
	const char *args; /* a JSON array */
	const char *sent; /* the target; NULL: "! …" is expected */
} targets[] = {
	{"get: /a/b", "[]", "/api/a/b"},
	{"get: ''", "[]", "/api"},
	{"get: '?x=1'", "[]", "/api?x=1"},
	{"get: /a/{a}/c", "[\"x/../y?z&%#+\"]", "/api/a/x%2F..%2Fy%3Fz%26%25%23%2B/c"},
	{"get: /{a}.txt", "[\"..\"]", "/api/...txt"},
	{"get: /{a}{b}", "[1,true]", "/api/1true"},
	{"get: /caf\u00e9 x/%2f{{}}", "[]", "/api/caf%C3%A9%20x/%2f%7B%7D"},
	{"get: /a/{a}", "[\"..\"]", NULL},
	{"get: /a/{a}", "[\".\"]", NULL},
	{"get: /a/{a}/b", "[\"\"]", NULL},
	{"get: /a/{a}{b}", "[\".\",\".\"]", NULL},
	{"get: /a/{a}", "[null]", NULL},
	{"get: /a/{a}", "[\"x\\u0000y\"]", NULL},
	{"get: '/s?q={a}&lang=de'", "[\"a&b=c d\\u00e4\"]", "/api/s?q=a%26b%3Dc%20d%C3%A4&lang=de"},
	{"get: '/s?q={a}&lang=de'", "[null]", "/api/s?lang=de"},
	{"get: '/s?q={a}'", "[null]", "/api/s"},
	{"get: '/s?q={a}'", "[\"\"]", "/api/s?q="},
	{"get: '/s?q=x{a}y{b}'", "[null,2]", "/api/s?q=xy2"},
	{"get: '/s?q={a}'", "[[1,null,\"b c\"]]", "/api/s?q=1&q=b%20c"},
	{"get: '/s?q={a}'", "[{\"a\":1}]", "/api/s?q=%7B%22a%22%3A1%7D"},
	{"get: '/s?flag&q=1&&x='", "[]", "/api/s?flag&q=1&x="},
	{"get: '/s?q={a}'", "[\"x\\u0000\"]", NULL},
	{"get: /s\nquery: { q: '{a}', n: 5, t: true, 'a b': 'c&{a}', z: null, l: [1, '{b}'] }", "[\"x&y\",null]",
	 "/api/s?q=x%26y&n=5&t=true&a%20b=c%26x%26y&l=1"},
	{"get: '/s?a=1'\nquery: { q: '{a}' }", "[2]", "/api/s?a=1&q=2"},
	{"get: '/s'\nquery: { q: '{a}' }", "[null]", "/api/s"},
};

/* Values of a step's arguments, as of a request. */
static struct value *arguments(struct fixture *f, const char *json)
{
	struct value array = parsed(f, json), *args = arena_array(&f->arena, MAX_SLOTS, sizeof(*args));
	size_t n = 0;

	for (const struct json *j = array.json->child; j; j = j->next) {
		args[n] = value_from_json(j);
		args[n++].from_request = true;
	}
	return args;
}

HTTP_TEST(targets_are_encoded_by_place)
{
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++) {
		const char *got = call(f, targets[i].step, arguments(f, targets[i].args));
		if (!targets[i].sent) {
			ck_assert_msg(begins(got, "! 400 "), "%s: %s", targets[i].step, got);
			continue;
		}
		char expected[256];
		snprintf(expected, sizeof(expected), "[\"GET\",\"%s\",\"\",null]", targets[i].sent);
		ck_assert_msg(strcmp(got, expected) == 0, "%s: %s", targets[i].step, got);
	}
	/* What another step brought is nobody's fault outside. */
	struct value nothing = VALUE_OF_NULL;
	ck_assert(
		begins(call(f, "get: /a/{a}", &nothing), "! 500  | step rate, source rates: GET /a/{a}: {a} is null"));
}

HTTP_TEST(bodies_are_json)
{
	struct value args[] = {text("a\"b"), parsed(f, "{\"x\": [1.0, null]}"), VALUE_OF_NULL, value_int(7)};

	ck_assert_str_eq(
		call(f,
		     "post: /p\nbody: { a: '{a}', b: '{b}', c: '{c}', d: 'x{a}y{c}{d}', e: [1, 2.50, true, null, "
		     "'{d}'] }",
		     args),
		"[\"POST\",\"/api/p\",\"Content-Type: application/json\",{\"a\":\"a\\\"b\",\"b\":{\"x\":[1.0,null]},"
		"\"c\":null,\"d\":\"xa\\\"by7\",\"e\":[1,2.50,true,null,7]}]");
	ck_assert_str_eq(call(f, "put: /p\nbody: '{a}'", args),
			 "[\"PUT\",\"/api/p\",\"Content-Type: application/json\",\"a\\\"b\"]");
	ck_assert_str_eq(call(f, "patch: /p\nbody: {}\nheaders: { content-type: application/merge-patch+json }", args),
			 "[\"PATCH\",\"/api/p\",\"content-type: application/merge-patch+json\",{}]");
	ck_assert_str_eq(call(f, "delete: /p/{a}", (struct value[]){value_int(3)}),
			 "[\"DELETE\",\"/api/p/3\",\"\",null]");
}

LOOP_TEST(headers_are_sent)
{
	struct fixture fixture, *f = &fixture;

	fixture_init(f);
	f->keys.headers = yaml(f, "{ X-Source: s, X-Both: source, User-Agent: me, Accept-Encoding: identity }");
	fixture_open(f);
	ck_assert_str_eq(call(f,
			      "get: /headers\nheaders: { x-both: 'step {a}', X-Null: '{b}', X-Empty: '', X-No: null }",
			      (struct value[]){text("\xc3\xa4 1"), VALUE_OF_NULL}),
			 "[\"X-Source: s\",\"User-Agent: me\",\"Accept-Encoding: identity\",\"x-both: step "
			 "\xc3\xa4 1\",\"Accept: "
			 "application/json\"]");
	ck_assert(begins(call(f, "get: /headers\nheaders: { X: '{a}' }", (struct value[]){text("a\r\nX-Evil: b")}),
			 "! 400 A control character can't stand in the header X."));
	ck_assert(begins(call(f, "get: /headers\nheaders: { X: '{a}' }", (struct value[]){value_string("\0", 1)}),
			 "! 500"));
	ck_assert(begins(call(f, "get: /headers\nheaders: { X: '{a}' }", (struct value[]){text("\n")}), "! 400"));
	f->request_id = "abc";
	f->traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
	const char *got = call(f, "get: /headers", NULL);
	ck_assert_ptr_nonnull(strstr(got, "\"X-Request-Id: abc\""));
	ck_assert_ptr_nonnull(strstr(got, "\"traceparent: 00-0af7651916cd43dd8448eb211c80319c-"));
	ck_assert_ptr_null(strstr(got, "b7ad6b7169203331"));
	ck_assert_ptr_null(strstr(got, "tracestate"));
	f->tracestate = "a=1 , ,b=2";
	ck_assert_ptr_nonnull(strstr(call(f, "get: /headers", NULL), "\"tracestate: a=1,b=2\""));
	got = call(f, "get: /headers\nheaders: { TraceState: x=y }", NULL);
	ck_assert(strstr(got, "x=y") && !strstr(got, "a=1") && strstr(got, "traceparent: 00-0af7651916cd43dd"));
	got = call(f, "get: /headers\nheaders: { Traceparent: mine }", NULL);
	ck_assert(strstr(got, "mine") && !strstr(got, "tracestate") && !strstr(got, "00-0af7651916cd43dd"));
	f->tracestate = "a=1,b";
	got = call(f, "get: /headers", NULL);
	ck_assert(!strstr(got, "tracestate") && strstr(got, "traceparent: 00-0af7651916cd43dd"));
	f->tracestate = "a=1";
	f->traceparent = "nonsense";
	ck_assert_ptr_null(strstr(call(f, "get: /headers", NULL), "trace"));
	f->traceparent = NULL;
	ck_assert_ptr_null(strstr(call(f, "get: /headers", NULL), "trace"));
	ck_assert_ptr_null(strstr(call(f, "get: /headers\nheaders: { x-request-id: mine }", NULL), "abc"));
	fixture_close(f);
	return 0;
}

static const struct {
	const char *step, *why;
} mistakes[] = {
	{"get: a", "expected a path below the source's URL: it begins with \"/\""},
	{"get: 'http://elsewhere/'", "expected a path below the source's URL: it begins with \"/\""},
	{"get: '/a#b'", "a fragment (#) is never sent to a server; a literal # is written %23"},
	{"get: \"/a\\tb\"", "control characters can't stand in a path"},
	{"get: '/a?{a}=1'", "a query parameter's name can't be a reference: only its value can"},
	{"get: /a\nquery: { a: { b: 1 } }",
	 "a query parameter is a text, a number, true, false, null or a list of these"},
	{"get: /a\nheaders: { 'A b': 1 }", "headers: \"A b\" is not the name of a header"},
	{"get: /a\nheaders: { content-length: 1 }", "Content-Length can't be set: it is of the connection"},
	{"get: /a\nheaders: { A: \"b\\nc\" }", "A: control characters can't stand in a header"},
	{"get: /a\nheaders: { A: [1] }", "A: expected a text"},
	{"get: /a\nbody: 1", "body: a request of this method has none"},
	{"get: /a\npick: 'a b'", "pick: expected the way to a member of the answer, such as rates.EUR"},
	{"get: /a\npick: 'a}x'", "pick: expected the way to a member of the answer, such as rates.EUR"},
	{"get: /a\npick: 1", "pick: expected the way to a member of the answer, such as rates.EUR"},
};

HTTP_TEST(mistakes_are_found_at_load)
{
	char why[256];

	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		ck_assert_ptr_null(compile(f, mistakes[i].step, true, why, sizeof(why)));
		ck_assert_str_eq(why, mistakes[i].why);
	}
	ck_assert_ptr_nonnull(compile(f, "head: /a", true, why, sizeof(why)));
}

/* --- what comes ------------------------------------------------------------------------------------------------ */

static const struct {
	const char *step, *result;
} results[] = {
	{"get: /json", "{\"a\":[1,2.50],\"b\":\"x y\"}"},
	{"get: /json\npick: a", "[1,2.50]"},
	{"get: /json\npick: a[1]", "2.50"},
	{"get: /json\npick: b", "\"x y\""},
	{"get: /rates\npick: rates.EUR", "1.2500"},
	{"get: /rates\npick: rates.X", "null"},
	{"get: /rates\npick: nothing.here", "null"},
	{"get: /rates\npick: 'list[*].n'", "[1,\"z\"]"},
	{"get: /numbers", "[1e999,12345678901234567890,0.10,-0]"},
	{"get: /numbers\npick: '[1]'", "12345678901234567890"},
	{"get: /twice", "{\"a\":1,\"a\":2}"},
	{"get: /nul", "\"\\u0000\""},
	{"get: /none", "null"},
	{"post: /empty", "null"},
	{"head: /json", "null"},
	{"get: /html\nexpect: none", "null"},
	{"get: /html",
	 "! 502  | step rate, source rates: GET /html: the answer is not JSON: a value was expected (at byte 0)"},
	{"get: /cut",
	 "! 502  | step rate, source rates: GET /cut: the answer is not JSON: the text ends where a value was "
	 "expected (at byte 5)"},
	{"get: /cut\npick: a",
	 "! 502  | step rate, source rates: GET /cut: the answer is not JSON: the text ends where a value "
	 "was expected (at byte 5)"},
	{"get: /utf8", "! 502  | step rate, source rates: GET /utf8: the answer is not JSON: bad UTF-8 (at byte 1)"},
	{"get: /deep",
	 "! 502  | step rate, source rates: GET /deep: the answer is not JSON: nested too deep (at byte 64)"},
	{"get: /empty",
	 "! 502  | step rate, source rates: GET /empty: the answer is not JSON: the text ends where a value was "
	 "expected (at byte 0)"},
	{"get: /404?key=secret", "! 502  | step rate, source rates: GET /404: it answered with status 404"},
	{"get: /500", "! 502  | step rate, source rates: GET /500: it answered with status 500"},
	{"get: /500\nexpect: none", "! 502  | step rate, source rates: GET /500: it answered with status 500"},
	{"get: /301", "! 502  | step rate, source rates: GET /301: it answered with status 301"},
	{"get: /404\nexpect: response",
	 "{\"status\":404,\"headers\":{\"content-length\":\"17\",\"content-type\":\"application/"
	 "problem+json\"},\"body\":{\"title\":\"no\"}}"},
	{"get: /many\nexpect: response",
	 "{\"status\":200,\"headers\":{\"content-length\":\"3\",\"x-a\":\"1, 2\",\"x-bad\":null,"
	 "\"content-type\":\"text/plain; charset=utf-8\"},\"body\":\"a\\\"b\"}"},
	{"head: /json\nexpect: response", "{\"status\":200,\"headers\":{\"content-length\":\"37\"},\"body\":null}"},
	{"get: /binary\nexpect: response",
	 "! 502  | step rate, source rates: GET /binary: the answer's body is neither JSON nor text"},
};

HTTP_TEST(answers_become_results)
{
	for (size_t i = 0; i < ARRAY_SIZE(results); i++) {
		const char *got = call(f, results[i].step, NULL);
		ck_assert_msg(strcmp(got, results[i].result) == 0, "%s: %s", results[i].step, got);
	}
}

HTTP_TEST(references_look_inside)
{
	static const struct path_segment all_n[] = {{.kind = PATH_MEMBER, .name = "list", .name_len = 4},
						    {.kind = PATH_EACH},
						    {.kind = PATH_MEMBER, .name = "n", .name_len = 1}};
	struct result *r;
	struct error e;
	struct buf out = BUF_INIT;

	ck_assert_int_eq(run(f, "get: /rates", NULL, &r, &e), 0);
	struct value v = r->ops->get(r, &(struct path){all_n, 3}, &f->arena);
	value_render(&v, &out);
	ck_assert_str_eq(buf_cstr(&out), "[1,\"z\"]");
	v = r->ops->get(r, &(struct path){NULL, 0}, &f->arena);
	ck_assert_int_eq(v.kind, VALUE_JSON);
	v = r->ops->get(r, &(struct path){all_n + 1, 1}, &f->arena);
	out.len = 0;
	value_render(&v, &out);
	ck_assert_str_eq(buf_cstr(&out), "[]");
	result_free(r);
	ck_assert_int_eq(run(f, "get: /rates\npick: list", NULL, &r, &e), 0);
	v = r->ops->get(r, &(struct path){all_n + 1, 2}, &f->arena);
	out.len = 0;
	value_render(&v, &out);
	ck_assert_str_eq(buf_cstr(&out), "[1,\"z\"]");
	result_free(r);
	buf_done(&out);
}

HTTP_TEST(sizes_are_bounded)
{
	f->keys.max_size = 10;
	ck_assert(begins(call(f, "get: /json", NULL),
			 "! 502  | step rate, source rates: GET /json: the answer is larger"));
}

LOOP_TEST(redirections_are_followed_where_asked_for)
{
	struct fixture fixture, *f = &fixture;

	fixture_init(f);
	f->keys.redirects = 1;
	fixture_open(f);
	ck_assert_str_eq(call(f, "get: /301", NULL), "{\"a\":[1,2.50],\"b\":\"x y\"}");
	fixture_close(f);
	return 0;
}

/* --- time ------------------------------------------------------------------------------------------------------ */

HTTP_TEST(the_timeout_is_a_504)
{
	f->timeout_us = 20000;
	ck_assert(begins(call(f, "get: /hang", NULL), "! 504 "));
	f->timeout_us = 0;
	deadline_t before = deadline_push(deadline_in_ms(20));
	ck_assert(begins(call(f, "get: /hang", NULL), "! 504 "));
	deadline_pop(before);
	ck_assert_str_eq(call(f, "get: /rates\npick: rates.EUR", NULL), "1.2500");
}

static void open_retrying(struct fixture *f, unsigned attempts, int64_t backoff_us)
{
	fixture_init(f);
	f->keys.retry = (struct http_retry){.attempts = attempts, .backoff_us = backoff_us};
	fixture_open(f);
}

LOOP_TEST(transient_failures_are_tried_again)
{
	static const char *const paths[] = {"get: /flaky/reset", "get: /flaky/503", "get: /flaky/429",
					    "delete: /flaky/503"};
	struct fixture fixture, *f = &fixture;

	open_retrying(f, 3, 2000);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		unsigned before = atomic_load(&f->upstream->requests);
		atomic_store(&f->upstream->counter, 2);
		ck_assert_str_eq(call(f, paths[i], NULL), "\"fine\"");
		ck_assert_uint_eq(atomic_load(&f->upstream->requests) - before, 3);
		atomic_store(&f->upstream->counter, 1000);
		ck_assert(begins(call(f, paths[i], NULL), "! 502 "));
	}
	fixture_close(f);
	return 0;
}

LOOP_TEST(others_are_not)
{
	static const char *const paths[] = {"post: /flaky/503", "patch: /flaky/reset", "get: /flaky/500"};
	struct fixture fixture, *f = &fixture;

	open_retrying(f, 3, 2000);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		unsigned before = atomic_load(&f->upstream->requests);
		atomic_store(&f->upstream->counter, 1);
		ck_assert(begins(call(f, paths[i], NULL), "! 502 "));
		ck_assert_uint_eq(atomic_load(&f->upstream->requests) - before, 1);
	}
	fixture_close(f);
	return 0;
}

LOOP_TEST(retries_keep_the_deadline)
{
	struct fixture fixture, *f = &fixture;
	int64_t begin;

	open_retrying(f, 10, 20000);
	atomic_store(&f->upstream->counter, 1000);
	/* Retry-After: 1 does not fit into what is left: no second attempt, and no waiting. */
	unsigned before = atomic_load(&f->upstream->requests);
	f->timeout_us = 900000;
	ck_assert(begins(call(f, "get: /flaky/later", NULL), "! 502 "));
	ck_assert_uint_eq(atomic_load(&f->upstream->requests) - before, 1);
	atomic_store(&f->upstream->counter, 1);
	f->timeout_us = 30000000;
	begin = monotonic_us();
	ck_assert_str_eq(call(f, "get: /flaky/later", NULL), "\"fine\"");
	ck_assert_int_ge(monotonic_us() - begin, 1000000);
	/* Last: the attempt that found no time may reach the server later. */
	f->timeout_us = 50000;
	atomic_store(&f->upstream->counter, 1000);
	begin = monotonic_us();
	const char *got = call(f, "get: /flaky/503", NULL);
	/* 504: the last attempt was sent, and found no time for an answer; 503: none to be sent in. */
	ck_assert_msg(begins(got, "! 502 ") || begins(got, "! 503 ") || begins(got, "! 504 "), "%s", got);
	ck_assert_int_lt(monotonic_us() - begin, 5000000);
	fixture_close(f);
	return 0;
}

struct background {
	struct fixture *f;
	const char *step, *outcome;
};

static int call_in_background(void *arg)
{
	struct background *b = arg;

	b->outcome = call(b->f, b->step, NULL);
	return 0;
}

LOOP_TEST(closing_ends_calls_and_pauses)
{
	struct fixture fixture, *f = &fixture;
	struct background hanging = {.f = f, .step = "get: /hang"}, pausing = {.f = f, .step = "get: /flaky/503"};

	open_retrying(f, 5, 60000000);
	atomic_store(&f->upstream->counter, 1000);
	struct task *t = spawn(call_in_background, &hanging), *u = spawn(call_in_background, &pausing);
	ck_assert_int_eq(task_sleep_ms(50), 0);
	ck_assert(!task_ended(t) && !task_ended(u) && !http_driver.client_idle(f->client));
	http_driver.client_close(f->client);
	ck_assert_int_eq(join(t), 0);
	ck_assert_int_eq(join(u), 0);
	ck_assert(begins(hanging.outcome, "! 503 ") && begins(pausing.outcome, "! 503 "));
	struct error e;
	ck_assert_int_eq(http_driver.client_open(&f->client, f->source, &e), 0);
	fixture_close(f);
	return 0;
}

/* --- the breaker ----------------------------------------------------------------------------------------------- */

LOOP_TEST(the_breaker_opens_and_closes)
{
	struct fixture fixture, *f = &fixture;
	struct result *result;
	struct error e;

	fixture_init(f);
	f->keys.breaker = (struct http_breaker){.failures = 3, .cooldown_us = 100000};
	fixture_open(f);
	struct breaker *b = &container_of(f->source, struct http_source, base)->breaker;
	for (int i = 0; i < 2; i++)
		ck_assert(begins(call(f, "get: /500", NULL), "! 502 "));
	ck_assert_str_eq(call(f, "get: /none", NULL), "null"); /* in a row, not in all */
	for (int i = 0; i < 3; i++)
		ck_assert(begins(call(f, "get: /500", NULL), "! 502 "));
	ck_assert_int_eq(breaker_state(b), BREAKER_OPEN);
	unsigned before = atomic_load(&f->upstream->requests);
	ck_assert_int_eq(run(f, "get: /none", NULL, &result, &e), -EBUSY);
	ck_assert_int_eq(e.status, 503);
	ck_assert_int_eq(e.retry_after_s, 1);
	ck_assert_uint_eq(atomic_load(&f->upstream->requests), before);
	ck_assert_int_eq(task_sleep_ms(110), 0);
	ck_assert(begins(call(f, "get: /500", NULL), "! 502 ")); /* the probe */
	ck_assert_int_eq(breaker_state(b), BREAKER_OPEN);
	ck_assert_int_eq(task_sleep_ms(110), 0);
	/* A probe that is cancelled decides nothing, and the next call may try. */
	struct background hanging = {.f = f, .step = "get: /hang"};
	struct task *t = spawn(call_in_background, &hanging);
	ck_assert_int_eq(task_sleep_ms(10), 0);
	ck_assert_int_eq(breaker_state(b), BREAKER_HALF_OPEN);
	ck_assert(begins(call(f, "get: /none", NULL), "! 503 "));
	task_cancel(t);
	ck_assert_int_eq(join(t), 0);
	ck_assert_int_eq(breaker_state(b), BREAKER_HALF_OPEN);
	ck_assert_str_eq(call(f, "get: /none", NULL), "null");
	ck_assert_int_eq(breaker_state(b), BREAKER_CLOSED);
	fixture_close(f);
	return 0;
}

/* The failure that opened it is told, not that it is open now. */
LOOP_TEST(an_open_breaker_ends_retries)
{
	struct fixture fixture, *f = &fixture;

	fixture_init(f);
	f->keys.breaker = (struct http_breaker){.failures = 2, .cooldown_us = 10000000};
	f->keys.retry = (struct http_retry){.attempts = 5, .backoff_us = 1000};
	fixture_open(f);
	atomic_store(&f->upstream->counter, 1000);
	ck_assert_str_eq(call(f, "get: /flaky/503", NULL),
			 "! 502  | step rate, source rates: GET /flaky/503: it answered with status 503");
	ck_assert_uint_eq(atomic_load(&f->upstream->requests), 2);
	fixture_close(f);
	return 0;
}

LOOP_TEST(readiness_follows_connections)
{
	struct fixture fixture, *f = &fixture;

	fixture_init(f);
	f->config.url = "http://127.0.0.1:1";
	fixture_open(f);
	ck_assert(begins(call(f, "get: /a", NULL), "! 503 "));
	ck_assert(!http_driver.source_ready(f->source));
	fixture_close(f);
	return 0;
}

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN  "b7ad6b7169203331"
#define ZEROS "00000000000000000000000000000000"

static const struct {
	const char *parent;
	const char *flags; /* of its child; NULL: it is not a traceparent */
} parents[] = {
	{"00-" TRACE "-" SPAN "-00", "00"},
	{"00-" TRACE "-" SPAN "-01", "01"},
	{"00-" TRACE "-" SPAN "-02", "02"},
	{"00-" TRACE "-" SPAN "-03", "03"},
	{"00-" TRACE "-" SPAN "-04", "00"},
	{"00-" TRACE "-" SPAN "-fd", "01"},
	{"00-" TRACE "-" SPAN "-ff", "03"},
	{"00-" TRACE "-" SPAN "-f0", "00"},
	{"01-" TRACE "-" SPAN "-01", "01"},
	{"cc-" TRACE "-" SPAN "-01", "01"},
	{"cc-" TRACE "-" SPAN "-01-what-the-future-will-be-like", "01"},
	{"cc-" TRACE "-" SPAN "-01-", "01"},
	{"fe-" TRACE "-" SPAN "-01", "01"},
	{"00-f" ZEROS, NULL},
	{"00-0000000000000000000000000000000f-000000000000000f-01", "01"},

	{"", NULL},
	{"00", NULL},
	{"00-" TRACE "-" SPAN "-", NULL},
	{"00-" TRACE "-" SPAN, NULL},
	{"00-" TRACE "-" SPAN "-01.", NULL},
	{"00-" TRACE "-" SPAN "-01-", NULL},
	{"00-" TRACE "-" SPAN "-01-more", NULL},
	{"00-" TRACE "-" SPAN "-001", NULL},
	{"00-" TRACE "-" SPAN "-1", NULL},
	{"00-" TRACE "-" SPAN "-.0", NULL},
	{"00-" TRACE "-" SPAN "-0.", NULL},
	{"00-" TRACE "-" SPAN "-0A", NULL},
	{"00-" TRACE "-" SPAN "-01, 00-" TRACE "-" SPAN "-01", NULL},
	{"cc-" TRACE "-" SPAN "-01.more", NULL},
	{"cc-" TRACE "-" SPAN "-01, cc-" TRACE "-" SPAN "-01", NULL},
	{"cc-" TRACE "-" SPAN "-0", NULL},
	{"ff-" TRACE "-" SPAN "-01", NULL},
	{"FE-" TRACE "-" SPAN "-01", NULL},
	{".0-" TRACE "-" SPAN "-01", NULL},
	{"0.-" TRACE "-" SPAN "-01", NULL},
	{"0-" TRACE "-" SPAN "-01", NULL},
	{"000-" TRACE "-" SPAN "-01", NULL},
	{"0000-" TRACE "-" SPAN "-01", NULL},
	{"00-" ZEROS "-" SPAN "-01", NULL},
	{"cc-" ZEROS "-" SPAN "-01", NULL},
	{"00-" TRACE "-0000000000000000-01", NULL},
	{"00-.af7651916cd43dd8448eb211c80319c-" SPAN "-01", NULL},
	{"00-0af7651916cd43dd8448eb211c80319.-" SPAN "-01", NULL},
	{"00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01", NULL},
	{"00-" TRACE "1-" SPAN "-01", NULL},
	{"00-0af7651916cd43dd8448eb211c80319-" SPAN "-01", NULL},
	{"00-" TRACE "-.7ad6b7169203331-01", NULL},
	{"00-" TRACE "-b7ad6b716920333.-01", NULL},
	{"00-" TRACE "-B7AD6B7169203331-01", NULL},
	{"00-" TRACE "-" SPAN "1-01", NULL},
	{"00-" TRACE "-b7ad6b716920333-01", NULL},
	{"00_" TRACE "_" SPAN "_01", NULL},
	{" 00-" TRACE "-" SPAN "-01", NULL},
	{"00-" TRACE "-" SPAN "-01 ", NULL},
};

START_TEST(a_traceparent_is_valid_or_not)
{
	struct arena a;
	uint64_t random = 1;
	const char *parent = parents[_i].parent, *flags = parents[_i].flags;

	arena_init(&a);
	const char *child = trace_child(parent, &a, &random);
	ck_assert_msg(!child == !flags, "%s: %s", parent, child ? child : "not valid");
	if (flags) {
		ck_assert_uint_eq(strlen(child), 55);
		ck_assert(begins(child, "00-") && strncmp(child + 3, parent + 3, 33) == 0);
		ck_assert(strncmp(child + 36, parent + 36, 16) != 0 && strncmp(child + 36, ZEROS, 16) != 0);
		ck_assert_str_eq(child + 53, flags);
	}
	arena_done(&a);
}
END_TEST

#define SIXTEEN      "0123456789abcdef"
#define FOUR(text)   text text text text
#define SIXTY_FOUR   FOUR(SIXTEEN)
#define LONGEST      FOUR(SIXTY_FOUR)
#define FOUR_MEMBERS "a=1,b=2,a=1,c=3"
#define THIRTY_TWO   FOUR(FOUR_MEMBERS ",") FOUR_MEMBERS "," FOUR_MEMBERS "," FOUR_MEMBERS "," FOUR_MEMBERS
#define EVERY_KEY    "abcdefghijklmnopqrstuvwxyz0123456789_-*/@a-z0-9_-*/"
#define EVERY_VALUE  " !\"#$%&'()*+-./0123456789:;<>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"

static const struct {
	const char *list, *result; /* NULL: nothing is passed on */
} states[] = {
	{"foo=1", "foo=1"},
	{"foo=1,bar=2", "foo=1,bar=2"},
	{"foo=1, bar=2", "foo=1,bar=2"},
	{"foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3"},
	{"\t foo=1 \t", "foo=1"},
	{"foo=1,", "foo=1"},
	{", ,\t,foo=1,, ,bar=2, ", "foo=1,bar=2"},
	{"foo=1,foo=1", "foo=1,foo=1"},
	{"foo=1,foo=2", "foo=1,foo=2"},
	{"foo=  1", "foo=  1"},
	{"foo@=1,bar=2", "foo@=1,bar=2"},
	{"foo@@bar=1,foo@bar@baz=2", "foo@@bar=1,foo@bar@baz=2"},
	{"0=1", "0=1"},
	{EVERY_KEY "=" EVERY_VALUE, EVERY_KEY "=" EVERY_VALUE},
	{LONGEST "=" LONGEST, LONGEST "=" LONGEST},
	{THIRTY_TWO, THIRTY_TWO},
	{THIRTY_TWO ", ,", THIRTY_TWO},

	{"", NULL},
	{" ,\t, ", NULL},
	{"foo", NULL},
	{"=1", NULL},
	{"=", NULL},
	{"foo=", NULL},
	{"foo= ", NULL},
	{"foo=,bar=3", NULL},
	{"foo=bar=baz", NULL},
	{"foo=1,bar", NULL},
	{"foo =1", NULL},
	{"FOO=1", NULL},
	{"foo.bar=1", NULL},
	{"_foo=1", NULL},
	{"@foo=1,bar=2", NULL},
	{"*=1", NULL},
	{"foo=a\tb", NULL},
	{"foo=\x7f", NULL},
	{"foo=\xc3\xa9", NULL},
	{"f\xc3\xa9=1", NULL},
	{THIRTY_TWO ",d=4", NULL},
	{"foo=1," LONGEST "0=1", NULL},
	{"foo=1,bar=" LONGEST "0", NULL},
};

START_TEST(a_tracestate_is_passed_on_or_not)
{
	struct arena a;
	const char *result = states[_i].result;

	arena_init(&a);
	const char *got = trace_state(states[_i].list, &a);
	ck_assert_msg(!got == !result && (!got || strcmp(got, result) == 0), "%s: %s", states[_i].list,
		      got ? got : "nothing");
	arena_done(&a);
}
END_TEST

/* no_proxy: names and what is below them. */
START_TEST(proxies_of_the_environment)
{
	static const struct {
		const char *url, *proxy;
	} cases[] = {
		{"http://far.example/", "http://proxy.example:3128/"},
		{"https://far.example/", "http://secure.example:80/"},
		{"http://near.example/", NULL},
		{"http://a.near.example:8080/", NULL},
		{"http://notnear.example/", "http://proxy.example:3128/"},
		{"http://127.0.0.1/", NULL},
		{"http+unix:///run/x", NULL},
	};

	setenv("http_proxy", "proxy.example:3128", 1);
	setenv("https_proxy", "http://secure.example", 1);
	setenv("no_proxy", "near.example, 127.0.0.1", 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct http_origin o, proxy;
		struct arena a;
		const char *why;
		arena_init(&a);
		ck_assert_int_eq(http_origin_parse(&o, &a, cases[i].url, &why), 0);
		ck_assert_int_eq(http_proxy_of_environment(&proxy, &a, &o, &why), cases[i].proxy ? 0 : -ENOENT);
		if (cases[i].proxy)
			ck_assert_str_eq(proxy.url, cases[i].proxy);
		arena_done(&a);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("http_driver");
	TCase *c = async_tcase(s, "what is sent");
	tcase_add_test(c, targets_are_encoded_by_place);
	tcase_add_test(c, bodies_are_json);
	tcase_add_test(c, headers_are_sent);
	tcase_add_test(c, mistakes_are_found_at_load);
	c = async_tcase(s, "what comes");
	tcase_add_test(c, answers_become_results);
	tcase_add_test(c, references_look_inside);
	tcase_add_test(c, sizes_are_bounded);
	tcase_add_test(c, redirections_are_followed_where_asked_for);
	c = async_tcase(s, "time");
	tcase_add_test(c, the_timeout_is_a_504);
	tcase_add_test(c, transient_failures_are_tried_again);
	tcase_add_test(c, others_are_not);
	tcase_add_test(c, retries_keep_the_deadline);
	tcase_add_test(c, closing_ends_calls_and_pauses);
	c = async_tcase(s, "breaker");
	tcase_add_test(c, the_breaker_opens_and_closes);
	tcase_add_test(c, an_open_breaker_ends_retries);
	tcase_add_test(c, readiness_follows_connections);
	c = async_tcase(s, "small things");
	tcase_add_loop_test(c, a_traceparent_is_valid_or_not, 0, (int)ARRAY_SIZE(parents));
	tcase_add_loop_test(c, a_tracestate_is_passed_on_or_not, 0, (int)ARRAY_SIZE(states));
	tcase_add_test(c, proxies_of_the_environment);
	return run_suite(s);
}

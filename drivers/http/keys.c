/* The keys and actions of http sources. */
#include "drivers/http/keys.h"

#include <string.h>

#include "config/reference.h"
#include "config/rows.h"

/* --- sources --------------------------------------------------------------------------------------------------- */

static const struct key http_pool_keys[] = {
	{"size", KEY_INTEGER, INTO(struct config_pool, size), .minimum = 1, .maximum = 10000, .initial = "256",
	 .help = "The most calls of the whole process at once."},
	{"max_waiting", KEY_INTEGER, INTO(struct config_pool, max_waiting), .minimum = 0, .maximum = 1000000,
	 .initial = "1024", .help = "The most calls that may wait for one of these to end; 503 beyond it."},
	{"acquire_timeout", KEY_DURATION, INTO(struct config_pool, acquire_timeout_us), .minimum = MS,
	 .maximum = 24 * HOURS, .initial = "1s", .help = "The longest such wait; then 503."},
	{"idle_timeout", KEY_DURATION, INTO(struct config_pool, idle_timeout_us), .minimum = SECONDS,
	 .maximum = 720 * HOURS, .initial = "2m", .help = "A connection that was idle for longer is not used again."},
	{"lifetime", KEY_DURATION, INTO(struct config_pool, lifetime_us), .minimum = SECONDS, .maximum = 720 * HOURS,
	 .initial = "10m", .help = "A connection that is older is not used again."},
};
static const struct section section_http_pool = {.name = "http_pool", .what = "pool", SECTION(http_pool_keys)};

static const struct key retry_keys[] = {
	{"attempts", KEY_INTEGER, .required = true, INTO(struct http_retry, attempts), .minimum = 1, .maximum = 10,
	 .help = "Attempts in all."},
	{"backoff", KEY_DURATION, INTO(struct http_retry, backoff_us), .minimum = 0, .maximum = 60 * SECONDS,
	 .initial = "50ms",
	 .help = "The wait before the second attempt, about; twice as long before each further one."},
};
static const struct section section_retry = {.name = "retry", .what = "retry", SECTION(retry_keys)};
static const struct key breaker_keys[] = {
	{"failures", KEY_INTEGER, .required = true, INTO(struct http_breaker, failures), .minimum = 1,
	 .maximum = 1000000, .help = "It opens after so many failures in a row: then calls are refused at once."},
	{"cooldown", KEY_DURATION, INTO(struct http_breaker, cooldown_us), .minimum = MS, .maximum = HOURS,
	 .initial = "10s", .help = "How long it is open before one call tries again."},
};
static const struct section section_breaker = {.name = "breaker", .what = "breaker", SECTION(breaker_keys)};

static void check_http(struct decoder *dc, const struct node *mapping, void *object)
{
	const struct config_source *s = object;
	const char *authority = s->url ? strstr(s->url, "://") : NULL;

	check_source(dc, mapping, object);
	if (authority && memchr(authority + 3, '@', strcspn(authority + 3, "/?#")))
		decode_error(dc, s->url_at,
			     "http: no user stands in the URL: a secret belongs in \"headers\", as "
			     "Authorization: { env: NAME }");
}

static const char *const proxy_words[] = {"environment", NULL};
static const struct key http_keys[] = {
	{"http", KEY_STRING, .required = true, INTO(struct config_source, url),
	 .help = "The service: http://host/path, https://host/path, or http+unix:///path/of/socket."},
	{"headers", KEY_CUSTOM, .decode = decode_secret_headers, OWN(struct http_source_keys, headers),
	 .shape = "{\"type\":\"object\",\"additionalProperties\":{\"anyOf\":[{\"type\":[\"string\",\"number\","
		  "\"boolean\"]},{\"$ref\":\"#/$defs/secret_place\"}]}}",
	 .help = "Headers of each call by name; a secret may stand for a text."},
	{"pool", KEY_SECTION, .section = &section_http_pool, .offset = offsetof(struct config_source, pool),
	 .help = "The calls at once, and the connections."},
	{"retry", KEY_SECTION, .section = &section_retry, .own = true,
	 .offset = offsetof(struct http_source_keys, retry),
	 .help = "Try again what may be done twice: after broken connections, 429, 502, 503 and 504."},
	{"breaker", KEY_SECTION, .section = &section_breaker, .own = true,
	 .offset = offsetof(struct http_source_keys, breaker),
	 .help = "Refuse calls for a while once so many have failed."},
	{"max_size", KEY_SIZE, OWN(struct http_source_keys, max_size), .minimum = 1, .maximum = 1 << 30,
	 .initial = "8MiB", .help = "The largest answer, also decompressed."},
	{"redirects", KEY_INTEGER, OWN(struct http_source_keys, redirects), .minimum = 0, .maximum = 20, .initial = "0",
	 .help = "Follow so many redirections, on the same origin."},
	{"proxy", KEY_ENUM, OWN(struct http_source_keys, proxy), .words = proxy_words, .minimum = true,
	 .help = "environment: the proxy that http_proxy, https_proxy and no_proxy name; default: none."},
};
static const struct section section_http = {
	.name = "http", .what = "an http source", SECTION(http_keys), .shared = &section_source, .check = check_http};

/* --- steps ----------------------------------------------------------------------------------------------------- */

/* clang-format off */
#define CALL(method, does) {method, KEY_NODE, .kinds = TEXT, .help = does " The value is a path below the source's URL."}
/* clang-format on */
static const char *const answer_words[] = {"json", "response", NULL};
static const struct key http_step_keys[] = {
	CALL("get", "The answer of a GET."),
	CALL("head", "The head of the answer."),
	CALL("post", "The answer of a POST."),
	CALL("put", "The answer of a PUT."),
	CALL("patch", "The answer of a PATCH."),
	CALL("delete", "The answer of a DELETE."),
	{"query", KEY_NODE, OWN(struct http_step_keys, query), .kinds = MAPPING,
	 .help = "Query parameters by name, with references; null leaves one out."},
	{"headers", KEY_NODE, OWN(struct http_step_keys, headers), .kinds = MAPPING,
	 .help = "Headers by name, with references, beside the source's."},
	{"body", KEY_NODE, OWN(struct http_step_keys, body), .help = "The JSON body, with references."},
	{"pick", KEY_NODE, OWN(struct http_step_keys, pick), .kinds = TEXT,
	 .help = "The part of the JSON answer that is the result, such as rates.EUR or items[0].id."},
	{"expect", KEY_ENUM, INTO(struct config_step, expect), .words = answer_words, .minimum = EXPECT_JSON,
	 .help = "json: the body, and an answer that is no 2xx is a failure; response: { status, headers, body } of "
		 "any answer."},
};
static const struct section section_http_step = {
	.name = "http_step",
	.what = "a step of an http source",
	SECTION(http_step_keys),
	.shared = &section_step,
	.check = check_step,
	.stranger = step_stranger,
	.shape = ",\"oneOf\":[{\"required\":[\"get\"]},{\"required\":[\"head\"]},{\"required\":[\"post\"]},{"
		 "\"required\":[\"put\"]},{\"required\":[\"patch\"]},{\"required\":[\"delete\"]}]",
};

#define ANSWER    (BIT(EXPECT_JSON) | BIT(EXPECT_RESPONSE))
#define CALL_KEYS " query headers body pick "
static const struct action_row actions[] = {
	[ACTION_GET] = {"get", EXPECT_JSON, .keys = " query headers pick ", ALLOW(ANSWER)},
	[ACTION_HEAD] = {"head", EXPECT_RESPONSE, .keys = " query headers ", ALLOW(BIT(EXPECT_RESPONSE))},
	[ACTION_POST] = {"post", EXPECT_JSON, .keys = CALL_KEYS, .writes = true, ALLOW(ANSWER)},
	[ACTION_PUT] = {"put", EXPECT_JSON, .keys = CALL_KEYS, .writes = true, ALLOW(ANSWER)},
	[ACTION_PATCH] = {"patch", EXPECT_JSON, .keys = CALL_KEYS, .writes = true, ALLOW(ANSWER)},
	[ACTION_DELETE] = {"delete", EXPECT_JSON, .keys = CALL_KEYS, .writes = true, ALLOW(ANSWER)},
};

static void check_http_step(struct decoder *dc, const struct node *mapping, struct config_step *s,
			    const struct action_row *action)
{
	const struct node *pick = ((const struct http_step_keys *)s->own)->pick;
	const char *why = NULL;
	struct path path;

	if (!pick || !action || !strstr(action->keys, " pick "))
		return;
	if (s->expect == EXPECT_RESPONSE)
		decode_report(dc, mapping, "pick", "it is of the JSON answer: not for \"expect: response\"");
	if (path_parse(&path, dc->arena, pick->text, pick->len, &why))
		return;
	decode_error(dc, pick->at, "pick: %s; expected the way to a member, such as rates.EUR or items[0].id", why);
}

const struct source_kind http_kind = {
	.name = "http",
	.article = "an",
	.value = "a URL",
	.source = &section_http,
	.source_parts = {&section_http_pool, &section_retry, &section_breaker},
	.source_size = sizeof(struct http_source_keys),
	.step = &section_http_step,
	.step_size = sizeof(struct http_step_keys),
	.actions = actions,
	.action_count = ARRAY_SIZE(actions),
	.check_step = check_http_step,
};

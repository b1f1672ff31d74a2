/* Every key of the language. Adding one is one row. */
#include "config/language.h"

#define INTO(T, member) .offset = offsetof(T, member), .width = sizeof(((T *)0)->member)
/* clang-format off */
#define LATER(key) {.name = (key), .type = KEY_LATER}
#define COLLECTION(action, does) {action, KEY_NODE, .kinds = TEXT, .help = does " The value is the collection."}
/* clang-format on */
#define SECTION(rows) .keys = (rows), .count = ARRAY_SIZE(rows)
#define SHARED(rows)  .shared = (rows), .shared_count = ARRAY_SIZE(rows)

#define MS            INT64_C(1000)
#define SECONDS       (1000 * MS)
#define HOURS         (3600 * SECONDS)
#define TEXT          BIT(NODE_STRING)
#define MAPPING       BIT(NODE_MAPPING)

/* --- server, log ----------------------------------------------------------------------------------------------- */

static const struct key server_keys[] = {
	{"listen", KEY_CUSTOM, .decode = decode_listen, INTO(struct config_server, listen), .initial = "127.0.0.1:8080",
	 .shape = "{\"anyOf\":[{\"$ref\":\"#/$defs/address\"},{\"type\":\"array\",\"minItems\":1,\"items\":{\"anyOf\":"
		  "[{\"$ref\":\"#/$defs/address\"},{\"$ref\":\"#/$defs/listen\"}]}}]}",
	 .help = "Where requests are accepted: HOST:PORT with a numeric host or localhost, or unix:/path; default "
		 "127.0.0.1:8080."},
	{"admin", KEY_CUSTOM, .decode = decode_admin, .shape = "{\"$ref\":\"#/$defs/address\"}",
	 .help = "A listener of its own for /-/ (health, metrics, status)."},
	{"control", KEY_CUSTOM, .decode = decode_control,
	 .shape = "{\"anyOf\":[{\"type\":\"string\",\"minLength\":2},{\"const\":false}]}",
	 .help = "The Unix socket by which `gatherd reload`, `ready` and `status` reach the daemon, as an absolute "
		 "path; "
		 "false: none. Default: control.sock in $RUNTIME_DIRECTORY, if that is set."},
	{"threads", KEY_CUSTOM, .decode = decode_threads, INTO(struct config_server, threads), .minimum = 1,
	 .maximum = 256, .initial = "auto",
	 .shape = "{\"anyOf\":[{\"const\":\"auto\"},{\"type\":\"integer\",\"minimum\":1,\"maximum\":256},"
		  "{\"$ref\":\"#/$defs/variable\"}]}",
	 .help = "Worker threads; auto is one for each core."},
	{"max_connections", KEY_INTEGER, INTO(struct config_server, max_connections), .minimum = 1, .maximum = 1000000,
	 .initial = "10000", .help = "Connections of clients at once."},
	{"max_requests", KEY_INTEGER, INTO(struct config_server, max_requests), .minimum = 1, .maximum = 1000000,
	 .initial = "4096", .help = "Requests that run at once; what comes beyond is answered 503."},
	{"request_timeout", KEY_DURATION, INTO(struct config_server, request_timeout_us), .minimum = MS,
	 .maximum = 24 * HOURS, .initial = "10s", .help = "The budget of a request; 504 when it is used up."},
	{"drain_delay", KEY_DURATION, INTO(struct config_server, drain_delay_us), .minimum = 0, .maximum = HOURS,
	 .initial = "0s", .help = "How long SIGTERM waits, not ready any more, before it closes the listeners."},
	{"drain_timeout", KEY_DURATION, INTO(struct config_server, drain_timeout_us), .minimum = 0,
	 .maximum = 24 * HOURS, .initial = "30s", .help = "How long running requests may take to end at SIGTERM."},
	{"idle_timeout", KEY_DURATION, INTO(struct config_server, idle_timeout_us), .minimum = SECONDS,
	 .maximum = 24 * HOURS, .initial = "60s", .help = "How long a connection may wait for its next request."},
	{"read_timeout", KEY_DURATION, INTO(struct config_server, read_timeout_us), .minimum = SECONDS,
	 .maximum = 24 * HOURS, .initial = "30s", .help = "How long a request's body may take to come; 408 beyond it."},
	{"write_timeout", KEY_DURATION, INTO(struct config_server, write_timeout_us), .minimum = SECONDS,
	 .maximum = 24 * HOURS, .initial = "60s",
	 .help = "In each of these a client takes 64 KiB of a reply, or the rest; or its connection is closed."},
	{"body_limit", KEY_SIZE, INTO(struct config_server, body_limit), .minimum = 0, .maximum = 1 << 30,
	 .initial = "1MiB", .help = "The largest request body; 413 beyond it."},
	{"reply_limit", KEY_SIZE, INTO(struct config_server, reply_limit), .minimum = 1 << 10,
	 .maximum = INT64_C(1) << 40, .initial = "64MiB", .help = "The largest reply that is rendered; 500 beyond it."},
	{"cache_size", KEY_SIZE, INTO(struct config_server, cache_size), .minimum = 0, .maximum = INT64_C(1) << 40,
	 .initial = "64MiB", .help = "Memory for all cached results; those least recently used go first."},
	{"trusted_proxies", KEY_CUSTOM, .decode = decode_proxies,
	 .shape = "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^(unix|[0-9A-Fa-f:.]+(/"
		  "[0-9]{1,3})?)$\"}}",
	 .help = "Addresses and networks (10.0.0.0/8) whose X-Forwarded-For is believed; unix: peers on a Unix "
		 "socket."},
	{"explain", KEY_BOOL, INTO(struct config_server, explain), .initial = "false",
	 .help = "Answer Gatherd-Explain: 1 with Server-Timing: what each step waited and ran."},
	{"debug", KEY_BOOL, INTO(struct config_server, debug), .initial = "false",
	 .help = "Debug mode: tell who blocks a worker and where, measure stacks; GATHERD_DEBUG=1 does the same."},
	{"slow_callback", KEY_DURATION, INTO(struct config_server, slow_callback_us), .minimum = MS, .maximum = HOURS,
	 .initial = "100ms", .help = "In debug mode: a turn of a worker's loop that takes so long is told of."},
};
static const struct section section_server = {
	.name = "server", .what = "server", SECTION(server_keys), .check = check_server};

static const struct key listen_keys[] = {
	{"address", KEY_STRING, .required = true, INTO(struct listen_words, address),
	 .help = "HOST:PORT with a numeric host or localhost, or unix:/path."},
	{"mode", KEY_STRING, INTO(struct listen_words, mode),
	 .help = "Permissions of a Unix socket, octal, in quotes; default \"0660\"."},
	LATER("tls"),
	LATER("http2"),
};
const struct section section_listen = {.name = "listen", .what = "a listener", SECTION(listen_keys)};

static const char *const log_formats[] = {"logfmt", "json", NULL};
static const char *const log_requests[] = {"all", "errors", "none", NULL};
static const char *const log_levels[] = {"debug", "info", "warning", "error", NULL};
static const struct key log_keys[] = {
	{"format", KEY_ENUM, INTO(struct config_log, format), .words = log_formats, .initial = "logfmt",
	 .help = "How a line is written to stderr; the journal gets fields."},
	{"level", KEY_ENUM, INTO(struct config_log, level), .words = log_levels, .initial = "info",
	 .help = "The least that is written; a line for each request is info."},
	{"requests", KEY_ENUM, INTO(struct config_log, requests), .words = log_requests, .initial = "all",
	 .help = "Which requests have a line: all; those with a status from 500 on, or 499; none."},
	{"most", KEY_CUSTOM, .decode = decode_rate, INTO(struct config_log, most),
	 .shape = "{\"type\":\"string\",\"pattern\":\"^[0-9]+/[smh]$\"}",
	 .help = "At most that many lines of requests, such as 1000/s (the default for the journal; none for stderr). "
		 "Failures and slow requests always have theirs."},
	{"slow", KEY_DURATION, INTO(struct config_log, slow_us), .minimum = MS, .maximum = 3600 * SECONDS,
	 .initial = "1s", .help = "Requests that take longer always have a line, unless requests is none."},
};
static const struct section section_log = {.name = "log", .what = "log", SECTION(log_keys)};

/* --- semaphores ------------------------------------------------------------------------------------------------ */

#define SEMAPHORE_SHAPE "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000}]}"
/* A row of whatever may hold a semaphore. */
#define SEMAPHORE(T, whose)                                                                                            \
	{                                                                                                              \
		"semaphore", KEY_CUSTOM, .decode = decode_semaphore, INTO(T, semaphore), .shape = SEMAPHORE_SHAPE,     \
					 .help = "At most so many " whose                                              \
						 " at once, over all workers: a number, or the name of one of "        \
						 "semaphores."                                                         \
	}
static const struct key semaphore_keys[] = {
	{"permits", KEY_INTEGER, .required = true, INTO(struct config_semaphore, permits), .minimum = 1,
	 .maximum = 1000000, .help = "At most so many at once."},
	{"max_waiting", KEY_INTEGER, INTO(struct config_semaphore, max_waiting), .minimum = 0, .maximum = 1000000,
	 .initial = "1024", .help = "The most that may wait for it; 503 beyond it."},
};
const struct section section_semaphore = {.name = "semaphore", .what = "a semaphore", SECTION(semaphore_keys)};

/* --- sources --------------------------------------------------------------------------------------------------- */

const char *const source_kind_names[] = {
	[SOURCE_POSTGRES] = "postgres",
	[SOURCE_MONGODB] = "mongodb",
	[SOURCE_HTTP] = "http",
	[SOURCE_FILES] = "files",
};
const size_t source_kind_count = ARRAY_SIZE(source_kind_names);
const struct section *const source_sections[] = {
	[SOURCE_POSTGRES] = &section_postgres,
	[SOURCE_MONGODB] = &section_mongodb,
	[SOURCE_HTTP] = &section_http,
	[SOURCE_FILES] = &section_files,
};

static const struct key postgres_pool_keys[] = {
	{"size", KEY_INTEGER, INTO(struct config_pool, size), .minimum = 1, .maximum = 10000, .initial = "8",
	 .help = "The most connections of the whole process."},
};
static const struct key mongodb_pool_keys[] = {
	{"size", KEY_INTEGER, INTO(struct config_pool, size), .minimum = 1, .maximum = 10000, .initial = "16",
	 .help = "The most clients of the whole process."},
};
static const struct key pool_keys[] = {
	{"max_waiting", KEY_INTEGER, INTO(struct config_pool, max_waiting), .minimum = 0, .maximum = 1000000,
	 .initial = "1024", .help = "The most steps that may wait for a connection; 503 beyond it."},
	{"acquire_timeout", KEY_DURATION, INTO(struct config_pool, acquire_timeout_us), .minimum = MS,
	 .maximum = 24 * HOURS, .initial = "1s", .help = "The longest wait for a connection; then 503."},
	{"idle_timeout", KEY_DURATION, INTO(struct config_pool, idle_timeout_us), .minimum = MS, .maximum = 720 * HOURS,
	 .initial = "5m", .help = "A connection that is idle for so long is closed."},
	{"lifetime", KEY_DURATION, INTO(struct config_pool, lifetime_us), .minimum = MS, .maximum = 720 * HOURS,
	 .initial = "30m", .help = "A connection that is older is closed when it is idle."},
};
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
static const struct section section_postgres_pool = {
	.name = "postgres_pool", .what = "pool", SECTION(postgres_pool_keys), SHARED(pool_keys)};
static const struct section section_mongodb_pool = {
	.name = "mongodb_pool", .what = "pool", SECTION(mongodb_pool_keys), SHARED(pool_keys)};
static const struct section section_http_pool = {.name = "http_pool", .what = "pool", SECTION(http_pool_keys)};

/* clang-format off */
#define PASSWORD                                                                                                       \
	{"password", KEY_CUSTOM, .decode = decode_secret, INTO(struct config_source, password),                        \
	 .shape = "{\"$ref\":\"#/$defs/secret\"}", .help = "The password, beside the URL."}
/* clang-format on */

static const struct key source_keys[] = {
	{"timeout", KEY_DURATION, INTO(struct config_source, timeout_us), .minimum = 0, .maximum = 24 * HOURS,
	 .initial = "0", .help = "For a step that names none; 0: only the request's."},
	SEMAPHORE(struct config_source, "steps of this source"),
	{"ready", KEY_BOOL, INTO(struct config_source, ready), .initial = "true",
	 .help = "false: /-/ready does not ask whether this source is there."},
};

static const struct key postgres_keys[] = {
	{"postgres", KEY_STRING, .required = true, INTO(struct config_source, url),
	 .help = "The server: postgresql://user@host/database, or libpq's key=value form."},
	PASSWORD,
	{"pool", KEY_SECTION, .section = &section_postgres_pool, .offset = offsetof(struct config_source, pool),
	 .help = "The connections."},
	{"prepare", KEY_BOOL, INTO(struct config_source, prepare), .initial = "true",
	 .help = "Use prepared statements; false behind a pooler such as pgbouncer."},
};
const struct section section_postgres = {.name = "postgres",
					 .what = "a postgres source",
					 SECTION(postgres_keys),
					 SHARED(source_keys),
					 .check = check_source};

static const char *const mongo_json_words[] = {"plain", "relaxed", NULL};
static const struct key mongodb_keys[] = {
	{"mongodb", KEY_STRING, .required = true, INTO(struct config_source, url),
	 .help = "The server: mongodb://user@host/database."},
	PASSWORD,
	{"pool", KEY_SECTION, .section = &section_mongodb_pool, .offset = offsetof(struct config_source, pool),
	 .help = "The clients."},
	{"json", KEY_ENUM, INTO(struct config_source, json), .words = mongo_json_words, .initial = "plain",
	 .help = "plain: ObjectId as hex, dates as ISO 8601, numbers as numbers; relaxed: MongoDB's relaxed extended "
		 "JSON."},
};
const struct section section_mongodb = {.name = "mongodb",
					.what = "a mongodb source",
					SECTION(mongodb_keys),
					SHARED(source_keys),
					.check = check_source};

static const struct key retry_keys[] = {
	{"attempts", KEY_INTEGER, .required = true, INTO(struct config_retry, attempts), .minimum = 1, .maximum = 10,
	 .help = "Attempts in all."},
	{"backoff", KEY_DURATION, INTO(struct config_retry, backoff_us), .minimum = 0, .maximum = 60 * SECONDS,
	 .initial = "50ms",
	 .help = "The wait before the second attempt, about; twice as long before each further one."},
};
static const struct section section_retry = {.name = "retry", .what = "retry", SECTION(retry_keys)};
static const struct key breaker_keys[] = {
	{"failures", KEY_INTEGER, .required = true, INTO(struct config_breaker, failures), .minimum = 1,
	 .maximum = 1000000, .help = "It opens after so many failures in a row: then calls are refused at once."},
	{"cooldown", KEY_DURATION, INTO(struct config_breaker, cooldown_us), .minimum = MS, .maximum = HOURS,
	 .initial = "10s", .help = "How long it is open before one call tries again."},
};
static const struct section section_breaker = {.name = "breaker", .what = "breaker", SECTION(breaker_keys)};

static const char *const proxy_words[] = {"environment", NULL};
static const struct key http_keys[] = {
	{"http", KEY_STRING, .required = true, INTO(struct config_source, url),
	 .help = "The service: http://host/path, https://host/path, or http+unix:///path/of/socket."},
	{"headers", KEY_CUSTOM, .decode = decode_secret_headers, INTO(struct config_source, headers),
	 .shape = "{\"type\":\"object\",\"additionalProperties\":{\"anyOf\":[{\"type\":[\"string\",\"number\","
		  "\"boolean\"]},{\"$ref\":\"#/$defs/secret_place\"}]}}",
	 .help = "Headers of each call by name; a secret may stand for a text."},
	{"pool", KEY_SECTION, .section = &section_http_pool, .offset = offsetof(struct config_source, pool),
	 .help = "The calls at once, and the connections."},
	{"retry", KEY_SECTION, .section = &section_retry, .offset = offsetof(struct config_source, retry),
	 .help = "Try again what may be done twice: after broken connections, 429, 502, 503 and 504."},
	{"breaker", KEY_SECTION, .section = &section_breaker, .offset = offsetof(struct config_source, breaker),
	 .help = "Refuse calls for a while once so many have failed."},
	{"max_size", KEY_SIZE, INTO(struct config_source, max_size), .minimum = 1, .maximum = 1 << 30,
	 .initial = "8MiB", .help = "The largest answer, also decompressed."},
	{"redirects", KEY_INTEGER, INTO(struct config_source, redirects), .minimum = 0, .maximum = 20, .initial = "0",
	 .help = "Follow so many redirections, on the same origin."},
	{"proxy", KEY_ENUM, INTO(struct config_source, proxy), .words = proxy_words, .minimum = true,
	 .help = "environment: the proxy that http_proxy, https_proxy and no_proxy name; default: none."},
};
const struct section section_http = {
	.name = "http", .what = "an http source", SECTION(http_keys), SHARED(source_keys), .check = check_http};

static const struct key files_keys[] = {
	{"files", KEY_CUSTOM, .required = true, .decode = decode_folder, INTO(struct config_source, url),
	 .shape = "{\"type\":\"string\",\"minLength\":1}",
	 .help = "A folder, absolute or relative to the configuration; nothing outside it is ever read."},
	{"write", KEY_BOOL, INTO(struct config_source, write), .initial = "false",
	 .help = "Steps may write, append and remove."},
	{"max_size", KEY_SIZE, INTO(struct config_source, max_size), .minimum = 1, .maximum = 1 << 30,
	 .initial = "8MiB", .help = "The largest file that is read or written; send has no bound."},
};
const struct section section_files = {
	.name = "files", .what = "a files source", SECTION(files_keys), SHARED(source_keys), .check = check_source};

static const struct key secret_keys[] = {
	{"env", KEY_STRING, INTO(struct secret_words, env), .help = "The name of an environment variable."},
	{"file", KEY_STRING, INTO(struct secret_words, file), .help = "A file, relative to the configuration."},
	{"credential", KEY_STRING, INTO(struct secret_words, credential),
	 .help = "A credential that the service manager passes, by name."},
};
const struct section section_secret = {.name = "secret_place",
				       .what = "a secret",
				       SECTION(secret_keys),
				       .shape = ",\"minProperties\":1,\"maxProperties\":1"};

/* --- parameters and JSON Schema -------------------------------------------------------------------------------- */

static const char *const format_words[] = {"date", "date-time", "uuid",     "email", "uri",
					   "ipv4", "ipv6",      "objectid", NULL};
static const char *const in_words[] = {"path", "query", "header", "body", NULL};

#define TYPE_NAMES "\"enum\":[\"string\",\"integer\",\"number\",\"boolean\",\"array\",\"object\"]"
/* The words that both have. Both decode into a struct config_parameter. minLength and minItems share their place: a
 * type has only one of them. */
static const struct key schema_words[] = {
	{"type", KEY_CUSTOM, .decode = decode_type, INTO(struct config_parameter, schema.type),
	 .shape = "{\"anyOf\":[{" TYPE_NAMES
		  "},{\"type\":\"array\",\"minItems\":1,\"maxItems\":2,\"items\":{\"anyOf\":[{" TYPE_NAMES
		  "},{\"const\":\"null\"},{\"type\":\"null\"}]}}]}",
	 .help = "The JSON type; [X, \"null\"] where null is allowed too."},
	{"format", KEY_ENUM, INTO(struct config_parameter, schema.format), .words = format_words,
	 .minimum = FORMAT_DATE, .help = "What a string must look like."},
	{"enum", KEY_NODE, .kinds = BIT(NODE_SEQUENCE), .help = "The values that are allowed."},
	{"default", KEY_NODE, .help = "The value where none is given."},
	{"minimum", KEY_NUMBER, INTO(struct config_parameter, schema.minimum), .help = "The least number."},
	{"maximum", KEY_NUMBER, INTO(struct config_parameter, schema.maximum), .help = "The greatest number."},
	{"minLength", KEY_INTEGER, INTO(struct config_parameter, schema.min_length), .maximum = INT64_MAX,
	 .help = "The shortest string, in characters."},
	{"maxLength", KEY_INTEGER, INTO(struct config_parameter, schema.max_length), .maximum = INT64_MAX,
	 .help = "The longest string, in characters."},
	{"minItems", KEY_INTEGER, INTO(struct config_parameter, schema.min_length), .maximum = INT64_MAX,
	 .help = "The shortest array."},
	{"maxItems", KEY_INTEGER, INTO(struct config_parameter, schema.max_length), .maximum = INT64_MAX,
	 .help = "The longest array."},
	{"pattern", KEY_STRING, INTO(struct config_parameter, schema.pattern),
	 .help = "A regular expression (PCRE) that a string must match somewhere; ^ and $ for all of it."},
	{"items", KEY_CUSTOM, .decode = decode_items, INTO(struct config_parameter, schema.items),
	 .shape = "{\"$ref\":\"#/$defs/schema\"}", .help = "What each item of an array must be."},
	{"properties", KEY_CUSTOM, .decode = decode_properties,
	 .shape = "{\"type\":\"object\",\"additionalProperties\":{\"$ref\":\"#/$defs/schema\"}}",
	 .help = "What the members of an object must be."},
	{"additionalProperties", KEY_BOOL, INTO(struct config_parameter, schema.additional), .initial = "true",
	 .help = "Whether an object may have members that are not in properties."},
	{"description", KEY_STRING, INTO(struct config_parameter, summary), .help = "What it is, for people."},
	/* JSON Schema has them, this build does not. */
	LATER("exclusiveMinimum"),
	LATER("exclusiveMaximum"),
	LATER("multipleOf"),
	LATER("uniqueItems"),
	LATER("const"),
	LATER("oneOf"),
	LATER("anyOf"),
	LATER("allOf"),
	LATER("not"),
	LATER("if"),
	LATER("then"),
	LATER("else"),
	LATER("$ref"),
	LATER("$defs"),
	LATER("contains"),
	LATER("prefixItems"),
	LATER("patternProperties"),
	LATER("propertyNames"),
	LATER("minProperties"),
	LATER("maxProperties"),
	LATER("dependentRequired"),
	LATER("dependentSchemas"),
	LATER("title"),
	LATER("examples"),
	LATER("deprecated"),
	LATER("readOnly"),
	LATER("writeOnly"),
};

static const struct key parameter_keys[] = {
	{"in", KEY_ENUM, INTO(struct config_parameter, in), .words = in_words,
	 .help = "Where it stands; default: the path where that names it, else the query (GET, DELETE) or the body."},
	{"required", KEY_NODE, .kinds = BIT(NODE_BOOL) | BIT(NODE_SEQUENCE),
	 .help = "false: null where it is absent. Of an object: also the list of members that it must have."},
};
const struct section section_parameter = {.name = "parameter",
					  .what = "a parameter",
					  SECTION(parameter_keys),
					  SHARED(schema_words),
					  .check = check_parameter};

static const struct key schema_keys[] = {
	{"required", KEY_NODE, .kinds = BIT(NODE_SEQUENCE), .help = "The members that an object must have."},
};
const struct section section_schema = {
	.name = "schema", .what = "a JSON Schema", SECTION(schema_keys), SHARED(schema_words), .check = check_schema};

/* --- steps ----------------------------------------------------------------------------------------------------- */

const struct section *const step_sections[] = {
	[SOURCE_POSTGRES] = &section_postgres_step,
	[SOURCE_MONGODB] = &section_mongodb_step,
	[SOURCE_HTTP] = &section_http_step,
	[SOURCE_FILES] = &section_files_step,
};

#define ALLOW(...) .expect_allowed = (__VA_ARGS__)
#define ANSWER     (BIT(EXPECT_JSON) | BIT(EXPECT_RESPONSE))
#define CALL_KEYS  " query headers body pick "
const struct action_row action_rows[] = {
	[ACTION_SQL] = {"sql", SOURCE_POSTGRES, EXPECT_MANY, .keys = " write ",
			ALLOW(BIT(EXPECT_MANY) | BIT(EXPECT_ONE) | BIT(EXPECT_MAYBE) | BIT(EXPECT_VALUE) |
			      BIT(EXPECT_NONE))},
	[ACTION_FIND] = {"find", SOURCE_MONGODB, EXPECT_MANY, .keys = " filter projection sort limit skip ",
			 ALLOW(BIT(EXPECT_MANY) | BIT(EXPECT_ONE) | BIT(EXPECT_MAYBE))},
	[ACTION_FIND_ONE] = {"find_one", SOURCE_MONGODB, EXPECT_MAYBE, .keys = " filter projection sort skip ",
			     ALLOW(BIT(EXPECT_ONE) | BIT(EXPECT_MAYBE))},
	[ACTION_AGGREGATE] = {"aggregate", SOURCE_MONGODB, EXPECT_MANY, .keys = " pipeline ", .required = "pipeline",
			      ALLOW(BIT(EXPECT_MANY) | BIT(EXPECT_ONE) | BIT(EXPECT_MAYBE))},
	[ACTION_COUNT] = {"count", SOURCE_MONGODB, EXPECT_VALUE, .keys = " filter limit skip ",
			  ALLOW(BIT(EXPECT_VALUE))},
	[ACTION_DISTINCT] = {"distinct", SOURCE_MONGODB, EXPECT_MANY, .keys = " key filter ", .required = "key",
			     ALLOW(BIT(EXPECT_MANY))},
	[ACTION_GET] = {"get", SOURCE_HTTP, EXPECT_JSON, .keys = " query headers pick ", ALLOW(ANSWER)},
	[ACTION_HEAD] = {"head", SOURCE_HTTP, EXPECT_RESPONSE, .keys = " query headers ", ALLOW(BIT(EXPECT_RESPONSE))},
	[ACTION_POST] = {"post", SOURCE_HTTP, EXPECT_JSON, .keys = CALL_KEYS, .writes = true, ALLOW(ANSWER)},
	[ACTION_PUT] = {"put", SOURCE_HTTP, EXPECT_JSON, .keys = CALL_KEYS, .writes = true, ALLOW(ANSWER)},
	[ACTION_PATCH] = {"patch", SOURCE_HTTP, EXPECT_JSON, .keys = CALL_KEYS, .writes = true, ALLOW(ANSWER)},
	[ACTION_DELETE] = {"delete", SOURCE_HTTP, EXPECT_JSON, .keys = CALL_KEYS, .writes = true, ALLOW(ANSWER)},
	[ACTION_READ] = {"read", SOURCE_FILES, EXPECT_JSON, .keys = " as ", ALLOW(BIT(EXPECT_JSON))},
	[ACTION_STAT] = {"stat", SOURCE_FILES, EXPECT_JSON, .keys = "", ALLOW(BIT(EXPECT_JSON))},
	[ACTION_LIST] = {"list", SOURCE_FILES, EXPECT_JSON, .keys = "", ALLOW(BIT(EXPECT_JSON))},
	[ACTION_SEND] = {"send", SOURCE_FILES, EXPECT_JSON, .keys = "", ALLOW(BIT(EXPECT_JSON))},
	[ACTION_WRITE] = {"write", SOURCE_FILES, EXPECT_JSON, .keys = " content write ", .required = "content",
			  .writes = true, ALLOW(BIT(EXPECT_JSON))},
	[ACTION_APPEND] = {"append", SOURCE_FILES, EXPECT_JSON, .keys = " content write ", .required = "content",
			   .writes = true, ALLOW(BIT(EXPECT_JSON))},
	[ACTION_REMOVE] = {"remove", SOURCE_FILES, EXPECT_JSON, .keys = " write ", .writes = true,
			   ALLOW(BIT(EXPECT_JSON))},
};
const size_t action_count = ARRAY_SIZE(action_rows);

static const char *const row_words[] = {"many", "one", "maybe", "value", "none", NULL};
static const char *const answer_words[] = {"json", "response", NULL};
static const char *const as_words[] = {"text", "json", "base64", NULL};
/* clang-format off */
#define EXPECT_ROWS                                                                                                    \
	{"expect", KEY_ENUM, INTO(struct config_step, expect), .words = row_words, .minimum = EXPECT_MANY,             \
	 .help = "many: an array; one: an object, none is 404, two are 500; maybe: an object or null; value: one "     \
		 "column of at most one row; none."}
#define CALL(method, does) {method, KEY_NODE, .kinds = TEXT, .help = does " The value is a path below the source's URL."}
#define ON_FILE(action, does) {action, KEY_NODE, .kinds = TEXT, .help = does " The value is its path below the folder."}
/* clang-format on */

#define CACHE_SHAPE "{\"anyOf\":[{\"$ref\":\"#/$defs/duration\"},{\"$ref\":\"#/$defs/cache\"}]}"

static const struct key step_keys[] = {
	{"from", KEY_STRING, .required = true, .help = "The source."},
	{"on_error", KEY_CUSTOM, .decode = decode_on_error,
	 .shape = "{\"anyOf\":[{\"enum\":[\"fail\",\"null\",\"omit\",\"stale\"]},{\"type\":\"null\"},"
		  "{\"$ref\":\"#/$defs/on_error\"}]}",
	 .help = "When the step fails: fail the request (default), null, { default: X }, omit its member, or stale: "
		 "the "
		 "cached result, however old."},
	{"when", KEY_NODE, INTO(struct config_step, when), .kinds = TEXT,
	 .help = "A reference; where it is false, null, 0 or empty the step is skipped and its result is null."},
	{"timeout", KEY_DURATION, INTO(struct config_step, timeout_us), .minimum = 0, .maximum = 24 * HOURS,
	 .help = "Counted from when the step really starts; default: the source's."},
	SEMAPHORE(struct config_step, "runs of this step"),
	{"cache", KEY_CUSTOM, .decode = decode_cache, INTO(struct config_step, cache), .shape = CACHE_SHAPE,
	 .help = "Keep the result for so long, by what the step's references evaluate to."},
	{"join", KEY_CUSTOM, .decode = decode_join, INTO(struct config_step, join),
	 .shape = "{\"$ref\":\"#/$defs/join\"}", .help = "Embed the rows in those of another step."},
	{"keep", KEY_BOOL, INTO(struct config_step, keep),
	 .help = "A joined step stays a member of the reply of its own."},
};

static const struct key cache_keys[] = {
	{"ttl", KEY_DURATION, .required = true, INTO(struct config_cache, ttl_us), .minimum = 0, .maximum = 720 * HOURS,
	 .help = "A result is fresh for so long; 0: it is not kept."},
	{"stale", KEY_DURATION, INTO(struct config_cache, stale_us), .minimum = 0, .maximum = 720 * HOURS,
	 .help = "So long beyond ttl it is served still, while it is fetched anew."},
};
const struct section section_cache = {.name = "cache", .what = "cache", SECTION(cache_keys)};

static const struct key join_keys[] = {
	{"into", KEY_STRING, .required = true, INTO(struct join_words, into), .help = "The step whose rows get them."},
	{"key", KEY_STRING, .required = true, INTO(struct join_words, join.key), .help = "The member of its rows."},
	{"equals", KEY_STRING, .required = true, INTO(struct join_words, join.equals),
	 .help = "The member of this step's rows."},
	{"as", KEY_STRING, .required = true, INTO(struct join_words, join.as), .help = "The member that is added."},
	{"many", KEY_BOOL, INTO(struct join_words, join.many), .initial = "false",
	 .help = "true: a list of all that match; false: the first, or null."},
};
const struct section section_join = {.name = "join", .what = "join", SECTION(join_keys)};

static const struct key sql_keys[] = {
	{"file", KEY_STRING, .required = true, INTO(struct sql_words, file),
	 .help = "A file that holds the statement, relative to the file that names it."},
};
const struct section section_sql = {.name = "sql_file", .what = "sql", SECTION(sql_keys)};

static const struct key postgres_step_keys[] = {
	{"sql", KEY_CUSTOM, .decode = decode_sql,
	 .shape = "{\"anyOf\":[{\"type\":\"string\",\"minLength\":1},{\"$ref\":\"#/$defs/sql_file\"}]}",
	 .help = "A statement, or { file: PATH }; references in it become bound parameters."},
	EXPECT_ROWS,
	{"write", KEY_BOOL, INTO(struct config_step, write), .help = "The statement writes, in a GET endpoint."},
	LATER("transaction"),
	LATER("isolation"),
	LATER("retry"),
	LATER("exclusive"),
};
const struct section section_postgres_step = {.name = "postgres_step",
					      .what = "a step of a postgres source",
					      SECTION(postgres_step_keys),
					      SHARED(step_keys),
					      .check = check_step,
					      .stranger = step_stranger,
					      .shape = ",\"oneOf\":[{\"required\":[\"sql\"]}]"};

static const struct key mongodb_step_keys[] = {
	COLLECTION("find", "The documents that match."),
	COLLECTION("find_one", "The first document that matches, or null."),
	COLLECTION("aggregate", "What a pipeline makes of a collection."),
	COLLECTION("count", "The number of documents that match."),
	COLLECTION("distinct", "The values of one key."),
	{"filter", KEY_NODE, INTO(struct config_step, filter), .kinds = MAPPING | TEXT, .help = "What to match."},
	{"projection", KEY_NODE, INTO(struct config_step, projection), .kinds = MAPPING, .help = "Which members."},
	{"sort", KEY_NODE, INTO(struct config_step, sort), .kinds = MAPPING, .help = "The order: 1 or -1 by key."},
	{"limit", KEY_NODE, INTO(struct config_step, limit), .kinds = BIT(NODE_INT) | TEXT,
	 .help = "At most so many; a number or a reference."},
	{"skip", KEY_NODE, INTO(struct config_step, skip), .kinds = BIT(NODE_INT) | TEXT,
	 .help = "Leave out the first so many; a number or a reference."},
	{"pipeline", KEY_NODE, INTO(struct config_step, pipeline), .kinds = BIT(NODE_SEQUENCE), .help = "The stages."},
	{"key", KEY_NODE, INTO(struct config_step, key), .kinds = TEXT, .help = "The key of distinct."},
	EXPECT_ROWS,
	LATER("insert_one"),
	LATER("insert_many"),
	LATER("update_one"),
	LATER("update_many"),
	LATER("replace_one"),
	LATER("delete_one"),
	LATER("delete_many"),
	LATER("find_one_and_update"),
	LATER("find_one_and_replace"),
	LATER("find_one_and_delete"),
	LATER("document"),
	LATER("documents"),
	LATER("update"),
	LATER("replacement"),
	LATER("upsert"),
};
const struct section section_mongodb_step = {
	.name = "mongodb_step",
	.what = "a step of a mongodb source",
	SECTION(mongodb_step_keys),
	SHARED(step_keys),
	.check = check_step,
	.stranger = step_stranger,
	.shape = ",\"oneOf\":[{\"required\":[\"find\"]},{\"required\":[\"find_one\"]},{\"required\":[\"aggregate\","
		 "\"pipeline\"]},{\"required\":[\"count\"]},{\"required\":[\"distinct\",\"key\"]}]",
};

static const struct key http_step_keys[] = {
	CALL("get", "The answer of a GET."),
	CALL("head", "The head of the answer."),
	CALL("post", "The answer of a POST."),
	CALL("put", "The answer of a PUT."),
	CALL("patch", "The answer of a PATCH."),
	CALL("delete", "The answer of a DELETE."),
	{"query", KEY_NODE, INTO(struct config_step, query), .kinds = MAPPING,
	 .help = "Query parameters by name, with references; null leaves one out."},
	{"headers", KEY_NODE, INTO(struct config_step, headers), .kinds = MAPPING,
	 .help = "Headers by name, with references, beside the source's."},
	{"body", KEY_NODE, INTO(struct config_step, body), .help = "The JSON body, with references."},
	{"pick", KEY_NODE, INTO(struct config_step, pick), .kinds = TEXT,
	 .help = "The part of the JSON answer that is the result, such as rates.EUR or items[0].id."},
	{"expect", KEY_ENUM, INTO(struct config_step, expect), .words = answer_words, .minimum = EXPECT_JSON,
	 .help = "json: the body, and an answer that is no 2xx is a failure; response: { status, headers, body } of "
		 "any answer."},
};
const struct section section_http_step = {
	.name = "http_step",
	.what = "a step of an http source",
	SECTION(http_step_keys),
	SHARED(step_keys),
	.check = check_step,
	.stranger = step_stranger,
	.shape = ",\"oneOf\":[{\"required\":[\"get\"]},{\"required\":[\"head\"]},{\"required\":[\"post\"]},{"
		 "\"required\":[\"put\"]},{\"required\":[\"patch\"]},{\"required\":[\"delete\"]}]",
};

static const struct key files_step_keys[] = {
	ON_FILE("read", "What a file holds."),
	ON_FILE("stat", "Size, time and kind of a file."),
	ON_FILE("list", "The files of a folder."),
	ON_FILE("send", "The file itself as the endpoint's reply."),
	{"write", KEY_CUSTOM, .decode = decode_write, .shape = "{\"type\":[\"string\",\"boolean\"]}",
	 .help = "Write a whole file, at once for all who read it. The value is its path below the folder. Beside "
		 "append "
		 "and remove: true."},
	ON_FILE("append", "Write at the end of a file."),
	ON_FILE("remove", "Remove a file."),
	{"as", KEY_ENUM, INTO(struct config_step, as), .words = as_words, .initial = "text",
	 .help = "What read makes of the file."},
	{"content", KEY_NODE, INTO(struct config_step, content),
	 .help = "What write and append write, with references: a text, or JSON where it is none."},
};
const struct section section_files_step = {
	.name = "files_step",
	.what = "a step of a files source",
	SECTION(files_step_keys),
	SHARED(step_keys),
	.check = check_step,
	.stranger = step_stranger,
	.shape = ",\"anyOf\":[{\"required\":[\"read\"]},{\"required\":[\"stat\"]},{\"required\":[\"list\"]},{"
		 "\"required\":[\"send\"]},{\"required\":[\"write\",\"content\"]},{\"required\":[\"append\","
		 "\"content\"]},{\"required\":[\"remove\"]}]",
};

static const struct key on_error_keys[] = {
	{"default", KEY_NODE, .required = true, INTO(struct config_step, default_node), .help = "The result instead."},
};
const struct section section_on_error = {.name = "on_error", .what = "on_error", SECTION(on_error_keys)};

/* --- endpoints ------------------------------------------------------------------------------------------------- */

#define NAME_PATTERN "{\"pattern\":\"^[A-Za-z_][A-Za-z0-9_-]*$\"}"
static const char *const additional_words[] = {"refuse", "allow", NULL};
static const struct key endpoint_keys[] = {
	{"summary", KEY_STRING, INTO(struct config_endpoint, summary), .help = "What it is, for people."},
	{"parameters", KEY_CUSTOM, .decode = decode_parameters,
	 .shape = "{\"type\":\"object\",\"propertyNames\":" NAME_PATTERN
		  ",\"additionalProperties\":{\"$ref\":\"#/$defs/parameter\"}}",
	 .help = "By name. A parameter of the path that is not here is a required string."},
	{"body", KEY_CUSTOM, .decode = decode_body, .shape = "{\"$ref\":\"#/$defs/schema\"}",
	 .help = "What the JSON body must be."},
	{"gather", KEY_CUSTOM, .decode = decode_gather,
	 .shape = "{\"type\":\"object\",\"minProperties\":1,\"propertyNames\":" NAME_PATTERN
		  ",\"additionalProperties\":{\"anyOf\":[{\"$ref\":\"#/$defs/postgres_step\"},"
		  "{\"$ref\":\"#/$defs/mongodb_step\"},{\"$ref\":\"#/$defs/http_step\"},"
		  "{\"$ref\":\"#/$defs/files_step\"}]}}",
	 .help = "The steps by name. Each starts when the last step that it refers to has ended; the others at once."},
	{"respond", KEY_NODE, INTO(struct config_endpoint, respond),
	 .help = "The reply, with references; absent: one object of the steps' results."},
	{"status", KEY_INTEGER, INTO(struct config_endpoint, status), .minimum = 200, .maximum = 299,
	 .help = "Of success; default 200, and 201 for POST with location."},
	{"location", KEY_NODE, INTO(struct config_endpoint, location), .kinds = TEXT,
	 .help = "The Location header of the reply, with references."},
	{"headers", KEY_NODE, INTO(struct config_endpoint, headers), .kinds = MAPPING,
	 .help = "Headers of the reply by name, with references."},
	{"timeout", KEY_DURATION, INTO(struct config_endpoint, timeout_us), .minimum = MS, .maximum = 24 * HOURS,
	 .help = "The budget of a request; default: server.request_timeout."},
	{"additional", KEY_ENUM, INTO(struct config_endpoint, additional), .words = additional_words,
	 .initial = "refuse", .help = "Query parameters that nobody declared: 400, or let through."},
	SEMAPHORE(struct config_endpoint, "requests"),
	{"rate", KEY_CUSTOM, .decode = decode_rate, INTO(struct config_endpoint, rate),
	 .shape = "{\"type\":\"string\",\"pattern\":\"^[0-9]+/[smh]$|\\\\$\\\\{\"}",
	 .help = "Requests of one client: 100/s, 100/m or 100/h; 429 beyond it."},
	{"cache", KEY_CUSTOM, .decode = decode_cache, INTO(struct config_endpoint, cache), .shape = CACHE_SHAPE,
	 .help = "Keep the reply for so long, by what its references evaluate to."},
	{"handler", KEY_CUSTOM, .decode = decode_handler, INTO(struct config_endpoint, handler),
	 .shape = "{\"type\":\"string\",\"pattern\":\"^.+:[A-Za-z_][A-Za-z0-9_]*$|\\\\$\\\\{\"}",
	 .help = "A function in C that answers, instead of gather and respond: module.so:function."},
	LATER("auth"),
	LATER("stream"),
	LATER("listen"),
	LATER("explain"),
};
const struct section section_endpoint = {
	.name = "endpoint",
	.what = "an endpoint",
	SECTION(endpoint_keys),
	.check = check_endpoint,
	.shape = ",\"anyOf\":[{\"required\":[\"gather\"]},{\"required\":[\"respond\"]},{\"required\":[\"handler\"]}]",
};

/* --- the whole ------------------------------------------------------------------------------------------------- */

static const struct key root_keys[] = {
	{"include", KEY_NODE, .kinds = TEXT | BIT(NODE_SEQUENCE),
	 .help = "Files with more sources, semaphores and endpoints: conf.d/*.yaml, relative to this one."},
	{"server", KEY_SECTION, .section = &section_server, .offset = offsetof(struct config, server),
	 .help = "The process and its listeners."},
	{"log", KEY_SECTION, .section = &section_log, .offset = offsetof(struct config, log),
	 .help = "What is logged."},
	{"semaphores", KEY_CUSTOM, .decode = decode_semaphores,
	 .shape = "{\"type\":\"object\",\"propertyNames\":" NAME_PATTERN ",\"additionalProperties\":{\"anyOf\":"
		  "[{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000},{\"$ref\":\"#/$defs/semaphore\"}]}}",
	 .help = "What several sources, endpoints and steps share, by name: a number or { permits, max_waiting }."},
	{"sources", KEY_CUSTOM, .decode = decode_sources,
	 .shape = "{\"type\":\"object\",\"propertyNames\":" NAME_PATTERN ",\"additionalProperties\":{\"oneOf\":"
		  "[{\"$ref\":\"#/$defs/postgres\"},{\"$ref\":\"#/$defs/mongodb\"},{\"$ref\":\"#/$defs/http\"},"
		  "{\"$ref\":\"#/$defs/files\"}]}}",
	 .help = "Databases, services and folders by name."},
	{"modules", KEY_CUSTOM, .decode = decode_modules,
	 .shape = "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"minLength\":1}}",
	 .help = "Shared objects beside those that handlers name: what they start runs, too."},
	{"endpoints", KEY_CUSTOM, .required = true, .decode = decode_endpoints,
	 .shape = "{\"type\":\"object\",\"minProperties\":1,\"propertyNames\":{\"pattern\":"
		  "\"^(GET|POST|PUT|PATCH|DELETE) /[^ "
		  "?#%]*$\"},\"additionalProperties\":{\"$ref\":\"#/$defs/endpoint\"}}",
	 .help = "What is answered, by \"METHOD /path\"; {name} in the path is a parameter, {name*} the rest of it."},
	LATER("trace"),
	LATER("auth"),
};
const struct section section_root = {
	.name = "gatherd", .what = "the configuration", SECTION(root_keys), .check = check_root};

const struct section *const sections[] = {
	&section_server,        &section_listen,        &section_log,          &section_semaphore, &section_postgres,
	&section_postgres_pool, &section_mongodb,       &section_mongodb_pool, &section_http,      &section_http_pool,
	&section_retry,         &section_breaker,       &section_files,        &section_secret,    &section_parameter,
	&section_schema,        &section_postgres_step, &section_mongodb_step, &section_http_step, &section_files_step,
	&section_on_error,      &section_cache,         &section_join,         &section_sql,       &section_endpoint,
};
const size_t section_count = ARRAY_SIZE(sections);

const struct key *section_key(const struct section *s, size_t i)
{
	if (i < s->count)
		return &s->keys[i];
	i -= s->count;
	return i < s->shared_count ? &s->shared[i] : NULL;
}

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
	 .help = "Where requests are accepted: HOST:PORT with a numeric host, or unix:/path; default 127.0.0.1:8080."},
	{"admin", KEY_CUSTOM, .decode = decode_admin, .shape = "{\"$ref\":\"#/$defs/address\"}",
	 .help = "A listener of its own for /-/ (health, metrics, status)."},
	{"threads", KEY_CUSTOM, .decode = decode_threads, INTO(struct config_server, threads), .minimum = 1,
	 .maximum = 256, .initial = "auto",
	 .shape = "{\"anyOf\":[{\"const\":\"auto\"},{\"type\":\"integer\",\"minimum\":1,\"maximum\":256},"
		  "{\"$ref\":\"#/$defs/variable\"}]}",
	 .help = "Worker threads; auto is one for each core, no more than the smallest pool."},
	{"max_connections", KEY_INTEGER, INTO(struct config_server, max_connections), .minimum = 1, .maximum = 1000000,
	 .initial = "10000", .help = "Connections of clients at once."},
	{"max_requests", KEY_INTEGER, INTO(struct config_server, max_requests), .minimum = 1, .maximum = 1000000,
	 .initial = "4096", .help = "Requests that run at once; what comes beyond is answered 503."},
	{"request_timeout", KEY_DURATION, INTO(struct config_server, request_timeout_us), .minimum = MS,
	 .maximum = 24 * HOURS, .initial = "10s", .help = "The budget of a request; 504 when it is used up."},
	{"drain_timeout", KEY_DURATION, INTO(struct config_server, drain_timeout_us), .minimum = 0,
	 .maximum = 24 * HOURS, .initial = "30s", .help = "How long running requests may take to end at SIGTERM."},
	{"body_limit", KEY_SIZE, INTO(struct config_server, body_limit), .minimum = 0, .maximum = 1 << 30,
	 .initial = "1MiB", .help = "The largest request body; 413 beyond it."},
	LATER("cache_size"),
	LATER("trusted_proxies"),
	LATER("debug"),
	LATER("slow_callback"),
	LATER("explain"),
};
static const struct section section_server = {.name = "server", .what = "server", SECTION(server_keys)};

static const struct key listen_keys[] = {
	{"address", KEY_STRING, .required = true, INTO(struct listen_words, address),
	 .help = "HOST:PORT with a numeric host, or unix:/path."},
	{"mode", KEY_STRING, INTO(struct listen_words, mode),
	 .help = "Permissions of a Unix socket, octal, in quotes; default \"0660\"."},
	LATER("tls"),
	LATER("http2"),
};
const struct section section_listen = {.name = "listen", .what = "a listener", SECTION(listen_keys)};

static const char *const log_formats[] = {"logfmt", NULL};
static const char *const log_formats_later[] = {"json", NULL};
static const char *const log_levels[] = {"debug", "info", "warning", "error", NULL};
static const struct key log_keys[] = {
	{"format", KEY_ENUM, .words = log_formats, .later = log_formats_later, .initial = "logfmt",
	 .help = "How a line is written."},
	{"level", KEY_ENUM, INTO(struct config_log, level), .words = log_levels, .initial = "info",
	 .help = "The least that is written; a line for each request is info."},
};
static const struct section section_log = {.name = "log", .what = "log", SECTION(log_keys)};

/* --- sources --------------------------------------------------------------------------------------------------- */

const char *const source_kind_names[] = {[SOURCE_POSTGRES] = "postgres", [SOURCE_MONGODB] = "mongodb"};

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
static const struct section section_postgres_pool = {
	.name = "postgres_pool", .what = "pool", SECTION(postgres_pool_keys), SHARED(pool_keys)};
static const struct section section_mongodb_pool = {
	.name = "mongodb_pool", .what = "pool", SECTION(mongodb_pool_keys), SHARED(pool_keys)};

static const struct key source_keys[] = {
	{"password", KEY_CUSTOM, .decode = decode_secret, INTO(struct config_source, password),
	 .shape = "{\"$ref\":\"#/$defs/secret\"}", .help = "The password, beside the URL."},
	{"timeout", KEY_DURATION, INTO(struct config_source, timeout_us), .minimum = 0, .maximum = 24 * HOURS,
	 .initial = "0", .help = "For a step that names none; 0: only the request's."},
	LATER("semaphore"),
};

static const struct key postgres_keys[] = {
	{"postgres", KEY_STRING, .required = true, INTO(struct config_source, url),
	 .help = "The server: postgresql://user@host/database, or libpq's key=value form."},
	{"pool", KEY_SECTION, .section = &section_postgres_pool, .offset = offsetof(struct config_source, pool),
	 .help = "The connections."},
	{"prepare", KEY_BOOL, INTO(struct config_source, prepare), .initial = "true",
	 .help = "Use prepared statements; false behind pgbouncer's transaction mode."},
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

#define ALLOW(...) .expect_allowed = (__VA_ARGS__)
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
};
const size_t action_count = ARRAY_SIZE(action_rows);

static const char *const expect_words[] = {"many", "one", "maybe", "value", "none", NULL};

static const struct key step_keys[] = {
	{"from", KEY_STRING, .required = true, .help = "The source."},
	{"expect", KEY_ENUM, INTO(struct config_step, expect), .words = expect_words, .minimum = EXPECT_MANY,
	 .help = "many: an array; one: an object, none is 404, two are 500; maybe: an object or null; value: one "
		 "column of at most one row; none."},
	{"on_error", KEY_CUSTOM, .decode = decode_on_error,
	 .shape = "{\"anyOf\":[{\"enum\":[\"fail\",\"null\",\"omit\"]},{\"type\":\"null\"},"
		  "{\"$ref\":\"#/$defs/on_error\"}]}",
	 .help = "When the step fails: fail the request (default), null, { default: X }, or omit its member."},
	{"when", KEY_NODE, INTO(struct config_step, when), .kinds = TEXT,
	 .help = "A reference; where it is false, null, 0 or empty the step is skipped and its result is null."},
	{"timeout", KEY_DURATION, INTO(struct config_step, timeout_us), .minimum = 0, .maximum = 24 * HOURS,
	 .help = "Counted from when the step really starts; default: the source's."},
	LATER("semaphore"),
	LATER("cache"),
	LATER("join"),
	LATER("keep"),
};

static const struct key postgres_step_keys[] = {
	{"sql", KEY_CUSTOM, .decode = decode_sql, .shape = "{\"type\":\"string\"}",
	 .help = "A statement; references in it become bound parameters."},
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
		  "{\"$ref\":\"#/$defs/mongodb_step\"}]}}",
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
	LATER("semaphore"),
	LATER("rate"),
	LATER("cache"),
	LATER("auth"),
	LATER("stream"),
	LATER("listen"),
	LATER("handler"),
	LATER("explain"),
};
const struct section section_endpoint = {
	.name = "endpoint",
	.what = "an endpoint",
	SECTION(endpoint_keys),
	.check = check_endpoint,
	.shape = ",\"anyOf\":[{\"required\":[\"gather\"]},{\"required\":[\"respond\"]}]",
};

/* --- the whole ------------------------------------------------------------------------------------------------- */

static const struct key root_keys[] = {
	{"server", KEY_SECTION, .section = &section_server, .offset = offsetof(struct config, server),
	 .help = "The process and its listeners."},
	{"log", KEY_SECTION, .section = &section_log, .offset = offsetof(struct config, log),
	 .help = "What is logged."},
	{"sources", KEY_CUSTOM, .decode = decode_sources,
	 .shape = "{\"type\":\"object\",\"propertyNames\":" NAME_PATTERN ",\"additionalProperties\":{\"oneOf\":"
		  "[{\"$ref\":\"#/$defs/postgres\"},{\"$ref\":\"#/$defs/mongodb\"}]}}",
	 .help = "The databases by name."},
	{"endpoints", KEY_CUSTOM, .required = true, .decode = decode_endpoints,
	 .shape = "{\"type\":\"object\",\"minProperties\":1,\"propertyNames\":{\"pattern\":"
		  "\"^(GET|POST|PUT|PATCH|DELETE) /[^ "
		  "?#%]*$\"},\"additionalProperties\":{\"$ref\":\"#/$defs/endpoint\"}}",
	 .help = "What is answered, by \"METHOD /path\"; {name} in the path is a parameter, {name*} the rest of it."},
	LATER("include"),
	LATER("trace"),
	LATER("semaphores"),
	LATER("auth"),
};
const struct section section_root = {
	.name = "gatherd", .what = "the configuration", SECTION(root_keys), .check = check_root};

const struct section *const sections[] = {
	&section_server,        &section_listen,       &section_log,      &section_postgres,  &section_postgres_pool,
	&section_mongodb,       &section_mongodb_pool, &section_secret,   &section_parameter, &section_schema,
	&section_postgres_step, &section_mongodb_step, &section_on_error, &section_endpoint,
};
const size_t section_count = ARRAY_SIZE(sections);

const struct key *section_key(const struct section *s, size_t i)
{
	if (i < s->count)
		return &s->keys[i];
	i -= s->count;
	return i < s->shared_count ? &s->shared[i] : NULL;
}

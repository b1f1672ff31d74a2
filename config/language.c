/* Every key of the language that is not of one kind of source. Adding one is one row. */
#include "config/language.h"

#include "config/rows.h"

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

static const struct key metrics_keys[] = {
	{"buckets", KEY_CUSTOM, .decode = decode_buckets, INTO(struct config_metrics, buckets),
	 .shape = "{\"type\":\"array\",\"minItems\":2,\"maxItems\":30,\"items\":{\"type\":\"string\",\"pattern\":"
		  "\"^[0-9]+(\\\\.[0-9]+)?(ms|s|m|h)$|\\\\$\\\\{\"}}",
	 .help = "The upper bounds of the buckets of all histograms, ascending: 2 to 30 durations. A change needs a "
		 "restart."},
};
static const struct section section_metrics = {.name = "metrics", .what = "metrics", SECTION(metrics_keys)};

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
const struct section section_pool = {.name = "pool", .what = "pool", SECTION(pool_keys)};

static const struct key source_keys[] = {
	{"timeout", KEY_DURATION, INTO(struct config_source, timeout_us), .minimum = 0, .maximum = 24 * HOURS,
	 .initial = "0", .help = "For a step that names none; 0: only the request's."},
	SEMAPHORE(struct config_source, "steps of this source"),
	{"ready", KEY_BOOL, INTO(struct config_source, ready), .initial = "true",
	 .help = "false: /-/ready does not ask whether this source is there."},
};
const struct section section_source = {.name = "source", .what = "a source", SECTION(source_keys)};

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

#define TYPE_NAMES "\"enum\":[\"string\",\"integer\",\"number\",\"boolean\",\"array\",\"object\",\"null\"]"
/* A schema in a schema: true and false are some, too. */
#define SUBSCHEMA      "{\"anyOf\":[{\"type\":\"boolean\"},{\"$ref\":\"#/$defs/schema\"}]}"
#define SUBSCHEMAS     "{\"type\":\"array\",\"minItems\":1,\"items\":" SUBSCHEMA "}"
#define BY_NAME        "{\"type\":\"object\",\"additionalProperties\":" SUBSCHEMA "}"
#define SCHEMA(member) INTO(struct config_parameter, schema.member)
#define COUNT(name, member, text)                                                                                      \
	{                                                                                                              \
		name, KEY_INTEGER, SCHEMA(member), .maximum = INT64_MAX, .help = (text)                                \
	}
#define ONE_SCHEMA(name, member, text)                                                                                 \
	{                                                                                                              \
		name, KEY_CUSTOM, .decode = decode_subschema, SCHEMA(member), .shape = SUBSCHEMA, .help = (text)       \
	}
#define SCHEMAS(name, member, text)                                                                                    \
	{                                                                                                              \
		name, KEY_CUSTOM, .decode = decode_subschemas, SCHEMA(member), .shape = SUBSCHEMAS, .help = (text)     \
	}
/* What is for people, or for other programs. */
#define ANNOTATION(name, kinds_, text)                                                                                 \
	{                                                                                                              \
		name, KEY_NODE, .kinds = (kinds_), .help = (text)                                                      \
	}
/* The words that both have. Both decode into a struct config_parameter. */
static const struct key schema_words[] = {
	{"type", KEY_CUSTOM, .decode = decode_type, SCHEMA(type),
	 .shape = "{\"anyOf\":[{" TYPE_NAMES
		  "},{\"const\":\"file\"},{\"type\":\"array\",\"minItems\":1,\"items\":{\"anyOf\":[{" TYPE_NAMES
		  "},{\"type\":\"null\"}]}}]}",
	 .help = "The JSON type, or a list of types; file: of a form."},
	{"format", KEY_ENUM, SCHEMA(format), .words = format_words, .minimum = FORMAT_DATE,
	 .help = "What a string must look like."},
	{"enum", KEY_NODE, .kinds = BIT(NODE_SEQUENCE), .help = "The values that are allowed."},
	{"const", KEY_NODE, .help = "The value that is allowed."},
	{"default", KEY_NODE, .help = "The value where none is given."},
	{"minimum", KEY_NUMBER, SCHEMA(minimum), .help = "The least number."},
	{"maximum", KEY_NUMBER, SCHEMA(maximum), .help = "The greatest number."},
	{"exclusiveMinimum", KEY_NUMBER, SCHEMA(exclusive_minimum), .help = "A number must be above it."},
	{"exclusiveMaximum", KEY_NUMBER, SCHEMA(exclusive_maximum), .help = "A number must be below it."},
	{"multipleOf", KEY_NUMBER, SCHEMA(multiple_of), .help = "A number must be a multiple of it, exactly."},
	COUNT("minLength", min_length, "The shortest string, in characters."),
	COUNT("maxLength", max_length, "The longest string, in characters; the largest file, in bytes."),
	COUNT("minItems", min_items, "The shortest array."),
	COUNT("maxItems", max_items, "The longest array; 10,000 if the body is one."),
	COUNT("minProperties", min_properties, "The fewest members of an object."),
	COUNT("maxProperties", max_properties, "The most members of an object."),
	COUNT("minContains", min_contains, "How many items of an array must fit contains, at least; default 1."),
	COUNT("maxContains", max_contains, "How many items of an array may fit contains."),
	{"uniqueItems", KEY_BOOL, SCHEMA(unique_items), .help = "No two items of an array may be equal."},
	{"pattern", KEY_STRING, SCHEMA(pattern),
	 .help = "A regular expression (PCRE) that a string must match somewhere; ^ and $ for all of it."},
	ONE_SCHEMA("items", items, "What each item of an array must be; behind those of prefixItems."),
	SCHEMAS("prefixItems", prefix_items, "What the first items of an array must be, one by one."),
	ONE_SCHEMA("contains", contains, "What at least one item of an array must be."),
	{"properties", KEY_CUSTOM, .decode = decode_properties, .shape = BY_NAME,
	 .help = "What the members of an object must be."},
	{"patternProperties", KEY_CUSTOM, .decode = decode_pattern_properties, .shape = BY_NAME,
	 .help = "What members must be whose names match a pattern."},
	{"additionalProperties", KEY_CUSTOM, .decode = decode_additional, SCHEMA(additional), .shape = SUBSCHEMA,
	 .initial = "true",
	 .help = "What members must be that are in neither properties nor patternProperties; false: there are none."},
	ONE_SCHEMA("propertyNames", property_names, "What the names of an object's members must be, as strings."),
	{"dependentRequired", KEY_CUSTOM, .decode = decode_dependent,
	 .shape = "{\"type\":\"object\",\"additionalProperties\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}}",
	 .help = "By the name of a member: the members that must be there if it is."},
	SCHEMAS("allOf", all_of, "All of these must fit."),
	SCHEMAS("anyOf", any_of, "One of these must fit, or several."),
	SCHEMAS("oneOf", one_of, "Exactly one of these must fit."),
	ONE_SCHEMA("not", negated, "This must not fit."),
	ONE_SCHEMA("if", condition, "If this fits, then must fit, too; if it does not, else."),
	ONE_SCHEMA("then", consequence, "See if."),
	ONE_SCHEMA("else", alternative, "See if."),
	{"$defs", KEY_CUSTOM, .decode = decode_definitions, .shape = BY_NAME,
	 .help = "Schemas by name, for #/$defs/NAME; at the top of a schema."},
	{"$ref", KEY_CUSTOM, .decode = decode_ref, SCHEMA(ref),
	 .shape = "{\"type\":\"string\",\"pattern\":\"^#(/(\\\\$defs|schemas)/[^/]+)?$\"}",
	 .help = "Another schema that must fit, too: #/$defs/NAME, #/schemas/NAME, or # for the schema that this is "
		 "in."},
	{"readOnly", KEY_BOOL, SCHEMA(read_only), .help = "true: 400 if it is sent."},
	{"contentMediaType", KEY_CUSTOM, .decode = decode_media_types, SCHEMA(media_types),
	 .shape = "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"array\",\"minItems\":1,\"items\":{\"type\":\"string\"}"
		  "}]}",
	 .help = "Of a file: the types that are allowed. Of other values: for people."},
	{"description", KEY_STRING, INTO(struct config_parameter, summary), .help = "What it is, for people."},
	ANNOTATION("title", TEXT, "What it is called, for people."),
	ANNOTATION("examples", BIT(NODE_SEQUENCE), "Values, for people."),
	ANNOTATION("$comment", TEXT, "A remark, for those who read the file."),
	ANNOTATION("contentEncoding", TEXT, "How a string is encoded, for people."),
	{"deprecated", KEY_BOOL, .help = "Whether it should not be used any more, for people."},
	{"writeOnly", KEY_BOOL, .help = "Whether it is never sent back, for people."},
	/* JSON Schema has them, this build does not. */
	LATER("$id"),
	LATER("$schema"),
	LATER("$vocabulary"),
	LATER("$anchor"),
	LATER("$dynamicRef"),
	LATER("$dynamicAnchor"),
	LATER("unevaluatedItems"),
	LATER("unevaluatedProperties"),
	LATER("dependentSchemas"),
	LATER("contentSchema"),
};

static const struct section section_schema_words = {
	.name = "schema_words", .what = "a JSON Schema", SECTION(schema_words)};

static const struct key parameter_keys[] = {
	{"in", KEY_ENUM, INTO(struct config_parameter, in), .words = in_words,
	 .help = "Where it stands; default: the path where that names it, else the query (GET, DELETE) or the body."},
	{"required", KEY_NODE, .kinds = BIT(NODE_BOOL) | BIT(NODE_SEQUENCE),
	 .help = "false: null where it is absent. Of an object: also the list of members that it must have."},
};
const struct section section_parameter = {.name = "parameter",
					  .what = "a parameter",
					  SECTION(parameter_keys),
					  .shared = &section_schema_words,
					  .check = check_parameter};

static const struct key schema_keys[] = {
	{"required", KEY_NODE, .kinds = BIT(NODE_SEQUENCE), .help = "The members that an object must have."},
};
const struct section section_schema = {.name = "schema",
				       .what = "a JSON Schema",
				       SECTION(schema_keys),
				       .shared = &section_schema_words,
				       .check = check_schema};

static const char *const body_words[] = {"json", "form", "bytes", "text", "ndjson", "csv", NULL};
static const struct key body_keys[] = {
	{"as", KEY_CUSTOM, .decode = decode_body_as,
	 .shape = "{\"enum\":[\"json\",\"form\",\"bytes\",\"text\",\"ndjson\",\"csv\"]}", .words = body_words,
	 .help = "json (default); form: of HTML, with files; bytes and text: as they are; ndjson and csv: a list."},
	{"required", KEY_NODE, .kinds = BIT(NODE_SEQUENCE), .help = "The members that an object must have."},
};
const struct section section_body = {
	.name = "body", .what = "a body", SECTION(body_keys), .shared = &section_schema_words, .check = check_schema};

/* --- steps ----------------------------------------------------------------------------------------------------- */

const char *const row_words[] = {"many", "one", "maybe", "value", "none", NULL};

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
	 .help = "A reference; if it is false, null, 0 or empty the step is skipped and its result is null."},
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

const struct section section_step = {.name = "step", .what = "a step", SECTION(step_keys)};

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

static const char *const resume_words[] = {"refuse", "rerun", NULL};
static const struct key idempotency_keys[] = {
	{"store", KEY_STRING, .required = true, INTO(struct idempotency_words, store),
	 .help = "The postgres source whose table gatherd_idempotency keeps keys and replies."},
	{"ttl", KEY_DURATION, INTO(struct idempotency_words, idempotency.ttl_us), .minimum = 60 * SECONDS,
	 .maximum = 720 * HOURS, .initial = "24h", .help = "A key is remembered for so long."},
	{"required", KEY_BOOL, INTO(struct idempotency_words, idempotency.required), .initial = "false",
	 .help = "A request without the header Idempotency-Key is 400."},
	{"resume", KEY_ENUM, INTO(struct idempotency_words, idempotency.rerun), .words = resume_words,
	 .initial = "refuse", .help = "A repeated request whose first run ended without a word: 409, or run it again."},
};
const struct section section_idempotency = {.name = "idempotency", .what = "idempotency", SECTION(idempotency_keys)};

static const struct key on_error_keys[] = {
	{"default", KEY_NODE, .required = true, INTO(struct config_step, default_node), .help = "The result instead."},
};
const struct section section_on_error = {.name = "on_error", .what = "on_error", SECTION(on_error_keys)};

static const struct key affected_keys[] = {
	{"min", KEY_INTEGER, INTO(struct affected_words, min), .minimum = 0, .maximum = INT32_MAX, .initial = "0",
	 .help = "At least that many."},
	{"max", KEY_INTEGER, INTO(struct affected_words, max), .minimum = 1, .maximum = INT32_MAX,
	 .help = "At most that many; default: any number."},
};
const struct section section_affected = {
	.name = "affected", .what = "affected", SECTION(affected_keys), .shape = ",\"minProperties\":1"};

/* --- endpoints ------------------------------------------------------------------------------------------------- */

#define NAME_PATTERN "{\"pattern\":\"^[A-Za-z_][A-Za-z0-9_-]*$\"}"
static const char *const if_match_words[] = {"optional", "required", NULL};
static const char *const additional_words[] = {"refuse", "allow", NULL};
static const struct key endpoint_keys[] = {
	{"summary", KEY_STRING, INTO(struct config_endpoint, summary), .help = "What it is, for people."},
	{"parameters", KEY_CUSTOM, .decode = decode_parameters,
	 .shape = "{\"type\":\"object\",\"propertyNames\":" NAME_PATTERN
		  ",\"additionalProperties\":{\"$ref\":\"#/$defs/parameter\"}}",
	 .help = "By name. A parameter of the path that is not here is a required string."},
	{"body", KEY_CUSTOM, .decode = decode_body,
	 .shape = "{\"anyOf\":[{\"type\":\"boolean\"},{\"$ref\":\"#/$defs/body\"}]}",
	 .help = "What the body must be, and how it is read."},
	{"body_limit", KEY_SIZE, INTO(struct config_endpoint, body_limit), .minimum = 1, .maximum = 1 << 30,
	 .help = "The largest request body; 413 beyond it. Default: server.body_limit."},
	{"gather", KEY_CUSTOM, .decode = decode_gather,
	 .shape = "{\"type\":\"object\",\"minProperties\":1,\"propertyNames\":" NAME_PATTERN
		  ",\"additionalProperties\":{\"anyOf\":[@steps]}}",
	 .help = "The steps by name. Each starts when the last step that it refers to has ended; the others at once."},
	{"respond", KEY_NODE, INTO(struct config_endpoint, respond),
	 .help = "The reply, with references; absent: one object of the steps' results."},
	{"status", KEY_INTEGER, INTO(struct config_endpoint, status), .minimum = 200, .maximum = 299,
	 .help = "Of success; default 200, and 201 for POST with location."},
	{"created", KEY_NODE, INTO(struct config_endpoint, created), .kinds = TEXT,
	 .help = "A reference: if it is true (anything but false, null, 0 and what is empty) the status is 201 and "
		 "location is sent, else 200 without it."},
	{"location", KEY_NODE, INTO(struct config_endpoint, location), .kinds = TEXT,
	 .help = "The Location header of the reply, with references."},
	{"etag", KEY_NODE, INTO(struct config_endpoint, etag), .kinds = TEXT,
	 .help = "The ETag of the reply, with references; auto: a hash of the reply."},
	{"if_match", KEY_ENUM, INTO(struct config_endpoint, if_match_required), .words = if_match_words,
	 .initial = "optional", .help = "required: a request without If-Match is 428."},
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
	{"idempotency", KEY_CUSTOM, .decode = decode_idempotency, INTO(struct config_endpoint, idempotency),
	 .shape = "{\"$ref\":\"#/$defs/idempotency\"}",
	 .help = "Answer a request that comes again, by its header Idempotency-Key, with the first one's reply."},
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
	{"metrics", KEY_SECTION, .section = &section_metrics, .offset = offsetof(struct config, metrics),
	 .help = "What /-/metrics says, and how finely."},
	{"semaphores", KEY_CUSTOM, .decode = decode_semaphores,
	 .shape = "{\"type\":\"object\",\"propertyNames\":" NAME_PATTERN ",\"additionalProperties\":{\"anyOf\":"
		  "[{\"type\":\"integer\",\"minimum\":1,\"maximum\":1000000},{\"$ref\":\"#/$defs/semaphore\"}]}}",
	 .help = "What several sources, endpoints and steps share, by name: a number or { permits, max_waiting }."},
	{"sources", KEY_CUSTOM, .decode = decode_sources,
	 .shape = "{\"type\":\"object\",\"propertyNames\":" NAME_PATTERN ",\"additionalProperties\":{\"oneOf\":"
		  "[@sources]}}",
	 .help = "Databases, services and folders by name."},
	{"schemas", KEY_CUSTOM, .decode = decode_schemas,
	 .shape = "{\"type\":\"object\",\"propertyNames\":" NAME_PATTERN ",\"additionalProperties\":" SUBSCHEMA "}",
	 .help = "JSON Schemas by name, for $ref: #/schemas/NAME."},
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

/* What $defs of the JSON Schema holds, in its order; what kinds of source bring stands in between. */
static const struct section *const process_sections[] = {&section_server,  &section_listen,    &section_log,
							 &section_metrics, &section_semaphore, NULL};
static const struct section *const value_sections[] = {&section_secret, &section_parameter, &section_schema,
						       &section_body, NULL};
static const struct section *const step_sections[] = {&section_on_error, &section_affected,    &section_cache,
						      &section_join,     &section_idempotency, NULL};
static const struct section *const endpoint_sections[] = {&section_endpoint, NULL};

/* The item *i of a list up to a NULL, or NULL: *i counts what is behind it. */
static const struct section *nth(const struct section *const *list, size_t *i)
{
	for (; *list; list++) {
		if ((*i)-- == 0)
			return *list;
	}
	return NULL;
}

static const struct section *nth_of_sources(const struct language *l, size_t *i)
{
	const struct section *found = NULL;
	for (size_t k = 0; k < l->kind_count && !found; k++) {
		const struct section *const own[] = {l->kinds[k]->source, NULL};
		found = nth(own, i);
		if (!found)
			found = nth(l->kinds[k]->source_parts, i);
	}
	return found;
}

static const struct section *nth_of_steps(const struct language *l, size_t *i)
{
	return *i < l->kind_count ? l->kinds[*i]->step : (*i -= l->kind_count, NULL);
}

static const struct section *nth_of_step_parts(const struct language *l, size_t *i)
{
	const struct section *found = NULL;
	for (size_t k = 0; k < l->kind_count && !found; k++)
		found = nth(l->kinds[k]->step_parts, i);
	return found;
}

const struct section *language_section(const struct language *l, size_t i)
{
	const struct section *found;

	if ((found = nth(process_sections, &i)) || (found = nth_of_sources(l, &i)) ||
	    (found = nth(value_sections, &i)) || (found = nth_of_steps(l, &i)) || (found = nth(step_sections, &i)) ||
	    (found = nth_of_step_parts(l, &i)))
		return found;
	return nth(endpoint_sections, &i);
}

const struct key *section_key(const struct section *s, size_t i)
{
	if (i < s->count)
		return &s->keys[i];
	i -= s->count;
	return s->shared && i < s->shared->count ? &s->shared->keys[i] : NULL;
}

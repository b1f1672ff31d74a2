/* The configuration: typed, checked, immutable. Made from YAML by config_load; see docs for each key's meaning.
 *
 * What only its user can judge (SQL, filters, `respond`) stays a tree of nodes; the plan compiler and the drivers check
 * it at load, with the same diagnostics. Everything lives in the configuration's arena until config_free. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/counter.h"
#include "base/value.h"
#include "config/diagnostics.h"
#include "config/node.h"

/* A password or key: given as it is, or by { env: NAME }, { file: PATH }, { credential: NAME } (a file of that name in
 * $CREDENTIALS_DIRECTORY). Read when the configuration is loaded; never printed. */
struct config_secret {
	bool set;
	const char *value; /* NUL-terminated; one trailing newline of a file is dropped */
	struct mark at;
};

struct config_listen {
	const char *host;    /* TCP: a numeric address; otherwise NULL */
	uint16_t port;       /* 0: any free one */
	const char *path;    /* Unix socket */
	unsigned mode;       /* of the Unix socket; default 0660 */
	const char *systemd; /* the sockets that socket units pass: those of that FileDescriptorName=; "": all */
	bool admin;          /* server.admin, or control: for what is below /-/ alone */
	bool control;        /* server.control: what changes something is answered here alone */
	struct mark at;
};

/* An address with the bits of it that count: 10.0.0.0/8. */
struct config_network {
	int family; /* AF_INET, AF_INET6 */
	unsigned char address[16];
	unsigned bits;
};

struct config_server {
	struct config_listen *listen; /* at least one; the admin listener, if there is one, is the last */
	size_t listen_count;
	struct config_listen control; /* a Unix socket; path NULL: there is none */
	unsigned threads;             /* what was given; auto: the cores that the process may use */
	unsigned max_connections;
	unsigned max_requests;
	int64_t request_timeout_us;
	int64_t drain_delay_us; /* not ready any more, and still accepting */
	int64_t drain_timeout_us;
	int64_t idle_timeout_us;
	int64_t read_timeout_us;
	int64_t write_timeout_us;
	size_t body_limit;
	size_t reply_limit; /* bytes of a rendered reply */
	size_t cache_size;  /* bytes of all cached results */
	struct config_network *trusted_proxies;
	size_t trusted_proxy_count;
	bool explain;
	bool debug;               /* also if GATHERD_DEBUG=1 asks for it */
	int64_t slow_callback_us; /* debug: of a turn of the loop */
};

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };
/* rate: 100/s, of each client; count 0: none. */
struct config_rate {
	unsigned count;
	int64_t per_us;
};

enum log_format { LOG_FORMAT_LOGFMT, LOG_FORMAT_JSON };
enum log_requests { LOG_REQUESTS_ALL, LOG_REQUESTS_ERRORS, LOG_REQUESTS_NONE };

struct config_log {
	enum log_level level; /* request lines are info */
	enum log_format format;
	enum log_requests requests;
	struct config_rate most; /* count 0: not given */
	int64_t slow_us;
};

struct config_metrics {
	struct histogram_bounds buckets; /* count 0: not given */
};

/* A kind of source (language.h), and all that there are: the drivers bring them, drivers/drivers.c has the list. */
struct source_kind;
struct language {
	const struct source_kind *const *kinds;
	size_t kind_count;
};

struct config_pool {
	unsigned size;        /* of the whole process */
	unsigned max_waiting; /* of the whole process */
	int64_t acquire_timeout_us;
	int64_t idle_timeout_us;
	int64_t lifetime_us;
};

/* At most `permits` at once, over all workers: `semaphores:`, or a number where one stands in place. */
struct config_semaphore {
	const char *name; /* NULL: in place */
	unsigned permits, max_waiting;
	struct mark at;
};

/* How long a result is kept by what its references evaluate to; ttl_us 0: not at all. */
struct config_cache {
	int64_t ttl_us;
	int64_t stale_us; /* beyond ttl_us: served while it is fetched again */
};

struct config_source {
	void *own; /* what only its kind has: struct pg_source_keys … in drivers/NAME/keys.h */
	const struct source_kind *kind;
	const char *name;
	struct mark at;
	const struct node *node; /* all that stands there */
	bool sound;              /* no mistake was found in it */
	const char *url;         /* as given; may hold a password: never print it; files: the root folder, absolute */
	bool url_expanded;       /* part of the URL is from the environment: no message about it shows it */
	struct mark url_at;
	struct config_secret password;
	struct config_pool pool;
	int64_t timeout_us; /* for a step that names none; 0: only the request's */
	int64_t longest_us; /* the longest any step of this source may take, never 0: for statement_timeout */
	int semaphore;      /* index in config.semaphores; -1: none */
	bool ready;         /* /-/ready is 503 while it is down */
};

enum parameter_type { TYPE_STRING, TYPE_INTEGER, TYPE_NUMBER, TYPE_BOOLEAN, TYPE_ARRAY, TYPE_OBJECT, TYPE_ANY };
enum parameter_in { IN_PATH, IN_QUERY, IN_HEADER, IN_BODY };
/* Beside the bits of enum parameter_type. */
enum { TYPE_BIT_NULL = 1 << TYPE_ANY };

struct config_schema;
struct config_parameter;

struct config_schemas {
	const struct config_schema **items;
	size_t count;
};

/* A property's place by its name: a table of a power of two, whose entries are 0 or one more than an index. */
struct config_names {
	uint32_t mask;
	uint16_t *entries;
};

/* patternProperties */
struct config_pattern_property {
	const char *pattern;
	void *compiled; /* as pattern_compiled */
	const struct config_schema *schema;
};

/* dependentRequired */
struct config_dependent {
	const char *name;
	const char **required;
	size_t count;
};

/* A JSON Schema (2020-12): of a parameter, of the body, of any value in them. Numbers are JSON numbers, digit for
 * digit; NULL: not given. Patterns are pcre2_code *, in the arena; matched unanchored, with match limits. */
struct config_schema {
	enum parameter_type type; /* TYPE_ANY: none was declared, or several */
	bool nullable;            /* type: [ X, "null" ] */
	bool never;               /* false: nothing fits */
	bool file;                /* type: file, of a form */
	bool additional;          /* objects: members that nothing declares are allowed (the default) */
	bool unique_items;
	bool read_only;
	bool has_default; /* one of `properties` has */
	bool applies;     /* there are schemas for the same value: $ref, allOf, … */
	uint8_t types;    /* several: bits of enum parameter_type, TYPE_BIT_NULL; 0: `type` says it */
	enum value_format format;
	struct value *enumeration; /* enum; count 0: none */
	size_t enumeration_count;
	const struct value *constant; /* const; NULL: none */
	bool has_minimum, has_maximum;
	const char *minimum, *maximum;
	const char *exclusive_minimum, *exclusive_maximum, *multiple_of;
	bool has_min_length, has_max_length, has_min_items, has_max_items;
	bool has_min_properties, has_max_properties, has_min_contains, has_max_contains;
	uint64_t min_length, max_length; /* code points */
	uint64_t min_items, max_items;
	uint64_t min_properties, max_properties;
	uint64_t min_contains, max_contains;
	const char *pattern; /* NULL: none */
	void *pattern_compiled;
	const struct config_schema *items; /* NULL: anything */
	struct config_schemas prefix_items;
	const struct config_schema *contains;
	struct config_parameter *properties;
	size_t property_count;
	struct config_names names; /* of properties, if there are many; mask 0: there is none */
	const char **required;     /* members that are not in properties */
	size_t required_count;
	const struct config_schema *additional_schema; /* additionalProperties */
	const struct config_schema *property_names;
	struct config_pattern_property *patterns;
	size_t pattern_count;
	struct config_dependent *dependents;
	size_t dependent_count;
	const struct config_schema *ref;
	struct config_schemas all_of, any_of, one_of;
	const struct config_schema *negated;                               /* not */
	const struct config_schema *condition, *consequence, *alternative; /* if, then, else */
	const char **media_types; /* contentMediaType of a file; count 0: any */
	size_t media_type_count;
	struct mark at;

	/* While it is loaded: the schema that was decoded before it, and how many schemas deep one value goes. */
	struct config_schema *before;
	int depth;
};

struct config_parameter {
	const char *name;
	struct config_schema schema;
	enum parameter_in in;
	bool required; /* of a property: it is in `required` of its object */
	bool has_default;
	struct value default_value;      /* VALUE_NULL: `default: null` */
	const struct json *default_json; /* of a property: the same, parsed */
	const char *summary;             /* description: */
	struct mark at;
};

enum http_method {
	METHOD_GET,
	METHOD_HEAD,
	METHOD_POST,
	METHOD_PUT,
	METHOD_PATCH,
	METHOD_DELETE,
	METHOD_OPTIONS,
	METHOD_COUNT
};
extern const char *const http_method_names[METHOD_COUNT];

/* EXPECT_DEFAULT never leaves config: it stands for the action's own. */
enum expect {
	EXPECT_DEFAULT,
	EXPECT_MANY,
	EXPECT_ONE,
	EXPECT_MAYBE,
	EXPECT_VALUE,
	EXPECT_NONE,
	EXPECT_JSON,     /* http: the body, JSON; files: what `as` says */
	EXPECT_RESPONSE, /* http: { status, headers, body } */
};
enum on_error { ON_ERROR_FAIL, ON_ERROR_NULL, ON_ERROR_DEFAULT, ON_ERROR_OMIT, ON_ERROR_STALE };

/* Embed this step's rows in those of another one. */
struct config_join {
	unsigned into;      /* index of that step in the endpoint's */
	const char *key;    /* the member of its rows */
	const char *equals; /* the member of this step's rows */
	const char *as;     /* the member that is added */
	bool many;          /* a list of all that match, instead of the first or null */
	struct mark at;
};

/* affected: how many rows or documents a step that writes must change. */
struct config_affected {
	bool given;
	int64_t least, most;          /* most INT64_MAX: any number */
	const struct node *reference; /* its value is both; NULL: they are given */
	struct mark at;
};

struct config_step {
	void *own; /* what only steps of its kind have: struct mongo_step_keys … in drivers/NAME/keys.h */
	const char *name;
	struct mark at;
	const struct node *node; /* all that stands there */
	const struct config_source *source;
	unsigned action;                 /* index in source->kind->actions: enum mongo_action_kind … */
	const struct node *action_value; /* sql: the text; find …: the collection's name; others: a path */
	enum expect expect;
	enum on_error on_error;
	const struct node *default_node; /* ON_ERROR_DEFAULT */
	const struct node *when;         /* NULL: always */
	int64_t timeout_us;              /* 0: the source's */
	struct config_affected affected;
	const struct node *each;         /* a reference to the list for each of whose elements it runs; NULL: none */
	const struct config_step *inner; /* transaction: its steps, in order; name, action, and what they may have */
	size_t inner_count;
	bool write;    /* write: true */
	bool is_reply; /* its result is the reply, as it comes: it is its endpoint's only step */
	bool no_rows;  /* nothing can be joined with its result */
	int semaphore; /* index in config.semaphores; -1: none */
	const struct node
		*match; /* of a step of a transaction: the version that If-Match is compared with; NULL: none */
	struct config_cache cache;
	const struct config_join *join; /* NULL: none */
	bool keep;                      /* a joined step stays a member of the reply */
};

/* A shared object with handlers in C or background tasks. */
struct config_module {
	const char *path; /* with a "/" in it */
	bool expanded;    /* part of it is from the environment: no message shows it */
	struct mark at;   /* where it is named first */
};

/* handler: module.so:function */
struct config_handler {
	size_t module;        /* index in config.modules */
	const char *function; /* NULL: there is no handler */
	struct mark at;
};

enum body_as { BODY_AS_JSON, BODY_AS_FORM, BODY_AS_BYTES, BODY_AS_TEXT, BODY_AS_NDJSON, BODY_AS_CSV };

/* An endpoint's `headers:` at most. */
enum { CONFIG_MAX_REPLY_HEADERS = 12 };

/* Requests that carry a key, and are answered from what was kept if it comes again. */
struct config_idempotency {
	const struct config_source *store; /* of the kind postgres */
	int64_t ttl_us;                    /* that a key is remembered */
	bool required;
	bool rerun; /* one whose outcome nobody knows is run again */
};

struct config_endpoint {
	enum http_method method;
	const char *path; /* as declared: "/customers/{id}" */
	const char *name; /* "GET /customers/{id}" */
	struct mark at;
	const struct node *node; /* all that stands there */
	bool sound;              /* no mistake was found in it and its sources */
	const char *summary;
	struct config_parameter *parameters; /* every one that the path names is here, with IN_PATH */
	size_t parameter_count;
	const struct config_schema *body; /* body: a schema of the whole body; NULL: none */
	enum body_as body_as;             /* how it is read */
	size_t body_limit;                /* 0: server.body_limit */
	struct config_step *steps;        /* in the order they are declared */
	size_t step_count;
	const struct node *respond;  /* NULL: the steps' results */
	unsigned status;             /* of success */
	const struct node *created;  /* a reference: is there something new? NULL: the status is one */
	const struct node *location; /* NULL: none */
	const struct node *etag;     /* a text with references, or "auto"; NULL: none */
	bool if_match_required;
	const struct node *headers; /* mapping of name to text, with references; NULL: none */
	int64_t timeout_us;         /* 0: server.request_timeout */
	bool additional;            /* additional: allow */
	int semaphore;              /* index in config.semaphores; -1: none */
	struct config_cache cache;
	struct config_rate rate;
	const struct config_idempotency *idempotency; /* NULL: none */
	struct config_handler handler;                /* instead of steps and respond */
};

/* Is its ETag a hash of the reply? */
bool endpoint_hashes(const struct config_endpoint *e);

struct config {
	struct arena arena;
	struct config_server server;
	struct config_log log;
	struct config_metrics metrics;
	struct config_semaphore *semaphores; /* the named ones, then those in place */
	size_t semaphore_count;
	struct config_source *sources;
	size_t source_count;
	struct config_module *modules; /* those of `modules`, then those that only handlers name */
	size_t module_count;
	struct config_endpoint *endpoints;
	size_t endpoint_count;
};

/* Load and check `path`, in the language with the kinds of source that l lists. Reports every mistake to d, sorted.
 * Returns the configuration: one with mistakes in it (d->errors is not 0) is only good for finding more of them, in the
 * endpoints and sources that are `sound`. NULL: there is nothing to look at. Reads files (secrets): not on a loop
 * thread. */
struct config *config_load(const char *path, const struct language *l, struct diagnostics *d);
/* The same from text; `name` stands for the file in marks. */
struct config *config_load_text(const char *name, const char *text, size_t len, const struct language *l,
				struct diagnostics *d);
void config_free(struct config *c);

/* The JSON Schema (2020-12) of the language, made from the same tables. */
void config_schema_print(struct buf *out, const struct language *l);

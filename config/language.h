/* The language as tables: each mapping of a configuration is a section, each key of it a row that says what it holds,
 * where it lands, within which bounds, and what it is for. The decoder (decode.c), the names in messages and the JSON
 * Schema (config_print.c) are made from the same rows (language.c). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "config/config.h"
#include "config/diagnostics.h"
#include "config/node.h"

/* One run over a tree. */
struct decoder {
	struct config *config;
	struct arena *arena; /* the configuration's */
	struct diagnostics *diagnostics;
	void *pattern_context; /* pcre2_general_context *: patterns live in the arena */
	/* Every source that was named, also those that are wrong: one mistake is not reported at each step again. */
	const char **source_names;
	size_t source_name_count;
	size_t semaphore_capacity, module_capacity;
	struct config_endpoint *endpoint;   /* whose keys are being decoded */
	bool broken;                        /* it uses a source that is wrong, which was reported there */
	const struct node *gather;          /* its steps */
	const struct path_name *path_names; /* that its path has */
	size_t path_name_count;
};

/* A parameter in a path. */
struct path_name {
	const char *name;
	bool rest; /* {name*} */
};

/* Mappings that are decoded on the way to something else. */
struct listen_words {
	const char *address, *mode;
};
struct secret_words {
	const char *env, *file, *credential;
};
struct join_words {
	const char *into;
	struct config_join join;
};
struct sql_words {
	const char *file;
};

enum key_type {
	KEY_BOOL,
	KEY_INTEGER,  /* minimum..maximum */
	KEY_NUMBER,   /* lands as its digits */
	KEY_SIZE,     /* "1MiB": bytes, minimum..maximum */
	KEY_DURATION, /* "10s": microseconds, minimum..maximum */
	KEY_STRING,   /* not empty */
	KEY_ENUM,     /* words: lands as the word's index + minimum */
	KEY_NODE,     /* the tree, of the kinds in `kinds`; without a place to land: the section's check looks at it */
	KEY_SECTION,  /* a mapping, decoded in place */
	KEY_CUSTOM,   /* decode */
	KEY_LATER,    /* part of the language, not of this build: refused */
};

struct section;
struct key;
struct decoder;
/* Decode n, the value of key k, into object, which holds all keys of the section. Reports what is wrong. */
typedef void decode_fn(struct decoder *dc, const struct key *k, const struct node *n, void *object);

struct key {
	const char *name;
	enum key_type type;
	bool required;
	size_t offset, width; /* where it lands in the section's object; width 0: nowhere */
	int64_t minimum, maximum;
	unsigned kinds;           /* KEY_NODE: bits of enum node_kind */
	const char *initial;      /* as it would be written; NULL: what zeroed memory means */
	const char *const *words; /* KEY_ENUM: up to a NULL */
	const struct section *section;
	decode_fn *decode;
	const char *shape; /* KEY_CUSTOM: its JSON Schema */
	const char *help;
};

struct section {
	const char *name; /* in $defs of the JSON Schema */
	const char *what; /* in messages: "a step of a postgres source" */
	const struct key *keys;
	size_t count;
	const struct key *shared; /* rows that it has in common with other sections */
	size_t shared_count;
	/* A key that is none of keys: report it better than "unknown". False: it has nothing to say. NULL: the same. */
	bool (*stranger)(struct decoder *dc, const struct node *key, void *object);
	/* What the keys can't say each alone; runs after all of them. NULL: nothing. */
	void (*check)(struct decoder *dc, const struct node *mapping, void *object);
	const char *shape; /* further members of its JSON Schema, each with a comma before it; NULL: none */
};

/* The row i of all of a section's rows, or NULL behind the last. */
const struct key *section_key(const struct section *s, size_t i);
/* The row of that name, or NULL. */
const struct key *section_find(const struct section *s, const char *name);

extern const struct section section_root, section_postgres, section_mongodb, section_http, section_files,
	section_semaphore, section_endpoint, section_parameter, section_schema, section_postgres_step,
	section_mongodb_step, section_http_step, section_files_step, section_listen, section_secret, section_on_error,
	section_cache, section_join, section_sql;
/* Everything that $defs of the JSON Schema holds. */
extern const struct section *const sections[];
extern const size_t section_count;

/* The actions of steps. */
struct action_row {
	const char *name;
	enum source_kind kind;
	enum expect expect;      /* where the step says none */
	unsigned expect_allowed; /* bits of enum expect */
	const char *keys;        /* beside the action itself: " filter sort ", with blanks around each */
	const char *required;    /* one of keys; NULL: none */
	bool writes;             /* not in a GET endpoint, never cached; files: the source says write: true */
};
extern const struct action_row action_rows[]; /* by enum action_kind */
extern const size_t action_count;
/* By enum source_kind. The key that makes a source of a kind is the kind's name. */
extern const char *const source_kind_names[];
extern const struct section *const source_sections[], *const step_sections[];
extern const size_t source_kind_count;

/* Decode n, the value of the row k, into object. */
void decode_value(struct decoder *dc, const struct key *k, const struct node *n, void *object);
/* The same where the row of another section, of that name, says what n must be: `cache: 5s` is `cache: { ttl: 5s }`. */
void decode_as(struct decoder *dc, const struct section *s, const char *row, const char *name, const struct node *n,
	       void *object);
/* Decode the mapping n into object, which is zeroed. A node that is not a mapping is reported as the value of name. */
void decode_section(struct decoder *dc, const struct section *s, const char *name, const struct node *n, void *object);
/* What absent keys mean: their initial values. */
void decode_defaults(struct decoder *dc, const struct section *s, struct mark at, void *object);
/* Is n a mapping, a text (numbers count: `password: 1234`)? Reported where not, as the value of name. */
bool decode_is_mapping(struct decoder *dc, const char *name, const struct node *n);
bool decode_is_text(struct decoder *dc, const char *name, const struct node *n);
/* Report that n, the value of name, is not what was expected. */
void decode_unexpected(struct decoder *dc, const char *name, const struct node *n, const char *expected);
/* Report that name, a `what`, is none of names; with the nearest, or all of a few. */
void decode_unknown(struct decoder *dc, struct mark at, const char *what, const char *name, const char *const *names,
		    size_t count);
/* Report `why` at the key of that name. */
void decode_report(struct decoder *dc, const struct node *mapping, const char *key, const char *why);
/* path as it is found from the file that at is in: relative ones begin in its folder. */
const char *decode_path(struct decoder *dc, struct mark at, const char *path);
/* The index of the text in words (up to a NULL), or -1. */
int decode_word(const char *text, const char *const *words);
/* A copy of the tree's text, clipped for a message. */
const char *decode_shown(struct decoder *dc, const struct node *n);

#define decode_error(dc, at, ...) diagnostics_error((dc)->diagnostics, (at), __VA_ARGS__)

/* [A-Za-z_][A-Za-z0-9_-]*, and not longer than a name should be: NAME_RULE says so. */
#define NAME_MAX_LENGTH 100
#define NAME_RULE       "a name is at most 100 letters, digits, _ and -, and begins with a letter or _"
bool is_name(const char *s);
/* A root of references that no step or parameter may take: request, headers, body, claims. */
bool is_reserved_name(const char *s);

/* Decoders of what has a form of its own, and checks of sections; each in the file that knows it. */
decode_fn decode_threads, decode_listen, decode_admin, decode_control, decode_proxies; /* config_server.c */
decode_fn decode_secret, decode_secret_headers;                                        /* config_secret.c */
decode_fn decode_sources, decode_folder;                                               /* config_source.c */
decode_fn decode_semaphores, decode_semaphore;                                         /* config_semaphore.c */
decode_fn decode_endpoints, decode_parameters;                                         /* config_endpoint.c */
decode_fn decode_type, decode_items, decode_properties, decode_body;                   /* config_schema.c */
decode_fn decode_gather, decode_on_error, decode_sql, decode_write;                    /* config_step.c */
decode_fn decode_cache, decode_rate, decode_join;                                      /* config_policy.c */
decode_fn decode_modules, decode_handler;                                              /* config_module.c */
/* root with what the files of `include` hold beside it; root itself where there is none. config_include.c. */
const struct node *include_files(struct decoder *dc, const struct node *root);
/* Read a regular file of at most max bytes; text lives in the arena, NUL-terminated. NULL if it can't be read: reported
 * where `name` stands, which names it. text_file.c. */
const char *read_text_file(struct decoder *dc, const struct node *name, const char *path, size_t max, size_t *len);
void check_server(struct decoder *dc, const struct node *mapping, void *object);
void check_source(struct decoder *dc, const struct node *mapping, void *object);
void check_http(struct decoder *dc, const struct node *mapping, void *object);
void check_endpoint(struct decoder *dc, const struct node *mapping, void *object);
/* What can't stand beside an endpoint's handler; config_module.c. */
void check_handler(struct decoder *dc, const struct node *mapping);
void check_parameter(struct decoder *dc, const struct node *mapping, void *object);
void check_schema(struct decoder *dc, const struct node *mapping, void *object);
void check_root(struct decoder *dc, const struct node *mapping, void *object); /* config.c */
bool step_stranger(struct decoder *dc, const struct node *key, void *object);  /* config_action.c */
void check_step(struct decoder *dc, const struct node *mapping, void *object);
/* Policies of a step, behind its action: cache, on_error, join; config_policy.c. */
void check_step_policies(struct decoder *dc, const struct node *mapping, const struct config_step *s);
/* What the steps of an endpoint are to each other: joins, `send`, the endpoint's cache. */
void check_endpoint_policies(struct decoder *dc, const struct node *mapping, const struct config_endpoint *e);
/* Who takes a semaphore while another is held; config_semaphore.c. */
void check_semaphores(struct decoder *dc, const struct config *c);

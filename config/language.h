/* The language as tables: each mapping of a configuration is a section, each key of it a row that says what it holds,
 * where it lands, within which bounds, and what it is for. The decoder (decode.c), the names in messages and the JSON
 * Schema (schema_print.c) are made from the same rows: those of language.c, and those that each kind of source brings
 * (drivers/NAME/keys.c). */
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
	const struct language *language;
	struct arena *arena; /* the configuration's */
	struct diagnostics *diagnostics;
	void *pattern_context; /* pcre2_general_context *: patterns live in the arena */
	/* Every source that was named, also those that are wrong: one mistake is not reported at each step again. */
	const char **source_names;
	size_t source_name_count;
	size_t semaphore_capacity, module_capacity;
	const struct schema_document *document; /* the schema whose words are being decoded; NULL: none */
	const struct schema_document *library;  /* the root's `schemas` */
	struct config_schema *schemas;          /* the last that was decoded; `before` leads to the others */
	struct config_endpoint *endpoint;       /* whose keys are being decoded */
	bool broken;                            /* it uses a source that is wrong, which was reported there */
	const struct node *gather;              /* its steps */
	const struct path_name *path_names;     /* that its path has */
	size_t path_name_count;
};

/* A parameter in a path. */
struct path_name {
	const char *name;
	bool rest; /* {name*} */
};

/* What "#" and "#/$defs/NAME" mean: a schema that is not in another one, and what it defines. */
struct schema_document {
	const struct config_schema *root;
	const char **names;
	struct config_parameter *schemas; /* by the same index */
	size_t count;
};

/* Mappings that are decoded on the way to something else. */
struct listen_words {
	const char *address, *mode;
};
struct secret_words {
	const char *env, *file, *credential;
};
struct affected_words {
	int64_t min, max; /* max 0: none */
};
struct idempotency_words {
	const char *store;
	struct config_idempotency idempotency;
};
struct join_words {
	const char *into;
	struct config_join join;
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
	bool own;             /* it lands in what the object's first member, its `own`, points to */
	size_t offset, width; /* where it lands in the section's object; width 0: nowhere */
	int64_t minimum, maximum;
	unsigned kinds;           /* KEY_NODE: bits of enum node_kind */
	const char *initial;      /* as it would be written; NULL: what zeroed memory means */
	const char *const *words; /* KEY_ENUM: up to a NULL */
	const struct section *section;
	decode_fn *decode;
	const char
		*shape; /* KEY_CUSTOM: its JSON Schema; "@sources", "@steps" in it: references to all kinds of them */
	const char *help;
};

struct section {
	const char *name; /* in $defs of the JSON Schema */
	const char *what; /* in messages: "a step of a postgres source" */
	const struct key *keys;
	size_t count;
	const struct section *shared; /* whose rows it has in common with other sections; NULL: none */
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

extern const struct section section_root, section_semaphore, section_endpoint, section_parameter, section_schema,
	section_body, section_listen, section_secret, section_on_error, section_affected, section_cache, section_join,
	section_idempotency;
/* What all sources have, all steps, and the pools of databases: for `shared`. */
extern const struct section section_source, section_step, section_pool;
/* The words of `expect` for an action that gives rows: EXPECT_MANY and on. */
extern const char *const row_words[];

/* An action of steps. */
struct action_row {
	const char *name;
	enum expect expect;      /* of a step that says none */
	unsigned expect_allowed; /* bits of enum expect */
	const char *keys;        /* beside the action itself: " filter sort ", with blanks around each */
	const char *required;    /* one of keys; NULL: none */
	bool writes;             /* not in a GET endpoint, never cached */
	bool may_write;          /* in an endpoint that is not GET; that it does is seen when it runs */
	bool also_flag;          /* with true or false for a value it is a key beside another action */
	bool is_reply;           /* its result is the reply, as it comes: the step is its endpoint's only one */
	bool no_rows;            /* nothing can be joined with its result, whatever `expect` says */
};

/* A kind of source: its keys and actions. Its driver brings it; drivers/drivers.c lists them all. */
enum { KIND_MAX_PARTS = 4 };
struct source_kind {
	const char *name;    /* "postgres": the key that makes a source of this kind */
	const char *article; /* "a": what stands before its name in messages */
	const char *value;   /* of that key, in messages: "a URL" */
	const struct section *source, *step;
	/* Sections that their rows lead to, for $defs; up to a NULL. */
	const struct section *source_parts[KIND_MAX_PARTS + 1], *step_parts[KIND_MAX_PARTS + 1];
	size_t source_size, step_size;    /* of what `own` of a config_source, of a config_step points to; 0: nothing */
	const struct action_row *actions; /* config_step.action is an index in it */
	size_t action_count;
	/* What the rows can't say of a step; runs after all else that is checked of it alone. action: its row, NULL:
	 * it has none (reported). NULL: nothing. */
	void (*check_step)(struct decoder *dc, const struct node *mapping, struct config_step *s,
			   const struct action_row *action);
};

/* The section i of the language's, in the order of $defs of the JSON Schema, or NULL behind the last. */
const struct section *language_section(const struct language *l, size_t i);

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
decode_fn decode_threads, decode_listen, decode_admin, decode_control, decode_proxies; /* server.c */
decode_fn decode_secret, decode_secret_headers;                                        /* secret.c */
decode_fn decode_sources;                                                              /* source.c */
decode_fn decode_semaphores, decode_semaphore;                                         /* semaphore.c */
decode_fn decode_endpoints, decode_parameters;                                         /* endpoint.c */
decode_fn decode_type, decode_subschema, decode_subschemas, decode_properties, decode_pattern_properties,
	decode_additional, decode_dependent, decode_media_types, decode_definitions, decode_ref, decode_schemas,
	decode_body, decode_body_as;                       /* schema_words.c */
decode_fn decode_gather, decode_on_error, decode_affected; /* step.c */
decode_fn decode_cache, decode_rate, decode_join;          /* policy.c */
decode_fn decode_idempotency;                              /* idempotency.c */
decode_fn decode_buckets;                                  /* metrics.c */
decode_fn decode_modules, decode_handler;                  /* module.c */
/* root with what the files of `include` hold beside it; root itself where there is none. include.c. */
const struct node *include_files(struct decoder *dc, const struct node *root);
/* Read a regular file of at most max bytes; text lives in the arena, NUL-terminated. NULL if it can't be read: reported
 * where `name` stands, which names it. text_file.c. */
const char *read_text_file(struct decoder *dc, const struct node *name, const char *path, size_t max, size_t *len);
void check_server(struct decoder *dc, const struct node *mapping, void *object);
void check_source(struct decoder *dc, const struct node *mapping, void *object);
void check_endpoint(struct decoder *dc, const struct node *mapping, void *object);
/* What can't stand beside an endpoint's handler; module.c. */
void check_handler(struct decoder *dc, const struct node *mapping);
void check_parameter(struct decoder *dc, const struct node *mapping, void *object);
void check_schema(struct decoder *dc, const struct node *mapping, void *object);
/* Everything that is decoded between them is of the document d, whose words are in n and land in root. schema_words.c.
 */
void schema_document_begin(struct decoder *dc, struct schema_document *d, const struct node *n,
			   const struct config_schema *root);
void schema_document_end(struct decoder *dc);
/* The pattern that n's text is, for the row of that name: a pcre2_code * in the arena. NULL: it is none, which was
 * reported. parameter_schema.c. */
void *compile_pattern(struct decoder *dc, const char *name, const struct node *n);
/* Why n does not fit s, and which part of it; NULL if it does, as far as words that hold no other schema for the same
 * value can tell; schema_fit.c. The recursion is bounded by the depth of the tree. */
const char *schema_misfit(const struct config_schema *s, const struct node *n, const struct node **where);
/* Report schemas that lead back to themselves without a part of the value in between, and those that are too many for
 * one value; schema_circles.c. */
void check_schemas(struct decoder *dc);
void check_root(struct decoder *dc, const struct node *mapping, void *object); /* config.c */
bool step_stranger(struct decoder *dc, const struct node *key, void *object);  /* action.c */
/* Is it a name that a step can have? Reported if not. step.c. */
void check_step_name(struct decoder *dc, const struct node *name);
/* The steps of s, a transaction: n, the value of its key, is a list of mappings of one name each, whose value section
 * decodes. as: one, for messages: "name: { sql: … }". step.c. */
enum { INNER_STEPS_MAX = 32 };
void decode_inner_steps(struct decoder *dc, const char *key, const struct node *n, struct config_step *s,
			const struct section *section, const char *as);
void check_step(struct decoder *dc, const struct node *mapping, void *object);
/* Policies of a step, behind its action: cache, on_error, join; policy.c. */
void check_step_policies(struct decoder *dc, const struct node *mapping, const struct config_step *s);
/* What the steps of an endpoint are to each other: joins, `send`, the endpoint's cache. */
void check_endpoint_policies(struct decoder *dc, const struct node *mapping, const struct config_endpoint *e);
/* Can the endpoint have `idempotency`? idempotency.c. */
void check_idempotency(struct decoder *dc, const struct node *mapping, const struct config_endpoint *e);
/* The source of that name; NULL if there is none that could be decoded (reported); source.c. */
const struct config_source *decode_source_name(struct decoder *dc, const struct node *n);
/* Who takes a semaphore while another is held; semaphore.c. */
void check_semaphores(struct decoder *dc, const struct config *c);

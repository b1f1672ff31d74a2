/* What the files that check a value know of each other: check.c (the walk, and what holds for all values), scalar.c,
 * pattern.c, array.c, object.c, combine.c (allOf, anyOf, …), findings.c (what is wrong so far). */
#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "handlers/web/schema/schema.h"

/* The word that was broken. */
enum keyword {
	KEYWORD_TYPE,
	KEYWORD_INTEGER, /* type: integer, and not one of 64 bits */
	KEYWORD_NEVER,
	KEYWORD_ENUM,
	KEYWORD_CONST,
	KEYWORD_MINIMUM,
	KEYWORD_MAXIMUM,
	KEYWORD_ABOVE,
	KEYWORD_BELOW,
	KEYWORD_MULTIPLE,
	KEYWORD_NUL,
	KEYWORD_SHORT,
	KEYWORD_LONG,
	KEYWORD_FORMAT,
	KEYWORD_PATTERN,
	KEYWORD_PATTERN_SLOW,
	KEYWORD_MIN_ITEMS,
	KEYWORD_MAX_ITEMS,
	KEYWORD_UNIQUE,
	KEYWORD_MIN_CONTAINS,
	KEYWORD_MAX_CONTAINS,
	KEYWORD_MIN_PROPERTIES,
	KEYWORD_MAX_PROPERTIES,
	KEYWORD_REQUIRED,
	KEYWORD_DEPENDENT,
	KEYWORD_UNKNOWN,
	KEYWORD_READ_ONLY,
	KEYWORD_NOT,
	KEYWORD_ANY_OF,
	KEYWORD_ONE_OF,
	KEYWORD_ONE_OF_MANY,
	KEYWORD_FILE,
	KEYWORD_FILE_LONG,
	KEYWORD_MEDIA_TYPE,
	KEYWORD_COMPLEX,
};

struct finding {
	const struct config_schema *schema;
	enum keyword keyword;
	const char *member; /* NULL: the value itself */
	size_t member_len;
	const char *other;          /* KEYWORD_DEPENDENT: the member that asks for it */
	struct mistake_step *steps; /* its own: room for JSON_MAX_DEPTH */
	size_t depth;
};

/* How far the branch of anyOf or oneOf that is being tried has gone. */
struct progress {
	size_t depth;     /* of the value that it is for */
	bool misfit;      /* that value is of another type */
	unsigned choices; /* mistakes of enum and const in it and in its members: it was meant for another branch */
	size_t deepest;   /* mistake */
	size_t count;     /* of mistakes */
};

struct schema_check {
	struct mistakes *mistakes;
	struct arena *arena;
	const char *name; /* of the value that is checked */
	enum parameter_in in;
	size_t visits; /* that are left */
	bool exhausted;
	unsigned quiet;            /* above 0: what is wrong is not kept, the first mistake is enough */
	unsigned branches;         /* above 0: what fits here need not be what counts */
	struct mistake_step *path; /* JSON_MAX_DEPTH steps; NULL until the first container */
	size_t depth;
	struct progress progress;
	struct finding *findings;    /* NULL until the first */
	size_t kept, capacity;       /* of findings */
	size_t first;                /* of those of the branch that is being tried */
	size_t lost;                 /* mistakes beyond what is kept */
	pcre2_match_context *limits; /* NULL until the first pattern */
	pcre2_match_data *match;
	int64_t patterns_until_ns; /* CPU time */
};

/* Take n visits of those that are left. False: there are too few, which is a mistake of its own. */
bool schema_spend(struct schema_check *c, size_t n);
/* j and what is in it. */
bool schema_visit(struct schema_check *c, const struct config_schema *s, struct json *j);
/* The walk goes to a child of the container that it is in, and back. */
void schema_enter(struct schema_check *c, const struct json *child, uint32_t index, bool item);
void schema_leave(struct schema_check *c);
/* schema_visit without a word about what is wrong. */
bool schema_fits(struct schema_check *c, const struct config_schema *s, struct json *j);

bool schema_number(struct schema_check *c, const struct config_schema *s, const struct json *j);
bool schema_string(struct schema_check *c, const struct config_schema *s, const struct json *j);
bool schema_array(struct schema_check *c, const struct config_schema *s, struct json *j);
bool schema_object(struct schema_check *c, const struct config_schema *s, struct json *j);
/* A file of a form: an object of filename, type and size, as handlers/web/body.c makes it. */
bool schema_file(struct schema_check *c, const struct config_schema *s, const struct json *j);
bool schema_combined(struct schema_check *c, const struct config_schema *s, struct json *j);

/* Does the pattern match somewhere: 1, 0, or below 0 if that can't be told in time? */
int schema_match(struct schema_check *c, const void *pattern, const char *text, size_t len);

/* Keep that the value where the walk is breaks that word of s. Returns false, as what checks does. */
bool schema_found(struct schema_check *c, const struct config_schema *s, enum keyword k);
/* The same of a member of it. other: see struct finding. */
bool schema_found_member(struct schema_check *c, const struct config_schema *s, enum keyword k, const char *member,
			 size_t len, const char *other);

/* Findings of one branch after another, of which the best stay. */
struct branches {
	size_t first, kept, lost; /* as they were before */
	struct progress outer, best;
	size_t best_kept, best_lost; /* of the best branch, from `kept` on */
	bool any;
};
void branches_begin(struct schema_check *c, struct branches *b);
void branch_begin(struct schema_check *c, struct branches *b);
/* The branch did not fit: keep its mistakes if it went further than those before it. */
void branch_failed(struct schema_check *c, struct branches *b);
/* fits: forget all of them. */
void branches_end(struct schema_check *c, struct branches *b, bool fits);
/* Tell m about all that was found. */
void findings_render(struct schema_check *c);

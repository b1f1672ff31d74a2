/* Reading JSON text (RFC 8259) into a tree, without recursion, with bounds, numbers kept digit for digit.
 *
 * Task stacks are small and input is a stranger's, so the parser uses no stack of its own (open containers are chained
 * through their nodes) and refuses what is nested deeper than the caller allows. A tree takes 48 bytes a value.
 * Duplicate member names: the last one wins in json_member, all of them stay in the tree. Strings that need no
 * unescaping point into the text; the tree is valid as long as the text and the arena are. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/compiler.h"

enum json_kind { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* The bounds of nesting that gatherd uses for what strangers send. */
#define JSON_MAX_DEPTH 64

struct json {
	enum json_kind kind : 8;
	bool boolean;
	bool declared; /* JSON_ARRAY, JSON_OBJECT: whoever read it expects one here; set by others than the parser */
	bool cut; /* JSON_STRING: half of a surrogate pair stands in it, which is U+FFFD in text; raw has it still */
	uint32_t name_len;
	uint32_t raw_len;
	union {
		uint32_t len;   /* of text */
		uint32_t count; /* JSON_ARRAY, JSON_OBJECT: children */
	};
	const char *raw;  /* the value as it stood in the input, all kinds; NULL: it was made or changed since */
	const char *name; /* as a member of an object: unescaped name */
	union {
		const char *text;   /* JSON_STRING: unescaped UTF-8; JSON_NUMBER: its digits; not NUL-terminated */
		struct json *child; /* JSON_ARRAY, JSON_OBJECT: the first element or member */
	};
	struct json *next; /* the next element or member of the same parent */
};

/* Parse all of text. *out lives in a. Returns 0 or -EBADMSG, -E2BIG (deeper than max_depth, or 4 GiB or more); why,
 * and at which byte, is then written to what, NUL-terminated; it never quotes the text. Invalid UTF-8 and lone
 * surrogates are refused; \u0000 is accepted in strings and left to whoever uses them. */
int json_parse(struct json **out, struct arena *a, const char *text, size_t len, unsigned max_depth, char *what,
	       size_t what_size) must_check;

/* What json_read lets through that json_parse refuses: sources say it, and mean something by it. */
enum json_leniency {
	JSON_STRICT = 0,
	JSON_CUT_SURROGATES = 1, /* half of a surrogate pair in a string: "\ud83d" */
	JSON_ANY_BYTES = 2,      /* bytes in strings that are not UTF-8 */
	JSON_ANY_DEPTH = 4,      /* any nesting: the tree must not be walked by recursion (nothing here does) */
};

/* json_parse, but for what `lets` (enum json_leniency) lets through; max_depth does not hold with JSON_ANY_DEPTH. */
int json_read(struct json **out, struct arena *a, const char *text, size_t len, unsigned max_depth, unsigned lets,
	      char *what, size_t what_size) must_check;

/* What json_read would say of text, without making a tree; max_depth is at most JSON_MAX_DEPTH, and of `lets`
 * JSON_CUT_SURROGATES alone counts. *spaced: is there white space between its tokens, so that json_compact would make
 * it shorter? */
int json_check(const char *text, size_t len, unsigned max_depth, unsigned lets, bool *spaced, char *what,
	       size_t what_size) must_check;

/* The last member of that name, or NULL; NULL too if object is not an object. */
const struct json *json_member(const struct json *object, const char *name, size_t len);
/* Is text one valid JSON number? */
bool json_is_number(const char *text, size_t len);
/* j as text, without white space: as it stood in the input, if it still does. What has no `raw` is nested at most
 * JSON_MAX_DEPTH deep. */
void json_render(struct buf *out, const struct json *j);
/* The same text for equal values (JSON Schema, core 4.2.2), and only for them: 1 and 1.0 are equal, and objects
 * whatever the order of their members. j is nested at most JSON_MAX_DEPTH deep; a has room for a while.
 * json_canonical.c. */
void json_canonical(struct buf *out, const struct json *j, struct arena *a);
/* Copy valid JSON without the white space between its tokens. */
void json_compact(struct buf *out, const char *text, size_t len);

/* A value on its way from where it came (a parameter, a step's result, the body) to where it is used (a bound SQL
 * parameter, a BSON document, a URL, the reply). Borrowed: it points into the request's arena or a result that lives as
 * long as the request. Small enough to be passed and copied. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/json.h"

enum value_kind {
	VALUE_NULL,
	VALUE_BOOL,
	VALUE_INT,      /* fits int64_t */
	VALUE_NUMBER,   /* any other JSON number: its digits */
	VALUE_STRING,   /* UTF-8 text; may hold NUL bytes: whoever can't take them refuses (400) */
	VALUE_LIST,     /* values in order */
	VALUE_JSON,     /* an object or array of JSON, parsed */
	VALUE_FOREIGN,  /* a driver's own: BSON and the like; ops say how it reads elsewhere */
	VALUE_DOCUMENT, /* names and values in order, made by a handler: its names are trusted where it is not
			   from_request, its values say for themselves whether they are */
	VALUE_BYTES,    /* any bytes, made by a handler: base64 in JSON and in texts */
};

struct value;
struct value_member;
struct path_segment;

struct value_ops {
	/* As JSON. */
	void (*render)(const struct value *v, struct buf *out);
	/* As the text a person would write: an ObjectId's hex, a date's ISO 8601; JSON for what has parts. */
	void (*text)(const struct value *v, struct buf *out);
	/* Is it false, null, 0, "", [] or {}? */
	bool (*falsy)(const struct value *v);
	/* The way into it; as value_follow, count above 0. NULL: it has no parts. */
	struct value (*follow)(const struct value *v, const struct path_segment *segments, size_t count,
			       struct arena *a);
	/* The four that follow may be NULL: by way of JSON then, and `bytes`: it is none. */
	/* As value_looks. */
	enum value_kind (*looks)(const struct value *v);
	/* As value_parts. */
	size_t (*parts)(const struct value *v, struct arena *a, const struct value_member **out);
	/* The same in memory of a. */
	struct value (*copy)(const struct value *v, struct arena *a);
	/* As value_bytes. */
	bool (*bytes)(const struct value *v, struct arena *a, const void **p, size_t *len);
};

struct value {
	enum value_kind kind;
	bool from_request; /* a stranger supplied it: errors about it are 400, and it may bring no operators */
	bool brought;      /* a source brought it, or JSON text did: its texts are data, and name no fields */
	bool structured;   /* declared as object or array, or in what is: it may bring structure (never operators) */
	bool undeclared;   /* it was itself declared as neither: it may bring structure to be stored, not to be asked by
			    */
	uint8_t subtype; /* VALUE_FOREIGN: the driver's own type number; VALUE_STRING: enum value_format; VALUE_NUMBER:
			    enum value_number */
	uint32_t count;  /* VALUE_LIST, VALUE_DOCUMENT */
	union {
		bool boolean;
		int64_t integer;
		const char *text;                   /* VALUE_STRING, VALUE_NUMBER; not NUL-terminated */
		const struct value *list;           /* VALUE_LIST */
		const struct json *json;            /* VALUE_JSON */
		const void *foreign;                /* VALUE_FOREIGN */
		const struct value_member *members; /* VALUE_DOCUMENT */
		const void *bytes;                  /* VALUE_BYTES */
	};
	size_t len;                  /* of text or bytes; VALUE_FOREIGN: the driver's */
	const struct value_ops *ops; /* VALUE_FOREIGN */
};

/* A member of a document: names are UTF-8 without NUL, end with one that is not counted, and are there once. */
struct value_member {
	const char *name;
	size_t len; /* of name */
	struct value value;
};

/* What a parameter's `format:` says of a string: MongoDB makes an ObjectId of one. */
enum value_format {
	FORMAT_NONE,
	FORMAT_DATE,
	FORMAT_DATE_TIME,
	FORMAT_UUID,
	FORMAT_EMAIL,
	FORMAT_URI,
	FORMAT_IPV4,
	FORMAT_IPV6,
	FORMAT_OBJECTID,
	FORMAT_INSTANT, /* no parameter's: a point in time that a handler made (RFC 3339, UTC); MongoDB's date */
};

/* What is to be kept of a VALUE_NUMBER. */
enum value_number {
	NUMBER_PLAIN, /* its value: MongoDB's double will do */
	NUMBER_EXACT  /* its digits, which a handler gave: Decimal128 */
};

#define VALUE_OF_NULL ((struct value){.kind = VALUE_NULL})
struct value value_string(const char *s, size_t len);
struct value value_int(int64_t n);
struct value value_bool(bool b);
struct value value_bytes_of(const void *p, size_t len);
/* From a valid JSON number. Plain digits that fit int64_t are VALUE_INT; 1.0, 1e3 and -0 keep their digits. */
struct value value_number(const char *digits, size_t len);
/* From parsed JSON: scalars become scalars, the rest VALUE_JSON. An integer that fits is VALUE_INT. A string that holds
 * half of a surrogate pair is VALUE_FOREIGN: as JSON it is what it was. */
struct value value_from_json(const struct json *j);

void value_render(const struct value *v, struct buf *out); /* as JSON */
void value_text(const struct value *v, struct buf *out);   /* inside a longer text; null: nothing */
bool value_falsy(const struct value *v);

/* What it is to somebody who does not care where it came from: VALUE_JSON and VALUE_FOREIGN are what they read as. */
enum value_kind value_looks(const struct value *v);
/* The elements (without names) or members of what looks like a list or a document, in order, in a or in v. They were
 * supplied by whoever supplied v. Names may come twice, and hold NULs. Returns how many; 0 for what has no parts. */
size_t value_parts(const struct value *v, struct arena *a, const struct value_member **out);
/* The bytes of what looks like VALUE_BYTES, in a or in v. False: v is something else. */
bool value_bytes(const struct value *v, struct arena *a, const void **p, size_t *len);
/* The same value with nothing outside a. */
struct value value_copy(const struct value *v, struct arena *a);

/* A way into a value: `.a`, `[0]`, `[*].a`. */
enum path_kind { PATH_MEMBER, PATH_INDEX, PATH_EACH };
struct path_segment {
	enum path_kind kind;
	const char *name; /* PATH_MEMBER */
	size_t name_len;
	uint32_t index; /* PATH_INDEX */
};
struct path {
	const struct path_segment *segments;
	size_t count;
};

bool path_has_each(const struct path_segment *segments, size_t count);

/* Follow path into parsed JSON; absent is null. `[*]` gives a VALUE_LIST in a (nested ones are flattened into one):
 * what is not an array adds nothing to it, an element without the member that follows adds null. */
struct value json_follow(const struct json *j, const struct path_segment *segments, size_t count, struct arena *a);
/* The same for any value. What it gives was supplied by whoever supplied v. */
struct value value_follow(const struct value *v, const struct path_segment *segments, size_t count, struct arena *a);

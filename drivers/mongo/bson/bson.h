/* Reading BSON where it lies and writing it straight into a buffer.
 *
 * libbson's own iterator and builder would do, but theirs copy keys, keep 128 bytes a level and recurse in their
 * visitors. Here a document is read with bounds checked at every step, whoever it came from: a document that is not
 * well-formed simply ends early, so what a server sends is looked through once (mongo_bson_is_sound). Any thread. */
#pragma once

#include <bson/bson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"

#define BSON_DEPTH_MAX 200 /* what MongoDB itself allows */

/* One value, with its name in the document around it. It points into the document. */
struct mongo_element {
	uint8_t type; /* bson_type_t; 0: none */
	const char *key;
	size_t key_len;
	const uint8_t *value;
	size_t len; /* of value */
};

struct mongo_element_iter {
	const uint8_t *at, *end;
	bool damaged; /* the last element was none */
};

/* The elements of a document or array. False: it is not one (its length is wrong). */
bool mongo_element_iter_init(struct mongo_element_iter *i, const uint8_t *document, size_t len);
/* False at the end, and if the document is damaged: i->damaged tells. */
bool mongo_element_next(struct mongo_element_iter *i, struct mongo_element *out);
/* The element of that name, or one of type 0. */
struct mongo_element mongo_element_find(const uint8_t *document, size_t len, const char *key, size_t key_len);
/* The n-th element, from 0, or one of type 0. */
struct mongo_element mongo_element_at(const uint8_t *document, size_t len, size_t n);

static inline int32_t mongo_read_int32(const uint8_t *p)
{
	int32_t n;
	memcpy(&n, p, sizeof(n));
	return BSON_UINT32_FROM_LE(n);
}

static inline int64_t mongo_read_int64(const uint8_t *p)
{
	int64_t n;
	memcpy(&n, p, sizeof(n));
	return (int64_t)BSON_UINT64_FROM_LE((uint64_t)n);
}

double mongo_read_double(const uint8_t *p);
/* Text of a string, code or symbol (which begins with its length); *len without the NUL. */
const char *mongo_read_text(const struct mongo_element *e, size_t *len);
/* The bytes of a binary, without what stands before them. */
const uint8_t *mongo_read_binary(const struct mongo_element *e, size_t *len);
bson_decimal128_t mongo_read_decimal(const uint8_t *p);
/* A number as an integer; what is none is `none`. */
int64_t mongo_element_integer(const struct mongo_element *e, int64_t none);
/* Is it a whole document, to its last byte and its innermost element? Lengths fit, texts end and are UTF-8, truth
 * values are 0 or 1, and nothing is nested deeper than this code reads. */
bool mongo_bson_is_sound(const uint8_t *document, size_t len) must_check;

/* --- writing --- */

/* Documents are nested by begin and end; the caller sees to it that they match. */
struct mongo_out {
	struct buf *bytes;
	unsigned depth;
	size_t begins[BSON_DEPTH_MAX / 2];
};

#define BSON_WRITE_DEPTH_MAX (BSON_DEPTH_MAX / 2)

void mongo_out_init(struct mongo_out *o, struct buf *bytes);
/* Begin the outermost document. */
void mongo_out_document(struct mongo_out *o);
/* Type and name of an element whose value follows. The key has no NUL in it. */
void mongo_out_key(struct mongo_out *o, uint8_t type, const char *key, size_t key_len);
/* A nested document or array. False: too deep, nothing was written. */
bool mongo_out_begin(struct mongo_out *o, uint8_t type, const char *key, size_t key_len);
void mongo_out_end(struct mongo_out *o);

void mongo_out_int32(struct mongo_out *o, const char *key, size_t key_len, int32_t n);
void mongo_out_int64(struct mongo_out *o, const char *key, size_t key_len, int64_t n);
/* int32 where it fits, as every driver does. */
void mongo_out_int(struct mongo_out *o, const char *key, size_t key_len, int64_t n);
void mongo_out_double(struct mongo_out *o, const char *key, size_t key_len, double d);
void mongo_out_bool(struct mongo_out *o, const char *key, size_t key_len, bool b);
void mongo_out_null(struct mongo_out *o, const char *key, size_t key_len);
void mongo_out_text(struct mongo_out *o, const char *key, size_t key_len, const char *s, size_t len);
/* A value as it stands in some other document. */
void mongo_out_raw(struct mongo_out *o, uint8_t type, const char *key, size_t key_len, const void *value, size_t len);

/* Points in time as BSON has them: milliseconds since 1970, UTC. */

/* 2024-02-29T12:00:00.000Z; years outside 0000 to 9999 with a sign and six or more digits. millis false: none if
 * they are 0. */
void mongo_date_format(struct buf *out, int64_t ms, bool millis);
/* A date (its midnight in UTC) or an RFC 3339 date-time; fractions beyond milliseconds are cut off. */
bool mongo_date_parse(const char *s, size_t len, int64_t *ms);

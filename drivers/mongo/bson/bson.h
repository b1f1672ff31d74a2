/* Reading BSON where it lies and writing it straight into a buffer.
 *
 * libbson's own iterator and builder would do, but theirs copy keys, keep 128 bytes a level and recurse in their
 * visitors. Here a document is read with bounds checked at every step, whoever it came from: a document that is not
 * well-formed simply ends early, so what a server sends is looked through once (bson_is_sound). Any thread. */
#pragma once

#include <bson/bson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"

#define BSON_DEPTH_MAX 200 /* what MongoDB itself allows */

/* One value, with its name in the document around it. It points into the document. */
struct element {
	uint8_t type; /* bson_type_t; 0: none */
	const char *key;
	size_t key_len;
	const uint8_t *value;
	size_t len; /* of value */
};

struct element_iter {
	const uint8_t *at, *end;
	bool damaged; /* the last element was none */
};

/* The elements of a document or array. False: it is not one (its length is wrong). */
bool element_iter_init(struct element_iter *i, const uint8_t *document, size_t len);
/* False at the end, and if the document is damaged: i->damaged tells. */
bool element_next(struct element_iter *i, struct element *out);
/* The element of that name, or one of type 0. */
struct element element_find(const uint8_t *document, size_t len, const char *key, size_t key_len);
/* The n-th element, from 0, or one of type 0. */
struct element element_at(const uint8_t *document, size_t len, size_t n);

static inline int32_t bson_read_int32(const uint8_t *p)
{
	int32_t n;
	memcpy(&n, p, sizeof(n));
	return BSON_UINT32_FROM_LE(n);
}

static inline int64_t bson_read_int64(const uint8_t *p)
{
	int64_t n;
	memcpy(&n, p, sizeof(n));
	return (int64_t)BSON_UINT64_FROM_LE((uint64_t)n);
}

double bson_read_double(const uint8_t *p);
/* Text of a string, code or symbol (which begins with its length); *len without the NUL. */
const char *bson_read_text(const struct element *e, size_t *len);
/* The bytes of a binary, without what stands before them. */
const uint8_t *bson_read_binary(const struct element *e, size_t *len);
bson_decimal128_t bson_read_decimal(const uint8_t *p);
/* Is it a whole document, to its last byte and its innermost element? Lengths fit, texts end and are UTF-8, truth
 * values are 0 or 1, and nothing is nested deeper than this code reads. */
bool bson_is_sound(const uint8_t *document, size_t len) must_check;

/* --- writing --- */

/* Documents are nested by begin and end; the caller sees to it that they match. */
struct bson_out {
	struct buf *bytes;
	unsigned depth;
	size_t begins[BSON_DEPTH_MAX / 2];
};

#define BSON_WRITE_DEPTH_MAX (BSON_DEPTH_MAX / 2)

void bson_out_init(struct bson_out *o, struct buf *bytes);
/* Begin the outermost document. */
void bson_out_document(struct bson_out *o);
/* Type and name of an element whose value follows. The key has no NUL in it. */
void bson_out_key(struct bson_out *o, uint8_t type, const char *key, size_t key_len);
/* A nested document or array. False: too deep, nothing was written. */
bool bson_out_begin(struct bson_out *o, uint8_t type, const char *key, size_t key_len);
void bson_out_end(struct bson_out *o);

void bson_out_int32(struct bson_out *o, const char *key, size_t key_len, int32_t n);
void bson_out_int64(struct bson_out *o, const char *key, size_t key_len, int64_t n);
/* int32 where it fits, as every driver does. */
void bson_out_int(struct bson_out *o, const char *key, size_t key_len, int64_t n);
void bson_out_double(struct bson_out *o, const char *key, size_t key_len, double d);
void bson_out_bool(struct bson_out *o, const char *key, size_t key_len, bool b);
void bson_out_null(struct bson_out *o, const char *key, size_t key_len);
void bson_out_text(struct bson_out *o, const char *key, size_t key_len, const char *s, size_t len);
/* A value as it stands in some other document. */
void bson_out_raw(struct bson_out *o, uint8_t type, const char *key, size_t key_len, const void *value, size_t len);

/* Points in time as BSON has them: milliseconds since 1970, UTC. */

/* 2024-02-29T12:00:00.000Z; years outside 0000 to 9999 with a sign and six or more digits. millis false: none if
 * they are 0. */
void date_format(struct buf *out, int64_t ms, bool millis);
/* A date (its midnight in UTC) or an RFC 3339 date-time; fractions beyond milliseconds are cut off. */
bool date_parse(const char *s, size_t len, int64_t *ms);

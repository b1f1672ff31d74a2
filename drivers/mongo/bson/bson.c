/* The layout of BSON (bsonspec.org), read and written. */
#include "drivers/mongo/bson/bson.h"

#include <assert.h>

#include "base/utf8.h"

/* --- reading --- */

double mongo_read_double(const uint8_t *p)
{
	int64_t bits = mongo_read_int64(p);
	double d;

	memcpy(&d, &bits, sizeof(d));
	return d;
}

bson_decimal128_t mongo_read_decimal(const uint8_t *p)
{
	return (bson_decimal128_t){.low = (uint64_t)mongo_read_int64(p), .high = (uint64_t)mongo_read_int64(p + 8)};
}

const char *mongo_read_text(const struct mongo_element *e, size_t *len)
{
	*len = e->len - 5;
	return (const char *)e->value + 4;
}

const uint8_t *mongo_read_binary(const struct mongo_element *e, size_t *len)
{
	const uint8_t *bytes = e->value + 5;

	*len = e->len - 5;
	if (e->value[4] == BSON_SUBTYPE_BINARY_DEPRECATED && *len >= 4 &&
	    mongo_read_int32(bytes) == (int64_t)*len - 4) {
		bytes += 4;
		*len -= 4;
	}
	return bytes;
}

bool mongo_element_iter_init(struct mongo_element_iter *i, const uint8_t *document, size_t len)
{
	*i = (struct mongo_element_iter){0};
	if (len < 5)
		return false;
	int64_t stated = mongo_read_int32(document);
	if (stated < 5 || (uint64_t)stated > len || document[stated - 1] != 0)
		return false;
	i->at = document + 4;
	i->end = document + stated - 1;
	return true;
}

/* A length of 4 bytes and as much more, `extra` bytes not counted in it. */
static bool counted(const uint8_t *p, size_t room, size_t least, size_t extra, size_t *len)
{
	if (room < 4)
		return false;
	int64_t n = mongo_read_int32(p);
	if (n < (int64_t)least || (uint64_t)n + extra > room)
		return false;
	*len = (size_t)n + extra;
	return true;
}

static bool text_len(const uint8_t *p, size_t room, size_t *len)
{
	return counted(p, room, 1, 4, len) && p[*len - 1] == 0;
}

static bool regex_len(const uint8_t *p, size_t room, size_t *len)
{
	const uint8_t *pattern_end = memchr(p, 0, room);
	if (!pattern_end)
		return false;
	const uint8_t *options_end = memchr(pattern_end + 1, 0, room - (size_t)(pattern_end + 1 - p));
	if (!options_end)
		return false;
	*len = (size_t)(options_end + 1 - p);
	return true;
}

/* How long is a value of that type at p? */
static bool value_len(uint8_t type, const uint8_t *p, size_t room, size_t *len)
{
	static const int8_t fixed[] = {
		[BSON_TYPE_DOUBLE] = 8, [BSON_TYPE_OID] = 12,      [BSON_TYPE_BOOL] = 1,  [BSON_TYPE_DATE_TIME] = 8,
		[BSON_TYPE_INT32] = 4,  [BSON_TYPE_TIMESTAMP] = 8, [BSON_TYPE_INT64] = 8, [BSON_TYPE_DECIMAL128] = 16,
	};

	switch (type) {
	case BSON_TYPE_UTF8:
	case BSON_TYPE_CODE:
	case BSON_TYPE_SYMBOL:
		return text_len(p, room, len);
	case BSON_TYPE_DOCUMENT:
	case BSON_TYPE_ARRAY:
		return counted(p, room, 5, 0, len) && p[*len - 1] == 0;
	case BSON_TYPE_CODEWSCOPE:
		return counted(p, room, 14, 0, len);
	case BSON_TYPE_BINARY:
		return counted(p, room, 0, 5, len);
	case BSON_TYPE_REGEX:
		return regex_len(p, room, len);
	case BSON_TYPE_DBPOINTER:
		return text_len(p, room, len) && (*len += 12) <= room;
	case BSON_TYPE_UNDEFINED:
	case BSON_TYPE_NULL:
	case BSON_TYPE_MAXKEY:
	case BSON_TYPE_MINKEY:
		*len = 0;
		return true;
	default:
		*len = type < sizeof(fixed) ? (size_t)fixed[type] : 0;
		return *len > 0 && *len <= room;
	}
}

bool mongo_element_next(struct mongo_element_iter *i, struct mongo_element *out)
{
	*out = (struct mongo_element){0};
	if (i->at >= i->end)
		return false;
	const uint8_t *key = i->at + 1;
	const uint8_t *key_end = memchr(key, 0, (size_t)(i->end - key));
	size_t len;
	if (!key_end || !value_len(*i->at, key_end + 1, (size_t)(i->end - key_end - 1), &len)) {
		i->at = i->end;
		i->damaged = true;
		return false;
	}
	*out = (struct mongo_element){.type = *i->at,
				      .key = (const char *)key,
				      .key_len = (size_t)(key_end - key),
				      .value = key_end + 1,
				      .len = len};
	i->at = key_end + 1 + len;
	return true;
}

struct mongo_element mongo_element_find(const uint8_t *document, size_t len, const char *key, size_t key_len)
{
	struct mongo_element_iter i;
	struct mongo_element e = {0};

	mongo_element_iter_init(&i, document, len);
	while (mongo_element_next(&i, &e)) {
		if (e.key_len == key_len && memcmp(e.key, key, key_len) == 0)
			return e;
	}
	return (struct mongo_element){0};
}

struct mongo_element mongo_element_at(const uint8_t *document, size_t len, size_t n)
{
	struct mongo_element_iter i;
	struct mongo_element e = {0};

	mongo_element_iter_init(&i, document, len);
	while (mongo_element_next(&i, &e) && n-- > 0)
		;
	return e;
}

/* --- is it sound? --- */

static bool is_utf8(const void *text, size_t len)
{
	return utf8_valid(text, len);
}

static bool regex_is_sound(const struct mongo_element *e)
{
	const char *pattern = (const char *)e->value;
	size_t len = strlen(pattern);

	return is_utf8(pattern, len) && is_utf8(pattern + len + 1, strlen(pattern + len + 1));
}

/* Of a value that has no elements in it. */
static bool scalar_is_sound(const struct mongo_element *e)
{
	size_t len;
	const char *text;

	switch (e->type) {
	case BSON_TYPE_UTF8:
	case BSON_TYPE_CODE:
	case BSON_TYPE_SYMBOL:
		text = mongo_read_text(e, &len);
		return is_utf8(text, len);
	case BSON_TYPE_DBPOINTER:
		return is_utf8(e->value + 4, e->len - 12 - 5);
	case BSON_TYPE_BOOL:
		return *e->value <= 1;
	case BSON_TYPE_BINARY:
		return e->value[4] != BSON_SUBTYPE_BINARY_DEPRECATED ||
		       (e->len >= 9 && mongo_read_int32(e->value + 5) == (int64_t)e->len - 9);
	case BSON_TYPE_REGEX:
		return regex_is_sound(e);
	default:
		return true;
	}
}

/* The document in e, if it has one. False: there should be one, and is not. */
static bool inner_document(const struct mongo_element *e, const uint8_t **document, size_t *len)
{
	*document = NULL;
	if (e->type == BSON_TYPE_DOCUMENT || e->type == BSON_TYPE_ARRAY) {
		*document = e->value;
		*len = e->len;
	} else if (e->type == BSON_TYPE_CODEWSCOPE) {
		size_t text;
		if (!text_len(e->value + 4, e->len - 4, &text) || !is_utf8(e->value + 8, text - 5))
			return false;
		*document = e->value + 4 + text;
		*len = e->len - 4 - text;
	}
	return true;
}

/* A document whose bytes are `len`, no more and no less. */
static bool begin_sound(struct mongo_element_iter *i, const uint8_t *document, size_t len)
{
	return mongo_element_iter_init(i, document, len) && (size_t)(i->end + 1 - document) == len;
}

bool mongo_bson_is_sound(const uint8_t *document, size_t len)
{
	const uint8_t *ends[BSON_DEPTH_MAX];
	unsigned depth = 0;
	struct mongo_element_iter i;
	struct mongo_element e;
	const uint8_t *inner;
	size_t inner_len;

	if (!begin_sound(&i, document, len))
		return false;
	for (;;) {
		if (!mongo_element_next(&i, &e)) {
			if (i.damaged)
				return false;
			if (depth == 0)
				return true;
			i.at = i.end + 1;
			i.end = ends[--depth];
			continue;
		}
		if (!is_utf8(e.key, e.key_len) || !scalar_is_sound(&e) || !inner_document(&e, &inner, &inner_len))
			return false;
		if (!inner)
			continue;
		if (depth == BSON_DEPTH_MAX)
			return false;
		ends[depth++] = i.end;
		if (!begin_sound(&i, inner, inner_len))
			return false;
	}
}

int64_t mongo_element_integer(const struct mongo_element *e, int64_t none)
{
	double d;

	switch (e->type) {
	case BSON_TYPE_INT32:
		return mongo_read_int32(e->value);
	case BSON_TYPE_INT64:
		return mongo_read_int64(e->value);
	case BSON_TYPE_DOUBLE:
		d = mongo_read_double(e->value);
		return d > -9e18 && d < 9e18 ? (int64_t)d : none;
	default:
		return none;
	}
}

/* --- writing --- */

void mongo_out_init(struct mongo_out *o, struct buf *bytes)
{
	o->bytes = bytes;
	o->depth = 0;
}

static void begin(struct mongo_out *o)
{
	o->begins[o->depth++] = o->bytes->len;
	buf_append(o->bytes, "\0\0\0\0", 4);
}

void mongo_out_document(struct mongo_out *o)
{
	assert(o->depth == 0);
	begin(o);
}

void mongo_out_key(struct mongo_out *o, uint8_t type, const char *key, size_t key_len)
{
	buf_char(o->bytes, (char)type);
	buf_append(o->bytes, key, key_len);
	buf_char(o->bytes, '\0');
}

bool mongo_out_begin(struct mongo_out *o, uint8_t type, const char *key, size_t key_len)
{
	if (o->depth == BSON_WRITE_DEPTH_MAX)
		return false;
	mongo_out_key(o, type, key, key_len);
	begin(o);
	return true;
}

void mongo_out_end(struct mongo_out *o)
{
	buf_char(o->bytes, '\0');
	size_t at = o->begins[--o->depth];
	uint32_t len = BSON_UINT32_TO_LE((uint32_t)(o->bytes->len - at));
	memcpy(o->bytes->data + at, &len, sizeof(len));
}

void mongo_out_raw(struct mongo_out *o, uint8_t type, const char *key, size_t key_len, const void *value, size_t len)
{
	mongo_out_key(o, type, key, key_len);
	buf_append(o->bytes, value, len);
}

void mongo_out_int32(struct mongo_out *o, const char *key, size_t key_len, int32_t n)
{
	uint32_t le = BSON_UINT32_TO_LE((uint32_t)n);
	mongo_out_raw(o, BSON_TYPE_INT32, key, key_len, &le, sizeof(le));
}

void mongo_out_int64(struct mongo_out *o, const char *key, size_t key_len, int64_t n)
{
	uint64_t le = BSON_UINT64_TO_LE((uint64_t)n);
	mongo_out_raw(o, BSON_TYPE_INT64, key, key_len, &le, sizeof(le));
}

void mongo_out_int(struct mongo_out *o, const char *key, size_t key_len, int64_t n)
{
	if (n >= INT32_MIN && n <= INT32_MAX)
		mongo_out_int32(o, key, key_len, (int32_t)n);
	else
		mongo_out_int64(o, key, key_len, n);
}

void mongo_out_double(struct mongo_out *o, const char *key, size_t key_len, double d)
{
	uint64_t bits;
	memcpy(&bits, &d, sizeof(bits));
	bits = BSON_UINT64_TO_LE(bits);
	mongo_out_raw(o, BSON_TYPE_DOUBLE, key, key_len, &bits, sizeof(bits));
}

void mongo_out_bool(struct mongo_out *o, const char *key, size_t key_len, bool b)
{
	uint8_t byte = b;
	mongo_out_raw(o, BSON_TYPE_BOOL, key, key_len, &byte, 1);
}

void mongo_out_null(struct mongo_out *o, const char *key, size_t key_len)
{
	mongo_out_key(o, BSON_TYPE_NULL, key, key_len);
}

void mongo_out_text(struct mongo_out *o, const char *key, size_t key_len, const char *s, size_t len)
{
	uint32_t le = BSON_UINT32_TO_LE((uint32_t)len + 1);
	mongo_out_raw(o, BSON_TYPE_UTF8, key, key_len, &le, sizeof(le));
	buf_append(o->bytes, s, len);
	buf_char(o->bytes, '\0');
}

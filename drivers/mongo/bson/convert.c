/* From values to BSON. Structures are walked without recursion: what a stranger sent may be nested deeply. */
#include "drivers/mongo/bson/convert.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/ascii.h"
#include "base/decimal.h"
#include "base/reason.h"
#include "drivers/mongo/bson/bson_json.h"
#include "drivers/mongo/bson/follow.h"

#define NUMBER_TEXT_MAX 400

static int refuse(struct mongo_converter *c, const char *why)
{
	c->why = why;
	return -EINVAL;
}

/* --- as it is --- */

static int put_text(struct mongo_converter *c, const char *key, size_t key_len, const struct value *v)
{
	if (v->subtype == FORMAT_OBJECTID)
		return mongo_convert(c, key, key_len, v, AS_OBJECTID, NULL);
	if (v->subtype == FORMAT_INSTANT)
		return mongo_convert(c, key, key_len, v, AS_DATE, NULL);
	if (v->from_request && memchr(v->text, 0, v->len))
		return refuse(c, UNFIT_HOLDS_NUL);
	if (v->len && *v->text == '$')
		c->dollar = true;
	mongo_out_text(c->out, key, key_len, v->text, v->len);
	return 0;
}

/* JSON's digits as the double they mean. */
static bool read_double(const char *text, size_t len, double *d)
{
	char copy[NUMBER_TEXT_MAX];

	if (len == 0 || len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	*d = strtod(copy, NULL);
	return isfinite(*d);
}

static int put_number(struct mongo_converter *c, const char *key, size_t key_len, const char *text, size_t len)
{
	int64_t n;
	double d;

	if (!memchr(text, '.', len) && !memchr(text, 'e', len) && !memchr(text, 'E', len) &&
	    decimal_to_int64(text, len, &n)) {
		mongo_out_int(c->out, key, key_len, n);
		return 0;
	}
	if (!read_double(text, len, &d))
		return refuse(c, UNFIT_LARGE_NUMBER);
	mongo_out_double(c->out, key, key_len, d);
	return 0;
}

static int put_json_scalar(struct mongo_converter *c, const char *key, size_t key_len, const struct json *j,
			   bool from_request)
{
	struct value text;

	switch (j->kind) {
	case JSON_BOOL:
		mongo_out_bool(c->out, key, key_len, j->boolean);
		return 0;
	case JSON_NUMBER:
		return put_number(c, key, key_len, j->text, j->len);
	case JSON_STRING:
		text = value_string(j->text, j->len);
		text.from_request = from_request;
		return put_text(c, key, key_len, &text);
	default:
		mongo_out_null(c->out, key, key_len);
		return 0;
	}
}

static size_t index_key(char *out, unsigned n)
{
	const char *text;
	size_t len = bson_uint32_to_string(n, &text, out, 16);

	if (text != out)
		memcpy(out, text, len + 1);
	return len;
}

static bool is_operator(const char *key, size_t len)
{
	return len > 0 && key[0] == '$';
}

/* depth: of the document that has the name, from 1. */
static bool is_no_path(const struct mongo_converter *c, const char *key, size_t len, bool from_request, unsigned depth)
{
	bool judged = (c->names == NAMES_PATHS && depth == 1) || (c->names != NAMES_ANY && from_request);

	return judged && (len == 0 || memchr(key, '.', len));
}

struct json_level {
	const struct json *next; /* the next sibling on this level */
	unsigned index;          /* of it, in an array */
	bool array;
};

struct json_walk {
	unsigned depth;
	struct json_level levels[BSON_WRITE_DEPTH_MAX];
};

static int enter_json(struct mongo_converter *c, struct json_walk *w, const char *key, size_t key_len,
		      const struct json *j)
{
	bool array = j->kind == JSON_ARRAY;

	if (w->depth == BSON_WRITE_DEPTH_MAX ||
	    !mongo_out_begin(c->out, array ? BSON_TYPE_ARRAY : BSON_TYPE_DOCUMENT, key, key_len))
		return refuse(c, UNFIT_DEEP);
	w->levels[w->depth++] = (struct json_level){.next = j->child, .array = array};
	return 0;
}

static int put_json_child(struct mongo_converter *c, struct json_walk *w, bool from_request)
{
	struct json_level *level = &w->levels[w->depth - 1];
	const struct json *j = level->next;
	char digits[16];
	const char *key = level->array ? digits : j->name;
	size_t key_len = level->array ? index_key(digits, level->index++) : j->name_len;

	level->next = j->next;
	if (!level->array && is_operator(key, key_len))
		return refuse(c, UNFIT_NAMES_OPERATOR);
	if (!level->array && memchr(key, 0, key_len))
		return refuse(c, UNFIT_NAME_HOLDS_NUL);
	if (!level->array && is_no_path(c, key, key_len, from_request, w->depth))
		return refuse(c, UNFIT_NAME_NO_PATH);
	if (j->kind == JSON_ARRAY || j->kind == JSON_OBJECT)
		return enter_json(c, w, key, key_len, j);
	return put_json_scalar(c, key, key_len, j, from_request);
}

static int put_json(struct mongo_converter *c, const char *key, size_t key_len, const struct json *j, bool from_request)
{
	struct json_walk *w;
	int r;

	if (j->kind != JSON_ARRAY && j->kind != JSON_OBJECT)
		return put_json_scalar(c, key, key_len, j, from_request);
	w = arena_alloc(c->arena, sizeof(*w));
	w->depth = 0;
	r = enter_json(c, w, key, key_len, j);
	while (r == 0 && w->depth > 0) {
		if (w->levels[w->depth - 1].next) {
			r = put_json_child(c, w, from_request);
		} else {
			mongo_out_end(c->out);
			w->depth--;
		}
	}
	return r;
}

/* References between documents ({$ref, $id, $db}) are data that begin with "$". */
static bool is_reference_member(const struct mongo_element *e)
{
	return (e->key_len == 4 && memcmp(e->key, "$ref", 4) == 0) ||
	       (e->key_len == 3 && (memcmp(e->key, "$id", 3) == 0 || memcmp(e->key, "$db", 3) == 0));
}

/* Look through a stored document for what would not be data in a query. */
static int check_document(struct mongo_converter *c, const struct mongo_element *document)
{
	const uint8_t **ends = arena_array(c->arena, BSON_DEPTH_MAX, sizeof(*ends));
	unsigned depth = 0;
	struct mongo_element_iter i;
	struct mongo_element e;

	mongo_element_iter_init(&i, document->value, document->len);
	for (;;) {
		if (!mongo_element_next(&i, &e)) {
			if (depth == 0)
				return 0;
			i.at = i.end + 1;
			i.end = ends[--depth];
			continue;
		}
		if (is_operator(e.key, e.key_len) && !is_reference_member(&e))
			return refuse(c, UNFIT_NAMES_OPERATOR);
		if (document->type == BSON_TYPE_DOCUMENT && is_no_path(c, e.key, e.key_len, false, depth + 1))
			return refuse(c, UNFIT_NAME_NO_PATH);
		if (e.type == BSON_TYPE_UTF8 && e.len > 5 && e.value[4] == '$')
			c->dollar = true;
		if (e.type != BSON_TYPE_DOCUMENT && e.type != BSON_TYPE_ARRAY)
			continue;
		if (depth == BSON_DEPTH_MAX)
			return refuse(c, UNFIT_DEEP);
		ends[depth++] = i.end;
		mongo_element_iter_init(&i, e.value, e.len);
	}
}

static int put_bson(struct mongo_converter *c, const char *key, size_t key_len, const struct mongo_element *e)
{
	if (e->type == BSON_TYPE_DOCUMENT || e->type == BSON_TYPE_ARRAY) {
		int r = check_document(c, e);
		if (r < 0)
			return r;
	}
	if (e->type == BSON_TYPE_UTF8 && e->len > 5 && e->value[4] == '$')
		c->dollar = true;
	mongo_out_raw(c->out, e->type, key, key_len, e->value, e->len);
	return 0;
}

/* The old generic subtype has the length a second time, inside. */
static void put_bytes(struct mongo_converter *c, const char *key, size_t key_len, uint8_t subtype, const void *p,
		      size_t len)
{
	bool twice = subtype == BSON_SUBTYPE_BINARY_DEPRECATED;
	uint32_t le = BSON_UINT32_TO_LE((uint32_t)len), outer = BSON_UINT32_TO_LE((uint32_t)len + (twice ? 4 : 0));

	mongo_out_raw(c->out, BSON_TYPE_BINARY, key, key_len, &outer, sizeof(outer));
	buf_char(c->out->bytes, (char)subtype);
	if (twice)
		buf_append(c->out->bytes, &le, sizeof(le));
	buf_append(c->out->bytes, p, len);
}

/* What another driver brought: its bytes, or by way of JSON. */
static int put_foreign(struct mongo_converter *c, const char *key, size_t key_len, const struct value *v)
{
	struct buf text = BUF_INIT;
	struct json *j;
	char what[96];
	const void *bytes;
	size_t len;

	if (mongo_value_is_bson(v)) {
		struct mongo_element e = mongo_value_element(v);
		return put_bson(c, key, key_len, &e);
	}
	if (value_bytes(v, c->arena, &bytes, &len)) {
		put_bytes(c, key, key_len, BSON_SUBTYPE_BINARY, bytes, len);
		return 0;
	}
	v->ops->render(v, &text);
	const char *copy = arena_strndup(c->arena, text.data ? text.data : "", text.len);
	int r = json_parse(&j, c->arena, copy, text.len, BSON_WRITE_DEPTH_MAX, what, sizeof(what));
	buf_done(&text);
	if (r < 0)
		return refuse(c, UNFIT_NOT_JSON);
	return put_json(c, key, key_len, j, v->from_request);
}

static int put_scalar(struct mongo_converter *c, const char *key, size_t key_len, const struct value *v)
{
	switch (v->kind) {
	case VALUE_BOOL:
		mongo_out_bool(c->out, key, key_len, v->boolean);
		return 0;
	case VALUE_INT:
		mongo_out_int(c->out, key, key_len, v->integer);
		return 0;
	case VALUE_NUMBER:
		if (v->subtype == NUMBER_EXACT)
			return mongo_convert(c, key, key_len, v, AS_DECIMAL, NULL);
		return put_number(c, key, key_len, v->text, v->len);
	case VALUE_STRING:
		return put_text(c, key, key_len, v);
	case VALUE_BYTES:
		put_bytes(c, key, key_len, BSON_SUBTYPE_BINARY, v->bytes, v->len);
		return 0;
	case VALUE_JSON:
		return put_json(c, key, key_len, v->json, v->from_request);
	case VALUE_FOREIGN:
		return put_foreign(c, key, key_len, v);
	default:
		mongo_out_null(c->out, key, key_len);
		return 0;
	}
}

/* A list or document that is being written, and how far. */
struct parts_level {
	struct value v;
	uint32_t at;
};

struct parts_walk {
	unsigned depth;
	struct parts_level levels[BSON_WRITE_DEPTH_MAX];
};

static bool has_parts(const struct value *v)
{
	return v->kind == VALUE_LIST || v->kind == VALUE_DOCUMENT;
}

static int enter_parts(struct mongo_converter *c, struct parts_walk *w, const char *key, size_t key_len,
		       const struct value *v)
{
	if (w->depth == BSON_WRITE_DEPTH_MAX ||
	    !mongo_out_begin(c->out, v->kind == VALUE_LIST ? BSON_TYPE_ARRAY : BSON_TYPE_DOCUMENT, key, key_len))
		return refuse(c, UNFIT_DEEP);
	w->levels[w->depth++] = (struct parts_level){.v = *v};
	return 0;
}

/* Of a request: an object or array that its parameter was not declared to be. */
static bool is_undeclared(const struct mongo_converter *c, const struct value *v)
{
	bool declared = v->structured && !(c->strict && v->undeclared);

	return (has_parts(v) || v->kind == VALUE_JSON) && v->from_request && !declared;
}

/* The next part of what is open. A document's names are whoever's who made it: a handler's, or a request's. */
static int put_part(struct mongo_converter *c, struct parts_walk *w)
{
	struct parts_level *level = &w->levels[w->depth - 1];
	uint32_t at = level->at++;
	bool list = level->v.kind == VALUE_LIST;
	char digits[16];
	const char *key = list ? digits : level->v.members[at].name;
	size_t key_len = list ? index_key(digits, at) : level->v.members[at].len;
	struct value part = list ? level->v.list[at] : level->v.members[at].value;

	part.from_request |= level->v.from_request;
	part.structured |= level->v.structured;
	if (!list && level->v.from_request && is_operator(key, key_len))
		return refuse(c, UNFIT_NAMES_OPERATOR);
	if (!list && memchr(key, 0, key_len))
		return refuse(c, UNFIT_NAME_HOLDS_NUL);
	if (!list && is_no_path(c, key, key_len, part.from_request, w->depth))
		return refuse(c, UNFIT_NAME_NO_PATH);
	if (is_undeclared(c, &part))
		return refuse(c, UNFIT_UNDECLARED);
	return has_parts(&part) ? enter_parts(c, w, key, key_len, &part) : put_scalar(c, key, key_len, &part);
}

static int put_parts(struct mongo_converter *c, const char *key, size_t key_len, const struct value *v)
{
	struct parts_walk *w = arena_alloc(c->arena, sizeof(*w));

	w->depth = 0;
	int r = enter_parts(c, w, key, key_len, v);
	while (r == 0 && w->depth > 0) {
		struct parts_level *level = &w->levels[w->depth - 1];
		if (level->at < level->v.count) {
			r = put_part(c, w);
		} else {
			mongo_out_end(c->out);
			w->depth--;
		}
	}
	return r;
}

static int put_as_is(struct mongo_converter *c, const char *key, size_t key_len, const struct value *v)
{
	if (is_undeclared(c, v))
		return refuse(c, UNFIT_UNDECLARED);
	return has_parts(v) ? put_parts(c, key, key_len, v) : put_scalar(c, key, key_len, v);
}

/* --- as something else --- */

/* The text of v, if it has one: of a string, of a number's digits. */
static bool text_of(struct mongo_converter *c, const struct value *v, const char **text, size_t *len)
{
	switch (v->kind) {
	case VALUE_STRING:
	case VALUE_NUMBER:
		*text = v->text;
		*len = v->len;
		return true;
	case VALUE_INT:
		*text = arena_printf(c->arena, "%lld", (long long)v->integer);
		*len = strlen(*text);
		return true;
	default:
		return false;
	}
}

static int put_objectid(struct mongo_converter *c, const char *key, size_t key_len, const char *text, size_t len,
			const char *detail)
{
	bson_oid_t id;

	(void)detail;
	if (!bson_oid_is_valid(text, len) || len != 24)
		return refuse(c, UNFIT_NOT_OBJECTID);
	char copy[25];
	memcpy(copy, text, 24);
	copy[24] = '\0';
	bson_oid_init_from_string(&id, copy);
	mongo_out_raw(c->out, BSON_TYPE_OID, key, key_len, id.bytes, sizeof(id.bytes));
	return 0;
}

static int put_date(struct mongo_converter *c, const char *key, size_t key_len, const char *text, size_t len,
		    const char *detail)
{
	int64_t ms;

	(void)detail;
	/* A number is milliseconds since 1970. */
	if (!mongo_date_parse(text, len, &ms) && !(json_is_number(text, len) && decimal_to_int64(text, len, &ms)))
		return refuse(c, UNFIT_NOT_DATE);
	uint64_t le = BSON_UINT64_TO_LE((uint64_t)ms);
	mongo_out_raw(c->out, BSON_TYPE_DATE_TIME, key, key_len, &le, sizeof(le));
	return 0;
}

static int put_decimal(struct mongo_converter *c, const char *key, size_t key_len, const char *text, size_t len,
		       const char *detail)
{
	bson_decimal128_t d;
	char copy[NUMBER_TEXT_MAX];

	(void)detail;
	/* Given a length, libbson 1.23 takes no NaN and no Infinity; and it stops at a NUL. */
	if (len == 0 || len >= sizeof(copy) || memchr(text, 0, len))
		return refuse(c, UNFIT_NOT_DECIMAL);
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (!bson_decimal128_from_string(copy, &d))
		return refuse(c, UNFIT_NOT_DECIMAL);
	uint64_t le[2] = {BSON_UINT64_TO_LE(d.low), BSON_UINT64_TO_LE(d.high)};
	mongo_out_raw(c->out, BSON_TYPE_DECIMAL128, key, key_len, le, sizeof(le));
	return 0;
}

static int put_int64(struct mongo_converter *c, const char *key, size_t key_len, const char *text, size_t len,
		     const char *detail)
{
	int64_t n;

	(void)detail;
	if (!json_is_number(text, len) || !decimal_to_int64(text, len, &n))
		return refuse(c, UNFIT_NOT_INT64);
	mongo_out_int64(c->out, key, key_len, n);
	return 0;
}

static int put_int32(struct mongo_converter *c, const char *key, size_t key_len, const char *text, size_t len,
		     const char *detail)
{
	int64_t n;

	(void)detail;
	if (!json_is_number(text, len) || !decimal_to_int64(text, len, &n) || n < INT32_MIN || n > INT32_MAX)
		return refuse(c, UNFIT_NOT_INT32);
	mongo_out_int32(c->out, key, key_len, (int32_t)n);
	return 0;
}

static int put_double(struct mongo_converter *c, const char *key, size_t key_len, const char *text, size_t len,
		      const char *detail)
{
	static const struct {
		const char *text;
		double d;
	} special[] = {{"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
	double d = 0;
	bool found = json_is_number(text, len) && read_double(text, len, &d);

	(void)detail;
	for (size_t i = 0; i < ARRAY_SIZE(special) && !found; i++) {
		if (strlen(special[i].text) == len && memcmp(special[i].text, text, len) == 0) {
			d = special[i].d;
			found = true;
		}
	}
	if (!found)
		return refuse(c, UNFIT_NOT_NUMBER);
	mongo_out_double(c->out, key, key_len, d);
	return 0;
}

static int base64_digit(char ch)
{
	if (ch >= 'A' && ch <= 'Z')
		return ch - 'A';
	if (ch >= 'a' && ch <= 'z')
		return ch - 'a' + 26;
	if (ch >= '0' && ch <= '9')
		return ch - '0' + 52;
	if (ch == '+' || ch == '-')
		return 62;
	return ch == '/' || ch == '_' ? 63 : -1;
}

/* RFC 4648, either alphabet, padding optional. Returns the bytes, or -1. */
static int64_t base64_decode(const char *text, size_t len, uint8_t *out)
{
	uint32_t bits = 0;
	unsigned count = 0;
	int64_t n = 0;

	while (len && text[len - 1] == '=')
		len--;
	for (size_t i = 0; i < len; i++) {
		int digit = base64_digit(text[i]);
		if (digit < 0)
			return -1;
		bits = bits << 6 | (uint32_t)digit;
		count += 6;
		if (count >= 8) {
			count -= 8;
			out[n++] = (uint8_t)(bits >> count);
		}
	}
	return len % 4 == 1 ? -1 : n;
}

static int put_binary(struct mongo_converter *c, const char *key, size_t key_len, const char *text, size_t len,
		      const char *detail)
{
	uint8_t *bytes = arena_alloc(c->arena, len / 4 * 3 + 4);
	int64_t n = base64_decode(text, len, bytes);

	if (n < 0)
		return refuse(c, UNFIT_NOT_BASE64);
	put_bytes(c, key, key_len, detail ? (uint8_t)*detail : 0, bytes, (size_t)n);
	return 0;
}

static int put_uuid(struct mongo_converter *c, const char *key, size_t key_len, const char *text, size_t len,
		    const char *detail)
{
	uint8_t bytes[16] = {0};
	size_t digits = 0;
	bool good = len == 36;

	(void)detail;
	for (size_t i = 0; i < len && good; i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23) {
			good = text[i] == '-';
			continue;
		}
		int h = ascii_hex_value(text[i]);
		good = h >= 0;
		if (good)
			bytes[digits / 2] |= (uint8_t)(digits % 2 ? h : h << 4);
		digits++;
	}
	if (!good)
		return refuse(c, UNFIT_NOT_UUID);
	put_bytes(c, key, key_len, BSON_SUBTYPE_UUID, bytes, sizeof(bytes));
	return 0;
}

static int put_regex(struct mongo_converter *c, const char *key, size_t key_len, const char *text, size_t len,
		     const char *detail)
{
	if (memchr(text, 0, len))
		return refuse(c, UNFIT_HOLDS_NUL);
	mongo_out_key(c->out, BSON_TYPE_REGEX, key, key_len);
	buf_append(c->out->bytes, text, len);
	buf_char(c->out->bytes, '\0');
	buf_str(c->out->bytes, detail ? detail : "");
	buf_char(c->out->bytes, '\0');
	return 0;
}

static const struct {
	uint8_t type; /* what is of this type already stays as it is */
	int (*put)(struct mongo_converter *c, const char *key, size_t key_len, const char *text, size_t len,
		   const char *detail);
} conversions[CONVERSIONS] = {
	[AS_OBJECTID] = {BSON_TYPE_OID, put_objectid},      [AS_DATE] = {BSON_TYPE_DATE_TIME, put_date},
	[AS_DECIMAL] = {BSON_TYPE_DECIMAL128, put_decimal}, [AS_INT64] = {BSON_TYPE_INT64, put_int64},
	[AS_INT32] = {BSON_TYPE_INT32, put_int32},          [AS_DOUBLE] = {BSON_TYPE_DOUBLE, put_double},
	[AS_BINARY] = {BSON_TYPE_BINARY, put_binary},       [AS_UUID] = {BSON_TYPE_BINARY, put_uuid},
	[AS_REGEX] = {BSON_TYPE_REGEX, put_regex},
};

/* A BSON value of another type: by its text. */
static bool foreign_text(struct mongo_converter *c, const struct value *v, const char **text, size_t *len)
{
	struct buf out = BUF_INIT;

	v->ops->text(v, &out);
	*text = arena_strndup(c->arena, out.data ? out.data : "", out.len);
	*len = out.len;
	buf_done(&out);
	return true;
}

static int convert_one(struct mongo_converter *c, const char *key, size_t key_len, const struct value *v,
		       enum mongo_conversion as, const char *detail)
{
	const char *text;
	size_t len;

	if (v->kind == VALUE_NULL) {
		mongo_out_null(c->out, key, key_len);
		return 0;
	}
	if (mongo_value_is_bson(v) && v->subtype == conversions[as].type) {
		mongo_out_raw(c->out, v->subtype, key, key_len, v->foreign, v->len);
		return 0;
	}
	if (!text_of(c, v, &text, &len) && !(v->kind == VALUE_FOREIGN && foreign_text(c, v, &text, &len)))
		return refuse(c, UNFIT_NOT_SCALAR);
	return conversions[as].put(c, key, key_len, text, len, detail);
}

/* `{ $oid: "{orders[*].id}" }`: each of the list. */
static int convert_each(struct mongo_converter *c, const char *key, size_t key_len, const struct value *v,
			enum mongo_conversion as, const char *detail)
{
	const struct json *j = v->kind == VALUE_JSON ? v->json->child : NULL;
	size_t count = v->kind == VALUE_JSON ? v->json->count : v->count;
	char digits[16];
	int r = 0;

	if (!mongo_out_begin(c->out, BSON_TYPE_ARRAY, key, key_len))
		return refuse(c, UNFIT_DEEP);
	for (unsigned i = 0; i < count && r == 0; i++) {
		struct value item = j ? value_from_json(j) : v->list[i];
		size_t len = index_key(digits, i);
		r = convert_one(c, digits, len, &item, as, detail);
		j = j ? j->next : NULL;
	}
	if (r == 0)
		mongo_out_end(c->out);
	return r;
}

int mongo_convert(struct mongo_converter *c, const char *key, size_t key_len, const struct value *v,
		  enum mongo_conversion as, const char *detail)
{
	bool list = v->kind == VALUE_LIST || (v->kind == VALUE_JSON && v->json->kind == JSON_ARRAY);

	if (as == AS_IS || (list && is_undeclared(c, v)))
		return put_as_is(c, key, key_len, v);
	return list ? convert_each(c, key, key_len, v, as, detail) : convert_one(c, key, key_len, v, as, detail);
}

/* One loop over the elements, with a small stack of where the documents around end. */
#include "drivers/mongo/bson/bson_json.h"

#include <math.h>

#include "base/ascii.h"
#include "base/json_out.h"
#include "base/utf8.h"

/* A level of nesting: the offset of its end from the root, and what closes it. */
#define LEVEL_ARRAY 0x80000000u
#define LEVEL_TWICE 0x40000000u /* a scope: its brace and the one around */
#define LEVEL_END   0x3fffffffu

struct render {
	struct buf *out;
	enum mongo_json mode;
	const uint8_t *root;
	unsigned depth;
	uint32_t levels[BSON_DEPTH_MAX];
};

/* --- strings --- */

static void escape_repaired(struct buf *out, const char *s, size_t len)
{
	for (size_t i = 0; i < len;) {
		size_t n = 1;
		while (n <= 4 && i + n <= len && !utf8_valid(s + i, n))
			n++;
		if (n <= 4 && i + n <= len) {
			json_escape(out, s + i, n);
			i += n;
		} else {
			buf_lit(out, "\xef\xbf\xbd");
			i++;
		}
	}
}

static void escape(struct buf *out, const char *s, size_t len)
{
	if (utf8_valid(s, len))
		json_escape(out, s, len);
	else
		escape_repaired(out, s, len);
}

void mongo_render_string(struct buf *out, const char *s, size_t len)
{
	buf_char(out, '"');
	escape(out, s, len);
	buf_char(out, '"');
}

static void hex(struct buf *out, const uint8_t *p, size_t len)
{
	char text[2];

	for (size_t i = 0; i < len; i++) {
		text[0] = ascii_hex_digit(p[i] >> 4);
		text[1] = ascii_hex_digit(p[i]);
		buf_append(out, text, 2);
	}
}

static void uuid(struct buf *out, const uint8_t *p)
{
	static const uint8_t parts[] = {4, 2, 2, 2, 6};

	for (size_t i = 0; i < sizeof(parts); p += parts[i++]) {
		if (i)
			buf_char(out, '-');
		hex(out, p, parts[i]);
	}
}

/* --- scalars --- */

static bool is_uuid(const struct mongo_element *e)
{
	return e->value[4] == BSON_SUBTYPE_UUID && e->len == 5 + 16;
}

static void decimal(struct buf *out, const struct mongo_element *e)
{
	char text[BSON_DECIMAL128_STRING];
	bson_decimal128_t d = mongo_read_decimal(e->value);

	bson_decimal128_to_string(&d, text);
	buf_str(out, text);
}

/* NaN, Infinity and -Infinity are no JSON numbers. */
static bool decimal_is_finite(const struct mongo_element *e)
{
	return (mongo_read_decimal(e->value).high >> 58 & 0x1e) != 0x1e;
}

static void regex(struct buf *out, const struct mongo_element *e, bool plain)
{
	const char *pattern = (const char *)e->value;
	size_t pattern_len = strlen(pattern);
	const char *options = pattern + pattern_len + 1;

	if (plain) {
		buf_lit(out, "\"/");
		escape(out, pattern, pattern_len);
		buf_char(out, '/');
		escape(out, options, strlen(options));
		buf_char(out, '"');
		return;
	}
	buf_lit(out, "{\"$regularExpression\":{\"pattern\":");
	mongo_render_string(out, pattern, pattern_len);
	buf_lit(out, ",\"options\":");
	mongo_render_string(out, options, strlen(options));
	buf_lit(out, "}}");
}

static void timestamp(struct buf *out, const struct mongo_element *e)
{
	uint64_t n = (uint64_t)mongo_read_int64(e->value);

	buf_lit(out, "{\"t\":");
	buf_int(out, (int64_t)(n >> 32));
	buf_lit(out, ",\"i\":");
	buf_int(out, (int64_t)(n & UINT32_MAX));
	buf_char(out, '}');
}

static void binary_plain(struct buf *out, const struct mongo_element *e)
{
	size_t len;
	const uint8_t *bytes = mongo_read_binary(e, &len);

	if (is_uuid(e)) {
		buf_char(out, '"');
		uuid(out, bytes);
		buf_char(out, '"');
	} else {
		json_base64(out, bytes, len);
	}
}

static void render_plain(struct buf *out, const struct mongo_element *e)
{
	size_t len;
	const char *text;

	switch (e->type) {
	case BSON_TYPE_OID:
		buf_char(out, '"');
		hex(out, e->value, 12);
		buf_char(out, '"');
		break;
	case BSON_TYPE_DATE_TIME:
		buf_char(out, '"');
		mongo_date_format(out, mongo_read_int64(e->value), true);
		buf_char(out, '"');
		break;
	case BSON_TYPE_DOUBLE:
		json_double(out, mongo_read_double(e->value));
		break;
	case BSON_TYPE_DECIMAL128:
		if (!decimal_is_finite(e))
			buf_char(out, '"');
		decimal(out, e);
		if (!decimal_is_finite(e))
			buf_char(out, '"');
		break;
	case BSON_TYPE_BINARY:
		binary_plain(out, e);
		break;
	case BSON_TYPE_CODE:
	case BSON_TYPE_SYMBOL:
		text = mongo_read_text(e, &len);
		mongo_render_string(out, text, len);
		break;
	case BSON_TYPE_CODEWSCOPE:
		text = (const char *)e->value + 8;
		mongo_render_string(out, text, strnlen(text, e->len - 8));
		break;
	case BSON_TYPE_REGEX:
		regex(out, e, true);
		break;
	case BSON_TYPE_TIMESTAMP:
		timestamp(out, e);
		break;
	case BSON_TYPE_DBPOINTER:
		buf_char(out, '"');
		hex(out, e->value + e->len - 12, 12);
		buf_char(out, '"');
		break;
	case BSON_TYPE_MINKEY:
		buf_lit(out, "\"MinKey\"");
		break;
	case BSON_TYPE_MAXKEY:
		buf_lit(out, "\"MaxKey\"");
		break;
	default:
		json_null(out);
	}
}

static void relaxed_date(struct buf *out, int64_t ms)
{
	/* 1970 to 9999: readable; beyond: a number that loses nothing. */
	if (ms >= 0 && ms < 253402300800000) {
		buf_lit(out, "{\"$date\":\"");
		mongo_date_format(out, ms, false);
		buf_lit(out, "\"}");
	} else {
		buf_lit(out, "{\"$date\":{\"$numberLong\":\"");
		buf_int(out, ms);
		buf_lit(out, "\"}}");
	}
}

static void relaxed_double(struct buf *out, double d)
{
	size_t before = out->len;

	if (!isfinite(d)) {
		buf_lit(out, "{\"$numberDouble\":");
		json_double(out, d);
		buf_char(out, '}');
		return;
	}
	json_double(out, d);
	/* It stays a double for whoever reads it back. */
	for (size_t i = before; i < out->len; i++) {
		if (strchr(".eE", out->data[i]))
			return;
	}
	buf_lit(out, ".0");
}

static void relaxed_binary(struct buf *out, const struct mongo_element *e)
{
	size_t len;
	const uint8_t *bytes = mongo_read_binary(e, &len);

	buf_lit(out, "{\"$binary\":{\"base64\":");
	json_base64(out, bytes, len);
	buf_lit(out, ",\"subType\":\"");
	buf_char(out, ascii_hex_digit(e->value[4] >> 4));
	buf_char(out, ascii_hex_digit(e->value[4]));
	buf_lit(out, "\"}}");
}

static void relaxed_text(struct buf *out, const char *name, const struct mongo_element *e)
{
	size_t len;
	const char *text = mongo_read_text(e, &len);

	buf_printf(out, "{\"%s\":", name);
	mongo_render_string(out, text, len);
	buf_char(out, '}');
}

static void relaxed_pointer(struct buf *out, const struct mongo_element *e)
{
	buf_lit(out, "{\"$dbPointer\":{\"$ref\":");
	mongo_render_string(out, (const char *)e->value + 4, e->len - 12 - 5);
	buf_lit(out, ",\"$id\":{\"$oid\":\"");
	hex(out, e->value + e->len - 12, 12);
	buf_lit(out, "\"}}}");
}

static void render_relaxed(struct buf *out, const struct mongo_element *e)
{
	switch (e->type) {
	case BSON_TYPE_OID:
		buf_lit(out, "{\"$oid\":\"");
		hex(out, e->value, 12);
		buf_lit(out, "\"}");
		break;
	case BSON_TYPE_DATE_TIME:
		relaxed_date(out, mongo_read_int64(e->value));
		break;
	case BSON_TYPE_DOUBLE:
		relaxed_double(out, mongo_read_double(e->value));
		break;
	case BSON_TYPE_DECIMAL128:
		buf_lit(out, "{\"$numberDecimal\":\"");
		decimal(out, e);
		buf_lit(out, "\"}");
		break;
	case BSON_TYPE_BINARY:
		relaxed_binary(out, e);
		break;
	case BSON_TYPE_CODE:
		relaxed_text(out, "$code", e);
		break;
	case BSON_TYPE_SYMBOL:
		relaxed_text(out, "$symbol", e);
		break;
	case BSON_TYPE_REGEX:
		regex(out, e, false);
		break;
	case BSON_TYPE_TIMESTAMP:
		buf_lit(out, "{\"$timestamp\":");
		timestamp(out, e);
		buf_char(out, '}');
		break;
	case BSON_TYPE_DBPOINTER:
		relaxed_pointer(out, e);
		break;
	case BSON_TYPE_UNDEFINED:
		buf_lit(out, "{\"$undefined\":true}");
		break;
	case BSON_TYPE_MINKEY:
		buf_lit(out, "{\"$minKey\":1}");
		break;
	case BSON_TYPE_MAXKEY:
		buf_lit(out, "{\"$maxKey\":1}");
		break;
	default:
		json_null(out);
	}
}

/* What reads the same in both, and the rest by mode. */
static void render_scalar(struct buf *out, const struct mongo_element *e, enum mongo_json mode)
{
	size_t len;
	const char *text;

	switch (e->type) {
	case BSON_TYPE_UTF8:
		text = mongo_read_text(e, &len);
		mongo_render_string(out, text, len);
		break;
	case BSON_TYPE_INT32:
		buf_int(out, mongo_read_int32(e->value));
		break;
	case BSON_TYPE_INT64:
		buf_int(out, mongo_read_int64(e->value));
		break;
	case BSON_TYPE_BOOL:
		json_bool(out, *e->value);
		break;
	case BSON_TYPE_NULL:
		json_null(out);
		break;
	default:
		if (mode == MONGO_JSON_PLAIN)
			render_plain(out, e);
		else
			render_relaxed(out, e);
	}
}

/* --- documents --- */

/* Enter the document at e, of which `extra` says how it is closed. False: too deep, or none. */
static bool enter(struct render *r, struct mongo_element_iter *i, const uint8_t *document, size_t len, uint32_t extra)
{
	size_t end = (size_t)(document - r->root) + len;

	if (r->depth == BSON_DEPTH_MAX || end > LEVEL_END || !mongo_element_iter_init(i, document, len)) {
		json_null(r->out);
		if (extra & LEVEL_TWICE)
			buf_char(r->out, '}');
		return false;
	}
	r->levels[r->depth++] = (uint32_t)end | extra;
	buf_char(r->out, extra & LEVEL_ARRAY ? '[' : '{');
	return true;
}

/* {"$code": text, "$scope": document}; the scope begins after both lengths and the text. */
static bool enter_scope(struct render *r, struct mongo_element_iter *i, const struct mongo_element *e)
{
	int64_t text_len = mongo_read_int32(e->value + 4);

	if (text_len < 1 || (uint64_t)text_len + 8 + 5 > e->len) {
		json_null(r->out);
		return false;
	}
	buf_lit(r->out, "{\"$code\":");
	mongo_render_string(r->out, (const char *)e->value + 8, (size_t)text_len - 1);
	buf_lit(r->out, ",\"$scope\":");
	return enter(r, i, e->value + 8 + text_len, e->len - 8 - (size_t)text_len, LEVEL_TWICE);
}

/* Render e, or enter it. Returns true if *i is now in a document within. */
static bool render_element(struct render *r, struct mongo_element_iter *i, const struct mongo_element *e)
{
	struct mongo_element_iter inner;

	if (e->type == BSON_TYPE_DOCUMENT || e->type == BSON_TYPE_ARRAY) {
		if (!enter(r, &inner, e->value, e->len, e->type == BSON_TYPE_ARRAY ? LEVEL_ARRAY : 0))
			return false;
	} else if (e->type == BSON_TYPE_CODEWSCOPE && r->mode == MONGO_JSON_RELAXED) {
		if (!enter_scope(r, &inner, e))
			return false;
	} else {
		render_scalar(r->out, e, r->mode);
		return false;
	}
	*i = inner;
	return true;
}

/* The end of the innermost document: *i goes on in the one around it. */
static void leave(struct render *r, struct mongo_element_iter *i)
{
	uint32_t level = r->levels[--r->depth];

	buf_char(r->out, level & LEVEL_ARRAY ? ']' : '}');
	if (level & LEVEL_TWICE)
		buf_char(r->out, '}');
	if (r->depth == 0)
		return;
	i->at = r->root + (level & LEVEL_END);
	i->end = r->root + (r->levels[r->depth - 1] & LEVEL_END) - 1;
}

static void render_all(struct render *r, struct mongo_element_iter *i)
{
	struct mongo_element e;
	bool first = true;

	while (r->depth > 0) {
		if (!mongo_element_next(i, &e)) {
			leave(r, i);
			first = false;
			continue;
		}
		if (!first)
			buf_char(r->out, ',');
		if (!(r->levels[r->depth - 1] & LEVEL_ARRAY)) {
			mongo_render_string(r->out, e.key, e.key_len);
			buf_char(r->out, ':');
		}
		first = render_element(r, i, &e);
	}
}

void mongo_render_document(struct buf *out, const uint8_t *document, size_t len, bool array, enum mongo_json mode)
{
	struct render r;
	struct mongo_element_iter i;

	r.out = out;
	r.mode = mode;
	r.root = document;
	r.depth = 0;
	if (enter(&r, &i, document, len, array ? LEVEL_ARRAY : 0))
		render_all(&r, &i);
}

void mongo_render(struct buf *out, const struct mongo_element *e, enum mongo_json mode)
{
	struct render r;
	struct mongo_element_iter i;

	r.out = out;
	r.mode = mode;
	r.root = e->value;
	r.depth = 0;
	if (render_element(&r, &i, e))
		render_all(&r, &i);
}

void mongo_render_text(struct buf *out, const struct mongo_element *e)
{
	const uint8_t *bytes;
	size_t len;

	switch (e->type) {
	case BSON_TYPE_OID:
		hex(out, e->value, 12);
		break;
	case BSON_TYPE_DATE_TIME:
		mongo_date_format(out, mongo_read_int64(e->value), true);
		break;
	case BSON_TYPE_DECIMAL128:
		decimal(out, e);
		break;
	case BSON_TYPE_BINARY:
		bytes = mongo_read_binary(e, &len);
		if (is_uuid(e)) {
			uuid(out, bytes);
		} else {
			json_base64(out, bytes, len);
			/* json_base64 writes quotes around it. */
			size_t at = out->len - ((len + 2) / 3 * 4 + 2);
			memmove(out->data + at, out->data + at + 1, out->len - at - 2);
			out->len -= 2;
		}
		break;
	default:
		mongo_render(out, e, MONGO_JSON_PLAIN);
	}
}

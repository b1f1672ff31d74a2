/* What a reference makes of a row: scalars keep their kind and point into libpq's rows; json, arrays and what the
 * server rendered are parsed on the way; whole rows and the whole result stay foreign values, rendered from the rows.
 */
#include "drivers/postgres/statements/result.h"

#include <stdlib.h>
#include <string.h>

#include "base/ascii.h"
#include "base/json.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "drivers/postgres/types/json.h"

struct pg_result {
	struct result base;
	PGresult *rows;
	struct pg_layout *layout;
	enum expect expect;
};

static void render_cell(const struct pg_result *r, int row, unsigned column, struct buf *out)
{
	if (PQgetisnull(r->rows, row, (int)column)) {
		json_null(out);
		return;
	}
	pg_json_render(out, &r->layout->columns[column].type, PQgetvalue(r->rows, row, (int)column),
		       (size_t)PQgetlength(r->rows, row, (int)column));
}

static void render_row(const struct pg_result *r, int row, struct buf *out)
{
	buf_char(out, '{');
	for (unsigned i = 0; i < r->layout->count; i++) {
		const struct pg_column *c = &r->layout->columns[i];
		if (i)
			buf_char(out, ',');
		buf_append(out, c->key, c->key_len);
		render_cell(r, row, i, out);
	}
	buf_char(out, '}');
}

static void render_result(const struct result *base, struct buf *out)
{
	const struct pg_result *r = container_of(base, const struct pg_result, base);
	int rows = PQntuples(r->rows);

	if (r->expect == EXPECT_MANY) {
		buf_char(out, '[');
		for (int i = 0; i < rows && !buf_over(out); i++) {
			if (i)
				buf_char(out, ',');
			render_row(r, i, out);
		}
		buf_char(out, ']');
	} else if (rows == 0 || r->expect == EXPECT_NONE) {
		json_null(out);
	} else if (r->expect == EXPECT_VALUE) {
		render_cell(r, 0, 0, out);
	} else {
		render_row(r, 0, out);
	}
}

/* A whole result or a row on its way to somewhere else; `len` is the row. */

static void foreign_result_render(const struct value *v, struct buf *out)
{
	const struct pg_result *r = v->foreign;
	render_result(&r->base, out);
}

static bool foreign_result_falsy(const struct value *v)
{
	const struct pg_result *r = v->foreign;
	return PQntuples(r->rows) == 0;
}

static struct value foreign_result_follow(const struct value *v, const struct path_segment *segments, size_t count,
					  struct arena *a);

static enum value_kind foreign_result_looks(const struct value *v)
{
	(void)v;
	return VALUE_LIST;
}

static size_t foreign_result_parts(const struct value *v, struct arena *a, const struct value_member **out);

static const struct value_ops result_value_ops = {
	.render = foreign_result_render,
	.text = foreign_result_render,
	.falsy = foreign_result_falsy,
	.follow = foreign_result_follow,
	.looks = foreign_result_looks,
	.parts = foreign_result_parts,
};

static void foreign_row_render(const struct value *v, struct buf *out)
{
	render_row(v->foreign, (int)v->len, out);
}

static bool foreign_row_falsy(const struct value *v)
{
	const struct pg_result *r = v->foreign;
	return r->layout->count == 0;
}

static struct value foreign_row_follow(const struct value *v, const struct path_segment *segments, size_t count,
				       struct arena *a);

static enum value_kind foreign_row_looks(const struct value *v)
{
	(void)v;
	return VALUE_DOCUMENT;
}

static size_t foreign_row_parts(const struct value *v, struct arena *a, const struct value_member **out);

static const struct value_ops row_value_ops = {
	.render = foreign_row_render,
	.text = foreign_row_render,
	.falsy = foreign_row_falsy,
	.follow = foreign_row_follow,
	.looks = foreign_row_looks,
	.parts = foreign_row_parts,
};

static struct value row_value(const struct pg_result *r, int row)
{
	return (struct value){.kind = VALUE_FOREIGN, .foreign = r, .len = (size_t)row, .ops = &row_value_ops};
}

/* --- bytea: `foreign` is its text, \\x and hexadecimal digits --- */

static void bytea_render(const struct value *v, struct buf *out)
{
	json_string(out, v->foreign, v->len);
}

static void bytea_text(const struct value *v, struct buf *out)
{
	buf_append(out, v->foreign, v->len);
}

static bool bytea_falsy(const struct value *v)
{
	return v->len == 0;
}

static enum value_kind bytea_looks(const struct value *v)
{
	(void)v;
	return VALUE_BYTES;
}

static struct value bytea_copy(const struct value *v, struct arena *a)
{
	struct value out = *v;

	out.foreign = arena_strndup(a, v->foreign, v->len);
	return out;
}

static bool bytea_bytes(const struct value *v, struct arena *a, const void **p, size_t *len)
{
	const char *digits = (const char *)v->foreign + 2;
	uint8_t *bytes = arena_alloc(a, v->len / 2);

	*len = v->len / 2 - 1;
	for (size_t i = 0; i < *len; i++)
		bytes[i] = (uint8_t)((unsigned)ascii_hex_value(digits[2 * i]) << 4 |
				     (unsigned)ascii_hex_value(digits[2 * i + 1]));
	*p = bytes;
	return true;
}

static const struct value_ops bytea_value_ops = {
	.render = bytea_render,
	.text = bytea_text,
	.falsy = bytea_falsy,
	.looks = bytea_looks,
	.copy = bytea_copy,
	.bytes = bytea_bytes,
};

/* The old form (bytea_output = escape) stays a text. */
static struct value text_value(const struct pg_type *t, const char *text, size_t len)
{
	if (t->oid != PG_OID_BYTEA || len < 2 || memcmp(text, "\\x", 2) != 0)
		return value_string(text, len);
	return (struct value){.kind = VALUE_FOREIGN, .foreign = text, .len = len, .ops = &bytea_value_ops};
}

/* What has parts, or reads differently in JSON: rendered, parsed, followed. The server's json may be nested as deep as
 * it likes and hold half of a surrogate pair; only a text of 4 GiB can't be read, and no result is as large. */
static struct value parsed_cell(const struct pg_result *r, int row, unsigned column, const struct path_segment *rest,
				size_t count, struct arena *a)
{
	char why[128];
	struct json *tree;
	struct buf text = BUF_INIT;

	render_cell(r, row, column, &text);
	char *copy = arena_strndup(a, text.data, text.len);
	size_t len = text.len;
	buf_done(&text);
	unsigned lets = JSON_CUT_SURROGATES | JSON_ANY_BYTES | JSON_ANY_DEPTH;
	if (json_read(&tree, a, copy, len, 0, lets, why, sizeof(why)) < 0)
		return VALUE_OF_NULL;
	return json_follow(tree, rest, count, a);
}

static struct value cell_value(const struct pg_result *r, int row, unsigned column, const struct path_segment *rest,
			       size_t count, struct arena *a)
{
	if (PQgetisnull(r->rows, row, (int)column))
		return VALUE_OF_NULL;

	const char *text = PQgetvalue(r->rows, row, (int)column);
	size_t len = (size_t)PQgetlength(r->rows, row, (int)column);
	switch ((enum pg_shape)r->layout->columns[column].type.shape) {
	case PG_SHAPE_BOOLEAN:
		return count ? VALUE_OF_NULL : value_bool(*text == 't');
	case PG_SHAPE_INTEGER:
		return count ? VALUE_OF_NULL : value_int(strtoll(text, NULL, 10));
	case PG_SHAPE_NUMBER:
		if (count)
			return VALUE_OF_NULL;
		return json_is_number(text, len) ? value_number(text, len) : value_string(text, len);
	case PG_SHAPE_STRING:
		return count ? VALUE_OF_NULL : text_value(&r->layout->columns[column].type, text, len);
	default:
		return parsed_cell(r, row, column, rest, count, a);
	}
}

static struct value column_value(const struct pg_result *r, int row, const struct path_segment *segments, size_t count,
				 struct arena *a)
{
	if (count == 0)
		return row_value(r, row);
	if (segments->kind != PATH_MEMBER)
		return VALUE_OF_NULL;
	/* Of two columns of one name the last wins, as a reader of the JSON would have it. */
	for (unsigned i = r->layout->count; i-- > 0;) {
		const struct pg_column *c = &r->layout->columns[i];
		if (c->name_len == segments->name_len && memcmp(c->name, segments->name, c->name_len) == 0)
			return cell_value(r, row, i, segments + 1, count - 1, a);
	}
	return VALUE_OF_NULL;
}

static struct value foreign_row_follow(const struct value *v, const struct path_segment *segments, size_t count,
				       struct arena *a)
{
	return column_value(v->foreign, (int)v->len, segments, count, a);
}

static size_t flat_count(const struct value *v)
{
	return v->kind == VALUE_LIST ? v->count : 1;
}

/* [*]: over all rows; what a list in a row gives is taken into the one list. */
static struct value each_row(const struct pg_result *r, const struct path_segment *rest, size_t count, struct arena *a)
{
	int rows = PQntuples(r->rows);
	struct value *parts = arena_array(a, (size_t)rows + 1, sizeof(*parts));
	size_t total = 0;

	for (int i = 0; i < rows; i++) {
		parts[i] = column_value(r, i, rest, count, a);
		total += flat_count(&parts[i]);
	}
	if (total == (size_t)rows) {
		bool flat = true;
		for (int i = 0; i < rows && flat; i++)
			flat = parts[i].kind != VALUE_LIST;
		if (flat)
			return (struct value){.kind = VALUE_LIST, .count = (uint32_t)rows, .list = parts};
	}
	struct value *list = arena_array(a, total + 1, sizeof(*list));
	size_t n = 0;
	for (int i = 0; i < rows; i++) {
		if (parts[i].kind != VALUE_LIST) {
			list[n++] = parts[i];
			continue;
		}
		for (uint32_t k = 0; k < parts[i].count; k++)
			list[n++] = parts[i].list[k];
	}
	return (struct value){.kind = VALUE_LIST, .count = (uint32_t)n, .list = list};
}

static struct value get(const struct result *base, const struct path *path, struct arena *a)
{
	const struct pg_result *r = container_of(base, const struct pg_result, base);
	const struct path_segment *s = path->segments;
	size_t count = path->count;
	int rows = PQntuples(r->rows);

	if (r->expect == EXPECT_MANY) {
		if (count == 0)
			return (struct value){.kind = VALUE_FOREIGN, .foreign = r, .ops = &result_value_ops};
		if (s->kind == PATH_EACH)
			return each_row(r, s + 1, count - 1, a);
		if (s->kind == PATH_INDEX && s->index < (unsigned)rows)
			return column_value(r, (int)s->index, s + 1, count - 1, a);
		return VALUE_OF_NULL;
	}
	if (rows == 0 || r->expect == EXPECT_NONE)
		return VALUE_OF_NULL;
	if (r->expect == EXPECT_VALUE)
		return cell_value(r, 0, 0, s, count, a);
	return column_value(r, 0, s, count, a);
}

static size_t foreign_row_parts(const struct value *v, struct arena *a, const struct value_member **out)
{
	const struct pg_result *r = v->foreign;
	struct value_member *parts = arena_array(a, r->layout->count, sizeof(*parts));

	for (unsigned i = 0; i < r->layout->count; i++) {
		const struct pg_column *c = &r->layout->columns[i];
		parts[i] = (struct value_member){c->name, c->name_len, cell_value(r, (int)v->len, i, NULL, 0, a)};
		parts[i].value.from_request = v->from_request;
	}
	*out = parts;
	return r->layout->count;
}

static size_t foreign_result_parts(const struct value *v, struct arena *a, const struct value_member **out)
{
	const struct pg_result *r = v->foreign;
	size_t rows = (size_t)PQntuples(r->rows);
	struct value_member *parts = arena_array(a, rows, sizeof(*parts));

	for (size_t i = 0; i < rows; i++) {
		parts[i].value = row_value(r, (int)i);
		parts[i].value.from_request = v->from_request;
	}
	*out = parts;
	return rows;
}

static struct value foreign_result_follow(const struct value *v, const struct path_segment *segments, size_t count,
					  struct arena *a)
{
	const struct pg_result *r = v->foreign;
	return get(&r->base, &(struct path){.segments = segments, .count = count}, a);
}

static void free_result(struct result *base)
{
	struct pg_result *r = container_of(base, struct pg_result, base);
	PQclear(r->rows);
	pg_layout_drop(r->layout);
	free(r);
}

static const struct result_ops ops = {.render = render_result, .get = get, .free = free_result};

struct result *pg_result_new(PGresult *rows, struct pg_layout *layout, enum expect expect)
{
	struct pg_result *r = mem_zalloc(sizeof(*r));
	ExecStatusType status = PQresultStatus(rows);
	bool has_rows = status == PGRES_TUPLES_OK || status == PGRES_SINGLE_TUPLE;

	r->base.ops = &ops;
	r->base.rows = has_rows ? (size_t)PQntuples(rows) : strtoul(PQcmdTuples(rows), NULL, 10);
	r->rows = rows;
	r->layout = pg_layout_keep(layout);
	r->expect = expect;
	return &r->base;
}

struct value pg_result_row(const struct result *r, size_t row)
{
	return row_value(container_of(r, const struct pg_result, base), (int)row);
}

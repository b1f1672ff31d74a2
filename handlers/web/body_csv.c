/* CSV (RFC 4180) with a header line, as a list of objects. Cells are typed as the properties of the items are; an empty
 * one is null if its type allows null, else "". Lines end with CR LF or LF. */
#include <string.h>

#include "base/reason.h"
#include "base/utf8.h"
#include "handlers/web/body.h"
#include "handlers/web/typed.h"

enum { MAX_COLUMNS = 1000 };

struct reader {
	const char *at, *end;
	struct arena *arena;
	const char *why; /* NULL: all is well so far */
};

struct column {
	struct span name;
	const struct config_schema *schema;
};

/* The quoted cell at r->at, without its quotes: moved within the text, which is a copy of ours. */
static struct span quoted_cell(struct reader *r)
{
	char *text = (char *)(uintptr_t)r->at, *to = text;

	for (r->at++; r->at < r->end; r->at++) {
		if (*r->at == '"' && (r->at + 1 == r->end || r->at[1] != '"')) {
			r->at++;
			return (struct span){text, (size_t)(to - text)};
		}
		r->at += *r->at == '"';
		*to++ = *r->at;
	}
	r->why = "a quote has no end";
	return (struct span){text, 0};
}

static bool at_line_end(const struct reader *r)
{
	return r->at == r->end || *r->at == '\n' || (*r->at == '\r' && (r->at + 1 == r->end || r->at[1] == '\n'));
}

/* The cell at r->at, up to the comma or the end of the line. */
static struct span next_cell(struct reader *r)
{
	struct span cell = {r->at, 0};

	if (r->at < r->end && *r->at == '"') {
		cell = quoted_cell(r);
	} else {
		while (!at_line_end(r) && *r->at != ',') {
			if (*r->at == '"')
				r->why = "a quote stands within a cell that does not begin with one";
			r->at++;
		}
		cell.len = (size_t)(r->at - cell.base);
	}
	if (!r->why && !at_line_end(r) && *r->at != ',')
		r->why = "a closing quote is followed by something else";
	return cell;
}

/* Returns whether the line goes on. */
static bool pass_comma(struct reader *r)
{
	if (r->why || at_line_end(r))
		return false;
	r->at++;
	return true;
}

static void pass_line_end(struct reader *r)
{
	r->at += r->at < r->end && *r->at == '\r';
	r->at += r->at < r->end && *r->at == '\n';
}

static const struct config_schema *schema_of(const struct config_schema *s, struct span name)
{
	const struct config_schema *row = typed_schema(s)->items;

	row = row ? typed_schema(row) : NULL;
	for (size_t i = 0; row && i < row->property_count; i++) {
		const struct config_parameter *p = &row->properties[i];

		if (strlen(p->name) == name.len && memcmp(p->name, name.base, name.len) == 0)
			return typed_schema(&p->schema);
	}
	return &typed_any_text;
}

static size_t read_header(struct reader *r, const struct config_schema *s, struct column *columns)
{
	size_t count = 0;

	do {
		if (count == MAX_COLUMNS) {
			r->why = "there are too many columns";
			break;
		}
		columns[count].name = next_cell(r);
		columns[count].schema = schema_of(s, columns[count].name);
		count++;
	} while (pass_comma(r));
	pass_line_end(r);
	return count;
}

static struct json *cell_node(struct reader *r, const struct column *c, struct span cell)
{
	struct json *j = typed_text(r->arena, cell, c->schema);

	if (cell.len == 0 && c->schema->nullable)
		j->kind = JSON_NULL;
	j->name = c->name.base;
	j->name_len = (uint32_t)c->name.len;
	return j;
}

static struct json *read_row(struct reader *r, const struct column *columns, size_t count)
{
	struct json *row = arena_zalloc(r->arena, sizeof(*row)), **last = &row->child;
	bool more;

	row->kind = JSON_OBJECT;
	row->declared = true;
	do {
		struct span cell = next_cell(r);

		if (row->count == count) {
			r->why = "a line has more cells than the header";
			break;
		}
		*last = cell_node(r, &columns[row->count++], cell);
		last = &(*last)->next;
		more = pass_comma(r);
	} while (more);
	if (!r->why && row->count < count)
		r->why = "a line has fewer cells than the header";
	pass_line_end(r);
	return row;
}

bool body_read_csv(struct body *out, const struct config_schema *s, struct span text, struct arena *a,
		   struct mistakes *m)
{
	struct mistake_place at = mistake_at(IN_BODY, "");
	struct mistake_step line = {.item = true};
	struct reader r = {.at = text.base, .end = text.base + text.len, .arena = a};
	struct column *columns = arena_array(a, MAX_COLUMNS, sizeof(*columns));

	if (!utf8_valid(text.base, text.len)) {
		mistake_add(m, &at, NULL, MISTAKE_UTF8);
		return false;
	}
	if (text.len >= 3 && memcmp(r.at, "\xEF\xBB\xBF", 3) == 0)
		r.at += 3;
	out->tree = arena_zalloc(a, sizeof(*out->tree));
	out->tree->kind = JSON_ARRAY;
	struct json **last = &out->tree->child;
	size_t count = read_header(&r, s, columns);
	at.depth = r.why ? 0 : 1;
	at.steps = &line;
	while (!r.why && r.at < r.end) {
		line.index = out->tree->count;
		*last = read_row(&r, columns, count);
		last = &(*last)->next;
		out->tree->count++;
	}
	if (r.why)
		mistake_add(m, &at, NULL, MISTAKE_BODY_CSV, r.why);
	return !r.why;
}

/* Reading a tree of nodes: members, names for messages, places inside a text, and the way to JSON. */
#include "config/node.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_out.h"
#include "base/mem.h"
#include "config/scalar.h"

#define SHOWN_MAX 60 /* bytes of a text that a message quotes */

const struct node *node_member(const struct node *n, const char *name)
{
	if (n->kind != NODE_MAPPING)
		return NULL;
	for (size_t i = 0; i < n->count; i++) {
		if (strcmp(n->members[i].key->text, name) == 0)
			return n->members[i].value;
	}
	return NULL;
}

struct named {
	const struct node *key;
	size_t index;
};

static int compare_names(const void *p, const void *q)
{
	const struct named *a = p, *b = q;
	int texts = strcmp(a->key->text, b->key->text);
	return texts ? texts : (a->index > b->index) - (a->index < b->index);
}

size_t node_members_unique(struct node_member *members, size_t count,
			   void (*twice)(void *arg, const struct node *key, size_t index, const struct node *first),
			   void *arg)
{
	if (count < 2)
		return count;
	struct named *sorted = mem_array(count, sizeof(*sorted));
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		sorted[i] = (struct named){members[i].key, i};
	qsort(sorted, count, sizeof(*sorted), compare_names);
	const struct named *first = sorted;
	for (const struct named *n = sorted + 1; n < sorted + count; n++) {
		if (strcmp(first->key->text, n->key->text) != 0) {
			first = n;
			continue;
		}
		twice(arg, n->key, n->index, first->key);
		members[n->index].key = NULL;
	}
	free(sorted);
	for (size_t i = 0; i < count; i++) {
		if (members[i].key)
			members[kept++] = members[i];
	}
	return kept;
}

const char *node_kind_name(const struct node *n)
{
	static const char *const names[] = {
		[NODE_NULL] = "null",         [NODE_BOOL] = "true or false", [NODE_INT] = "an integer",
		[NODE_FLOAT] = "a number",    [NODE_STRING] = "a text",      [NODE_SEQUENCE] = "a list",
		[NODE_MAPPING] = "a mapping",
	};
	return names[n->kind];
}

const char *node_shown(const struct node *n, struct arena *a)
{
	if (!node_is_scalar(n) && n->count == 0)
		return n->kind == NODE_SEQUENCE ? "an empty list" : "an empty mapping";
	if (!node_is_scalar(n))
		return node_kind_name(n);
	if (n->expanded)
		return "a value from the environment";
	if (n->kind == NODE_NULL && n->len == 0)
		return "nothing";
	if (n->kind != NODE_STRING)
		return arena_strdup(a, n->text);
	if (n->len <= SHOWN_MAX)
		return arena_printf(a, "\"%s\"", n->text);
	size_t len = SHOWN_MAX;
	while (len > 0 && ((unsigned char)n->text[len] & 0xC0) == 0x80)
		len--;
	return arena_printf(a, "\"%.*s…\"", (int)len, n->text);
}

const struct node *node_unquoted(const struct node *n, struct arena *a)
{
	if (!n->variable || n->kind != NODE_STRING || n->refused)
		return n;
	struct node *made = arena_alloc(a, sizeof(*made));
	*made = *n;
	scalar_resolve(made, a);
	return made;
}

const struct node *node_quoted(const struct node *n, struct arena *a)
{
	if (!n->variable || n->kind == NODE_STRING || n->refused)
		return n;
	struct node *made = arena_alloc(a, sizeof(*made));
	*made = *n;
	made->kind = NODE_STRING;
	return made;
}

bool node_is_text(const struct node *n)
{
	return n->kind == NODE_STRING || n->kind == NODE_INT || n->kind == NODE_FLOAT ||
	       (node_is_scalar(n) && n->variable);
}

bool node_is_supplied(const struct node *n, size_t at, size_t len)
{
	for (size_t i = 0; i < n->supplied_count; i++) {
		const struct node_part *part = &n->supplied[i];
		if (part->at < at + len && at < part->at + part->len)
			return true;
	}
	return false;
}

struct mark node_mark_at(const struct node *n, size_t offset)
{
	if (!n->verbatim || offset > n->len)
		return n->at;
	struct mark at = n->body_at;
	unsigned first_column = at.column;
	for (size_t i = 0; i < offset; i++) {
		if (n->text[i] == '\n') {
			at.line++;
			at.column = first_column;
		} else if (((unsigned char)n->text[i] & 0xC0) != 0x80) {
			at.column++;
		}
	}
	return at;
}

static void render_children(const struct node *n, struct buf *out)
{
	bool mapping = n->kind == NODE_MAPPING;
	buf_char(out, mapping ? '{' : '[');
	for (size_t i = 0; i < n->count; i++) {
		if (i)
			buf_char(out, ',');
		if (mapping) {
			json_string(out, n->members[i].key->text, n->members[i].key->len);
			buf_char(out, ':');
		}
		node_render(mapping ? n->members[i].value : n->items[i], out);
	}
	buf_char(out, mapping ? '}' : ']');
}

/* The recursion is bounded by NODE_MAX_DEPTH. */
void node_render(const struct node *n, struct buf *out)
{
	switch (n->kind) {
	case NODE_NULL:
		json_null(out);
		break;
	case NODE_BOOL:
		json_bool(out, n->boolean);
		break;
	case NODE_INT:
	case NODE_FLOAT:
		buf_str(out, n->number);
		break;
	case NODE_STRING:
		json_string(out, n->text, n->len);
		break;
	case NODE_SEQUENCE:
	case NODE_MAPPING:
		render_children(n, out);
		break;
	}
}

struct value node_value(const struct node *n, struct arena *a)
{
	struct buf text = BUF_INIT;
	struct json *parsed;
	char what[128];

	node_render(n, &text);
	const char *kept = arena_strndup(a, text.data, text.len);
	int r = json_parse(&parsed, a, kept, text.len, NODE_MAX_DEPTH + 1, what, sizeof(what));
	buf_done(&text);
	/* Only text that is no UTF-8 could fail, and a tree holds none. */
	return r == 0 ? value_from_json(parsed) : VALUE_OF_NULL;
}

bool node_is_sound(const struct node *n)
{
	bool sound = !n->refused;
	for (size_t i = 0; sound && n->kind == NODE_SEQUENCE && i < n->count; i++)
		sound = node_is_sound(n->items[i]);
	for (size_t i = 0; sound && n->kind == NODE_MAPPING && i < n->count; i++)
		sound = node_is_sound(n->members[i].value);
	return sound;
}

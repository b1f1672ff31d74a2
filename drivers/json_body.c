/* A body is a flat list: JSON text, values as JSON, and values as text inside a JSON string, whose quotes and literal
 * pieces are part of the text around them. */
#include "drivers/json_body.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"
#include "base/mem.h"

enum part_kind { PART_TEXT, PART_VALUE, PART_IN_STRING };

struct body_part {
	enum part_kind kind;
	int slot;
	const char *text; /* PART_TEXT */
	size_t len;
};

struct builder {
	struct action_env *env;
	struct body_part *parts; /* on the heap while it grows */
	size_t count, capacity;
	struct buf text; /* since the last reference */
	bool good;
};

static void emit(struct builder *b, struct body_part part)
{
	mem_reserve(b->parts, b->capacity, b->count + 1);
	b->parts[b->count++] = part;
}

static void flush_text(struct builder *b)
{
	if (b->text.len)
		emit(b, (struct body_part){.kind = PART_TEXT,
					   .text = arena_strndup(b->env->arena, b->text.data, b->text.len),
					   .len = b->text.len});
	b->text.len = 0;
}

static void emit_reference(struct builder *b, enum part_kind kind, const struct reference *reference)
{
	int slot = b->env->references->add(b->env->references, reference);

	flush_text(b);
	emit(b, (struct body_part){.kind = kind, .slot = slot});
	b->good &= slot >= 0;
}

static void compile_string(struct builder *b, const struct node *n)
{
	struct template t;

	if (!template_parse(&t, b->env->arena, n, b->env->diagnostics)) {
		b->good = false;
		return;
	}
	if (template_is_reference(&t)) {
		emit_reference(b, PART_VALUE, &t.pieces[0].reference);
		return;
	}
	buf_char(&b->text, '"');
	for (size_t i = 0; i < t.count; i++) {
		if (t.pieces[i].text)
			json_escape(&b->text, t.pieces[i].text, t.pieces[i].len);
		else
			emit_reference(b, PART_IN_STRING, &t.pieces[i].reference);
	}
	buf_char(&b->text, '"');
}

/* Recursive: the depth of the configuration's trees is bounded. */
static void compile_node(struct builder *b, const struct node *n)
{
	switch (n->kind) {
	case NODE_SEQUENCE:
		buf_char(&b->text, '[');
		for (size_t i = 0; i < n->count; i++) {
			if (i)
				buf_char(&b->text, ',');
			compile_node(b, n->items[i]);
		}
		buf_char(&b->text, ']');
		break;
	case NODE_MAPPING:
		buf_char(&b->text, '{');
		for (size_t i = 0; i < n->count; i++) {
			if (i)
				buf_char(&b->text, ',');
			json_string(&b->text, n->members[i].key->text, n->members[i].key->len);
			buf_char(&b->text, ':');
			compile_node(b, n->members[i].value);
		}
		buf_char(&b->text, '}');
		break;
	case NODE_STRING:
		compile_string(b, n);
		break;
	default:
		node_render(n, &b->text);
		break;
	}
}

bool body_compile(struct body *out, const struct node *n, struct action_env *env)
{
	struct builder b = {.env = env, .good = true};

	compile_node(&b, n);
	flush_text(&b);
	buf_done(&b.text);
	struct body_part *parts = arena_array(env->arena, b.count, sizeof(*parts));
	if (b.count)
		memcpy(parts, b.parts, b.count * sizeof(*parts));
	free(b.parts);
	*out = (struct body){.parts = parts, .count = b.count};
	return b.good;
}

void body_fill(const struct body *b, const struct value *args, struct buf *out)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < b->count; i++) {
		const struct body_part *part = &b->parts[i];
		switch (part->kind) {
		case PART_TEXT:
			buf_append(out, part->text, part->len);
			break;
		case PART_VALUE:
			value_render(&args[part->slot], out);
			break;
		case PART_IN_STRING:
			text.len = 0;
			value_text(&args[part->slot], &text);
			if (text.len)
				json_escape(out, text.data, text.len);
			break;
		}
	}
	buf_done(&text);
}

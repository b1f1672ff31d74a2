/* Compiling and rendering replies.
 *
 * The compiler walks the tree of the configuration, whose depth yaml.c bounds; rendering walks a flat list and keeps,
 * in one word, which of the open objects and arrays has had a member already. */
#include "handlers/gather/respond.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"
#include "base/mem.h"

enum op_kind {
	OP_RAW,    /* text as it is */
	OP_SLOT,   /* a value, with its type */
	OP_TEXT,   /* a string with references in it */
	OP_OPEN,   /* text is "{" or "[" */
	OP_CLOSE,  /* text is "}" or "]" */
	OP_MEMBER, /* text is the name with its colon, or nothing in an array; a comma if one is due */
};

struct respond_op {
	enum op_kind kind;
	int omit; /* OP_MEMBER: the step whose omission skips this member (the next op); -1: none */
	const char *text;
	size_t len;
	struct slot slot;
	struct text template;
};

enum { MAX_DEPTH = 60 }; /* bits of the word that respond_render keeps; yaml.c's bound is at most that */

struct builder {
	struct scope *scope;
	struct respond_op *ops; /* on the heap while it grows */
	size_t count, capacity;
	unsigned depth;
	int result;
};

static struct respond_op *emit(struct builder *b, enum op_kind kind, const char *text, size_t len)
{
	mem_reserve(b->ops, b->capacity, b->count + 1);
	struct respond_op *op = &b->ops[b->count++];
	*op = (struct respond_op){.kind = kind, .omit = -1, .text = text, .len = len};
	return op;
}

/* --- constants --- */

static bool has_references(struct builder *b, const struct node *n)
{
	bool found = false;
	switch (n->kind) {
	case NODE_STRING: {
		struct template t;
		if (!template_parse(&t, b->scope->arena, n, b->scope->diagnostics))
			b->result = -EINVAL;
		else
			found = !template_is_literal(&t);
		break;
	}
	case NODE_SEQUENCE:
		for (size_t i = 0; i < n->count; i++)
			found |= has_references(b, n->items[i]);
		break;
	case NODE_MAPPING:
		for (size_t i = 0; i < n->count; i++)
			found |= has_references(b, n->members[i].value);
		break;
	default:
		break;
	}
	return found;
}

static void render_literal(struct builder *b, const struct node *n, struct buf *out)
{
	struct template t;
	buf_char(out, '"');
	if (template_parse(&t, b->scope->arena, n, b->scope->diagnostics)) {
		for (size_t i = 0; i < t.count; i++)
			json_escape(out, t.pieces[i].text, t.pieces[i].len);
	}
	buf_char(out, '"');
}

/* A node without references, as JSON. */
static void render_constant(struct builder *b, const struct node *n, struct buf *out)
{
	switch (n->kind) {
	case NODE_NULL:
		json_null(out);
		break;
	case NODE_BOOL:
		json_bool(out, n->boolean);
		break;
	case NODE_INT:
		buf_int(out, n->integer);
		break;
	case NODE_FLOAT:
		buf_str(out, n->number);
		break;
	case NODE_STRING:
		render_literal(b, n, out);
		break;
	case NODE_SEQUENCE:
		buf_char(out, '[');
		for (size_t i = 0; i < n->count; i++) {
			if (i)
				buf_char(out, ',');
			render_constant(b, n->items[i], out);
		}
		buf_char(out, ']');
		break;
	case NODE_MAPPING:
		buf_char(out, '{');
		for (size_t i = 0; i < n->count; i++) {
			if (i)
				buf_char(out, ',');
			json_string(out, n->members[i].key->text, n->members[i].key->len);
			buf_char(out, ':');
			render_constant(b, n->members[i].value, out);
		}
		buf_char(out, '}');
		break;
	}
}

static void emit_constant(struct builder *b, const struct node *n)
{
	struct buf text = BUF_INIT;
	render_constant(b, n, &text);
	emit(b, OP_RAW, arena_strndup(b->scope->arena, text.data, text.len), text.len);
	buf_done(&text);
}

int constant_value(struct value *out, const struct node *n, struct scope *scope)
{
	struct builder b = {.scope = scope};
	if (has_references(&b, n)) {
		diagnostics_error(scope->diagnostics, n->at,
				  "a default is a constant: it may not refer to other values");
		return -EINVAL;
	}
	if (b.result < 0)
		return b.result;
	struct buf text = BUF_INIT;
	render_constant(&b, n, &text);
	struct json *json;
	char why[128];
	const char *copy = arena_strndup(scope->arena, text.data, text.len);
	int r = json_parse(&json, scope->arena, copy, text.len, MAX_DEPTH + 4, why, sizeof(why));
	if (r < 0)
		diagnostics_error(scope->diagnostics, n->at, "not expressible as JSON: %s", why);
	else
		*out = value_from_json(json);
	buf_done(&text);
	return r;
}

/* --- compiling --- */

static void compile_node(struct builder *b, const struct node *n);

static void compile_string(struct builder *b, const struct node *n)
{
	struct text t;
	if (text_compile(&t, n, b->scope) < 0) {
		b->result = -EINVAL;
		return;
	}
	if (t.count == 1)
		emit(b, OP_SLOT, NULL, 0)->slot = t.pieces[0].slot;
	else
		emit(b, OP_TEXT, NULL, 0)->template = t;
}

static void member_name(struct builder *b, const char *name, size_t len)
{
	struct buf text = BUF_INIT;
	json_string(&text, name, len);
	buf_char(&text, ':');
	emit(b, OP_MEMBER, arena_strndup(b->scope->arena, text.data, text.len), text.len);
	buf_done(&text);
}

/* A member that is nothing but a reference into a step with `on_error: omit` is left out with it. */
static void mark_omission(struct builder *b, size_t member)
{
	if (b->count != member + 2 || b->ops[member + 1].kind != OP_SLOT)
		return;
	const struct slot *s = &b->ops[member + 1].slot;
	if (s->kind == SLOT_STEP && b->scope->endpoint->steps[s->index].on_error == ON_ERROR_OMIT)
		b->ops[member].omit = (int)s->index;
}

static void compile_mapping(struct builder *b, const struct node *n)
{
	emit(b, OP_OPEN, "{", 1);
	for (size_t i = 0; i < n->count; i++) {
		size_t member = b->count;
		member_name(b, n->members[i].key->text, n->members[i].key->len);
		compile_node(b, n->members[i].value);
		mark_omission(b, member);
	}
	emit(b, OP_CLOSE, "}", 1);
}

static void compile_sequence(struct builder *b, const struct node *n)
{
	emit(b, OP_OPEN, "[", 1);
	for (size_t i = 0; i < n->count; i++) {
		size_t member = b->count;
		emit(b, OP_MEMBER, "", 0);
		compile_node(b, n->items[i]);
		mark_omission(b, member);
	}
	emit(b, OP_CLOSE, "]", 1);
}

static void compile_node(struct builder *b, const struct node *n)
{
	if (!has_references(b, n)) {
		emit_constant(b, n);
		return;
	}
	if (++b->depth > MAX_DEPTH) {
		diagnostics_error(b->scope->diagnostics, n->at, "nested too deeply");
		b->result = -EINVAL;
	} else if (n->kind == NODE_STRING) {
		compile_string(b, n);
	} else if (n->kind == NODE_MAPPING) {
		compile_mapping(b, n);
	} else {
		compile_sequence(b, n);
	}
	b->depth--;
}

/* No `respond`: the steps by their names. */
static void compile_steps(struct builder *b)
{
	const struct config_endpoint *e = b->scope->endpoint;
	emit(b, OP_OPEN, "{", 1);
	for (unsigned i = 0; i < e->step_count; i++) {
		if (e->steps[i].join && !e->steps[i].keep)
			continue; /* it is a part of another one */
		size_t member = b->count;
		member_name(b, e->steps[i].name, strlen(e->steps[i].name));
		emit(b, OP_SLOT, NULL, 0)->slot = (struct slot){.kind = SLOT_STEP, .index = i};
		mark_omission(b, member);
	}
	emit(b, OP_CLOSE, "}", 1);
}

int respond_compile(struct respond *out, struct scope *scope)
{
	struct builder b = {.scope = scope};
	if (scope->endpoint->respond)
		compile_node(&b, scope->endpoint->respond);
	else
		compile_steps(&b);
	struct respond_op *ops = arena_array(scope->arena, b.count ? b.count : 1, sizeof(*ops));
	if (b.count)
		memcpy(ops, b.ops, b.count * sizeof(*ops));
	*out = (struct respond){.ops = ops, .count = b.count, .constant = b.count == 1 && ops[0].kind == OP_RAW};
	free(b.ops);
	return b.result;
}

/* --- rendering --- */

static int step_of(const struct respond_op *op)
{
	if (op->kind == OP_SLOT)
		return op->slot.kind == SLOT_STEP ? (int)op->slot.index : -1;
	for (size_t i = 0; op->kind == OP_TEXT && i < op->template.count; i++) {
		const struct text_piece *p = &op->template.pieces[i];
		if (!p->literal && p->slot.kind == SLOT_STEP)
			return (int)p->slot.index;
	}
	return -1;
}

int respond_render(const struct respond *r, const struct evaluation *e, struct buf *out, int *step)
{
	uint64_t begun = 0; /* bit 0: the innermost open object or array has had a member */
	for (size_t i = 0; i < r->count; i++) {
		const struct respond_op *op = &r->ops[i];
		switch (op->kind) {
		case OP_RAW:
			buf_append(out, op->text, op->len);
			break;
		case OP_OPEN:
			buf_append(out, op->text, op->len);
			begun <<= 1;
			break;
		case OP_CLOSE:
			buf_append(out, op->text, op->len);
			begun >>= 1;
			break;
		case OP_MEMBER:
			if (op->omit >= 0 && e->outcomes[op->omit].kind == OUTCOME_OMITTED) {
				i++;
				break;
			}
			if (begun & 1)
				buf_char(out, ',');
			begun |= 1;
			buf_append(out, op->text, op->len);
			break;
		case OP_SLOT:
			slot_render(&op->slot, e, out);
			break;
		case OP_TEXT:
			buf_char(out, '"');
			text_eval(&op->template, e, TEXT_JSON, out);
			buf_char(out, '"');
			break;
		}
		if (buf_over(out)) {
			if (step)
				*step = step_of(op);
			return -EMSGSIZE;
		}
	}
	return 0;
}

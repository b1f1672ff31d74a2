/* Compiling and filling documents. Compiling recurses over the configuration, whose depth is bounded here; filling is a
 * loop over the parts. */
#include "drivers/mongo/bson/template.h"

#include <errno.h>
#include <string.h>

#include "base/ascii.h"
#include "base/decimal.h"
#include "base/reason.h"
#include "drivers/mongo/bson/place.h"

#define NESTING_MAX 64

enum part_kind { PART_BYTES, PART_BEGIN, PART_END, PART_VALUE };

struct piece {
	const char *text; /* NULL: the reference's value */
	size_t len;
	int slot;
};

struct template_part {
	enum part_kind kind;
	uint8_t type; /* PART_BEGIN */
	const char *key;
	size_t key_len;
	const char *bytes; /* PART_BYTES */
	size_t len;
	/* PART_VALUE */
	enum mongo_conversion as;
	const char *detail;
	const struct piece *pieces; /* one without text: the value itself, else they are joined to a text */
	size_t piece_count;
	const char *reference; /* as it was written, for messages */
	bool expression;
	bool literal;  /* whatever has parts is read as a value, too */
	bool document; /* nothing but a document fits here: it needs no declaration */
	bool stored;   /* it need not have been declared as a document itself */
	enum mongo_names names;
};

struct part_list {
	struct template_part *items;
	size_t count, capacity;
};

struct compiler {
	struct action_env *env;
	struct arena *arena;
	struct part_list parts;
	unsigned depth; /* of the documents around */
	enum mongo_template_use use;
	bool pipeline;
	bool writes;
	bool wrong;
};

struct key {
	const char *text;
	size_t len;
};

static void complain(struct compiler *c, const struct node *n, const char *format, ...) printf_like(3, 4);
static void complain(struct compiler *c, const struct node *n, const char *format, ...)
{
	struct buf text = BUF_INIT;
	va_list ap;

	va_start(ap, format);
	buf_vprintf(&text, format, ap);
	va_end(ap);
	diagnostics_error(c->env->diagnostics, n->at, "%s", buf_cstr(&text));
	buf_done(&text);
	c->wrong = true;
}

static struct template_part *add_part(struct compiler *c, enum part_kind kind, struct key key)
{
	struct part_list *l = &c->parts;

	if (!l->items || l->count == l->capacity) {
		size_t capacity = l->capacity ? l->capacity * 2 : 8;
		struct template_part *items = arena_array(c->arena, capacity, sizeof(*items));
		if (l->items)
			memcpy(items, l->items, l->count * sizeof(*items));
		l->items = items;
		l->capacity = capacity;
	}
	l->items[l->count] = (struct template_part){.kind = kind, .key = key.text, .key_len = key.len};
	return &l->items[l->count++];
}

/* Elements that are finished already; a run of them is one part. */
static void add_bytes(struct compiler *c, const struct buf *bytes)
{
	struct part_list *l = &c->parts;
	struct template_part *last = l->count ? &l->items[l->count - 1] : NULL;

	if (last && last->kind == PART_BYTES) {
		char *joined = arena_alloc(c->arena, last->len + bytes->len);
		memcpy(joined, last->bytes, last->len);
		memcpy(joined + last->len, bytes->data, bytes->len);
		last->bytes = joined;
		last->len += bytes->len;
		return;
	}
	struct template_part *p = add_part(c, PART_BYTES, (struct key){"", 0});
	p->bytes = arena_strndup(c->arena, bytes->data, bytes->len);
	p->len = bytes->len;
}

/* --- scalars --- */

/* { $literal: v }: a text that begins with "$" is a text then, and no field's name. */
static int put_literally(struct mongo_converter *c, struct key key, const struct value *v, enum mongo_conversion as,
			 const char *detail)
{
	if (!mongo_out_begin(c->out, BSON_TYPE_DOCUMENT, key.text, key.len))
		return -EINVAL;
	int r = mongo_convert(c, "$literal", strlen("$literal"), v, as, detail);
	if (r == 0)
		mongo_out_end(c->out);
	return r;
}

/* Does a "$" that a variable supplied begin it? It names no field: what a variable supplies is data. */
static bool is_dollar_supplied(const struct node *n, const char *text, size_t len)
{
	return len > 0 && text[0] == '$' && node_is_supplied(n, 0, 1);
}

/* A value that is known now, as if it came from a reference: so the same checks hold for both. */
static void add_literal(struct compiler *c, const struct node *n, struct key key, const struct value *v,
			enum mongo_conversion as, const char *detail, const struct mongo_place *place)
{
	bool literally = place->expression && as == AS_IS && v->kind == VALUE_STRING &&
			 is_dollar_supplied(n, v->text, v->len);
	struct buf bytes = BUF_INIT;
	struct mongo_out out;
	struct mongo_converter converter = {.out = &out, .arena = c->arena};

	mongo_out_init(&out, &bytes);
	int r = literally ? put_literally(&converter, key, v, as, detail)
			  : mongo_convert(&converter, key.text, key.len, v, as, detail);
	if (r < 0)
		complain(c, n, "this %s", converter.why);
	else
		add_bytes(c, &bytes);
	buf_done(&bytes);
}

static struct value scalar_value(const struct node *n)
{
	switch (n->kind) {
	case NODE_BOOL:
		return value_bool(n->boolean);
	case NODE_INT:
		return value_int(n->integer);
	case NODE_FLOAT:
		return (struct value){.kind = VALUE_NUMBER, .text = n->number, .len = strlen(n->number)};
	case NODE_STRING:
		return value_string(n->text, n->len);
	default:
		return VALUE_OF_NULL;
	}
}

/* In an update: is what stands here the name of a field, or a document whose names are expressions' fields? */
static bool names_fields(const struct compiler *c, const struct mongo_place *place)
{
	bool pipeline = c->use == TEMPLATE_UPDATE_PIPELINE;

	if (!pipeline)
		return c->use == TEMPLATE_UPDATE && strcmp(place->top, "$rename") == 0;
	return strcmp(place->top, "$unset") == 0 || strcmp(place->top, "$project") == 0 ||
	       (c->depth == 1 && strcmp(place->around, "$replaceWith") != 0);
}

/* May a text with references stand here? */
static bool references_allowed(struct compiler *c, const struct node *n, const struct template *t,
			       const struct mongo_place *place)
{
	if (place->javascript)
		complain(c, n, "no reference may stand below %s: it would run as JavaScript", place->javascript);
	else if (names_fields(c, place))
		complain(c, n, "no reference may stand here: what %s has for a value are names of fields", place->top);
	else if (place->expression && t->pieces[0].text && t->pieces[0].len && t->pieces[0].text[0] == '$' &&
		 !is_dollar_supplied(n, t->pieces[0].text, t->pieces[0].len))
		complain(c, n, "a text that begins with \"$\" names a field here: no reference may stand in it");
	else
		return true;
	return false;
}

static void add_reference(struct compiler *c, const struct node *n, struct key key, const struct template *t,
			  enum mongo_conversion as, const char *detail, const struct mongo_place *place)
{
	struct piece *pieces = arena_array(c->arena, t->count, sizeof(*pieces));
	const char *reference = NULL;

	if (!references_allowed(c, n, t, place))
		return;
	for (size_t i = 0; i < t->count; i++) {
		const struct template_piece *from = &t->pieces[i];
		pieces[i] = (struct piece){.text = from->text, .len = from->len, .slot = -1};
		if (from->text)
			continue;
		pieces[i].slot = c->env->references->add(c->env->references, &from->reference);
		c->wrong |= pieces[i].slot < 0;
		reference = reference ? reference : from->reference.text;
	}
	struct template_part *p = add_part(c, PART_VALUE, key);
	p->as = as;
	p->detail = detail;
	p->pieces = pieces;
	p->piece_count = t->count;
	p->reference = reference;
	p->expression = place->expression && as == AS_IS;
	p->literal = c->use == TEMPLATE_UPDATE_PIPELINE;
	p->stored = c->use >= TEMPLATE_STORED;
	p->document = c->depth == 0 && (c->use == TEMPLATE_STORED_LIST || c->use == TEMPLATE_UPDATE);
	p->names = c->use < TEMPLATE_PATCH                  ? NAMES_ANY
		   : c->use == TEMPLATE_UPDATE && !c->depth ? NAMES_PATHS
							    : NAMES_BELOW;
}

static void add_scalar(struct compiler *c, const struct node *n, struct key key, enum mongo_conversion as,
		       const char *detail, const struct mongo_place *place)
{
	struct value v = scalar_value(n);
	struct template t;

	if (n->kind == NODE_STRING) {
		if (!template_parse(&t, c->arena, n, c->env->diagnostics)) {
			c->wrong = true;
			return;
		}
		if (!template_is_literal(&t)) {
			add_reference(c, n, key, &t, as, detail, place);
			return;
		}
		v.text = template_text(&t, c->arena, &v.len);
	}
	if (as != AS_IS && n->kind == NODE_NULL)
		complain(c, n, "null can't be converted; write null without the form around it");
	else
		add_literal(c, n, key, &v, as, detail, place);
}

/* --- extended forms: { $oid: … } --- */

struct form {
	const char *name;
	enum mongo_conversion as;
};

static const struct form forms[] = {
	{"$oid", AS_OBJECTID},     {"$date", AS_DATE},       {"$numberDecimal", AS_DECIMAL},
	{"$numberLong", AS_INT64}, {"$numberInt", AS_INT32}, {"$numberDouble", AS_DOUBLE},
	{"$binary", AS_BINARY},    {"$uuid", AS_UUID},       {"$regularExpression", AS_REGEX},
};

static bool is_named(const struct node *key, const char *name)
{
	return strlen(name) == key->len && memcmp(key->text, name, key->len) == 0;
}

static const struct form *form_of(const struct node *n)
{
	for (size_t i = 0; n->count == 1 && i < ARRAY_SIZE(forms); i++) {
		if (is_named(n->members[0].key, forms[i].name))
			return &forms[i];
	}
	return NULL;
}

/* The two texts of { $binary: { base64, subType } } or { $regularExpression: { pattern, options } }; the second is
 * fixed. */
static const struct node *two_parts(struct compiler *c, const struct node *n, const char *first, const char *second,
				    const struct node **detail)
{
	const struct node *value = node_member(n, first);

	*detail = node_member(n, second);
	if (!value || !node_is_scalar(value) || n->count > 2 || (n->count == 2 && !*detail) ||
	    (*detail && ((*detail)->kind == NODE_SEQUENCE || (*detail)->kind == NODE_MAPPING))) {
		complain(c, n, "expected { %s: …, %s: … }", first, second);
		return NULL;
	}
	return value;
}

static int hex_pair(const char *text, size_t len)
{
	unsigned n = 0;

	if (len < 1 || len > 2)
		return -1;
	for (size_t i = 0; i < len; i++) {
		int digit = ascii_hex_value(text[i]);
		if (digit < 0)
			return -1;
		n = n * 16 + (unsigned)digit;
	}
	return (int)n;
}

static void add_binary(struct compiler *c, const struct node *n, struct key key, const struct mongo_place *place)
{
	const struct node *type;
	const struct node *value = two_parts(c, n, "base64", "subType", &type);

	if (!value)
		return;
	char *detail = arena_zalloc(c->arena, 2);
	int subtype = type ? hex_pair(type->text, type->len) : 0;
	if (subtype < 0) {
		complain(c, type, "subType is two hexadecimal digits in quotes: \"04\"");
		return;
	}
	detail[0] = (char)subtype;
	add_scalar(c, value, key, AS_BINARY, detail, place);
}

static void add_regex(struct compiler *c, const struct node *n, struct key key, const struct mongo_place *place)
{
	const struct node *options;
	const struct node *value = two_parts(c, n, "pattern", "options", &options);

	if (!value)
		return;
	for (size_t i = 0; options && i < options->len; i++) {
		if (!strchr("ilmsux", options->text[i]) || (i && options->text[i] <= options->text[i - 1])) {
			complain(c, options, "options are some of i, l, m, s, u, x, in this order");
			return;
		}
	}
	add_scalar(c, value, key, AS_REGEX, options ? options->text : NULL, place);
}

static void add_form(struct compiler *c, const struct form *f, const struct node *n, struct key key,
		     const struct mongo_place *place)
{
	const struct node *value = n->members[0].value;
	bool mapping = value->kind == NODE_MAPPING;

	if (f->as == AS_REGEX && mapping)
		add_regex(c, value, key, place);
	else if (f->as == AS_BINARY && mapping)
		add_binary(c, value, key, place);
	else if (f->as == AS_DATE && mapping && value->count == 1 && is_named(value->members[0].key, "$numberLong"))
		add_scalar(c, value->members[0].value, key, AS_DATE, NULL, place);
	else if (f->as == AS_REGEX || !node_is_scalar(value))
		complain(c, value, "%s: unexpected %s", f->name, node_kind_name(value));
	else
		add_scalar(c, value, key, f->as, NULL, place);
}

/* { $timestamp: { t, i } }, { $minKey: 1 }, { $maxKey: 1 }: fixed ones only. Returns whether n is one of them. */
static bool add_fixed_form(struct compiler *c, const struct node *n, struct key key)
{
	const struct node *name = n->count == 1 ? n->members[0].key : NULL;
	struct buf bytes = BUF_INIT;
	struct mongo_out out;

	mongo_out_init(&out, &bytes);
	if (name && is_named(name, "$minKey")) {
		mongo_out_key(&out, BSON_TYPE_MINKEY, key.text, key.len);
	} else if (name && is_named(name, "$maxKey")) {
		mongo_out_key(&out, BSON_TYPE_MAXKEY, key.text, key.len);
	} else if (name && is_named(name, "$timestamp") && n->members[0].value->kind == NODE_MAPPING) {
		const struct node *t = node_member(n->members[0].value, "t");
		const struct node *i = node_member(n->members[0].value, "i");
		if (!t || !i || t->kind != NODE_INT || i->kind != NODE_INT || t->integer < 0 || i->integer < 0 ||
		    t->integer > UINT32_MAX || i->integer > UINT32_MAX) {
			complain(c, n, "expected { $timestamp: { t: seconds, i: ordinal } }");
		} else {
			uint64_t le = BSON_UINT64_TO_LE((uint64_t)t->integer << 32 | (uint64_t)i->integer);
			mongo_out_raw(&out, BSON_TYPE_TIMESTAMP, key.text, key.len, &le, sizeof(le));
		}
	} else {
		return false;
	}
	if (bytes.len)
		add_bytes(c, &bytes);
	buf_done(&bytes);
	return true;
}

/* --- documents --- */

static void add_node(struct compiler *c, const struct node *n, struct key key, const struct mongo_place *place);

/* The member's name, with {{ and }} replaced. */
static bool read_key(struct compiler *c, const struct node *n, struct key *key)
{
	struct template t;

	if (!template_parse(&t, c->arena, n, c->env->diagnostics)) {
		c->wrong = true;
		return false;
	}
	if (!template_is_literal(&t)) {
		complain(c, n, "a reference stands for a value, never for a key");
		return false;
	}
	key->text = template_text(&t, c->arena, &key->len);
	if (memchr(key->text, 0, key->len)) {
		complain(c, n, "a key can't hold a NUL character");
		return false;
	}
	return true;
}

/* $out and $merge write. */
static void note_stage(struct compiler *c, const struct node *n, const struct key *key)
{
	if (!c->pipeline || !mongo_place_is_writing_stage(key->text))
		return;
	c->writes = true;
	if (c->env->read_only)
		complain(c, n, "%s writes: not in a GET or HEAD endpoint, unless the step says write: true", key->text);
}

/* May a member of that name stand here? The configuration's own names may be paths. */
static void check_name(struct compiler *c, const struct node *n, const struct key *key)
{
	bool operator= key->len && key->text[0] == '$';
	bool link = strcmp(key->text, "$ref") == 0 || strcmp(key->text, "$id") == 0 || strcmp(key->text, "$db") == 0;
	bool stored = c->use >= TEMPLATE_STORED && c->use <= TEMPLATE_PATCH;

	if (stored && operator&& !(link && c->depth))
		complain(c, n, "%.60s " UNFIT_OPERATOR, key->text);
	else if (c->use == TEMPLATE_PATCH && c->depth == 0 && strcmp(key->text, "_id") == 0)
		complain(c, n, "_id can't be changed");
	else if (c->use == TEMPLATE_PATCH && (key->len == 0 || strchr(key->text, '.')))
		complain(c, n, "the name of a member is not empty here, and has no \".\"");
	else if (c->use == TEMPLATE_UPDATE && c->depth == 0 && !operator)
		complain(c, n, "%.60s is not an operator ({ $set: … }); whole documents are for replace_one",
			 key->text);
}

static void add_members(struct compiler *c, const struct node *n, const struct mongo_place *place)
{
	for (size_t i = 0; i < n->count; i++) {
		struct key key;
		if (!read_key(c, n->members[i].key, &key))
			continue;
		note_stage(c, n->members[i].key, &key);
		check_name(c, n->members[i].key, &key);
		struct mongo_place below = mongo_place_below(place, key.text, c->pipeline);
		add_node(c, n->members[i].value, key, &below);
	}
}

static void add_items(struct compiler *c, const struct node *n, const struct mongo_place *place)
{
	for (size_t i = 0; i < n->count; i++) {
		const char *digits = arena_printf(c->arena, "%zu", i);
		add_node(c, n->items[i], (struct key){digits, strlen(digits)}, place);
	}
}

/* If nothing in the document depends on the request, it is encoded here and becomes one piece of bytes. */
static void fold(struct compiler *c, size_t begin, struct key key, uint8_t type)
{
	struct part_list *l = &c->parts;
	bool fixed = l->count == begin + 1 || (l->count == begin + 2 && l->items[begin + 1].kind == PART_BYTES);
	struct buf bytes = BUF_INIT;
	struct mongo_out out;

	if (!fixed) {
		add_part(c, PART_END, (struct key){"", 0});
		return;
	}
	mongo_out_init(&out, &bytes);
	mongo_out_begin(&out, type, key.text, key.len);
	if (l->count == begin + 2)
		buf_append(&bytes, l->items[begin + 1].bytes, l->items[begin + 1].len);
	mongo_out_end(&out);
	l->count = begin;
	add_bytes(c, &bytes);
	buf_done(&bytes);
}

static void add_compound(struct compiler *c, const struct node *n, struct key key, const struct mongo_place *place)
{
	uint8_t type = n->kind == NODE_SEQUENCE ? BSON_TYPE_ARRAY : BSON_TYPE_DOCUMENT;
	size_t begin = c->parts.count;

	if (c->depth == NESTING_MAX) {
		complain(c, n, "nested too deeply");
		return;
	}
	c->depth++;
	add_part(c, PART_BEGIN, key)->type = type;
	if (type == BSON_TYPE_ARRAY)
		add_items(c, n, place);
	else
		add_members(c, n, place);
	c->depth--;
	fold(c, begin, key, type);
}

static void add_node(struct compiler *c, const struct node *n, struct key key, const struct mongo_place *place)
{
	const struct form *f = n->kind == NODE_MAPPING ? form_of(n) : NULL;

	if (f)
		add_form(c, f, n, key, place);
	else if (n->kind == NODE_MAPPING && add_fixed_form(c, n, key))
		return;
	else if (node_is_scalar(n))
		add_scalar(c, n, key, AS_IS, NULL, place);
	else
		add_compound(c, n, key, place);
}

static bool may_update(const char *stage)
{
	static const char *const stages[] = {"$set",     "$addFields",   "$unset",
					     "$project", "$replaceRoot", "$replaceWith"};

	for (size_t i = 0; i < ARRAY_SIZE(stages); i++) {
		if (strcmp(stage, stages[i]) == 0)
			return true;
	}
	return false;
}

static void check_stages(struct compiler *c, const struct node *n)
{
	for (size_t i = 0; i < n->count; i++) {
		const struct node *stage = n->items[i];
		if (stage->kind != NODE_MAPPING || stage->count != 1 || stage->members[0].key->text[0] != '$')
			complain(c, stage, "a stage of a pipeline is a mapping with one key: { $match: … }");
		else if (c->use == TEMPLATE_UPDATE_PIPELINE && !may_update(stage->members[0].key->text))
			complain(c, stage->members[0].key,
				 "an update has the stages $set, $unset and $replaceWith, and not %.60s",
				 stage->members[0].key->text);
	}
}

/* n is one reference, whose value is the document or the list. */
static void add_whole(struct compiler *c, const struct node *n, struct mongo_template *out, uint8_t type)
{
	struct mongo_place place = {.around = "", .top = ""};
	struct template t;

	if (!template_parse(&t, c->arena, n, c->env->diagnostics)) {
		c->wrong = true;
		return;
	}
	if (!template_is_reference(&t)) {
		complain(c, n, "expected %s, or one reference", type == BSON_TYPE_ARRAY ? "a list" : "a document");
		return;
	}
	add_reference(c, n, (struct key){"", 0}, &t, AS_IS, NULL, &place);
	out->whole = type;
}

static void add_documents(struct compiler *c, const struct node *n, const struct mongo_place *top)
{
	for (size_t i = 0; i < n->count; i++) {
		if (n->items[i]->kind != NODE_MAPPING && n->items[i]->kind != NODE_STRING)
			complain(c, n->items[i], "expected a document, not %s", node_kind_name(n->items[i]));
	}
	add_items(c, n, top);
}

/* One row a use: what n must be, and whether one reference will do. */
static const struct form_of_use {
	enum node_kind kind;
	bool expression, whole;
	const char *expected;
} uses[TEMPLATE_USES] = {
	[TEMPLATE_FILTER] = {NODE_MAPPING, false, false, "a mapping"},
	[TEMPLATE_FILTERS] = {NODE_SEQUENCE, false, false, "a sequence of filters"},
	[TEMPLATE_EXPRESSION] = {NODE_MAPPING, true, false, "a mapping"},
	[TEMPLATE_PIPELINE] = {NODE_SEQUENCE, true, false, "a sequence of stages"},
	[TEMPLATE_STORED] = {NODE_MAPPING, false, true, "a document, or one reference"},
	[TEMPLATE_STORED_LIST] = {NODE_SEQUENCE, false, true, "a list of documents, or one reference"},
	[TEMPLATE_PATCH] = {NODE_MAPPING, false, true, "a document, or one reference"},
	[TEMPLATE_UPDATE] = {NODE_MAPPING, false, false, "a mapping of operators"},
	[TEMPLATE_UPDATE_PIPELINE] = {NODE_SEQUENCE, true, false, "a sequence of stages"},
};

bool mongo_template_compile(struct mongo_template *out, const struct node *n, enum mongo_template_use use,
			    struct action_env *env)
{
	const struct form_of_use *form = &uses[use];
	struct compiler c = {.env = env, .arena = env->arena, .use = use};
	struct mongo_place top = {.expression = form->expression, .around = "", .top = ""};
	bool sequence = form->kind == NODE_SEQUENCE;

	c.pipeline = use == TEMPLATE_PIPELINE || use == TEMPLATE_UPDATE_PIPELINE;
	*out = (struct mongo_template){.patch = use == TEMPLATE_PATCH};
	if (form->whole && n->kind == NODE_STRING) {
		add_whole(&c, n, out, sequence ? BSON_TYPE_ARRAY : BSON_TYPE_DOCUMENT);
	} else if (n->kind != form->kind) {
		complain(&c, n, "expected %s, not %s", form->expected, node_kind_name(n));
	} else if (c.pipeline) {
		check_stages(&c, n);
		add_items(&c, n, &top);
	} else if (sequence) {
		add_documents(&c, n, &top);
	} else {
		if (use == TEMPLATE_UPDATE && n->count == 0)
			complain(&c, n, "expected an operator: { $set: … }");
		add_members(&c, n, &top);
	}
	out->parts = c.parts.items;
	out->count = c.parts.count;
	out->writes = c.writes;
	return !c.wrong;
}

/* --- filling --- */

static bool any_from_request(const struct template_part *p, const struct value *args)
{
	for (size_t i = 0; i < p->piece_count; i++) {
		if (!p->pieces[i].text && args[p->pieces[i].slot].from_request)
			return true;
	}
	return false;
}

static struct value joined_text(const struct template_part *p, const struct value *args, struct arena *scratch)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < p->piece_count; i++) {
		if (p->pieces[i].text)
			buf_append(&text, p->pieces[i].text, p->pieces[i].len);
		else
			value_text(&args[p->pieces[i].slot], &text);
	}
	struct value v = value_string(arena_strndup(scratch, text.data ? text.data : "", text.len), text.len);
	v.from_request = any_from_request(p, args);
	buf_done(&text);
	return v;
}

/* "{orders.since} is not a date." */
static int value_refused(const char *reference, bool from_request, const char *why, struct error *e)
{
	char text[160];

	snprintf(text, sizeof(text), "%.60s %.90s.", reference, why);
	return error_set(e, -EINVAL, from_request ? 400 : 500, from_request ? text : NULL, "the value of %s", text);
}

static int refused(const struct template_part *p, const struct value *args, const char *why, struct error *e)
{
	return value_refused(p->reference, any_from_request(p, args), why, e);
}

static int fill_value(const struct template_part *p, const struct value *args, struct mongo_out *out,
		      struct arena *scratch, struct error *e)
{
	struct mongo_converter c = {.out = out, .arena = scratch, .strict = !p->stored, .names = p->names};
	size_t bytes = out->bytes->len;
	unsigned depth = out->depth;
	bool whole = p->piece_count == 1 && !p->pieces[0].text;
	struct value v = whole ? args[p->pieces[0].slot] : joined_text(p, args, scratch);

	if (p->document && value_looks(&v) != VALUE_DOCUMENT)
		return refused(p, args, UNFIT_NOT_DOCUMENT, e);
	v.structured |= p->document;
	int r = mongo_convert(&c, p->key, p->key_len, &v, p->as, p->detail);

	bool parts = p->literal && (value_looks(&v) == VALUE_DOCUMENT || value_looks(&v) == VALUE_LIST);
	if (r == 0 && p->expression && (c.dollar || parts)) {
		/* Again, so that it is read as a value. */
		out->bytes->len = bytes;
		out->depth = depth;
		r = put_literally(&c, (struct key){p->key, p->key_len}, &v, p->as, p->detail);
	}
	return r < 0 ? refused(p, args, c.why ? c.why : UNFIT_DEEP, e) : 0;
}

/* The only part is a reference to all of it. */
static int fill_whole(const struct mongo_template *t, const struct value *args, struct arena *scratch,
		      struct buf *bytes, struct error *e)
{
	enum { HEAD = 2 }; /* the type and the empty name of an element */
	const struct template_part *p = t->parts;
	struct value v = args[p->pieces[0].slot];
	struct mongo_out out;
	struct mongo_converter c = {.out = &out, .arena = scratch, .names = p->names};
	bool list = t->whole == BSON_TYPE_ARRAY;
	size_t at = bytes->len;

	if (value_looks(&v) != (list ? VALUE_LIST : VALUE_DOCUMENT))
		return refused(p, args, list ? UNFIT_NOT_LIST : UNFIT_NOT_DOCUMENT, e);
	v.structured = true; /* nothing else is wanted here */
	mongo_out_init(&out, bytes);
	if (mongo_convert(&c, "", 0, &v, AS_IS, NULL) < 0)
		return refused(p, args, c.why ? c.why : UNFIT_DEEP, e);
	memmove(bytes->data + at, bytes->data + at + HEAD, bytes->len - at - HEAD);
	bytes->len -= HEAD;
	const uint8_t *document = (const uint8_t *)bytes->data + at;
	if (t->patch && mongo_element_find(document, bytes->len - at, "_id", 3).type)
		return refused(p, args, UNFIT_HAS_ID, e);
	return 0;
}

int mongo_template_fill(const struct mongo_template *t, const struct value *args, struct arena *scratch,
			struct buf *bytes, struct error *e)
{
	struct mongo_out out;

	if (t->whole)
		return fill_whole(t, args, scratch, bytes, e);
	mongo_out_init(&out, bytes);
	mongo_out_document(&out);
	for (size_t i = 0; i < t->count; i++) {
		const struct template_part *p = &t->parts[i];
		int r = 0;
		switch (p->kind) {
		case PART_BYTES:
			buf_append(bytes, p->bytes, p->len);
			break;
		case PART_BEGIN:
			mongo_out_begin(&out, p->type, p->key, p->key_len);
			break;
		case PART_END:
			mongo_out_end(&out);
			break;
		case PART_VALUE:
			r = fill_value(p, args, &out, scratch, e);
			break;
		}
		if (r < 0)
			return r;
	}
	mongo_out_end(&out);
	return 0;
}

/* --- numbers and names --- */

bool mongo_number_compile(struct mongo_number_template *out, const struct node *n, const char *name,
			  struct action_env *env)
{
	struct template t;

	*out = (struct mongo_number_template){.slot = -1};
	if (!n || n->kind == NODE_NULL)
		return true;
	out->present = true;
	if (n->kind == NODE_INT) {
		out->fixed = n->integer;
		return n->integer >= 0;
	}
	if (n->kind == NODE_STRING) {
		if (!template_parse(&t, env->arena, n, env->diagnostics))
			return false;
		if (template_is_reference(&t)) {
			out->slot = env->references->add(env->references, &t.pieces[0].reference);
			out->reference = t.pieces[0].reference.text;
			return out->slot >= 0;
		}
	}
	diagnostics_error(env->diagnostics, n->at, "%s: expected an integer or one reference, not %s", name,
			  node_kind_name(n));
	return false;
}

int mongo_number_fill(const struct mongo_number_template *t, const struct value *args, int64_t *out, struct error *e)
{
	const struct value *v = t->slot < 0 ? NULL : &args[t->slot];

	*out = -1;
	if (!t->present || (v && v->kind == VALUE_NULL))
		return 0;
	if (!v) {
		*out = t->fixed;
		return 0;
	}
	bool digits = (v->kind == VALUE_NUMBER || v->kind == VALUE_STRING) && json_is_number(v->text, v->len);
	if (v->kind == VALUE_INT)
		*out = v->integer;
	else if (!digits || !decimal_to_int64(v->text, v->len, out))
		*out = -1;
	if (*out >= 0)
		return 0;
	return value_refused(t->reference, v->from_request, UNFIT_NOT_COUNT, e);
}

const char *mongo_name_compile(const struct node *n, const char *what, struct action_env *env)
{
	struct template t;

	if (!n || n->kind != NODE_STRING || n->len == 0) {
		if (n)
			diagnostics_error(env->diagnostics, n->at, "expected %s", what);
		return NULL;
	}
	if (!template_parse(&t, env->arena, n, env->diagnostics))
		return NULL;
	if (!template_is_literal(&t)) {
		diagnostics_error(env->diagnostics, n->at, "%s is fixed: no reference may stand in it", what);
		return NULL;
	}
	if (memchr(n->text, 0, n->len)) {
		diagnostics_error(env->diagnostics, n->at, "%s can't hold a NUL character", what);
		return NULL;
	}
	size_t len;
	return template_text(&t, env->arena, &len);
}

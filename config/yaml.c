/* YAML text to a tree of nodes.
 *
 * DESIGN. libyaml gives events; an explicit stack of open collections turns them into nodes, so that depth is bounded
 * by a constant. All children of open collections lie on one stack and move to the arena when their collection ends.
 * An alias shares the node that it names; what it would expand to is counted in size and in depth all the same, since
 * whoever walks the tree walks the expansion. The text is looked through before libyaml sees it: libyaml knows no line
 * of a byte that is not UTF-8, and the table of lines tells where the text of a block scalar begins. */
#include "config/yaml.h"

#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/decimal.h"
#include "base/mem.h"
#include "config/scalar.h"
#include "config/variables.h"

#define MAX_ANCHORS 1000
#define CORE_TAG    "tag:yaml.org,2002:"

struct frame {
	struct node *node;
	size_t first;    /* index of its first child in builder.children; a mapping's keys and values alternate */
	unsigned height; /* of the highest child */
	size_t anchor;   /* index + 1 of its anchor; 0: none */
	bool flow;
};

struct anchor {
	const char *name;
	const struct node *node;
	bool open; /* its collection has not ended */
	unsigned height;
	size_t nodes; /* expanded size; while it is open, the builder's count when it began */
};

struct builder {
	yaml_parser_t parser;
	struct arena *arena;
	struct diagnostics *diagnostics;
	const char *file;
	const char *text;
	size_t len;
	size_t *lines; /* byte offsets where lines begin */
	size_t line_count, line_capacity;

	struct frame frames[NODE_MAX_DEPTH];
	unsigned depth;
	const struct node **children;
	size_t child_count, child_capacity;
	struct anchor anchors[MAX_ANCHORS];
	size_t anchor_count;
	size_t nodes; /* expanded, so far */
	size_t added; /* by aliases, of nodes */
	const struct node *root;
	bool failed; /* there is no tree to look at */
};

/* --- the text -------------------------------------------------------------------------------------------------- */

/* Bytes of the well-formed UTF-8 character at p, 0 if it is none; *c is its code point. */
static size_t character(const unsigned char *p, size_t left, uint32_t *c)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = *p < 0x80 ? 1 : *p >= 0xC2 && *p < 0xE0 ? 2 : (*p & 0xF0) == 0xE0 ? 3 : (*p & 0xF8) == 0xF0 ? 4 : 0;
	if (n == 0 || n > left)
		return 0;
	uint32_t code = n == 1 ? *p : *p & (0xFFu >> (n + 1));
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xC0) != 0x80)
			return 0;
		code = code << 6 | (p[i] & 0x3F);
	}
	if (code < least[n] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
		return 0;
	*c = code;
	return n;
}

/* May it stand in YAML? */
static bool allowed(uint32_t c)
{
	return c == '\t' || c == '\n' || c == '\r' || (c >= 0x20 && c <= 0x7E) || c == 0x85 ||
	       (c >= 0xA0 && c <= 0xFFFD && c != 0xFEFF) || c >= 0x10000;
}

/* A line break as libyaml counts them; CR LF counts at the LF. */
static bool ends_line(uint32_t c, const unsigned char *next, size_t left)
{
	return c == '\n' || (c == '\r' && (left == 0 || *next != '\n')) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

static void begin_line(struct builder *b, size_t offset)
{
	mem_reserve(b->lines, b->line_capacity, b->line_count + 1);
	b->lines[b->line_count++] = offset;
}

/* Is every character one that YAML allows? Fills the table of lines. */
static bool look_through(struct builder *b)
{
	const unsigned char *text = (const unsigned char *)b->text;
	unsigned column = 1;

	begin_line(b, 0);
	for (size_t i = 0; i < b->len;) {
		struct mark at = {b->file, (unsigned)b->line_count, column++};
		uint32_t c;
		size_t n = character(text + i, b->len - i, &c);
		if (n == 0) {
			diagnostics_error(b->diagnostics, at, "byte 0x%02x is not UTF-8 here", text[i]);
			return false;
		}
		if (!allowed(c)) {
			diagnostics_error(b->diagnostics, at, "the character U+%04X can't stand in YAML", c);
			return false;
		}
		i += n;
		if (ends_line(c, text + i, b->len - i)) {
			begin_line(b, i);
			column = 1;
		}
	}
	return true;
}

static struct mark mark_of(const struct builder *b, yaml_mark_t m)
{
	return (struct mark){b->file, (unsigned)m.line + 1, (unsigned)m.column + 1};
}

/* --- syntax errors --------------------------------------------------------------------------------------------- */

/* What libyaml says, and what a person would. */
static const struct {
	const char *problem, *plain;
} plain_words[] = {
	{"did not find expected ',' or '}'",
	 "expected \",\" or \"}\" (a text that begins with \"{\" must stand in quotes)"},
	{"did not find expected ',' or ']'",
	 "expected \",\" or \"]\" (a text that begins with \"[\" must stand in quotes)"},
	{"did not find expected key", "expected a key: check the indentation, and quote a text that begins with \"{\", "
				      "\"[\", a quote or \"*\""},
	{"did not find expected '-' indicator",
	 "expected \"-\": check the indentation, and quote a text that begins with \"{\" or \"[\""},
	{"mapping values are not allowed in this context",
	 "\": \" begins a mapping, which can't stand here: check the indentation, or quote a text that holds \": \""},
	{"could not find expected ':'", "expected \":\" behind a key"},
	{"found unexpected end of stream", "the file ends inside a quoted text"},
	{"found unexpected document indicator", "\"---\" or \"...\" stands inside a quoted text"},
	{"did not find expected <document start>", "expected one document: nothing may follow it"},
	{"found a tab character that violates indentation", "a tab can't indent: YAML indents with spaces"},
	{"found a tab character where an indentation space is expected",
	 "a tab can't indent: YAML indents with spaces"},
	{"block sequence entries are not allowed in this context",
	 "\"- \" can't begin a list here: check the indentation"},
	{"did not find expected node content",
	 "expected a value (a text that begins with \"[\" or \"{\" must stand in quotes)"},
	{"did not find expected alphabetic or numeric character",
	 "expected a name behind \"&\" or \"*\" (a text that begins with one must stand in quotes)"},
	{"found incompatible YAML document", "only YAML 1.1 and 1.2 are understood"},
};

static const char *plainly(const struct builder *b, const char *problem)
{
	for (size_t i = 0; i < ARRAY_SIZE(plain_words); i++) {
		if (strcmp(problem, plain_words[i].problem) == 0)
			return plain_words[i].plain;
	}
	if (strcmp(problem, "found character that cannot start any token") != 0)
		return problem;
	size_t line = b->parser.problem_mark.line;
	size_t at = line < b->line_count ? b->lines[line] + b->parser.problem_mark.column : b->len;
	if (at < b->len && b->text[at] == '\t')
		return "a tab can't indent: YAML indents with spaces";
	return "no text can begin with this character unless it stands in quotes";
}

static void report_syntax(struct builder *b)
{
	const yaml_parser_t *p = &b->parser;
	struct mark at = mark_of(b, p->problem_mark);

	b->failed = true;
	if (p->error == YAML_MEMORY_ERROR) {
		diagnostics_error(b->diagnostics, at, "out of memory");
		return;
	}
	const char *why = plainly(b, p->problem ? p->problem : "not YAML");
	if (p->context && p->context_mark.line != p->problem_mark.line)
		diagnostics_error(b->diagnostics, at, "%s (%s that begins on line %zu)", why, p->context,
				  p->context_mark.line + 1);
	else
		diagnostics_error(b->diagnostics, at, "%s", why);
}

/* --- the tree -------------------------------------------------------------------------------------------------- */

static bool key_expected(const struct builder *b)
{
	if (b->depth == 0)
		return false;
	const struct frame *f = &b->frames[b->depth - 1];
	return f->node->kind == NODE_MAPPING && (b->child_count - f->first) % 2 == 0;
}

static void refuse(struct builder *b, struct node *n, const char *why)
{
	diagnostics_error(b->diagnostics, n->at, "%s", why);
	n->refused = true;
}

/* An alias adds that many nodes. False past the bound: nothing is looked at any more then. What the text itself has is
 * bounded by its size. */
static bool count_added(struct builder *b, size_t nodes, struct mark at)
{
	b->nodes += nodes;
	b->added += nodes;
	if (b->added <= NODE_MAX_ADDED)
		return true;
	diagnostics_error(b->diagnostics, at, "too large: the aliases up to here add more than %d values",
			  NODE_MAX_ADDED);
	b->failed = true;
	return false;
}

/* n is complete: give it to the collection that is open. */
static void attach(struct builder *b, const struct node *n, unsigned height)
{
	if (b->depth == 0) {
		b->root = n;
		return;
	}
	struct frame *f = &b->frames[b->depth - 1];
	if (f->height < height)
		f->height = height;
	mem_reserve(b->children, b->child_capacity, b->child_count + 1);
	b->children[b->child_count++] = n;
}

static struct node *node_new(struct builder *b, enum node_kind kind, const yaml_event_t *e)
{
	struct node *n = arena_zalloc(b->arena, sizeof(*n));
	n->kind = kind;
	n->at = n->body_at = mark_of(b, e->start_mark);
	return n;
}

/* Returns the anchor's index + 1, or 0 if there is none. */
static size_t add_anchor(struct builder *b, const yaml_char_t *name, const struct node *n, bool open)
{
	if (!name || b->failed)
		return 0;
	if (b->anchor_count == MAX_ANCHORS) {
		diagnostics_error(b->diagnostics, n->at, "too many anchors: at most %d", MAX_ANCHORS);
		b->failed = true;
		return 0;
	}
	b->anchors[b->anchor_count++] = (struct anchor){.name = arena_strdup(b->arena, (const char *)name),
							.node = n,
							.open = open,
							.nodes = open ? b->nodes : 1};
	return b->anchor_count;
}

static void on_alias(struct builder *b, const yaml_event_t *e)
{
	const char *name = (const char *)e->data.alias.anchor;
	struct node *stand_in = node_new(b, NODE_NULL, e);
	const struct anchor *a = NULL;

	stand_in->text = "";
	for (size_t i = b->anchor_count; i > 0 && !a; i--) {
		if (strcmp(b->anchors[i - 1].name, name) == 0)
			a = &b->anchors[i - 1];
	}
	if (key_expected(b))
		refuse(b, stand_in, "an alias can't be a key");
	else if (!a)
		refuse(b, stand_in, arena_printf(b->arena, "there is no anchor &%s before this alias", name));
	else if (a->open)
		refuse(b, stand_in, arena_printf(b->arena, "*%s stands inside its own anchor", name));
	else if (b->depth + a->height >= NODE_MAX_DEPTH)
		refuse(b, stand_in,
		       arena_printf(b->arena, "too deep: more than %d levels, aliases expanded", NODE_MAX_DEPTH));
	if (stand_in->refused)
		attach(b, stand_in, 0);
	else if (count_added(b, a->nodes, stand_in->at))
		attach(b, a->node, a->height);
}

/* --- scalars --------------------------------------------------------------------------------------------------- */

static size_t spaces_at(const char *p, const char *end)
{
	const char *start = p;
	while (p < end && *p == ' ')
		p++;
	return (size_t)(p - start);
}

/* Spaces that the first line which has more than spaces begins with. */
static size_t indentation(const char *p, const char *end)
{
	while (p < end) {
		size_t n = spaces_at(p, end);
		if (p + n == end || (p[n] != '\n' && p[n] != '\r'))
			return n;
		p += n + 1;
	}
	return 0;
}

/* Where the text of n begins, and whether it stands in the file just as it is. */
static void place_text(struct builder *b, struct node *n, const yaml_event_t *e)
{
	yaml_scalar_style_t style = e->data.scalar.style;
	bool block = style == YAML_LITERAL_SCALAR_STYLE || style == YAML_FOLDED_SCALAR_STYLE;
	size_t quotes = style == YAML_PLAIN_SCALAR_STYLE ? 0 : 1;

	if (block && e->start_mark.line + 1 < b->line_count) {
		const char *body = b->text + b->lines[e->start_mark.line + 1];
		size_t in_file = indentation(body, b->text + b->len), in_text = indentation(n->text, n->text + n->len);
		n->body_at.line = (unsigned)e->start_mark.line + 2;
		n->body_at.column = (unsigned)(in_file > in_text ? in_file - in_text : 0) + 1;
		n->verbatim = style == YAML_LITERAL_SCALAR_STYLE;
	} else if (!block) {
		size_t characters = 0;
		for (size_t i = 0; i < n->len; i++)
			characters += ((unsigned char)n->text[i] & 0xC0) != 0x80;
		n->body_at.column += (unsigned)quotes;
		n->verbatim = e->start_mark.line == e->end_mark.line &&
			      e->end_mark.index - e->start_mark.index == characters + 2 * quotes;
	}
}

/* The kind that a core tag asks for. False if the tag is none of them. */
static bool core_kind(const char *tag, enum node_kind *kind)
{
	static const struct {
		const char *name;
		enum node_kind kind;
	} kinds[] = {
		{"str", NODE_STRING}, {"int", NODE_INT},      {"float", NODE_FLOAT}, {"bool", NODE_BOOL},
		{"null", NODE_NULL},  {"seq", NODE_SEQUENCE}, {"map", NODE_MAPPING},
	};
	if (strncmp(tag, CORE_TAG, strlen(CORE_TAG)) != 0)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(tag + strlen(CORE_TAG), kinds[i].name) == 0) {
			*kind = kinds[i].kind;
			return true;
		}
	}
	return false;
}

static void refuse_tag(struct builder *b, struct node *n, const char *tag)
{
	enum node_kind kind;
	bool core = strncmp(tag, CORE_TAG, strlen(CORE_TAG)) == 0;
	const char *shown = arena_printf(b->arena, "%s%.40s", core ? "!!" : "", core ? tag + strlen(CORE_TAG) : tag);

	refuse(b, n,
	       core_kind(tag, &kind) ? arena_printf(b->arena, "the tag %s does not fit %s", shown,
						    node_is_scalar(n) ? node_shown(n, b->arena) : node_kind_name(n))
				     : arena_printf(b->arena, "the tag %s is not supported", shown));
}

/* Type n by what its text says, or by its tag. */
static void resolve(struct builder *b, struct node *n, const char *tag)
{
	enum node_kind wanted = NODE_STRING, kind = scalar_kind(n->text, n->len);

	if (tag && strcmp(tag, "!") != 0) {
		bool known = core_kind(tag, &wanted);
		if (known && wanted == NODE_FLOAT && kind == NODE_INT)
			kind = NODE_FLOAT;
		if (!known || (wanted != NODE_STRING && wanted != kind)) {
			refuse_tag(b, n, tag);
			return;
		}
		scalar_resolve_as(n, wanted, b->arena);
	} else if (!tag && n->plain) {
		scalar_resolve_as(n, kind, b->arena);
		if (kind == NODE_STRING && !n->variable && scalar_is_infinite(n->text))
			refuse(b, n, "infinities and .nan are no JSON numbers (quote it for a text)");
	}
}

static void on_scalar(struct builder *b, const yaml_event_t *e)
{
	bool key = key_expected(b);
	struct node *n = node_new(b, NODE_STRING, e);
	const char *tag = (const char *)e->data.scalar.tag;

	b->nodes++;
	n->len = e->data.scalar.length;
	n->text = arena_strndup(b->arena, (const char *)e->data.scalar.value, n->len);
	n->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	place_text(b, n, e);
	if (memchr(n->text, '\0', n->len)) {
		refuse(b, n, "a text can't hold a NUL character");
	} else if (key) {
		if (tag && strcmp(tag, "!") != 0 && strcmp(tag, CORE_TAG "str") != 0)
			refuse_tag(b, n, tag);
	} else {
		const char *given = n->text;
		if (!variables_expand(n, b->arena, b->diagnostics))
			n->refused = true;
		else
			resolve(b, n, tag);
		n->verbatim = n->verbatim && n->text == given;
	}
	add_anchor(b, e->data.scalar.anchor, n, false);
	attach(b, n, 0);
}

/* --- collections ----------------------------------------------------------------------------------------------- */

static void on_start(struct builder *b, const yaml_event_t *e, bool mapping)
{
	const yaml_char_t *tag = mapping ? e->data.mapping_start.tag : e->data.sequence_start.tag;
	const yaml_char_t *anchor = mapping ? e->data.mapping_start.anchor : e->data.sequence_start.anchor;
	bool flow = mapping ? e->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE
			    : e->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE;
	enum node_kind kind = mapping ? NODE_MAPPING : NODE_SEQUENCE, wanted;
	struct node *n = node_new(b, kind, e);

	if (key_expected(b))
		refuse(b, n,
		       flow ? "a key must be a text (one that begins with \"{\" or \"[\" must stand in quotes)"
			    : "a key must be a text");
	if (tag && strcmp((const char *)tag, "!") != 0 && (!core_kind((const char *)tag, &wanted) || wanted != kind))
		refuse_tag(b, n, (const char *)tag);
	if (b->depth == NODE_MAX_DEPTH) {
		diagnostics_error(b->diagnostics, n->at, "too deep: more than %d levels", NODE_MAX_DEPTH);
		b->failed = true;
		return;
	}
	size_t anchor_index = add_anchor(b, anchor, n, true);
	b->nodes++;
	b->frames[b->depth++] = (struct frame){
		.node = n, .first = b->child_count, .anchor = anchor_index, .flow = flow};
}

/* `{id}` without quotes: one key of a flow mapping with nothing behind it. */
static bool looks_like_reference(const struct frame *f, const struct node *const *children, size_t count)
{
	return f->flow && count == 2 && node_is_scalar(children[0]) && children[1]->kind == NODE_NULL &&
	       children[1]->len == 0 && !children[1]->refused;
}

struct members {
	struct builder *builder;
	size_t own; /* so many of them stand in the mapping itself; those behind came by << and give way */
};

static void on_twice(void *arg, const struct node *key, size_t index, const struct node *first)
{
	const struct members *m = arg;
	if (index < m->own)
		diagnostics_error(m->builder->diagnostics, key->at, "%s is given twice; first on line %u, column %u",
				  node_shown(key, m->builder->arena), first->at.line, first->at.column);
}

/* --- the merge key << ------------------------------------------------------------------------------------------ */

static bool is_merge_key(const struct node *key)
{
	return key->plain && strcmp(key->text, "<<") == 0;
}

/* What a merge brings: the members of a mapping, or of each mapping in a list. NULL: the value is neither (reported).
 */
static const struct node *const *merged_of(struct builder *b, const struct node *const *value, size_t *count)
{
	bool list = (*value)->kind == NODE_SEQUENCE;
	const struct node *const *mappings = list ? (*value)->items : value;

	*count = list ? (*value)->count : 1;
	for (size_t i = 0; i < *count; i++) {
		if (mappings[i]->kind == NODE_MAPPING)
			continue;
		if (!mappings[i]->refused)
			diagnostics_error(b->diagnostics, mappings[i]->at,
					  "<<: expected a mapping or a list of mappings, found %s",
					  node_shown(mappings[i], b->arena));
		*count = 0;
	}
	return mappings;
}

/* The value of the mapping's <<, or NULL. */
static const struct node *const *find_merge(struct builder *b, const struct node *const *children, size_t count)
{
	const struct node *const *found = NULL;

	for (size_t i = 0; i + 1 < count; i += 2) {
		if (!node_is_scalar(children[i]) || children[i]->refused || !is_merge_key(children[i]))
			continue;
		if (found)
			diagnostics_error(b->diagnostics, children[i]->at,
					  "<< is given twice: several mappings are a list: <<: [*a, *b]");
		else
			found = &children[i + 1];
	}
	return found;
}

/* The aliases counted what they bring when they were met. */
static void end_mapping(struct builder *b, const struct frame *f, const struct node *const *children, size_t count)
{
	const struct node *const *merge = find_merge(b, children, count), *const *mappings = NULL;
	size_t mapping_count = 0, size = count / 2, kept = 0;

	if (looks_like_reference(f, children, count)) {
		refuse(b, f->node,
		       arena_printf(b->arena, "quote it: \"{%.60s}\" (without quotes YAML reads it as a mapping)",
				    children[0]->text));
	}
	if (merge)
		mappings = merged_of(b, merge, &mapping_count);
	for (size_t i = 0; i < mapping_count; i++)
		size += mappings[i]->count;
	struct node_member *members = arena_array(b->arena, size, sizeof(*members));
	for (size_t i = 0; i + 1 < count; i += 2) {
		if (node_is_scalar(children[i]) && !children[i]->refused && !is_merge_key(children[i]))
			members[kept++] = (struct node_member){children[i], children[i + 1]};
	}
	struct members m = {b, .own = kept};
	for (size_t i = 0; i < mapping_count; i++) {
		for (size_t j = 0; j < mappings[i]->count; j++)
			members[kept++] = mappings[i]->members[j];
	}
	f->node->count = node_members_unique(members, kept, on_twice, &m);
	f->node->members = members;
}

static void on_end(struct builder *b)
{
	const struct frame *f = &b->frames[--b->depth];
	size_t count = b->child_count - f->first;
	const struct node *const *children = b->children + f->first;

	if (f->node->kind == NODE_MAPPING) {
		end_mapping(b, f, children, count);
	} else {
		const struct node **items = arena_array(b->arena, count, sizeof(*items));
		if (count)
			memcpy(items, children, count * sizeof(*items));
		f->node->items = items;
		f->node->count = count;
	}
	b->child_count = f->first;
	if (f->anchor) {
		struct anchor *a = &b->anchors[f->anchor - 1];
		a->open = false;
		a->height = f->height + 1;
		a->nodes = b->nodes - a->nodes;
	}
	attach(b, f->node, f->height + 1);
}

/* --- events ---------------------------------------------------------------------------------------------------- */

static void on_event(struct builder *b, const yaml_event_t *e, unsigned *documents)
{
	switch (e->type) {
	case YAML_DOCUMENT_START_EVENT:
		if ((*documents)++ > 0) {
			diagnostics_error(b->diagnostics, mark_of(b, e->start_mark),
					  "a second document begins here: a configuration is one document");
			b->failed = true;
		}
		break;
	case YAML_SCALAR_EVENT:
		on_scalar(b, e);
		break;
	case YAML_ALIAS_EVENT:
		on_alias(b, e);
		break;
	case YAML_SEQUENCE_START_EVENT:
	case YAML_MAPPING_START_EVENT:
		on_start(b, e, e->type == YAML_MAPPING_START_EVENT);
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		on_end(b);
		break;
	default:
		break;
	}
}

static void build(struct builder *b)
{
	unsigned documents = 0;
	bool ended = false;

	while (!b->failed && !ended) {
		yaml_event_t event;
		if (!yaml_parser_parse(&b->parser, &event)) {
			report_syntax(b);
			return;
		}
		on_event(b, &event, &documents);
		ended = event.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&event);
	}
}

static const struct node *absent(struct arena *a, struct mark at)
{
	struct node *n = arena_zalloc(a, sizeof(*n));
	*n = (struct node){.kind = NODE_NULL, .at = at, .body_at = at, .plain = true, .text = ""};
	return n;
}

const struct node *yaml_parse(struct arena *a, const char *name, const char *text, size_t len, struct diagnostics *d)
{
	struct mark start = {name, 1, 1};
	const struct node *root = NULL;

	if (len > YAML_MAX_SIZE) {
		diagnostics_error(d, start, "the file is larger than %u MiB", YAML_MAX_SIZE >> 20);
		return NULL;
	}
	if (len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
		text += 3;
		len -= 3;
	}
	struct builder *b = mem_zalloc(sizeof(*b));
	*b = (struct builder){.arena = a, .diagnostics = d, .file = name, .text = text, .len = len};
	if (!yaml_parser_initialize(&b->parser)) {
		diagnostics_error(d, start, "out of memory");
		goto free_builder;
	}
	if (!look_through(b))
		goto delete_parser;
	yaml_parser_set_encoding(&b->parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b->parser, (const unsigned char *)text, len);
	build(b);
	if (!b->failed)
		root = b->root ? b->root : absent(a, start);
delete_parser:
	yaml_parser_delete(&b->parser);
free_builder:
	free(b->children);
	free(b->lines);
	free(b);
	return root;
}

/* From a tree to objects, by the tables: one decoder for every mapping of the language. A mistake ends nothing: the key
 * keeps its zeroed place and the rest is looked at. */
#include "config/language.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "config/scalar.h"

const char *decode_shown(struct decoder *dc, const struct node *n)
{
	return node_shown(n, &dc->diagnostics->arena);
}

void decode_unexpected(struct decoder *dc, const char *name, const struct node *n, const char *expected)
{
	if (!n->refused)
		diagnostics_error(dc->diagnostics, n->at, "%.100s: expected %s, found %s", name, expected,
				  decode_shown(dc, n));
}

bool decode_is_mapping(struct decoder *dc, const char *name, const struct node *n)
{
	if (n->kind == NODE_MAPPING && !n->refused)
		return true;
	decode_unexpected(dc, name, n, "a mapping");
	return false;
}

bool decode_is_text(struct decoder *dc, const char *name, const struct node *n)
{
	if (node_is_text(n) && n->len > 0 && !n->refused)
		return true;
	decode_unexpected(dc, name, n, "a text");
	return false;
}

void decode_report(struct decoder *dc, const struct node *mapping, const char *key, const char *why)
{
	for (size_t i = 0; i < mapping->count; i++) {
		if (strcmp(mapping->members[i].key->text, key) == 0)
			decode_error(dc, mapping->members[i].key->at, "%s: %s", key, why);
	}
}

const char *decode_path(struct decoder *dc, struct mark at, const char *path)
{
	const char *slash = strrchr(at.file, '/');
	if (*path == '/' || !slash)
		return path;
	return arena_printf(dc->arena, "%.*s/%s", (int)(slash - at.file), at.file, path);
}

int decode_word(const char *text, const char *const *words)
{
	for (int i = 0; words && words[i]; i++) {
		if (strcmp(text, words[i]) == 0)
			return i;
	}
	return -1;
}

bool is_name(const char *s)
{
	if (!isalpha((unsigned char)*s) && *s != '_')
		return false;
	size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
	return n <= NAME_MAX_LENGTH && s[n] == '\0';
}

bool is_reserved_name(const char *s)
{
	static const char *const reserved[] = {"request", "headers", "body", "claims", NULL};
	return decode_word(s, reserved) >= 0;
}

/* --- names ----------------------------------------------------------------------------------------------------- */

static void join(struct buf *out, const char *const *names, size_t count, const char *last)
{
	for (size_t i = 0; i < count; i++)
		buf_printf(out, "%s%s", i == 0 ? "" : i + 1 == count ? last : ", ", names[i]);
}

void decode_unknown(struct decoder *dc, struct mark at, const char *what, const char *name, const char *const *names,
		    size_t count)
{
	const char *nearest = nearest_name(name, names, count);
	struct buf hint = BUF_INIT;

	if (nearest) {
		buf_printf(&hint, ": did you mean \"%s\"?", nearest);
	} else if (count > 0 && count <= 12) {
		buf_lit(&hint, ": expected ");
		join(&hint, names, count, " or ");
	}
	diagnostics_error(dc->diagnostics, at, "unknown %s \"%.100s\"%s", what, name, buf_cstr(&hint));
	buf_done(&hint);
}

static void unknown_key(struct decoder *dc, const struct section *s, const struct node *key)
{
	const char *names[64];
	size_t count = 0;
	const struct key *k;
	for (size_t i = 0; (k = section_key(s, i)) && count < ARRAY_SIZE(names); i++) {
		if (k->type != KEY_LATER)
			names[count++] = k->name;
	}
	decode_unknown(dc, key->at, arena_printf(&dc->diagnostics->arena, "key of %s", s->what), key->text, names,
		       count);
}

/* --- values ---------------------------------------------------------------------------------------------------- */

/* Store an integer of the key's width. */
static void store(const struct key *k, void *object, int64_t n)
{
	char *place = (char *)object + k->offset;
	if (k->width == sizeof(bool)) {
		bool b = n != 0;
		memcpy(place, &b, sizeof(b));
	} else if (k->width == sizeof(uint32_t)) {
		uint32_t narrow = (uint32_t)n;
		memcpy(place, &narrow, sizeof(narrow));
	} else if (k->width == sizeof(int64_t)) {
		memcpy(place, &n, sizeof(n));
	}
}

static void store_pointer(const struct key *k, void *object, const void *p)
{
	if (k->width == sizeof(p))
		memcpy((char *)object + k->offset, &p, sizeof(p));
}

static void decode_bool(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	if (n->kind == NODE_BOOL)
		store(k, object, n->boolean);
	else
		decode_unexpected(dc, k->name, n, "true or false");
}

static void decode_integer(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	char expected[80];
	if (n->kind == NODE_INT && n->integer >= k->minimum && n->integer <= k->maximum) {
		store(k, object, n->integer);
		return;
	}
	if (k->maximum == INT64_MAX)
		snprintf(expected, sizeof(expected), "an integer, %" PRId64 " or more", k->minimum);
	else
		snprintf(expected, sizeof(expected), "an integer from %" PRId64 " to %" PRId64, k->minimum, k->maximum);
	decode_unexpected(dc, k->name, n, expected);
}

static void decode_number(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	if (n->kind == NODE_INT || n->kind == NODE_FLOAT)
		store_pointer(k, object, n->number);
	else
		decode_unexpected(dc, k->name, n, "a number");
}

/* 5000000 as "5s": the largest unit that leaves no rest. */
static const char *with_unit(struct decoder *dc, int64_t n, bool size)
{
	static const struct {
		int64_t factor;
		const char *unit;
	} sizes[] = {{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}, {1, "B"}},
	  durations[] = {{3600000000, "h"}, {60000000, "m"}, {1000000, "s"}, {1000, "ms"}};
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		int64_t factor = size ? sizes[i].factor : durations[i].factor;
		if (n > 0 && n % factor == 0)
			return arena_printf(&dc->diagnostics->arena, "%" PRId64 "%s", n / factor,
					    size ? sizes[i].unit : durations[i].unit);
	}
	return "0";
}

static void decode_measure(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	bool size = k->type == KEY_SIZE;
	int64_t amount = 0;
	bool measure = (n->kind == NODE_STRING || n->kind == NODE_INT) &&
		       (size ? scalar_size(n->text, &amount) : scalar_duration(n->text, &amount));
	if (measure && amount >= k->minimum && amount <= k->maximum) {
		store(k, object, amount);
		return;
	}
	if (!measure)
		decode_unexpected(dc, k->name, n,
				  size ? "a size such as 512KiB (a number with B, KiB, MiB or GiB)"
				       : "a duration such as 10s (a number with ms, s, m or h)");
	else
		decode_unexpected(dc, k->name, n,
				  arena_printf(&dc->diagnostics->arena, "a %s from %s to %s",
					       size ? "size" : "duration", with_unit(dc, k->minimum, size),
					       with_unit(dc, k->maximum, size)));
}

static void decode_string(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	if (decode_is_text(dc, k->name, n))
		store_pointer(k, object, n->text);
}

static void decode_enum(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	int word = n->kind == NODE_STRING ? decode_word(n->text, k->words) : -1;
	if (word >= 0) {
		store(k, object, word + k->minimum);
		return;
	}
	size_t count = 0;
	while (k->words[count])
		count++;
	const char *nearest = n->kind == NODE_STRING && !n->expanded ? nearest_name(n->text, k->words, count) : NULL;
	struct buf expected = BUF_INIT;
	join(&expected, k->words, count, " or ");
	if (nearest)
		diagnostics_error(dc->diagnostics, n->at, "%s: unknown value %s: did you mean \"%s\"?", k->name,
				  decode_shown(dc, n), nearest);
	else
		decode_unexpected(dc, k->name, n, buf_cstr(&expected));
	buf_done(&expected);
}

static void decode_node(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	static const enum node_kind order[] = {NODE_STRING, NODE_INT, NODE_MAPPING, NODE_SEQUENCE, NODE_BOOL};
	if (k->kinds == 0 || (k->kinds & BIT(n->kind))) {
		store_pointer(k, object, n);
		return;
	}
	const char *names[ARRAY_SIZE(order)];
	size_t count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		if (k->kinds & BIT(order[i]))
			names[count++] = node_kind_name(&(struct node){.kind = order[i]});
	}
	struct buf expected = BUF_INIT;
	join(&expected, names, count, " or ");
	decode_unexpected(dc, k->name, n, buf_cstr(&expected));
	buf_done(&expected);
}

/* The object that a row lands in: a source and a step begin with a pointer to what is only their kind's. */
static void *object_of(const struct key *k, void *object)
{
	return k->own ? *(void **)object : object;
}

static void decode_subsection(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	decode_section(dc, k->section, k->name, n, (char *)object + k->offset);
}

static void decode_custom(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	k->decode(dc, k, n, object);
}

static decode_fn *const decoders[KEY_LATER] = {
	[KEY_BOOL] = decode_bool,     [KEY_INTEGER] = decode_integer,  [KEY_NUMBER] = decode_number,
	[KEY_SIZE] = decode_measure,  [KEY_DURATION] = decode_measure, [KEY_STRING] = decode_string,
	[KEY_ENUM] = decode_enum,     [KEY_NODE] = decode_node,        [KEY_SECTION] = decode_subsection,
	[KEY_CUSTOM] = decode_custom,
};

/* A variable in quotes or without: what counts is what the key takes. */
static const struct node *variable_as_wanted(struct decoder *dc, const struct key *k, const struct node *n)
{
	if (!n->variable)
		return n;
	const struct node *unquoted = node_unquoted(n, dc->arena);
	if (k->type == KEY_BOOL || k->type == KEY_INTEGER || k->type == KEY_NUMBER)
		return unquoted;
	if (k->type != KEY_NODE || k->kinds == 0)
		return n;
	return k->kinds & BIT(unquoted->kind) ? unquoted : node_quoted(n, dc->arena);
}

void decode_value(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	decoders[k->type](dc, k, variable_as_wanted(dc, k, n), object_of(k, object));
}

void decode_as(struct decoder *dc, const struct section *s, const char *row, const char *name, const struct node *n,
	       void *object)
{
	struct key k = *section_find(s, row);
	k.name = name;
	decode_value(dc, &k, n, object);
}

/* --- sections -------------------------------------------------------------------------------------------------- */

/* An absent key: what it means. */
static void decode_absent(struct decoder *dc, const struct key *k, struct mark at, void *object)
{
	if (k->type == KEY_SECTION)
		decode_defaults(dc, k->section, at, (char *)object_of(k, object) + k->offset);
	if (!k->initial)
		return;
	size_t len = strlen(k->initial);
	struct node *n = arena_zalloc(dc->arena, sizeof(*n));
	*n = (struct node){.at = at, .body_at = at, .plain = true, .text = k->initial, .len = len};
	scalar_resolve(n, dc->arena);
	decode_value(dc, k, n, object);
}

void decode_defaults(struct decoder *dc, const struct section *s, struct mark at, void *object)
{
	const struct key *k;
	for (size_t i = 0; (k = section_key(s, i)); i++)
		decode_absent(dc, k, at, object);
	if (s->check)
		s->check(dc, &(struct node){.kind = NODE_MAPPING, .at = at, .body_at = at}, object);
}

const struct key *section_find(const struct section *s, const char *name)
{
	const struct key *k;
	for (size_t i = 0; (k = section_key(s, i)); i++) {
		if (strcmp(k->name, name) == 0)
			break;
	}
	return k;
}

static void refuse_keys(struct decoder *dc, const struct section *s, const struct node *n, void *object)
{
	for (size_t i = 0; i < n->count; i++) {
		const struct node *key = n->members[i].key;
		const struct key *k = section_find(s, key->text);
		if (!k && (!s->stranger || !s->stranger(dc, key, object)))
			unknown_key(dc, s, key);
		else if (k && k->type == KEY_LATER)
			diagnostics_error(dc->diagnostics, key->at, "%s: not supported by this build", k->name);
	}
}

void decode_section(struct decoder *dc, const struct section *s, const char *name, const struct node *n, void *object)
{
	if (!decode_is_mapping(dc, name, n)) {
		decode_defaults(dc, s, n->at, object);
		return;
	}
	refuse_keys(dc, s, n, object);
	/* In the order of the table, whatever the order in the file: rows may rely on those above them. */
	const struct key *k;
	for (size_t i = 0; (k = section_key(s, i)); i++) {
		const struct node *value = node_member(n, k->name);
		if (k->type == KEY_LATER)
			continue;
		bool given = value && !value->refused;
		if (!given || k->type != KEY_SECTION)
			decode_absent(dc, k, n->at, object); /* also what stays where the value is wrong */
		if (given)
			decode_value(dc, k, value, object);
		if (!value && k->required)
			diagnostics_error(dc->diagnostics, n->at, "%s: \"%s\" is missing", name, k->name);
	}
	if (s->check)
		s->check(dc, n, object);
}

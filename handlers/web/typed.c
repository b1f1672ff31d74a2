/* Texts as JSON, JSON as values, by what is declared of them. */
#include "handlers/web/typed.h"

#include <string.h>

#include "base/decimal.h"

const struct config_schema typed_any_text = {.type = TYPE_STRING};

const struct config_schema *typed_schema(const struct config_schema *s)
{
	while (s->type == TYPE_ANY && !s->types && s->ref)
		s = s->ref;
	return s;
}

static bool same(struct span a, const char *b)
{
	return strlen(b) == a.len && memcmp(a.base, b, a.len) == 0;
}

struct json *typed_text(struct arena *a, struct span text, const struct config_schema *s)
{
	struct json *j = arena_zalloc(a, sizeof(*j));
	unsigned types = s->types ? s->types : BIT(s->type);

	*j = (struct json){.kind = JSON_STRING, .text = text.base, .len = (uint32_t)text.len};
	if ((types & (BIT(TYPE_INTEGER) | BIT(TYPE_NUMBER))) && json_is_number(text.base, text.len)) {
		j->kind = JSON_NUMBER;
	} else if ((types & BIT(TYPE_BOOLEAN)) && (same(text, "true") || same(text, "false"))) {
		j->kind = JSON_BOOL;
		j->boolean = text.len == 4;
	}
	return j;
}

static bool is_structured(const struct config_schema *s)
{
	return s->type == TYPE_ARRAY || s->type == TYPE_OBJECT;
}

struct value typed_scalar(const struct config_schema *s, const struct json *j)
{
	struct value v = value_from_json(j);
	int64_t n;

	if (s->type == TYPE_INTEGER && v.kind == VALUE_NUMBER && decimal_to_int64(v.text, v.len, &n))
		v = value_int(n);
	if (v.kind == VALUE_STRING)
		v.subtype = (uint8_t)s->format;
	v.from_request = true;
	v.structured = is_structured(s) || (j->kind >= JSON_ARRAY && j->declared);
	v.undeclared &= !v.structured;
	return v;
}

/* Can every item be a value of its own? Those of text always are. */
static bool is_list(const struct config_schema *s, const struct json *j)
{
	if (j->kind != JSON_ARRAY)
		return false;
	if (s->items && s->items->type <= TYPE_BOOLEAN)
		return true;
	return !j->raw && (!j->child || j->child->kind < JSON_ARRAY);
}

struct value typed_value(struct arena *a, const struct config_schema *s, const struct json *j)
{
	if (!is_list(s, j))
		return typed_scalar(s, j);

	struct value *items = arena_array(a, j->count, sizeof(*items));
	size_t n = 0;
	for (const struct json *item = j->child; item; item = item->next)
		items[n++] = typed_scalar(s->items ? s->items : &typed_any_text, item);
	return (struct value){
		.kind = VALUE_LIST, .list = items, .count = j->count, .from_request = true, .structured = true};
}

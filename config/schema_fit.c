/* Does a tree fit a schema? For `enum`, `const` and `default`, so that a request never meets a schema that contradicts
 * itself. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/decimal.h"
#include "base/format.h"
#include "base/utf8.h"
#include "config/language.h"

#define MATCH_LIMIT 100000

static bool is_number(const struct node *n)
{
	return n->kind == NODE_INT || n->kind == NODE_FLOAT;
}

static bool fits_type(const struct node *n, enum parameter_type type);

static bool fits_one_of(const struct node *n, unsigned types)
{
	bool fits = false;
	for (unsigned type = 0; type < TYPE_ANY; type++)
		fits = fits || ((types & BIT(type)) && fits_type(n, (enum parameter_type)type));
	return fits;
}

static bool fits_type(const struct node *n, enum parameter_type type)
{
	switch (type) {
	case TYPE_STRING:
		return n->kind == NODE_STRING;
	case TYPE_INTEGER:
		return is_number(n) && decimal_is_integer(n->number, strlen(n->number));
	case TYPE_NUMBER:
		return is_number(n);
	case TYPE_BOOLEAN:
		return n->kind == NODE_BOOL;
	case TYPE_ARRAY:
		return n->kind == NODE_SEQUENCE;
	case TYPE_OBJECT:
		return n->kind == NODE_MAPPING;
	case TYPE_ANY:
		break;
	}
	return true;
}

static bool matches(const struct config_schema *s, const struct node *n)
{
	const pcre2_code *code = s->pattern_compiled;
	if (!code)
		return true;
	pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
	pcre2_match_context *limits = pcre2_match_context_create(NULL);
	bool matched = false;
	if (data && limits) {
		pcre2_set_match_limit(limits, MATCH_LIMIT);
		matched = pcre2_match(code, (PCRE2_SPTR)n->text, n->len, 0, 0, data, limits) > 0;
	}
	pcre2_match_context_free(limits);
	pcre2_match_data_free(data);
	return matched;
}

/* Equal as JSON Schema means it: 3 and 3.0 are. */
static bool equals(const struct value *v, const struct node *n)
{
	struct buf a = BUF_INIT, b = BUF_INIT;

	value_render(v, &a);
	node_render(n, &b);
	bool equal = is_number(n) && (v->kind == VALUE_INT || v->kind == VALUE_NUMBER)
			     ? decimal_compare(a.data, a.len, b.data, b.len) == 0
			     : a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
	buf_done(&a);
	buf_done(&b);
	return equal;
}

static bool in_enumeration(const struct config_schema *s, const struct node *n)
{
	bool found = s->enumeration_count == 0;
	for (size_t i = 0; i < s->enumeration_count && !found; i++)
		found = equals(&s->enumeration[i], n);
	return found;
}

static const char *const not_of_type[] = {
	[TYPE_STRING] = "it is no string",
	[TYPE_INTEGER] = "it is no integer",
	[TYPE_NUMBER] = "it is no number",
	[TYPE_BOOLEAN] = "it is no boolean",
	[TYPE_ARRAY] = "it is no array",
	[TYPE_OBJECT] = "it is no object",
	[TYPE_ANY] = NULL,
};

static const char *misfit_within(const struct config_schema *s, const struct node *n, const struct node **where)
{
	const char *why = NULL;
	if (n->kind == NODE_SEQUENCE) {
		for (size_t i = s->prefix_items.count; s->items && i < n->count && !why; i++)
			why = schema_misfit(s->items, n->items[i], where);
		for (size_t i = 0; i < s->prefix_items.count && i < n->count && !why; i++)
			why = schema_misfit(s->prefix_items.items[i], n->items[i], where);
		return why;
	}
	for (size_t i = 0; i < s->property_count && !why; i++) {
		const struct config_parameter *p = &s->properties[i];
		const struct node *member = node_member(n, p->name);
		if (member) {
			why = schema_misfit(&p->schema, member, where);
		} else if (p->required) {
			*where = n;
			why = "a member that is required is missing";
		}
	}
	for (size_t i = 0; !s->additional && s->pattern_count == 0 && i < n->count && !why; i++) {
		bool declared = false;
		for (size_t j = 0; j < s->property_count && !declared; j++)
			declared = strcmp(s->properties[j].name, n->members[i].key->text) == 0;
		if (!declared) {
			*where = n->members[i].key;
			why = "it is not in \"properties\"";
		}
	}
	return why;
}

static int compare(const struct node *n, const char *bound)
{
	return decimal_compare(n->number, strlen(n->number), bound, strlen(bound));
}

static const char *misfit_number(const struct config_schema *s, const struct node *n)
{
	if (s->has_minimum && compare(n, s->minimum) < 0)
		return "it is below \"minimum\"";
	if (s->has_maximum && compare(n, s->maximum) > 0)
		return "it is above \"maximum\"";
	if (s->exclusive_minimum && compare(n, s->exclusive_minimum) <= 0)
		return "it is not above \"exclusiveMinimum\"";
	if (s->exclusive_maximum && compare(n, s->exclusive_maximum) >= 0)
		return "it is not below \"exclusiveMaximum\"";
	if (s->multiple_of &&
	    !decimal_is_multiple(n->number, strlen(n->number), s->multiple_of, strlen(s->multiple_of)))
		return "it is not a multiple of \"multipleOf\"";
	return NULL;
}

static const char *misfit_size(const struct config_schema *s, const struct node *n)
{
	size_t length = n->kind == NODE_STRING ? utf8_length(n->text, n->len) : n->count;

	if (n->kind == NODE_STRING) {
		if (s->has_min_length && length < s->min_length)
			return "it is shorter than \"minLength\"";
		if (s->has_max_length && length > s->max_length)
			return "it is longer than \"maxLength\"";
	} else if (n->kind == NODE_SEQUENCE) {
		if (s->has_min_items && length < s->min_items)
			return "it has less than \"minItems\"";
		if (s->has_max_items && length > s->max_items)
			return "it has more than \"maxItems\"";
	} else if (n->kind == NODE_MAPPING) {
		if (s->has_min_properties && length < s->min_properties)
			return "it has less than \"minProperties\"";
		if (s->has_max_properties && length > s->max_properties)
			return "it has more than \"maxProperties\"";
	}
	return NULL;
}

const char *schema_misfit(const struct config_schema *s, const struct node *n, const struct node **where)
{
	const char *why;

	*where = n;
	if (s->never)
		return "nothing fits";
	if (n->kind == NODE_NULL)
		return s->nullable || (s->type == TYPE_ANY && !s->types) ? NULL : "null is not allowed";
	if (s->types && !fits_one_of(n, s->types))
		return "it is of no \"type\" that is listed";
	if (!fits_type(n, s->type))
		return not_of_type[s->type];
	if (is_number(n) && (why = misfit_number(s, n)))
		return why;
	if ((why = misfit_size(s, n)))
		return why;
	if (n->kind == NODE_STRING && !format_valid(s->format, n->text, n->len))
		return "it is not of that \"format\"";
	if (n->kind == NODE_STRING && !matches(s, n))
		return "it does not match \"pattern\"";
	if (!in_enumeration(s, n))
		return "it is none of \"enum\"";
	return node_is_scalar(n) ? NULL : misfit_within(s, n, where);
}

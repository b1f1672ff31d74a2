/* Forms as bodies: texts are typed as the schema's properties are, a field that is declared as an array is its name
 * repeated, a file is an object whose content stays beside the tree. */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/reason.h"
#include "handlers/web/body.h"
#include "handlers/web/form.h"
#include "handlers/web/typed.h"

enum { MAX_PARTS = 64 }; /* of multipart/form-data */

static const struct config_schema *property_of(const struct config_schema *s, const char *name, size_t len)
{
	s = typed_schema(s);
	for (size_t i = 0; i < s->property_count; i++) {
		const struct config_parameter *p = &s->properties[i];

		if (strlen(p->name) == len && memcmp(p->name, name, len) == 0)
			return typed_schema(&p->schema);
	}
	return &typed_any_text;
}

/* --- reading --- */

static struct json *add_member(struct arena *a, struct json *object, const char *name, struct span text,
			       enum json_kind kind)
{
	struct json **end = &object->child, *j = arena_zalloc(a, sizeof(*j));

	*j = (struct json){.kind = kind,
			   .text = text.base,
			   .len = (uint32_t)text.len,
			   .name = name,
			   .name_len = (uint32_t)strlen(name)};
	while (*end)
		end = &(*end)->next;
	*end = j;
	object->count++;
	return j;
}

static struct json *file_node(struct body *out, const struct form_field *f, struct arena *a)
{
	struct json *j = arena_zalloc(a, sizeof(*j));
	const char *size = arena_printf(a, "%zu", f->content.len);

	j->kind = JSON_OBJECT;
	j->declared = true;
	add_member(a, j, "filename", f->filename, JSON_STRING);
	add_member(a, j, "type", f->type, JSON_STRING);
	add_member(a, j, "size", (struct span){size, strlen(size)}, JSON_NUMBER);
	out->files[out->file_count++] = (struct body_file){j, f->content};
	return j;
}

static struct json *member_of(struct json *object, struct span name)
{
	for (struct json *j = object->child; j; j = j->next) {
		if (j->name_len == name.len && memcmp(j->name, name.base, name.len) == 0)
			return j;
	}
	return NULL;
}

/* Where the next item of a field that is a list goes. */
static struct json **end_of_list(struct json *list)
{
	struct json **end = &list->child;

	while (*end)
		end = &(*end)->next;
	return end;
}

static void add_field(struct body *out, const struct config_schema *s, const struct form_field *f, struct json ***last,
		      struct arena *a)
{
	const struct config_schema *of = property_of(s, f->name.base, f->name.len);
	bool list = of->type == TYPE_ARRAY;
	struct json *before = list ? member_of(out->tree, f->name) : NULL;
	const struct config_schema *item = !list ? of : of->items ? typed_schema(of->items) : &typed_any_text;
	struct json *j = f->filename.base ? file_node(out, f, a) : typed_text(a, f->content, item);

	if (before) {
		*end_of_list(before) = j;
		before->count++;
		return;
	}
	if (list) {
		struct json *container = arena_zalloc(a, sizeof(*container));

		*container = (struct json){.kind = JSON_ARRAY, .declared = true, .child = j, .count = 1};
		j = container;
	}
	j->name = f->name.base;
	j->name_len = (uint32_t)f->name.len;
	**last = j;
	*last = &j->next;
	out->tree->count++;
}

bool body_read_form(struct body *out, const struct config_schema *s, struct span type, struct span text,
		    struct arena *a, struct mistakes *m)
{
	const struct mistake_place at = mistake_at(IN_BODY, "");
	struct form form;
	const char *why = "";
	int r = form_parse(&form, a, type, text, &why);

	if (r == 0 && form.count > MAX_PARTS && strncasecmp(type.base, "multipart", 9) == 0) {
		r = -E2BIG;
		why = "there are too many fields";
	}
	if (r < 0) {
		mistake_add(m, &at, NULL, MISTAKE_BODY_FORM, why);
		return false;
	}
	out->tree = arena_zalloc(a, sizeof(*out->tree));
	out->tree->kind = JSON_OBJECT;
	out->files = arena_array(a, form.count, sizeof(*out->files));
	struct json **last = &out->tree->child;
	for (size_t i = 0; i < form.count; i++)
		add_field(out, s, &form.fields[i], &last, a);
	return true;
}

/* --- as a value --- */

static const struct body_file *file_of(const struct body *b, const struct json *j)
{
	for (size_t i = 0; i < b->file_count; i++) {
		if (b->files[i].node == j)
			return &b->files[i];
	}
	return NULL;
}

static struct value document(struct value_member *members, size_t count)
{
	return (struct value){.kind = VALUE_DOCUMENT,
			      .members = members,
			      .count = (uint32_t)count,
			      .from_request = true,
			      .structured = true};
}

static struct value file_value(const struct body_file *f, struct arena *a)
{
	struct value_member *members = arena_array(a, f->node->count + 1, sizeof(*members));
	size_t n = 0;

	for (const struct json *j = f->node->child; j; j = j->next)
		members[n++] = (struct value_member){j->name, j->name_len, typed_scalar(&typed_any_text, j)};
	struct value content = value_bytes_of(f->content.base, f->content.len);
	content.from_request = true;
	members[n++] = (struct value_member){"content", 7, content};
	return document(members, n);
}

static struct value field_value(const struct body *b, const struct config_schema *of, const struct json *j,
				struct arena *a)
{
	const struct body_file *file = j->kind == JSON_OBJECT ? file_of(b, j) : NULL;

	if (file)
		return file_value(file, a);
	if (j->kind != JSON_ARRAY || !j->child || j->child->kind != JSON_OBJECT)
		return typed_value(a, of, j);
	struct value *items = arena_array(a, j->count, sizeof(*items));
	size_t n = 0;
	for (const struct json *item = j->child; item; item = item->next)
		items[n++] = field_value(b, &typed_any_text, item, a);
	return (struct value){
		.kind = VALUE_LIST, .list = items, .count = j->count, .from_request = true, .structured = true};
}

struct value body_form_value(const struct body *b, const struct config_schema *s, struct arena *a)
{
	struct value_member *members;
	size_t n = 0;

	if (!b->tree)
		return VALUE_OF_NULL;
	members = arena_array(a, b->tree->count, sizeof(*members));
	for (const struct json *j = b->tree->child; j; j = j->next) {
		const char *name = arena_strndup(a, j->name, j->name_len);

		members[n++] = (struct value_member){name, j->name_len,
						     field_value(b, property_of(s, j->name, j->name_len), j, a)};
	}
	return document(members, n);
}

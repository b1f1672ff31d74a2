/* Lists and documents that handlers put together.
 *
 * One has places to spare and takes twice as many when they are full. What is put into another one is put there by its
 * struct value, which sees the places that are taken at that moment: appending goes on behind them, and gd_set, which
 * would write one again, copies them first (`shared`). How deep they are in one another is counted and bounded.
 *
 * A few names are compared one by one; more have a hash table with open addressing, at most half full. */
#include "handlers/module/parts.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "handlers/module/status.h"

enum { DEPTH_MAX = 1000, FIRST_ROOM = 4, FEW = 16, FIRST_SIZE = 64 };

/* --- names --- */

struct name_table {
	uint32_t *slots; /* the place of a member + 1; 0: free */
	uint32_t size;   /* a power of two */
};

/* FNV-1a, begun with where the table is: nobody outside knows. */
static uint32_t hash_of(const struct name_table *t, const char *name, size_t len)
{
	uint64_t h = 14695981039346656037u ^ (uintptr_t)t;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)name[i]) * 1099511628211u;
	return (uint32_t)(h ^ h >> 32);
}

static bool is_named(const struct value_member *m, const char *name, size_t len)
{
	return m->len == len && memcmp(m->name, name, len) == 0;
}

static uint32_t find(const gd_value *doc, const char *name, size_t len)
{
	const struct name_table *t = doc->names;
	uint32_t i = 0;

	if (!t) {
		while (i < doc->v.count && !is_named(&doc->v.members[i], name, len))
			i++;
		return i;
	}
	for (i = hash_of(t, name, len) & (t->size - 1); t->slots[i]; i = (i + 1) & (t->size - 1))
		if (is_named(&doc->v.members[t->slots[i] - 1], name, len))
			return t->slots[i] - 1;
	return doc->v.count;
}

static void add(struct name_table *t, const struct value_member *m, uint32_t place)
{
	uint32_t i = hash_of(t, m->name, m->len) & (t->size - 1);

	while (t->slots[i])
		i = (i + 1) & (t->size - 1);
	t->slots[i] = place + 1;
}

void parts_index(gd_value *doc)
{
	uint32_t count = doc->v.count, size = FIRST_SIZE;

	doc->names = NULL;
	if (!doc->growing || doc->v.kind != VALUE_DOCUMENT || count <= FEW)
		return;
	while (size / 4 < count && size < 1u << 31)
		size *= 2;
	doc->names = arena_alloc(doc->scope->arena, sizeof(*doc->names));
	*doc->names = (struct name_table){arena_array(doc->scope->arena, size, sizeof(uint32_t)), size};
	for (uint32_t i = 0; i < count; i++)
		add(doc->names, &doc->v.members[i], i);
}

static void added(gd_value *doc)
{
	uint32_t count = doc->v.count;

	if (doc->names && count <= doc->names->size / 2)
		add(doc->names, &doc->v.members[count - 1], count - 1);
	else if (count > FEW)
		parts_index(doc);
}

/* --- lists and documents --- */

gd_value *parts_new(struct gd_scope *s, enum value_kind kind)
{
	gd_value *v = value_new(s, (struct value){.kind = kind});

	v->growing = true;
	v->depth = 1;
	return v;
}

/* Make v the failure e, so that whoever does not ask still does not reply with half a value. */
static int spoil(gd_value *v, const struct error *e)
{
	*v = *value_failed(v->scope, e);
	return -EINVAL;
}

static int spoil_by(gd_value *v, int errnum, const char *what)
{
	struct error e;

	error_of_errno(&e, errnum);
	snprintf(e.what, sizeof(e.what), "%s", what);
	return spoil(v, &e);
}

static bool is_ready(const gd_value *v)
{
	return v && v->state == VALUE_READY;
}

/* May part be put into v? Then v is as deep as that makes it. */
static int admit(gd_value *v, const gd_value *part, const char *what)
{
	struct error e;

	if (!value_usable(part, what, &e))
		return spoil(v, &e);
	if (part->depth >= DEPTH_MAX)
		return spoil_by(v, -E2BIG, "lists and documents are nested more than 1000 deep");
	if (v->v.count == UINT32_MAX)
		return spoil_by(v, -E2BIG, "a list of more than 4294967295 values");
	if (v->depth <= part->depth)
		v->depth = (uint16_t)(part->depth + 1);
	return 0;
}

/* Places for `room` parts of `size` bytes, with those that are taken. */
static void *more_places(gd_value *v, const void *places, uint32_t room, size_t size)
{
	void *more = arena_alloc(v->scope->arena, room * size);

	if (v->v.count)
		memcpy(more, places, v->v.count * size);
	v->room = room;
	v->shared = false;
	return more;
}

static uint32_t doubled(uint32_t room)
{
	if (room == 0)
		return FIRST_ROOM;
	return room > UINT32_MAX / 2 ? UINT32_MAX : room * 2;
}

int parts_append(gd_value *list, const gd_value *v, const char *what)
{
	int r = admit(list, v, what);

	if (r < 0)
		return r;
	struct value part = value_kept(list->scope, v);
	if (list->v.count == list->room)
		list->v.list = more_places(list, list->v.list, doubled(list->room), sizeof(struct value));
	((struct value *)(uintptr_t)list->v.list)[list->v.count++] = part;
	return 0;
}

static struct value_member *places_of(gd_value *doc, uint32_t room)
{
	if (room != doc->room || doc->shared)
		doc->v.members = more_places(doc, doc->v.members, room, sizeof(struct value_member));
	return (struct value_member *)(uintptr_t)doc->v.members;
}

/* For the message: whose fault it is. */
static int refuse_member(gd_value *doc, const char *name, size_t len, const gd_value *v)
{
	char what[80];
	size_t shown = utf8_prefix(name, len < 50 ? len : 50);

	snprintf(what, sizeof(what), "the member \"%.*s\"", (int)shown, name);
	return admit(doc, v, what);
}

int parts_set(gd_value *doc, const char *name, size_t len, const gd_value *v)
{
	if (!is_ready(v))
		return refuse_member(doc, name, len, v);
	int r = admit(doc, v, "");
	if (r < 0)
		return r;
	struct value part = value_kept(doc->scope, v);
	uint32_t at = find(doc, name, len);
	if (at < doc->v.count) {
		places_of(doc, doc->room)[at].value = part;
		return 0;
	}
	if (doc->v.count == doc->room)
		places_of(doc, doubled(doc->room));
	((struct value_member *)(uintptr_t)doc->v.members)[doc->v.count++] = (struct value_member){
		.name = arena_strndup(doc->scope->arena, name, len), .len = len, .value = part};
	added(doc);
	return 0;
}

int gd_append(gd_value *list, gd_value *v)
{
	if (!scope_here(__func__))
		return -EPERM;
	if (!list || list->state != VALUE_READY || !list->growing || list->v.kind != VALUE_LIST)
		return -EINVAL;
	return parts_append(list, v, "gd_append: the value");
}

/* The same of a name that a handler gave, which may be none. */
static int set_named(gd_value *doc, const char *name, const gd_value *v)
{
	size_t len = name ? strlen(name) : 0;

	if (!name)
		return spoil_by(doc, -EINVAL, "a name that is NULL");
	if (!utf8_valid(name, len))
		return spoil_by(doc, -EILSEQ, "a name that is not UTF-8");
	return parts_set(doc, name, len, v);
}

int gd_set(gd_value *doc, const char *name, gd_value *v)
{
	if (!scope_here(__func__))
		return -EPERM;
	if (!doc || doc->state != VALUE_READY || !doc->growing || doc->v.kind != VALUE_DOCUMENT)
		return -EINVAL;
	return set_named(doc, name, v);
}

gd_value *gd_list_of(gd_value *ignored, ...)
{
	struct gd_scope *s = scope_here("gd_list");
	char what[40] = "";
	va_list ap;
	int r = 0;

	if (!s)
		return value_outside();
	gd_value *list = parts_new(s, VALUE_LIST), *v;
	va_start(ap, ignored);
	for (unsigned i = 1; r == 0 && (v = va_arg(ap, gd_value *)) != GD_END; i++) {
		if (!is_ready(v))
			snprintf(what, sizeof(what), "gd_list: value %u", i);
		r = parts_append(list, v, what);
	}
	va_end(ap);
	return list;
}

gd_value *gd_doc_of(const char *ignored, ...)
{
	struct gd_scope *s = scope_here("gd_doc");
	const char *name;
	va_list ap;
	int r = 0;

	if (!s)
		return value_outside();
	gd_value *doc = parts_new(s, VALUE_DOCUMENT);
	va_start(ap, ignored);
	while (r == 0 && (name = va_arg(ap, const char *)) != GD_END) {
		gd_value *v = va_arg(ap, gd_value *);
		r = v == GD_END ? spoil_by(doc, -EINVAL, "gd_doc: a name without a value") : set_named(doc, name, v);
	}
	va_end(ap);
	return doc;
}

gd_value *gd_value_copy(const gd_value *v)
{
	struct gd_scope *s = scope_here(__func__);
	struct error e;

	if (!s)
		return value_outside();
	if (!value_usable(v, "gd_value_copy: the value", &e))
		return value_failed(s, &e);
	gd_value *out = value_new(s, value_copy(&v->v, s->arena));
	out->growing = v->growing;
	out->depth = v->depth;
	out->room = v->growing ? out->v.count : 0;
	parts_index(out);
	return out;
}

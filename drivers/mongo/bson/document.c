/* A walk over what the handler made, without recursion; each value that it did not make is converted as data. */
#include "drivers/mongo/bson/document.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ascii.h"
#include "base/compiler.h"
#include "base/mem.h"
#include "base/reason.h"
#include "drivers/mongo/bson/convert.h"
#include "drivers/mongo/bson/place.h"

/* A document or list that is being written. */
struct document_level {
	struct value v;
	uint32_t at; /* the part that comes next */
	struct mongo_place place;
};

struct walk {
	struct mongo_document_maker *maker;
	unsigned depth;
	bool pipeline;
};

void mongo_document_maker_init(struct mongo_document_maker *m, struct buf *bytes, struct error *e)
{
	*m = (struct mongo_document_maker){.bytes = bytes, .error = e};
	mongo_out_init(&m->out, bytes);
	arena_init(&m->scratch);
	m->levels = mem_alloc(BSON_WRITE_DEPTH_MAX * sizeof(*m->levels));
}

void mongo_document_maker_done(struct mongo_document_maker *m)
{
	arena_done(&m->scratch);
	free(m->levels);
	m->levels = NULL;
}

int mongo_document_refuse(struct mongo_document_maker *m, bool theirs, const char *format, ...)
{
	static const char *const pronouns[] = {"it ", "they "};
	char text[160], detail[200];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	snprintf(detail, sizeof(detail), "%s.", text);
	/* The detail stands alone: it names what "it" is. */
	for (size_t i = 0; i < ARRAY_SIZE(pronouns); i++) {
		size_t len = strlen(pronouns[i]);
		if (strncmp(text, pronouns[i], len) == 0)
			snprintf(detail, sizeof(detail), "%c%s %s.", ascii_upper(m->what[0]), m->what + 1, text + len);
	}
	return error_set(m->error, -EINVAL, theirs ? 400 : 500, theirs ? detail : NULL, "%s: %s", m->what, text);
}

/* --- data --- */

/* Did the handler write it out, name by name? */
static bool is_made(const struct value *v)
{
	return (v->kind == VALUE_DOCUMENT || v->kind == VALUE_LIST) && !v->from_request && !v->brought;
}

/* Texts of the handler's own may name fields. */
static bool may_name_fields(const struct value *v)
{
	return !v->from_request && !v->brought && v->kind != VALUE_FOREIGN && v->kind != VALUE_JSON;
}

/* A document that a request brought, a form: the names in it are a stranger's. */
static bool brings_operators(const struct value *v)
{
	for (uint32_t i = 0; v->kind == VALUE_DOCUMENT && v->from_request && i < v->count; i++) {
		if (v->members[i].len && v->members[i].name[0] == '$')
			return true;
	}
	return false;
}

/* Write v. Returns 0 or -EINVAL with *why. */
static int convert(struct mongo_document_maker *m, const char *name, size_t len, const struct value *v,
		   const struct mongo_place *place, const char **why)
{
	struct mongo_converter c = {.out = &m->out, .arena = &m->scratch, .why = UNFIT_DEEP};
	size_t bytes = m->bytes->len;
	unsigned depth = m->out.depth;
	int r = mongo_convert(&c, name, len, v, AS_IS, NULL);

	if (r == 0 && place->expression && c.dollar && !may_name_fields(v)) {
		/* Again, so that it is read as a value. */
		m->bytes->len = bytes;
		m->out.depth = depth;
		r = mongo_out_begin(&m->out, BSON_TYPE_DOCUMENT, name, len) ? 0 : -EINVAL;
		if (r == 0)
			r = mongo_convert(&c, "$literal", strlen("$literal"), v, AS_IS, NULL);
		if (r == 0)
			mongo_out_end(&m->out);
	}
	*why = c.why;
	return r;
}

/* A value that brings nothing but itself. shown: its name for people. */
static int put_data(struct mongo_document_maker *m, const char *name, size_t len, const char *shown,
		    const struct value *v, const struct mongo_place *place)
{
	const char *why;

	m->from_request |= v->from_request;
	if (place->javascript && !may_name_fields(v))
		return mongo_document_refuse(
			m, false, "%.60s: no value from elsewhere may stand below %s: it would run as JavaScript",
			shown, place->javascript);
	if (brings_operators(v))
		return mongo_document_refuse(m, true, "%.60s " UNFIT_NAMES_OPERATOR, shown);
	if (v->kind == VALUE_DOCUMENT && v->from_request && !v->structured)
		return mongo_document_refuse(m, true, "%.60s " UNFIT_OBJECT, shown);
	int r = convert(m, name, len, v, place, &why);
	return r < 0 ? mongo_document_refuse(m, v->from_request, "%.60s %.90s", shown, why) : 0;
}

/* --- what the handler made --- */

static int enter(struct walk *w, const char *name, size_t len, const struct value *v, const struct mongo_place *place)
{
	struct mongo_document_maker *m = w->maker;
	uint8_t type = v->kind == VALUE_LIST ? BSON_TYPE_ARRAY : BSON_TYPE_DOCUMENT;

	if (w->depth == BSON_WRITE_DEPTH_MAX || !mongo_out_begin(&m->out, type, name, len))
		return mongo_document_refuse(m, false, "%.60s " UNFIT_DEEP, name);
	m->levels[w->depth++] = (struct document_level){.v = *v, .place = *place};
	return 0;
}

static int put_next(struct walk *w)
{
	struct mongo_document_maker *m = w->maker;
	struct document_level *l = &m->levels[w->depth - 1];
	const struct value *v;
	struct mongo_place below = l->place;
	char digits[16];
	const char *name;
	size_t len;

	if (l->v.kind == VALUE_LIST) {
		v = &l->v.list[l->at];
		len = bson_uint32_to_string(l->at, &name, digits, sizeof(digits));
	} else {
		const struct value_member *member = &l->v.members[l->at];
		v = &member->value;
		name = member->name;
		len = member->len;
		below = mongo_place_below(&l->place, name, w->pipeline);
	}
	l->at++;
	return is_made(v) ? enter(w, name, len, v, &below) : put_data(m, name, len, name, v, &below);
}

static int put_made(struct mongo_document_maker *m, const char *name, const struct value *v,
		    const struct mongo_place *place, bool pipeline)
{
	struct walk w = {.maker = m, .pipeline = pipeline};
	int r = enter(&w, name, strlen(name), v, place);

	while (r == 0 && w.depth > 0) {
		struct document_level *l = &m->levels[w.depth - 1];
		if (l->at < l->v.count) {
			r = put_next(&w);
		} else {
			mongo_out_end(&m->out);
			w.depth--;
		}
	}
	return r;
}

/* --- what is expected --- */

static bool is_operator(const struct value_member *member)
{
	return member->len > 0 && member->name[0] == '$';
}

static int check_stages(struct mongo_document_maker *m, const struct value *v)
{
	for (uint32_t i = 0; i < v->count; i++) {
		const struct value *stage = &v->list[i];
		if (!is_made(stage) || stage->kind != VALUE_DOCUMENT || stage->count != 1 ||
		    !is_operator(&stage->members[0]))
			return mongo_document_refuse(m, stage->from_request || v->from_request,
						     "stage %u " UNFIT_NOT_STAGE ", made by the handler", i);
		m->writes |= mongo_place_is_writing_stage(stage->members[0].name);
	}
	return 0;
}

static int check_operators(struct mongo_document_maker *m, const struct value *v)
{
	for (uint32_t i = 0; i < v->count; i++) {
		if (!is_operator(&v->members[i]))
			return mongo_document_refuse(m, false,
						     "%.60s is not an operator ({\"$set\": ...}); whole documents are "
						     "for replace_one",
						     v->members[i].name);
	}
	return v->count ? 0 : mongo_document_refuse(m, false, "it has no operator ({\"$set\": ...})");
}

static int check_stored(struct mongo_document_maker *m, const struct value *v)
{
	for (uint32_t i = 0; v->kind == VALUE_DOCUMENT && i < v->count; i++) {
		if (is_operator(&v->members[i]))
			return mongo_document_refuse(m, v->from_request, "%.60s " UNFIT_OPERATOR, v->members[i].name);
	}
	return 0;
}

static int check(struct mongo_document_maker *m, const struct value *v, enum mongo_document_use use)
{
	bool list = use == DOCUMENT_PIPELINE || (use == DOCUMENT_UPDATE && v && v->kind == VALUE_LIST);

	if (!v || v->kind == VALUE_NULL)
		return mongo_document_refuse(m, v && v->from_request, "it " UNFIT_IS_NULL "; the empty document is {}");
	if (list || use == DOCUMENT_UPDATE) {
		if (!is_made(v) || (v->kind == VALUE_LIST) != list)
			return mongo_document_refuse(m, v->from_request,
						     list ? "it " UNFIT_NOT_LIST MADE_HERE
							  : "it " UNFIT_NOT_DOCUMENT MADE_HERE);
		return list ? check_stages(m, v) : check_operators(m, v);
	}
	if (value_looks(v) != VALUE_DOCUMENT)
		return mongo_document_refuse(m, v->from_request, "it " UNFIT_NOT_DOCUMENT);
	return use == DOCUMENT_STORED ? check_stored(m, v) : 0;
}

int mongo_document_put(struct mongo_document_maker *m, const char *name, const struct value *v,
		       enum mongo_document_use use, const char *what)
{
	m->what = what;
	int r = check(m, v, use);
	if (r < 0)
		return r;
	bool pipeline = use == DOCUMENT_PIPELINE || v->kind == VALUE_LIST;
	struct mongo_place top = {.expression = pipeline || use == DOCUMENT_EXPRESSION, .around = ""};
	if (is_made(v)) {
		r = put_made(m, name, v, &top, pipeline);
	} else {
		struct value whole = *v;
		/* If a document is what is wanted, one that came as the request's body will do. */
		whole.structured |= use == DOCUMENT_STORED;
		r = put_data(m, name, strlen(name), "it", &whole, &top);
	}
	arena_reset(&m->scratch);
	return r;
}

int mongo_document_put_value(struct mongo_document_maker *m, const char *name, const struct value *v, const char *what)
{
	static const struct mongo_place plain = {.around = ""};

	m->what = what;
	int r = is_made(v) ? put_made(m, name, v, &plain, false) : put_data(m, name, strlen(name), "it", v, &plain);
	arena_reset(&m->scratch);
	return r;
}

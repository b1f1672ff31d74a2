/* A patch is walked member by member, without recursion: a stranger sent it. */
#include "drivers/mongo/bson/merge.h"

#include <string.h>

#include "base/reason.h"

#define KEY(s) s, sizeof(s) - 1

/* The members of a patch, each before what is in it. */
struct walk {
	unsigned depth; /* of the member, from 1; 0 at the end */
	bool descend;   /* the member is an object: what is in it comes next */
	struct mongo_element member;
	struct buf path; /* of the member */
	struct {
		struct mongo_element_iter at;
		size_t path_len; /* of the object around */
	} levels[BSON_WRITE_DEPTH_MAX];
};

static void walk_init(struct walk *w, const uint8_t *document, size_t len)
{
	w->depth = 1;
	w->descend = false;
	w->path = BUF_INIT;
	w->levels[0].path_len = 0;
	mongo_element_iter_init(&w->levels[0].at, document, len);
}

static void walk_done(struct walk *w)
{
	buf_done(&w->path);
}

static bool walk_next(struct walk *w)
{
	if (w->descend && w->depth < BSON_WRITE_DEPTH_MAX) {
		w->levels[w->depth].path_len = w->path.len;
		mongo_element_iter_init(&w->levels[w->depth].at, w->member.value, w->member.len);
		w->depth++;
	}
	w->descend = false;
	for (; w->depth > 0; w->depth--) {
		w->path.len = w->levels[w->depth - 1].path_len;
		if (!mongo_element_next(&w->levels[w->depth - 1].at, &w->member))
			continue;
		if (w->path.len)
			buf_char(&w->path, '.');
		buf_append(&w->path, w->member.key, w->member.key_len);
		w->descend = w->member.type == BSON_TYPE_DOCUMENT;
		return true;
	}
	return false;
}

static bool is_set(const struct walk *w)
{
	return w->member.type != BSON_TYPE_NULL && !w->descend;
}

const char *mongo_patch_init(struct mongo_patch *p, const uint8_t *bytes, size_t len)
{
	const char *why = NULL;
	struct walk w;

	*p = (struct mongo_patch){.bytes = bytes, .len = len, .empty = true};
	walk_init(&w, bytes, len);
	while (!why && walk_next(&w)) {
		p->empty = false;
		p->nested |= w.descend;
		if (w.member.key_len == 0 || strchr(w.member.key, '.'))
			why = UNFIT_NAME_NO_PATH;
		else if (w.member.key[0] == '$')
			why = UNFIT_NAMES_OPERATOR;
		else if (w.descend && w.depth == BSON_WRITE_DEPTH_MAX)
			why = UNFIT_DEEP;
	}
	walk_done(&w);
	return why;
}

static bool sets_anything(const uint8_t *document, size_t len)
{
	struct walk w;
	bool found = false;

	walk_init(&w, document, len);
	while (!found && walk_next(&w))
		found = is_set(&w);
	walk_done(&w);
	return found;
}

/* --- $set and $unset --- */

static void put_each(const struct mongo_patch *p, struct mongo_out *out, const char *operator, bool sets)
{
	struct walk w;
	bool begun = false;

	walk_init(&w, p->bytes, p->len);
	while (walk_next(&w)) {
		if (w.descend || is_set(&w) != sets)
			continue;
		if (!begun)
			begun = mongo_out_begin(out, BSON_TYPE_DOCUMENT, operator, strlen(operator));
		if (sets)
			mongo_out_raw(out, w.member.type, w.path.data, w.path.len, w.member.value, w.member.len);
		else
			mongo_out_text(out, w.path.data, w.path.len, "", 0);
	}
	if (begun)
		mongo_out_end(out);
	walk_done(&w);
}

/* An update that changes nothing. Servers before MongoDB 5.0 refuse an empty $set. */
static void put_nothing(struct mongo_out *out)
{
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, KEY("$setOnInsert"));
	mongo_out_null(out, KEY("_"));
	mongo_out_end(out);
}

void mongo_patch_update(const struct mongo_patch *p, struct mongo_out *out, const char *key)
{
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, key, strlen(key));
	size_t before = out->bytes->len;
	put_each(p, out, "$set", true);
	put_each(p, out, "$unset", false);
	if (out->bytes->len == before)
		put_nothing(out);
	mongo_out_end(out);
}

/* { PATH: { $type: "object", $not: { $type: "array" } } }: of an array, $type looks at the elements, too. */
static void put_is_object(struct mongo_out *out, const char *key, size_t key_len, const struct walk *w)
{
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, key, key_len);
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, w->path.data, w->path.len);
	mongo_out_text(out, KEY("$type"), KEY("object"));
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, KEY("$not"));
	mongo_out_text(out, KEY("$type"), KEY("array"));
	for (int i = 0; i < 3; i++)
		mongo_out_end(out);
}

void mongo_patch_guard(const struct mongo_patch *p, struct mongo_out *out, uint32_t index)
{
	struct walk w;
	char digits[16];
	const char *key;

	walk_init(&w, p->bytes, p->len);
	while (walk_next(&w)) {
		if (!w.descend)
			continue;
		size_t len = bson_uint32_to_string(index++, &key, digits, sizeof(digits));
		if (!sets_anything(w.member.value, w.member.len)) {
			put_is_object(out, key, len, &w);
			continue;
		}
		mongo_out_begin(out, BSON_TYPE_DOCUMENT, key, len);
		mongo_out_begin(out, BSON_TYPE_ARRAY, KEY("$or"));
		mongo_out_begin(out, BSON_TYPE_DOCUMENT, KEY("0"));
		mongo_out_begin(out, BSON_TYPE_DOCUMENT, w.path.data, w.path.len);
		mongo_out_bool(out, KEY("$exists"), false);
		mongo_out_end(out);
		mongo_out_end(out);
		put_is_object(out, KEY("1"), &w);
		mongo_out_end(out);
		mongo_out_end(out);
	}
	walk_done(&w);
}

/* --- a pipeline --- */

struct stages {
	struct mongo_out *out;
	uint32_t count;
};

static void begin_stage(struct stages *s, const char *name, uint8_t type)
{
	char digits[16];
	const char *key;
	size_t len = bson_uint32_to_string(s->count++, &key, digits, sizeof(digits));

	mongo_out_begin(s->out, BSON_TYPE_DOCUMENT, key, len);
	mongo_out_begin(s->out, type, name, strlen(name));
}

static void end_stage(struct stages *s)
{
	mongo_out_end(s->out);
	mongo_out_end(s->out);
}

/* PATH: { $cond: [ { $eq: [ { $type: "$PATH" }, "object" ] }, "$PATH", { $literal: {} } ] } */
static void put_made_object(struct mongo_out *out, const struct walk *w)
{
	struct buf field = BUF_INIT;

	buf_char(&field, '$');
	buf_append(&field, w->path.data, w->path.len);
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, w->path.data, w->path.len);
	mongo_out_begin(out, BSON_TYPE_ARRAY, KEY("$cond"));
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, KEY("0"));
	mongo_out_begin(out, BSON_TYPE_ARRAY, KEY("$eq"));
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, KEY("0"));
	mongo_out_text(out, KEY("$type"), field.data, field.len);
	mongo_out_end(out);
	mongo_out_text(out, KEY("1"), KEY("object"));
	mongo_out_end(out);
	mongo_out_end(out);
	mongo_out_text(out, KEY("1"), field.data, field.len);
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, KEY("2"));
	mongo_out_begin(out, BSON_TYPE_DOCUMENT, KEY("$literal"));
	for (int i = 0; i < 4; i++)
		mongo_out_end(out);
	buf_done(&field);
}

/* Make an object of what stands at the objects of that depth, and is none. Returns whether there are any. */
static bool make_objects(struct stages *s, const struct mongo_patch *p, unsigned depth)
{
	struct walk w;
	bool begun = false;

	walk_init(&w, p->bytes, p->len);
	while (walk_next(&w)) {
		if (!w.descend || w.depth != depth)
			continue;
		if (!begun)
			begin_stage(s, "$set", BSON_TYPE_DOCUMENT);
		begun = true;
		put_made_object(s->out, &w);
	}
	if (begun)
		end_stage(s);
	walk_done(&w);
	return begun;
}

static void set_members(struct stages *s, const struct mongo_patch *p)
{
	struct walk w;
	bool begun = false;

	walk_init(&w, p->bytes, p->len);
	while (walk_next(&w)) {
		if (!is_set(&w))
			continue;
		if (!begun)
			begin_stage(s, "$set", BSON_TYPE_DOCUMENT);
		begun = true;
		mongo_out_begin(s->out, BSON_TYPE_DOCUMENT, w.path.data, w.path.len);
		mongo_out_raw(s->out, w.member.type, KEY("$literal"), w.member.value, w.member.len);
		mongo_out_end(s->out);
	}
	if (begun)
		end_stage(s);
	walk_done(&w);
}

static void unset_members(struct stages *s, const struct mongo_patch *p)
{
	struct walk w;
	uint32_t count = 0;
	char digits[16];
	const char *key;

	walk_init(&w, p->bytes, p->len);
	while (walk_next(&w)) {
		if (w.member.type != BSON_TYPE_NULL)
			continue;
		if (count == 0)
			begin_stage(s, "$unset", BSON_TYPE_ARRAY);
		size_t len = bson_uint32_to_string(count++, &key, digits, sizeof(digits));
		mongo_out_text(s->out, key, len, w.path.data, w.path.len);
	}
	if (count)
		end_stage(s);
	walk_done(&w);
}

void mongo_patch_pipeline(const struct mongo_patch *p, struct mongo_out *out, const char *key)
{
	struct stages s = {.out = out};
	unsigned depth = 1;

	mongo_out_begin(out, BSON_TYPE_ARRAY, key, strlen(key));
	while (make_objects(&s, p, depth))
		depth++;
	set_members(&s, p);
	unset_members(&s, p);
	mongo_out_end(out);
}

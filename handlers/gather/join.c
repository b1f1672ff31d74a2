/* The hash join and the result that it makes. */
#include "handlers/gather/join.h"

#include <errno.h>
#include <string.h>

#include "base/decimal.h"
#include "base/json_out.h"

/* The rows of one side, each a value of its driver's. */
struct rows {
	const struct value *at;
	uint32_t count;
	bool list; /* rendered as an array; else one object */
};

/* One member that a join adds to every row. */
struct added_member {
	const char *name;
	size_t name_len;
	const char *key; /* `"name":` */
	size_t key_len;
	bool many;
	const struct value *from; /* the rows that are embedded */
	const uint32_t *matches;  /* row numbers in from, those of row i at starts[i]..starts[i + 1] */
	const uint32_t *starts;
	struct added_member *next; /* added before it */
};

struct joined_result {
	struct result base;
	struct result *inner; /* owned */
	struct rows rows;
	struct added_member *members; /* the last one added first */
};

/* --- rows --- */

static const struct result_ops joined_ops;

static struct rows rows_of(struct join_side side, struct arena *a)
{
	static const struct path_segment each = {.kind = PATH_EACH};
	const struct path whole = {0}, all = {.segments = &each, .count = 1};
	const struct result *r = side.outcome->result;
	struct rows rows = {.list = true};

	if (!r)
		return rows;
	struct value *one = arena_alloc(a, sizeof(*one));
	*one = r->ops->get(r, &whole, a);
	if (r->ops == &joined_ops)
		rows.list = container_of(r, const struct joined_result, base)->rows.list;
	else
		rows.list = side.step->expect == EXPECT_MANY ||
			    (one->kind == VALUE_JSON && one->json->kind == JSON_ARRAY);
	if (rows.list) {
		struct value list = r->ops->get(r, &all, a);
		rows.at = list.list;
		rows.count = list.kind == VALUE_LIST ? list.count : 0;
	} else if (one->kind != VALUE_NULL) {
		rows.at = one;
		rows.count = 1;
	}
	return rows;
}

/* --- keys --- */

enum key_kind { KEY_NONE, KEY_WHOLE, KEY_TEXT };

/* Whole numbers, which most keys are, are compared as such; everything else by a text that equal values share. */
struct key {
	enum key_kind kind; /* KEY_NONE: null, which equals nothing */
	uint32_t hash;
	uint32_t next; /* the next row of `from` with the same hash bucket, + 1; 0: none */
	uint32_t len;  /* KEY_TEXT: in the text of all keys, from at on */
	union {
		int64_t whole;
		size_t at;
	};
};

/* A JSON number: KEY_WHOLE if it is one that fits, however it is written (1, 1.0, 10e-1). */
static void number_key(struct key *k, struct buf *out, const char *text, size_t len)
{
	if (decimal_to_int64(text, len, &k->whole)) {
		k->kind = KEY_WHOLE;
		return;
	}
	k->kind = KEY_TEXT;
	buf_char(out, 'n');
	decimal_canonical(out, text, len);
}

/* A driver's own value equals what its JSON equals. */
static void foreign_key(struct key *k, struct buf *out, const struct value *v, struct arena *a)
{
	struct buf text = BUF_INIT;
	struct json *j;
	char why[64];

	v->ops->render(v, &text);
	const char *copy = arena_strndup(a, text.data, text.len);
	if (json_parse(&j, a, copy, text.len, JSON_MAX_DEPTH, why, sizeof(why)) == 0 && j->kind == JSON_STRING) {
		buf_char(out, 's');
		buf_append(out, j->text, j->len);
	} else if (json_is_number(copy, text.len)) {
		number_key(k, out, copy, text.len);
	} else {
		buf_char(out, 'j');
		buf_append(out, copy, text.len);
	}
	buf_done(&text);
}

static void canonical(struct key *k, struct buf *out, const struct value *v, struct arena *a)
{
	k->kind = KEY_TEXT;
	switch (v->kind) {
	case VALUE_NULL:
		k->kind = KEY_NONE;
		break;
	case VALUE_BOOL:
		buf_str(out, v->boolean ? "bt" : "bf");
		break;
	case VALUE_INT:
		k->kind = KEY_WHOLE;
		k->whole = v->integer;
		break;
	case VALUE_NUMBER:
		number_key(k, out, v->text, v->len);
		break;
	case VALUE_STRING:
		buf_char(out, 's');
		buf_append(out, v->text, v->len);
		break;
	case VALUE_BYTES: /* what it is in JSON */
		buf_char(out, 's');
		value_text(v, out);
		break;
	case VALUE_LIST:
	case VALUE_DOCUMENT:
	case VALUE_JSON:
		buf_char(out, 'j');
		value_render(v, out);
		break;
	case VALUE_FOREIGN:
		foreign_key(k, out, v, a);
		break;
	}
}

/* FNV-1a. The rows come from databases; a table that a stranger fills with collisions is bounded by its row count. */
static uint32_t hash_bytes(const char *s, size_t len)
{
	uint32_t h = 2166136261u;
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)s[i]) * 16777619u;
	return h;
}

static struct key key_of(struct buf *text, const struct value *row, const struct path_segment *member, struct arena *a)
{
	struct value v = value_follow(row, member, 1, a);
	size_t at = text->len;
	struct key k = {0};

	canonical(&k, text, &v, a);
	if (k.kind == KEY_WHOLE) {
		k.hash = (uint32_t)((uint64_t)k.whole * 0x9e3779b97f4a7c15u >> 32);
	} else if (k.kind == KEY_TEXT) {
		k.at = at;
		k.len = (uint32_t)(text->len - at);
		k.hash = hash_bytes(text->data + at, k.len);
	}
	return k;
}

static bool same_key(const struct buf *text, const struct key *x, const struct key *y)
{
	if (x->hash != y->hash || x->kind != y->kind)
		return false;
	if (x->kind == KEY_WHOLE)
		return x->whole == y->whole;
	return x->len == y->len && memcmp(text->data + x->at, text->data + y->at, x->len) == 0;
}

/* --- matching --- */

struct table {
	struct buf text;
	struct key *keys;  /* of the rows that are embedded */
	uint32_t *buckets; /* row number + 1 */
	uint32_t mask;
};

static void table_fill(struct table *t, const struct rows *from, const char *name, struct arena *a)
{
	const struct path_segment member = {.kind = PATH_MEMBER, .name = name, .name_len = strlen(name)};
	uint32_t size = 16;
	while (size < from->count * 2)
		size *= 2;
	t->mask = size - 1;
	t->buckets = arena_array(a, size, sizeof(*t->buckets));
	t->keys = arena_array(a, from->count + 1, sizeof(*t->keys));
	/* From the last to the first: each bucket's chain is then in the order of the rows. */
	for (uint32_t i = from->count; i-- > 0;) {
		t->keys[i] = key_of(&t->text, &from->at[i], &member, a);
		if (t->keys[i].kind == KEY_NONE)
			continue;
		uint32_t *bucket = &t->buckets[t->keys[i].hash & t->mask];
		t->keys[i].next = *bucket;
		*bucket = i + 1;
	}
}

/* Append the rows whose key equals k to matches, or only count them if it is NULL. */
static uint32_t table_find(const struct table *t, const struct key *k, bool many, uint32_t *matches)
{
	uint32_t found = 0;
	if (k->kind == KEY_NONE)
		return 0;
	for (uint32_t i = t->buckets[k->hash & t->mask]; i; i = t->keys[i - 1].next) {
		if (!same_key(&t->text, &t->keys[i - 1], k))
			continue;
		if (matches)
			matches[found] = i - 1;
		found++;
		if (!many)
			break;
	}
	return found;
}

/* Count the matches of each row; the first one stands in `one` already, if that is not NULL. */
static int count_matches(const struct table *t, const struct key *wanted, uint32_t rows, uint32_t *starts,
			 uint32_t *one)
{
	for (uint32_t i = 0; i < rows; i++) {
		uint64_t end = starts[i] + (uint64_t)table_find(t, &wanted[i], !one, one ? one + starts[i] : NULL);
		if (end > JOIN_MAX_MATCHES)
			return -EMSGSIZE;
		starts[i + 1] = (uint32_t)end;
	}
	return 0;
}

static int match(struct added_member *m, const struct config_join *join, const struct rows *into,
		 const struct rows *from, struct arena *a)
{
	const struct path_segment member = {.kind = PATH_MEMBER, .name = join->key, .name_len = strlen(join->key)};
	struct table t = {0};
	struct key *wanted = arena_array(a, into->count + 1, sizeof(*wanted));
	uint32_t *starts = arena_array(a, into->count + 1, sizeof(*starts));

	uint32_t *matches = join->many ? NULL : arena_array(a, into->count + 1, sizeof(*matches));

	table_fill(&t, from, join->equals, a);
	for (uint32_t i = 0; i < into->count; i++)
		wanted[i] = key_of(&t.text, &into->at[i], &member, a);
	int r = count_matches(&t, wanted, into->count, starts, matches);
	if (r == 0 && join->many) { /* now it is known how many there are */
		matches = arena_array(a, starts[into->count] + 1, sizeof(*matches));
		for (uint32_t i = 0; i < into->count; i++)
			table_find(&t, &wanted[i], true, matches + starts[i]);
	}
	m->starts = starts;
	m->matches = matches;
	buf_done(&t.text);
	return r;
}

/* --- the joined result --- */

static const struct value_ops row_ops;

static bool never_falsy(const struct value *v)
{
	(void)v;
	return false; /* a row that was joined into has a member */
}

static void render_member(const struct added_member *m, uint32_t row, struct buf *out)
{
	uint32_t first = m->starts[row], end = m->starts[row + 1];

	if (!m->many) {
		if (first < end)
			value_render(&m->from[m->matches[first]], out);
		else
			json_null(out);
		return;
	}
	buf_char(out, '[');
	for (uint32_t i = first; i < end && !buf_over(out); i++) {
		if (i > first)
			buf_char(out, ',');
		value_render(&m->from[m->matches[i]], out);
	}
	buf_char(out, ']');
}

static void render_members(const struct added_member *m, uint32_t row, struct buf *out)
{
	/* The list holds the last one first. At most one a step: the depth is bounded by the plan. */
	const struct added_member *in_order[PLAN_MAX_STEPS];
	unsigned count = 0;

	for (; m && count < PLAN_MAX_STEPS; m = m->next)
		in_order[count++] = m;
	while (count-- > 0) {
		if (out->data[out->len - 1] != '{')
			buf_char(out, ',');
		buf_append(out, in_order[count]->key, in_order[count]->key_len);
		render_member(in_order[count], row, out);
	}
}

static void render_row(const struct joined_result *r, uint32_t row, struct buf *out)
{
	value_render(&r->rows.at[row], out);
	if (out->data[out->len - 1] != '}')
		return; /* a scalar has no members */
	out->len--;
	render_members(r->members, row, out);
	buf_char(out, '}');
}

static void render_joined(const struct result *base, struct buf *out)
{
	const struct joined_result *r = container_of(base, const struct joined_result, base);

	if (!r->rows.list) {
		render_row(r, 0, out);
		return;
	}
	buf_char(out, '[');
	for (uint32_t i = 0; i < r->rows.count && !buf_over(out); i++) {
		if (i)
			buf_char(out, ',');
		render_row(r, i, out);
	}
	buf_char(out, ']');
}

/* --- the ways into it --- */

/* In the place of a list that is too long to be made. */
static void too_long_render(const struct value *v, struct buf *out)
{
	(void)v;
	buf_give_up(out);
}

static struct value too_long_follow(const struct value *v, const struct path_segment *segments, size_t count,
				    struct arena *a)
{
	(void)segments;
	(void)count;
	(void)a;
	return *v;
}

static const struct value_ops too_long_ops = {
	.render = too_long_render, .text = too_long_render, .falsy = never_falsy, .follow = too_long_follow};

static struct value too_long(void)
{
	return (struct value){.kind = VALUE_FOREIGN, .ops = &too_long_ops};
}

static struct value member_value(const struct added_member *m, uint32_t row, struct arena *a)
{
	uint32_t first = m->starts[row], count = m->starts[row + 1] - first;

	if (!m->many)
		return count ? m->from[m->matches[first]] : VALUE_OF_NULL;
	if (count > JOIN_MAX_LISTED)
		return too_long();
	struct value *list = arena_array(a, count + 1, sizeof(*list));
	for (uint32_t i = 0; i < count; i++)
		list[i] = m->from[m->matches[first + i]];
	return (struct value){.kind = VALUE_LIST, .count = count, .list = list};
}

static const struct added_member *member_of(const struct joined_result *r, const struct path_segment *segment)
{
	for (const struct added_member *m = r->members; m && segment->kind == PATH_MEMBER; m = m->next) {
		if (m->name_len == segment->name_len && memcmp(m->name, segment->name, m->name_len) == 0)
			return m;
	}
	return NULL;
}

static struct value follow_each(const struct joined_result *r, uint32_t first, uint32_t end,
				const struct path_segment *segments, size_t count, struct arena *a);

static struct value follow_row(const struct joined_result *r, uint32_t row, const struct path_segment *segments,
			       size_t count, struct arena *a)
{
	if (count == 0)
		return (struct value){.kind = VALUE_FOREIGN, .foreign = r, .len = row, .ops = &row_ops};
	const struct added_member *m = member_of(r, segments);
	if (!m)
		return value_follow(&r->rows.at[row], segments, count, a);
	if (m->many && count > 1 && segments[1].kind == PATH_EACH)
		return follow_each(r, row, row + 1, segments, count, a);
	struct value v = member_value(m, row, a);
	return value_follow(&v, segments + 1, count - 1, a);
}

/* The values that `[*]` gives, from all joins on the way into the one list. It is collected twice: counted, then
 * written down. */
struct listing {
	struct value *at; /* NULL: only counted */
	size_t count;
	size_t visits; /* of rows on the way, which may add nothing */
	struct arena *arena;
};

static bool too_many(const struct listing *l)
{
	return l->count > JOIN_MAX_LISTED || l->visits > JOIN_MAX_MATCHES;
}

static void collect_value(struct listing *l, struct value v)
{
	if (l->at)
		l->at[l->count] = v;
	l->count++;
}

static void collect_row(struct listing *l, const struct joined_result *r, uint32_t row,
			const struct path_segment *segments, size_t count);

/* The value that the way gives from v on; a list is taken into the one list, as everywhere. */
static void collect(struct listing *l, const struct value *v, const struct path_segment *segments, size_t count)
{
	l->visits++;
	if (v->kind == VALUE_FOREIGN && v->ops == &row_ops) {
		collect_row(l, v->foreign, (uint32_t)v->len, segments, count);
		return;
	}
	struct value part = value_follow(v, segments, count, l->arena);
	if (part.kind == VALUE_LIST) {
		for (uint32_t i = 0; i < part.count; i++)
			collect_value(l, part.list[i]);
	} else if (!path_has_each(segments, count)) { /* `[*]` of what is not a list adds nothing */
		collect_value(l, part);
	}
}

static void collect_member(struct listing *l, const struct added_member *m, uint32_t row,
			   const struct path_segment *segments, size_t count)
{
	uint32_t first = m->starts[row], end = m->starts[row + 1];
	bool all = m->many && (count == 0 || segments->kind == PATH_EACH);
	size_t used = m->many && count > 0;

	if (m->many && !all) { /* one of them */
		bool there = segments->kind == PATH_INDEX && segments->index < end - first;
		first += there ? segments->index : 0;
		end = first + there;
	}
	if (first == end && !all && !path_has_each(segments, count))
		collect_value(l, VALUE_OF_NULL);
	for (uint32_t i = first; i < end && !too_many(l); i++)
		collect(l, &m->from[m->matches[i]], segments + used, count - used);
}

/* As deep as joins go into joins, which the plan bounds. */
static void collect_row(struct listing *l, const struct joined_result *r, uint32_t row,
			const struct path_segment *segments, size_t count)
{
	const struct added_member *m = count ? member_of(r, segments) : NULL;

	if (m)
		collect_member(l, m, row, segments + 1, count - 1);
	else if (count)
		collect(l, &r->rows.at[row], segments, count);
	else
		collect_value(l, follow_row(r, row, NULL, 0, l->arena));
}

static struct value follow_each(const struct joined_result *r, uint32_t first, uint32_t end,
				const struct path_segment *segments, size_t count, struct arena *a)
{
	struct listing l = {.arena = a};

	for (int written = 0; written < 2; written++) {
		l.count = l.visits = 0;
		for (uint32_t i = first; i < end && !too_many(&l); i++)
			collect_row(&l, r, i, segments, count);
		if (too_many(&l))
			return too_long();
		if (!written)
			l.at = arena_array(a, l.count + 1, sizeof(*l.at));
	}
	return (struct value){.kind = VALUE_LIST, .count = (uint32_t)l.count, .list = l.at};
}

static const struct value_ops whole_ops;

static struct value follow_joined(const struct joined_result *r, const struct path_segment *segments, size_t count,
				  struct arena *a)
{
	if (!r->rows.list)
		return follow_row(r, 0, segments, count, a);
	if (count == 0)
		return (struct value){.kind = VALUE_FOREIGN, .foreign = r, .ops = &whole_ops};
	if (segments->kind == PATH_EACH)
		return follow_each(r, 0, r->rows.count, segments + 1, count - 1, a);
	if (segments->kind == PATH_INDEX && segments->index < r->rows.count)
		return follow_row(r, segments->index, segments + 1, count - 1, a);
	return VALUE_OF_NULL;
}

static struct value get_joined(const struct result *base, const struct path *path, struct arena *a)
{
	return follow_joined(container_of(base, const struct joined_result, base), path->segments, path->count, a);
}

static void free_joined(struct result *base)
{
	result_free(container_of(base, struct joined_result, base)->inner); /* the rest is the arena's */
}

static const struct result_ops joined_ops = {.render = render_joined, .get = get_joined, .free = free_joined};

/* --- as values --- */

static void row_render(const struct value *v, struct buf *out)
{
	render_row(v->foreign, (uint32_t)v->len, out);
}

static struct value row_follow(const struct value *v, const struct path_segment *segments, size_t count,
			       struct arena *a)
{
	return follow_row(v->foreign, (uint32_t)v->len, segments, count, a);
}

static void whole_render(const struct value *v, struct buf *out)
{
	const struct joined_result *r = v->foreign;
	render_joined(&r->base, out);
}

static struct value whole_follow(const struct value *v, const struct path_segment *segments, size_t count,
				 struct arena *a)
{
	return follow_joined(v->foreign, segments, count, a);
}

static bool whole_falsy(const struct value *v)
{
	const struct joined_result *r = v->foreign;
	return r->rows.count == 0;
}

static const struct value_ops row_ops = {
	.render = row_render, .text = row_render, .falsy = never_falsy, .follow = row_follow};
static const struct value_ops whole_ops = {
	.render = whole_render, .text = whole_render, .falsy = whole_falsy, .follow = whole_follow};

/* --- joining --- */

static struct joined_result *joined_of(struct join_side into, struct arena *a)
{
	struct result *r = into.outcome->result;

	if (r->ops == &joined_ops)
		return container_of(r, struct joined_result, base);
	struct joined_result *joined = arena_zalloc(a, sizeof(*joined));
	joined->base = (struct result){.ops = &joined_ops, .rows = r->rows};
	joined->inner = r;
	joined->rows = rows_of(into, a);
	return joined;
}

int join_apply(const struct config_join *join, struct join_side into, struct join_side from, struct arena *a)
{
	if (!into.outcome->result)
		return 0;
	struct joined_result *joined = joined_of(into, a);
	if (joined->rows.count == 0)
		return 0; /* nothing to embed in: an empty list, or null, stays what it is */

	struct rows rows = rows_of(from, a);
	struct added_member *m = arena_zalloc(a, sizeof(*m));
	struct buf key = BUF_INIT;
	*m = (struct added_member){.name = join->as,
				   .name_len = strlen(join->as),
				   .many = join->many,
				   .from = rows.at,
				   .next = joined->members};
	json_string(&key, m->name, m->name_len);
	buf_char(&key, ':');
	m->key = arena_strndup(a, key.data, key.len);
	m->key_len = key.len;
	buf_done(&key);
	int r = match(m, join, &joined->rows, &rows, a);
	if (r == 0)
		joined->members = m;
	into.outcome->result = &joined->base;
	return r;
}

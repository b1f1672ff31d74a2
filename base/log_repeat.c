/* Repeats of one kind of line. */
#include "base/log_repeat.h"

#include <string.h>

#include "base/compiler.h"

#define WINDOW_US 10000000

void log_repeats_done(struct log_repeats *r)
{
	for (size_t i = 0; i < REPEAT_KINDS; i++)
		buf_done(&r->kinds[i].last);
	*r = (struct log_repeats){0};
}

/* FNV-1a */
static uint64_t hash(uint64_t h, const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)s[i]) * 1099511628211u;
	return (h ^ 0xff) * 1099511628211u;
}

static bool is(const struct log_field *f, const char *text)
{
	return f && f->value_len == strlen(text) && memcmp(f->value, text, f->value_len) == 0;
}

/* 0: such lines are never held back. */
static uint64_t kind_of(const struct log_fields *f)
{
	static const char *const others[] = {"time", "id", "request", "path", "peer", "where"};
	const struct log_field *level = log_fields_find(f, "level"), *msg = log_fields_find(f, "msg");
	uint64_t h = 14695981039346656037u;

	if (!msg || is(msg, "request") || !(is(level, "warning") || is(level, "error")))
		return 0;
	for (size_t i = 0; i < f->count; i++) {
		bool counts = !f->items[i].number;
		for (size_t o = 0; o < ARRAY_SIZE(others); o++)
			counts &= log_fields_find(f, others[o]) != &f->items[i];
		if (counts)
			h = hash(hash(h, f->items[i].key, f->items[i].key_len), f->items[i].value,
				 f->items[i].value_len);
	}
	return h ? h : 1;
}

/* Its entry; or a new one, in the place of one whose time is up and that holds nothing. NULL: there is no room. */
static struct log_repeat *entry_of(struct log_repeats *r, uint64_t kind, int64_t now_us)
{
	struct log_repeat *spare = NULL;
	for (size_t i = 0; i < REPEAT_KINDS; i++) {
		struct log_repeat *e = &r->kinds[i];
		if (e->kind == kind && now_us < e->end_us)
			return e;
		if (e->last.len == 0 && (e->kind == 0 || now_us >= e->end_us))
			spare = e;
	}
	if (spare) {
		spare->kind = kind;
		spare->count = 0;
		spare->end_us = now_us + WINDOW_US;
	}
	return spare;
}

bool log_repeats_hold(struct log_repeats *r, const struct log_fields *fields, const char *line, size_t len,
		      int64_t now_us)
{
	uint64_t kind = kind_of(fields);
	struct log_repeat *e = kind ? entry_of(r, kind, now_us) : NULL;

	if (!e || ++e->count <= REPEATS_SHOWN)
		return false;
	r->held += e->last.len == 0;
	e->last.len = 0;
	buf_append(&e->last, line, len);
	return true;
}

void log_repeats_release(struct log_repeats *r, struct buf *out, int64_t now_us, bool all)
{
	for (size_t i = 0; i < REPEAT_KINDS && r->held > 0; i++) {
		struct log_repeat *e = &r->kinds[i];
		if (e->last.len == 0 || (!all && now_us < e->end_us))
			continue;
		buf_append(out, e->last.data, e->last.len);
		buf_printf(out, " repeated=%u\n", e->count - REPEATS_SHOWN);
		e->last.len = 0;
		e->kind = 0;
		r->held--;
	}
}

int64_t log_repeats_due_us(const struct log_repeats *r)
{
	int64_t due_us = INT64_MAX;
	for (size_t i = 0; i < REPEAT_KINDS && r->held > 0; i++) {
		if (r->kinds[i].last.len > 0 && r->kinds[i].end_us < due_us)
			due_us = r->kinds[i].end_us;
	}
	return due_us;
}

/* One row an option. */
#include "drivers/mongo/calls/options.h"

#include <errno.h>
#include <stdio.h>

#include "base/decimal.h"
#include "base/reason.h"
#include "config/diagnostics.h"

#define FINDS    (OPTIONS_FIND | OPTIONS_FIND_AND_UPDATE | OPTIONS_FIND_AND_REPLACE | OPTIONS_FIND_AND_DELETE)
#define FIND_AND (OPTIONS_FIND_AND_UPDATE | OPTIONS_FIND_AND_REPLACE | OPTIONS_FIND_AND_DELETE)
#define READS    (OPTIONS_FIND | OPTIONS_AGGREGATE | OPTIONS_COUNT)
#define UPSERTS                                                                                                        \
	(OPTIONS_UPDATE | OPTIONS_REPLACE | OPTIONS_BULK_UPDATE | OPTIONS_BULK_REPLACE | OPTIONS_FIND_AND_UPDATE |     \
	 OPTIONS_FIND_AND_REPLACE)
#define UPDATES (OPTIONS_UPDATE | OPTIONS_BULK_UPDATE | OPTIONS_FIND_AND_UPDATE)
#define SINGLE  (OPTIONS_UPDATE | OPTIONS_REPLACE | OPTIONS_BULK_UPDATE | OPTIONS_BULK_REPLACE | OPTIONS_BULK_DELETE)
#define STORES  (OPTIONS_INSERT | OPTIONS_UPDATE | OPTIONS_REPLACE | OPTIONS_FIND_AND_UPDATE | OPTIONS_FIND_AND_REPLACE)

enum option_kind {
	KIND_CHOICE, /* a number for the caller */
	KIND_FLAG,   /* true or false, for the caller */
	KIND_RETURN, /* "before" or "after" */
	KIND_BOOL,   /* the rest is written as it is */
	KIND_DOCUMENT,
	KIND_EXPRESSION,
	KIND_FILTERS, /* a list of filters */
	KIND_HINT,    /* the name of an index, or its keys */
	KIND_ANY,
};

static const struct option {
	const char *name;
	enum option_kind kind;
	unsigned target;   /* enum mongo_option_target */
	const char *field; /* MongoDB's name */
	size_t choice;     /* where in struct mongo_choices */
	unsigned sets;     /* who has it */
} rows[] = {
	{"projection", KIND_EXPRESSION, OPTION_OF_COMMAND, "projection", 0, OPTIONS_FIND},
	{"projection", KIND_EXPRESSION, OPTION_OF_COMMAND, "fields", 0, FIND_AND},
	{"sort", KIND_EXPRESSION, OPTION_OF_COMMAND, "sort", 0, FINDS},
	{"limit", KIND_CHOICE, 0, NULL, offsetof(struct mongo_choices, limit), OPTIONS_FIND | OPTIONS_COUNT},
	{"skip", KIND_CHOICE, 0, NULL, offsetof(struct mongo_choices, skip), OPTIONS_FIND | OPTIONS_COUNT},
	{"batch_size", KIND_CHOICE, 0, NULL, offsetof(struct mongo_choices, batch_size),
	 OPTIONS_FIND | OPTIONS_AGGREGATE | OPTIONS_WATCH},
	{"full_document", KIND_ANY, OPTION_OF_STAGE, "fullDocument", 0, OPTIONS_WATCH},
	{"full_document_before_change", KIND_ANY, OPTION_OF_STAGE, "fullDocumentBeforeChange", 0, OPTIONS_WATCH},
	{"resume_after", KIND_DOCUMENT, OPTION_OF_START, "resumeAfter", 0, OPTIONS_WATCH},
	{"start_after", KIND_DOCUMENT, OPTION_OF_START, "startAfter", 0, OPTIONS_WATCH},
	{"ordered", KIND_FLAG, 0, NULL, offsetof(struct mongo_choices, ordered), OPTIONS_INSERT | OPTIONS_BULK},
	{"upsert", KIND_FLAG, 0, NULL, offsetof(struct mongo_choices, upsert), UPSERTS},
	{"return", KIND_RETURN, 0, NULL, 0, OPTIONS_FIND_AND_UPDATE | OPTIONS_FIND_AND_REPLACE},
	{"array_filters", KIND_FILTERS, OPTION_OF_STATEMENT, "arrayFilters", 0, UPDATES},
	{"hint", KIND_HINT, OPTION_OF_STATEMENT, "hint", 0, READS | SINGLE | FIND_AND},
	{"collation", KIND_DOCUMENT, OPTION_OF_STATEMENT, "collation", 0, READS | SINGLE | FIND_AND},
	{"let", KIND_EXPRESSION, OPTION_OF_COMMAND, "let", 0,
	 OPTIONS_FIND | OPTIONS_AGGREGATE | OPTIONS_UPDATE | OPTIONS_REPLACE | FIND_AND},
	{"allow_disk_use", KIND_BOOL, OPTION_OF_COMMAND, "allowDiskUse", 0, OPTIONS_FIND | OPTIONS_AGGREGATE},
	{"bypass_document_validation", KIND_BOOL, OPTION_OF_COMMAND, "bypassDocumentValidation", 0,
	 STORES | OPTIONS_AGGREGATE},
	{"comment", KIND_ANY, OPTION_OF_COMMAND, "comment", 0, READS | STORES | OPTIONS_BULK | OPTIONS_FIND_AND_DELETE},
};

static const char *const what = "the options";

static const struct option *row_of(const char *name, unsigned set)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if ((rows[i].sets & set) && strcmp(rows[i].name, name) == 0)
			return &rows[i];
	}
	return NULL;
}

/* With the nearest right one; if none is near, with all. */
static int unknown(struct mongo_document_maker *m, const char *name, unsigned set)
{
	const char *names[ARRAY_SIZE(rows)];
	char all[256] = "";
	size_t count = 0, len = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (!(rows[i].sets & set))
			continue;
		names[count++] = rows[i].name;
		if (len < sizeof(all))
			len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s", len ? ", " : "", rows[i].name);
	}
	const char *nearest = nearest_name(name, names, count);
	if (nearest)
		return error_set(m->error, -EINVAL, 500, NULL,
				 "the options: there is no \"%.60s\" here; did you mean "
				 "\"%s\"?",
				 name, nearest);
	return error_set(m->error, -EINVAL, 500, NULL, "the options: there is no \"%.60s\" here, only %s", name, all);
}

static int put_choice(struct mongo_document_maker *m, const struct option *o, const struct value *v, int64_t *out)
{
	bool digits = (v->kind == VALUE_NUMBER || v->kind == VALUE_STRING) && json_is_number(v->text, v->len);

	if (v->kind == VALUE_INT)
		*out = v->integer;
	else if (!digits || !decimal_to_int64(v->text, v->len, out))
		*out = -1;
	return *out >= 0 ? 0 : mongo_document_refuse(m, v->from_request, "%s " UNFIT_NOT_COUNT, o->name);
}

static int put_flag(struct mongo_document_maker *m, const struct option *o, const struct value *v, bool *out)
{
	if (v->kind != VALUE_BOOL)
		return mongo_document_refuse(m, v->from_request, "%s " UNFIT_NOT_FLAG, o->name);
	*out = v->boolean;
	return 0;
}

static bool is_text(const struct value *v, const char *text)
{
	return v->kind == VALUE_STRING && v->len == strlen(text) && memcmp(v->text, text, v->len) == 0;
}

static int put_return(struct mongo_document_maker *m, const struct value *v, bool *after)
{
	*after = is_text(v, "after");
	return *after || is_text(v, "before")
		       ? 0
		       : mongo_document_refuse(m, v->from_request, "return " UNFIT_NOT_BEFORE_OR_AFTER);
}

static int put_filters(struct mongo_document_maker *m, const struct option *o, const struct value *v)
{
	char digits[16];
	const char *key;
	int r = 0;

	if (v->kind != VALUE_LIST || v->from_request)
		return mongo_document_refuse(m, v->from_request, "%s " UNFIT_NOT_LIST MADE_HERE, o->name);
	mongo_out_begin(&m->out, BSON_TYPE_ARRAY, o->field, strlen(o->field));
	for (uint32_t i = 0; i < v->count && r == 0; i++) {
		bson_uint32_to_string(i, &key, digits, sizeof(digits));
		r = mongo_document_put(m, key, &v->list[i], DOCUMENT_FILTER, "a filter of array_filters");
	}
	if (r == 0)
		mongo_out_end(&m->out);
	return r;
}

/* What is written into the command. */
static int put_written(struct mongo_document_maker *m, const struct option *o, const struct value *v)
{
	switch (o->kind) {
	case KIND_FILTERS:
		return put_filters(m, o, v);
	case KIND_DOCUMENT:
		return mongo_document_put(m, o->field, v, DOCUMENT_FILTER, o->name);
	case KIND_EXPRESSION:
		return mongo_document_put(m, o->field, v, DOCUMENT_EXPRESSION, o->name);
	case KIND_HINT:
		if (v->kind != VALUE_STRING)
			return mongo_document_put(m, o->field, v, DOCUMENT_FILTER, o->name);
		return mongo_document_put_value(m, o->field, v, o->name);
	case KIND_BOOL:
		if (v->kind != VALUE_BOOL)
			return mongo_document_refuse(m, v->from_request, "%s " UNFIT_NOT_FLAG, o->name);
		return mongo_document_put_value(m, o->field, v, o->name);
	default:
		return mongo_document_put_value(m, o->field, v, o->name);
	}
}

static int put_option(struct mongo_document_maker *m, const struct option *o, const struct value *v, unsigned targets,
		      struct mongo_choices *out)
{
	char *choice = (char *)out + o->choice;

	m->what = what;
	switch (o->kind) {
	case KIND_CHOICE:
		return put_choice(m, o, v, (int64_t *)(void *)choice);
	case KIND_FLAG:
		return put_flag(m, o, v, (bool *)choice);
	case KIND_RETURN:
		return put_return(m, v, &out->after);
	default:
		return o->target & targets ? put_written(m, o, v) : 0;
	}
}

static bool is_among(const char *name, const char *const *names)
{
	for (; names && *names; names++) {
		if (strcmp(name, *names) == 0)
			return true;
	}
	return false;
}

int mongo_options_put(struct mongo_document_maker *m, const struct value *options, enum mongo_option_set set,
		      unsigned targets, const char *const *besides, struct mongo_choices *out)
{
	int r = 0;

	*out = MONGO_CHOICES_NONE;
	m->what = what;
	if (!options)
		return 0;
	if (options->kind != VALUE_DOCUMENT || options->from_request)
		return mongo_document_refuse(m, options->from_request, "they are not a document" MADE_HERE);
	for (uint32_t i = 0; i < options->count && r == 0; i++) {
		const struct value_member *member = &options->members[i];
		const struct option *o = row_of(member->name, set);
		if (is_among(member->name, besides))
			continue;
		if (!o)
			return unknown(m, member->name, set);
		if (member->value.kind != VALUE_NULL)
			r = put_option(m, o, &member->value, targets, out);
	}
	return r;
}

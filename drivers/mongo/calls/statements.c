/* Encoding statements. Each is written as an element without a name, whose document is then put into a command. */
#include "drivers/mongo/calls/statements.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define KEY(s) s, sizeof(s) - 1

enum { VALUE_AT = 2 }; /* behind an element's type and its empty name */

void mongo_statements_init(struct mongo_statements *s, struct error *e)
{
	*s = (struct mongo_statements){.ordered = true};
	mongo_document_maker_init(&s->maker, &s->bytes, e);
	mongo_out_init(&s->upserted, &s->upserted_bytes);
	mongo_out_document(&s->upserted);
}

void mongo_statements_done(struct mongo_statements *s)
{
	mongo_document_maker_done(&s->maker);
	buf_done(&s->bytes);
	buf_done(&s->beside);
	buf_done(&s->upserted_bytes);
	free(s->items);
}

/* --- adding --- */

static void add(struct mongo_statements *s, enum mongo_statement_kind kind, size_t at)
{
	if (s->count == s->capacity) {
		s->capacity = s->capacity ? s->capacity * 2 : 4;
		s->items = mem_realloc(s->items, s->capacity * sizeof(*s->items));
	}
	at += VALUE_AT;
	s->items[s->count++] = (struct mongo_statement){.kind = kind, .at = at, .len = s->bytes.len - at};
}

int mongo_statements_options(struct mongo_statements *s, const struct value *options, enum mongo_option_set set)
{
	struct mongo_document_maker m;
	struct mongo_choices choices = MONGO_CHOICES_NONE;

	if (!options)
		return 0;
	mongo_document_maker_init(&m, &s->beside, s->maker.error);
	int r = mongo_options_put(&m, options, set, OPTION_OF_COMMAND, NULL, &choices);
	s->ordered = choices.ordered;
	s->maker.from_request |= m.from_request;
	mongo_document_maker_done(&m);
	return r;
}

/* Put a new _id in front of the members of the last document, which begins at `at`. */
static void make_id(struct mongo_statements *s, size_t at)
{
	enum { ID_LEN = 1 + sizeof("_id") + 12 };
	size_t len = s->bytes.len - at;
	bson_oid_t id;

	buf_reserve(&s->bytes, ID_LEN);
	char *document = s->bytes.data + at;
	memmove(document + 4 + ID_LEN, document + 4, len - 4);
	bson_oid_init(&id, NULL);
	document[4] = BSON_TYPE_OID;
	memcpy(document + 5, "_id", sizeof("_id"));
	memcpy(document + 5 + sizeof("_id"), id.bytes, sizeof(id.bytes));
	uint32_t le = BSON_UINT32_TO_LE((uint32_t)(len + ID_LEN));
	memcpy(document, &le, sizeof(le));
	s->bytes.len += ID_LEN;
}

size_t mongo_statements_begin(struct mongo_statements *s)
{
	size_t at = s->bytes.len;

	mongo_out_key(&s->maker.out, BSON_TYPE_DOCUMENT, "", 0);
	return at;
}

void mongo_statements_end(struct mongo_statements *s, enum mongo_statement_kind kind, size_t at)
{
	const uint8_t *bytes = (const uint8_t *)s->bytes.data + at + VALUE_AT;

	if (kind == STATEMENT_INSERT && !mongo_element_find(bytes, s->bytes.len - at - VALUE_AT, "_id", 3).type)
		make_id(s, at + VALUE_AT);
	add(s, kind, at);
}

int mongo_statements_insert(struct mongo_statements *s, const struct value *document)
{
	size_t at = s->bytes.len;
	int r = mongo_document_put(&s->maker, "", document, DOCUMENT_STORED, "the document");

	if (r < 0)
		return r;
	mongo_statements_end(s, STATEMENT_INSERT, at);
	return 0;
}

/* What an update and a deletion begin with: the filter, for an update the change, and the options. */
static int begin_change(struct mongo_statements *s, enum mongo_statement_kind kind,
			const struct mongo_statement_change *c, struct mongo_choices *choices)
{
	struct mongo_document_maker *m = &s->maker;

	mongo_out_begin(&m->out, BSON_TYPE_DOCUMENT, "", 0);
	int r = mongo_document_put(m, "q", c->filter, DOCUMENT_FILTER, "the filter");
	if (r == 0 && kind == STATEMENT_UPDATE)
		r = mongo_document_put(m, "u", c->change, c->use,
				       c->use == DOCUMENT_STORED ? "the replacement" : "the update");
	if (r == 0)
		r = mongo_options_put(m, c->options, c->set, OPTION_OF_STATEMENT, c->besides, choices);
	return r;
}

int mongo_statements_update(struct mongo_statements *s, const struct mongo_statement_change *c)
{
	struct mongo_out *out = &s->maker.out;
	struct mongo_choices choices = MONGO_CHOICES_NONE;
	size_t at = s->bytes.len;
	int r = begin_change(s, STATEMENT_UPDATE, c, &choices);

	if (r < 0)
		return r;
	if (c->many)
		mongo_out_bool(out, KEY("multi"), true);
	if (choices.upsert)
		mongo_out_bool(out, KEY("upsert"), true);
	mongo_out_end(out);
	add(s, STATEMENT_UPDATE, at);
	return 0;
}

int mongo_statements_delete(struct mongo_statements *s, const struct mongo_statement_change *c)
{
	struct mongo_choices choices = MONGO_CHOICES_NONE;
	size_t at = s->bytes.len;
	int r = begin_change(s, STATEMENT_DELETE, c, &choices);

	if (r < 0)
		return r;
	mongo_out_int32(&s->maker.out, KEY("limit"), c->many ? 0 : 1);
	mongo_out_end(&s->maker.out);
	add(s, STATEMENT_DELETE, at);
	return 0;
}

struct mongo_element mongo_statements_id(const struct mongo_statements *s, uint32_t index)
{
	const struct mongo_statement *i = &s->items[index];

	return mongo_element_find((const uint8_t *)s->bytes.data + i->at, i->len, "_id", 3);
}

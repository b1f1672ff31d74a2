/* The shapes of gatherd.h, for handlers and for steps alike. */
#include "drivers/mongo/calls/written.h"

#define KEY(s) s, sizeof(s) - 1

void mongo_written_inserted(const struct mongo_statements *s, uint32_t index, struct mongo_result *out)
{
	struct mongo_element id = mongo_statements_id(s, index);
	struct mongo_out o;

	mongo_result_begin(out, &o);
	mongo_out_raw(&o, id.type, KEY("inserted_id"), id.value, id.len);
	mongo_result_end(out, &o);
}

void mongo_written_all(const struct mongo_statements *s, struct mongo_result *out)
{
	struct mongo_out o;
	char digits[16];
	const char *key;

	mongo_result_begin(out, &o);
	mongo_out_int(&o, KEY("inserted_count"), s->inserted);
	mongo_out_begin(&o, BSON_TYPE_ARRAY, KEY("inserted_ids"));
	for (uint32_t i = 0; i < s->count; i++) {
		struct mongo_element id = mongo_statements_id(s, i);
		size_t len = bson_uint32_to_string(i, &key, digits, sizeof(digits));
		mongo_out_raw(&o, id.type, key, len, id.value, id.len);
	}
	mongo_out_end(&o);
	mongo_result_end(out, &o);
}

/* The _id of the only upsert, or null. */
static void put_upserted_id(const struct mongo_statements *s, struct mongo_out *o)
{
	struct mongo_element first = mongo_element_at((const uint8_t *)s->upserted_bytes.data, s->upserted_bytes.len,
						      0),
			     id = {0};

	if (first.type == BSON_TYPE_DOCUMENT)
		id = mongo_element_find(first.value, first.len, "id", 2);
	if (id.type)
		mongo_out_raw(o, id.type, KEY("upserted_id"), id.value, id.len);
	else
		mongo_out_null(o, KEY("upserted_id"));
}

void mongo_written_changed(struct mongo_statements *s, struct mongo_result *out)
{
	struct mongo_out o;

	mongo_out_end(&s->upserted);
	mongo_result_begin(out, &o);
	mongo_out_int(&o, KEY("matched_count"), s->matched);
	mongo_out_int(&o, KEY("modified_count"), s->modified);
	put_upserted_id(s, &o);
	mongo_result_end(out, &o);
}

void mongo_written_deleted(const struct mongo_statements *s, struct mongo_result *out)
{
	struct mongo_out o;

	mongo_result_begin(out, &o);
	mongo_out_int(&o, KEY("deleted_count"), s->deleted);
	mongo_result_end(out, &o);
}

/* getMore and killCursors. A server without the word to forget a cursor would keep it for ten minutes. */
#include "drivers/mongo/calls/batch.h"

#include <string.h>

#include "drivers/mongo/wire/errors.h"

#define KILL_US 500000

int mongo_batch_read(const struct mongo_sending *a, const struct mongo_answer *answer, const char *name,
		     struct mongo_batch *b)
{
	struct mongo_element cursor = mongo_answer_member(answer, "cursor");
	struct mongo_element_iter i;
	struct mongo_element e;

	*b = (struct mongo_batch){.cursor = -1};
	if (cursor.type != BSON_TYPE_DOCUMENT)
		return mongo_answer_lacks(a, "cursor");
	mongo_element_iter_init(&i, cursor.value, cursor.len);
	while (mongo_element_next(&i, &e)) {
		size_t len;
		if (e.type == BSON_TYPE_ARRAY && strcmp(e.key, name) == 0)
			b->documents = e;
		else if (strcmp(e.key, "id") == 0)
			b->cursor = mongo_element_integer(&e, -1);
		else if (e.type == BSON_TYPE_UTF8 && strcmp(e.key, "ns") == 0)
			b->collection = strchr(mongo_read_text(&e, &len), '.');
		else if (e.type == BSON_TYPE_DOCUMENT && strcmp(e.key, "postBatchResumeToken") == 0)
			b->token = e;
	}
	if (b->collection)
		b->collection++;
	if (!b->documents.type || b->cursor == -1 || (b->cursor && !b->collection))
		return mongo_answer_lacks(a, name);
	if (b->cursor && strlen(b->collection) >= COLLECTION_MAX)
		return mongo_answer_lacks(a, "collection of a sane length");
	return 0;
}

int mongo_batch_next(const struct mongo_sending *a, int64_t cursor, const char *collection, int32_t size,
		     int64_t await_ms, struct mongo_answer *answer, struct mongo_batch *b)
{
	bson_t document = BSON_INITIALIZER;

	BSON_APPEND_INT64(&document, "getMore", cursor);
	BSON_APPEND_UTF8(&document, "collection", collection);
	if (size)
		BSON_APPEND_INT32(&document, "batchSize", size);
	if (await_ms > 0)
		BSON_APPEND_INT64(&document, "maxTimeMS", await_ms);
	int r = mongo_send(a, &document, answer);
	bson_destroy(&document);
	return r < 0 ? r : mongo_batch_read(a, answer, "nextBatch", b);
}

/* What comes of it does not matter. */
void mongo_batch_kill(const struct mongo_sending *a, int64_t cursor, const char *collection)
{
	bson_t document = BSON_INITIALIZER, list, reply;
	bson_error_t error;
	struct shield shield;

	if (cursor == 0 || !collection || a->connection->streams.fault) {
		bson_destroy(&document);
		return;
	}
	BSON_APPEND_UTF8(&document, "killCursors", collection);
	BSON_APPEND_ARRAY_BEGIN(&document, "cursors", &list);
	BSON_APPEND_INT64(&list, "0", cursor);
	bson_append_array_end(&document, &list);
	task_shield(&shield, deadline_in_us(KILL_US));
	if (!mongo_connection_command(a->connection, a->database, &document, &reply, &error))
		*a->consequences |= MONGO_DISCARD;
	task_unshield(&shield);
	bson_destroy(&reply);
	bson_destroy(&document);
}

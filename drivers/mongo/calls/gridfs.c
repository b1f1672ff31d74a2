/* As the specification of GridFS has it, made of the operations that handlers have. */
#include "drivers/mongo/calls/gridfs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "drivers/mongo/bson/convert.h"
#include "drivers/mongo/bson/follow.h"
#include "drivers/mongo/calls/result.h"
#include "drivers/mongo/calls/write.h"

#define KEY(s)       s, sizeof(s) - 1
#define MEMBER(s, v) ((struct value_member){.name = (s), .len = strlen(s), .value = (v)})
#define REMOVE_US    INT64_C(5000000)
#define STORE_US     INT64_C(10000000) /* for a chunk, if the source has no timeout */
#define BATCH        4                 /* chunks: one MiB in memory */

static char *collection_name(const char *bucket, const char *which)
{
	struct buf name = BUF_INIT;

	buf_printf(&name, "%s.%s", bucket ? bucket : "fs", which);
	buf_cstr(&name);
	return name.data;
}

static struct value document_of(const struct value_member *members, uint32_t count)
{
	return (struct value){.kind = VALUE_DOCUMENT, .count = count, .members = members};
}

/* --- indexes --- */

struct indexing {
	struct mongo_operation operation;
	const bson_t *command;
};

static int ask_index(struct mongo_operation *a, struct mongo_connection *c, unsigned *consequences)
{
	struct indexing *x = container_of(a, struct indexing, operation);
	struct mongo_sending sending = {.connection = c,
					.database = a->client->pool.settings->database,
					.error = a->error,
					.consequences = consequences};
	struct mongo_answer answer = {0};
	int r = mongo_send_write(&sending, x->command, &answer);

	bson_free(answer.data);
	return r;
}

/* Suspends. Where it is there already nothing happens. */
static int make_index(const struct mongo_gridfs_upload *u, const char *collection, const char *first,
		      const char *second, struct error *e)
{
	bson_t command = BSON_INITIALIZER, list, index, keys;
	char name[64];
	bool unique = collection == u->chunks;
	struct indexing x = {.operation = {.client = mongo_client_of(u->client),
					   .run = ask_index,
					   .timeout_us = u->options.timeout_us,
					   .by = DEADLINE_NEVER,
					   .error = e},
			     .command = &command};

	snprintf(name, sizeof(name), "%s_1_%s_1", first, second);
	BSON_APPEND_UTF8(&command, "createIndexes", collection);
	BSON_APPEND_ARRAY_BEGIN(&command, "indexes", &list);
	BSON_APPEND_DOCUMENT_BEGIN(&list, "0", &index);
	BSON_APPEND_DOCUMENT_BEGIN(&index, "key", &keys);
	BSON_APPEND_INT32(&keys, first, 1);
	BSON_APPEND_INT32(&keys, second, 1);
	bson_append_document_end(&index, &keys);
	BSON_APPEND_UTF8(&index, "name", name);
	if (unique)
		BSON_APPEND_BOOL(&index, "unique", true);
	bson_append_document_end(&list, &index);
	bson_append_array_end(&command, &list);
	int r = mongo_run(&x.operation);
	bson_destroy(&command);
	return r;
}

static struct mongo_target target_of(const struct mongo_gridfs_upload *u, const char *collection)
{
	return (struct mongo_target){.client = u->client, .options = &u->options, .collection = collection};
}

/* A bucket with a file in it has them, or its owner wants none. */
static int make_indexes(const struct mongo_gridfs_upload *u, struct error *e)
{
	struct mongo_target files = target_of(u, u->files);
	struct value_member only_id = MEMBER("_id", value_int(1));
	struct value projection = document_of(&only_id, 1), all = document_of(NULL, 0);
	struct value_member projected = MEMBER("projection", projection);
	struct value options = document_of(&projected, 1);
	struct result *found;
	int r = mongo_find_one(&files, &all, &options, &found, e);

	if (r < 0)
		return r;
	bool some = found->rows > 0;
	result_free(found);
	if (some)
		return 0;
	r = make_index(u, u->files, "filename", "uploadDate", e);
	return r < 0 ? r : make_index(u, u->chunks, "files_id", "n", e);
}

/* --- uploads --- */

int mongo_gridfs_create(struct mongo_gridfs_upload *u, const struct mongo_target *t, const char *bucket,
			const char *filename, const struct value *metadata, struct error *e)
{
	bson_oid_t id;

	*u = (struct mongo_gridfs_upload){.client = t->client,
					  .options = *t->options,
					  .files = collection_name(bucket, "files"),
					  .chunks = collection_name(bucket, "chunks"),
					  .filename = filename,
					  .metadata = metadata};
	bson_oid_init(&id, NULL);
	bson_oid_to_string(&id, u->id_text);
	u->id = value_string(u->id_text, sizeof(u->id_text) - 1);
	u->id.subtype = FORMAT_OBJECTID;
	int r = filename ? make_indexes(u, e) : error_set(e, -EINVAL, 500, NULL, "the file has no name");
	if (r < 0)
		mongo_gridfs_upload_done(u);
	return r;
}

/* Suspends, shielded: what is under way when the task is cancelled would be stored behind the back of who removes it.
 */
static int store(struct mongo_gridfs_upload *u, const char *collection, const struct value *document, struct error *e)
{
	struct mongo_target t = target_of(u, collection);
	struct shield shield;
	struct result *out;
	int r = task_check();

	if (r < 0)
		return error_set(e, r, r == -ETIMEDOUT ? 504 : 503, NULL, "the upload was interrupted");
	u->sent = true;
	task_shield(&shield, u->options.timeout_us ? DEADLINE_NEVER : deadline_in_us(STORE_US));
	r = mongo_insert_one(&t, document, &out, e);
	task_unshield(&shield);
	if (r == 0)
		result_free(out);
	return r;
}

static int store_chunk(struct mongo_gridfs_upload *u, struct error *e)
{
	struct value_member members[] = {MEMBER("files_id", u->id), MEMBER("n", value_int(u->stored)),
					 MEMBER("data", value_bytes_of(u->chunk.data, u->chunk.len))};
	struct value document = document_of(members, ARRAY_SIZE(members));

	int r = store(u, u->chunks, &document, e);
	if (r < 0)
		return r;
	u->stored++;
	u->chunk.len = 0;
	return 0;
}

int mongo_gridfs_write(struct mongo_gridfs_upload *u, const void *p, size_t len, struct error *e)
{
	const char *at = p;

	while (len > 0) {
		size_t room = GRIDFS_CHUNK_BYTES - u->chunk.len, n = len < room ? len : room;
		buf_append(&u->chunk, at, n);
		at += n;
		len -= n;
		u->length += (int64_t)n;
		int r = u->chunk.len == GRIDFS_CHUNK_BYTES ? store_chunk(u, e) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int store_file(struct mongo_gridfs_upload *u, struct error *e)
{
	struct buf date = BUF_INIT;

	mongo_date_format(&date, now_ms(), true);
	struct value when = value_string(date.data, date.len);
	when.subtype = FORMAT_INSTANT;
	struct value_member members[] = {MEMBER("_id", u->id),
					 MEMBER("length", value_int(u->length)),
					 MEMBER("chunkSize", value_int(GRIDFS_CHUNK_BYTES)),
					 MEMBER("uploadDate", when),
					 MEMBER("filename", value_string(u->filename, strlen(u->filename))),
					 MEMBER("metadata", u->metadata ? *u->metadata : VALUE_OF_NULL)};
	struct value document = document_of(members, u->metadata ? 6 : 5);
	int r = store(u, u->files, &document, e);
	buf_done(&date);
	return r;
}

int mongo_gridfs_finish(struct mongo_gridfs_upload *u, struct result **out, struct error *e)
{
	struct mongo_out o;
	bson_oid_t id;
	int r = u->chunk.len ? store_chunk(u, e) : 0;

	if (r == 0)
		r = store_file(u, e);
	if (r < 0)
		return r;
	u->sent = false;
	struct mongo_result *result = mongo_result_new(mongo_client_of(u->client)->json);
	mongo_result_begin(result, &o);
	bson_oid_init_from_string(&id, u->id_text);
	mongo_out_raw(&o, BSON_TYPE_OID, KEY("_id"), id.bytes, sizeof(id.bytes));
	mongo_out_int(&o, KEY("length"), u->length);
	mongo_result_end(result, &o);
	*out = &result->base;
	return 0;
}

/* What comes of it does not matter: there is nobody left to tell. */
static void remove_all(const struct mongo_gridfs_upload *u, const char *collection, const char *name)
{
	struct mongo_target t = target_of(u, collection);
	struct value_member member = MEMBER(name, u->id);
	struct value filter = document_of(&member, 1);
	struct error e = ERROR_INIT;
	struct result *out;

	if (mongo_delete(&t, true, &filter, &out, &e) == 0)
		result_free(out);
}

void mongo_gridfs_upload_done(struct mongo_gridfs_upload *u)
{
	struct shield shield;

	if (u->sent) {
		task_shield(&shield, deadline_in_us(REMOVE_US));
		remove_all(u, u->files, "_id"); /* of which it may be unknown whether it was stored */
		remove_all(u, u->chunks, "files_id");
		task_unshield(&shield);
	}
	u->sent = false;
	buf_done(&u->chunk);
	free(u->files);
	free(u->chunks);
	u->files = u->chunks = NULL;
}

/* --- a file that is there --- */

/* Where it is, and the filters that find its document and its chunks. */
struct stored {
	char *names[2];
	struct mongo_target files, chunks;
	struct value_member by_id, by_files_id;
	struct value document, pieces;
};

static void stored_init(struct stored *s, const struct mongo_target *t, const char *bucket, const struct value *id)
{
	*s = (struct stored){.names = {collection_name(bucket, "files"), collection_name(bucket, "chunks")},
			     .files = *t,
			     .chunks = *t,
			     .by_id = MEMBER("_id", *id),
			     .by_files_id = MEMBER("files_id", *id)};
	s->files.collection = s->names[0];
	s->chunks.collection = s->names[1];
	s->document = document_of(&s->by_id, 1);
	s->pieces = document_of(&s->by_files_id, 1);
}

static void stored_done(struct stored *s)
{
	free(s->names[0]);
	free(s->names[1]);
}

/* --- downloads --- */

static int64_t number_of(const struct result *r, const char *name, struct arena *a)
{
	struct path_segment segment = {.kind = PATH_MEMBER, .name = name, .name_len = strlen(name)};
	struct value v = r->ops->get(r, &(struct path){&segment, 1}, a);

	if (v.kind == VALUE_INT)
		return v.integer;
	struct mongo_element e = mongo_value_is_bson(&v) ? mongo_value_element(&v) : (struct mongo_element){0};
	return mongo_element_integer(&e, -1);
}

/* Suspends. What its document says of it. */
static int find_file(struct mongo_gridfs_download *d, const struct mongo_target *t, const struct value *filter,
		     struct error *e)
{
	struct result *file;
	int r = mongo_find_one(t, filter, NULL, &file, e);

	if (r < 0)
		return r;
	if (file->rows == 0) {
		r = error_set(e, -ENOENT, 404, NULL, "there is no such file in %.100s", t->collection);
	} else {
		d->length = number_of(file, "length", t->options->arena);
		d->chunk_bytes = number_of(file, "chunkSize", t->options->arena);
		if (d->length < 0 || d->chunk_bytes <= 0)
			r = error_set(e, -EPROTO, 500, NULL, "the document in %.100s is no file's", t->collection);
	}
	result_free(file);
	return r;
}

static int open_chunks(struct mongo_gridfs_download *d, const struct mongo_target *t, const struct value *filter,
		       struct error *e)
{
	struct value_member by_n = MEMBER("n", value_int(1));
	struct value_member members[] = {MEMBER("sort", document_of(&by_n, 1)), MEMBER("batch_size", value_int(BATCH))};
	struct value options = document_of(members, ARRAY_SIZE(members));

	return mongo_cursor_find(&d->cursor, t, filter, &options, e);
}

int mongo_gridfs_open(struct mongo_gridfs_download *d, const struct mongo_target *t, const char *bucket,
		      const struct value *id, struct error *e)
{
	struct stored file;

	*d = (struct mongo_gridfs_download){0};
	stored_init(&file, t, bucket, id);
	int r = find_file(d, &file.files, &file.document, e);
	if (r == 0)
		r = open_chunks(d, &file.chunks, &file.pieces, e);
	stored_done(&file);
	return r;
}

/* The bytes of a chunk. False: it has none. */
static bool bytes_of(const struct mongo_element *chunk, const void **p, size_t *len)
{
	struct mongo_element data = mongo_element_find(chunk->value, chunk->len, KEY("data"));
	size_t head = 5; /* the length and the subtype */

	if (data.type != BSON_TYPE_BINARY || data.len < head)
		return false;
	if (data.value[4] == BSON_SUBTYPE_BINARY_DEPRECATED)
		head += 4; /* the length once more */
	if (data.len < head)
		return false;
	*p = data.value + head;
	*len = data.len - head;
	return true;
}

/* How long the chunk that comes must be; 0: there is none. */
static int64_t expected(const struct mongo_gridfs_download *d)
{
	int64_t left = d->length - d->next * d->chunk_bytes;

	return left <= 0 ? 0 : left < d->chunk_bytes ? left : d->chunk_bytes;
}

static int damaged(const struct mongo_gridfs_download *d, const char *how, struct error *e)
{
	return error_set(e, -EIO, 500, NULL, "the file is damaged: chunk %lld %s", (long long)d->next, how);
}

int mongo_gridfs_read(struct mongo_gridfs_download *d, const void **p, size_t *len, struct error *e)
{
	struct mongo_element chunk;
	int64_t due = expected(d);
	int r = mongo_cursor_next(&d->cursor, &chunk, e);

	if (r < 0)
		return r;
	if (r == 0)
		return due ? damaged(d, "is missing", e) : 0;
	struct mongo_element n = mongo_element_find(chunk.value, chunk.len, "n", 1);
	int64_t number = mongo_element_integer(&n, -1);
	if (number > d->next)
		return damaged(d, due ? "is missing" : "is more than there should be", e);
	if (number != d->next)
		return damaged(d, "comes twice", e);
	if (!due)
		return damaged(d, "is more than there should be", e);
	if (!bytes_of(&chunk, p, len) || (int64_t)*len != due)
		return damaged(d, "is not of the right length", e);
	d->next++;
	return 1;
}

void mongo_gridfs_close(struct mongo_gridfs_download *d)
{
	mongo_cursor_close(&d->cursor);
}

/* --- removal --- */

/* The document first: from then on there is no such file. */
int mongo_gridfs_delete(const struct mongo_target *t, const char *bucket, const struct value *id, struct result **out,
			struct error *e)
{
	struct stored file;
	struct result *removed = NULL, *rest;

	stored_init(&file, t, bucket, id);
	int r = mongo_delete(&file.files, false, &file.document, &removed, e);
	if (r == 0)
		r = mongo_delete(&file.chunks, true, &file.pieces, &rest, e);
	if (r == 0)
		result_free(rest);
	if (r < 0)
		result_free(removed);
	else
		*out = removed;
	stored_done(&file);
	return r;
}

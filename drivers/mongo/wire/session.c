/* libmongoc writes the session's id into commands, and nothing else of a transaction: the rest is written here. */
#include "drivers/mongo/wire/session.h"

#include <string.h>

/* The place where libmongoc keeps the id: {id: UUID}. There is no function to give a session the id of another one,
 * which is what committing a transaction after its connection broke takes. */
static uint8_t *id_of(const struct mongo_session *s)
{
	bson_iter_t i;
	bson_subtype_t subtype;
	uint32_t len = 0;
	const uint8_t *id = NULL;

	if (!bson_iter_init_find(&i, mongoc_client_session_get_lsid(s->handle), "id") || !BSON_ITER_HOLDS_BINARY(&i))
		return NULL;
	bson_iter_binary(&i, &subtype, &len, &id);
	return len == SESSION_ID_LEN ? (uint8_t *)(uintptr_t)id : NULL;
}

static bool start(struct mongo_session *s, mongoc_client_t *client, const bson_t *options, bson_error_t *error)
{
	mongoc_session_opt_t *plain = mongoc_session_opts_new();

	mongoc_session_opts_set_causal_consistency(plain, false);
	s->handle = mongoc_client_start_session(client, plain, error);
	mongoc_session_opts_destroy(plain);
	if (!s->handle)
		return false;
	s->options = bson_copy(options);
	if (id_of(s) && mongoc_client_session_append(s->handle, s->options, error)) {
		memcpy(s->own.id, id_of(s), SESSION_ID_LEN);
		return true;
	}
	mongo_session_done(s);
	return false;
}

/* Commands of a transaction must have no write concern; only its end has one. */
static void put_concern_aside(struct mongo_session *s, mongoc_client_t *client)
{
	mongoc_write_concern_t *none = mongoc_write_concern_new();

	s->concern = mongoc_write_concern_copy(mongoc_client_get_write_concern(client));
	mongoc_client_set_write_concern(client, none);
	mongoc_write_concern_destroy(none);
}

bool mongo_session_open(struct mongo_session *s, mongoc_client_t *client, const bson_t *options,
			const struct mongo_session_identity *identity, bson_error_t *error)
{
	if (!s->handle && !start(s, client, options, error))
		return false;
	if (!identity)
		s->own.number++;
	s->now = identity ? *identity : s->own;
	memcpy(id_of(s), s->now.id, SESSION_ID_LEN);
	s->begun = identity != NULL;
	put_concern_aside(s, client);
	s->open = true;
	return true;
}

void mongo_session_close(struct mongo_session *s, mongoc_client_t *client)
{
	if (!s->open)
		return;
	s->open = s->snapshot = false;
	memcpy(id_of(s), s->own.id, SESSION_ID_LEN);
	mongoc_client_set_write_concern(client, s->concern);
	mongoc_write_concern_destroy(s->concern);
	bson_destroy(s->recovery);
	s->concern = NULL;
	s->recovery = NULL;
}

void mongo_session_done(struct mongo_session *s)
{
	if (s->handle)
		mongoc_client_session_destroy(s->handle);
	bson_destroy(s->options);
	s->handle = NULL;
	s->options = NULL;
}

static void put_read_concern(const struct mongo_session *s, const mongoc_client_t *client, bson_t *command)
{
	const char *level = mongoc_read_concern_get_level(mongoc_client_get_read_concern(client));
	bson_t concern;

	if (s->snapshot)
		level = MONGOC_READ_CONCERN_LEVEL_SNAPSHOT;
	if (!level)
		return;
	BSON_APPEND_DOCUMENT_BEGIN(command, "readConcern", &concern);
	BSON_APPEND_UTF8(&concern, "level", level);
	bson_append_document_end(command, &concern);
}

static void keep_recovery(struct mongo_session *s, const bson_t *reply)
{
	bson_iter_t i;
	uint32_t len;
	const uint8_t *data;

	if (!bson_iter_init_find(&i, reply, "recoveryToken") || !BSON_ITER_HOLDS_DOCUMENT(&i))
		return;
	bson_iter_document(&i, &len, &data);
	bson_destroy(s->recovery);
	s->recovery = bson_new_from_data(data, len);
}

/* As a command that writes: those that read get a read preference, which a transaction must not have. */
bool mongo_session_command(struct mongo_session *s, mongoc_client_t *client, const char *database,
			   const bson_t *command, bson_t *reply, bson_error_t *error)
{
	bson_t whole;

	bson_copy_to(command, &whole);
	BSON_APPEND_INT64(&whole, "txnNumber", s->now.number);
	if (!s->begun) {
		BSON_APPEND_BOOL(&whole, "startTransaction", true);
		put_read_concern(s, client, &whole);
	}
	BSON_APPEND_BOOL(&whole, "autocommit", false);
	s->begun = true;
	bool good = mongoc_client_write_command_with_opts(client, database, &whole, s->options, reply, error);
	keep_recovery(s, reply);
	bson_destroy(&whole);
	return good;
}

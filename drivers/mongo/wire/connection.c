/* Making and unmaking libmongoc clients.
 *
 * A client that was made for a URL with hosts does nothing that blocks: it connects when it is first used, through
 * streams of ours. What it may do is sleep on the thread, for up to half a second, when it looks for its servers again
 * within that time of the last look; a broken client that is destroyed looks for them to say good-bye. So a broken one
 * rests for that long before it is destroyed. */
#include "drivers/mongo/wire/connection.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/mongo/wire/errors.h"
#include "drivers/mongo/wire/pool.h"

#define RESCAN_REST_US INT64_C(550000)  /* libmongoc's own is 500 ms */
#define ROLE_US        INT64_C(1000000) /* for that long a server is believed to be what it was */

/* One that libmongoc has heard of lately, and that has data. Without one, a command's session makes libmongoc look for
 * the servers while it holds a stream, which it then uses even if the look has freed it. */
static bool has_data(const mongoc_server_description_t *server)
{
	static const char *const types[] = {"Standalone", "Mongos", "RSPrimary", "RSSecondary", "LoadBalancer"};

	for (size_t i = 0; server && i < ARRAY_SIZE(types); i++)
		if (strcmp(mongoc_server_description_type(server), types[i]) == 0)
			return true;
	return false;
}

/* The protocol's versions, by what came with them. */
enum { WIRE_4_0 = 7, WIRE_4_2 = 8 };

static int64_t hello_number(const bson_t *hello, const char *name, int64_t otherwise)
{
	bson_iter_t i;

	if (!bson_iter_init_find(&i, hello, name) || !BSON_ITER_HOLDS_NUMBER(&i))
		return otherwise;
	int64_t n = bson_iter_as_int64(&i);
	return n > 0 && n <= otherwise ? n : otherwise;
}

/* Replica sets have transactions since 4.0, sharded clusters since 4.2. */
static bool has_transactions(const char *type, int64_t wire)
{
	if (strcmp(type, "Standalone") == 0)
		return false;
	return wire >= (strcmp(type, "Mongos") == 0 ? WIRE_4_2 : WIRE_4_0);
}

/* Where it says nothing: what MongoDB's have been since 3.6. */
static struct mongo_connection_limits read_limits(const mongoc_server_description_t *server)
{
	const bson_t *hello = mongoc_server_description_hello_response(server);
	const char *type = mongoc_server_description_type(server);
	int64_t wire = hello_number(hello, "maxWireVersion", INT32_MAX);

	return (struct mongo_connection_limits){
		.writable = strcmp(type, "RSSecondary") != 0,
		.transactions = has_transactions(type, wire),
		.starts_at_times = wire >= WIRE_4_0,
		.document_bytes = (size_t)hello_number(hello, "maxBsonObjectSize", (int64_t)16 * 1024 * 1024),
		.statements = (size_t)hello_number(hello, "maxWriteBatchSize", 100000),
	};
}

/* Once: a look for the servers costs a round trip to each of them, and waits for the slowest. When the one that was
 * chosen steps down or goes away, the connection ends, and its successor chooses again. */
static bool choose_server(struct mongo_connection *c, bson_error_t *error)
{
	const mongoc_read_prefs_t *prefs = mongoc_client_get_read_prefs(c->client);

	c->streams.wants_primary = mongoc_read_prefs_get_mode(prefs) == MONGOC_READ_PRIMARY;
	mongoc_server_description_t *server = mongoc_client_select_server(c->client, false, prefs, error);
	c->streams.wants_primary = false;
	c->streams.others_by = DEADLINE_NEVER;
	if (!server)
		return false;
	bool good = has_data(server);
	if (!good)
		bson_set_error(error, MONGOC_ERROR_SERVER_SELECTION, MONGOC_ERROR_SERVER_SELECTION_FAILURE,
			       "the server is of type %s, and has no data", mongoc_server_description_type(server));
	c->server = mongoc_server_description_id(server);
	c->limits = read_limits(server);
	BSON_APPEND_INT32(c->options, "serverId", (int32_t)c->server);
	mongoc_server_description_destroy(server);
	return good;
}

/* libmongoc forgets what it knew of a server that says it is not a primary. */
static bool server_is_known(const struct mongo_connection *c)
{
	mongoc_server_description_t *server = mongoc_client_get_server_description(c->client, c->server);
	bool known = has_data(server);

	mongoc_server_description_destroy(server);
	return known;
}

/* An answer with none of these, even one that is "ok", says nothing of who is primary. */
static bool is_plain(const bson_t *reply)
{
	static const char *const words[] = {"code", "errmsg", "writeConcernError", "$err"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (bson_has_field(reply, words[i]))
			return false;
	return true;
}

static bool is_lost(const struct mongo_connection *c, bson_t *reply, bson_error_t *error)
{
	if (!c->lost && !c->streams.fault)
		return false;
	bson_init(reply);
	bson_set_error(error, MONGOC_ERROR_STREAM, MONGOC_ERROR_STREAM_NOT_ESTABLISHED, "the connection was lost");
	return true;
}

static unsigned labels_of(const bson_t *reply)
{
	static const struct {
		const char *name;
		enum mongo_error_label label;
	} rows[] = {{"TransientTransactionError", LABEL_TRANSIENT},
		    {"UnknownTransactionCommitResult", LABEL_UNKNOWN_COMMIT},
		    {"ResumableChangeStreamError", LABEL_RESUMABLE}};
	unsigned labels = 0;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (mongoc_error_has_label(reply, rows[i].name))
			labels |= rows[i].label;
	return labels;
}

static void note_answer(struct mongo_connection *c, bool good, const bson_t *reply)
{
	bool plain = is_plain(reply);

	c->labels = plain ? 0 : labels_of(reply);
	c->lost = !(good && plain) && !server_is_known(c);
}

/* All others are refused with one: getMore, killCursors, ping. */
static bool takes_read_concern(const bson_t *command)
{
	static const char *const names[] = {"aggregate", "count", "distinct", "find"};
	bson_iter_t first;

	if (!bson_iter_init(&first, command) || !bson_iter_next(&first))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(bson_iter_key(&first), names[i]) == 0)
			return true;
	return false;
}

bool mongo_connection_command(struct mongo_connection *c, const char *database, const bson_t *command, bson_t *reply,
			      bson_error_t *error)
{
	if (c->session.open)
		return mongo_connection_write(c, database, command, reply, error);
	if (is_lost(c, reply, error))
		return false;
	const mongoc_read_prefs_t *prefs = mongoc_client_get_read_prefs(c->client);
	bool good = takes_read_concern(command) ? mongoc_client_read_command_with_opts(c->client, database, command,
										       prefs, c->options, reply, error)
						: mongoc_client_command_with_opts(c->client, database, command, prefs,
										  c->options, reply, error);
	note_answer(c, good, reply);
	return good;
}

bool mongo_connection_write(struct mongo_connection *c, const char *database, const bson_t *command, bson_t *reply,
			    bson_error_t *error)
{
	if (is_lost(c, reply, error))
		return false;
	bool good = c->session.open ? mongo_session_command(&c->session, c->client, database, command, reply, error)
				    : mongoc_client_write_command_with_opts(c->client, database, command, c->options,
									    reply, error);
	note_answer(c, good, reply);
	return good || error->domain == MONGOC_ERROR_WRITE_CONCERN;
}

unsigned mongo_connection_unwritable(const struct mongo_connection *c)
{
	bool chosen = mongoc_read_prefs_get_mode(mongoc_client_get_read_prefs(c->client)) != MONGOC_READ_PRIMARY;
	bool fresh = loop_now_us(c->pool->loop) - c->opened_us < ROLE_US;

	return chosen || fresh ? 0 : MONGO_DISCARD | MONGO_SUSPECT;
}

/* Proves the way there, and the password. */
static bool ping(struct mongo_connection *c, const char *database, bson_error_t *error)
{
	bson_t command = BSON_INITIALIZER, reply;

	BSON_APPEND_INT32(&command, "ping", 1);
	bool good = mongo_connection_command(c, database, &command, &reply, error);
	bson_destroy(&reply);
	bson_destroy(&command);
	return good;
}

int mongo_connection_open(struct mongo_connection *c, const mongoc_uri_t *uri, const char *database,
			  const struct mongo_stream_settings *settings, void (*disturbed)(struct mongo_stream_set *set),
			  struct error *e)
{
	bson_error_t error = {0};
	int r = 0;

	mongo_stream_set_init(&c->streams, settings, disturbed);
	c->options = bson_new();
	c->client = mongoc_client_new_from_uri_with_error(uri, &error);
	if (!c->client)
		return error_say(e, -EINVAL, REASON_UNAVAILABLE, "libmongoc: %s", error.message);
	mongoc_client_set_error_api(c->client, MONGOC_ERROR_API_VERSION_2);
	mongoc_client_set_stream_initiator(c->client, mongo_stream_initiate, &c->streams);
	/* libmongoc itself gives up a server after that time: it then still has to choose among the others. */
	deadline_t before = deadline_push(deadline_in_us(2 * settings->connect_timeout_us));
	bool good = choose_server(c, &error);
	if (good) {
		deadline_pop(before);
		before = deadline_push(deadline_in_us(settings->connect_timeout_us));
		good = ping(c, database, &error);
	}
	if (!good)
		r = mongo_connect_error(e, &error, &c->streams);
	deadline_pop(before);
	return r;
}

deadline_t mongo_connection_rest(const struct mongo_connection *c)
{
	int64_t polled_us = c->streams.polled_us;

	return (deadline_t){c->client && polled_us ? polled_us + RESCAN_REST_US : 0};
}

void mongo_connection_destroy(struct mongo_connection *c, deadline_t by)
{
	struct shield shield;

	if (c->client) {
		task_shield(&shield, by);
		mongo_session_done(&c->session);
		mongoc_client_destroy(c->client);
		task_unshield(&shield);
	}
	bson_destroy(c->options);
	c->client = NULL;
	c->options = NULL;
}

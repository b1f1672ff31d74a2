/* Commands that read are asked as they are. Of one that writes it must be known, when it fails, whether it has
 * happened. */
#include "drivers/mongo/calls/send.h"

#include <errno.h>
#include <string.h>

#include "drivers/mongo/wire/errors.h"

typedef bool sender(struct mongo_connection *c, const char *database, const bson_t *command, bson_t *reply,
		    bson_error_t *error);

static bool send_command(const struct mongo_sending *a, sender *send, const bson_t *command, struct mongo_answer *out,
			 bson_error_t *error)
{
	bson_t reply;
	bool good = send(a->connection, a->database, command, &reply, error);

	if (good)
		out->data = bson_destroy_with_steal(&reply, true, &out->len);
	else
		bson_destroy(&reply);
	return good;
}

/* Not every server that speaks MongoDB's language takes maxTimeMS with every command: FerretDB 1.24 refuses it with
 * `distinct`. It has done nothing then. */
static bool refuses_max_time(const struct mongo_sending *a, const bson_error_t *error)
{
	enum { FAILED_TO_PARSE = 9, UNKNOWN_FIELD = 40415 };
	return !a->connection->streams.fault && error->domain == MONGOC_ERROR_SERVER &&
	       (error->code == FAILED_TO_PARSE || error->code == UNKNOWN_FIELD) && strstr(error->message, "maxTimeMS");
}

/* Our own deadline holds all the same. */
static bool send_without_max_time(const struct mongo_sending *a, sender *send, const bson_t *command,
				  struct mongo_answer *out, bson_error_t *error)
{
	bson_t without = BSON_INITIALIZER;

	bson_copy_to_excluding_noinit(command, &without, "maxTimeMS", NULL);
	bool good = send_command(a, send, &without, out, error);
	bson_destroy(&without);
	return good;
}

static bool ask(const struct mongo_sending *a, sender *send, const bson_t *command, struct mongo_answer *out,
		bson_error_t *error)
{
	return send_command(a, send, command, out, error) ||
	       (refuses_max_time(a, error) && send_without_max_time(a, send, command, out, error));
}

/* What is stored may be damaged: cut off where the damage begins, an answer would look whole. */
static int check_answer(const struct mongo_sending *a, struct mongo_answer *answer)
{
	if (mongo_bson_is_sound(answer->data, answer->len))
		return 0;
	bson_free(answer->data);
	*answer = (struct mongo_answer){0};
	return error_say(a->error, -EBADMSG, REASON_ANSWER_DAMAGED, "MongoDB's answer is no well-formed BSON");
}

int mongo_send(const struct mongo_sending *a, const bson_t *command, struct mongo_answer *out)
{
	bson_error_t error = {0};

	if (ask(a, mongo_connection_command, command, out, &error))
		return check_answer(a, out);
	return mongo_operation_error(a->error, &error, &a->connection->streams, a->from_request, a->consequences);
}

/* Sent, it would only come back refused, or not at all. */
static int may_write(const struct mongo_sending *a)
{
	struct mongo_connection *c = a->connection;

	if (!c->limits.writable) {
		*a->consequences = mongo_connection_unwritable(c);
		return error_set(a->error, -EROFS, 500, NULL,
				 "the source's URL leads to a secondary (readPreference, directConnection), which "
				 "can't be written to");
	}
	if (!mongoc_write_concern_is_acknowledged(mongoc_client_get_write_concern(c->client)))
		return error_set(a->error, -EINVAL, 500, NULL,
				 "the source's URL asks for no answers to writes (w=0): what comes of them could not "
				 "be told");
	return 0;
}

int mongo_send_write(const struct mongo_sending *a, const bson_t *command, struct mongo_answer *out)
{
	struct mongo_stream_set *streams = &a->connection->streams;
	bson_error_t error = {0};
	int r = may_write(a);

	if (r < 0)
		return r;
	/* One that broke before is known to have sent nothing. */
	bool sent = !a->connection->lost && !streams->fault;
	/* In a transaction nothing is decided yet. */
	streams->writes = !a->connection->session.open;
	streams->word_by = DEADLINE_NEVER;
	bool done = ask(a, mongo_connection_write, command, out, &error);
	streams->writes = false;
	if (done) {
		r = check_answer(a, out);
		if (r < 0 && !a->connection->session.open)
			mongo_error_uncertain(a->error);
		return r;
	}
	r = mongo_operation_error(a->error, &error, streams, a->from_request, a->consequences);
	/* What a transaction has not committed has not happened. */
	if (sent && !a->connection->session.open && mongo_error_is_uncertain(&error, streams))
		mongo_error_uncertain(a->error);
	return r;
}

int mongo_answer_concern(const struct mongo_sending *a, const struct mongo_answer *answer)
{
	struct mongo_element concern = mongo_answer_member(answer, "writeConcernError");

	if (concern.type != BSON_TYPE_DOCUMENT)
		return 0;
	struct mongo_element code = mongo_element_find(concern.value, concern.len, "code", 4);
	struct mongo_element text = mongo_element_find(concern.value, concern.len, "errmsg", 6);
	size_t len;
	return mongo_concern_error(a->error, (uint32_t)mongo_element_integer(&code, 0),
				   text.type == BSON_TYPE_UTF8 ? mongo_read_text(&text, &len) : "");
}

int mongo_answer_lacks(const struct mongo_sending *a, const char *what)
{
	*a->consequences = MONGO_DISCARD;
	return error_set(a->error, -EPROTO, 502, NULL, "MongoDB's answer has no %s", what);
}

struct mongo_element mongo_answer_member(const struct mongo_answer *a, const char *name)
{
	return mongo_element_find(a->data, a->len, name, strlen(name));
}

/* Commands that read are asked as they are. Of one that writes it must be known, when it fails, whether it has
 * happened. */
#include "drivers/mongo/calls/ask.h"

#include <errno.h>
#include <string.h>

#include "drivers/mongo/wire/errors.h"

typedef bool sender(struct connection *c, const char *database, const bson_t *command, bson_t *reply,
		    bson_error_t *error);

static bool send_command(const struct asking *a, sender *send, const bson_t *command, struct answer *out,
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
static bool refuses_max_time(const struct asking *a, const bson_error_t *error)
{
	enum { FAILED_TO_PARSE = 9, UNKNOWN_FIELD = 40415 };
	return !a->connection->streams.fault && error->domain == MONGOC_ERROR_SERVER &&
	       (error->code == FAILED_TO_PARSE || error->code == UNKNOWN_FIELD) && strstr(error->message, "maxTimeMS");
}

/* Our own deadline holds all the same. */
static bool send_without_max_time(const struct asking *a, sender *send, const bson_t *command, struct answer *out,
				  bson_error_t *error)
{
	bson_t without = BSON_INITIALIZER;

	bson_copy_to_excluding_noinit(command, &without, "maxTimeMS", NULL);
	bool good = send_command(a, send, &without, out, error);
	bson_destroy(&without);
	return good;
}

static bool ask(const struct asking *a, sender *send, const bson_t *command, struct answer *out, bson_error_t *error)
{
	return send_command(a, send, command, out, error) ||
	       (refuses_max_time(a, error) && send_without_max_time(a, send, command, out, error));
}

/* What is stored may be damaged: cut off where the damage begins, an answer would look whole. */
static int check_answer(const struct asking *a, struct answer *answer)
{
	if (bson_is_sound(answer->data, answer->len))
		return 0;
	bson_free(answer->data);
	*answer = (struct answer){0};
	return error_say(a->error, -EBADMSG, REASON_ANSWER_DAMAGED, "MongoDB's answer is no well-formed BSON");
}

int mongo_ask(const struct asking *a, const bson_t *command, struct answer *out)
{
	bson_error_t error = {0};

	if (ask(a, mongo_connection_command, command, out, &error))
		return check_answer(a, out);
	return mongo_operation_error(a->error, &error, &a->connection->streams, a->from_request, a->consequences);
}

/* Sent, it would only come back refused, or not at all. */
static int may_write(const struct asking *a)
{
	struct connection *c = a->connection;

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

int mongo_ask_to_write(const struct asking *a, const bson_t *command, struct answer *out)
{
	const struct stream_set *streams = &a->connection->streams;
	bson_error_t error = {0};
	int r = may_write(a);

	if (r < 0)
		return r;
	/* One that broke before is known to have sent nothing. */
	bool sent = !a->connection->lost && !streams->fault;
	if (ask(a, mongo_connection_write, command, out, &error)) {
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

int mongo_check_concern(const struct asking *a, const struct answer *answer)
{
	struct element concern = answer_member(answer, "writeConcernError");

	if (concern.type != BSON_TYPE_DOCUMENT)
		return 0;
	struct element code = element_find(concern.value, concern.len, "code", 4);
	struct element text = element_find(concern.value, concern.len, "errmsg", 6);
	size_t len;
	return mongo_concern_error(a->error, (uint32_t)element_integer(&code, 0),
				   text.type == BSON_TYPE_UTF8 ? bson_read_text(&text, &len) : "");
}

int mongo_nonsense(const struct asking *a, const char *what)
{
	*a->consequences = MONGO_DISCARD;
	return error_set(a->error, -EPROTO, 502, NULL, "MongoDB's answer has no %s", what);
}

struct element answer_member(const struct answer *a, const char *name)
{
	return element_find(a->data, a->len, name, strlen(name));
}

int64_t element_integer(const struct element *e, int64_t none)
{
	double d;

	switch (e->type) {
	case BSON_TYPE_INT32:
		return bson_read_int32(e->value);
	case BSON_TYPE_INT64:
		return bson_read_int64(e->value);
	case BSON_TYPE_DOUBLE:
		d = bson_read_double(e->value);
		return d > -9e18 && d < 9e18 ? (int64_t)d : none;
	default:
		return none;
	}
}

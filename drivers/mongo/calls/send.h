/* One command on one connection, and its answer. */
#pragma once

#include "drivers/mongo/bson/bson.h"
#include "drivers/mongo/wire/connection.h"

/* Whose command it is; for as long as it has a connection. */
struct mongo_sending {
	struct mongo_connection *connection;
	const char *database;
	bool from_request; /* a value of the request stands in it: an error about data is the request's */
	struct error *error;
	unsigned *consequences; /* of the last failure (errors.h); begins as 0 */
};

struct mongo_answer {
	uint8_t *data; /* libbson's memory: bson_free */
	uint32_t len;
};

/* Suspends, until the task's deadline. Send a command that reads. A server that refuses the member maxTimeMS is asked
 * without it. Returns 0: *out is the caller's; or -errno with the error filled. */
int mongo_send(const struct mongo_sending *a, const bson_t *command, struct mongo_answer *out) must_check;
/* The same for a command that writes. It is sent once; if it can't be known whether the server has done it, the
 * error says so. An answer that says ok may still hold write errors. */
int mongo_send_write(const struct mongo_sending *a, const bson_t *command, struct mongo_answer *out) must_check;
/* Does the answer of a write say that it was confirmed as the URL asks? Returns 0, or -EIO with the error filled. */
int mongo_answer_concern(const struct mongo_sending *a, const struct mongo_answer *answer) must_check;
/* The answer has no `what`. Returns -errno. */
int mongo_answer_lacks(const struct mongo_sending *a, const char *what);

/* A member of the answer, or an element of type 0. */
struct mongo_element mongo_answer_member(const struct mongo_answer *a, const char *name);

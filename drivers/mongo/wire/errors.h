/* The meaning of MongoDB's errors, libmongoc's and our streams' to an endpoint's client: HTTP statuses, by a table. */
#pragma once

#include <mongoc/mongoc.h>

#include "base/error.h"
#include "drivers/mongo/wire/stream.h"

/* The consequences for the connection, and for the call. */
enum {
	MONGO_DISCARD = 1, /* the connection is not to be used again */
	MONGO_SUSPECT = 2, /* nor are the others that were opened before this happened */
	MONGO_AGAIN = 4    /* a read may be tried again, once, on another connection */
};

/* An operation on `streams` ended with error. Fills e; returns its -errno and sets *consequences. from_request: a value
 * of the request stood in the operation, so that an error about data is the request's. */
int mongo_operation_error(struct error *e, const bson_error_t *error, const struct mongo_stream_set *streams,
			  bool from_request, unsigned *consequences);
/* A client could not be connected. */
int mongo_connect_error(struct error *e, const bson_error_t *error, const struct mongo_stream_set *streams);
/* The error of one statement in an answer that says ok. As mongo_operation_error. */
int mongo_statement_error(struct error *e, uint32_t code, const char *message, bool from_request,
			  unsigned *consequences);
/* A write was done, but the servers that were to confirm it did not. */
int mongo_concern_error(struct error *e, uint32_t code, const char *message);
/* A write was sent and ended with error: is it unknown whether the server has done it? */
bool mongo_error_is_uncertain(const bson_error_t *error, const struct mongo_stream_set *streams);
/* Say in e that the write may or may not have happened; what would be 503 is 502. */
void mongo_error_uncertain(struct error *e);

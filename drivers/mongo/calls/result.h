/* What an operation brought back: one BSON value, mostly an array of documents or a document, and the memory that it
 * lies in. */
#pragma once

#include <bson/bson.h>

#include "drivers/mongo/bson/bson.h"
#include "drivers/mongo/keys.h"
#include "drivers/result.h"

struct mongo_result {
	struct result base;
	enum mongo_json mode;
	struct mongo_element value; /* type 0: null */
	uint8_t *reply;             /* a server's answer, if the value lies in one; libbson's memory */
	struct buf bytes;           /* else it lies here */
};

struct mongo_result *mongo_result_new(enum mongo_json mode);
/* Begin and end a result that is one document, which is made here. */
void mongo_result_begin(struct mongo_result *r, struct mongo_out *out);
void mongo_result_end(struct mongo_result *r, struct mongo_out *out);
/* Forget what it holds. */
void mongo_result_reset(struct mongo_result *r);
void mongo_result_free(struct mongo_result *r);

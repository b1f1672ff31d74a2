/* A merge patch (RFC 7386) as an update of MongoDB's.
 *
 * Members go to $set by their paths, nulls to $unset. That says what the RFC means if each object of the patch meets an
 * object, or nothing where one is made by what is set in it: the guard is that condition. A pipeline says it of any
 * document; servers before MongoDB 4.2 do not take one. Any thread; nothing suspends. */
#pragma once

#include "drivers/mongo/bson/bson.h"

struct mongo_patch {
	const uint8_t *bytes; /* a document, sound */
	size_t len;
	bool empty;
	bool nested; /* an object stands in it: the guard has something to say */
};

/* Look at the document. NULL; or what is wrong with it, UNFIT_…: a name that is no part of a path. */
const char *mongo_patch_init(struct mongo_patch *p, const uint8_t *bytes, size_t len);
/* Append { $set, $unset } under that key. */
void mongo_patch_update(const struct mongo_patch *p, struct mongo_out *out, const char *key);
/* Append the guard's conditions to the open array out, the first of which has that index. */
void mongo_patch_guard(const struct mongo_patch *p, struct mongo_out *out, uint32_t index);
/* Append the pipeline under that key. */
void mongo_patch_pipeline(const struct mongo_patch *p, struct mongo_out *out, const char *key);

/* BSON rendered as JSON, straight into a buffer.
 *
 * plain: what a client of a web API expects. ObjectId: its hex; dates: ISO 8601 with milliseconds and Z; numbers of all
 * kinds: numbers (NaN and the infinities: strings); binary: base64, a UUID: its usual text; regular expression:
 * "/pattern/options"; timestamp: {"t":seconds,"i":ordinal}; code and symbol: their text; undefined: null; MinKey and
 * MaxKey: "MinKey", "MaxKey"; DBPointer: the ObjectId's hex.
 * relaxed: MongoDB Relaxed Extended JSON v2.
 *
 * Bytes that are not UTF-8 become U+FFFD. What is nested deeper than BSON_DEPTH_MAX becomes null; a damaged document
 * ends where the damage begins. No recursion, no allocation but the buffer's. */
#pragma once

#include "base/buf.h"
#include "drivers/mongo/bson/bson.h"
#include "drivers/mongo/keys.h"

/* Any value. */
void mongo_render(struct buf *out, const struct mongo_element *e, enum mongo_json mode);
/* A document, or an array where `array` is set. */
void mongo_render_document(struct buf *out, const uint8_t *document, size_t len, bool array, enum mongo_json mode);
/* A string with its quotes, made UTF-8 where it is none. */
void mongo_render_string(struct buf *out, const char *s, size_t len);
/* A value as a person would write it: what mongo_render gives in plain mode, without the quotes. */
void mongo_render_text(struct buf *out, const struct mongo_element *e);

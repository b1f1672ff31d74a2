/* How the rows of the language's tables are written: for config/language.c, and for the language.c of each driver. */
#pragma once

#include "config/language.h"

#define MS      INT64_C(1000)
#define SECONDS (1000 * MS)
#define HOURS   (3600 * SECONDS)
#define TEXT    BIT(NODE_STRING)
#define MAPPING BIT(NODE_MAPPING)

/* Where a key's value lands: in the section's object, or in what its `own` points to, which the kind of source has to
 * itself. */
#define INTO(T, member) .offset = offsetof(T, member), .width = sizeof(((T *)0)->member)
#define OWN(T, member)  .own = true, INTO(T, member)
#define SECTION(rows)   .keys = (rows), .count = ARRAY_SIZE(rows)
/* clang-format off */
#define LATER(key) {.name = (key), .type = KEY_LATER}

/* Rows that several kinds of source have. */
#define PASSWORD                                                                                                       \
	{"password", KEY_CUSTOM, .decode = decode_secret, INTO(struct config_source, password),                        \
	 .shape = "{\"$ref\":\"#/$defs/secret\"}", .help = "The password, beside the URL."}
#define EXPECT_ROWS                                                                                                    \
	{"expect", KEY_ENUM, INTO(struct config_step, expect), .words = row_words, .minimum = EXPECT_MANY,             \
	 .help = "many: an array; one: an object, none is 404, two are 500; maybe: an object or null; value: one "     \
		 "column of at most one row; none."}
/* Of what writes. */
#define AFFECTED                                                                                                       \
	{"affected", KEY_CUSTOM, .decode = decode_affected, INTO(struct config_step, affected),                        \
	 .shape = "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":1},{\"type\":\"string\",\"minLength\":1},{\"$ref\":"   \
		  "\"#/$defs/affected\"}]}",                                                                           \
	 .help = "How many must be changed: a number, { min, max } or a reference; none is 404, another number 409, "  \
		 "and nothing is changed then."}
#define EACH                                                                                                           \
	{"each", KEY_NODE, INTO(struct config_step, each), .kinds = TEXT,                                              \
	 .help = "A reference to a list: the action runs once for each element, {item}; at most 1000."}
/* clang-format on */

/* The expectations of an action, as bits. */
#define ALLOW(...) .expect_allowed = (__VA_ARGS__)

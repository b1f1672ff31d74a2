/* Texts and JSON as the values that a schema declares. */
#pragma once

#include "base/arena.h"
#include "base/json.h"
#include "base/value.h"
#include "config/config.h"
#include "handlers/web/exchange.h"

/* What a text is that nothing is declared of. */
extern const struct config_schema typed_any_text;

/* The schema that says of which type a value is: s, or the one that it refers to. */
const struct config_schema *typed_schema(const struct config_schema *s);
/* Text as a value of JSON, in a; the text stays where it is. One that is not of the declared type stays a string, which
 * the checker then refuses. */
struct json *typed_text(struct arena *a, struct span text, const struct config_schema *s);
/* j, which the checker has let through, as a value that a request brought. Lists of scalars become VALUE_LIST. */
struct value typed_value(struct arena *a, const struct config_schema *s, const struct json *j);
/* The same, with an array or object as it is. */
struct value typed_scalar(const struct config_schema *s, const struct json *j);

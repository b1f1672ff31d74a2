/* A request's parameters: found, decoded, typed and checked against what the endpoint declares.
 *
 * Path, query and header give text, which is typed by what is declared; the query is application/x-www-form-urlencoded
 * (`+` is a blank), a declared array its name repeated; an array in a header is a list with commas. The body is JSON:
 * its Content-Type must say so (application/json or …+json) if the endpoint declares a body or parameters in it, or
 * refers to `{body}`. An endpoint that does none of this takes any body: JSON is parsed, everything else is left alone.
 * `integer` is an integer of 64 bits, 1.0 and 1e2 included; `number` keeps its digits. A member that is null is not
 * absent: only `type: [X, "null"]` allows it. A text with a NUL is refused. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/value.h"
#include "config/config.h"
#include "handlers/web/exchange.h"
#include "handlers/web/router.h"

/* What references to `{body}` ask of an endpoint that declares no body, which would say more. */
enum body_wanted {
	BODY_ANY,      /* there are none: any bytes will do */
	BODY_JSON,     /* the reply shows it: JSON, or nothing, which is null */
	BODY_REQUIRED, /* a step acts on it: JSON, and there must be some */
};

struct parameters {
	enum body_wanted body_wanted; /* set by the caller */
	/* One for each of endpoint->parameters, in its order; from_request where the client gave it. Arrays of scalars
	 * are VALUE_LIST, each item typed; other arrays and objects of the body are VALUE_JSON. */
	struct value *values;
	struct value body; /* the JSON body (`{body}`), VALUE_NULL if there is none; structured where declared */
};

/* Collect and check. Everything is in x->arena, nothing points into what is h2o's. Returns 0; -EINVAL (400) with
 * errors_json filled with `"errors":[{"name":…,"in":…,"detail":…},…]`: every bad parameter, at most MISTAKES_MAX;
 * -EMEDIUMTYPE (415); e is set. Details quote no input. Before exchange_spawn (it reads headers); does not suspend. */
int parameters_parse(struct parameters *p, struct exchange *x, const struct route_match *m, struct error *e,
		     struct buf *errors_json) must_check;

/* What is wrong with a request's parameters and body, as the `errors` of a problem+json (RFC 9457). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/json.h"
#include "config/config.h"

/* A stranger can make any number of mistakes; the reply names this many, and says how many more there are. */
#define MISTAKES_MAX 50

struct mistakes {
	struct buf *json; /* `{"in":…,"name":…,…},…` */
	size_t count;     /* all of them */
};

/* From a container to what is in it. */
struct mistake_step {
	const struct json *child;
	uint32_t index; /* of child */
	bool item;      /* the container is an array */
};

/* Where a mistake is. Names are UTF-8. */
struct mistake_place {
	enum parameter_in in;
	const char *name; /* of the parameter; "": the whole body */
	size_t name_len;
	const struct mistake_step *steps; /* from there on */
	size_t depth;
	const char *member; /* of the object that the steps lead to; NULL: it is that value itself */
	size_t member_len;
};

static inline struct mistake_place mistake_at(enum parameter_in in, const char *name)
{
	return (struct mistake_place){.in = in, .name = name, .name_len = strlen(name)};
}

/* Add one. keyword: the word of the schema that was broken; NULL: it was none. The name is shown shortened if it is
 * long. What is in the body has a JSON pointer (RFC 6901) as a URI's fragment, unless that is very long. The detail is
 * ours and quotes no input. */
void mistake_add(struct mistakes *m, const struct mistake_place *at, const char *keyword, const char *format, ...)
	printf_like(4, 5);
/* Append them as `"errors":[…]`, and `,"more":n`. */
void mistakes_render(const struct mistakes *m, struct buf *out);

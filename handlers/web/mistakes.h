/* What is wrong with a request's parameters, as the `errors` of a problem+json (RFC 9457). */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "config/config.h"
#include "handlers/web/exchange.h"

/* A stranger can make any number of mistakes; the reply names this many. */
#define MISTAKES_MAX 64

struct mistakes {
	struct buf *json; /* `{"name":…,"in":…,"detail":…},…` */
	size_t count;
};

static inline bool mistakes_full(const struct mistakes *m)
{
	return m->count == MISTAKES_MAX;
}

/* Add one. The name is shown shortened where it is long; it must be UTF-8. The detail is ours and quotes no input. Has
 * no effect where m is full. */
void mistake_add(struct mistakes *m, struct span name, enum parameter_in in, const char *format, ...) printf_like(4, 5);

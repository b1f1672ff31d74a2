/* Calls of HTTP services whose request is given when they run: what handlers ask for. They are made as those of steps
 * are: with the source's headers, semaphore apart, time-out, retries and breaker. */
#pragma once

#include "drivers/driver.h"
#include "drivers/http/action.h"
#include "drivers/http/message.h"

/* Borrowed until the call returns (a stream: until it is closed). */
struct http_ask {
	const char *method;          /* NULL: GET */
	const char *path;            /* target.h */
	const struct value *query;   /* a document; NULL: none */
	const struct value *headers; /* the same */
	const struct value *body;    /* text and bytes as they are, other values as JSON; NULL: none */
};

/* Suspends. The JSON of the answer (http_get: of a success, else 502), or the whole of it, whatever its status
 * (result.h). Returns 0 and *out, or -errno with e filled, as a step's call; -EINVAL (500, or 400 if a request's
 * value can't be sent): the method, path, query, headers or body can't be sent. */
int http_run_json(struct client *c, const struct http_ask *ask, const struct run_options *options, struct result **out,
		  struct error *e) must_check;
int http_run(struct client *c, const struct http_ask *ask, const struct run_options *options, struct result **out,
	     struct error *e) must_check;

/* An answer whose body is read piece by piece. It stays where it is. */
struct http_reading {
	struct http_client *client; /* NULL: it is closed */
	struct http_action action;  /* for messages */
	struct http_message message;
	struct http_response response; /* without its body */
	int64_t timeout_us;            /* of each read; 0: only the task's deadline */
};

/* Suspends until the head is there. Returns 0, and out is to be closed; or as http_run. */
int http_reading_open(struct http_reading *out, struct client *c, const struct http_ask *ask,
		      const struct run_options *options, struct error *e) must_check;
/* Suspends. As http_stream_read. */
int64_t http_reading_next(struct http_reading *r, const void **p, struct error *e) must_check;
/* Idempotent. Does not wait. Nobody reads. */
void http_reading_close(struct http_reading *r);

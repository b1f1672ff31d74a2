/* One exchange of a request and an answer on an easy handle of libcurl. It knows its engine's settings, and nothing of
 * the sockets that it is sent on. Loop thread only. */
#pragma once

#include <curl/curl.h>

#include "async/task.h"
#include "base/error.h"
#include "base/list.h"
#include "drivers/http/inflate.h"
#include "drivers/http/message.h"

struct http_engine;

enum { HTTP_OWN_LINES = 3 };

enum transfer_trouble {
	TROUBLE_NONE,
	TROUBLE_LARGE,      /* the body is larger than max_size */
	TROUBLE_HEAD,       /* too many header lines, or too long */
	TROUBLE_LENGTH,     /* Content-Length is not a number, or two that differ */
	TROUBLE_CODING,     /* the body's compression is broken or unknown */
	TROUBLE_STALE,      /* its connection was known to be of no use: it was not sent */
	TROUBLE_SENT_TWICE, /* libcurl was about to send it again */
	TROUBLE_CLOSING,    /* the engine is being freed */
};

/* How the easy handle's method is set up; 0 is what a fresh one has. */
enum transfer_shape { SHAPE_GET, SHAPE_HEAD, SHAPE_BARE, SHAPE_BODY };

/* Where the body of an answer goes that is read while it comes. */
struct http_sink {
	void (*answered)(struct http_sink *s);                             /* the final head has come */
	size_t (*take)(struct http_sink *s, const char *data, size_t len); /* a piece: as CURLOPT_WRITEFUNCTION */
	bool paused; /* it has stopped its transfer, which has a socket all the same */
};

/* One exchange of a request and an answer, and the easy handle for it. */
struct http_transfer {
	struct list link;       /* engine.running or engine.spare */
	struct list connecting; /* engine.connecting */
	deadline_t connect_by;  /* while it is on that list */
	struct http_engine *engine;
	CURL *easy;
	struct waiter waiter;
	enum transfer_shape shape;
	struct curl_slist addresses; /* that it brings to the multi handle; data NULL: none */
	unsigned names_version;      /* of these */

	/* of the call at hand */
	struct http_response *response;
	struct http_sink *sink; /* where the body goes; NULL: to the response */
	size_t max_size;
	size_t head_bytes;
	unsigned head_lines;
	int64_t length; /* what Content-Length says; -1: nothing yet */
	struct inflater inflater;
	bool head_ended; /* the empty line behind the headers came */
	bool head_final; /* … of an answer that is not an interim one */
	bool ended;      /* libcurl is through with it */
	bool apart;      /* set up for a connection that no other call uses */
	bool spoilt;     /* not to be used again */
	bool repeatable; /* it may be sent a second time */
	bool opened;     /* a socket, since it was last sent: the next connection is its own */
	bool kept;       /* the connection that it was last sent on was there before */
	unsigned sends;
	enum transfer_trouble trouble;
	CURLcode code;
	struct curl_slist lines[HTTP_MAX_LINES + HTTP_OWN_LINES];
	char why[CURL_ERROR_SIZE];
};

/* A transfer of that engine; NULL: libcurl is out of memory. */
struct http_transfer *http_transfer_new(struct http_engine *engine);
void http_transfer_free(struct http_transfer *t);
/* Nothing of the last call is left in it. */
void http_transfer_clear(struct http_transfer *t);
/* Set the request up. Everything in it stays the caller's until the transfer is given back. fresh: on a connection of
 * its own. */
void http_transfer_prepare(struct http_transfer *t, const struct http_request *request, struct http_response *response,
			   bool fresh);
/* Suspends until it is done: t->code and t->trouble say how; with a stream, until its head is there at least. Returns
 * 0, -ETIMEDOUT or -ECANCELED. */
int http_transfer_run(struct http_transfer *t, deadline_t by) must_check;
/* Suspends until it was woken, of a transfer that has not ended. As http_transfer_run. */
int http_transfer_await(struct http_transfer *t, const char *what, deadline_t by) must_check;
/* Take it off where it has not ended; it loses its connection then. */
void http_transfer_stop(struct http_transfer *t);
/* How it ended: fills e, and r's outcome. Returns 0 if it was answered. */
int http_transfer_judge(const struct http_transfer *t, struct http_response *r, struct error *e) must_check;
/* It has a connection: it does not wait for one any more, and the multi handle has its addresses. */
void http_transfer_connected(struct http_transfer *t);
/* libcurl is through with it. */
void http_transfer_ended(struct http_transfer *t, CURLcode code);

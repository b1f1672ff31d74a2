/* What engine.c, transfer.c and request.c know of each other. Nobody else includes this. */
#pragma once

#include <curl/curl.h>

#include "async/poller.h"
#include "async/semaphore.h"
#include "async/timer.h"
#include "base/list.h"
#include "drivers/http/engine.h"
#include "drivers/http/inflate.h"
#include "drivers/http/names.h"
#include "drivers/http/trust.h"

/* A socket that libcurl has opened, by its number. */
struct http_socket {
	struct watch watch;
	struct http_engine *engine;
	struct list kept; /* engine.kept, while it is idle */
	int fd;
	unsigned port;    /* on this side; 0: not known yet, or it has none */
	bool established; /* libcurl has read from it: it tells when it closes it */
	bool idle;        /* no transfer uses it; its watch is still registered */
	bool retired;     /* by us: what is sent on it goes nowhere */
	bool sequential;  /* while idle: answers come on it in the order of their requests, as HTTP/1's do */
};

/* All on the loop's thread. */
struct http_engine {
	struct http_settings settings;
	struct loop *loop;
	CURLM *multi;
	CURLU *url;                  /* the origin's, taken apart: libcurl would do that again for each call */
	struct x509_store_st *store; /* NULL: no TLS */
	struct http_names names;
	unsigned names_known; /* version of the addresses that the multi handle has */
	struct timer timer;
	struct deferred kick;         /* libcurl wants to be called at once */
	struct http_socket **sockets; /* by descriptor */
	size_t socket_room;
	struct list kept;       /* idle sockets */
	struct list connecting; /* transfers that wait for a connection of their own, the first to begin first */
	struct timer connect_timer;
	struct list running; /* transfers that the multi handle has */
	struct list spare;   /* transfers to be used again */
	unsigned spare_count;
	unsigned callers; /* tasks in http_request */
	bool closing;
};

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
	struct http_stream *stream; /* where the body goes; NULL: to the response */
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

/* Make t's easy handle call back about the sockets that it opens and closes. */
void http_engine_adopt(struct http_transfer *t);

/* A request is about to be sent on a kept connection from this port, which is all that libcurl says of it; 0: through a
 * Unix socket, whichever. Returns false if something waits there that answers nothing: the request must not go out
 * on it. */
bool http_engine_may_send(struct http_engine *engine, unsigned port);

/* A transfer ready to be set up; NULL: libcurl is out of memory. */
struct http_transfer *http_transfer_take(struct http_engine *engine);
/* It is not running. */
void http_transfer_give(struct http_transfer *t);
void http_transfer_free(struct http_transfer *t);
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

/* A stream for the body of t. */
struct http_stream *http_stream_new(struct http_transfer *t);
/* Libcurl's: a piece of the body has come. As CURLOPT_WRITEFUNCTION. */
size_t http_stream_take(struct http_stream *s, const char *data, size_t len);
/* Libcurl's: the final head has come. */
void http_stream_answered(struct http_stream *s);
bool http_stream_is_answered(const struct http_stream *s);
/* Has it stopped its transfer, which has a socket all the same? */
bool http_stream_paused(const struct http_stream *s);
/* Give the transfer back, stopped; free. What http_request took for it stays taken. */
void http_stream_drop(struct http_stream *s);
/* libcurl is through with it. */
void http_transfer_ended(struct http_transfer *t, CURLcode code);

/* An engine as its transfers, requests and streams see it. Nobody else includes this. */
#pragma once

#include <curl/curl.h>

#include "async/poller.h"
#include "async/semaphore.h"
#include "async/timer.h"
#include "base/list.h"
#include "drivers/http/engine.h"
#include "drivers/http/names.h"

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

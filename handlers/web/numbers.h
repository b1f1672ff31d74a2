/* What is counted of requests: by endpoint, and of the server as a whole. Each worker counts in blocks of its own
 * (base/tally.h). */
#pragma once

#include "base/compiler.h"
#include "base/tally.h"
#include "config/config.h"

/* Replies of one method and status. */
struct reply_count {
	_Atomic uint32_t key; /* method << 16 | status; 0: free */
	struct counter replies;
};

enum { REPLY_COUNTS = 7 };

/* Few are used, so they are found by looking. More of them hang on behind, and stay. */
struct reply_counts {
	struct reply_count counts[REPLY_COUNTS];
	_Atomic(struct reply_counts *) more;
};

struct endpoint_numbers {
	struct histogram duration;
	struct counter request_bytes, reply_bytes; /* of bodies */
	struct counter incomplete;                 /* replies with a part that was replaced */
	struct reply_counts replies;
};
extern const struct tally_kind endpoint_tally;

/* The endpoints that stand for paths which no endpoint has, and for the pages below /-/. */
#define ENDPOINT_NONE  "none"
#define ENDPOINT_ADMIN "admin"

enum refusal_reason {
	REFUSED_MAX_REQUESTS,    /* 503: server.max_requests are running */
	REFUSED_MAX_CONNECTIONS, /* not accepted for now: server.max_connections are open */
	REFUSED_RATE,            /* 429: the client's rate is exceeded */
	REFUSED_DRAINING,        /* cancelled at the end of a drain */
	REFUSED_MALFORMED,       /* what came is not a request that may be answered */
	REFUSED_TIMEOUT,         /* 408: it did not arrive in time */
	REFUSALS
};
extern const char *const refusal_names[REFUSALS];

struct server_numbers {
	struct counter refused[REFUSALS];
	struct counter tasks, turns; /* of the worker's loop, as they were at the last tick of its clock */
	struct histogram lag;        /* how late that tick came */
};
/* There is one, without a name. */
extern const struct tally_kind server_tally;

struct listener_numbers {
	struct counter open, accepted;
};
/* By addresses. */
extern const struct tally_kind listener_tally;

/* A reply to a request of that method (METHOD_COUNT: another one). us below 0: it is not known how long it took. */
void endpoint_count(struct endpoint_numbers *e, enum http_method method, unsigned status, int64_t us);
/* How often requests of a method were answered with a status, over all workers. */
struct reply_sum {
	uint32_t key; /* method << 16 | status */
	uint64_t replies;
};
struct reply_sums {
	struct reply_sum *items; /* by their keys, ascending */
	size_t count, capacity;
};

/* Fill out, whose memory is used again. Any thread. */
void endpoint_replies(const struct tally *t, struct reply_sums *out);
void reply_sums_done(struct reply_sums *sums);

/* A command as it is sent, whoever made it. Any thread; nothing suspends. */
#pragma once

#include "base/deadline.h"
#include "drivers/mongo/bson/bson.h"

/* What is asked of the server in one request. */
struct mongo_command {
	struct buf bytes;   /* a BSON document */
	size_t max_time_at; /* where in it the value of maxTimeMS stands; 0: it has none */
	bool nothing;       /* the answer is known to be empty: limit 0, which MongoDB takes for no limit */
	bool from_request;  /* a value of the request stands in it */
};

/* The stages behind a $match that count its documents, and the end of the pipeline. skip and limit below 0: none. */
void mongo_count_stages(struct mongo_out *out, int64_t skip, int64_t limit);
/* The server is to give up at `by`. */
void mongo_command_limit(struct mongo_command *c, deadline_t by);
void mongo_command_done(struct mongo_command *c);

/* The messages on a connection to MongoDB, looked at while they pass.
 *
 * libmongoc 1.23 takes it on trust that what comes is one document in an OP_MSG or OP_REPLY, that the document is as
 * long as the message has room for, and that it answers what was asked: else it reads beyond its buffers, or gives one
 * request's answer to another. So that is established before it sees the message's end. What is in the document is
 * for libbson, which looks. Nothing here suspends or allocates. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum { FRAME_HEAD = 40 };

/* One direction: the message that is passing. */
struct frame {
	size_t at; /* how many of its bytes have passed */
	size_t length;
	uint8_t head[FRAME_HEAD];
	uint8_t last; /* the latest byte */
};

struct frames {
	struct frame sent, received;
	uint32_t asked; /* the number of the request that was sent last */
};

/* These bytes were sent: messages of libmongoc's, which are believed. */
void frames_sent(struct frames *f, const void *data, size_t len);
/* These bytes have come. Returns 0 or -EPROTO: they are no answer to the request that was sent last. After that f is
 * used no more. */
int frames_received(struct frames *f, const void *data, size_t len) must_check;

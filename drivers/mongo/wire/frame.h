/* The messages on a connection to MongoDB, looked at while they pass.
 *
 * libmongoc 1.23 takes much of an answer on trust: that it is one document in an OP_MSG or OP_REPLY, that the document
 * is as long as the message has room for, that it answers what was asked, that the documents in it end where they say,
 * that no error has the code 0. Else it reads beyond its buffers, gives one request's answer to another, or aborts. So
 * that is established before it sees a message's end. Nothing here suspends. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"

enum { FRAME_HEAD = 40 };

/* One direction: the message that is passing. */
struct mongo_frame {
	size_t at; /* how many of its bytes have passed */
	size_t length;
	uint8_t head[FRAME_HEAD];
	uint8_t last; /* the latest byte */
};

struct mongo_frames {
	struct mongo_frame sent, received;
	uint32_t asked;    /* the number of the request that was sent last */
	bool primary;      /* an answer to hello has said that the server takes writes */
	struct buf pieces; /* of an answer that comes in several: the part after its length */
};

void mongo_frames_done(struct mongo_frames *f);
/* These bytes were sent: messages of libmongoc's, which are believed. */
void mongo_frames_sent(struct mongo_frames *f, const void *data, size_t len);
/* These bytes have come: libmongoc reads a message's length, then the rest, and only its hello may come in more pieces.
 * Returns 0 or -EPROTO: they do not answer the request that was sent last. After that f is
 * used no more. */
int mongo_frames_received(struct mongo_frames *f, const void *data, size_t len) must_check;

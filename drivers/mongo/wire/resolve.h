/* From a host's name to socket addresses, without blocking the loop. */
#pragma once

#include <mongoc/mongoc.h>
#include <sys/socket.h>

#include "async/executor.h"
#include "base/compiler.h"
#include "base/deadline.h"

#define ADDRESSES_MAX 8

struct mongo_addresses {
	unsigned count, next; /* next: the one to be tried */
	struct {
		socklen_t len;
		struct sockaddr_storage at;
	} item[ADDRESSES_MAX];
};

/* Fill `out`. Suspends, unless host is a Unix socket or a numeric address. Returns 0; or -errno: -EHOSTUNREACH if
 * the name has no address (why, of why_size bytes, says more), -EBUSY (the executor's queue is full), -ETIMEDOUT,
 * -ECANCELED. */
int mongo_resolve(struct mongo_addresses *out, const mongoc_host_list_t *host, struct executor *ex, deadline_t by,
		  char *why, size_t why_size) must_check;

/* A reply that is a file: whole or in parts, if the client has it not already. */
#pragma once

#include "drivers/files/file.h"
#include "handlers/web/conditions.h"
#include "handlers/web/exchange.h"

enum { FILE_REPLY_PIECE = 128 * 1024 /* bytes that are read at once; a reply has some two such pieces in memory */ };

/* How much of the file is worth reading before it is known what the client gets: nothing, if that may be no body or
 * another part. */
size_t file_reply_ahead(const struct exchange *x, const struct conditions *c);
/* Suspends. Answer with the open file, in x's task; head is the reply without a body, and gets the file's headers,
 * where it does not have them, and its length. If its reading fails *file is NULL, closed. Returns 0, or -errno
 * where the reply was not sent whole. */
int file_reply_send(struct exchange *x, const struct conditions *c, struct file **file, const struct file_info *info,
		    struct reply *head) must_check;

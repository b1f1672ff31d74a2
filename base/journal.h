/* journald's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): an entry a datagram, its fields by name. The log's
 * writer thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/log_fields.h"

enum { JOURNAL_BATCH = 64, JOURNAL_ENTRY_MAX = 16384, JOURNAL_VALUE_MAX = 4096 };

struct journal {
	int fd; /* -1: not connected */
	struct buf entries;
	size_t ends[JOURNAL_BATCH]; /* of each entry in `entries` */
	size_t count;
	size_t lost; /* entries that journald did not take, since journal_lost */
};

/* Does stderr lead to the journal? Then lines may go there by fields. Any thread. */
bool journal_is_stderr(void);
void journal_init(struct journal *j);
void journal_done(struct journal *j);
/* One more entry; blocks for at most a second if a batch is full and journald is slow. */
void journal_add(struct journal *j, const struct log_fields *fields);
/* Send what has gathered. Blocks likewise. */
void journal_flush(struct journal *j);
/* How many entries were lost since the last call. */
size_t journal_lost(struct journal *j);

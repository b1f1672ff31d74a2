/* `gatherd status`: what a running daemon says of itself, on one screen. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/compiler.h"

struct status_report {
	struct buf status; /* the JSON of /-/status.json */
	struct buf ready;  /* the JSON of /-/ready: why it is not, if it is not */
	bool is_ready;
	size_t columns; /* of the screen: how many sources stand in a row */
};

/* Append the screen to out. Returns 0, or -EBADMSG: that is not what a gatherd of this version says. */
int status_report(struct buf *out, const struct status_report *r) must_check;

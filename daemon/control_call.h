/* A call of a running daemon by one of our commands, through its control socket. */
#pragma once

#include <stdbool.h>

#include "base/compiler.h"
#include "daemon/ask.h"

struct control_call {
	char path[4096]; /* of the socket */
	struct ask ask;
	int errnum; /* of a call without an answer */
};

/* Set c up to ask for `target` at the control socket, or where a daemon under our unit has it if that is NULL. Returns
 * false: it is not a path, which has been said. c must not move; ask_close(&c->ask) either way. */
bool control_call_open(struct control_call *c, const char *control, const char *target) must_check;
/* It is a POST of that body, which is copied. */
bool control_call_posts(struct control_call *c, const char *body) must_check;
/* Say on stderr why there was no answer (status 0), or that this one is not what was asked for. Returns an exit code.
 */
int control_call_failed(const struct control_call *c, long status);

/* The commands that speak to a running daemon through its control socket: `gatherd ready`, `status`, `reload`.
 *
 * control: the socket's path; NULL: where a daemon under our unit has it. Each returns an exit code, and says on stderr
 * why it is not 0: EX_UNAVAILABLE (nobody answers there), EX_NOPERM (the socket is not for this user). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Have /-/ready say that requests are welcome, or that they are not. */
int control_ready(const char *control, bool on);

/* Print what it is doing; json: as it says it. EX_UNAVAILABLE: also if it is not ready. */
int control_status(const char *control, bool json);

struct control_reload {
	bool force; /* take sources that do not answer */
	bool check; /* only say what it would do */
	int64_t timeout_us;
};

/* Have it read its configuration again, and print what became of that. Also returns EX_TEMPFAIL (a reload is still
 * under way at the time-out) and, if it was refused, why as an exit code: EX_CONFIG, with what `check` would print. */
int control_reload(const char *control, const struct control_reload *wish);

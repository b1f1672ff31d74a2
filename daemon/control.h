/* The commands that speak to a running daemon through its control socket: `gatherd ready`.
 *
 * control: the socket's path; NULL: where a daemon under our unit has it. Each returns an exit code, and says on stderr
 * why it is not 0: EX_UNAVAILABLE (nobody answers there), EX_NOPERM (the socket is not for this user). */
#pragma once

#include <stdbool.h>

/* Have /-/ready say that requests are welcome, or that they are not. */
int control_ready(const char *control, bool on);

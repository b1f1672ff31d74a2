/* A task that uses up its stack ends the process: with a line that names the task, not with a bare SIGSEGV.
 *
 * The handler runs on an alternate stack, which each thread that runs a loop needs. What it finds that is not an
 * overflow goes on to the handler that would have had it without us. If AddressSanitizer is, its own handler stays and
 * tells more. */
#pragma once

#include "base/compiler.h"

/* Install the handler for SIGSEGV and SIGBUS. Once a process, before its threads. */
void overflow_install(void);
/* Give the calling thread an alternate stack for signal handlers, if it has none. Returns 0 or -errno. */
int signal_stack_begin(void) must_check;
/* Take it away again, before the thread ends. Idempotent. */
void signal_stack_end(void);

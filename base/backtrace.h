/* Where a thread is: return addresses taken in a signal handler, and their names found later on a thread that has time.
 *
 * Taking one is safe in a signal handler: glibc finds a frame's tables without a lock (_dl_find_object), and libgcc is
 * loaded by backtrace_init. Naming is elfutils' work (libdw): it knows static functions, source lines and the separate
 * debugging information that distributions ship; if a program is stripped of all that, or its file was replaced
 * since it was loaded, the module and the offset in it are told, which `addr2line -e module` turns into the rest. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum { BACKTRACE_MAX = 32 };

/* The innermost first; each inside the instruction that was executing or has called. */
struct backtrace {
	uintptr_t at[BACKTRACE_MAX];
	unsigned count;
};

/* Load what backtrace_take needs. Before the first signal that takes one; may be repeated. */
void backtrace_init(void);
/* The stack of the caller, without the caller itself. In a signal handler: the stack of what was interrupted, without
 * the handler. Any thread, any stack; async-signal-safe. */
void backtrace_take(struct backtrace *b, bool in_handler);
/* Append "function+0x1f (file.c:12) < caller+0x8 (file.c:40) < …"; of what has no name "module+0x1234". Takes a lock
 * and reads files: milliseconds, the first time more. Any thread but one that is waited for. */
void backtrace_render(struct buf *out, const struct backtrace *b);
/* Forget what backtrace_render has read. */
void backtrace_done(void);
/* Append one address as "module+0x1234" to out, which has room for `size` bytes; returns the length. Async-signal-safe,
 * and no names of functions. */
size_t backtrace_place(char *out, size_t size, uintptr_t at);

/* Switching stacks: Boost.Context's two assembler routines, and what the sanitizers must be told of each switch.
 *
 * jump_fcontext and make_fcontext have plain C linkage in libboost_context; their header is C++, so they are declared
 * here. The ABI is part of the library's: the shared object's name carries its version. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define CONTEXT_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define CONTEXT_TSAN 1
#endif

/* What a switch hands over: where it came from, and a pointer. */
struct transfer {
	void *context;
	void *data;
};

struct transfer jump_fcontext(void *to, void *data);
void *make_fcontext(void *stack_top, size_t size, void (*fn)(struct transfer from));

/* One side of a switch, as the sanitizers know it. */
struct fiber {
	const void *stack_bottom; /* of the stack that is switched to */
	size_t stack_size;
	void *fake_stack; /* ASan's own, saved while switched away */
	void *tsan;
};

/* Always inlined: TSan would count the return of a function on the stack that it did not enter on.
 * Before switching from one to the other; `last`: `from` is never switched to again. */
static inline __attribute__((always_inline)) void fiber_switch_begin(struct fiber *from, struct fiber *to, bool last)
{
#ifdef CONTEXT_ASAN
	__sanitizer_start_switch_fiber(last ? NULL : &from->fake_stack, to->stack_bottom, to->stack_size);
#endif
#ifdef CONTEXT_TSAN
	__tsan_switch_to_fiber(to->tsan, 0);
#endif
	(void)from, (void)to, (void)last;
}

/* The first thing after arriving on `here`; `from` learns its bounds where it did not know them (a thread's stack). */
static inline __attribute__((always_inline)) void fiber_switch_end(struct fiber *here, struct fiber *from)
{
#ifdef CONTEXT_ASAN
	const void *bottom;
	size_t size;
	__sanitizer_finish_switch_fiber(here->fake_stack, &bottom, &size);
	if (from && !from->stack_bottom) {
		from->stack_bottom = bottom;
		from->stack_size = size;
	}
#endif
	(void)here, (void)from;
}

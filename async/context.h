/* Switching stacks, and what the sanitizers must know of each switch.
 *
 * context_switch is a few instructions in line. It keeps the general registers that a call keeps; the others are
 * declared lost, so the compiler saves of them what is alive. They lie side by side in struct context: they come back
 * all at once, not one after the other by way of the new stack, and a waiting task's stack has no part in it. On x86-64
 * and aarch64 it is our own; elsewhere (or with -DCONTEXT_BOOST) it is Boost.Context's pair of assembler routines, at
 * twice the price.
 *
 * The floating-point control words (rounding, exception masks) belong to the thread and are not switched: who changes
 * them restores them before it suspends. Nothing is pushed on the stack that is left, so its red zone stays whole.
 * Hardware shadow stacks are not supported: they need a stack of their own for each task.
 *
 * A context's first frame has no caller: the return address and the frame pointer there are 0, so a back-trace that is
 * taken in a task ends at the task's first function. In the middle of a switch the registers are one stack's and the
 * code is the other's: a signal's handler that would take a back-trace asks context_switching first. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define CONTEXT_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#define CONTEXT_TSAN 1
#endif

#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(CONTEXT_BOOST)
#define CONTEXT_BOOST 1
#endif

#ifndef CONTEXT_BOOST

#ifdef __x86_64__
enum { CONTEXT_KEPT = 5 }; /* rbx, r12 to r15 */
#else
enum { CONTEXT_KEPT = 10 }; /* x19 to x28 */
#endif

/* Where a stack goes on. context_switch knows the offsets. */
struct context {
	void *stack_pointer, *frame_pointer;
	void *at;
	uintptr_t kept[CONTEXT_KEPT];
};

/* The first switch to c enters `entry`, which never returns, on the `size` bytes below `top`. */
static inline void context_init(struct context *c, void *top, size_t size, void (*entry)(void))
{
	uintptr_t *frame = (uintptr_t *)((uintptr_t)top & ~(uintptr_t)15);
	(void)size;
#ifdef __x86_64__
	*--frame = 0; /* as a call leaves it: the return address on top of an aligned stack */
#endif
	c->stack_pointer = frame;
	c->frame_pointer = NULL;
	c->at = (void *)(uintptr_t)entry;
}

/* The instructions from label 0 to label 1 are a switch: a row of that section tells where they are. */
#define CONTEXT_NOTED ".pushsection context_switches, \"a\"\n.balign 4\n.long 0b - ., 1b - .\n.popsection\n"

extern const int32_t __start_context_switches[], __stop_context_switches[];

/* Does a switch execute what is at that address? Nothing can be unwound from there. Any thread, async-signal-safe. */
static inline bool context_switching(uintptr_t at)
{
	for (const int32_t *row = __start_context_switches; row < __stop_context_switches; row += 2) {
		uintptr_t first = (uintptr_t)&row[0] + (uintptr_t)(intptr_t)row[0];
		uintptr_t end = (uintptr_t)&row[1] + (uintptr_t)(intptr_t)row[1];
		if (at >= first && at < end)
			return true;
	}
	return false;
}

#ifdef __x86_64__

#ifdef __CET__
#define CONTEXT_LANDING "endbr64\n"
#else
#define CONTEXT_LANDING ""
#endif
#ifdef __AVX512F__
#define CONTEXT_WIDE                                                                                                   \
	, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27",  \
		"xmm28", "xmm29", "xmm30", "xmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define CONTEXT_WIDE
#endif

/* Leave the calling stack, which goes on here when somebody switches to *from, and go on where *to was left. Returns
 * `from`, which need not be kept meanwhile. */
static inline __attribute__((always_inline)) struct context *context_switch(struct context *from, struct context *to)
{
	__asm__ volatile("0: leaq 1f(%%rip), %%rax\n"
			 "movq %%rsp, (%%rdi)\n"
			 "movq %%rbp, 8(%%rdi)\n"
			 "movq %%rax, 16(%%rdi)\n"
			 "movq %%rbx, 24(%%rdi)\n"
			 "movq %%r12, 32(%%rdi)\n"
			 "movq %%r13, 40(%%rdi)\n"
			 "movq %%r14, 48(%%rdi)\n"
			 "movq %%r15, 56(%%rdi)\n"
			 "movq (%%rsi), %%rsp\n"
			 "movq 8(%%rsi), %%rbp\n"
			 "movq 24(%%rsi), %%rbx\n"
			 "movq 32(%%rsi), %%r12\n"
			 "movq 40(%%rsi), %%r13\n"
			 "movq 48(%%rsi), %%r14\n"
			 "movq 56(%%rsi), %%r15\n"
			 "jmp *16(%%rsi)\n"
			 "1:\n" CONTEXT_LANDING CONTEXT_NOTED
			 : "+D"(from), "+S"(to)
			 :
			 : "memory", "cc", "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2",
			   "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
			   "xmm14", "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)",
			   "st(7)" CONTEXT_WIDE);
	return to; /* as who arrived here named it */
}

#else /* aarch64 */

/* The same. x30, the return address, is 0 in the first frame; `hint 36` is "bti j". */
static inline __attribute__((always_inline)) struct context *context_switch(struct context *from, struct context *to)
{
	register struct context *left __asm__("x0") = from;
	register struct context *entered __asm__("x1") = to;
	__asm__ volatile("0: adr x9, 1f\n"
			 "mov x10, sp\n"
			 "stp x10, x29, [x0]\n"
			 "stp x9, x19, [x0, #16]\n"
			 "stp x20, x21, [x0, #32]\n"
			 "stp x22, x23, [x0, #48]\n"
			 "stp x24, x25, [x0, #64]\n"
			 "stp x26, x27, [x0, #80]\n"
			 "str x28, [x0, #96]\n"
			 "ldp x10, x29, [x1]\n"
			 "ldp x16, x19, [x1, #16]\n"
			 "ldp x20, x21, [x1, #32]\n"
			 "ldp x22, x23, [x1, #48]\n"
			 "ldp x24, x25, [x1, #64]\n"
			 "ldp x26, x27, [x1, #80]\n"
			 "ldr x28, [x1, #96]\n"
			 "mov sp, x10\n"
			 "mov x30, xzr\n"
			 "br x16\n"
			 "1: hint #36\n" CONTEXT_NOTED
			 : "+r"(left), "+r"(entered)
			 :
			 : "memory", "cc", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
			   "x14", "x15", "x16", "x17", "x18", "x30", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7",
			   "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20",
			   "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30", "v31");
	return entered;
}

#endif

#else /* CONTEXT_BOOST */

/* These have plain C linkage in libboost_context; their header is C++, so they are declared here. The ABI is part of
 * the library's: the shared object's name carries its version. */
struct transfer {
	void *context;
	void *data;
};

struct transfer jump_fcontext(void *to, void *data);
void *make_fcontext(void *stack_top, size_t size, void (*fn)(struct transfer from));

struct context {
	void *at;
	void (*entry)(void);
	struct context *left; /* by the switch that arrives here */
};

static inline void context_arrive(struct transfer arrived)
{
	struct context *here = arrived.data;
	here->left->at = arrived.context;
}

static inline __attribute__((no_sanitize("thread"))) void context_start(struct transfer arrived)
{
	context_arrive(arrived);
	((struct context *)arrived.data)->entry();
}

static inline bool context_switching(uintptr_t at)
{
	(void)at; /* its routines can be unwound */
	return false;
}

static inline void context_init(struct context *c, void *top, size_t size, void (*entry)(void))
{
	*c = (struct context){.at = make_fcontext(top, size, context_start), .entry = entry};
}

static inline __attribute__((always_inline)) struct context *context_switch(struct context *from, struct context *to)
{
	to->left = from;
	struct transfer arrived = jump_fcontext(to->at, to);
	context_arrive(arrived);
	return arrived.data;
}

#endif

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

/* The first thing after arriving on `here`. `thread` learns the bounds of the thread's own stack where it does not know
 * them: then that is the one that was left. */
static inline __attribute__((always_inline)) void fiber_switch_end(struct fiber *here, struct fiber *thread)
{
#ifdef CONTEXT_ASAN
	const void *bottom;
	size_t size;
	__sanitizer_finish_switch_fiber(here->fake_stack, &bottom, &size);
	if (!thread->stack_bottom) {
		thread->stack_bottom = bottom;
		thread->stack_size = size;
	}
#endif
	(void)here, (void)thread;
}

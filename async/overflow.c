/* Overflow of a task's stack: the guard below it faults, and the handler says whose it was. */
#include "async/overflow.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "async/internal.h"
#include "base/backtrace.h"

enum {
	SIGNAL_STACK_BYTES = 64 * 1024, /* the unwinder takes some 5 KiB, a signal frame with AVX-512 3 KiB */
	BELOW_BYTES = 64 * 1024,        /* of the stack pointer: what a function pushes before it has moved it */
	FRAMES_TOLD = 8,
	NAME_MAX_BYTES = 200,
	WRITE_WAIT_MS = 1000, /* for who reads stderr, which may be full */
};

/* --- the alternate stack --- */

static _Thread_local void *own_stack; /* NULL: none, or not ours */

int signal_stack_begin(void)
{
	stack_t now;
	if (sigaltstack(NULL, &now) < 0)
		return -errno;
	if (!(now.ss_flags & SS_DISABLE))
		return 0; /* the sanitizers bring one */
	void *m = mmap(NULL, SIGNAL_STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m == MAP_FAILED)
		return -errno;
	stack_t mine = {.ss_sp = m, .ss_size = SIGNAL_STACK_BYTES};
	if (sigaltstack(&mine, NULL) < 0) {
		int r = -errno;
		munmap(m, SIGNAL_STACK_BYTES);
		return r;
	}
	own_stack = m;
	return 0;
}

void signal_stack_end(void)
{
	if (!own_stack)
		return;
	sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL);
	munmap(own_stack, SIGNAL_STACK_BYTES);
	own_stack = NULL;
}

#ifdef CONTEXT_ASAN

void overflow_install(void)
{
}

#else

/* --- the last words; async-signal-safe --- */

struct words {
	char text[1024]; /* the last one for the end of the line */
	size_t len;
};

static void say_some(struct words *w, const char *text, size_t most)
{
	for (; *text && most > 0 && w->len < sizeof(w->text) - 1; most--) {
		unsigned char c = (unsigned char)*text++;
		w->text[w->len++] = c < ' ' || c == 0x7f ? ' ' : (char)c;
	}
}

static void say(struct words *w, const char *text)
{
	say_some(w, text, sizeof(w->text));
}

static void say_number(struct words *w, uint64_t n)
{
	char digits[24];
	size_t at = sizeof(digits) - 1;
	digits[at] = '\0';
	do {
		digits[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	say(w, digits + at);
}

/* Returns false if nobody reads. */
static bool write_line(struct words *w)
{
	struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
	w->text[w->len++] = '\n';
	return poll(&room, 1, WRITE_WAIT_MS) > 0 && write(STDERR_FILENO, w->text, w->len) > 0;
}

static bool tell(const struct task *t)
{
	struct words w = {.len = 0};
	say(&w, "gatherd: the task \"");
	say_some(&w, task_name(t), NAME_MAX_BYTES);
	say(&w, "\" (id ");
	say_number(&w, t->id);
	say(&w, ") has overflowed its stack of ");
	say_number(&w, t->stack->size / 1024);
	say(&w, " KiB: it recurses too deep, or its variables are too large");
	return write_line(&w);
}

/* Where it was: the innermost functions, as places in their modules. */
static void tell_where(void)
{
	struct backtrace b;
	backtrace_take(&b, true);
	for (unsigned i = 0; i < b.count && i < FRAMES_TOLD; i++) {
		char place[128];
		struct words w = {.len = 0};
		size_t len = backtrace_place(place, sizeof(place) - 1, b.at[i]);
		place[len] = '\0';
		say(&w, "gatherd:   at ");
		say(&w, place);
		if (!write_line(&w))
			return;
	}
}

/* --- the handler --- */

static struct sigaction before[2];

static struct sigaction *before_of(int signo)
{
	return &before[signo == SIGBUS];
}

static uintptr_t stack_pointer(const ucontext_t *context)
{
#ifdef __x86_64__
	return (uintptr_t)context->uc_mcontext.gregs[REG_RSP];
#elif defined(__aarch64__)
	return (uintptr_t)context->uc_mcontext.sp;
#else
	(void)context;
	return UINTPTR_MAX;
#endif
}

/* The task whose stack was too small for an access to that address, or NULL: it lies in the guard, or, if a frame
 * has stepped over that, in what the stack pointer has claimed below. */
static const struct task *overflowed(const void *address, const ucontext_t *context)
{
	const struct loop *l = loop_current();
	const struct task *t = l ? l->running : NULL;
	if (!t)
		return NULL;
	uintptr_t at = (uintptr_t)address;
	uintptr_t base = (uintptr_t)t->stack->base;
	uintptr_t pointer = stack_pointer(context);
	bool in_guard = at < base && at >= (uintptr_t)t->stack->mapping;
	bool in_frame = at < base && pointer < base && at >= pointer - BELOW_BYTES;
	return in_guard || in_frame ? t : NULL;
}

static void on_fault(int signo, siginfo_t *info, void *context)
{
	/* A fault of the kernel's making names an address; what another process sent does not. */
	bool fault = info->si_code > 0;
	const struct task *t = fault ? overflowed(info->si_addr, context) : NULL;
	if (t)
		sigaction(signo, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
	else
		sigaction(signo, before_of(signo), NULL);
	if (t && tell(t))
		tell_where();
	/* On return the instruction faults again, and the process ends as it would have without us. */
	if (!fault)
		raise(signo);
}

void overflow_install(void)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	backtrace_init();
	sigemptyset(&action.sa_mask);
	sigaction(SIGSEGV, &action, before_of(SIGSEGV));
	sigaction(SIGBUS, &action, before_of(SIGBUS));
}

#endif

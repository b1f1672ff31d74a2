/* The watchdog of debug mode. See monitor.h for the design. */
#include "async/monitor.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "async/internal.h"
#include "async/stack_use.h"
#include "base/backtrace.h"
#include "base/log.h"
#include "base/mem.h"

#define ASK_SIGNAL (SIGRTMAX - 1)

enum {
	LOOKS = 4,            /* in the time that makes a turn slow */
	ANSWER_MS = 100,      /* for the handler: a thread that waits for a disk takes no signals meanwhile */
	NAME_BYTES = 80,      /* of a task's name */
	STOPPED_MS = 250,     /* the watchdog comes that late if the whole process stood still, not one loop */
	CALLERS_COMPARED = 4, /* of a call on a wrong thread, to know it again */
	WAYS_MAX = 256,       /* of such calls that are told apart */
};

/* ASKED by the watchdog, TAKING and TAKEN by the handler, IDLE again by the watchdog. */
enum sample_state { SAMPLE_IDLE, SAMPLE_ASKED, SAMPLE_TAKING, SAMPLE_TAKEN };

struct monitor {
	struct list link; /* watch.loops */
	struct loop *loop;
	unsigned worker;
	pthread_t thread;
	struct stack_sampler stacks; /* loop thread only */

	/* written by the loop, read by the watchdog */
	atomic_uint turn; /* odd: it lasts */
	_Atomic int64_t began_us;

	atomic_uint told; /* the last turn that was logged; written by the watchdog */

	/* what the handler leaves; its own between TAKING and TAKEN, else the watchdog's */
	atomic_uint sample;
	unsigned asked; /* the turn */
	bool in_turn;   /* it lasted still */
	bool in_task;
	char task[NAME_BYTES];
	uint64_t id;
	struct backtrace where;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct list loops; /* under lock */
	bool stopping;     /* under lock */
	pthread_t thread;
	int64_t slow_us;
	atomic_bool running;              /* debug mode */
	bool known;                       /* loops are; written while there is none */
	_Atomic int64_t wakes_us;         /* when it is to look next; NEVER while it looks */
	_Atomic int64_t resumed_us;       /* when it last saw that the process goes on again */
	_Atomic uintptr_t ways[WAYS_MAX]; /* to monitor_wrong_thread; a hash table */
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Had the watchdog to look long ago? Then the process was stopped (SIGSTOP, a debugger, a machine that is paused). */
static bool was_stopped(int64_t now_us)
{
	return now_us - STOPPED_MS * 1000 > atomic_load_explicit(&watch.wakes_us, memory_order_relaxed);
}

/* Since when m's turn lasts, without what came before the process was stopped. */
static int64_t runs_since_us(const struct monitor *m)
{
	int64_t began_us = atomic_load_explicit(&m->began_us, memory_order_acquire);
	int64_t resumed_us = atomic_load_explicit(&watch.resumed_us, memory_order_relaxed);
	return began_us > resumed_us ? began_us : resumed_us;
}

/* --- on the loop's thread --- */

static void turn_busy(struct loop *l)
{
	struct monitor *m = l->monitor;
	unsigned turn = atomic_load_explicit(&m->turn, memory_order_relaxed);
	if (turn & 1)
		return;
	atomic_store_explicit(&m->began_us, now_us(l), memory_order_relaxed);
	atomic_store_explicit(&m->turn, turn + 1, memory_order_release);
}

static void turn_idle(struct loop *l)
{
	struct monitor *m = l->monitor;
	unsigned turn = atomic_load_explicit(&m->turn, memory_order_relaxed);
	if (!(turn & 1))
		return;
	/* The loop has read the clock when the poll's callbacks had run. What is slow after that, the watchdog sees. */
	bool told = atomic_load_explicit(&m->told, memory_order_relaxed) == turn;
	int64_t ended_us = told ? monotonic_us() : now_us(l);
	int64_t took_us = ended_us - atomic_load_explicit(&m->began_us, memory_order_relaxed);
	bool slow = ended_us - runs_since_us(m) >= watch.slow_us && !was_stopped(ended_us);
	atomic_store_explicit(&m->turn, turn + 1, memory_order_release);
	if (told || slow)
		log_line(LOG_LINE_WARNING, "the loop was blocked", "worker=%u ms=%lld", m->worker,
			 (long long)took_us / 1000);
}

static void task_spawned(struct loop *l, struct task *t)
{
	stack_use_spawned(&l->monitor->stacks, t);
}

static void task_is_over(struct loop *l, struct task *t)
{
	(void)l;
	stack_use_ended(t);
}

static const struct monitor_hooks hooks = {
	.busy = turn_busy, .idle = turn_idle, .task_spawned = task_spawned, .task_ended = task_is_over};

static uintptr_t interrupted_at(const ucontext_t *context)
{
#ifdef __x86_64__
	return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return (uintptr_t)context->uc_mcontext.pc;
#else
	(void)context;
	return 0;
#endif
}

static void take_sample(struct monitor *m, const struct loop *l, const ucontext_t *context)
{
	m->in_turn = atomic_load_explicit(&m->turn, memory_order_relaxed) == m->asked;
	if (!m->in_turn)
		return;
	const struct task *t = l->running;
	m->in_task = t != NULL;
	if (t) {
		const char *name = task_name(t);
		size_t len = strnlen(name, NAME_BYTES - 1);
		memcpy(m->task, name, len);
		m->task[len] = '\0';
		m->id = t->id;
	}
	m->where.count = 0;
	if (!context_switching(interrupted_at(context)))
		backtrace_take(&m->where, true);
}

/* Somebody else's signal of this number finds nothing asked. */
static void on_asked(int signo, siginfo_t *info, void *context)
{
	int saved = errno;
	struct loop *l = loop_current();
	struct monitor *m = l ? l->monitor : NULL;
	unsigned asked = SAMPLE_ASKED;
	(void)signo, (void)info;
	if (m && atomic_compare_exchange_strong(&m->sample, &asked, SAMPLE_TAKING)) {
		take_sample(m, l, context);
		atomic_store_explicit(&m->sample, SAMPLE_TAKEN, memory_order_release);
	}
	errno = saved;
}

/* --- on the watchdog's thread; under the lock, which keeps the loops --- */

static bool await_answer(struct monitor *m)
{
	static const struct timespec a_while = {.tv_nsec = 200 * 1000};
	deadline_t by = deadline_in_ms(ANSWER_MS);
	while (atomic_load_explicit(&m->sample, memory_order_acquire) != SAMPLE_TAKEN) {
		if (deadline_passed(by))
			return false;
		nanosleep(&a_while, NULL);
	}
	return true;
}

/* Ask m's thread where it is. Returns whether it has answered, in that turn; it may still do so later. */
static bool ask(struct monitor *m, unsigned turn)
{
	unsigned state = SAMPLE_ASKED; /* for an earlier turn: never mind */
	if (!atomic_compare_exchange_strong(&m->sample, &state, SAMPLE_IDLE) && state == SAMPLE_TAKING)
		return false;
	m->asked = turn;
	atomic_store_explicit(&m->sample, SAMPLE_ASKED, memory_order_release);
	if (pthread_kill(m->thread, ASK_SIGNAL) != 0 || !await_answer(m))
		return false;
	atomic_store_explicit(&m->sample, SAMPLE_IDLE, memory_order_relaxed);
	return m->in_turn;
}

static void render_answer(struct buf *line, const struct monitor *m)
{
	struct buf where = BUF_INIT;
	if (m->in_task) {
		buf_lit(line, " task=");
		logfmt_value(line, m->task, strlen(m->task));
		buf_printf(line, " task_id=%llu", (unsigned long long)m->id);
	}
	backtrace_render(&where, &m->where);
	buf_lit(line, " where=");
	if (where.len > 0)
		logfmt_value(line, where.data, where.len);
	else
		buf_lit(line, "unknown");
	buf_done(&where);
}

static void write_line(struct buf *line)
{
	buf_char(line, '\n');
	log_raw(LOG_LINE_WARNING, line->data, line->len);
	buf_done(line);
}

void monitor_describe(unsigned worker, struct buf *line)
{
	bool answered = false;
	if (!watch.known)
		return;
	pthread_mutex_lock(&watch.lock);
	list_for_each (node, &watch.loops) {
		struct monitor *m = container_of(node, struct monitor, link);
		if (m->worker != worker || !ask(m, atomic_load_explicit(&m->turn, memory_order_acquire)))
			continue;
		render_answer(line, m);
		answered = true;
	}
	pthread_mutex_unlock(&watch.lock);
	if (!answered)
		buf_lit(line, " where=unknown");
}

static void tell(struct monitor *m, unsigned turn, int64_t since_us)
{
	bool answered = ask(m, turn);
	if (!answered && atomic_load(&m->turn) != turn)
		return; /* it has just ended, and says itself how long it took */
	struct buf line = BUF_INIT;
	log_begin(&line, LOG_LINE_WARNING, "the loop is blocked");
	buf_printf(&line, " worker=%u ms=%lld", m->worker, (long long)(monotonic_us() - since_us) / 1000);
	if (answered)
		render_answer(&line, m);
	else
		buf_lit(&line, " where=unknown");
	write_line(&line);
}

/* A thread that the kernel did not interrupt has answered when its system call was over, before it went on. */
static void tell_late(struct monitor *m)
{
	struct buf line = BUF_INIT;
	if (m->in_turn) {
		log_begin(&line, LOG_LINE_WARNING, "the loop was blocked here");
		buf_printf(&line, " worker=%u", m->worker);
		render_answer(&line, m);
		write_line(&line);
	}
	atomic_store_explicit(&m->sample, SAMPLE_IDLE, memory_order_relaxed);
}

/* Returns when to look again. */
static int64_t look(struct monitor *m, int64_t now_us)
{
	int64_t later_us = now_us + watch.slow_us / LOOKS;
	if (atomic_load_explicit(&m->sample, memory_order_acquire) == SAMPLE_TAKEN)
		tell_late(m);
	unsigned turn = atomic_load_explicit(&m->turn, memory_order_acquire);
	int64_t since_us = runs_since_us(m); /* before the turn is read again */
	if (!(turn & 1) || turn == atomic_load_explicit(&m->told, memory_order_relaxed) ||
	    atomic_load_explicit(&m->turn, memory_order_relaxed) != turn)
		return later_us;
	int64_t slow_us = since_us + watch.slow_us;
	if (now_us < slow_us)
		return slow_us < later_us ? slow_us : later_us;
	atomic_store_explicit(&m->told, turn, memory_order_relaxed);
	tell(m, turn, since_us);
	return later_us;
}

/* Returns when to look again. */
static int64_t look_at_all(void)
{
	int64_t now_us = monotonic_us();
	if (was_stopped(now_us))
		atomic_store_explicit(&watch.resumed_us, now_us, memory_order_relaxed);
	atomic_store_explicit(&watch.wakes_us, DEADLINE_NEVER.us, memory_order_relaxed);
	int64_t next_us = now_us + watch.slow_us / LOOKS;
	list_for_each (node, &watch.loops) {
		int64_t again_us = look(container_of(node, struct monitor, link), now_us);
		next_us = again_us < next_us ? again_us : next_us;
	}
	now_us = monotonic_us(); /* to tell takes its time */
	return next_us > now_us ? next_us : now_us;
}

static void *watchdog_main(void *unused)
{
	pthread_setname_np(pthread_self(), "gatherd-watch");
	pthread_mutex_lock(&watch.lock);
	while (!watch.stopping) {
		int64_t next_us = look_at_all();
		struct timespec until = {.tv_sec = next_us / 1000000, .tv_nsec = next_us % 1000000 * 1000};
		atomic_store_explicit(&watch.wakes_us, next_us, memory_order_relaxed);
		pthread_cond_timedwait(&watch.changed, &watch.lock, &until);
	}
	pthread_mutex_unlock(&watch.lock);
	return unused;
}

/* --- life --- */

int monitor_stand_by(void)
{
	struct sigaction action = {.sa_sigaction = on_asked, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
	sigemptyset(&action.sa_mask);
	backtrace_init();
	if (sigaction(ASK_SIGNAL, &action, NULL) < 0)
		return -errno;
	list_init(&watch.loops);
	watch.known = true;
	return 0;
}

int monitor_start(int64_t slow_us)
{
	int r = monitor_stand_by();
	if (r < 0)
		return r;
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&watch.changed, &attributes);
	pthread_condattr_destroy(&attributes);
	watch.slow_us = slow_us;
	watch.stopping = false;
	atomic_store(&watch.wakes_us, monotonic_us());
	atomic_store(&watch.resumed_us, 0);
	r = -pthread_create(&watch.thread, NULL, watchdog_main, NULL);
	if (r < 0)
		pthread_cond_destroy(&watch.changed);
	else
		atomic_store(&watch.running, true);
	return r;
}

static void end_watchdog(void)
{
	pthread_mutex_lock(&watch.lock);
	watch.stopping = true;
	pthread_mutex_unlock(&watch.lock);
	pthread_cond_signal(&watch.changed);
	pthread_join(watch.thread, NULL);
	pthread_cond_destroy(&watch.changed);
	stack_use_done();
}

void monitor_stop(void)
{
	if (!watch.known)
		return;
	watch.known = false;
	if (atomic_exchange(&watch.running, false))
		end_watchdog();
	backtrace_done();
}

bool monitor_running(void)
{
	return atomic_load_explicit(&watch.running, memory_order_relaxed);
}

int monitor_watch(struct loop *l, unsigned worker)
{
	sigset_t set;
	if (!watch.known)
		return 0;
	sigemptyset(&set);
	sigaddset(&set, ASK_SIGNAL);
	int r = -pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	if (r < 0)
		return r;
	struct monitor *m = mem_zalloc(sizeof(*m));
	m->loop = l;
	m->worker = worker;
	m->thread = pthread_self();
	stack_sampler_init(&m->stacks, worker + 1);
	l->monitor = m;
	l->hooks = monitor_running() ? &hooks : NULL;
	if (l->hooks && l->depth > 0)
		turn_busy(l); /* what is left of this turn */
	pthread_mutex_lock(&watch.lock);
	list_append(&watch.loops, &m->link);
	pthread_mutex_unlock(&watch.lock);
	return 0;
}

void monitor_unwatch(struct loop *l)
{
	struct monitor *m = l->monitor;
	if (!m)
		return;
	pthread_mutex_lock(&watch.lock);
	list_remove(&m->link);
	pthread_mutex_unlock(&watch.lock);
	l->hooks = NULL;
	l->monitor = NULL;
	free(m);
}

/* --- wrong threads --- */

/* The innermost callers, as one number that is not 0. */
static uintptr_t way_here(const struct backtrace *b)
{
	uintptr_t way = 0;
	for (unsigned i = 0; i < b->count && i < CALLERS_COMPARED; i++)
		way = (way ^ b->at[i]) * (uintptr_t)0x9e3779b97f4a7c15;
	return way ? way : 1;
}

/* Is it the first time that somebody comes this way? Not if there are too many ways to know. */
static bool is_new_way(uintptr_t way)
{
	for (size_t i = 0; i < WAYS_MAX; i++) {
		uintptr_t found = 0;
		if (atomic_compare_exchange_strong(&watch.ways[(way + i) % WAYS_MAX], &found, way))
			return true;
		if (found == way)
			return false;
	}
	return false;
}

__attribute__((noinline)) bool monitor_wrong_thread(const char *function)
{
	struct backtrace b;
	backtrace_take(&b, false);
	if (!is_new_way(way_here(&b)))
		return false;
	struct buf where = BUF_INIT, quoted = BUF_INIT;
	backtrace_render(&where, &b);
	logfmt_value(&quoted, where.data ? where.data : "", where.len);
	log_line(LOG_LINE_ERROR, "called on a wrong thread", "function=%s where=%s", function, buf_cstr(&quoted));
	buf_done(&where);
	buf_done(&quoted);
	return true;
}

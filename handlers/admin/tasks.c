/* /-/tasks: asking all workers, and rendering what they say.
 *
 * A question is a message that goes to a worker's loop, is filled in there and comes back by the same message: it has
 * one owner at any time. Whoever asked and did not wait for it takes itself off the question, which then frees itself
 * when it comes back; a worker that was blocked meanwhile does no work for it. */
#include "handlers/admin/tasks.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "async/monitor.h"
#include "async/stack_use.h"
#include "base/json_out.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"

enum {
	TASKS_MAX = 10000,    /* that are listed, of all workers together */
	LOGGED_MAX = 100,     /* of one worker */
	PATIENCE_MS = 1000,   /* with a worker */
	TEXT_MAX_BYTES = 200, /* of a name or an id */
};

static struct {
	pthread_mutex_t lock;
	struct list members; /* under lock; joined in the order of the workers */
	unsigned count;      /* under lock */
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .members = {&all.members, &all.members}};

void tasks_join(struct tasks_member *m, struct loop *l, unsigned worker)
{
	m->loop = l;
	m->worker = worker;
	pthread_mutex_lock(&all.lock);
	list_append(&all.members, &m->link);
	all.count++;
	pthread_mutex_unlock(&all.lock);
}

void tasks_leave(struct tasks_member *m)
{
	pthread_mutex_lock(&all.lock);
	list_remove(&m->link);
	all.count--;
	pthread_mutex_unlock(&all.lock);
}

/* --- a worker's own list --- */

static const char *const state_names[] = {
	[TASK_READY] = "ready",
	[TASK_RUNNING] = "running",
	[TASK_WAITING] = "waiting",
	[TASK_ENDED] = "ended",
};

struct listing {
	struct buf *out;
	unsigned worker;
	int64_t now_us;
};

/* As much of a text as is shown; what follows a byte that is not UTF-8 is not. */
static size_t shown(const char *text)
{
	return utf8_prefix(text, strnlen(text, TEXT_MAX_BYTES));
}

static void member_text(struct buf *out, const char *name, const char *text)
{
	buf_printf(out, ",\"%s\":", name);
	json_string(out, text, shown(text));
}

static void list_one(void *arg, const struct task *t, const struct task_info *info)
{
	const struct listing *l = arg;
	struct buf *out = l->out;
	buf_printf(out, "%s{\"worker\":%u,\"id\":%llu", out->len > 0 ? "," : "", l->worker,
		   (unsigned long long)info->id);
	member_text(out, "name", info->name);
	member_text(out, "state", state_names[info->state]);
	if (info->awaits) {
		struct buf awaits = BUF_INIT;
		task_awaits(t, info, &awaits);
		member_text(out, "awaits", buf_cstr(&awaits));
		buf_done(&awaits);
		if (info->awaits_id)
			buf_printf(out, ",\"awaits_id\":%llu", (unsigned long long)info->awaits_id);
		buf_printf(out, ",\"awaits_ms\":%lld", (long long)(l->now_us - info->since_us) / 1000);
	}
	buf_printf(out, ",\"age_ms\":%lld", (long long)(l->now_us - info->born_us) / 1000);
	const char *request = task_local_of(t, &exchange_request_id);
	if (request)
		member_text(out, "request", request);
	if (info->cancelled)
		buf_lit(out, ",\"cancelled\":true");
	buf_char(out, '}');
}

/* --- questions --- */

struct census;

struct question {
	struct message message;
	struct loop *asker;
	struct census *census; /* asker's thread only; NULL: nobody waits for it any more */
	unsigned worker, most;
	bool answered;      /* asker's thread only */
	atomic_bool forgot; /* by the asker */
	unsigned count;
	struct buf tasks; /* JSON, without brackets */
};

/* Everybody was asked; on the stack of the task that waits. */
struct census {
	struct question **questions;
	unsigned asked, answered;
	struct waiter waiter;
};

static void question_free(struct question *q)
{
	buf_done(&q->tasks);
	free(q);
}

/* On the asker's loop again. */
static void take_answer(struct message *m)
{
	struct question *q = container_of(m, struct question, message);
	struct census *c = q->census;
	loop_expect(q->asker, -1);
	if (!c) {
		question_free(q);
		return;
	}
	q->answered = true;
	if (++c->answered == c->asked)
		task_wake(&c->waiter, 0);
}

/* On the loop of the worker that is asked. */
static void answer(struct message *m)
{
	struct question *q = container_of(m, struct question, message);
	struct listing l = {.out = &q->tasks, .worker = q->worker, .now_us = monotonic_us()};
	if (!atomic_load_explicit(&q->forgot, memory_order_relaxed))
		q->count = loop_each_task(loop_current(), q->most, list_one, &l);
	m->run = take_answer;
	loop_post(q->asker, m);
}

static void ask_all(struct census *c, unsigned most)
{
	pthread_mutex_lock(&all.lock);
	c->questions = mem_array(all.count + 1, sizeof(struct question *));
	list_for_each (node, &all.members) {
		const struct tasks_member *m = container_of(node, struct tasks_member, link);
		struct question *q = mem_alloc(sizeof(*q));
		*q = (struct question){
			.message.run = answer,
			.asker = loop_current(),
			.census = c,
			.worker = m->worker,
			.most = most < TASKS_MAX / all.count ? most : TASKS_MAX / all.count,
		};
		c->questions[c->asked++] = q;
		loop_expect(q->asker, 1);
		loop_post(m->loop, &q->message);
	}
	pthread_mutex_unlock(&all.lock);
}

/* --- the page --- */

static void render_workers(struct buf *out, const struct census *c)
{
	buf_lit(out, "{\"workers\":[");
	for (unsigned i = 0; i < c->asked; i++) {
		const struct question *q = c->questions[i];
		buf_printf(out, "%s{\"worker\":%u,\"answers\":%s", i > 0 ? "," : "", q->worker,
			   q->answered ? "true" : "false");
		if (q->answered)
			buf_printf(out, ",\"tasks\":%u,\"left_out\":%u", q->count,
				   q->count > q->most ? q->count - q->most : 0);
		buf_char(out, '}');
	}
	buf_lit(out, "],\"tasks\":[");
}

static void render_tasks(struct buf *out, const struct census *c)
{
	bool first = true;
	for (unsigned i = 0; i < c->asked; i++) {
		const struct question *q = c->questions[i];
		if (!q->answered || q->tasks.len == 0)
			continue;
		if (!first)
			buf_char(out, ',');
		buf_append(out, q->tasks.data, q->tasks.len);
		first = false;
	}
	buf_char(out, ']');
}

static void render_stack(const struct stack_use *u, void *arg)
{
	struct buf *out = arg;
	if (out->data[out->len - 1] != '[')
		buf_char(out, ',');
	buf_lit(out, "{\"name\":");
	json_string(out, u->name, shown(u->name));
	buf_printf(out, ",\"deepest_bytes\":%zu,\"stack_bytes\":%zu,\"measured\":%llu}", u->deepest_bytes,
		   u->size_bytes, (unsigned long long)u->measured);
}

static void render(struct buf *out, const struct census *c)
{
	render_workers(out, c);
	render_tasks(out, c);
	if (monitor_running()) {
		buf_lit(out, ",\"stacks\":[");
		stack_use_each(render_stack, out);
		buf_char(out, ']');
	}
	buf_char(out, '}');
}

static void census_done(struct census *c)
{
	for (unsigned i = 0; i < c->asked; i++) {
		struct question *q = c->questions[i];
		if (q->answered) {
			question_free(q);
			continue;
		}
		q->census = NULL;
		atomic_store_explicit(&q->forgot, true, memory_order_relaxed);
	}
	free(c->questions);
}

int tasks_census(struct buf *out, unsigned most)
{
	struct census c = {0};
	int r = task_check();
	if (r < 0)
		return r;
	waiter_init(&c.waiter, NULL, "the workers' lists of tasks");
	ask_all(&c, most);
	r = task_suspend(&c.waiter, deadline_in_ms(PATIENCE_MS));
	if (r == 0 || r == -ETIMEDOUT) {
		render(out, &c);
		r = 0;
	}
	census_done(&c);
	return r;
}

static int page_task(void *arg)
{
	struct exchange *x = arg;
	struct reply reply = {.status = 200};
	int r = tasks_census(&reply.body, TASKS_MAX);
	if (r == 0)
		exchange_reply(x, &reply);
	return r;
}

void tasks_page(struct exchange *x)
{
	exchange_spawn(x, page_task);
}

/* --- the log --- */

struct logging {
	const char *msg;
	unsigned worker;
	int64_t now_us;
};

static void log_one(void *arg, const struct task *t, const struct task_info *info)
{
	const struct logging *l = arg;
	struct buf line = BUF_INIT;
	log_begin(&line, LOG_LINE_WARNING, l->msg);
	buf_printf(&line, " worker=%u task=", l->worker);
	logfmt_value(&line, info->name, strnlen(info->name, TEXT_MAX_BYTES));
	buf_printf(&line, " task_id=%llu state=%s age_ms=%lld", (unsigned long long)info->id, state_names[info->state],
		   (long long)(l->now_us - info->born_us) / 1000);
	if (info->awaits) {
		struct buf awaits = BUF_INIT;
		task_awaits(t, info, &awaits);
		buf_lit(&line, " awaits=");
		logfmt_value(&line, awaits.data, awaits.len);
		buf_done(&awaits);
		buf_printf(&line, " awaits_ms=%lld", (long long)(l->now_us - info->since_us) / 1000);
	}
	const char *request = task_local_of(t, &exchange_request_id);
	if (request) {
		buf_lit(&line, " id=");
		logfmt_value(&line, request, strnlen(request, TEXT_MAX_BYTES));
	}
	buf_char(&line, '\n');
	log_raw(LOG_LINE_WARNING, line.data, line.len);
	buf_done(&line);
}

void tasks_log(struct loop *l, unsigned worker, const char *msg)
{
	struct logging logging = {.msg = msg, .worker = worker, .now_us = monotonic_us()};
	unsigned count = loop_each_task(l, LOGGED_MAX, log_one, &logging);
	if (count > LOGGED_MAX)
		log_line(LOG_LINE_WARNING, msg, "worker=%u and_more=%u", worker, count - LOGGED_MAX);
}

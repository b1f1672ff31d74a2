/* What the files that run a plan know of each other: run.c (the request), step.c (one step), reply.c (what is sent),
 * preconditions.c (versions), send.c (a file that is sent), fetch.c (what others may wait for, too). */
#pragma once

#include "async/gather.h"
#include "handlers/gather/idempotency.h"
#include "handlers/gather/run.h"

struct run;

struct step_run {
	struct run *run;
	unsigned index;
	bool started;
	bool changed;                /* it has made changes, or a part of them */
	bool uncertain;              /* it may or may not have made them */
	struct operation *operation; /* that it is, and was not collected yet; NULL: it has a task, or has ended */
	struct error *error;         /* NULL: it did not fail */
	struct span key;             /* in the cache; base NULL: none */
	int64_t wait_us, run_us; /* before it started (for other steps, for permits), from the request's start; then */
	int64_t started_us;      /* CLOCK_MONOTONIC */
};

/* One request. In its exchange's arena. */
struct run {
	const struct plan *plan;
	const struct gather_env *env;
	struct exchange *exchange;
	struct evaluation evaluation;
	struct step_run *steps;
	struct gather gather;  /* the steps */
	struct gather fetches; /* what others may wait for too: it outlives the reply if it must */
	uint64_t ended;        /* bits of the steps that have */
	int failed;            /* the step that failed the request; -1: none */
	struct error error;    /* what failed it, if that was not a step */
	int64_t began_us;
	bool left;                           /* its client went away before the reply */
	bool minimal;                        /* the client prefers a reply without a body */
	bool explained;                      /* the client asked for Server-Timing, and may */
	struct idempotency *idempotency;     /* NULL: the request has no key */
	struct span if_match, if_none_match; /* base NULL: not said, or of no matter */
	struct span traceparent;             /* for HTTP sources, as exchange_trace gives them */
	struct span tracestate;
};

/* Suspends. The whole life of a step; a task's function, arg is a struct step_run. Returns 0, also if `when` skipped
 * it or its failure was replaced, or the failure that ends the request. */
int step_run(void *arg);
/* The same without a task, if the step's source can do that and nothing else makes it wait. Returns 0: it has ended, or
 * is under way (s->operation); 1: it needs a task; or the failure that ends the request. */
int step_submit(struct step_run *s) must_check;
/* s->operation has completed. Returns 0: the step has ended; 1: it goes on in a task, step_finish; or the failure that
 * ends the request. */
int step_collect(struct step_run *s) must_check;
/* Suspends. A task's function; arg is a struct step_run. As step_run. */
int step_finish(void *arg);
/* The request ends without what s->operation brings, if it is there. */
void step_drop(struct step_run *s);
/* Count a run of a step that asked its source, which took that long. e: how it failed; NULL: it has not. */
void step_count(const struct plan_step *p, int64_t us, const struct error *e);
/* Suspends. A permit of a semaphore by its index. Returns 0 or -errno with e filled. */
int run_acquire(struct run *run, int semaphore, struct error *e) must_check;
/* Spawn fn(arg) as one of run's fetches: what it brings may be waited for by other requests, so it has a budget of its
 * own and is not cancelled with this one. *t is set. Returns 0 or -errno. */
int run_spawn_fetch(struct run *run, task_fn fn, void *arg, struct task **t) must_check;

/* The reply of a run whose steps have ended, as it is sent or kept. Returns 0, or -EMSGSIZE with run->error filled: it
 * is larger than reply_limit. */
int run_reply(struct run *run, struct reply *out) must_check;
/* The same without its body: status and headers. */
int reply_head(struct run *run, struct reply *out) must_check;
/* Take what the request says of versions, while h2o still has it. */
void preconditions_take(struct run *run);
/* Does it say what the endpoint wants it to say? Returns 0, or -EINVAL with e filled (428). */
int preconditions_check(const struct run *run, struct error *e) must_check;
/* Add the ETag to a complete reply: one that references make, before its body; one that is a hash of the body. A reply
 * that the client has already becomes a 304. Return 0, or -ESTALE with run->error filled: it is another version (412).
 */
int preconditions_head(struct run *run, struct reply *reply) must_check;
int preconditions_body(struct run *run, struct reply *reply) must_check;
/* A failure that says that the version was another one becomes a 412: nothing was found by If-Match, or what must not
 * be there is (If-None-Match: *). */
void preconditions_explain(const struct run *run, struct error *e);
/* True: every part is what its source said. */
bool run_complete(const struct run *run);
/* Is the plan's reply a file (`send`)? */
bool plan_sends(const struct plan *plan);
/* Answer with that file, from a task. */
void send_answer(struct run *run);
/* Tell the client what ended the request. */
void reply_failure(struct run *run, int r);
/* A reply as it is kept, and a kept one as it is sent (304 if the client has it already). reply_keep takes r.
 * from: "hit", "stale" or "shared", for Server-Timing; NULL: the run fetched it itself. */
struct cached *reply_keep(const struct run *run, struct reply *r);
void reply_cached(struct run *run, const struct cached *v, const char *from);

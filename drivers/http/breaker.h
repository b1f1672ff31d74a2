/* A circuit breaker, one for all workers: after `failures` failed calls in a row it is open, and calls fail at once;
 * after `cooldown` one call may try (half open), and its outcome closes or opens it again. Any thread. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/deadline.h"

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };

struct breaker {
	const char *source;   /* for the log */
	atomic_uint failures; /* written under lock; 0: there is none, every call may pass */
	pthread_mutex_t lock;
	int64_t cooldown_us;      /* under lock */
	enum breaker_state state; /* under lock */
	unsigned failed;          /* under lock: in a row, while closed */
	deadline_t open_until;    /* under lock: BREAKER_OPEN */
	bool probing;             /* under lock: BREAKER_HALF_OPEN, and the one call is under way */
	uint64_t moves[3];        /* under lock: to each state */
	unsigned era;             /* under lock: counts the moves, so that calls of an earlier state change nothing */
};

enum breaker_verdict { BREAKER_FINE, BREAKER_FAILED, BREAKER_UNKNOWN /* the call was given up */ };

/* A breaker has moved. Called under its lock, on any thread; does not block. */
typedef void breaker_report(const char *source, const char *state);
/* Once, before there are breakers. Without it moves are only logged. */
void breaker_report_to(breaker_report *report);

void breaker_init(struct breaker *b, const char *source, unsigned failures, int64_t cooldown_us);
void breaker_done(struct breaker *b);
/* If that is another breaker, it begins closed; its moves are counted on. */
void breaker_configure(struct breaker *b, unsigned failures, int64_t cooldown_us);
/* May a call be made? Returns 0, to be followed by breaker_leave with *era; or -EBUSY, and in how many seconds to ask
 * again. */
int breaker_enter(struct breaker *b, unsigned *era, int *retry_after_s) must_check;
void breaker_leave(struct breaker *b, unsigned era, enum breaker_verdict verdict);
enum breaker_state breaker_state(struct breaker *b);
/* How often it has moved to each state. */
void breaker_moves(struct breaker *b, uint64_t moves[3]);

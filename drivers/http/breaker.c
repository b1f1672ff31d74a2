/* The moves of the breaker; each has a line in the log. */
#include "drivers/http/breaker.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"

static const char *const names[] = {
	[BREAKER_CLOSED] = "closed",
	[BREAKER_OPEN] = "open",
	[BREAKER_HALF_OPEN] = "half-open",
};

static const unsigned allowed[] = {
	[BREAKER_CLOSED] = BIT(BREAKER_OPEN),
	[BREAKER_OPEN] = BIT(BREAKER_HALF_OPEN),
	[BREAKER_HALF_OPEN] = BIT(BREAKER_OPEN) | BIT(BREAKER_CLOSED),
};

void breaker_init(struct breaker *b, const char *source, unsigned failures, int64_t cooldown_us)
{
	*b = (struct breaker){.source = source, .cooldown_us = cooldown_us};
	atomic_init(&b->failures, failures);
	pthread_mutex_init(&b->lock, NULL);
}

void breaker_configure(struct breaker *b, unsigned failures, int64_t cooldown_us)
{
	pthread_mutex_lock(&b->lock);
	if (b->failures != failures || b->cooldown_us != cooldown_us) {
		b->failures = failures;
		b->cooldown_us = cooldown_us;
		b->state = BREAKER_CLOSED;
		b->era++;
		b->failed = 0;
		b->probing = false;
	}
	pthread_mutex_unlock(&b->lock);
}

void breaker_done(struct breaker *b)
{
	pthread_mutex_destroy(&b->lock);
}

/* Under lock. Its one writer of the state. */
static breaker_report *report_to;

void breaker_report_to(breaker_report *report)
{
	report_to = report;
}

static void move(struct breaker *b, enum breaker_state to)
{
	if (!(allowed[b->state] & BIT(to)))
		return;
	log_line(to == BREAKER_CLOSED ? LOG_LINE_INFO : LOG_LINE_WARNING, "breaker", "source=%s from=%s to=%s",
		 b->source, names[b->state], names[to]);
	if (report_to)
		report_to(b->source, names[to]);
	b->state = to;
	b->moves[to]++;
	b->era++;
	b->failed = 0;
	b->probing = false;
	if (to == BREAKER_OPEN)
		b->open_until = deadline_in_us(b->cooldown_us);
}

/* Under lock. */
static bool may_pass(struct breaker *b)
{
	if (b->state == BREAKER_OPEN && deadline_passed(b->open_until))
		move(b, BREAKER_HALF_OPEN);
	if (b->state == BREAKER_HALF_OPEN && !b->probing) {
		b->probing = true;
		return true;
	}
	return b->state == BREAKER_CLOSED;
}

int breaker_enter(struct breaker *b, unsigned *era, int *retry_after_s)
{
	if (b->failures == 0)
		return 0;
	pthread_mutex_lock(&b->lock);
	bool passes = may_pass(b);
	*era = b->era;
	int64_t left_us = b->state == BREAKER_OPEN ? deadline_left_us(b->open_until) : 0;
	pthread_mutex_unlock(&b->lock);
	*retry_after_s = (int)(left_us / 1000000) + 1;
	return passes ? 0 : -EBUSY;
}

void breaker_leave(struct breaker *b, unsigned era, enum breaker_verdict verdict)
{
	if (b->failures == 0)
		return;
	pthread_mutex_lock(&b->lock);
	if (era != b->era) {
		/* The state has moved on since. */
	} else if (b->state == BREAKER_HALF_OPEN) {
		b->probing = false; /* given up: the next call may try */
		if (verdict != BREAKER_UNKNOWN)
			move(b, verdict == BREAKER_FINE ? BREAKER_CLOSED : BREAKER_OPEN);
	} else if (verdict == BREAKER_FINE) {
		b->failed = 0;
	} else if (verdict == BREAKER_FAILED && ++b->failed >= b->failures) {
		move(b, BREAKER_OPEN);
	}
	pthread_mutex_unlock(&b->lock);
}

enum breaker_state breaker_state(struct breaker *b)
{
	pthread_mutex_lock(&b->lock);
	enum breaker_state state = b->state;
	pthread_mutex_unlock(&b->lock);
	return state;
}

void breaker_moves(struct breaker *b, uint64_t moves[3])
{
	pthread_mutex_lock(&b->lock);
	memcpy(moves, b->moves, sizeof(b->moves));
	pthread_mutex_unlock(&b->lock);
}

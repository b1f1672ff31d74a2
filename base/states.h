/* A state machine: its states have names, and a table says which may follow each.
 *
 * An object's state has one writer, a function of its file that calls states_move and does what belongs to a move
 *(lists, counts). A move that the table does not have ends the process, if assertions are compiled in; each is a line
 *of the log at the level `debug`: msg="state" of=… source=… which=… from=… to=…
 *
 *	static const struct states doors = {
 *		.of = "door",
 *		.names = {[SHUT] = "shut", [OPEN] = "open"},
 *		.allowed = {[SHUT] = BIT(OPEN), [OPEN] = BIT(SHUT)},
 *	};
 *
 * Whoever guards the object guards its state. */
#pragma once

#include <assert.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/log.h"

enum { STATES_MOST = 8 };

struct states {
	const char *of;                 /* what they are states of */
	const char *names[STATES_MOST]; /* static */
	uint8_t allowed[STATES_MOST];   /* bits of the states that may follow */
};

/* Which object it is, for the log. */
struct states_subject {
	const char *source;
	uint64_t which; /* a number that none of the same kind has, or had */
};

/* A number for an object that has states: from 1, each once in the process. Any thread. */
uint64_t states_number(void);

void states_trace(const struct states *s, struct states_subject subject, unsigned from, unsigned to);

static inline void states_move(const struct states *s, uint8_t *state, unsigned to, struct states_subject subject)
{
	assert(s->allowed[*state] & BIT(to));
	if (log_enabled(LOG_LINE_DEBUG))
		states_trace(s, subject, *state, to);
	*state = (uint8_t)to;
}

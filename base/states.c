/* The trace of state machines. */
#include "base/states.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

uint64_t states_number(void)
{
	static _Atomic uint64_t last;

	return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

void states_trace(const struct states *s, struct states_subject subject, unsigned from, unsigned to)
{
	struct buf line = BUF_INIT;

	log_begin(&line, LOG_LINE_DEBUG, "state");
	buf_lit(&line, " of=");
	logfmt_value(&line, s->of, strlen(s->of));
	buf_lit(&line, " source=");
	logfmt_value(&line, subject.source, strlen(subject.source));
	buf_printf(&line, " which=%" PRIu64 " from=%s to=%s\n", subject.which, s->names[from], s->names[to]);
	log_raw(LOG_LINE_DEBUG, line.data, line.len);
	buf_done(&line);
}

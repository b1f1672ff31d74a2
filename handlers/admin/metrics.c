/* Rendering the metrics. The names of sources need no escaping: config allows letters, digits, "_" and "-". */
#include "handlers/admin/metrics.h"

#include "drivers/driver.h"

static const char *const states[BREAKER_STATES] = {"closed", "open", "half_open"};

static bool breaker_of(struct source *s, struct breaker_numbers *numbers)
{
	return s->driver->source_breaker && s->driver->source_breaker(s, numbers);
}

void metrics_render(const struct config *c, struct source *const *sources, struct buf *out)
{
	struct breaker_numbers n;

	buf_lit(out, "# HELP gatherd_breaker_state The circuit breaker of a source: 0 closed, 1 open, 2 half open.\n"
		     "# TYPE gatherd_breaker_state gauge\n");
	for (size_t i = 0; i < c->source_count; i++) {
		if (breaker_of(sources[i], &n))
			buf_printf(out, "gatherd_breaker_state{source=\"%s\"} %u\n", c->sources[i].name, n.state);
	}
	buf_lit(out, "# HELP gatherd_breaker_moves_total How often the circuit breaker of a source moved to a state.\n"
		     "# TYPE gatherd_breaker_moves_total counter\n");
	for (size_t i = 0; i < c->source_count; i++) {
		if (!breaker_of(sources[i], &n))
			continue;
		for (unsigned s = 0; s < BREAKER_STATES; s++)
			buf_printf(out, "gatherd_breaker_moves_total{source=\"%s\",to=\"%s\"} %llu\n",
				   c->sources[i].name, states[s], (unsigned long long)n.moves[s]);
	}
}

/* Changes are rare: a mutex a source is enough. It is held while a change is reported, so that the lines of one source
 * come in their order. */
#include "drivers/health.h"

#include <stdio.h>

#include "base/deadline.h"

static health_report *report_to;

void health_report_to(health_report *report)
{
	report_to = report;
}

void health_init(struct health *h, const char *source)
{
	*h = (struct health){.source = source};
	pthread_mutex_init(&h->lock, NULL);
}

void health_done(struct health *h)
{
	pthread_mutex_destroy(&h->lock);
}

/* Under lock. */
static void note_up(struct health *h)
{
	if (h->down_since_us && report_to && !h->quiet)
		report_to(h->source, NULL, monotonic_us() - h->down_since_us);
	h->down_since_us = 0;
	h->met = true;
	atomic_store_explicit(&h->down, false, memory_order_relaxed);
}

void health_connected(struct health *h)
{
	pthread_mutex_lock(&h->lock);
	h->connections++;
	note_up(h);
	pthread_mutex_unlock(&h->lock);
}

void health_answered(struct health *h)
{
	if (!atomic_load_explicit(&h->down, memory_order_relaxed))
		return;
	pthread_mutex_lock(&h->lock);
	note_up(h);
	pthread_mutex_unlock(&h->lock);
}

void health_disconnected(struct health *h)
{
	pthread_mutex_lock(&h->lock);
	h->connections--;
	pthread_mutex_unlock(&h->lock);
}

void health_failed(struct health *h, const char *why)
{
	pthread_mutex_lock(&h->lock);
	if (h->connections == 0 && !h->down_since_us) {
		h->down_since_us = monotonic_us();
		snprintf(h->why, sizeof(h->why), "%s", why);
		atomic_store_explicit(&h->down, true, memory_order_relaxed);
		if (report_to && !h->quiet)
			report_to(h->source, why, 0);
	}
	pthread_mutex_unlock(&h->lock);
}

bool health_is_up(struct health *h)
{
	pthread_mutex_lock(&h->lock);
	bool up = h->connections > 0 || (h->met && !h->down_since_us);
	pthread_mutex_unlock(&h->lock);
	return up;
}

void health_look(struct health *h, bool hopeful, struct source_state *out)
{
	pthread_mutex_lock(&h->lock);
	out->up = h->connections > 0 || (!h->down_since_us && (h->met || hopeful));
	out->down_since_us = out->up ? 0 : h->down_since_us;
	snprintf(out->error, sizeof(out->error), "%s", out->down_since_us ? h->why : "");
	pthread_mutex_unlock(&h->lock);
}

/* Changes are rare: a mutex a source is enough. It is held while a change is reported, so that the lines of one source
 * come in their order. */
#include "drivers/health.h"

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

void health_connected(struct health *h)
{
	pthread_mutex_lock(&h->lock);
	h->connections++;
	h->met = true;
	if (h->down_since_us && report_to)
		report_to(h->source, NULL, monotonic_us() - h->down_since_us);
	h->down_since_us = 0;
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
		if (report_to)
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

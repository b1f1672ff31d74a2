/* /-/metrics: what the process counts, in the text format of Prometheus. */
#pragma once

#include "base/buf.h"
#include "config/config.h"
#include "drivers/driver.h"

/* sources: one for each of c's. Any thread. */
void metrics_render(const struct config *c, struct source *const *sources, struct buf *out);

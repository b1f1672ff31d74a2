/* Answering /-/metrics: which families, in which form, compressed or not. */
#pragma once

#include "handlers/admin/metrics.h"
#include "handlers/web/exchange.h"

/* Answer x. ?collect[]=http,steps names the parts that are wanted; the form is what Accept prefers; gzip is made on the
 * executor. m must outlive the request. */
void metrics_page(struct exchange *x, const struct metrics *m, const struct metrics_view *view);

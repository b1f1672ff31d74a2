/* Server-sent events: a clock that ticks as often as it is asked to, for as long as somebody listens. */
#include <gatherd.h>

int events(gd_request *req)
{
	int64_t count = gd_to_int(gd_param(req, "count"), 0);
	gd_ticker *ticker = gd_ticker_new(gd_to_int(gd_param(req, "every_ms"), 1000));
	int r = gd_sse_begin(req, 0);
	for (int64_t n = 0; n < count && r >= 0; n++) {
		r = gd_ticker_wait(ticker, GD_NEVER);
		if (r >= 0)
			r = gd_sse_send(req, "tick", gd_format("%lld", (long long)n), "the clock\nticks");
	}
	return r < 0 ? r : gd_stream_end(req);
}

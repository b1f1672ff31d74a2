/* What a handler must not do: it computes for so long that its worker serves nobody else. In debug mode the log says so
 * while it does, and where it is. compute.c does it on another thread. */
#include <gatherd.h>
#include <time.h>

static void __attribute__((noinline)) compute(int64_t ms)
{
	for (clock_t until = clock() + (clock_t)ms * CLOCKS_PER_SEC / 1000; clock() < until;)
		;
}

int blocks(gd_request *req)
{
	compute(gd_to_int(gd_param(req, "ms"), 0));
	return gd_reply_text(req, 200, "Look at the log.");
}

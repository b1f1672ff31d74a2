/* What computes for long runs on a thread of the executor (run_in_executor, to_thread); the loop goes on meanwhile. */
#include <gatherd.h>
#include <stdlib.h>
#include <string.h>

static int primes_below(void *arg)
{
	size_t limit = *(size_t *)arg;
	char *sieve = malloc(limit);
	if (!sieve)
		return 0;
	memset(sieve, 1, limit);
	int count = 0;
	for (size_t n = 2; n < limit; n++) {
		if (!sieve[n])
			continue;
		count++;
		for (size_t m = n * n; m < limit; m += n)
			sieve[m] = 0;
	}
	free(sieve);
	return count;
}

static int on_a_thread(void *arg)
{
	return gd_run_blocking(primes_below, arg);
}

int compute(gd_request *req)
{
	size_t limits[] = {10, 1000, 2000000};
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	for (int i = 0; i < 3; i++)
		gd_gather_add(g, "primes", on_a_thread, &limits[i]);
	int r = gd_gather_wait(g, GD_NEVER);
	if (r < 0)
		return r;
	gd_value *counts = gd_list();
	for (int i = 0; i < 3; i++)
		gd_append(counts, gd_int(gd_gather_result(g, i)));
	return gd_reply(req, 200, counts);
}

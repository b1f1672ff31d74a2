/* A future that a thread of the module's own resolves, awaited by three tasks. */
#include <errno.h>
#include <gatherd.h>
#include <pthread.h>

static void *work(void *promise)
{
	gd_promise_resolve(promise, 42);
	return NULL;
}

static int answer(void *arg)
{
	return gd_future_await(arg, gd_in_ms(5000));
}

int future(gd_request *req)
{
	gd_future *f = gd_future_new();
	gd_promise *p = gd_future_promise(f);
	pthread_t thread;
	if (pthread_create(&thread, NULL, work, p) != 0) {
		gd_promise_resolve(p, -EAGAIN);
		return -EAGAIN;
	}
	pthread_detach(thread);

	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	for (int i = 0; i < 3; i++)
		gd_gather_add(g, "answer", answer, f);
	int r = gd_gather_wait(g, GD_NEVER);
	if (r < 0)
		return r;
	gd_value *answers = gd_list();
	for (int i = 0; i < 3; i++)
		gd_append(answers, gd_int(gd_gather_result(g, i)));
	return gd_reply(req, 200, answers);
}

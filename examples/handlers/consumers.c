/* A producer and three consumers over a bounded queue. */
#include <gatherd.h>

enum { ITEMS = 20 };

struct work {
	gd_queue *queue;
	int64_t results[ITEMS];
};

static int consumer(void *arg)
{
	struct work *w = arg;
	void *item;
	int r;
	while ((r = gd_queue_get(w->queue, &item, GD_NEVER)) == 0) {
		int64_t *square = item, n = square - w->results;
		gd_sleep(1);
		*square = n * n;
		gd_queue_task_done(w->queue);
	}
	return r;
}

int consumers(gd_request *req)
{
	struct work *w = gd_alloc(sizeof(*w)); /* they may end after this function */
	w->queue = gd_queue_new(4);
	gd_task *tasks[3];
	for (int i = 0; i < 3; i++)
		tasks[i] = gd_spawn("consumer", consumer, w);

	int r = 0;
	for (int n = 0; n < ITEMS && r == 0; n++)
		r = gd_queue_put(w->queue, &w->results[n], GD_NEVER);
	if (r == 0)
		r = gd_queue_join(w->queue, GD_NEVER);
	for (int i = 0; i < 3; i++) {
		gd_cancel(tasks[i]);
		gd_await(tasks[i], GD_NEVER);
	}
	if (r < 0)
		return r;
	gd_value *squares = gd_list();
	for (int n = 0; n < ITEMS; n++)
		gd_append(squares, gd_int(w->results[n]));
	return gd_reply(req, 200, squares);
}

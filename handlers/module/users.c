/* Waiting for the last who uses something. */
#include "handlers/module/users.h"

void users_leave(struct users *u)
{
	if (--u->count == 0 && u->end)
		task_wake(u->end, 0);
}

/* Others may have come between the wake and the turn of who was woken. */
int users_await(struct users *u, deadline_t by)
{
	int r = 0;
	while (u->count > 0 && r == 0) {
		struct waiter w;
		waiter_init(&w, NULL, "others to leave what ends");
		u->end = &w;
		r = task_suspend(&w, by);
		u->end = NULL;
	}
	return r;
}

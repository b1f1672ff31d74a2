/* Lock, Condition and Event. */
#include <gatherd.h>

struct room {
	gd_mutex *lock;
	gd_condition *condition;
	gd_event *closing;
	const char *news;
	gd_value *said;
};

struct reader {
	struct room *room;
	const char *name;
};

static int reader(void *arg)
{
	struct reader *me = arg;
	struct room *room = me->room;
	int r = gd_lock(room->lock, GD_NEVER);
	if (r < 0)
		return r;
	while (r == 0 && !room->news)
		r = gd_condition_wait(room->condition, GD_NEVER);
	if (r == 0)
		gd_append(room->said, gd_string(gd_format("%s read %s", me->name, room->news)));
	gd_unlock(room->lock);
	if (r < 0 || (r = gd_event_wait(room->closing, GD_NEVER)) < 0)
		return r;
	gd_append(room->said, gd_string(gd_format("%s left", me->name)));
	return 0;
}

int locks(gd_request *req)
{
	gd_mutex *lock = gd_mutex_new();
	struct room room = {lock, gd_condition_new(lock), gd_event_new(), NULL, gd_list()};
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	gd_gather_add(g, "ann", reader, &(struct reader){&room, "ann"});
	gd_gather_add(g, "bob", reader, &(struct reader){&room, "bob"});
	gd_sleep(10);
	if (gd_lock(lock, GD_NEVER) == 0) {
		room.news = "hello";
		gd_condition_notify(room.condition, 2);
		gd_append(room.said, gd_string("told them"));
		gd_unlock(lock);
	}
	gd_sleep(10);
	gd_event_set(room.closing);
	int r = gd_gather_wait(g, GD_NEVER);
	return r < 0 ? r : gd_reply(req, 200, room.said);
}

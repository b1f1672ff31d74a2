/* Task-local values (contextvars): a child inherits them, and what it sets is its own. */
#include <gatherd.h>

static gd_local user = {.name = "user"};

struct child {
	gd_value *said;
	char *name;
	int ms;
};

static int child(void *arg)
{
	struct child *c = arg;
	gd_append(c->said, gd_string(gd_format("%s sees %s", c->name, (char *)gd_local_get(&user))));
	gd_local_set(&user, c->name);
	int r = gd_sleep(c->ms);
	gd_append(c->said, gd_string(gd_format("%s set %s", c->name, (char *)gd_local_get(&user))));
	return r;
}

int context(gd_request *req)
{
	gd_value *said = gd_list();
	gd_local_set(&user, "ann");
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	gd_gather_add(g, "first", child, &(struct child){said, "first", 10});
	gd_gather_add(g, "second", child, &(struct child){said, "second", 50});
	int r = gd_gather_wait(g, GD_NEVER);
	if (r < 0)
		return r;
	gd_append(said, gd_string(gd_format("still %s", (char *)gd_local_get(&user))));
	return gd_reply(req, 200, said);
}

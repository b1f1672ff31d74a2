/* Deadlines: of one task (wait_for), of a stretch of code (timeout; the earlier one wins), and what they must not stop
 * (shield). */
#include <errno.h>
#include <gatherd.h>

static int slow(void *arg)
{
	(void)arg;
	return gd_sleep(3600 * 1000);
}

static int careful(void *arg)
{
	gd_shield shield;
	gd_shield_begin(&shield, GD_NEVER);
	gd_sleep(50);
	gd_append(arg, gd_string("finished"));
	gd_shield_end(&shield);
	return 0;
}

int deadline(gd_request *req)
{
	gd_value *said = gd_list();
	if (gd_wait_for("slow", slow, NULL, gd_in_ms(20)) == -ETIMEDOUT)
		gd_append(said, gd_string("wait_for"));

	gd_deadline outer = gd_deadline_push(gd_in_ms(20));
	gd_deadline inner = gd_deadline_push(gd_in_ms(3600 * 1000));
	if (slow(NULL) == -ETIMEDOUT)
		gd_append(said, gd_string("the outer timeout"));
	gd_deadline_pop(inner);
	gd_deadline_pop(outer);

	gd_wait_for("careful", careful, said, gd_in_ms(10));
	return gd_reply(req, 200, said);
}

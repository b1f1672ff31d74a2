/* Notifications of PostgreSQL: one listens, and hears what is sent. */
#include <gatherd.h>

int notify(gd_request *req)
{
	const char *words[] = {"one", "two", "three"};
	gd_cursor *news = gd_pg_listen("shop", "news");
	for (int i = 0; i < 3; i++) {
		gd_value *sent = gd_pg_notify(NULL, "shop", "news", gd_string(words[i]));
		if (gd_failed(sent))
			return gd_fail_with(sent);
	}
	gd_value *heard = gd_list();
	for (int i = 0; i < 3; i++)
		gd_append(heard, gd_get(gd_next(news), "payload"));
	gd_close(news);
	return gd_reply(req, 200, heard);
}

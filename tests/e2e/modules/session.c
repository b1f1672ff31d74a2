/* What handlers do to a session in each way there is: test_session.py says that nobody sees it afterwards. */
#include <gatherd.h>
#include <string.h>

static const char source[] = "pg";

static int in_transaction(gd_pg *tx, void *arg)
{
	gd_value *v = gd_tx_execute(tx, arg, NULL);
	return gd_failed(v);
}

static gd_value *first_of(gd_cursor *c)
{
	gd_value *row = gd_next(c);
	gd_close(c);
	return row;
}

/* The parameter `sql`, asked in the way `how`. */
int does(gd_request *req)
{
	const char *how = gd_to_text(gd_param(req, "how"));
	char *sql = (char *)gd_to_text(gd_param(req, "sql"));
	gd_value *v = gd_null();

	if (strcmp(how, "query") == 0)
		v = gd_pg_query(NULL, source, sql, NULL);
	else if (strcmp(how, "execute") == 0)
		v = gd_pg_execute(NULL, source, sql, NULL);
	else if (strcmp(how, "stream") == 0)
		v = first_of(gd_pg_stream(source, sql, NULL));
	else if (gd_pg_transaction(source, NULL, in_transaction, sql) < 0)
		return gd_reply(req, 500, gd_string("the transaction failed"));
	return gd_reply(req, 200, v);
}

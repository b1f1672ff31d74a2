/* What writes, by each way that a handler has, to a server that may be a standby: test_failover.py. */
#include <errno.h>
#include <gatherd.h>

static int insert(gd_pg *tx, void *arg)
{
	(void)arg;
	return gd_fail_with(gd_tx_execute(tx, "insert into notes values (1)", NULL));
}

static int within(gd_pg *tx, void *arg)
{
	int r = gd_pg_savepoint(tx, insert, arg);
	return r < 0 ? gd_pg_savepoint(tx, insert, arg) : r;
}

static int copy(gd_pg *tx, void *arg)
{
	(void)arg;
	gd_copy *c = gd_tx_copy(tx, "copy notes from stdin");
	return gd_fail_with(gd_copy_end(c));
}

static int answer(gd_request *req, int r)
{
	return r < 0 ? r : gd_reply(req, 200, gd_int(r));
}

int statement(gd_request *req)
{
	return answer(req, gd_fail_with(gd_pg_execute(NULL, "shop", "insert into notes values (1)", NULL)));
}

int transaction(gd_request *req)
{
	return answer(req, gd_pg_transaction("shop", NULL, insert, NULL));
}

int serializable(gd_request *req)
{
	gd_pg_options options = {.isolation = GD_SERIALIZABLE};
	return answer(req, gd_pg_transaction("shop", &options, insert, NULL));
}

int savepoint(gd_request *req)
{
	return answer(req, gd_pg_transaction("shop", NULL, within, NULL));
}

int copies(gd_request *req)
{
	return answer(req, gd_pg_transaction("shop", NULL, copy, NULL));
}

int listens(gd_request *req)
{
	gd_value *v = gd_next(gd_pg_listen("shop", "news"));
	return gd_failed(v) == -ETIMEDOUT ? gd_reply(req, 200, gd_int(0)) : answer(req, gd_fail_with(v));
}

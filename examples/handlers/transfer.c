/* A transaction with two transfers in savepoints: one is done, the other is undone. */
#include <gatherd.h>
#include <string.h>

static int move(gd_pg *tx, void *arg)
{
	gd_value *amount = gd_list(gd_int(*(int *)arg));
	gd_value *v = gd_tx_execute(tx, "update accounts set balance = balance - $1 where name = 'ann'", amount);
	if (gd_failed(v))
		return gd_fail_with(v);
	v = gd_tx_execute(tx, "update accounts set balance = balance + $1 where name = 'bob'", amount);
	return gd_fail_with(v);
}

static int transfers(gd_pg *tx, void *arg)
{
	gd_value **reply = arg, *said = gd_list(), *v;
	v = gd_tx_execute(
		tx, "create temporary table accounts (name text, balance int check (balance >= 0)) on commit drop",
		NULL);
	if (!gd_failed(v))
		v = gd_tx_execute(tx, "insert into accounts values ('ann', 100), ('bob', 0)", NULL);
	if (gd_failed(v))
		return gd_fail_with(v);
	for (int i = 0; i < 2; i++) {
		int amount = i == 0 ? 30 : 500;
		int r = gd_pg_savepoint(tx, move, &amount);
		gd_append(said, gd_string(r == 0 ? "done" : "not enough"));
	}
	v = gd_tx_query(tx, "select balance from accounts order by name", NULL);
	*reply = gd_list(said, gd_get(v, "[*].balance"));
	return gd_fail_with(v);
}

int transfer(gd_request *req)
{
	gd_value *reply = NULL;
	int r = gd_pg_transaction("shop", NULL, transfers, &reply);
	return r < 0 ? r : gd_reply(req, 200, reply);
}

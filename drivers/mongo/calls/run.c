/* Steps and handlers go the same way. */
#include "drivers/mongo/calls/run.h"

#include "drivers/mongo/calls/transaction.h"
#include "drivers/mongo/wire/errors.h"

/* *again: it failed in a way that another one may mend. */
static int attempt(struct mongo_operation *a, bool *again)
{
	struct mongo_pool *pool = &a->client->pool;
	struct mongo_connection *connection;
	unsigned consequences = 0;

	*again = false;
	int status = mongo_pool_acquire(pool, &connection, a->error);
	if (status < 0)
		return status;
	if (a->by.us == DEADLINE_NEVER.us && a->timeout_us)
		a->by = deadline_in_us(a->timeout_us);
	deadline_t before = deadline_push(a->by);
	status = a->run(a, connection, &consequences);
	deadline_pop(before);
	if (status == 0 && a->hold) {
		a->connection = connection;
		return 0;
	}
	mongo_pool_release(pool, connection, consequences);
	*again = status < 0 && (consequences & MONGO_AGAIN) && !a->once;
	return status;
}

int mongo_run(struct mongo_operation *a)
{
	struct mongo_transaction *tx = a->alone ? NULL : mongo_transaction_here(a->client);
	bool again;

	if (tx)
		return mongo_transaction_run(tx, a);
	int status = attempt(a, &again);

	return again ? attempt(a, &again) : status;
}

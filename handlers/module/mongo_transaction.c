/* Transactions of MongoDB for handlers. */
#include <errno.h>

#include "handlers/module/mongo.h"

/* A failure of the transaction's own is what the handler fails with. */
static int ended(struct gd_scope *s, int r, const struct error *e)
{
	if (r < 0 && r != -ECANCELED && e->errnum == r)
		scope_fail(s, e);
	return r;
}

static int run_permitted(struct mongo_call *c, const struct mongo_transaction_options *how, int (*fn)(void *arg),
			 void *arg)
{
	int r = call_acquire(&c->call);

	if (r < 0)
		return r;
	r = mongo_transact(c->call.client, how, fn, arg, &c->call.error);
	call_release(&c->call);
	return r;
}

int gd_mongo_transaction(const char *source, const gd_mongo_options *options, int (*fn)(void *arg), void *arg)
{
	gd_value *failed;
	struct mongo_call *c = mongo_call_new(__func__, source, NULL, &failed);

	if (!c)
		return failed ? gd_fail_with(failed) : -EPERM;
	if (!fn)
		return gd_fail_with(value_fail(c->call.scope, -EINVAL, 500, "%s: no function was given", __func__));
	struct mongo_transaction_options how = {.timeout_us = c->call.options.timeout_us};
	if (options) {
		how.attempts = options->attempts;
		how.snapshot = options->snapshot;
	}
	int r = run_permitted(c, &how, fn, arg);
	scope_note_change(c->call.scope, c->call.error.change, r >= 0);
	return ended(c->call.scope, r, &c->call.error);
}

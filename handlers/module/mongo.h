/* What the functions of gatherd.h about MongoDB share. */
#pragma once

#include "drivers/mongo/calls/read.h"
#include "drivers/mongo/calls/transaction.h"
#include "handlers/module/internal.h"

/* One of the functions, with what it was called with. Which values there are says the function. */
struct mongo_call {
	struct call call;
	struct mongo_target target;
	const struct value *filter;  /* or documents, a pipeline, operations, an _id */
	const struct value *change;  /* an update or a replacement */
	const struct value *options; /* NULL: none */
	const char *field;           /* or a bucket */
};

/* function is the name of the public one. NULL with *failed set: as call_new. */
struct mongo_call *mongo_call_new(const char *function, const char *source, const char *collection, gd_value **failed);
/* As call_start. What is part of a transaction needs no permit: the transaction has one. */
gd_value *mongo_call_start(struct mongo_call *c, gd_gather *g, const char *name, call_fn *run);
/* To be run where an argument was wrong. */
int mongo_fail_call(struct call *c);
/* An argument. NULL stays NULL if it is allowed. False: c's error is filled. */
bool mongo_take(struct mongo_call *c, const struct value **out, gd_value *v, const char *what, bool allowed);
/* What a function that opens a cursor returns where mongo_call_new returned NULL. */
gd_cursor *mongo_cursor_without_call(const gd_value *failed);

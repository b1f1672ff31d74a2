/* What the files behind include/gatherd.h know of each other. Nobody else includes this.
 *
 * DESIGN. Every function of the public header finds out where it is by a task-local value: the scope that the calling
 * task is in. A scope (scope.c) owns an arena and the things that must be ended before it goes (tasks, gathers,
 * results, cursors, files): first its tasks, then the scopes within it that were left open, then the rest, each in the
 * opposite order of their making. A request's scope has the arena of its exchange. Loop thread only. */
#pragma once

#include <stdbool.h>

#include "async/gather.h"
#include "base/value.h"
#include "handlers/module/scope.h"
#include "handlers/module/users.h"
#include "handlers/web/exchange.h"

/* --- value.c --- */

enum value_state { VALUE_READY, VALUE_PENDING, VALUE_FAILED };

struct gd_value {
	struct value v; /* VALUE_READY; lists and documents: `list` and `members` point to `room` places */
	struct gd_scope *scope;
	uint8_t state;  /* enum value_state */
	bool growing;   /* made by gd_list or gd_doc: it may be appended to */
	bool shared;    /* what was made of it sees the same places: they are not written again */
	uint16_t depth; /* lists and documents made here: how many there are in one another, at most */
	uint32_t room;
	struct arena *fleeting;           /* a cursor's: its `row`; what is put into something is copied */
	struct name_table *names;         /* documents made here, of many members */
	const struct error *error;        /* VALUE_FAILED */
	const struct value_member *parts; /* foreign and JSON values: index for gd_at, made when first asked for */
	size_t parts_count;               /* of parts; before there are some: how many rows are known, or 0 */
};

/* A value of s. */
gd_value *value_new(struct gd_scope *s, struct value v);
gd_value *value_failed(struct gd_scope *s, const struct error *e);
/* The same with its error made on the way. status 0: by errnum. */
gd_value *value_fail(struct gd_scope *s, int errnum, int status, const char *format, ...) printf_like(4, 5);
/* The same with a text for the client, and its status. */
gd_value *value_say(struct gd_scope *s, int errnum, enum reason why, const char *what);
/* Takes r over: it is freed with s. Rendered and followed in the driver's own form. */
gd_value *value_of_result(struct gd_scope *s, struct result *r);
/* What v is now, to be handed to a driver: later changes of v are not seen in it. NULL with e filled: it failed, is
 * pending, or is NULL. `what`: "the filter", for the message. */
const struct value *value_use(const gd_value *v, const char *what, struct error *e);
/* Can v be used? False with e filled: it failed, is pending, or is NULL. */
bool value_usable(const gd_value *v, const char *what, struct error *e);
/* Does what v points to live as long as s? */
bool value_outlives(const gd_value *v, const struct gd_scope *s);
/* A value in memory of s, of which nothing is left to be found in other scopes: v where s or one around it has it. */
struct value value_kept(struct gd_scope *s, const gd_value *v);
/* What a function of values returns to a caller that is not a handler's task: a failure with -EPERM. */
gd_value *value_outside(void);

/* --- error.c --- */

/* --- call.c: one call of a client, awaited or as a child of a gather --- */

struct call;
/* Suspends. Returns 0 with c->result (a result) or c->value (a value) set, or -errno with c->error filled. */
typedef int call_fn(struct call *c);

/* At the start of what the call needs, all in its scope's arena. */
struct call {
	call_fn *run;
	struct gd_scope *scope;
	struct client *client;
	struct source_numbers *numbers; /* the source's, of this worker */
	struct shared_semaphore *limit; /* the source's; NULL: none, or its handler holds a permit of it */
	struct run_options options;     /* the source's timeout, the request's id and trace */
	struct result *result;
	struct value value;
	bool changes; /* set by run: it has made a change, for good */
	struct error error;
	gd_value *out;
	struct shared_semaphore *permits; /* one of these is held … */
	struct list permit;               /* … and stands in the outermost scope's `permits` … */
	uint64_t holder;                  /* … for this task */
};

/* Memory for a call (size bytes, zeroed, starting with struct call) of a source of that kind. NULL with *failed set:
 * the caller is not a handler's task (*failed NULL then), or there is no such source of that kind. */
void *call_new(size_t size, const char *function, const char *source, const struct driver *driver, gd_value **failed);
/* g NULL: run it (suspends). Else make it a child of g. name is static: "gd_pg_query". */
gd_value *call_start(struct call *c, gd_gather *g, const char *name, call_fn *run);
/* Suspends. A permit of the source's `semaphore`, which call_start holds around `run`; for what is not a single call. A
 * task that holds one has it for all that it does meanwhile. Returns 0, to be followed by call_release, or -errno with
 * c->error filled. */
int call_acquire(struct call *c) must_check;
void call_release(struct call *c);

/* --- task.c, gather.c --- */

static inline deadline_t deadline_of(gd_deadline by)
{
	return (deadline_t){by.us};
}

struct gd_gather {
	struct thing thing;  /* its children; a task's */
	struct thing memory; /* goes when no task is left that could add to it */
	struct gd_scope *scope;
	struct gather gather;
	gd_value **values; /* what its children brought, by index; NULL: no client's call */
	size_t room;
	struct users users;   /* a task that waits in it */
	struct users running; /* its children */
	struct guest *newest; /* of a scope within its own that has children in it; gather.c's */
};

/* gather_add of a child that brings `value` (NULL: none). */
int gather_start(gd_gather *g, const char *name, gd_task_fn *fn, void *arg, gd_value *value);

/* --- sync.c --- */

/* The calling task's function has returned: mutexes that it still holds are unlocked, and that is told in the log. */
void mutexes_release(void);

/* --- cursor.c: gd_cursor, whatever it reads from --- */

struct cursor_ops {
	/* Suspends. 1 with *out filled (valid until the next call), 0 at the end, or -errno with e filled. */
	int (*next)(struct gd_cursor *c, struct value *out, struct error *e);
	/* Suspends (the task is shielded). Gives back what it holds. Called once. */
	void (*close)(struct gd_cursor *c);
	bool resumes; /* a `next` whose wait timed out leaves it as it was */
};

/* At the start of a driver's own, in the scope's arena. */
struct gd_cursor {
	struct thing thing;
	struct gd_scope *scope;
	const struct cursor_ops *ops; /* NULL: it failed, or is closed */
	struct error error;           /* errnum below 0: why it failed */
	struct users users;           /* a task that is in `next`, or closes it */
	gd_value current;             /* fleeting: in `row` */
	struct arena row;             /* what looking into `current` needs; forgotten when the cursor moves on */
};

/* c belongs to s from now on. */
void cursor_open(struct gd_cursor *c, struct gd_scope *s, const struct cursor_ops *ops);
/* A cursor that is nothing but a failure. */
struct gd_cursor *cursor_failed(struct gd_scope *s, const struct error *e);

/* A statement as a worker knows it: its types, its columns, how long it takes. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "drivers/postgres/types/layout.h"
#include "drivers/postgres/wire/action.h"
#include "drivers/postgres/wire/call.h"
#include "drivers/postgres/wire/client.h"
#include "drivers/postgres/wire/leaving.h"
#include "drivers/postgres/wire/sqlstate.h"

enum pg_knowledge { PG_UNKNOWN, PG_LEARNING, PG_KNOWN };

struct pg_statement {
	const struct pg_action *action;
	unsigned users; /* runs, calls, and a step's actions */
	/* The last user has left it. */
	void (*unused)(struct pg_client *c, struct pg_statement *st);
	void *owner;    /* of `unused` */
	unsigned index; /* among its client's */
	enum pg_knowledge knowledge;
	uint32_t generation;   /* counts preparations that made earlier ones worthless; from 1 */
	char name[32];         /* on the server; "" with prepare: false, and if it is nameless */
	bool nameless;         /* of one run; it has no index */
	const char *sql;       /* the action's, or wrapped */
	char *wrapped;         /* columns that only the server can render as JSON go through its to_json */
	Oid *types;            /* of the parameters */
	Oid *given;            /* those of them that the server asked for; 0: it infers the others */
	char *own_types;       /* the array of those of the database's own among its types; NULL: none */
	char *own_types_text;  /* pg_types_text_query of them */
	PGresult *description; /* as the server last described it, not wrapped */
	struct pg_type *parameters;
	struct pg_layout *layout;
	enum pg_leaving leaving; /* as it was judged to leave its session (leaving.h) */
	bool looks;              /* … to look at what sequences gave last */
	bool single;             /* … to change at most one row */
	int64_t judged_us;       /* long ago: it was not */
	unsigned runs;           /* before it was first judged, and while it was in doubt */

	bool measured;
	bool is_short;          /* short enough to share a connection */
	int64_t average_us;     /* moving average of its time on the server */
	int64_t apart_until_us; /* it erred: it shares no connection for a while */

	struct list learners; /* tasks that wait for the one that learns it */
	unsigned learned;     /* counts attempts to learn it */
	int learn_result;     /* of the last attempt, where the server answered it */
	struct error learn_error;
	PGresult *refusal; /* why the server did not take it as it stands in the action, the last time; NULL: it did */
};

/* One that its caller frees; its index is used again, and its names on servers are dropped then. */
struct pg_statement *pg_statement_new(struct pg_client *c, const struct pg_action *action, bool nameless);
void pg_statement_free(struct pg_client *c, struct pg_statement *st);

/* Another user of st; NULL is allowed. */
void pg_statement_keep(struct pg_statement *st);
/* One less. */
void pg_statement_drop(struct pg_client *c, struct pg_statement *st);

/* What was prepared under its name is worth nothing any more: it gets the next one. */
void pg_statement_renew(struct pg_client *c, struct pg_statement *st);
/* The name that a statement of that index and generation has on servers. */
void pg_statement_name(char *out, size_t size, unsigned index, uint32_t generation);

/* What was known at that generation is not true any more: the server has lost it, or its columns have changed. It is
 * learned again, unless that was done meanwhile. */
void pg_statement_forget(struct pg_statement *st, uint32_t generation);

/* The same, and the types are not what they were either, whoever uses them. */
void pg_statement_forget_types(struct pg_client *c, struct pg_statement *st, uint32_t generation);
/* Is that what was known of it? */
bool pg_statement_is_described(const struct pg_statement *st, const PGresult *description);

/* Was it judged what it leaves on its session (leaving.h), and not long ago? */
bool pg_statement_is_judged(const struct pg_statement *st, int64_t now_us);
/* Its judgement, or how much is in doubt without one. */
enum pg_leaving pg_statement_leaving(const struct pg_statement *st, int64_t now_us);

/* Is it known to change at most one row? Then `expect: one` finds fault with it only if it has changed nothing. */
bool pg_statement_is_single(const struct pg_statement *st, int64_t now_us);

/* It took us on the server. */
void pg_statement_took(struct pg_statement *st, int64_t us);
/* It failed: no sharing for a while, or one client's bad input would double everybody's work. */
void pg_statement_erred(struct pg_statement *st, int64_t now_us);
bool pg_statement_may_share(const struct pg_statement *st, int64_t now_us);

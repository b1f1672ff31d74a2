/* Two tables: actions by their addresses, which every run asks, and statements by what they say, which an action's
 * first run asks. Each action that has a statement counts as one of its users. */
#include "drivers/postgres/statements/steps.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { BUCKETS = 1024, FIRST_CAPACITY = 64 };

/* A statement, and what of its actions it depends on. */
struct common {
	struct common *next;     /* in its bucket */
	struct pg_action action; /* what its actions have in common: not a step's name, nor what it refers to */
	struct pg_statement *statement;
};

struct row {
	const struct pg_action *action; /* NULL: free */
	struct common *common;          /* NULL: forgotten */
};

struct pg_steps {
	struct row *rows; /* hashed by the action */
	unsigned count, capacity;
	struct common *buckets[BUCKETS];
};

/* --- statements, by what they say --- */

static bool says_the_same(const struct pg_action *a, const struct pg_action *b)
{
	return a->hash == b->hash && a->read_only == b->read_only && a->writes == b->writes &&
	       a->sql.parameter_count == b->sql.parameter_count && strcmp(a->sql.text, b->sql.text) == 0 &&
	       memcmp(a->declared, b->declared, a->sql.parameter_count * sizeof(*a->declared)) == 0;
}

static struct common **place_of(struct pg_steps *steps, const struct pg_action *action)
{
	struct common **at = &steps->buckets[action->hash % BUCKETS];

	while (*at && !says_the_same(&(*at)->action, action))
		at = &(*at)->next;
	return at;
}

static void common_free(struct pg_client *c, struct common *common)
{
	pg_statement_free(c, common->statement);
	free((void *)common->action.sql.text);
	free((void *)common->action.declared);
	free(common);
}

/* The last action that had it is forgotten, and the last call has ended. */
static void unused(struct pg_client *c, struct pg_statement *st)
{
	struct common **at = place_of(c->steps, st->action);
	struct common *common = *at;

	*at = common->next;
	common_free(c, common);
}

static struct common *common_new(struct pg_client *c, const struct pg_action *action)
{
	struct common *common = mem_zalloc(sizeof(*common));
	size_t size = action->sql.parameter_count * sizeof(*action->declared);
	Oid *declared = mem_zalloc(size + sizeof(*declared));

	memcpy(declared, action->declared, size);
	common->action = (struct pg_action){
		.hash = action->hash,
		.sql = action->sql,
		.declared = declared,
		.read_only = action->read_only,
		.writes = action->writes,
	};
	struct pg_sql *sql = &common->action.sql;
	sql->text = mem_strdup(action->sql.text);
	sql->slots = NULL;
	sql->references = NULL;
	sql->node = NULL;
	sql->pieces = NULL;
	sql->piece_count = 0;
	common->statement = pg_statement_new(c, &common->action, false);
	common->statement->unused = unused;
	return common;
}

/* --- actions --- */

static size_t hash_of_address(const struct pg_action *action)
{
	return (size_t)(((uintptr_t)action >> 4) * 0x9e3779b97f4a7c15u >> 20);
}

static struct row *row_of(struct row *rows, unsigned capacity, const struct pg_action *action)
{
	size_t i = hash_of_address(action);

	while (rows[i & (capacity - 1)].action && rows[i & (capacity - 1)].action != action)
		i++;
	return &rows[i & (capacity - 1)];
}

/* The same rows, without those that are forgotten, in a table of that size. */
static void rebuild(struct pg_steps *steps, unsigned capacity)
{
	struct row *rows = mem_zalloc(capacity * sizeof(*rows));

	steps->count = 0;
	for (unsigned i = 0; i < steps->capacity; i++) {
		if (!steps->rows[i].common)
			continue;
		*row_of(rows, capacity, steps->rows[i].action) = steps->rows[i];
		steps->count++;
	}
	free(steps->rows);
	steps->rows = rows;
	steps->capacity = capacity;
}

static struct row *find(struct pg_client *c, const struct pg_action *action)
{
	if (!c->steps)
		c->steps = mem_zalloc(sizeof(*c->steps));
	if (2 * c->steps->count >= c->steps->capacity)
		rebuild(c->steps, c->steps->capacity ? 2 * c->steps->capacity : FIRST_CAPACITY);
	return row_of(c->steps->rows, c->steps->capacity, action);
}

static void take_part(struct pg_client *c, struct row *row, const struct pg_action *action, struct common *common)
{
	*row = (struct row){action, common};
	c->steps->count++;
	pg_statement_keep(common->statement);
}

struct pg_statement *pg_statement_of(struct pg_client *c, const struct pg_action *action)
{
	struct row *row = find(c, action);

	if (!row->action) {
		struct common **at = place_of(c->steps, action);
		if (!*at)
			*at = common_new(c, action);
		take_part(c, row, action, *at);
	}
	return row->common->statement;
}

void pg_statements_adopt(struct pg_client *c, const struct pg_action *const *actions, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct row *row = find(c, actions[i]);
		struct common *common = *place_of(c->steps, actions[i]);
		if (!row->action && common)
			take_part(c, row, actions[i], common);
	}
}

void pg_statements_forget(struct pg_client *c, const struct pg_action *const *actions, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct row *row = find(c, actions[i]);
		struct common *common = row->common;
		row->common = NULL;
		if (common)
			pg_statement_drop(c, common->statement);
	}
	if (c->steps)
		rebuild(c->steps, c->steps->capacity);
}

void pg_statements_done(struct pg_client *c)
{
	struct pg_steps *steps = c->steps;

	for (unsigned i = 0; steps && i < BUCKETS; i++) {
		while (steps->buckets[i]) {
			struct common *common = steps->buckets[i];
			steps->buckets[i] = common->next;
			common_free(c, common);
		}
	}
	if (steps)
		free(steps->rows);
	free(steps);
	c->steps = NULL;
}

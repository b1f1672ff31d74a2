/* A statement's names, what was learned of it and must be forgotten, and how long it takes. */
#include "drivers/postgres/wire/statement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define SHORT_US      5000  /* below it a statement begins to share connections */
#define NOT_SHORT_US  10000 /* above this it stops sharing */
#define APART_US      5000000
#define JUDGED_FOR_US 5000000 /* then it is in doubt again */

void pg_statement_name(char *out, size_t size, unsigned index, uint32_t generation)
{
	snprintf(out, size, "g%u_%u", index, generation);
}

void pg_statement_renew(struct pg_client *c, struct pg_statement *st)
{
	st->generation++;
	if (c->source->prepare && !st->nameless)
		pg_statement_name(st->name, sizeof(st->name), st->index, st->generation);
}

static void take_index(struct pg_client *c, struct pg_statement *st)
{
	if (c->free_index_count == 0) {
		st->index = c->next_index;
		c->next_index += c->source->workers;
		return;
	}
	const struct pg_free_index *freed = &c->free_indexes[--c->free_index_count];
	st->index = freed->index;
	st->generation = freed->generation;
}

static void give_index(struct pg_client *c, const struct pg_statement *st)
{
	if (c->free_index_count == c->free_index_capacity) {
		c->free_index_capacity = c->free_index_capacity ? 2 * c->free_index_capacity : 64;
		c->free_indexes = mem_realloc_array(c->free_indexes, c->free_index_capacity, sizeof(*c->free_indexes));
	}
	c->free_indexes[c->free_index_count++] = (struct pg_free_index){st->index, st->generation};
}

struct pg_statement *pg_statement_new(struct pg_client *c, const struct pg_action *action, bool nameless)
{
	struct pg_statement *st = mem_zalloc(sizeof(*st));
	unsigned count = action->sql.parameter_count;

	st->action = action;
	st->nameless = nameless;
	if (!nameless)
		take_index(c, st);
	st->sql = action->sql.text;
	st->types = mem_zalloc((count + 1) * sizeof(*st->types));
	st->given = mem_zalloc((count + 1) * sizeof(*st->given));
	st->parameters = mem_zalloc((count + 1) * sizeof(*st->parameters));
	list_init(&st->learners);
	return st;
}

void pg_statement_free(struct pg_client *c, struct pg_statement *st)
{
	if (!st->nameless)
		give_index(c, st);
	free(st->wrapped);
	free(st->types);
	free(st->given);
	free(st->own_types);
	free(st->own_types_text);
	PQclear(st->description);
	free(st->parameters);
	pg_layout_drop(st->layout);
	PQclear(st->refusal);
	free(st);
}

void pg_statement_keep(struct pg_statement *st)
{
	if (st)
		st->users++;
}

void pg_statement_drop(struct pg_client *c, struct pg_statement *st)
{
	if (st && --st->users == 0)
		st->unused(c, st);
}

/* --- what is known of it --- */

void pg_statement_forget(struct pg_statement *st, uint32_t generation)
{
	if (st->knowledge == PG_KNOWN && st->generation == generation)
		st->knowledge = PG_UNKNOWN;
}

void pg_statement_forget_types(struct pg_client *c, struct pg_statement *st, uint32_t generation)
{
	pg_types_done(&c->types);
	pg_statement_forget(st, generation);
}

bool pg_statement_is_described(const struct pg_statement *st, const PGresult *description)
{
	const PGresult *known = st->description;
	int parameters = PQnparams(known), columns = PQnfields(known);

	if (PQnparams(description) != parameters || PQnfields(description) != columns)
		return false;
	for (int i = 0; i < parameters; i++) {
		if (PQparamtype(description, i) != st->types[i])
			return false;
	}
	for (int i = 0; i < columns; i++) {
		if (PQftype(description, i) != PQftype(known, i) ||
		    strcmp(PQfname(description, i), PQfname(known, i)) != 0)
			return false;
	}
	return true;
}

bool pg_statement_is_judged(const struct pg_statement *st, int64_t now_us)
{
	return now_us < st->judged_us + JUDGED_FOR_US;
}

enum pg_leaving pg_statement_leaving(const struct pg_statement *st, int64_t now_us)
{
	static const char *const lasting[] = {"prepare", "deallocate", "discard", "load"};

	if (pg_statement_is_judged(st, now_us))
		return st->leaving;
	for (size_t i = 0; i < ARRAY_SIZE(lasting); i++) {
		if (strcmp(st->action->sql.keyword, lasting[i]) == 0)
			return PG_LEAVES_MORE;
	}
	return PG_LEAVES_SETTINGS;
}

bool pg_statement_is_single(const struct pg_statement *st, int64_t now_us)
{
	return st->single && pg_statement_is_judged(st, now_us);
}

/* --- how long it takes --- */

/* Falls fast and rises slowly: one hiccup of a busy server is no reason to take a connection for each call. */
void pg_statement_took(struct pg_statement *st, int64_t us)
{
	if (!st->measured)
		st->average_us = us;
	else if (us < st->average_us)
		st->average_us -= (st->average_us - us) / 2;
	else
		st->average_us += (us - st->average_us) / 8;
	st->measured = true;
	st->is_short = st->average_us < (st->is_short ? NOT_SHORT_US : SHORT_US);
}

void pg_statement_erred(struct pg_statement *st, int64_t now_us)
{
	st->apart_until_us = now_us + APART_US;
}

bool pg_statement_may_share(const struct pg_statement *st, int64_t now_us)
{
	return st->is_short && st->action->read_only && *st->name && now_us >= st->apart_until_us &&
	       pg_statement_leaving(st, now_us) == PG_LEAVES_NOTHING;
}

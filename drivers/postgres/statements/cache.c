/* A hash table of the steps' statements; for texts buckets to find them, and a list in the order of their use to forget
 * them. */
#include "drivers/postgres/statements/cache.h"

#include <stdlib.h>
#include <string.h>

#include "async/task.h"
#include "base/mem.h"
#include "drivers/postgres/statements/sql.h"

/* --- of steps --- */

static size_t hash_of_action(const struct pg_action *action)
{
	return (size_t)(((uintptr_t)action >> 4) * 0x9e3779b97f4a7c15u >> 20);
}

static struct pg_statement **slot_of(struct pg_statement **table, unsigned capacity, const struct pg_action *action)
{
	size_t i = hash_of_action(action);
	while (table[i & (capacity - 1)] && table[i & (capacity - 1)]->action != action)
		i++;
	return &table[i & (capacity - 1)];
}

static void grow_table(struct pg_client *c)
{
	unsigned capacity = c->statement_capacity ? 2 * c->statement_capacity : 64;
	struct pg_statement **table = mem_zalloc(capacity * sizeof(struct pg_statement *));

	for (unsigned i = 0; i < c->statement_capacity; i++) {
		if (c->statements[i])
			*slot_of(table, capacity, c->statements[i]->action) = c->statements[i];
	}
	free(c->statements);
	c->statements = table;
	c->statement_capacity = capacity;
}

struct pg_statement *pg_statement_of(struct pg_client *c, const struct pg_action *action)
{
	if (2 * c->statement_count >= c->statement_capacity)
		grow_table(c);
	struct pg_statement **slot = slot_of(c->statements, c->statement_capacity, action);
	if (!*slot) {
		*slot = pg_statement_new(c, action, false);
		c->statement_count++;
	}
	return *slot;
}

static struct pg_statement *find(struct pg_client *c, const struct pg_action *action)
{
	return c->statement_capacity ? *slot_of(c->statements, c->statement_capacity, action) : NULL;
}

/* The table without those that are marked. */
static void remove_marked(struct pg_client *c)
{
	struct pg_statement **table = mem_zalloc(c->statement_capacity * sizeof(struct pg_statement *));

	for (unsigned i = 0; i < c->statement_capacity; i++) {
		struct pg_statement *st = c->statements[i];
		if (st && st->forgotten) {
			pg_statement_free(c, st);
			c->statement_count--;
		} else if (st) {
			*slot_of(table, c->statement_capacity, st->action) = st;
		}
	}
	free(c->statements);
	c->statements = table;
}

void pg_statements_forget(struct pg_client *c, const struct pg_action *const *actions, size_t count)
{
	struct pg_statement *st;
	struct shield shield;

	if (!c->statement_capacity)
		return;
	task_shield_fully(&shield);
	for (size_t i = 0; i < count; i++) {
		/* What was abandoned ends soon, and so does what judges a statement. */
		while ((st = find(c, actions[i])) && st->users > 0) {
			int r = task_sleep_ms(5);
			(void)r;
		}
	}
	task_unshield(&shield);
	for (size_t i = 0; i < count; i++) {
		st = find(c, actions[i]);
		if (st)
			st->forgotten = true;
	}
	remove_marked(c);
}

void pg_statements_done(struct pg_client *c)
{
	for (unsigned i = 0; i < c->statement_capacity; i++) {
		if (c->statements[i])
			pg_statement_free(c, c->statements[i]);
	}
	free(c->statements);
	free(c->free_indexes);
}

/* --- of texts --- */

/* FNV-1a; what may write is another statement than the same text that only reads. */
static uint64_t hash_of(const char *text, size_t len, bool read_only)
{
	uint64_t h = 0xcbf29ce484222325u ^ (read_only ? 1 : 0);

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
	return h;
}

static struct pg_text **bucket_of(struct pg_texts *t, uint64_t hash)
{
	return &t->buckets[(hash ^ hash >> 32) % PG_TEXT_BUCKETS];
}

static size_t bytes_of(const struct pg_text *t)
{
	return t->len + strlen(t->action.sql.text);
}

static void text_free(struct pg_client *c, struct pg_text *t)
{
	pg_statement_free(c, t->statement);
	free((void *)t->action.sql.text);
	free(t);
}

static void text_unused(struct pg_client *c, struct pg_statement *st)
{
	if (!st->text->kept)
		text_free(c, st->text);
}

static struct pg_text *text_new(struct pg_client *c, const char *text, size_t len, const struct pg_action *action,
				bool nameless)
{
	struct pg_text *t = mem_zalloc(sizeof(*t) + len);

	memcpy(t->text, text, len);
	t->len = len;
	t->action = *action;
	list_init(&t->recent);
	t->statement = pg_statement_new(c, &t->action, nameless);
	t->statement->text = t;
	t->statement->users = 1;
	t->statement->unused = text_unused;
	return t;
}

static void forget(struct pg_client *c, struct pg_text *t)
{
	struct pg_text **at = bucket_of(c->texts, t->hash);

	while (*at != t)
		at = &(*at)->next;
	*at = t->next;
	list_remove(&t->recent);
	c->texts->count--;
	c->texts->bytes -= bytes_of(t);
	t->kept = false;
	if (t->statement->users == 0)
		text_free(c, t);
}

static void keep(struct pg_client *c, struct pg_text *t, uint64_t hash)
{
	struct pg_texts *all = c->texts;
	struct pg_text **bucket = bucket_of(all, hash);

	t->hash = hash;
	t->next = *bucket;
	*bucket = t;
	t->kept = true;
	list_prepend(&all->recent, &t->recent);
	all->count++;
	all->bytes += bytes_of(t);
	while (all->count > PG_TEXTS_KEPT || (all->bytes > PG_TEXT_BYTES_KEPT && all->count > 1))
		forget(c, container_of(all->recent.prev, struct pg_text, recent));
}

static struct pg_texts *texts_of(struct pg_client *c)
{
	if (!c->texts) {
		c->texts = mem_zalloc(sizeof(*c->texts));
		list_init(&c->texts->recent);
	}
	return c->texts;
}

struct pg_statement *pg_text_of(struct pg_client *c, const char *text, size_t len, bool read_only, const char **why)
{
	struct pg_texts *all = texts_of(c);
	uint64_t hash = hash_of(text, len, read_only);
	struct pg_action action = {.expect = EXPECT_MANY, .read_only = read_only};

	for (struct pg_text *t = *bucket_of(all, hash); t; t = t->next) {
		if (t->hash != hash || t->len != len || t->action.read_only != read_only ||
		    memcmp(t->text, text, len) != 0)
			continue;
		list_remove(&t->recent);
		list_prepend(&all->recent, &t->recent);
		t->statement->users++;
		return t->statement;
	}
	if (!pg_sql_scan(&action.sql, text, len, why))
		return NULL;
	action.writes = !read_only && action.sql.effect != ACTION_READS;
	struct pg_text *t = text_new(c, text, len, &action, false);
	keep(c, t, hash);
	return t->statement;
}

struct pg_statement *pg_text_copy(struct pg_client *c, const struct pg_statement *st)
{
	struct pg_action action = *st->action;

	action.sql.text = mem_strdup(st->action->sql.text);
	return text_new(c, "", 0, &action, true)->statement;
}

void pg_texts_done(struct pg_client *c)
{
	if (!c->texts)
		return;
	while (!list_empty(&c->texts->recent))
		forget(c, container_of(c->texts->recent.next, struct pg_text, recent));
	free(c->texts);
	c->texts = NULL;
}

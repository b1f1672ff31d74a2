/* Buckets to find them, and a list in the order of their use to forget them. */
#include "drivers/postgres/statements/cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/postgres/statements/sql.h"

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
	struct pg_text *t = st->owner;

	if (!t->kept)
		text_free(c, t);
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
	t->statement->owner = t;
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

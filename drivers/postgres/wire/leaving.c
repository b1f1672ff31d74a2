/* The words of a statement, what the catalog says of them, and the commands that reset a session. */
#include "drivers/postgres/wire/leaving.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/mem.h"
#include "drivers/postgres/wire/connection.h"
#include "drivers/postgres/wire/conninfo.h"
#include "drivers/postgres/wire/pipeline.h"
#include "drivers/postgres/wire/statement.h"

#define JUDGED_AT_RUN 2 /* texts that handlers make up run only once */
#define MAX_WORDS     1024
#define WORD_SLOTS    4096
#define MAX_ROUNDS    8 /* a view of a view of … */

/* A judgement that is under way. */
struct pg_judge {
	struct pg_statement *statement;
	uint32_t generation; /* … as it is judged */
	enum pg_leaving leaving;
	bool looks;   /* at what sequences gave last */
	bool has_key; /* what it looks for is one row */
	unsigned rounds;
	char *words[MAX_WORDS];
	unsigned count, asked;      /* the first `asked` of them were asked about */
	uint16_t slots[WORD_SLOTS]; /* hashed: 1 + the word's number; 0: free */
};

/* A row for whatever one of the words in $1 may stand for: d, it may leave anything; s, it moves a sequence; t, it is
 * fine by itself. The second column is text whose words come next. No word stands for an operator or a cast. */
static const char judge_query[] =
	"select case when p.oid < 16384 and p.proname = any ('{nextval,setval}') then 's' else 'd' end, null "
	"from pg_catalog.pg_proc p where p.proname = any ($1::pg_catalog.name[]) and case when p.oid < 16384 then "
	"p.provolatile = 'v' and p.proname <> all ('{"
	"random,random_normal,clock_timestamp,timeofday,gen_random_uuid,uuidv4,uuidv7,pg_sleep,pg_sleep_for,"
	"pg_sleep_until,pg_notify,pg_is_in_recovery,pg_database_size,pg_relation_size,pg_table_size,pg_indexes_size,"
	"pg_total_relation_size,pg_advisory_xact_lock,pg_advisory_xact_lock_shared,pg_try_advisory_xact_lock,"
	"pg_try_advisory_xact_lock_shared,pg_cancel_backend,pg_terminate_backend,pg_blocking_pids,currval,lastval}') "
	"else p.prolang not in (12, 13) or p.prokind <> 'f' or p.provolatile = 'v' end "
	"union all select 't', pg_catalog.pg_get_viewdef(c.oid) from pg_catalog.pg_class c "
	"where c.relname = any ($1::pg_catalog.name[]) and c.relkind = 'v' and c.oid >= 16384 "
	"union all select 't', pg_catalog.concat(pg_catalog.pg_get_expr(p.polqual, p.polrelid), ' ', "
	"pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)) from pg_catalog.pg_policy p "
	"join pg_catalog.pg_class c on c.oid = p.polrelid where c.relname = any ($1::pg_catalog.name[]) "
	"union all select 'd', null from pg_catalog.pg_proc p where p.provolatile = 'v' and p.prolang not in (12, 13) "
	"and p.oid in (select o.oprcode from pg_catalog.pg_operator o where o.oid >= 16384 "
	"union all select k.castfunc from pg_catalog.pg_cast k where k.oid >= 16384)";

/* The same for what a change of a table sets off. */
static const char judge_writing_query[] =
	"with c as materialized (select c.oid from pg_catalog.pg_class c "
	"where c.relname = any ($1::pg_catalog.name[]) and c.oid >= 16384) "
	"select 'd', null from pg_catalog.pg_trigger g where g.tgrelid in (select oid from c) and not g.tgisinternal "
	"union all select 'd', null from pg_catalog.pg_rewrite u "
	"where u.ev_class in (select oid from c) and u.ev_type <> '1' "
	"union all select 's', null from pg_catalog.pg_attribute a "
	"where a.attrelid in (select oid from c) and a.attidentity <> '' "
	"union all select 't', pg_catalog.pg_get_expr(f.adbin, f.adrelid) from pg_catalog.pg_attrdef f "
	"where f.adrelid in (select oid from c) "
	"union all select 't', pg_catalog.pg_get_constraintdef(k.oid) from pg_catalog.pg_constraint k "
	"where k.conrelid in (select oid from c) and k.contype = 'c' "
	"union all select 't', pg_catalog.pg_get_indexdef(x.indexrelid) from pg_catalog.pg_index x "
	"where x.indrelid in (select oid from c) and (x.indexprs is not null or x.indpred is not null) "
	"union all select 't', k.conrelid::pg_catalog.regclass::text from pg_catalog.pg_constraint k "
	"where k.confrelid in (select oid from c) and k.contype = 'f' "
	"union all select 't', h.inhrelid::pg_catalog.regclass::text from pg_catalog.pg_inherits h "
	"where h.inhparent in (select oid from c)";

/* A row if $1 (a table) has a unique key all of whose columns are among $2, which are compared with parameters of the
 * types $3 (0: with a constant): then at most one of its rows is met. A type must be the column's, because a comparison
 * by way of another may take two values for one. $4: tables that inherit from it do not count. */
static const char key_query[] =
	"select 'k', null from pg_catalog.pg_class c join pg_catalog.pg_index x on x.indrelid = c.oid "
	"where c.oid = pg_catalog.to_regclass($1) and c.relkind in ('r', 'p') "
	"and (c.relkind = 'p' or $4::pg_catalog.bool or not c.relhassubclass) "
	"and x.indisunique and x.indisvalid and x.indimmediate and x.indpred is null and x.indexprs is null "
	"and not exists (select from pg_catalog.generate_series(0, x.indnkeyatts - 1) i "
	"join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum = x.indkey[i] "
	"where not exists (select from rows from (pg_catalog.unnest($2::pg_catalog.text[]), "
	"pg_catalog.unnest($3::pg_catalog.oid[])) k (name, type) where (pg_catalog.parse_ident(k.name))[1] = a.attname "
	"and k.type in (0, a.atttypid, case a.atttypid when 1043 then 25 end)))";

/* --- words --- */

static void at_least(struct pg_judge *j, enum pg_leaving leaving)
{
	if (j->leaving < leaving)
		j->leaving = leaving;
}

static uint64_t hash_of(const char *p, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)p[i]) * 0x100000001b3u;
	return h ^ h >> 32;
}

static void add_word(struct pg_judge *j, const char *p, size_t len)
{
	size_t slot = hash_of(p, len) % WORD_SLOTS;

	for (; j->slots[slot]; slot = (slot + 1) % WORD_SLOTS) {
		const char *known = j->words[j->slots[slot] - 1];
		if (strncmp(known, p, len) == 0 && !known[len])
			return;
	}
	if (j->count == MAX_WORDS) {
		at_least(j, PG_LEAVES_SETTINGS);
		return;
	}
	char *word = mem_strndup(p, len);
	j->looks |= strcmp(word, "currval") == 0 || strcmp(word, "lastval") == 0;
	j->words[j->count] = word;
	j->slots[slot] = (uint16_t)++j->count;
}

static bool is_word(unsigned char c)
{
	return c >= 0x80 || c == '_' || c == '$' || (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* A word as it stands there, and as the server folds it. */
static void add_bare(struct pg_judge *j, const char *p, size_t len)
{
	char *folded = mem_strndup(p, len);

	add_word(j, p, len);
	for (size_t i = 0; i < len; i++) {
		if (folded[i] >= 'A' && folded[i] <= 'Z')
			folded[i] = (char)(folded[i] | 0x20);
	}
	add_word(j, folded, len);
	free(folded);
}

/* All that may be an identifier: words, and what stands between two quotes, whichever quotes belong together. */
static void add_text(struct pg_judge *j, const char *text)
{
	for (const char *p = text; *p;) {
		size_t len = 0;
		while (is_word((unsigned char)p[len]))
			len++;
		if (len > 0)
			add_bare(j, p, len);
		p += len > 0 ? len : 1;
	}
	for (const char *p = strchr(text, '"'); p;) {
		size_t len = strcspn(++p, "\"");
		if (len > 0 && p[len])
			add_word(j, p, len);
		/* Quotes and escapes within a quoted name. */
		if (len == 0 || (p - text >= 2 && p[-2] == '&'))
			at_least(j, PG_LEAVES_SETTINGS);
		p = p[len] ? p + len : NULL;
	}
}

/* --- the judgement --- */

static bool is_one_of(const char *word, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(word, list[i]) == 0)
			return true;
	}
	return false;
}

/* Is it of a kind that changes nothing of a session by itself? SELECT … INTO makes a table. */
static bool is_plain(const struct pg_action *action)
{
	static const char *const reading[] = {"select", "with", "values", "table"};
	static const char *const writing[] = {"insert", "update", "delete", "merge"};

	return action->read_only ? is_one_of(action->sql.keyword, reading, ARRAY_SIZE(reading))
				 : is_one_of(action->sql.keyword, writing, ARRAY_SIZE(writing));
}

void pg_leaving_note(struct pg_connection *conn, struct pg_statement *st)
{
	int64_t now = loop_now_us(conn->client->loop);
	enum pg_leaving leaving = pg_statement_leaving(st, now);

	if (conn->left < leaving)
		conn->left = (uint8_t)leaving;
	if (leaving == PG_LEAVES_NOTHING || pg_statement_is_judged(st, now) || conn->judge || !is_plain(st->action))
		return;
	if (++st->runs < JUDGED_AT_RUN)
		return;
	struct pg_judge *j = mem_zalloc(sizeof(*j));
	j->statement = st;
	j->generation = st->generation;
	pg_statement_keep(st);
	add_text(j, st->action->sql.text);
	conn->judge = j;
}

void pg_leaving_note_unknown(struct pg_connection *conn)
{
	if (conn->left < PG_LEAVES_SETTINGS)
		conn->left = PG_LEAVES_SETTINGS;
}

/* An element of an array, in quotes. */
static void append_element(struct buf *array, const char *p, size_t len)
{
	buf_char(array, '"');
	for (size_t i = 0; i < len; i++) {
		if (p[i] == '\\' || p[i] == '"')
			buf_char(array, '\\');
		buf_char(array, p[i]);
	}
	buf_char(array, '"');
}

static void words_to_ask(struct pg_judge *j, struct buf *array)
{
	for (char separator = '{'; j->asked < j->count; j->asked++, separator = ',') {
		buf_char(array, separator);
		append_element(array, j->words[j->asked], strlen(j->words[j->asked]));
	}
	buf_char(array, '}');
}

void pg_leaving_drop(struct pg_connection *conn)
{
	struct pg_judge *j = conn->judge;

	if (!j)
		return;
	pg_statement_drop(conn->client, j->statement);
	for (unsigned i = 0; i < j->count; i++)
		free(j->words[i]);
	free(j);
	conn->judge = NULL;
}

/* No trigger and no rule makes more of one row, or anything of none. */
static bool is_single(const struct pg_judge *j)
{
	enum pg_single_kind kind = j->statement->action->sql.single.kind;

	return j->leaving <= PG_LEAVES_SEQUENCES && (kind == PG_SINGLE_ROW || (kind == PG_SINGLE_KEY && j->has_key));
}

/* What is known by now is enough. */
static void pronounce(struct pg_connection *conn)
{
	struct pg_judge *j = conn->judge;
	struct pg_statement *st = j->statement;

	if (j->asked < j->count)
		at_least(j, PG_LEAVES_SETTINGS);
	if (st->generation == j->generation) {
		st->leaving = j->leaving;
		st->looks = j->looks;
		st->single = is_single(j);
		st->judged_us = loop_now_us(conn->client->loop);
	}
	pg_leaving_drop(conn);
}

static void ask_for_key(struct pg_connection *conn, const struct pg_statement *st)
{
	const struct pg_single *single = &st->action->sql.single;
	const char *text = st->action->sql.text;
	struct buf names = BUF_INIT, types = BUF_INIT, table = BUF_INIT;

	buf_append(&table, text + single->table, single->table_len);
	for (unsigned i = 0; i < single->column_count; i++) {
		unsigned n = single->columns[i].parameter;
		buf_char(&names, i ? ',' : '{');
		append_element(&names, text + single->columns[i].at, single->columns[i].len);
		buf_printf(&types, "%c%u", i ? ',' : '{', n ? st->types[n - 1] : 0);
	}
	buf_char(&names, '}');
	buf_char(&types, '}');
	const char *values[] = {buf_cstr(&table), buf_cstr(&names), buf_cstr(&types), single->only ? "t" : "f"};
	pg_pipeline_judge(conn, key_query, ARRAY_SIZE(values), values);
	buf_done(&table);
	buf_done(&names);
	buf_done(&types);
}

/* True: there is something to ask. */
static bool judge_next(struct pg_connection *conn)
{
	struct pg_judge *j = conn->judge;
	struct buf array = BUF_INIT;

	if (j->asked == j->count || j->leaving >= PG_LEAVES_SETTINGS || j->rounds++ == MAX_ROUNDS) {
		pronounce(conn);
		return false;
	}
	words_to_ask(j, &array);
	const char *words = buf_cstr(&array);
	pg_pipeline_judge(conn, judge_query, 1, &words);
	if (!j->statement->action->read_only)
		pg_pipeline_judge(conn, judge_writing_query, 1, &words);
	if (j->rounds == 1 && j->statement->action->sql.single.kind == PG_SINGLE_KEY)
		ask_for_key(conn, j->statement);
	buf_done(&array);
	return true;
}

void pg_leaving_judge(struct pg_connection *conn, const PGresult *rows)
{
	struct pg_judge *j = conn->judge;

	if (PQresultStatus(rows) != PGRES_TUPLES_OK)
		at_least(j, PG_LEAVES_SETTINGS);
	for (int i = 0; i < PQntuples(rows); i++) {
		char kind = *PQgetvalue(rows, i, 0);
		j->has_key |= kind == 'k';
		if (kind == 'd' || kind == 's')
			at_least(j, kind == 's' ? PG_LEAVES_SEQUENCES : PG_LEAVES_SETTINGS);
		if (!PQgetisnull(rows, i, 1))
			add_text(j, PQgetvalue(rows, i, 1));
	}
}

/* --- the reset --- */

/* DISCARD ALL would drop our own prepared statements with the others. The role comes after the session's user, which
 * takes it along; settings go back to what the session was opened with. */
static const char discard_sequences[] = "discard sequences";
static const char *const commands[] = {
	discard_sequences, "reset session authorization", "reset role", "reset all", "unlisten *", "close all",
	"discard temp",
};

static const char last_command[] =
	"select pg_catalog.pg_advisory_unlock_all(), "
	"(select pg_catalog.count(*) from pg_catalog.pg_prepared_statement() where from_sql)";

static void put_reset(struct pg_connection *conn, struct pg_call *call)
{
	const struct pg_source *source = conn->client->source;
	size_t count = conn->left == PG_LEAVES_SEQUENCES ? 1 : ARRAY_SIZE(commands);

	for (size_t i = 0; i < count; i++)
		pg_pipeline_command(conn, call, commands[i]);
	/* If this could not be an option of the session it was set when that had begun. */
	if (source->prepare && pg_target_looks_at_default(source->conninfo->target))
		pg_pipeline_command(conn, call, "set default_transaction_read_only = on");
	pg_pipeline_reset_end(conn, call, conn->left == PG_LEAVES_SEQUENCES ? "" : last_command);
}

/* May st look at what sequences gave to others? */
static bool may_look(const struct pg_connection *conn, const struct pg_statement *st)
{
	int64_t now = loop_now_us(conn->client->loop);

	return !pg_statement_is_judged(st, now) || st->looks || st->leaving >= PG_LEAVES_SETTINGS;
}

void pg_leaving_prepare(struct pg_connection *conn, const struct pg_statement *st)
{
	if (conn->moved && (!st || may_look(conn, st)))
		pg_pipeline_reset_end(conn, NULL, discard_sequences);
}

bool pg_leaving_tidy(struct pg_connection *conn)
{
	conn->retired |= conn->left == PG_LEAVES_MORE;
	if (conn->retired || conn->ending || conn->client->closing)
		return false;
	if (conn->left == PG_LEAVES_SEQUENCES && conn->client->source->prepare) {
		conn->left = PG_LEAVES_NOTHING;
		conn->moved = true;
	}
	if (conn->left == PG_LEAVES_NOTHING)
		return conn->judge && judge_next(conn);
	put_reset(conn, NULL);
	return true;
}

void pg_leaving_tidy_within(struct pg_connection *conn, struct pg_call *call)
{
	if (conn->client->source->prepare || conn->left == PG_LEAVES_NOTHING)
		return;
	/* Triggers that wait for COMMIT leave things, too. */
	pg_pipeline_command(conn, call, "set constraints all immediate");
	put_reset(conn, call);
}

void pg_leaving_reset_done(struct pg_connection *conn, const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	bool prepared = status == PGRES_TUPLES_OK && strcmp(PQgetvalue(result, 0, 1), "0") != 0;

	if (status == PGRES_COMMAND_OK)
		conn->moved = false;
	if (status != PGRES_TUPLES_OK && status != PGRES_EMPTY_QUERY)
		return;
	conn->moved = false;
	/* What was prepared in SQL may have a name that somebody else wants. */
	if (prepared || conn->left == PG_LEAVES_MORE)
		conn->left = PG_LEAVES_MORE;
	else
		conn->left = PG_LEAVES_NOTHING;
}

/* The keys and actions of postgres sources. */
#include "drivers/postgres/keys.h"

#include <string.h>

#include "base/utf8.h"
#include "config/rows.h"

/* --- sources --------------------------------------------------------------------------------------------------- */

static const struct key postgres_pool_keys[] = {
	{"size", KEY_INTEGER, INTO(struct config_pool, size), .minimum = 1, .maximum = 10000, .initial = "8",
	 .help = "The most connections of the whole process."},
};
static const struct section section_postgres_pool = {
	.name = "postgres_pool", .what = "pool", SECTION(postgres_pool_keys), .shared = &section_pool};

static const struct key postgres_keys[] = {
	{"postgres", KEY_STRING, .required = true, INTO(struct config_source, url),
	 .help = "The server: postgresql://user@host/database, or libpq's key=value form."},
	PASSWORD,
	{"pool", KEY_SECTION, .section = &section_postgres_pool, .offset = offsetof(struct config_source, pool),
	 .help = "The connections."},
	{"prepare", KEY_BOOL, OWN(struct pg_source_keys, prepare), .initial = "true",
	 .help = "Use prepared statements; false behind a pooler such as pgbouncer."},
};
static const struct section section_postgres = {.name = "postgres",
						.what = "a postgres source",
						SECTION(postgres_keys),
						.shared = &section_source,
						.check = check_source};

/* --- steps ----------------------------------------------------------------------------------------------------- */

#define SQL_FILE_MAX (1u << 20) /* bytes */

/* The place of the byte at offset in a file's text. */
static struct mark place_in(const char *path, const char *text, size_t offset)
{
	struct mark at = {path, 1, 1};
	for (size_t i = 0; i < offset; i++) {
		at.column += ((unsigned char)text[i] & 0xC0) != 0x80;
		if (text[i] == '\n')
			at = (struct mark){path, at.line + 1, 1};
	}
	return at;
}

struct sql_words {
	const char *file;
};

static const struct key sql_keys[] = {
	{"file", KEY_STRING, .required = true, INTO(struct sql_words, file),
	 .help = "A file that holds the statement, relative to the file that names it."},
};
static const struct section section_sql = {.name = "sql_file", .what = "sql", SECTION(sql_keys)};

/* A file's text as a scalar of the tree whose places are those of the file. */
static const struct node *sql_of_file(struct decoder *dc, const struct node *n, const char *file)
{
	const char *path = decode_path(dc, n->at, file);
	size_t len = 0;
	const char *text = read_text_file(dc, n, path, SQL_FILE_MAX, &len);
	size_t mark = text && len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
	struct mark start = {path, 1, 1};

	if (!text)
		return NULL;
	text += mark;
	len -= mark;
	size_t good = utf8_prefix(text, len);
	const char *nul = memchr(text, '\0', len);
	if (nul || good < len)
		decode_error(dc, place_in(path, text, nul && (size_t)(nul - text) < good ? (size_t)(nul - text) : good),
			     "SQL is UTF-8 text without NUL");
	if (text[strspn(text, " \t\r\n")] == '\0' && !nul)
		decode_error(dc, start, "there is no statement in the file");
	struct node *made = arena_zalloc(dc->arena, sizeof(*made));
	*made = (struct node){.kind = NODE_STRING, .at = start, .body_at = start, .verbatim = true};
	made->text = text;
	made->len = len;
	return made;
}

static void decode_sql(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_step *s = object;
	struct sql_words words = {0};

	if (n->kind != NODE_MAPPING || n->refused) {
		decode_is_text(dc, k->name, n);
		return;
	}
	decode_section(dc, &section_sql, k->name, n, &words);
	if (words.file)
		s->action_value = sql_of_file(dc, node_member(n, "file"), words.file);
}

/* clang-format off */
#define SQL                                                                                                            \
	{"sql", KEY_CUSTOM, .decode = decode_sql,                                                                      \
	 .shape = "{\"anyOf\":[{\"type\":\"string\",\"minLength\":1},{\"$ref\":\"#/$defs/sql_file\"}]}",                     \
	 .help = "A statement, or { file: PATH }; references in it become bound parameters."}
/* clang-format on */

/* What a step of a transaction may have. */
static const struct key inner_keys[] = {
	SQL,
	EXPECT_ROWS,
	AFFECTED,
	EACH,
	{"when", KEY_NODE, INTO(struct config_step, when), .kinds = TEXT,
	 .help = "A reference; if it is false, null, 0 or empty the step is skipped and its result is null."},
	{"match", KEY_NODE, INTO(struct config_step, match), .kinds = TEXT,
	 .help = "A reference to the version, also in this step's own result: 412 if the request's If-Match is "
		 "another."},
	{"on_error", KEY_CUSTOM, .decode = decode_on_error,
	 .shape = "{\"anyOf\":[{\"enum\":[\"fail\",\"null\",\"omit\"]},{\"type\":\"null\"},"
		  "{\"$ref\":\"#/$defs/on_error\"}]}",
	 .help = "When it fails: fail the transaction (default), or undo this step alone, and its result is null, "
		 "{ default: X } or left out."},
};
static const struct section section_inner = {.name = "postgres_transaction_step",
					     .what = "a step of a transaction",
					     SECTION(inner_keys),
					     .check = check_step,
					     .shape = ",\"required\":[\"sql\"]"};

static void decode_transaction(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	decode_inner_steps(dc, k->name, n, object, &section_inner, "name: { sql: … }");
}

static const struct key retry_keys[] = {
	{"attempts", KEY_INTEGER, .required = true, INTO(struct pg_step_retry, attempts), .minimum = 1, .maximum = 20,
	 .help = "Attempts in all."},
	{"backoff", KEY_DURATION, INTO(struct pg_step_retry, backoff_us), .minimum = MS, .maximum = SECONDS,
	 .initial = "10ms",
	 .help = "The wait before the second attempt, about; twice as long before each further one, at most 1 s."},
};
static const struct section section_retry = {.name = "postgres_retry", .what = "retry", SECTION(retry_keys)};

static const char *const isolation_words[] = {"read_committed", "repeatable_read", "serializable", NULL};
static const struct key postgres_step_keys[] = {
	SQL,
	EXPECT_ROWS,
	AFFECTED,
	EACH,
	{"write", KEY_BOOL, INTO(struct config_step, write), .help = "The statement writes, in a GET endpoint."},
	{"transaction", KEY_CUSTOM, .decode = decode_transaction,
	 .shape = "{\"type\":\"array\",\"minItems\":1,\"maxItems\":32,\"items\":{\"type\":\"object\","
		  "\"minProperties\":1,\"maxProperties\":1,\"additionalProperties\":{\"$ref\":"
		  "\"#/$defs/postgres_transaction_step\"}}}",
	 .help = "Steps, each with a name, that run in order and are committed together, or not at all."},
	{"isolation", KEY_ENUM, OWN(struct pg_step_keys, isolation), .words = isolation_words,
	 .minimum = PG_DECLARED_COMMITTED,
	 .help = "Of a transaction: read_committed (default), repeatable_read (default of read_only), serializable."},
	{"retry", KEY_SECTION, .section = &section_retry, .own = true, .offset = offsetof(struct pg_step_keys, retry),
	 .help = "Of a transaction: begin it again after serialization failures, deadlocks, and connections that "
		 "broke before COMMIT."},
	{"read_only", KEY_BOOL, OWN(struct pg_step_keys, read_only),
	 .help = "A transaction that only reads: one snapshot; always so in a GET endpoint."},
	LATER("exclusive"),
};
static const struct section section_postgres_step = {
	.name = "postgres_step",
	.what = "a step of a postgres source",
	SECTION(postgres_step_keys),
	.shared = &section_step,
	.check = check_step,
	.stranger = step_stranger,
	.shape = ",\"oneOf\":[{\"required\":[\"sql\"]},{\"required\":[\"transaction\"]}]"};

static const struct action_row actions[] = {
	[PG_STEP_SQL] = {"sql", EXPECT_MANY, .keys = " write affected each expect ", .may_write = true,
			 ALLOW(BIT(EXPECT_MANY) | BIT(EXPECT_ONE) | BIT(EXPECT_MAYBE) | BIT(EXPECT_VALUE) |
			       BIT(EXPECT_NONE))},
	[PG_STEP_TRANSACTION] = {"transaction", EXPECT_MANY, .keys = " write isolation retry read_only ",
				 .may_write = true, .no_rows = true, ALLOW(BIT(EXPECT_MANY))},
};

static void check_postgres_step(struct decoder *dc, const struct node *mapping, struct config_step *s,
				const struct action_row *action)
{
	const struct pg_step_keys *own = s->own;

	if (!action || action != &actions[PG_STEP_TRANSACTION])
		return;
	if (s->write && own->read_only)
		decode_report(dc, mapping, "read_only", "not beside \"write\"");
}

const struct source_kind postgres_kind = {
	.name = "postgres",
	.article = "a",
	.value = "a URL",
	.source = &section_postgres,
	.source_parts = {&section_postgres_pool},
	.source_size = sizeof(struct pg_source_keys),
	.step = &section_postgres_step,
	.step_parts = {&section_sql, &section_inner, &section_retry},
	.step_size = sizeof(struct pg_step_keys),
	.check_step = check_postgres_step,
	.actions = actions,
	.action_count = ARRAY_SIZE(actions),
};

/* A lexer of as much of PostgreSQL's SQL as it takes to tell code from what only looks like it (scan.l of the server:
 * strings with and without escapes, quoted identifiers, dollar quotes, nested comments). A reference is replaced by
 * ` $n ` with blanks around it: `limit{x}` would be an alias, and `{x}5` another parameter. */
#include "drivers/postgres/statements/sql.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "drivers/postgres/statements/single.h"

#define MAX_PARAMETERS 65535

struct lexer {
	const struct node *node;
	struct action_env *env; /* NULL: a handler's text, with $1, $2, … instead of references */
	struct pg_sql *out;
	const char *p, *begin, *end;
	struct buf text;
	int *slots;
	struct reference *references;
	unsigned count, capacity; /* of slots and references */
	struct pg_sql_piece *pieces;
	size_t piece_count, piece_capacity;
	const char *semicolon; /* the statement's end */
	const char *before;    /* the word before this one; NULL: none */
	size_t before_len;
	bool changes;    /* it has a word that only what writes has, or is not a query at all */
	bool calls;      /* it calls functions that may do anything */
	const char *why; /* it failed; a handler's text */
	bool failed;
	struct pg_copy_sql *target; /* NULL: it is no COPY */
	unsigned depth;             /* of parentheses, for target */
};

/* Keywords whose statements would break what the pool relies on. */
#define TRANSACTION "a transaction is begun and ended by gd_pg_transaction and gd_pg_savepoint"
static const struct refusal {
	const char *keyword;
	const char *why;     /* not in a step */
	const char *in_text; /* not in a handler's text; NULL: why */
} refusals[] = {
	{"begin", "a step is a transaction by itself", TRANSACTION},
	{"start", "a step is a transaction by itself", TRANSACTION},
	{"commit", "a step is a transaction by itself", TRANSACTION},
	{"end", "a step is a transaction by itself", TRANSACTION},
	{"abort", "a step is a transaction by itself", TRANSACTION},
	{"rollback", "a step is a transaction by itself", TRANSACTION},
	{"savepoint", "a step is a transaction by itself", TRANSACTION},
	{"release", "a step is a transaction by itself", TRANSACTION},
	{"copy", "COPY needs a stream of its own; select or insert instead", "COPY is for gd_pg_copy and gd_tx_copy"},
	{"prepare", "statements are prepared by the daemon", NULL},
	{"execute", "statements are prepared by the daemon", NULL},
	{"deallocate", "statements are prepared by the daemon", NULL},
	{"discard", "connections are shared by requests", NULL},
	{"set", "connections are shared by requests; set_config(name, value, true) lasts for one statement",
	 "connections are shared by requests; select set_config(name, value, true) lasts for one transaction"},
	{"reset", "connections are shared by requests", NULL},
	{"listen", "connections are shared by requests", "notifications come from gd_pg_listen"},
	{"unlisten", "connections are shared by requests", NULL},
	{"declare", "a cursor does not outlive its step", "rows come one by one from gd_pg_stream and gd_tx_stream"},
};

static const char *const modifying[] = {"insert", "update", "delete", "merge"};
/* Words without which a statement sees no row that is stored. */
static const char *const reading[] = {"from", "join", "using", "update", "delete", "merge", "table"};
static const char *const writing[] = {"insert", "update", "delete", "merge",  "truncate", "create",
				      "alter",  "drop",   "grant",  "revoke", "comment",  "lock"};

/* Statements that do not write by themselves. */
static const char *const querying[] = {"select", "with", "values", "table", "show", "explain"};

/* What may stand before a parenthesis without being a function that may write: keywords, and PostgreSQL's own functions
 * that statements are full of. Any other name is taken for a function that may. */
static const char *const harmless[] = {"abs",
				       "all",
				       "and",
				       "any",
				       "array",
				       "array_agg",
				       "array_length",
				       "as",
				       "avg",
				       "between",
				       "bool_and",
				       "bool_or",
				       "by",
				       "cardinality",
				       "case",
				       "cast",
				       "ceil",
				       "coalesce",
				       "concat",
				       "concat_ws",
				       "count",
				       "cube",
				       "date_trunc",
				       "dense_rank",
				       "distinct",
				       "else",
				       "except",
				       "exists",
				       "extract",
				       "filter",
				       "floor",
				       "format",
				       "from",
				       "generate_series",
				       "greatest",
				       "group",
				       "grouping",
				       "having",
				       "in",
				       "intersect",
				       "interval",
				       "join",
				       "json_agg",
				       "json_array_elements",
				       "json_array_elements_text",
				       "json_build_array",
				       "json_build_object",
				       "json_each",
				       "json_object_agg",
				       "json_populate_record",
				       "json_populate_recordset",
				       "json_to_record",
				       "json_to_recordset",
				       "jsonb_agg",
				       "jsonb_array_elements",
				       "jsonb_array_elements_text",
				       "jsonb_build_array",
				       "jsonb_build_object",
				       "jsonb_each",
				       "jsonb_object_agg",
				       "jsonb_populate_record",
				       "jsonb_populate_recordset",
				       "jsonb_set",
				       "jsonb_to_record",
				       "jsonb_to_recordset",
				       "lag",
				       "lateral",
				       "lead",
				       "least",
				       "left",
				       "length",
				       "like",
				       "limit",
				       "lower",
				       "materialized",
				       "max",
				       "md5",
				       "min",
				       "mod",
				       "not",
				       "now",
				       "nullif",
				       "numeric",
				       "offset",
				       "on",
				       "or",
				       "order",
				       "over",
				       "overlay",
				       "partition",
				       "position",
				       "power",
				       "rank",
				       "replace",
				       "right",
				       "rollup",
				       "round",
				       "row",
				       "row_number",
				       "row_to_json",
				       "select",
				       "sets",
				       "similar",
				       "some",
				       "split_part",
				       "string_agg",
				       "string_to_array",
				       "substr",
				       "substring",
				       "sum",
				       "tablesample",
				       "then",
				       "to_char",
				       "to_date",
				       "to_json",
				       "to_jsonb",
				       "to_number",
				       "to_timestamp",
				       "trim",
				       "trunc",
				       "union",
				       "unnest",
				       "upper",
				       "using",
				       "values",
				       "varchar",
				       "when",
				       "where",
				       "window",
				       "within"};

/* Where `at` of the text stands in the file. */
static struct mark mark_at(const struct lexer *l, const char *at)
{
	return node_mark_at(l->node, (size_t)(at - l->begin));
}

static bool is_word_start(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_word(char c)
{
	return is_word_start(c) || is_digit(c) || c == '$';
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Is `root` something that a reference may begin with? */
static bool is_known_root(const struct lexer *l, const char *root)
{
	static const char *const reserved[] = {"request", "headers", "body", "claims"};
	const struct config_endpoint *e = l->env->endpoint;

	for (size_t i = 0; i < ARRAY_SIZE(reserved); i++) {
		if (strcmp(root, reserved[i]) == 0)
			return true;
	}
	for (size_t i = 0; e && i < e->parameter_count; i++) {
		if (strcmp(root, e->parameters[i].name) == 0)
			return true;
	}
	for (size_t i = 0; e && i < e->step_count; i++) {
		if (strcmp(root, e->steps[i].name) == 0)
			return true;
	}
	return false;
}

/* Did a variable supply what stands at p? A brace of it is not a reference. */
static bool is_supplied(const struct lexer *l, const char *p)
{
	return node_is_supplied(l->node, (size_t)(p - l->begin), 1);
}

/* What stands in [from, to) is not a code: a reference in it would be a surprise. */
static void warn_of_references(const struct lexer *l, const char *from, const char *to, const char *in)
{
	for (const char *p = from; p < to && l->env; p++) {
		struct reference ref;
		const char *why;
		if (*p != '{' || is_supplied(l, p) || !reference_in(&ref, l->env->arena, l->node, p, &why))
			continue;
		if (is_known_root(l, ref.root))
			diagnostics_warning(l->env->diagnostics, mark_at(l, p),
					    "%s stands in %s and is left alone: SQL takes a parameter only where a "
					    "value may stand",
					    ref.text, in);
	}
}

static void fail(struct lexer *l, const char *at, const char *why)
{
	if (l->env)
		diagnostics_error(l->env->diagnostics, mark_at(l, at), "%s", why);
	l->why = why;
	l->failed = true;
	l->p = l->end;
}

/* From here on the text and the scalar differ by another distance than before. */
static void begin_piece(struct lexer *l, bool reference)
{
	mem_reserve(l->pieces, l->piece_capacity, l->piece_count + 1);
	l->pieces[l->piece_count++] = (struct pg_sql_piece){l->text.len, (size_t)(l->p - l->begin), reference};
}

/* Copy [l->p, to) as it is. */
static void copy(struct lexer *l, const char *to, const char *in)
{
	if (in)
		warn_of_references(l, l->p, to, in);
	buf_append(&l->text, l->p, (size_t)(to - l->p));
	l->p = to;
}

static const char *line_end(const struct lexer *l, const char *p)
{
	while (p < l->end && *p != '\n' && *p != '\r')
		p++;
	return p;
}

/* Where a string goes on that was closed before p: behind blanks and comments of the kind that ends with its line, with
 * a newline among them (the server's quotecontinue); NULL: it does not. */
static const char *continuation(const struct lexer *l, const char *p)
{
	bool newline = false;

	for (; p < l->end; p++) {
		if (*p == '-' && p + 1 < l->end && p[1] == '-')
			p = line_end(l, p);
		if (p == l->end || !is_space(*p))
			break;
		newline |= *p == '\n' || *p == '\r';
	}
	return newline && p < l->end && *p == '\'' ? p : NULL;
}

/* Does a parenthesis follow p, with or without blanks before it? */
static bool opens(const struct lexer *l, const char *p)
{
	while (p < l->end && is_space(*p))
		p++;
	return p < l->end && *p == '(';
}

/* 'it''s', "a ""name""", E'it\'s', E'a' on a line, with 'it\'s' on a later one. `from` is where the quote stands. */
static void quoted(struct lexer *l, const char *from, bool escapes)
{
	char quote = *from;
	const char *q = from + 1, *next;

	for (; q < l->end; q++) {
		if (escapes && *q == '\\' && q + 1 < l->end)
			q++;
		else if (*q == quote && q + 1 < l->end && q[1] == quote)
			q++;
		else if (*q == quote && escapes && (next = continuation(l, q + 1)))
			q = next;
		else if (*q == quote)
			break;
	}
	if (q == l->end) {
		fail(l, from, quote == '"' ? "the quoted identifier has no end" : "the string has no end");
		return;
	}
	if (quote == '"')
		l->calls |= opens(l, q + 1);
	copy(l, q + 1, quote == '"' ? "a quoted identifier" : "a string literal");
}

/* $1 */
static void parameter(struct lexer *l)
{
	const char *q = l->p + 1;
	unsigned n = 0;

	if (l->env) {
		fail(l, l->p, "parameters are written as references, {name}, not as $1");
		return;
	}
	for (; q < l->end && is_digit(*q) && n <= MAX_PARAMETERS; q++)
		n = 10 * n + (unsigned)(*q - '0');
	if (n == 0 || n > MAX_PARAMETERS) {
		fail(l, l->p, "parameters are $1, $2, …, at most $65535");
		return;
	}
	l->count = n > l->count ? n : l->count;
	copy(l, q, NULL);
}

/* $tag$ … $tag$, or no dollar quote at all. */
static void dollar(struct lexer *l)
{
	const char *q = l->p + 1;

	if (q < l->end && is_digit(*q)) {
		parameter(l);
		return;
	}
	while (q < l->end && (is_word_start(*q) || (is_digit(*q) && q > l->p + 1)))
		q++;
	if (q == l->end || *q != '$') {
		copy(l, l->p + 1, NULL);
		return;
	}
	size_t tag = (size_t)(q + 1 - l->p);
	const char *close = memmem(q + 1, (size_t)(l->end - q - 1), l->p, tag);
	if (!close)
		fail(l, l->p, "the dollar-quoted string has no end");
	else
		copy(l, close + tag, "a dollar-quoted string");
}

static void block_comment(struct lexer *l)
{
	unsigned depth = 0;
	const char *q = l->p;

	while (q + 1 < l->end) {
		if (q[0] == '/' && q[1] == '*') {
			depth++;
			q += 2;
		} else if (q[0] == '*' && q[1] == '/') {
			q += 2;
			if (--depth == 0) {
				copy(l, q, "a comment");
				return;
			}
		} else {
			q++;
		}
	}
	fail(l, l->p, "the comment has no end");
}

static void line_comment(struct lexer *l)
{
	copy(l, line_end(l, l->p), "a comment");
}

/* The number of the parameter that `slot` is bound to: a new one, or the one that it has already. */
static unsigned parameter_of(struct lexer *l, int slot, const struct reference *ref)
{
	for (unsigned i = 0; i < l->count; i++) {
		if (l->slots[i] == slot)
			return i + 1;
	}
	if (l->count == l->capacity) {
		l->capacity = l->capacity ? 2 * l->capacity : 8;
		l->slots = mem_realloc_array(l->slots, l->capacity, sizeof(*l->slots));
		l->references = mem_realloc_array(l->references, l->capacity, sizeof(*l->references));
	}
	l->slots[l->count] = slot;
	l->references[l->count] = *ref;
	return ++l->count;
}

/* {{ or }} */
static void literal_brace(struct lexer *l)
{
	buf_char(&l->text, *l->p);
	l->p += 2;
	begin_piece(l, false);
}

static void brace(struct lexer *l)
{
	struct reference ref;
	const char *why = NULL;
	const char *at = l->p;

	if (at + 1 < l->end && at[1] == '{' && !is_supplied(l, at + 1)) {
		literal_brace(l);
		return;
	}
	size_t n = reference_in(&ref, l->env->arena, l->node, at, &why);
	if (n == 0) {
		fail(l, at, why ? why : "expected a reference: {name}");
		return;
	}
	int slot = l->env->references->add(l->env->references, &ref);
	if (slot < 0) {
		l->failed = true; /* reported; others may be wrong too */
		l->p += n;
		return;
	}
	if (l->count == MAX_PARAMETERS) {
		fail(l, at, "more than 65535 parameters");
		return;
	}
	begin_piece(l, true);
	buf_printf(&l->text, " $%u ", parameter_of(l, slot, &ref));
	l->p += n;
	begin_piece(l, false);
}

static void closing_brace(struct lexer *l)
{
	if (l->p + 1 < l->end && l->p[1] == '}' && !is_supplied(l, l->p + 1)) {
		literal_brace(l);
		return;
	}
	fail(l, l->p, "a lone }: a reference is written {name}, a literal brace }}");
}

static bool is_named(const char *word, size_t n, const char *name)
{
	return strlen(name) == n && strncasecmp(word, name, n) == 0;
}

/* Something of a COPY that is not a blank: a word of n bytes, or (0) anything else. What follows the first FROM or TO
 * is where the data comes from or goes. */
static void copy_part(struct lexer *l, size_t n)
{
	struct pg_copy_sql *t = l->target;

	if (t->state == PG_COPY_DECIDED) {
		t->plain = false;
	} else if (t->state == PG_COPY_TABLE) {
		bool in = is_named(l->p, n, "from");
		if (l->depth == 0 && (in || is_named(l->p, n, "to"))) {
			t->state = PG_COPY_TARGET;
			t->in = in;
		}
	} else {
		t->state = PG_COPY_DECIDED;
		t->streams = is_named(l->p, n, t->in ? "stdin" : "stdout");
	}
}

static bool is_among(const char *word, size_t n, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (is_named(word, n, names[i]))
			return true;
	}
	return false;
}

/* The n bytes at l->p are a word, or a quoted name. SELECT … FOR UPDATE locks, and changes nothing. */
static void note_effect(struct lexer *l, size_t n)
{
	bool locks = l->before && is_named(l->p, n, "update") &&
		     (is_named(l->before, l->before_len, "for") || is_named(l->before, l->before_len, "key"));
	bool first = !l->before;

	l->changes |= !locks && is_among(l->p, n, modifying, ARRAY_SIZE(modifying));
	l->changes |= is_named(l->p, n, "into");
	l->changes |= first && !is_among(l->p, n, querying, ARRAY_SIZE(querying));
	l->calls |= opens(l, l->p + n) && !is_among(l->p, n, harmless, ARRAY_SIZE(harmless));
	l->before = l->p;
	l->before_len = n;
}

/* An identifier, a keyword, or the prefix of a string. */
static void word(struct lexer *l)
{
	const char *q = l->p;
	while (q < l->end && is_word(*q))
		q++;
	size_t n = (size_t)(q - l->p);
	if (l->target)
		copy_part(l, n);
	note_effect(l, n);
	if (!*l->out->keyword && n < sizeof(l->out->keyword)) {
		for (size_t i = 0; i < n; i++) {
			char c = l->p[i];
			l->out->keyword[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(reading) && !l->out->reads_data; i++)
		l->out->reads_data = is_named(l->p, n, reading[i]);
	if (n == 1 && (*l->p | 0x20) == 'e' && q < l->end && *q == '\'')
		quoted(l, q, true);
	else
		copy(l, q, NULL);
}

static void number(struct lexer *l)
{
	const char *q = l->p;
	while (q < l->end && (is_digit(*q) || *q == '.'))
		q++;
	copy(l, q, NULL);
}

static void token(struct lexer *l)
{
	char c = *l->p;
	char next = l->p + 1 < l->end ? l->p[1] : '\0';
	bool blank = is_space(c) || (c == '-' && next == '-') || (c == '/' && next == '*') || c == ';';

	if (l->target && !blank && !is_word_start(c))
		copy_part(l, 0);
	if (l->semicolon && !blank)
		fail(l, l->p,
		     l->env ? "one statement a step: something follows the semicolon"
			    : "one statement at a time: something follows the semicolon");
	else if (c == '\'' || c == '"')
		quoted(l, l->p, false);
	else if (c == '$')
		dollar(l);
	else if (c == '-' && next == '-')
		line_comment(l);
	else if (c == '/' && next == '*')
		block_comment(l);
	else if (c == '{' && l->env && !is_supplied(l, l->p))
		brace(l);
	else if (c == '}' && l->env && !is_supplied(l, l->p))
		closing_brace(l);
	else if (is_word_start(c))
		word(l);
	else if (is_digit(c))
		number(l);
	else if (c == ';') {
		l->semicolon = l->p;
		buf_char(&l->text, ' ');
		l->p++;
	} else {
		l->depth += c == '(';
		l->depth -= c == ')' && l->depth > 0;
		copy(l, l->p + 1, NULL);
	}
}

static bool one_of(const char *keyword, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(keyword, names[i]) == 0)
			return true;
	}
	return false;
}

static const struct refusal *refusal_of(const char *keyword)
{
	for (size_t i = 0; i < ARRAY_SIZE(refusals); i++) {
		if (strcmp(keyword, refusals[i].keyword) == 0)
			return &refusals[i];
	}
	return NULL;
}

static enum action_effect effect_of(const struct lexer *l)
{
	return l->changes ? ACTION_WRITES : l->calls ? ACTION_MAY_WRITE : ACTION_READS;
}

static void check_keyword(struct lexer *l)
{
	const char *keyword = l->out->keyword;
	const struct refusal *refusal = refusal_of(keyword);

	if (!*keyword)
		fail(l, l->begin, "expected an SQL statement");
	if (refusal) {
		diagnostics_error(l->env->diagnostics, mark_at(l, l->begin), "`%s` is not possible here: %s", keyword,
				  refusal->why);
		l->failed = true;
	}
	if (l->env->read_only && one_of(keyword, writing, ARRAY_SIZE(writing)))
		diagnostics_warning(l->env->diagnostics, mark_at(l, l->begin),
				    "`%s` will fail: the SQL of this step runs read-only; a step that must write says "
				    "`write: true`",
				    keyword);
	l->out->modifies = one_of(keyword, modifying, ARRAY_SIZE(modifying));
	l->out->effect = effect_of(l);
}

static void *keep(struct arena *a, const void *items, size_t count, size_t size)
{
	void *kept = arena_array(a, count + 1, size);

	if (count)
		memcpy(kept, items, count * size);
	return kept;
}

bool pg_sql_parse(struct pg_sql *out, const struct node *n, struct action_env *env)
{
	struct lexer l = {.node = n, .env = env, .out = out};

	*out = (struct pg_sql){.node = n};
	if (!node_is_scalar(n)) {
		diagnostics_error(env->diagnostics, n->at, "expected an SQL statement, found %s", node_kind_name(n));
		return false;
	}
	l.p = l.begin = n->text;
	l.end = n->text + n->len;
	begin_piece(&l, false);
	if (memchr(n->text, '\0', n->len))
		fail(&l, l.begin, "a NUL byte in SQL");
	while (l.p < l.end)
		token(&l);
	if (!l.failed)
		check_keyword(&l);
	if (!l.failed) {
		out->text = arena_strndup(env->arena, l.text.data, l.text.len);
		pg_single_parse(&out->single, out->text);
		out->parameter_count = l.count;
		out->slots = keep(env->arena, l.slots, l.count, sizeof(*l.slots));
		out->references = keep(env->arena, l.references, l.count, sizeof(*l.references));
		out->piece_count = l.piece_count;
		out->pieces = keep(env->arena, l.pieces, l.piece_count, sizeof(*l.pieces));
	}
	buf_done(&l.text);
	free(l.slots);
	free(l.references);
	free(l.pieces);
	return !l.failed;
}

bool pg_sql_scan(struct pg_sql *out, const char *text, size_t len, const char **why)
{
	struct lexer l = {.out = out, .p = text, .begin = text, .end = text + len};
	const struct refusal *refusal;

	*out = (struct pg_sql){0};
	if (memchr(text, '\0', len))
		fail(&l, l.begin, "a NUL byte in SQL");
	while (l.p < l.end)
		token(&l);
	if (!l.failed && !*out->keyword)
		fail(&l, l.begin, "expected an SQL statement");
	if (!l.failed && (refusal = refusal_of(out->keyword)))
		fail(&l, l.begin, refusal->in_text ? refusal->in_text : refusal->why);
	if (!l.failed) {
		out->text = mem_strndup(l.text.data, l.text.len);
		out->parameter_count = l.count;
		pg_single_parse(&out->single, out->text);
		out->modifies = one_of(out->keyword, modifying, ARRAY_SIZE(modifying));
		out->effect = effect_of(&l);
	}
	*why = l.why;
	buf_done(&l.text);
	return !l.failed;
}

bool pg_sql_scan_copy(struct pg_copy_sql *out, const char *text, size_t len, const char **why)
{
	struct pg_sql sql = {0};
	struct lexer l = {.out = &sql, .p = text, .begin = text, .end = text + len, .target = out};

	*out = (struct pg_copy_sql){.plain = true};
	if (memchr(text, '\0', len))
		fail(&l, l.begin, "a NUL byte in SQL");
	while (l.p < l.end)
		token(&l);
	if (!l.failed && (strcmp(sql.keyword, "copy") != 0 || !out->streams))
		fail(&l, l.begin, "expected COPY … FROM STDIN or COPY … TO STDOUT");
	if (!l.failed && l.count > 0)
		fail(&l, l.begin, "COPY takes no parameters");
	if (!l.failed)
		out->text = mem_strndup(l.text.data, l.text.len);
	*why = l.why;
	buf_done(&l.text);
	return !l.failed;
}

/* The byte of the text at that position; the end of the last word where it lies beyond. */
static size_t offset_of(const char *text, size_t position)
{
	size_t at = 0, len = strlen(text);

	for (size_t i = 1; i < position && at < len; i++) {
		do
			at++;
		while (((unsigned char)text[at] & 0xC0) == 0x80);
	}
	if (at == len) {
		while (at > 0 && is_space(text[at - 1]))
			at--;
	}
	return at;
}

struct mark pg_sql_mark(const struct pg_sql *sql, size_t position)
{
	size_t at = position ? offset_of(sql->text, position) : 0;
	size_t i = sql->piece_count;

	while (i > 1 && sql->pieces[i - 1].at > at)
		i--;
	const struct pg_sql_piece *piece = &sql->pieces[i - 1];
	return node_mark_at(sql->node, piece->from + (piece->reference ? 0 : at - piece->at));
}

/* Recognizes
 *
 *     insert into t … values (one row of constants and parameters) …
 *     update [only] t [[as] a] set … where … [a.]column = $n and … [returning …]
 *     delete from [only] t [[as] a] where … [a.]column = $n and … [returning …]
 *
 * and nothing else. A row of VALUES may call functions, and one that returns a set makes several rows of it: so only
 * some of the server's own may stand there, and no operators. RETURNING can't have such functions, and what SET assigns
 * makes no rows. Comments of the kind that has an end, dollar quotes and strings with escapes are not looked through.
 */
#include "drivers/postgres/statements/single.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum kind { END, NAME, QUOTED, STRING, NUMBER, PARAMETER, SYMBOL, STRANGE };

struct token {
	enum kind kind;
	const char *at;
	size_t len;
};

struct scan {
	const char *text, *p;
	struct token now;
	unsigned depth; /* of the parentheses around `now`; an opening one is in them, a closing one is not */
};

/* Functions that return one value, whatever is given to them. */
static const char *const plain[] = {"coalesce", "gen_random_uuid", "greatest", "least", "lower",
				    "now",      "nullif",          "upper"};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool begins_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}

static bool is_in_name(char c)
{
	return begins_name(c) || is_digit(c) || c == '$';
}

static const char *skip_blanks(const char *p)
{
	for (;; p++) {
		if (p[0] == '-' && p[1] == '-')
			p += strcspn(p, "\r\n");
		if (*p != ' ' && !(*p >= '\t' && *p <= '\r'))
			return p;
	}
}

/* Behind the quote that ends what begins at p with one; NULL: there is none. */
static const char *unquote(const char *p)
{
	char quote = *p++;

	for (; *p; p++) {
		if (*p == quote && p[1] == quote)
			p++;
		else if (*p == quote)
			return p + 1;
	}
	return NULL;
}

static enum kind read_token(const char *p, const char **end)
{
	*end = p + 1;
	if (!*p) {
		*end = p;
		return END;
	}
	if (*p == '\'' || *p == '"') {
		*end = unquote(p);
		return !*end ? STRANGE : *p == '"' ? QUOTED : STRING;
	}
	if (begins_name(*p)) {
		while (is_in_name(**end))
			(*end)++;
		/* e'…', b'…', u&'…', u&"…": a prefix. */
		return **end == '\'' || (**end == '&' && ((*p | 0x20) == 'u')) ? STRANGE : NAME;
	}
	if (is_digit(*p) || (*p == '$' && is_digit(p[1]))) {
		while (is_digit(**end))
			(*end)++;
		return is_in_name(**end) || **end == '.' ? STRANGE : *p == '$' ? PARAMETER : NUMBER;
	}
	return *p == '$' || (*p == '/' && p[1] == '*') ? STRANGE : SYMBOL;
}

static void next(struct scan *s)
{
	const char *end;

	if (s->now.kind == SYMBOL && *s->now.at == ')')
		s->depth -= s->depth > 0;
	s->p = skip_blanks(s->p);
	s->now = (struct token){.kind = read_token(s->p, &end), .at = s->p};
	if (s->now.kind == STRANGE) {
		s->p += strlen(s->p);
		return;
	}
	s->now.len = (size_t)(end - s->p);
	s->p = end;
	if (s->now.kind == SYMBOL && *s->now.at == '(')
		s->depth++;
}

static bool is_word(const struct token *t, const char *word)
{
	return t->kind == NAME && strlen(word) == t->len && strncasecmp(t->at, word, t->len) == 0;
}

static bool is_symbol(const struct token *t, char c)
{
	return t->kind == SYMBOL && *t->at == c;
}

/* It is over, or can't be read on. */
static bool is_end(const struct token *t)
{
	return t->kind == END || t->kind == STRANGE;
}

static bool take_word(struct scan *s, const char *word)
{
	if (!is_word(&s->now, word))
		return false;
	next(s);
	return true;
}

static bool is_name(const struct token *t)
{
	return t->kind == NAME || t->kind == QUOTED;
}

/* name or schema.name */
static bool take_table(struct scan *s, struct pg_single *out)
{
	const char *from = s->now.at, *to = from + s->now.len;

	if (!is_name(&s->now))
		return false;
	next(s);
	if (is_symbol(&s->now, '.')) {
		next(s);
		if (!is_name(&s->now))
			return false;
		to = s->now.at + s->now.len;
		next(s);
	}
	out->table = (size_t)(from - s->text);
	out->table_len = (size_t)(to - from);
	return true;
}

/* To behind the parenthesis that closes the one that is `now`. */
static void skip_parentheses(struct scan *s)
{
	unsigned depth = s->depth;

	while (!is_end(&s->now) && !(is_symbol(&s->now, ')') && s->depth == depth))
		next(s);
	next(s);
}

static bool is_plain(const struct token *t)
{
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
		if (is_word(t, plain[i]))
			return true;
	}
	return false;
}

/* The row of VALUES, whose parenthesis is `now`. False: it may be several. */
static bool take_row(struct scan *s)
{
	struct token before = s->now;

	for (next(s); s->depth > 0; next(s)) {
		bool fits = s->now.kind != SYMBOL || strchr("(),:", *s->now.at);
		bool calls = is_symbol(&s->now, '(');
		if (is_end(&s->now) || !fits || (calls && !is_plain(&before)))
			return false;
		before = s->now;
	}
	return true;
}

static bool parse_insert(struct scan *s, struct pg_single *out)
{
	if (!take_word(s, "into") || !take_table(s, out))
		return false;
	if (take_word(s, "as"))
		next(s);
	if (is_symbol(&s->now, '('))
		skip_parentheses(s);
	if (!take_word(s, "values") || !is_symbol(&s->now, '(') || !take_row(s))
		return false;
	return s->now.kind == END || is_word(&s->now, "returning") || is_word(&s->now, "on");
}

/* [a.]column = $n, or a constant: `count` tokens. */
static void take_equality(struct pg_single *out, const char *text, const struct token *t, unsigned count)
{
	if (count == 5 && is_name(t) && is_symbol(&t[1], '.')) {
		t += 2;
		count -= 2;
	}
	bool constant = count == 3 && (t[2].kind == NUMBER || t[2].kind == STRING);
	if (count != 3 || !is_name(t) || !is_symbol(&t[1], '=') || (t[2].kind != PARAMETER && !constant))
		return;
	if (out->column_count == PG_KEY_COLUMNS)
		return;
	unsigned i = out->column_count++;
	out->columns[i].at = (size_t)(t->at - text);
	out->columns[i].len = t->len;
	out->columns[i].parameter = constant ? 0 : (unsigned)strtoul(t[2].at + 1, NULL, 10);
}

/* What binds less than AND, or has an AND of its own. */
static bool is_loose(const struct token *t)
{
	return is_word(t, "or") || is_word(t, "between") || is_word(t, "case") || is_word(t, "current");
}

/* The conditions, from behind WHERE. */
static bool parse_where(struct scan *s, struct pg_single *out)
{
	struct token condition[6];
	unsigned count = 0;

	for (;; next(s)) {
		bool over = s->now.kind == END || (s->depth == 0 && is_word(&s->now, "returning"));
		if (s->now.kind == STRANGE || (s->depth == 0 && is_loose(&s->now)))
			return false;
		if (over || (s->depth == 0 && is_word(&s->now, "and"))) {
			take_equality(out, s->text, condition, count);
			count = 0;
		} else {
			condition[count] = s->now;
			count += count < ARRAY_SIZE(condition) - 1;
		}
		if (over)
			return s->depth == 0 && out->column_count > 0;
	}
}

static bool parse_by_key(struct scan *s, struct pg_single *out, const char *behind)
{
	out->only = take_word(s, "only");
	if (!take_table(s, out))
		return false;
	take_word(s, "as");
	if (is_name(&s->now) && !is_word(&s->now, behind))
		next(s);
	if (!take_word(s, behind))
		return false;
	while (strcmp(behind, "set") == 0 && !(s->depth == 0 && is_word(&s->now, "where"))) {
		if (is_end(&s->now) || (s->depth == 0 && is_word(&s->now, "from")))
			return false;
		next(s);
	}
	if (strcmp(behind, "set") == 0)
		next(s);
	return parse_where(s, out);
}

void pg_single_parse(struct pg_single *out, const char *text)
{
	struct scan s = {.text = text, .p = text};
	bool row = false, key = false;

	*out = (struct pg_single){0};
	next(&s);
	if (take_word(&s, "insert"))
		row = parse_insert(&s, out);
	else if (take_word(&s, "update"))
		key = parse_by_key(&s, out, "set");
	else if (take_word(&s, "delete"))
		key = take_word(&s, "from") && parse_by_key(&s, out, "where");
	if (row)
		out->kind = PG_SINGLE_ROW;
	else if (key)
		out->kind = PG_SINGLE_KEY;
}

/* A table of SQLSTATEs says what a value must be like to be the cause; messages are translated, but what they quote is
 * not. */
#include "drivers/postgres/wire/blame.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/json.h"
#include "base/utf8.h"

static const char *field(const PGresult *failure, int code)
{
	const char *text = PQresultErrorField(failure, code);
	return text ? text : "";
}

/* --- while parameters are read --- */

/* "unnamed portal parameter $1 = '…'", in any language: which it is, or 0. What lists all of them, "unnamed portal with
 * parameters: $1 = …", is of a statement that ran. */
static unsigned parameter_that_was_read(const PGresult *failure)
{
	const char *context = field(failure, PG_DIAG_CONTEXT);

	for (const char *p = context; (p = strchr(p, '$')); p++) {
		const char *end = p + 1 + strspn(p + 1, "0123456789");
		bool alone = *end == '\0' || *end == '\n' || strncmp(end, " = '", 4) == 0;
		bool listed = p - context >= 2 && (memcmp(p - 2, ": ", 2) == 0 || memcmp(p - 2, ", ", 2) == 0);
		if (end > p + 1 && alone && !listed)
			return (unsigned)strtoul(p + 1, NULL, 10);
	}
	return 0;
}

/* --- what a value must be like --- */

struct cause {
	const PGresult *failure;
	const char *text; /* a value of the request; NULL: null */
	bool is_number;
	double number;
};

static bool is_zero(const struct cause *c)
{
	return c->is_number && c->number == 0;
}

static bool is_negative(const struct cause *c)
{
	return c->is_number && c->number < 0;
}

static bool is_not_positive(const struct cause *c)
{
	return c->is_number && c->number <= 0;
}

static bool is_null(const struct cause *c)
{
	return !c->text;
}

static bool is_empty(const struct cause *c)
{
	return c->text && !*c->text;
}

static bool has_pattern(const struct cause *c)
{
	return c->text && strpbrk(c->text, "\\([{*+?");
}

static bool has_escape(const struct cause *c)
{
	return c->text && strchr(c->text, '\\');
}

/* "value too long for type character varying(10)" */
static bool is_too_long(const struct cause *c)
{
	const char *bracket = strrchr(field(c->failure, PG_DIAG_MESSAGE_PRIMARY), '(');
	size_t most = bracket ? strtoul(bracket + 1, NULL, 10) : 0;

	return c->text && utf8_length(c->text, strlen(c->text)) > most;
}

/* "integer out of range"; of numeric the detail says "less than 10^3", or "less than 1". */
static bool is_out_of_range(const struct cause *c)
{
	static const struct {
		const char *type;
		double most;
	} types[] = {{"smallint", 32767}, {"integer", 2147483647}, {"bigint", 9223372036854775807.0}};
	const char *message = field(c->failure, PG_DIAG_MESSAGE_PRIMARY);
	const char *power = strstr(field(c->failure, PG_DIAG_MESSAGE_DETAIL), "10^");

	if (!c->is_number)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (strstr(message, types[i].type))
			return fabs(c->number) > types[i].most;
	/* What is rounded up to it does not fit either. */
	return fabs(c->number) > (power ? pow(10, strtod(power + 3, NULL)) - 1 : 0.5);
}

/* Is it what stands in quotes? An element of an array or a part of a text may be quoted alone; of a plain value the
 * whole is. */
static bool is_quoted(const struct cause *c, const char *quoted, size_t len)
{
	size_t own = c->text ? strlen(c->text) : 0;
	const char *sqlstate = field(c->failure, PG_DIAG_SQLSTATE);
	bool whole = strcmp(sqlstate, "22P02") == 0 || strcmp(sqlstate, "22003") == 0;
	bool compound = own && strchr("{[(", *c->text);

	if (!c->text)
		return false;
	if (own == len && memcmp(c->text, quoted, len) == 0)
		return true;
	return len > 0 && (!whole || compound) && memmem(c->text, own, quoted, len);
}

/* Anything that text quotes, in the quotes of its language. */
static bool stands_quoted(const struct cause *c, const char *text)
{
	static const struct {
		const char *open, *close;
	} quotes[] = {{"\"", "\""}, {"»", "«"}, {"„", "“"}, {"«", "»"}, {"“", "”"}, {"「", "」"}, {"'", "'"}};

	for (size_t i = 0; i < ARRAY_SIZE(quotes); i++) {
		const char *open = strstr(text, quotes[i].open);
		if (!open)
			continue;
		open += strlen(quotes[i].open);
		/* The value may hold quotes itself: to the last one, too. */
		const char *last = NULL;
		for (const char *close = strstr(open, quotes[i].close); close;
		     close = strstr(close + 1, quotes[i].close)) {
			if (!last && is_quoted(c, open, (size_t)(close - open)))
				return true;
			last = close;
		}
		if (last && is_quoted(c, open, (size_t)(last - open)))
			return true;
	}
	return false;
}

/* "JSON data, line 1: …x…": a piece of the text that is no JSON. */
static bool is_that_json(const struct cause *c)
{
	const char *context = field(c->failure, PG_DIAG_CONTEXT);
	const char *piece = strstr(context, ": ");

	if (!c->text || !piece || !strstr(context, "JSON"))
		return false;
	piece += 2;
	if (strncmp(piece, "...", 3) == 0)
		piece += 3;
	size_t len = strcspn(piece, "\n");
	if (len > 3 && strncmp(piece + len - 3, "...", 3) == 0)
		len -= 3;
	return len > 0 && memmem(c->text, strlen(c->text), piece, len);
}

static const struct {
	const char *sqlstate;
	bool (*is_cause)(const struct cause *c);
} causes[] = {
	{"22001", is_too_long},     {"22002", is_null},      {"22003", is_out_of_range}, {"22004", is_null},
	{"22011", is_negative},     {"22012", is_zero},      {"22013", is_negative},     {"22014", is_not_positive},
	{"22016", is_not_positive}, {"22019", has_escape},   {"22023", is_not_positive}, {"22025", has_escape},
	{"2200F", is_empty},        {"2201B", has_pattern},  {"2201E", is_not_positive}, {"2201F", is_not_positive},
	{"2201G", is_not_positive}, {"2201W", is_negative},  {"2201X", is_negative},     {"2202G", is_negative},
	{"2202H", is_negative},     {"22P02", is_that_json}, {"22P05", is_that_json},    {"22P06", has_escape},
};

static bool is_cause(const struct cause *c)
{
	const char *sqlstate = field(c->failure, PG_DIAG_SQLSTATE);

	for (size_t i = 0; i < ARRAY_SIZE(causes); i++)
		if (strcmp(causes[i].sqlstate, sqlstate) == 0 && causes[i].is_cause(c))
			return true;
	return stands_quoted(c, field(c->failure, PG_DIAG_MESSAGE_PRIMARY));
}

/* --- while the statement runs --- */

/* Did a function's own RAISE say it? Then it is about what the function was given. */
static bool is_raised(const PGresult *failure)
{
	return strcmp(field(failure, PG_DIAG_SOURCE_FUNCTION), "exec_stmt_raise") == 0;
}

/* "PL/pgSQL function f() line 1", "SQL function f": in any language, with these letters. */
static bool is_in_function(const PGresult *failure)
{
	const char *context = field(failure, PG_DIAG_CONTEXT);

	return strstr(context, "SQL") || strstr(context, "PL/");
}

bool pg_blames_request(const PGresult *failure, const struct pg_parameters *p, bool reads_data)
{
	unsigned read = parameter_that_was_read(failure);

	if (!p->from_request)
		return false;
	if (read > 0 && read <= p->count)
		return p->theirs[read - 1];
	if (is_raised(failure) || (!reads_data && !is_in_function(failure)))
		return true;
	for (unsigned i = 0; i < p->count; i++) {
		struct cause c = {.failure = failure, .text = p->values[i]};
		if (!p->theirs[i])
			continue;
		c.is_number = c.text && json_is_number(c.text, strlen(c.text));
		c.number = c.is_number ? strtod(c.text, NULL) : 0;
		if (is_cause(&c))
			return true;
	}
	return false;
}

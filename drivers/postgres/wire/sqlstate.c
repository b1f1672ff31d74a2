/* The table of statuses, PostgreSQL's part. The public texts hold nothing of the server's message, which may quote the
 * data of others (but for PTnnn, which a function raises for the client); the log gets the primary message, not its
 * detail, which quotes whole rows. */
#include "drivers/postgres/wire/sqlstate.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/ascii.h"
#include "base/compiler.h"
#include "base/utf8.h"
#include "drivers/postgres/wire/blame.h"

struct meaning {
	const char *prefix; /* of the SQLSTATE; the first row that fits counts */
	int status;
	int errnum;
	enum reason reason; /* REASON_NONE: the status says enough */
};

static const struct meaning meanings[] = {
	{"23505", 409, -EEXIST, REASON_ROW_EXISTS},
	{"23503", 409, -EEXIST, REASON_ROW_REFERRED},
	{"23502", 422, -EINVAL, REASON_VALUE_MISSING},
	{"23514", 422, -EINVAL, REASON_VALUE_BREAKS_RULE},
	{"23", 422, -EINVAL, REASON_DATA_BREAKS_RULE},
	{"21000", 422, -EINVAL, REASON_DATA_TWICE},
	{"22", 500, -EINVAL, REASON_NONE}, /* 400 if it is about a value of the request */
	{"P0001", 422, -EINVAL, REASON_RULE_REFUSES},
	{"40001", 503, -EAGAIN, REASON_CONFLICT},
	{"40P01", 503, -EAGAIN, REASON_CONFLICT},
	{"40003", 502, -EIO, REASON_NONE},
	{"40", 503, -EAGAIN, REASON_NONE},
	{"57014", 504, -ETIMEDOUT, REASON_SLOW},
	{"57P", 503, -ECONNREFUSED, REASON_UNAVAILABLE},
	{"53", 503, -ECONNREFUSED, REASON_OVERLOADED},
	{"55P03", 503, -EAGAIN, REASON_LOCKED},
	{"25P03", 504, -ETIMEDOUT, REASON_NONE},
	{"08", 502, -EIO, REASON_NONE},
	{"58", 502, -EIO, REASON_NONE},
	{"XX", 502, -EIO, REASON_NONE},
	{"42501", 500, -EACCES, REASON_NONE},
	{"", 500, -EIO, REASON_NONE},
};

static const struct meaning *meaning_of(const char *sqlstate)
{
	const struct meaning *m = meanings;
	while (strncmp(sqlstate, m->prefix, strlen(m->prefix)) != 0)
		m++;
	return m;
}

const char *pg_sqlstate(const PGresult *result)
{
	const char *s = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	return s && strlen(s) == 5 ? s : "";
}

bool pg_sqlstate_is_uncertain(const PGresult *result)
{
	const char *s = pg_sqlstate(result);
	return !*s || strncmp(s, "08", 2) == 0 || strcmp(s, "40003") == 0;
}

bool pg_sqlstate_ends_connection(const PGresult *result)
{
	const char *s = pg_sqlstate(result);
	return strncmp(s, "57P0", 4) == 0;
}

bool pg_sqlstate_ends_server(const PGresult *result)
{
	return pg_sqlstate_is(result, "57P01") || pg_sqlstate_is(result, "57P02");
}

/* 25006 comes from a statement. BEGIN itself fails where a standby is asked for a transaction that writes, or for a
 * serializable one: 0A000, from the checks of settings; and what was to follow it finds no transaction, 25P01. */
bool pg_sqlstate_refuses_writes(const PGresult *result)
{
	const char *function = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);

	if (pg_sqlstate_is(result, "25006") || pg_sqlstate_is(result, "25P01"))
		return true;
	return pg_sqlstate_is(result, "0A000") && function &&
	       (strcmp(function, "call_bool_check_hook") == 0 || strcmp(function, "call_enum_check_hook") == 0);
}

/* "step orders of source shop", for the log. */
int pg_error_at(struct error *e, int errnum, int status, const char *public_text, const struct pg_place *place,
		const char *why)
{
	if (place->call)
		return error_set(e, errnum, status, public_text, "%s, source %s: %s", place->call, place->source, why);
	if (place->step)
		return error_set(e, errnum, status, public_text, "step %s, source %s: %s", place->step, place->source,
				 why);
	return error_set(e, errnum, status, public_text, "source %s: %s", place->source, why);
}

int pg_error_broken(struct error *e, const struct pg_place *place, const char *why)
{
	return pg_error_at(e, -EIO, 502, reason_text(REASON_BROKEN), place, why);
}

int pg_error_called(struct error *e, const struct pg_place *place)
{
	char what[sizeof(e->what)];
	const char *whose = place->call ? place->call : place->step;

	if (whose && (!place->call || strncmp(e->what, whose, strlen(whose)) != 0)) {
		memcpy(what, e->what, sizeof(what));
		snprintf(e->what, sizeof(e->what), "%s%.60s, %.300s", place->call ? "" : "step ", whose, what);
	}
	return e->errnum;
}

/* SQLSTATE PT404: the function that raised it says the status, and its message is for the client, as with PostgREST.
 * Returns the status, 400 to 599; 0: it is another SQLSTATE. */
static int raised_status(const char *sqlstate)
{
	const char *digits = sqlstate + 2;

	if (strncmp(sqlstate, "PT", 2) != 0 || (*digits != '4' && *digits != '5') || !ascii_is_digit(digits[1]) ||
	    !ascii_is_digit(digits[2]))
		return 0;
	return (digits[0] - '0') * 100 + (digits[1] - '0') * 10 + digits[2] - '0';
}

static int raised(struct error *e, int status, const PGresult *result, const struct pg_place *place)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	int errnum = status == 404 ? -ENOENT : status < 500 ? -EINVAL : -EIO;
	char text[sizeof(e->public)];
	size_t len = utf8_prefix(message ? message : "", message ? strnlen(message, sizeof(text) - 1) : 0);

	snprintf(text, sizeof(text), "%.*s", (int)len, message ? message : "");
	return pg_error_at(e, errnum, status, text, place, *text ? text : "no message");
}

/* A data exception quotes the value that it is about. What a client sent, perhaps a password in the wrong place, is not
 * for the log: everything from the first quote to the last is left out. */
static const char *without_value(char *out, size_t size, const char *message)
{
	const char *first = strchr(message, '"');
	const char *last = strrchr(message, '"');

	if (!first || first == last)
		return message;
	snprintf(out, size, "%.*s\"…%s", (int)(first - message), message, last);
	return out;
}

int pg_error_from_result(struct error *e, const PGresult *result, const struct pg_place *place)
{
	const char *sqlstate = pg_sqlstate(result);
	const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	char shortened[256], advised[384];

	if (!*sqlstate)
		return pg_error_broken(e, place, primary ? primary : "the connection broke");
	int status = raised_status(sqlstate);
	if (status) {
		int r = raised(e, status, result, place);
		if (e)
			memcpy(e->code, sqlstate, sizeof("00000"));
		return r;
	}
	const struct meaning *m = meaning_of(sqlstate);
	status = m->status;
	const char *public_text = reason_text(m->reason);
	int errnum = m->errnum;
	bool data = place->from_request && strncmp(sqlstate, "22", 2) == 0;
	if (data && primary)
		primary = without_value(shortened, sizeof(shortened), primary);
	if (data && (!place->parameters || pg_blames_request(result, place->parameters, place->reads_data))) {
		status = 400;
		public_text = reason_text(REASON_PARAMETER_UNFIT);
	} else if (!place->read_only && pg_sqlstate_refuses_writes(result)) {
		status = 503;
		errnum = -EROFS;
		public_text = reason_text(REASON_TAKES_NO_WRITES);
	} else if (place->advice && strcmp(sqlstate, "25006") == 0) {
		snprintf(advised, sizeof(advised), "%s: %s", primary ? primary : "the statement writes", place->advice);
		primary = advised;
	}
	int r = pg_error_at(e, errnum, status, public_text, place, primary ? primary : "no message");
	if (e)
		memcpy(e->code, sqlstate, sizeof("00000"));
	return r;
}

/* What an error of the server means for the client: a table from SQLSTATE to HTTP status. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "base/error.h"

struct pg_parameters;

/* Where an error happened: for what the log says. */
struct pg_place {
	const char *source;
	const char *step;                       /* NULL: no step in particular */
	const char *call;                       /* a handler's: the public function; NULL: none */
	bool from_request;                      /* the request supplied a value: data exceptions may be its fault */
	bool reads_data;                        /* the statement may read what is stored */
	const struct pg_parameters *parameters; /* which values it supplied; NULL: all that the server reads */
	bool read_only;                         /* the step was not meant to write */
	const char *advice;                     /* to who writes where nothing may be written; NULL: none */
};

/* Fill e from an error result. An error without SQLSTATE (libpq's own) is a broken connection. Returns e->errnum. */
int pg_error_from_result(struct error *e, const PGresult *result, const struct pg_place *place);
/* Any failure: why, with its place before it. Returns errnum. */
int pg_error_at(struct error *e, int errnum, int status, const char *public_text, const struct pg_place *place,
		const char *why);
/* A failure of the pool's or of learning, which does not know for whom it was: say it. Returns e->errnum. */
int pg_error_called(struct error *e, const struct pg_place *place);
/* The connection broke before the answer was complete. */
int pg_error_broken(struct error *e, const struct pg_place *place, const char *why);

static inline bool pg_failed(const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	return result && (status == PGRES_FATAL_ERROR || status == PGRES_BAD_RESPONSE);
}

/* The SQLSTATE of a result, or "". */
const char *pg_sqlstate(const PGresult *result);
static inline bool pg_sqlstate_is(const PGresult *result, const char *sqlstate)
{
	const char *s = pg_sqlstate(result);
	return s[0] == sqlstate[0] && s[1] == sqlstate[1] && s[2] == sqlstate[2] && s[3] == sqlstate[3] &&
	       s[4] == sqlstate[4];
}
/* Does the failure leave open whether what a statement was to change was changed? There is no SQLSTATE, it is a
 * connection's (which a pooler reports), or it says so itself. */
bool pg_sqlstate_is_uncertain(const PGresult *result);
/* Does the error say that the server ends this connection (57P0x)? */
bool pg_sqlstate_ends_connection(const PGresult *result);
/* … and all others: it stops, or it crashed? */
bool pg_sqlstate_ends_server(const PGresult *result);
/* Of what was meant to write: does the error say that this server takes no writes, since it is not a primary, or no
 * longer one? */
bool pg_sqlstate_refuses_writes(const PGresult *result);

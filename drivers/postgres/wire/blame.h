/* Whose value a data exception (SQLSTATE 22xxx) is about: the request's, which is its fault (400), or one that is
 * stored or that the configuration supplied, which is not (500).
 *
 * The server does not say it. It says so where it reads a parameter. While a statement runs, the failure is the
 * request's if the statement reads nothing that is stored; else only if a value of the request can be shown to be the
 * one: the message quotes it, or it alone would do it, as a zero does for a division. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "drivers/postgres/types/bind.h"

/* failure is of SQLSTATE 22xxx, of a statement that was run with p; reads_data: it may read what is stored. */
bool pg_blames_request(const PGresult *failure, const struct pg_parameters *p, bool reads_data);

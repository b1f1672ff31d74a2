/* The words of what is counted of steps. */
#include "handlers/gather/numbers.h"

const struct tally_kind step_tally = {sizeof(struct step_numbers), NULL};

const char *const step_failure_names[STEP_FAILURES] = {
	[STEP_NOT_FOUND] = "not_found",   [STEP_CONFLICT] = "conflict",       [STEP_INVALID] = "invalid",
	[STEP_BAD_ANSWER] = "bad_answer", [STEP_UNAVAILABLE] = "unavailable", [STEP_TIMEOUT] = "timeout",
	[STEP_ERROR] = "error",
};

const char *const step_substitute_names[ON_ERROR_STALE + 1] = {
	[ON_ERROR_FAIL] = NULL,   [ON_ERROR_NULL] = "null",   [ON_ERROR_DEFAULT] = "default",
	[ON_ERROR_OMIT] = "omit", [ON_ERROR_STALE] = "stale",
};

enum step_failure step_failure_of(int status)
{
	switch (status) {
	case 404:
		return STEP_NOT_FOUND;
	case 409:
	case 412:
		return STEP_CONFLICT;
	case 502:
		return STEP_BAD_ANSWER;
	case 503:
		return STEP_UNAVAILABLE;
	case 504:
		return STEP_TIMEOUT;
	default:
		return status >= 400 && status < 500 ? STEP_INVALID : STEP_ERROR;
	}
}

/* What is counted of a step of an endpoint, by each worker in a block of its own (base/tally.h). */
#pragma once

#include "base/tally.h"
#include "config/config.h"

enum step_failure {
	STEP_NOT_FOUND,   /* 404 */
	STEP_CONFLICT,    /* 409, 412 */
	STEP_INVALID,     /* another 4xx */
	STEP_BAD_ANSWER,  /* 502 */
	STEP_UNAVAILABLE, /* 503 */
	STEP_TIMEOUT,     /* 504 */
	STEP_ERROR,       /* anything else */
	STEP_FAILURES
};
extern const char *const step_failure_names[STEP_FAILURES];
/* By what a failed step was replaced: those of enum on_error that replace it. */
extern const char *const step_substitute_names[ON_ERROR_STALE + 1];

struct step_numbers {
	struct counter runs, us;
	struct counter failures[STEP_FAILURES]; /* also of those that were replaced */
	struct counter replaced[ON_ERROR_STALE + 1];
};
/* By the name of the endpoint, a line break, and the name of the step. */
extern const struct tally_kind step_tally;

enum step_failure step_failure_of(int status);

/* The command line. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

enum command {
	COMMAND_RUN,
	COMMAND_CHECK,
	COMMAND_SCHEMA,
	COMMAND_IDEMPOTENCY_SCHEMA,
	COMMAND_TASKS,
	COMMAND_READY,
	COMMAND_RELOAD,
	COMMAND_STATUS,
	COMMAND_VERSION,
	COMMAND_HELP
};

struct options {
	enum command command;
	const char *config;   /* -c FILE; NULL if the command takes none; tasks: or --admin is given */
	bool connect;         /* check: ask the sources, too */
	const char *admin;    /* tasks: HOST:PORT or unix:/path; NULL: as the configuration says */
	bool once;            /* tasks: print and end */
	const char *interval; /* tasks: as given */
	int64_t interval_us;  /* tasks: between two looks */
	const char *control;  /* the control socket's path; NULL: where it is by default */
	const char *word;     /* ready: on or off */
	bool json;            /* status: as the daemon says it */
	bool force;           /* reload: take sources that do not answer */
	bool check;           /* reload: only say what it would do */
	const char *timeout;  /* reload: as given */
	int64_t timeout_us;   /* reload: for its end */
};

/* Returns 0; or -EINVAL if the command line is wrong, which has been said on stderr. */
int options_parse(struct options *o, int argc, char **argv) must_check;
/* What --help prints. */
extern const char options_help[];

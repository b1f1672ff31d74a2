/* A step's action on a file: compiled when the configuration is loaded. Immutable; any thread. */
#pragma once

#include "drivers/driver.h"
#include "drivers/files/content.h"
#include "drivers/files/keys.h"
#include "drivers/files/path.h"

/* What messages call it. */
struct files_place {
	const char *step;  /* its name; NULL: a handler's call */
	const char *verb;  /* "read" */
	const char *shown; /* the path, as it was declared or given */
};

struct files_action {
	struct files_place place;
	enum files_action_kind kind;
	enum file_as as;
	struct file_path path;
	struct content content; /* ACTION_WRITE, ACTION_APPEND */
	unsigned arg_count;
};

/* "read". Static. */
const char *files_verb(enum files_action_kind kind);
/* NULL if the step is wrong: diagnostics say why. Main thread. */
struct files_action *files_action_new(const struct config_step *step, struct action_env *env);
/* Did the request supply any of args? */
bool files_action_from_request(const struct files_action *a, const struct value *args);

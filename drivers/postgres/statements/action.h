/* Compiling a step's statement. */
#pragma once

#include "drivers/postgres/wire/action.h"

/* A step's: a statement, or a transaction of several. NULL: what is wrong was reported. */
struct pg_action *pg_action_new(const struct config_step *step, struct action_env *env);

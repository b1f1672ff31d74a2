/* What modules run on a worker apart from requests: gd_module_start, gd_module_stop and background tasks. Loop thread,
 * in a task. */
#pragma once

#include "handlers/module/module.h"
#include "handlers/module/scope.h"

/* Suspends. Start every module of m on this worker, one after another; env->background is set. Returns 0, or -errno
 * with e filled: background_stop ends what had begun. */
int background_start(const struct modules *m, struct module_env *env, struct error *e) must_check;
/* Suspends. Cancel the background tasks and wait for their end, let each module stop, close their scopes. Nothing if
 * background_start was not called. */
void background_stop(struct module_env *env);

/* What modules run on a worker apart from requests: gd_module_start, gd_module_stop and background tasks. Loop thread,
 * in a task. */
#pragma once

#include "handlers/module/module.h"
#include "handlers/module/scope.h"

/* A module on a worker: what its start has made, and its background tasks. */
struct module_run;

/* Suspends. Start m on this worker; env is copied. Returns 0 or -errno with e filled; then nothing of it is left. */
int module_run_start(struct module_run **out, const struct module *m, const struct module_env *env,
		     struct error *e) must_check;
/* The configuration is another one: what it calls from now on are the sources and semaphores of env, which are the same
 * ones. */
void module_run_follow(struct module_run *run, const struct module_env *env);
/* Suspends. Cancel the background tasks of all of them and wait for their end, let each module stop, the last one
 * first, close their scopes, and free them. */
void module_runs_stop(struct module_run **runs, size_t count);

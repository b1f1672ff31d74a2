/* The application: what a configuration answers to requests. `struct app` is the process's, compiled once and
 * read-only; `struct service` is a worker's share of it (connections). */
#pragma once

#include <stdbool.h>

#include "async/executor.h"
#include "base/buf.h"
#include "config/config.h"
#include "handlers/web/exchange.h"

struct app;
struct service;

/* Compile every endpoint of c and load its modules; every mistake goes to d. No network. Returns NULL if d->errors
 * is not 0. c must outlive the app. */
struct app *app_compile(const struct config *c, struct diagnostics *d);
/* Make the sources, for that many workers. Returns 0 or -errno with e filled. */
int app_open(struct app *a, struct executor *ex, unsigned workers, struct error *e) must_check;
/* Instead of app_open: connect to every source, all at once, and let each see whether it takes its steps' actions, on
 * a loop of its own; mistakes, and sources that are not there, go to d. Main thread. Returns how many are not there, or
 * -errno. */
int app_check(struct app *a, struct executor *ex, struct diagnostics *d) must_check;
/* From now on /-/ready says 503 (draining). Any thread. */
void app_drain(struct app *a);
/* All services are closed. NULL is allowed. */
void app_free(struct app *a);

/* Suspends: in a task. Starts connecting, which is not waited for, then the modules, which are. Returns 0 or -errno
 * with e filled. */
int service_open(struct service **out, struct app *a, unsigned worker, struct error *e) must_check;
/* Suspends: in a task, after the last request has ended. Ends background tasks, stops the modules, closes all
 * connections. */
void service_close(struct service *s);
/* Answer x: at once, or by exchange_spawn. Called by the daemon for every request that was read. */
void service_handle(struct service *s, struct exchange *x);
/* From now on handlers are told that it drains. */
void service_drain(struct service *s);

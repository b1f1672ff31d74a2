/* A worker's part of the application: what answers its requests, whatever the configuration is at the moment. */
#pragma once

#include <stdbool.h>

#include "handlers/share.h"
#include "handlers/web/exchange.h"

struct service;

/* Without a share: it can't handle anything yet. Loop thread, as all below. */
struct service *service_new(struct shared *shared, unsigned worker);
/* Suspends: in a task. A share of g, for service_commit or share_undo; as share_open. */
int service_open(struct service *s, struct generation *g, const struct share_options *o, struct share **out,
		 struct share_failure *f, struct error *e) must_check;
/* Requests that come from now on are answered by that share. Those that are running go on with theirs. */
void service_commit(struct service *s, struct share *share);
/* Suspends: in a task, after the last request has ended. Ends background tasks, stops the modules, closes all
 * connections. NULL is allowed. */
void service_close(struct service *s);
/* The share of that generation that has not ended; NULL: there is none. */
const struct share *service_share_of(const struct service *s, unsigned generation);
/* Answer x: at once, or by exchange_spawn. Called by the daemon for every request that was read. */
void service_handle(struct service *s, struct exchange *x);
/* How large a body may be for what that method and path (raw, with its query) lead to. */
size_t service_body_limit(const struct service *s, const char *method, size_t method_len, const char *target,
			  size_t target_len);
/* From now on handlers are told that it drains. */
void service_drain(struct service *s);

/* What every kind of source is to the rest of gatherd: a table of operations.
 *
 * A source exists once a process (its limits, its configuration) and has a client a worker (its connections). The
 * actions of steps are compiled when the configuration is loaded; running one is a suspending call in a step's task,
 * or, if the driver can, an operation that needs no task (submit). */
#pragma once

#include <stdbool.h>

#include "async/executor.h"
#include "async/operation.h"
#include "base/error.h"
#include "base/value.h"
#include "config/config.h"
#include "config/diagnostics.h"
#include "config/reference.h"
#include "drivers/numbers.h"
#include "drivers/result.h"

struct driver;

/* At the start of a driver's own struct (struct pg_source …), which source_new allocates and fills. */
struct source {
	const struct driver *driver;
	char *name; /* of its config; its own */
	/* That it is made with. Its clients have one each, which follows reloads; from the first on this is for nobody.
	 */
	const struct config_source *config;
};

/* At the start of a driver's own struct (struct pg_client …). */
struct client {
	const struct driver *driver;
	/* Of the source, as it is now. It changes between two turns of a task: nothing that it points to may be kept
	 * over a suspension. Loop thread only. */
	const struct config_source *config;
};

/* A driver's own struct (struct pg_action …) goes by this name; it has nothing that the others know. */
struct action;

/* Where a driver puts the references that it finds in a step: the plan turns each into a slot of `args`. The same
 * reference twice is one slot. Returns the slot, or -1 if the reference was refused (a diagnostic was given). */
struct reference_sink {
	int (*add)(struct reference_sink *sink, const struct reference *ref);
	/* n, which may hold no references, as a value. Returns 0 or -errno: what is wrong was reported. */
	int (*constant)(struct reference_sink *sink, const struct node *n, struct value *out);
};

/* What an action does to its source. */
enum action_effect {
	ACTION_READS,
	ACTION_MAY_WRITE, /* it calls functions that may */
	ACTION_WRITES,
};

struct action_env {
	struct arena *arena; /* lives as long as the configuration: actions are allocated here */
	struct diagnostics *diagnostics;
	struct reference_sink *references;
	const struct config_endpoint *endpoint;
	bool read_only;            /* GET and HEAD endpoints, unless the step says write: true */
	enum action_effect effect; /* set by action_new; ACTION_READS before it */
};

/* A source's circuit breaker in numbers. */
enum { BREAKER_STATES = 3 };
struct breaker_numbers {
	unsigned state;                 /* 0 closed, 1 open, 2 half open */
	uint64_t moves[BREAKER_STATES]; /* to each of them, since the start */
};

struct run_options {
	/* The step's time-out, from when it has its connection (waiting for one is bounded by acquire_timeout); 0:
	 * none. The task's own deadline (task_deadline, every suspending call) holds throughout. Microseconds. */
	int64_t timeout_us;
	struct arena *arena; /* the request's: scratch space that outlives the step */
	/* What HTTP sources pass on; NULL: nothing. */
	const char *request_id, *traceparent, *tracestate;
};

struct driver {
	const struct source_kind *kind; /* its name, its keys and actions in the configuration (config/language.h) */

	/* Check what of a source's configuration only the driver can judge (its URL); reports to d. No network. */
	void (*source_check)(const struct config_source *config, struct diagnostics *d);
	/* Append to out what, beside kind, name, URL and password, makes a source the one that it is: contents of files
	 * that its URL names, keys that hold for connections. A reload carries a source over, connections and all, if
	 * the same bytes come out. Reads files: not on a loop thread. No network. NULL: there is nothing more. */
	void (*source_identity)(const struct config_source *config, struct buf *out);
	/* Append to out what, beside its identity, the results of its actions depend on: a cached one is found again
	 * after a reload if the same bytes come out. No network. NULL: there is nothing more. */
	void (*source_results)(const struct config_source *config, struct buf *out);
	/* Make a source for `workers` workers. No network. Main thread. Returns 0 or -errno with e filled. */
	int (*source_new)(struct source **out, const struct config_source *config, struct executor *executor,
			  unsigned workers, struct error *e);
	/* All its clients are closed. */
	void (*source_free)(struct source *s);
	/* Of all workers: is there a connection that works, or was the last one that was tried fine? Any thread. */
	bool (*source_ready)(struct source *s);
	/* Its configuration changes while it runs, in what is not its identity: limits, time-outs. Its clients go on
	 * with what they have until client_update. Not on a loop thread. NULL: there is nothing of the process to
	 * change. */
	void (*source_update)(struct source *s, const struct config_source *config);

	/* Compile one step's action. NULL if it is wrong; diagnostics say why. No network. */
	struct action *(*action_new)(const struct config_source *config, const struct config_step *step,
				     struct action_env *env);

	/* A worker's share. Starts connecting in the background; does not wait for it. Loop thread. */
	int (*client_open)(struct client **out, struct source *s, struct error *e);
	/* The same for a worker's share, after source_update: c->config becomes config, which lives until the next
	 * client_update or the client's close. Loop thread; does not suspend. NULL: nothing more than that. */
	void (*client_update)(struct client *c, const struct config_source *config);
	/* These actions, of a configuration that serves from now on, are run by c: what it keeps of others that ask the
	 * same goes on with them. Loop thread; does not suspend. NULL: it keeps nothing. */
	void (*client_adopt)(struct client *c, const struct action *const *actions, size_t count);
	/* Suspends. These actions go, and nobody runs them any more: c, which goes on, keeps nothing of them. Loop
	 * thread, in a task. NULL: it never does. */
	void (*client_forget)(struct client *c, const struct action *const *actions, size_t count);
	/* Suspends. Closes every connection; what still waits is refused. Loop thread, in a task. */
	void (*client_close)(struct client *c);
	/* Is nothing taken: no connection in use, nobody waiting? For tests and drain. Loop thread. */
	bool (*client_idle)(const struct client *c);

	/* Suspends. Run the action with args (one value a slot). Returns 0 and *out, which the caller frees; or -errno
	 * with e filled: its status is the HTTP status (table of statuses), e->change what it has left of its changes.
	 * A success with e->change CHANGE_UNKNOWN does not say that the change was made.
	 * `expect` is applied by the driver: 404 for none, 500 for two of `one`. */
	int (*run)(struct client *c, const struct action *action, const struct value *args,
		   const struct run_options *options, struct result **out, struct error *e);

	/* Begin the action without a task of its own: as run, but it does not suspend. Returns 0 with *out, an
	 * operation in options->arena that the caller waits for and then collects, or cancels; args live until then. Or
	 * 0 with *out NULL: nothing was done, and only `run` can. Or -errno with e filled: it has failed. The caller's
	 * deadline holds for the operation. NULL: the kind has none. */
	int (*submit)(struct client *c, const struct action *action, const struct value *args,
		      const struct run_options *options, struct operation **out, struct error *e);
	/* What op, which has completed, has brought: as run, but it does not suspend. op is gone; or, if this returns
	 * 1, it can't end without a task: `finish` follows, with e as it is left here, or op is cancelled. */
	int (*collect)(struct operation *op, struct result **out, struct error *e);
	/* Suspends. Go on with it as `run` would have, from there on. As run; op is gone. */
	int (*finish)(struct operation *op, struct result **out, struct error *e);

	/* What the source is like now. Any thread. */
	void (*source_state)(struct source *s, struct source_state *out);
	/* Any thread. False: the source has no breaker. NULL: the kind has none. */
	bool (*source_breaker)(struct source *s, struct breaker_numbers *out);

	/* Suspends. Is the source there, and does it take these actions? Their mistakes go to d, each where it stands.
	 * patience_us bounds the connecting, and each answer. Returns 0, or -errno with e filled: it is not there, and
	 * nothing is known of the actions. Loop thread, in a task. NULL: source_new has seen what there is to see. */
	int (*check)(struct client *c, const struct action *const *actions, size_t count, int64_t patience_us,
		     struct diagnostics *d, struct error *e);
	bool must_be_there; /* a reload takes a new source only if `check` finds it */
};

/* Reloading the configuration while it is served.
 *
 * DESIGN. A reload is one thread that does one step after another and waits for each: read and compile the file, bind
 * what is new of the listeners, open what is new of the sources and start the modules on every worker, ask new sources
 * whether they are there; and then commit: each worker gets one message, after which its requests find the new
 * generation. Up to that message everything can be undone, and is at the first mistake; nothing of what serves was
 * touched, and nothing closed. Meanwhile the main thread goes on feeding the service manager's watchdog.
 *
 * Reloads never overlap: what is asked for while one is under way becomes one more. The old generation lives until its
 * last request has ended (share.h); if there were five of them, what still runs of the oldest is cancelled. Main
 * thread.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "daemon/changes.h"
#include "daemon/worker.h"
#include "handlers/admin/reload.h"

struct reloads {
	const char *path; /* of the configuration */
	struct workers *workers;
	struct listeners *listeners;
	struct generation *serving; /* the thread's while one runs */
	struct fixed_settings fixed;
	bool restart_needed;
	/* One that is under way. */
	bool running;
	pthread_t thread;
	atomic_bool ended, given_up;
	bool asked_by_signal;
	struct list asked; /* who asked for it (handlers/admin/reload.h) */
	struct reload_wish wish;
	struct reload_report *report;
};

/* From now on reloads may be asked for. serving: the first generation, whose reference is taken over. */
void reloads_begin(struct reloads *r, const char *path, struct workers *workers, struct listeners *listeners,
		   struct generation *serving);
/* After each wait of the main thread: finish a reload that has ended, and begin the next one that is asked for. */
void reloads_turn(struct reloads *r);
/* The daemon ends: undo one that is under way, wait for it, and answer everybody who asks. Then r->serving is the
 * caller's. */
void reloads_end(struct reloads *r);

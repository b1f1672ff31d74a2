/* Reloading, for those who ask for it and await what becomes of it.
 *
 * A worker's task asks; the daemon, which knows how to reload, takes what was asked for, one after another. Those who
 * ask for the same before it is taken are answered together. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/deadline.h"
#include "base/list.h"
#include "config/diagnostics.h"

struct reload_wish {
	bool check; /* only say what a reload would do, or refuse; nothing is changed */
	bool force; /* new and changed sources are taken even if they do not answer */
};

/* What became of it. Read-only, any thread. */
struct reload_report {
	unsigned references; /* atomic */
	/* As an exit code: 0; EX_CONFIG (78): the file is wrong; EX_OSERR (71): an address can't be bound;
	 * EX_UNAVAILABLE (69): a source is not there; EX_SOFTWARE (70): a module did not start; EX_TEMPFAIL (75): the
	 * daemon ends. Whatever is not 0 has changed nothing. */
	int code;
	struct diagnostics diagnostics; /* every mistake and warning, sorted, as `check` finds them */
	/* One line, without its end: "generation 7 after 84 ms: 1 source changed (shop: pool.size), 2 endpoints new";
	 * refused: the first mistake with its place. */
	struct buf text;
	unsigned generation; /* that serves now */
	int64_t took_us;
};

struct reload_report *reload_report_new(void);          /* with one reference */
void reload_report_drop(const struct reload_report *r); /* NULL is allowed */

/* Suspends until that reload has ended. Loop thread, in a task. Returns 0 with *out, the caller's to drop, also if it
 * was refused; or -ETIMEDOUT or -ECANCELED: the caller left; one that has begun goes on, another one is dropped. */
int reload_ask(const struct reload_wish *wish, const struct reload_report **out, deadline_t by) must_check;

/* --- the daemon's side; main thread --- */

/* Call wake on any thread whenever there is something to take; NULL: from now on whoever asks, or has asked, is
 * answered that the daemon ends. */
void reload_attend(void (*wake)(void *arg), void *arg);
/* Take all who ask for the same as the first one. The list is initialized here. Returns false if nobody asks. */
bool reload_take(struct list *asked, struct reload_wish *wish) must_check;
/* Answer them; report stays the caller's. */
void reload_answer(struct list *asked, struct reload_report *report);

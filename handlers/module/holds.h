/* What a request, a run of a background task or a module's start has taken and not given back yet. */
#pragma once

#include "base/list.h"
#include "handlers/module/scope.h"

/* Something of which one takes some and gives it back: a semaphore. Embedded in it. */
struct held {
	struct list by; /* of struct hold: who has some, the first to take some first */
	/* One that was never given back comes back. Does not suspend. NULL: it stays taken. */
	void (*take_back)(struct held *h);
};

void held_init(struct held *h, void (*take_back)(struct held *h));
/* It goes: nobody has any of it any more. */
void held_done(struct held *h);

/* A task of s, an outermost scope, has taken one of h. */
void hold_taken(struct gd_scope *s, struct held *h);
/* A task of s, an outermost scope, gives one back, which it, another task of its request or, if those have none,
 * another request has taken. False: nobody has. */
bool hold_given(struct gd_scope *s, struct held *h);
/* s, an outermost one, has ended: what it still has is told in the log, and comes back. */
void holds_end(struct gd_scope *s);

/* In the log: so many of that kind were never given back by the calling task or those before it. s: its scope. */
void hold_tell(const struct gd_scope *s, const char *kind, unsigned count);
/* The end of s has closed what was left open; kind: "cursor". In debug mode. */
void hold_left_open(const struct gd_scope *s, const char *kind);

/* `affected`: how many rows or documents an action must change, or nothing stays changed. Any thread. */
#pragma once

#include "drivers/driver.h"

struct affected {
	bool given;
	int64_t least, most;
	int slot;                          /* of the plan's args: its value is both; -1: they are given */
	const struct reference *reference; /* that the slot is of */
};

/* Compile s->affected, whose reference becomes a slot. Returns 0, or -EINVAL: what is wrong was reported. */
int affected_compile(struct affected *out, const struct config_step *s, struct action_env *env) must_check;
/* The bounds in this run; args: one value a slot. Returns 0, or -EINVAL with e filled: the reference's value is not a
 * count. */
int affected_bounds(const struct affected *a, const struct value *args, int64_t *least, int64_t *most,
		    struct error *e) must_check;
/* May n be changed? Returns 0, or with e filled -ENOENT (404: none would be) or -EMLINK (409: another number), or as
 * affected_bounds. what: "step w, source shop", for the log. */
int affected_check(const struct affected *a, const struct value *args, int64_t n, const char *what,
		   struct error *e) must_check;

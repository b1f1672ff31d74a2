/* The process as the kernel sees it, and what became of its configurations. */
#pragma once

#include "base/counter.h"

struct process_numbers {
	double cpu_seconds; /* of all threads, user and system */
	uint64_t resident_bytes, open_fds, max_fds;
	double start_time; /* seconds since 1970 */
};

/* Main thread, once, before anything is served: the process has started, with its first configuration. */
void process_begin(void);
/* Count the open descriptors: with many of them that takes too long for a loop. Main thread, now and then. */
void process_look(void);
/* Any thread. */
void process_numbers(struct process_numbers *out);

/* Written by the main thread only, but for the beginning. */
struct config_numbers {
	struct counter generation;  /* of the configuration that answers; the first is 1 */
	struct counter generations; /* that are alive */
	struct counter reloads_ok, reloads_refused;
	struct counter last_successful; /* 1; 0: the last reload was refused */
	struct counter last_success_s;  /* seconds since 1970 of the last one that was not, or of the start */
	struct counter restart_needed;  /* 1: something waits for a restart */
};
extern struct config_numbers config_numbers;

/* How many processors this process may use. */
#pragma once

#include "base/compiler.h"

/* Those of its affinity mask (sched_getaffinity(2)), or fewer if a control group bounds its time: a quota of 1.5
 * processors counts as 2. At least 1. Reads files: for the start. */
unsigned cores_usable(void);
/* The same bound by control groups alone: mount is where cgroup2 is mounted, path that of a group below it ("/a/b", as
 * in /proc/self/cgroup). The least quota of the group and of those above it; 0 if there is none. See "cpu.max" in the
 * kernel's Documentation/admin-guide/cgroup-v2.rst. */
unsigned cores_of_group(const char *mount, const char *path);

/* Processors: the affinity mask, and the quotas of control groups. */
#include "base/cores.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

/* The quota of one group in processors, rounded up; 0: it has none. */
static unsigned quota_of(const char *mount, const char *path)
{
	char name[4200];
	unsigned long long quota, period;
	if (snprintf(name, sizeof(name), "%s%s/cpu.max", mount, path) >= (int)sizeof(name))
		return 0;
	FILE *f = fopen(name, "re");
	if (!f)
		return 0;
	/* "150000 100000", or "max 100000" */
	int n = fscanf(f, "%llu %llu", &quota, &period);
	fclose(f);
	if (n != 2 || period == 0)
		return 0;
	unsigned long long cores = quota / period + (quota % period > 0);
	return cores < 1 ? 1 : cores > 4096 ? 4096 : (unsigned)cores;
}

unsigned cores_of_group(const char *mount, const char *path)
{
	char group[4096];
	unsigned least = 0;
	size_t len = strlen(path);
	if (len >= sizeof(group))
		return 0;
	memcpy(group, path, len + 1);
	for (;;) {
		while (len > 0 && group[len - 1] == '/')
			group[--len] = '\0';
		unsigned quota = quota_of(mount, group);
		if (quota > 0 && (least == 0 || quota < least))
			least = quota;
		if (len == 0)
			return least;
		while (len > 0 && group[len - 1] != '/')
			group[--len] = '\0';
	}
}

/* The process's own group: the line "0::/path". In a container it is "/", with the quota of the container. */
static unsigned own_group(void)
{
	char line[4096], *end;
	unsigned cores = 0;
	FILE *f = fopen("/proc/self/cgroup", "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (strncmp(line, "0::/", 4) != 0)
			continue;
		if ((end = strchr(line, '\n')))
			*end = '\0';
		cores = cores_of_group("/sys/fs/cgroup", line + 3);
	}
	fclose(f);
	return cores;
}

unsigned cores_usable(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
	unsigned bound = own_group(), cores = n < 1 ? 1 : (unsigned)n;
	return bound > 0 && bound < cores ? bound : cores;
}

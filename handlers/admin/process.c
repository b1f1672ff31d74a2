/* Asking the kernel about ourselves. */
#include "handlers/admin/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct config_numbers config_numbers;

static struct {
	double start_time;       /* written once */
	struct counter open_fds; /* written by the main thread */
} process;

void process_begin(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	process.start_time = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
	counter_set(&config_numbers.generation, 1);
	counter_set(&config_numbers.generations, 1);
	counter_set(&config_numbers.last_successful, 1);
	counter_set(&config_numbers.last_success_s, (uint64_t)now.tv_sec);
	process_look();
}

void process_look(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint64_t count = 0;
	if (!d)
		return;
	while (readdir(d))
		count++;
	closedir(d);
	counter_set(&process.open_fds, count > 3 ? count - 3 : 0); /* . and .. and this one */
}

static uint64_t resident_bytes(void)
{
	char text[128];
	unsigned long long size = 0, resident = 0;
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	if (sscanf(text, "%llu %llu", &size, &resident) != 2) // NOLINT(cert-err34-c): the kernel's own numbers
		return 0;
	return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

void process_numbers(struct process_numbers *out)
{
	struct rusage usage = {0};
	struct rlimit limit = {0};
	getrusage(RUSAGE_SELF, &usage);
	getrlimit(RLIMIT_NOFILE, &limit);
	*out = (struct process_numbers){
		.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime),
		.resident_bytes = resident_bytes(),
		.open_fds = counter_read(&process.open_fds),
		.max_fds = limit.rlim_cur,
		.start_time = process.start_time,
	};
}

/* The log's writer thread and the rendering of logfmt lines.
 *
 * A loop that wrote its own lines would stall whenever whoever reads stderr does. So appending is a copy under a mutex
 * that is held for that copy only, into a buffer whose size is bounded; one thread takes the buffer every 10 ms and
 * writes it, with the mutex released. A busy server so pays one system call for some hundred lines. */
#include "base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "base/counter.h"
#include "base/deadline.h"
#include "base/log_fields.h"
#include "base/utf8.h"

enum {
	PENDING_MAX_BYTES = 4 * 1024 * 1024, /* beyond it lines are dropped and counted */
	GATHER_MS = 10,                      /* how long lines gather before they are written together */
	STOP_WAIT_S = 2,                     /* how long log_stop waits for a reader that does not read */
};

static const char *const level_names[] = {
	[LOG_LINE_DEBUG] = "debug",
	[LOG_LINE_INFO] = "info",
	[LOG_LINE_WARNING] = "warning",
	[LOG_LINE_ERROR] = "error",
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct buf pending;              /* under lock: not taken by the writer yet */
	uint64_t dropped;                /* under lock: lines, since the last that was written */
	struct counter lost[LOG_LOSSES]; /* written under lock */
	bool running;                    /* under lock: lines go to the writer */
	bool stopping;                   /* under lock */
	pthread_t writer;
	atomic_int least;
} logger = {.lock = PTHREAD_MUTEX_INITIALIZER, .least = LOG_LINE_INFO};

static struct timespec in_us(int64_t us)
{
	int64_t at_us = monotonic_us() + us;
	return (struct timespec){.tv_sec = at_us / 1000000, .tv_nsec = at_us % 1000000 * 1000};
}

static void render_dropped(struct buf *out, uint64_t lines)
{
	char now[32];
	size_t n = log_time(now);
	buf_lit(out, "time=");
	buf_append(out, now, n);
	buf_printf(out, " level=warning msg=\"log lines dropped\" lines=%llu\n", (unsigned long long)lines);
}

/* Until there is something to write or the log ends; repeats whose time is up are written meanwhile. Under the lock. */
static void await_lines(void)
{
	int64_t left_us = 0;
	while (logger.pending.len == 0 && !logger.stopping) {
		if (left_us == 0) {
			pthread_mutex_unlock(&logger.lock);
			left_us = log_output_tick();
			pthread_mutex_lock(&logger.lock);
			continue;
		}
		struct timespec until = in_us(left_us == INT64_MAX ? 3600000000 : left_us);
		if (pthread_cond_timedwait(&logger.changed, &logger.lock, &until) != 0)
			left_us = 0;
	}
}

static void *writer_main(void *arg)
{
	(void)arg;
	struct buf taken = BUF_INIT;

	pthread_mutex_lock(&logger.lock);
	for (;;) {
		await_lines();
		if (logger.pending.len == 0)
			break;
		struct timespec until = in_us(GATHER_MS * 1000);
		while (!logger.stopping && logger.pending.len < PENDING_MAX_BYTES / 2)
			if (pthread_cond_timedwait(&logger.changed, &logger.lock, &until) != 0)
				break;

		struct buf swap = logger.pending;
		logger.pending = taken;
		taken = swap;
		uint64_t dropped = logger.dropped;
		logger.dropped = 0;
		pthread_mutex_unlock(&logger.lock);
		if (dropped > 0)
			render_dropped(&taken, dropped);
		log_output_write(taken.data, taken.len);
		(void)log_output_tick();
		taken.len = 0;
		size_t lost = log_output_lost();
		pthread_mutex_lock(&logger.lock);
		logger.dropped += lost;
		counter_add(&logger.lost[LOG_LOST_JOURNAL], (int64_t)lost);
	}
	pthread_mutex_unlock(&logger.lock);
	log_output_end();
	buf_done(&taken);
	return NULL;
}

void log_start(enum log_severity least, enum log_output output)
{
	log_output_begin(output);
	atomic_store(&logger.least, (int)least);
	pthread_condattr_t attributes;
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&logger.changed, &attributes);
	pthread_condattr_destroy(&attributes);

	pthread_mutex_lock(&logger.lock);
	logger.stopping = false;
	/* Without a thread for it lines are written at once, as before log_start. */
	logger.running = pthread_create(&logger.writer, NULL, writer_main, NULL) == 0;
	if (logger.running)
		pthread_setname_np(logger.writer, "gatherd-log");
	pthread_mutex_unlock(&logger.lock);
}

void log_stop(void)
{
	pthread_mutex_lock(&logger.lock);
	bool was_running = logger.running;
	logger.running = false;
	logger.stopping = true;
	pthread_mutex_unlock(&logger.lock);
	if (!was_running)
		return;
	pthread_cond_signal(&logger.changed);

	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_WAIT_S;
	if (pthread_timedjoin_np(logger.writer, NULL, &until) != 0)
		return; /* it still waits for the reader of stderr, and owns what is left */
	pthread_cond_destroy(&logger.changed);
	buf_done(&logger.pending);
}

uint64_t log_lost(enum log_loss why)
{
	return counter_read(&logger.lost[why]);
}

int log_enabled(enum log_severity severity)
{
	return (int)severity >= atomic_load_explicit(&logger.least, memory_order_relaxed);
}

void log_raw(enum log_severity severity, const char *line, size_t len)
{
	if (!log_enabled(severity) || len == 0)
		return;
	pthread_mutex_lock(&logger.lock);
	if (!logger.running) {
		pthread_mutex_unlock(&logger.lock);
		log_output_stderr(line, len);
		return;
	}
	size_t before = logger.pending.len;
	if (before + len > PENDING_MAX_BYTES) {
		logger.dropped++;
		counter_add(&logger.lost[LOG_LOST_FULL], 1);
	} else {
		buf_append(&logger.pending, line, len);
	}
	/* The writer sleeps while nothing is there, and while lines gather until there are many. */
	bool wake = before == 0 || (before < PENDING_MAX_BYTES / 2 && logger.pending.len >= PENDING_MAX_BYTES / 2);
	pthread_mutex_unlock(&logger.lock);
	if (wake)
		pthread_cond_signal(&logger.changed);
}

void log_line(enum log_severity severity, const char *msg, const char *format, ...)
{
	if (!log_enabled(severity))
		return;
	struct buf line = BUF_INIT;
	log_begin(&line, severity, msg);
	size_t before = line.len;
	buf_char(&line, ' ');
	va_list ap;
	va_start(ap, format);
	buf_vprintf(&line, format, ap);
	va_end(ap);
	if (line.len == before + 1)
		line.len = before;
	buf_char(&line, '\n');
	log_raw(severity, line.data, line.len);
	buf_done(&line);
}

void log_begin(struct buf *line, enum log_severity severity, const char *msg)
{
	char now[32];
	size_t n = log_time(now);
	buf_lit(line, "time=");
	buf_append(line, now, n);
	buf_lit(line, " level=");
	buf_str(line, level_names[severity]);
	buf_lit(line, " msg=");
	logfmt_value(line, msg, strlen(msg));
}

/* What may stand in a logfmt value without quotes. */
static bool is_plain(unsigned char c)
{
	return c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
}

void logfmt_value(struct buf *out, const char *s, size_t len)
{
	size_t plain = 0;
	while (plain < len && is_plain((unsigned char)s[plain]))
		plain++;
	if (plain == len && len > 0 && !log_is_number(s, len)) {
		buf_append(out, s, len);
		return;
	}
	bool text = utf8_valid(s, len); /* else bytes above 0x7f are escaped as well */
	buf_char(out, '"');
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		if (c == '"' || c == '\\') {
			buf_char(out, '\\');
			buf_char(out, (char)c);
		} else if (c == '\n') {
			buf_lit(out, "\\n");
		} else if (c == '\r') {
			buf_lit(out, "\\r");
		} else if (c == '\t') {
			buf_lit(out, "\\t");
		} else if (c < ' ' || c == 0x7f || (c > 0x7f && !text)) {
			buf_printf(out, "\\x%02x", c);
		} else {
			buf_char(out, (char)c);
		}
	}
	buf_char(out, '"');
}

size_t log_time(char *out)
{
	/* The second's text is rendered once a second, not once a line. */
	static _Thread_local time_t cached_second = -1;
	static _Thread_local char cached[24];

	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	if (ts.tv_sec != cached_second) {
		struct tm tm;
		gmtime_r(&ts.tv_sec, &tm);
		strftime(cached, sizeof(cached), "%Y-%m-%dT%H:%M:%S", &tm);
		cached_second = ts.tv_sec;
	}
	unsigned ms = (unsigned)(ts.tv_nsec / 1000000);
	memcpy(out, cached, 19);
	out[19] = '.';
	out[20] = (char)('0' + ms / 100);
	out[21] = (char)('0' + ms / 10 % 10);
	out[22] = (char)('0' + ms % 10);
	out[23] = 'Z';
	out[24] = '\0';
	return 24;
}

/* The outputs of the log. */
#include "base/log_output.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/deadline.h"
#include "base/journal.h"
#include "base/json_out.h"
#include "base/log_fields.h"
#include "base/log_repeat.h"

static struct {
	enum log_output output;
	struct log_repeats repeats;
	struct journal journal;
	struct buf scratch, out;
	struct log_fields fields;
} state = {.journal.fd = -1};

void log_output_stderr(const char *p, size_t n)
{
	while (n > 0) {
		ssize_t written = write(STDERR_FILENO, p, n);
		if (written >= 0) {
			p += written;
			n -= (size_t)written;
		} else if (errno == EAGAIN) {
			struct pollfd full = {.fd = STDERR_FILENO, .events = POLLOUT};
			(void)poll(&full, 1, -1);
		} else if (errno != EINTR) {
			return;
		}
	}
}

/* The keys in the order of the line, numbers as numbers. */
static void render_json(struct buf *out, const struct log_fields *f)
{
	for (size_t i = 0; i < f->count; i++) {
		const struct log_field *each = &f->items[i];
		buf_char(out, i == 0 ? '{' : ',');
		json_string(out, each->key, each->key_len);
		buf_char(out, ':');
		if (each->number)
			buf_append(out, each->value, each->value_len);
		else
			json_string(out, each->value, each->value_len);
	}
	buf_lit(out, "}\n");
}

/* A line of somebody else's: it is the msg. */
static void wrap(struct log_fields *f, const char *line, size_t len)
{
	static const struct log_field level = {.key = "level", .key_len = 5, .value = "info", .value_len = 4};
	f->count = 2;
	f->items[0] = level;
	f->items[1] = (struct log_field){.key = "msg", .key_len = 3, .value = line, .value_len = len};
}

static void write_line(const char *line, size_t len, bool may_hold)
{
	struct log_fields *f = &state.fields;
	bool ours = log_fields_parse(f, line, len, &state.scratch);
	if (!ours)
		wrap(f, line, len);
	else if (may_hold && log_repeats_hold(&state.repeats, f, line, len, monotonic_us()))
		return;
	switch (state.output) {
	case LOG_OUTPUT_LOGFMT:
		buf_append(&state.out, line, len);
		buf_char(&state.out, '\n');
		break;
	case LOG_OUTPUT_JSON:
		render_json(&state.out, f);
		break;
	case LOG_OUTPUT_JOURNAL:
		journal_add(&state.journal, f);
		break;
	}
}

static void write_lines(const char *lines, size_t len, bool may_hold)
{
	for (size_t at = 0; at < len;) {
		const char *end = memchr(lines + at, '\n', len - at);
		size_t n = end ? (size_t)(end - lines) - at : len - at;
		if (n > 0)
			write_line(lines + at, n, may_hold);
		at += n + 1;
	}
}

static void flush(void)
{
	if (state.output == LOG_OUTPUT_JOURNAL)
		journal_flush(&state.journal);
	log_output_stderr(state.out.data, state.out.len);
	state.out.len = 0;
}

void log_output_begin(enum log_output output)
{
	state.output = output;
	journal_init(&state.journal);
}

void log_output_write(const char *lines, size_t len)
{
	write_lines(lines, len, true);
	flush();
}

static void release(bool all)
{
	struct buf lines = BUF_INIT;
	log_repeats_release(&state.repeats, &lines, monotonic_us(), all);
	if (lines.len > 0) {
		write_lines(lines.data, lines.len, false);
		flush();
	}
	buf_done(&lines);
}

int64_t log_output_tick(void)
{
	release(false);
	int64_t due_us = log_repeats_due_us(&state.repeats);
	if (due_us == INT64_MAX)
		return due_us;
	int64_t left_us = due_us - monotonic_us();
	return left_us > 0 ? left_us : 0;
}

size_t log_output_lost(void)
{
	return journal_lost(&state.journal);
}

void log_output_end(void)
{
	release(true);
	log_repeats_done(&state.repeats);
	journal_done(&state.journal);
	buf_done(&state.scratch);
	buf_done(&state.out);
}

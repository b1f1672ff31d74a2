/* Entries for journald. See journal.h. */
#include "base/journal.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/utf8.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

enum { SEND_TIMEOUT_S = 1, NAME_MAX_BYTES = 64 };

bool journal_is_stderr(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t device, inode;
	struct stat st;
	char end;
	return stream && sscanf(stream, "%" SCNuMAX ":%" SCNuMAX "%c", &device, &inode, &end) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

/* --- what an entry says --- */

/* One of these for each kind of event that somebody may wait for (journalctl MESSAGE_ID=…). */
static const struct {
	const char *msg, *id;
} message_ids[] = {
	{"request", "5f0d6f0c1f4b4b0f8c0e3a4f1d2b7a01"}, /* that failed */
	{"source is down", "5f0d6f0c1f4b4b0f8c0e3a4f1d2b7a02"},
	{"source is back", "5f0d6f0c1f4b4b0f8c0e3a4f1d2b7a03"},
	{"breaker", "5f0d6f0c1f4b4b0f8c0e3a4f1d2b7a04"},
	{"a worker does not turn", "5f0d6f0c1f4b4b0f8c0e3a4f1d2b7a07"},
	{"log lines dropped", "5f0d6f0c1f4b4b0f8c0e3a4f1d2b7a08"},
	{"started", "5f0d6f0c1f4b4b0f8c0e3a4f1d2b7a09"},
	{"stopped", "5f0d6f0c1f4b4b0f8c0e3a4f1d2b7a0a"},
};

static bool is(const struct log_field *f, const char *text)
{
	return f && f->value_len == strlen(text) && memcmp(f->value, text, f->value_len) == 0;
}

static int priority(const struct log_fields *f)
{
	const struct log_field *level = log_fields_find(f, "level");
	return is(level, "debug") ? 7 : is(level, "warning") ? 4 : is(level, "error") ? 3 : 6;
}

static void put(struct buf *out, const struct log_field *f)
{
	if (f)
		buf_append(out, f->value, f->value_len);
}

/* "GET /customers/7 200 1.8 ms" */
static void say_request(struct buf *out, const struct log_fields *f)
{
	const struct log_field *ms = log_fields_find(f, "ms"), *error = log_fields_find(f, "error");
	put(out, log_fields_find(f, "method"));
	buf_char(out, ' ');
	put(out, log_fields_find(f, "path"));
	buf_char(out, ' ');
	put(out, log_fields_find(f, "status"));
	if (ms) {
		buf_char(out, ' ');
		put(out, ms);
		buf_lit(out, " ms");
	}
	if (error) {
		buf_lit(out, ": ");
		put(out, error);
	}
}

/* "source shop: can't connect: …", or the msg and the fields that follow it. */
static void say(struct buf *out, const struct log_fields *f)
{
	const struct log_field *msg = log_fields_find(f, "msg"), *source = log_fields_find(f, "source"),
			       *error = log_fields_find(f, "error");
	if (is(msg, "request")) {
		say_request(out, f);
		return;
	}
	if (source) {
		buf_lit(out, "source ");
		put(out, source);
		buf_lit(out, ": ");
	}
	put(out, msg);
	for (const struct log_field *i = msg ? msg + 1 : f->items; i < f->items + f->count && !error; i++) {
		if (i == source)
			continue;
		buf_char(out, ' ');
		buf_append(out, i->key, i->key_len);
		buf_char(out, '=');
		put(out, i);
	}
	if (error) {
		buf_lit(out, ": ");
		put(out, error);
	}
}

/* A text with a line break has its length before it. */
static void put_field(struct buf *out, const char *name, size_t name_len, const char *value, size_t len)
{
	bool cut = len > JOURNAL_VALUE_MAX;
	if (cut)
		len = utf8_prefix(value, JOURNAL_VALUE_MAX - 3);
	buf_append(out, name, name_len);
	if (memchr(value, '\n', len)) {
		uint64_t size = htole64(len + (cut ? 3 : 0));
		buf_char(out, '\n');
		buf_append(out, &size, sizeof(size));
	} else {
		buf_char(out, '=');
	}
	buf_append(out, value, len);
	if (cut)
		buf_lit(out, "…");
	buf_char(out, '\n');
}

/* GATHERD_<KEY>: A to Z, 0 to 9 and _. */
static void put_own(struct buf *out, const struct log_field *f)
{
	char name[NAME_MAX_BYTES] = "GATHERD_";
	size_t n = strlen(name);
	for (size_t i = 0; i < f->key_len && n < sizeof(name); i++) {
		char c = f->key[i];
		if (c >= 'a' && c <= 'z')
			c = (char)(c - 'a' + 'A');
		name[n++] = (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ? c : '_';
	}
	put_field(out, name, n, f->value, f->value_len);
}

static bool failed(const struct log_fields *f)
{
	const struct log_field *status = log_fields_find(f, "status");
	return status && status->value_len == 3 && *status->value == '5';
}

static void put_message_id(struct buf *out, const struct log_fields *f)
{
	const struct log_field *msg = log_fields_find(f, "msg");
	for (size_t i = 0; i < ARRAY_SIZE(message_ids); i++) {
		if (is(msg, message_ids[i].msg) && (i > 0 || failed(f)))
			buf_printf(out, "MESSAGE_ID=%s\n", message_ids[i].id);
	}
}

static void render(struct buf *out, const struct log_fields *f)
{
	struct buf message = BUF_INIT;
	size_t begin = out->len;
	say(&message, f);
	put_field(out, "MESSAGE", strlen("MESSAGE"), message.data ? message.data : "", message.len);
	buf_done(&message);
	buf_printf(out, "PRIORITY=%d\nSYSLOG_IDENTIFIER=gatherd\n", priority(f));
	put_message_id(out, f);
	for (size_t i = 0; i < f->count; i++) {
		const struct log_field *each = &f->items[i];
		if (each->key_len + 16 + (each->value_len < JOURNAL_VALUE_MAX ? each->value_len : JOURNAL_VALUE_MAX) +
			    (out->len - begin) + 64 >
		    JOURNAL_ENTRY_MAX)
			continue;
		put_own(out, each);
	}
}

/* --- sending --- */

void journal_init(struct journal *j)
{
	*j = (struct journal){.fd = -1};
}

static void disconnect(struct journal *j)
{
	if (j->fd >= 0)
		close(j->fd);
	j->fd = -1;
}

void journal_done(struct journal *j)
{
	disconnect(j);
	buf_done(&j->entries);
}

static bool connected(struct journal *j)
{
	static const struct sockaddr_un journal = {.sun_family = AF_UNIX, .sun_path = JOURNAL_SOCKET};
	static const struct timeval timeout = {.tv_sec = SEND_TIMEOUT_S};
	if (j->fd >= 0)
		return true;
	j->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (j->fd >= 0 && setsockopt(j->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) == 0 &&
	    connect(j->fd, (const struct sockaddr *)&journal, sizeof(journal)) == 0)
		return true;
	disconnect(j);
	return false;
}

/* Send the entries from `first` on. Returns how many were taken. */
static size_t send_some(struct journal *j, size_t first)
{
	struct mmsghdr messages[JOURNAL_BATCH] = {0};
	struct iovec parts[JOURNAL_BATCH];
	for (size_t i = first; i < j->count; i++) {
		size_t begin = i > 0 ? j->ends[i - 1] : 0;
		parts[i] = (struct iovec){.iov_base = j->entries.data + begin, .iov_len = j->ends[i] - begin};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
	}
	int sent = sendmmsg(j->fd, &messages[first], (unsigned)(j->count - first), MSG_NOSIGNAL);
	return sent > 0 ? (size_t)sent : 0;
}

void journal_flush(struct journal *j)
{
	size_t sent = 0;
	bool again = true;
	while (sent < j->count) {
		size_t more = connected(j) ? send_some(j, sent) : 0;
		sent += more;
		if (more > 0)
			continue;
		bool restarted = errno == ECONNREFUSED || errno == ENOTCONN || errno == ENOENT;
		disconnect(j);
		if (!again || !restarted)
			break;
		again = false; /* journald was restarted: its socket is another one */
	}
	j->lost += j->count - sent;
	j->count = 0;
	j->entries.len = 0;
}

void journal_add(struct journal *j, const struct log_fields *fields)
{
	render(&j->entries, fields);
	j->ends[j->count++] = j->entries.len;
	if (j->count == JOURNAL_BATCH)
		journal_flush(j);
}

size_t journal_lost(struct journal *j)
{
	size_t lost = j->lost;
	j->lost = 0;
	return lost;
}

/* The head of an HTTP/1 request (RFC 9112), read strictly. */
#include "daemon/head.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "daemon/authority.h"

/* What a byte may be part of. */
enum {
	TOKEN = BIT(0),  /* a method, a field's name */
	TARGET = BIT(1), /* a request target: visible ASCII, no "#" */
	VALUE = BIT(2),  /* a field's value */
};

static const uint8_t byte_class[256] = {
	['\t'] = VALUE,
	[' '] = VALUE,
	['!'] = TOKEN | TARGET | VALUE,
	['"'] = TARGET | VALUE,
	['#'] = TOKEN | VALUE,
	['$' ... '\''] = TOKEN | TARGET | VALUE,
	['(' ... ')'] = TARGET | VALUE,
	['*' ... '+'] = TOKEN | TARGET | VALUE,
	[','] = TARGET | VALUE,
	['-' ... '.'] = TOKEN | TARGET | VALUE,
	['/'] = TARGET | VALUE,
	['0' ... '9'] = TOKEN | TARGET | VALUE,
	[':' ... ';'] = TARGET | VALUE,
	['<'] = TARGET | VALUE,
	['='] = TARGET | VALUE,
	['>' ... '@'] = TARGET | VALUE,
	['A' ... 'Z'] = TOKEN | TARGET | VALUE,
	['['] = TARGET | VALUE,
	['\\'] = TARGET | VALUE,
	[']'] = TARGET | VALUE,
	['^'] = TOKEN | TARGET | VALUE,
	['_'] = TOKEN | TARGET | VALUE,
	['`'] = TOKEN | TARGET | VALUE,
	['a' ... 'z'] = TOKEN | TARGET | VALUE,
	['{'] = TARGET | VALUE,
	['|'] = TOKEN | TARGET | VALUE,
	['}'] = TARGET | VALUE,
	['~'] = TOKEN | TARGET | VALUE,
	[0x80 ... 0xff] = VALUE,
};

/* How many bytes from s are of that class. */
static size_t span_of(const char *s, size_t len, unsigned class)
{
	size_t n = 0;
	while (n < len && (byte_class[(unsigned char)s[n]] & class))
		n++;
	return n;
}

static int refuse(struct head *h, enum reason why)
{
	h->why = why;
	return reason_status(why);
}

void head_init(struct head *h)
{
	*h = (struct head){0};
}

/* --- the request line --- */

static int read_version(struct head *h, const char *s, size_t len)
{
	if (len != 8 || memcmp(s, "HTTP/", 5) != 0 || s[5] < '0' || s[5] > '9' || s[6] != '.' || s[7] < '0' ||
	    s[7] > '9')
		return refuse(h, REASON_HEAD_NO_VERSION);
	if (s[5] != '1' || s[7] > '1')
		return refuse(h, REASON_HEAD_VERSION);
	h->minor = (unsigned)(s[7] - '0');
	return 0;
}

/* The authority of an absolute target ("http://host:port/path"), which stands for Host (RFC 9112, 3.2.2). */
static int check_target(struct head *h, const char *target, size_t len)
{
	static const struct {
		const char *name;
		size_t len;
	} schemes[] = {{"http://", 7}, {"https://", 8}};
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		size_t begin = schemes[i].len, end = begin;
		if (len < begin || strncasecmp(target, schemes[i].name, begin) != 0)
			continue;
		while (end < len && target[end] != '/' && target[end] != '?')
			end++;
		if (!authority_is_valid(target + begin, end - begin))
			return refuse(h, REASON_HEAD_TARGET_HOST);
	}
	return 0;
}

static int read_request_line(struct head *h, const char *base, const char *line, size_t len)
{
	size_t method = span_of(line, len, TOKEN);
	if (method == 0 || method == len || line[method] != ' ')
		return refuse(h, REASON_HEAD_METHOD);
	if (method > HEAD_MAX_METHOD_BYTES)
		return refuse(h, REASON_HEAD_METHOD_LONG);
	const char *target = line + method + 1;
	size_t left = len - method - 1;
	size_t n = span_of(target, left, TARGET);
	h->method_len = method;
	h->target = (size_t)(target - base);
	h->target_len = n;
	if (n == 0 || n == left || target[n] != ' ')
		return refuse(h, REASON_HEAD_TARGET);
	if (n > HEAD_MAX_TARGET_BYTES)
		return refuse(h, REASON_HEAD_TARGET_LONG);
	h->have_request_line = true;
	int r = read_version(h, target + n + 1, left - n - 1);
	return r ? r : check_target(h, target, n);
}

/* --- fields --- */

/* An empty one says that the client has no name for us (RFC 9112, 3.2). */
static int field_host(struct head *h, const char *value, size_t len)
{
	if (++h->hosts > 1)
		return refuse(h, REASON_HEAD_HOSTS);
	if (len > 0 && !authority_is_valid(value, len))
		return refuse(h, REASON_HEAD_HOST);
	return 0;
}

static int field_content_length(struct head *h, const char *value, size_t len)
{
	if (h->has_length)
		return refuse(h, REASON_HEAD_LENGTHS);
	if (len == 0 || len > 18)
		return refuse(h, len == 0 ? REASON_HEAD_LENGTH : REASON_HEAD_LENGTH_LONG);
	for (size_t i = 0; i < len; i++) {
		if (value[i] < '0' || value[i] > '9')
			return refuse(h, REASON_HEAD_LENGTH);
		h->content_length = h->content_length * 10 + (unsigned)(value[i] - '0');
	}
	h->has_length = true;
	return 0;
}

static int field_transfer_encoding(struct head *h, const char *value, size_t len)
{
	if (h->chunked || len != 7 || strncasecmp(value, "chunked", 7) != 0)
		return refuse(h, REASON_HEAD_ENCODING);
	h->chunked = true;
	return 0;
}

/* HTTP/1.0 has no interim replies: there the field is ignored (RFC 9110, 10.1.1), and h2o, which would send one, must
 * not see it. */
static int field_expect(struct head *h, const char *value, size_t len)
{
	if (h->minor == 0) {
		h->cut_line = true;
		return 0;
	}
	if (len != 12 || strncasecmp(value, "100-continue", 12) != 0)
		return refuse(h, REASON_HEAD_EXPECT);
	h->expect_continue = true;
	return 0;
}

/* Bodies are read as they are. */
static int field_content_encoding(struct head *h, const char *value, size_t len)
{
	while (len > 0) {
		size_t n = span_of(value, len, TOKEN);
		bool separator = n == 0 && (*value == ',' || *value == ' ' || *value == '\t');
		if (!separator && !(n == 8 && strncasecmp(value, "identity", 8) == 0))
			return refuse(h, REASON_HEAD_CONTENT_ENCODING);
		n += separator;
		value += n;
		len -= n;
	}
	return 0;
}

static int field_connection(struct head *h, const char *value, size_t len)
{
	/* A list of tokens. */
	while (len > 0) {
		size_t n = span_of(value, len, TOKEN);
		if (n == 5 && strncasecmp(value, "close", 5) == 0)
			h->close = true;
		n += n < len;
		value += n;
		len -= n;
	}
	return 0;
}

static int field_forwarded(struct head *h, const char *value, size_t len)
{
	(void)value;
	(void)len;
	h->forwarded = true;
	return 0;
}

static const struct field {
	const char *name;
	size_t len;
	int (*read)(struct head *h, const char *value, size_t len);
} known_fields[] = {
#define FIELD(name, read)                                                                                              \
	{                                                                                                              \
		name, sizeof(name) - 1, read                                                                           \
	}
	FIELD("host", field_host),
	FIELD("content-length", field_content_length),
	FIELD("transfer-encoding", field_transfer_encoding),
	FIELD("expect", field_expect),
	FIELD("content-encoding", field_content_encoding),
	FIELD("connection", field_connection),
	FIELD("forwarded", field_forwarded),
	FIELD("x-real-ip", field_forwarded),
	FIELD("via", field_forwarded),
#undef FIELD
};

/* -For, -Host, -Proto, -Port, -Server, … */
static const char forwarded_prefix[] = "x-forwarded-";
static const size_t forwarded_len = sizeof(forwarded_prefix) - 1;

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* "value  " becomes "  value": blanks before a value are skipped by everybody, those behind it are not. */
static void move_blanks(char *value, size_t len, size_t trimmed)
{
	memmove(value + (len - trimmed), value, trimmed);
	memset(value, ' ', len - trimmed);
}

static int read_field(struct head *h, char *line, size_t len)
{
	if (++h->fields > HEAD_MAX_FIELDS)
		return refuse(h, REASON_HEAD_FIELDS_MANY);
	if (is_blank(line[0]))
		return refuse(h, REASON_HEAD_FIELD_FOLDED);
	size_t name_len = span_of(line, len, TOKEN);
	if (name_len == 0 || name_len == len || line[name_len] != ':')
		return refuse(h, REASON_HEAD_FIELD_NAME);

	char *value = line + name_len + 1;
	size_t value_len = len - name_len - 1;
	if (span_of(value, value_len, VALUE) != value_len)
		return refuse(h, REASON_HEAD_FIELD_CONTROL);
	size_t trimmed = value_len;
	while (trimmed > 0 && is_blank(value[trimmed - 1]))
		trimmed--;
	if (trimmed < value_len)
		move_blanks(value, value_len, trimmed);
	while (value_len > 0 && is_blank(*value)) {
		value++;
		value_len--;
	}

	if (name_len > forwarded_len && strncasecmp(line, forwarded_prefix, forwarded_len) == 0)
		return field_forwarded(h, value, value_len);
	for (size_t i = 0; i < ARRAY_SIZE(known_fields); i++) {
		const struct field *f = &known_fields[i];
		if (f->len == name_len && strncasecmp(f->name, line, name_len) == 0)
			return f->read(h, value, value_len);
	}
	return 0;
}

/* --- the whole --- */

/* What can only be said of all fields together. */
static int check_fields(struct head *h)
{
	if (h->minor >= 1 && h->hosts == 0)
		return refuse(h, REASON_HEAD_NO_HOST);
	if (h->chunked && h->has_length)
		return refuse(h, REASON_HEAD_LENGTH_AND_ENCODING);
	if (h->chunked && h->minor == 0)
		return refuse(h, REASON_HEAD_ENCODING_IN_1_0);
	return 0;
}

/* Of the fields up to `at`, with what was cut out of them. */
static size_t fields_size(const struct head *h, size_t at)
{
	return at - h->target - h->target_len + h->cut_bytes;
}

/* The line that began at h->line has not ended: refuse what can't become right any more. */
static int check_unfinished(struct head *h, const char *base, size_t len)
{
	size_t line_len = len - h->line;
	if (h->have_request_line) {
		h->scanned = len;
		if (fields_size(h, len) > HEAD_MAX_FIELDS_BYTES)
			return refuse(h, REASON_HEAD_FIELDS_LARGE);
		return -EAGAIN;
	}
	size_t method = span_of(base + h->line, line_len, TOKEN);
	if (method > HEAD_MAX_METHOD_BYTES)
		return refuse(h, REASON_HEAD_METHOD_LONG);
	if (method < line_len && base[h->line + method] != ' ' && !(method == 0 && base[h->line] == '\r'))
		return refuse(h, REASON_HEAD_METHOD);
	if (line_len > HEAD_MAX_TARGET_BYTES + HEAD_MAX_METHOD_BYTES + sizeof(" HTTP/1.1\r"))
		return refuse(h, REASON_HEAD_TARGET_LONG);
	h->scanned = len;
	return -EAGAIN;
}

/* A whole line, without its end. Returns 0: go on; 1: it was the last; or a status. */
static int read_line(struct head *h, char *base, size_t end)
{
	char *line = base + h->line;
	size_t len = end - h->line;
	if (len > 0)
		return h->have_request_line ? read_field(h, line, len) : read_request_line(h, base, line, len);
	if (h->have_request_line)
		return 1;
	if (++h->empty_lines > HEAD_MAX_EMPTY_LINES)
		return refuse(h, REASON_HEAD_EMPTY);
	h->start = end + 2;
	return 0;
}

/* Take the line that ends before `next` out of the head: what stands before it moves up. */
static void cut_line(struct head *h, char *base, size_t next)
{
	size_t len = next - h->line;
	memmove(base + h->start + len, base + h->start, h->line - h->start);
	h->cut_bytes += len;
	h->start += len;
	h->target += len;
	h->cut_line = false;
}

void head_drop_start(struct head *h)
{
	size_t n = h->start;
	h->start = 0;
	h->line -= n;
	h->scanned -= n;
	h->size -= h->size ? n : 0;
	h->target -= h->have_request_line ? n : 0;
}

int head_read(struct head *h, char *base, size_t len)
{
	for (;;) {
		const char *newline = h->scanned < len ? memchr(base + h->scanned, '\n', len - h->scanned) : NULL;
		if (!newline)
			return check_unfinished(h, base, len);
		size_t at = (size_t)(newline - base);
		if (at == h->line || base[at - 1] != '\r')
			return refuse(h, REASON_HEAD_LINE_END);
		int r = read_line(h, base, at - 1);
		if (r > 1)
			return r;
		if (h->cut_line)
			cut_line(h, base, at + 1);
		h->line = h->scanned = at + 1;
		if (h->have_request_line && fields_size(h, h->line) > HEAD_MAX_FIELDS_BYTES)
			return refuse(h, REASON_HEAD_FIELDS_LARGE);
		if (r == 1) {
			h->size = h->line;
			return check_fields(h);
		}
	}
}

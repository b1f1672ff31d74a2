/* Taking logfmt apart. */
#include "base/log_fields.h"

#include <string.h>

#include "base/ascii.h"

static size_t digits(const char *s, size_t len)
{
	size_t n = 0;
	while (n < len && ascii_is_digit(s[n]))
		n++;
	return n;
}

/* RFC 8259, 6; without exponents, which no line of ours has. */
bool log_is_number(const char *s, size_t len)
{
	if (len > 0 && *s == '-')
		s++, len--;
	size_t n = digits(s, len);
	if (n == 0 || (n > 1 && *s == '0'))
		return false;
	if (n == len)
		return true;
	return s[n] == '.' && n + 1 < len && digits(s + n + 1, len - n - 1) == len - n - 1;
}

/* The character that a backslash and the n bytes after it stand for; *used: how many those are. -1: it stays as it is.
 */
static int unescape(const char *s, size_t n, size_t *used)
{
	static const char letters[] = {['n'] = '\n', ['r'] = '\r', ['t'] = '\t', ['"'] = '"', ['\\'] = '\\'};
	unsigned char c = n > 0 ? (unsigned char)*s : 0;
	*used = 1;
	if (c < sizeof(letters) && letters[c])
		return letters[c];
	int high = c == 'x' && n > 2 ? ascii_hex_value(s[1]) : -1, low = high >= 0 ? ascii_hex_value(s[2]) : -1;
	*used = 3;
	/* A byte above 0x7f was no UTF-8: its escape is all that can be shown of it. */
	return high >= 0 && high < 8 && low >= 0 ? high << 4 | low : -1;
}

/* The value in quotes at s, whose first quote is before it. Returns the bytes up to the closing quote; len: there is
 * none. */
static size_t read_quoted(const char *s, size_t len, struct log_field *f, struct buf *scratch)
{
	size_t end = 0, used;
	bool escapes = false;
	for (; end < len && s[end] != '"'; end++) {
		escapes |= s[end] == '\\';
		end += s[end] == '\\' && end + 1 < len;
	}
	f->value = s;
	f->value_len = end < len ? end : len;
	if (!escapes)
		return end;
	size_t begin = scratch->len;
	for (size_t i = 0; i < f->value_len; i++) {
		int c = s[i] == '\\' ? unescape(s + i + 1, f->value_len - i - 1, &used) : -1;
		buf_char(scratch, c >= 0 ? (char)c : s[i]);
		i += c >= 0 ? used : 0;
	}
	f->value = scratch->data + begin;
	f->value_len = scratch->len - begin;
	return end;
}

bool log_fields_parse(struct log_fields *out, const char *line, size_t len, struct buf *scratch)
{
	out->count = 0;
	scratch->len = 0;
	buf_reserve(scratch, len); /* no value grows: it does not move any more */
	for (size_t i = 0; i < len;) {
		struct log_field f = {.key = line + i};
		while (i < len && line[i] != '=' && line[i] != ' ')
			i++;
		f.key_len = (size_t)(line + i - f.key);
		if (f.key_len == 0 || i == len || line[i] != '=')
			return false;
		i++;
		if (i < len && line[i] == '"') {
			i += 1 + read_quoted(line + i + 1, len - i - 1, &f, scratch);
			i += i < len;
		} else {
			f.value = line + i;
			while (i < len && line[i] != ' ')
				i++;
			f.value_len = (size_t)(line + i - f.value);
			f.number = log_is_number(f.value, f.value_len);
		}
		if (i < len && line[i] != ' ')
			return false;
		i++;
		if (out->count < LOG_FIELDS_MAX)
			out->items[out->count++] = f;
	}
	return out->count > 0;
}

const struct log_field *log_fields_find(const struct log_fields *f, const char *key)
{
	for (size_t i = 0; i < f->count; i++) {
		if (strlen(key) == f->items[i].key_len && memcmp(key, f->items[i].key, f->items[i].key_len) == 0)
			return &f->items[i];
	}
	return NULL;
}

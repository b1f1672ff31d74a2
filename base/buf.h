/* A growable run of bytes: where JSON, log lines and SQL parameters are rendered. One thread at a time. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

struct buf {
	char *data;
	size_t len;
	size_t cap;
	size_t limit; /* of len, for who renders much and looks at buf_over; 0: none. Appending goes beyond it */
	bool given_up;
};

#define BUF_INIT ((struct buf){0})

void buf_done(struct buf *b);
/* Has it more than its limit? Then there is no sense in rendering any more. */
static inline bool buf_over(const struct buf *b)
{
	return b->given_up || (b->limit && b->len > b->limit);
}
/* What should come next is too much to be begun: buf_over from now on. */
static inline void buf_give_up(struct buf *b)
{
	b->given_up = true;
}
/* Make room for n more bytes; data may move. */
void buf_reserve(struct buf *b, size_t n);
void buf_printf(struct buf *b, const char *format, ...) printf_like(2, 3);
void buf_vprintf(struct buf *b, const char *format, va_list ap) printf_like(2, 0);
void buf_int(struct buf *b, int64_t n);

static inline void buf_append(struct buf *b, const void *p, size_t n)
{
	if (n == 0)
		return;
	if (b->cap - b->len < n)
		buf_reserve(b, n);
	memcpy(b->data + b->len, p, n);
	b->len += n;
}

static inline void buf_char(struct buf *b, char c)
{
	if (b->cap == b->len)
		buf_reserve(b, 1);
	b->data[b->len++] = c;
}

static inline void buf_str(struct buf *b, const char *s)
{
	buf_append(b, s, strlen(s));
}

/* A string literal, without strlen. */
#define buf_lit(b, s) buf_append((b), "" s, sizeof(s) - 1)

/* The bytes as a C string; the NUL is not counted in len. */
static inline const char *buf_cstr(struct buf *b)
{
	buf_char(b, '\0');
	b->len--;
	return b->data;
}

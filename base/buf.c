/* A growable run of bytes. */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

enum { FIRST_BYTES = 512 };

void buf_done(struct buf *b)
{
	free(b->data);
	*b = BUF_INIT;
}

void buf_reserve(struct buf *b, size_t n)
{
	if (b->cap - b->len >= n)
		return;
	size_t need = b->len + n;
	size_t cap = b->cap ? b->cap : FIRST_BYTES;
	while (cap < need && cap < SIZE_MAX / 2)
		cap *= 2;
	if (need < n || cap < need)
		mem_overflow();
	b->data = mem_realloc(b->data, cap);
	b->cap = cap;
}

void buf_vprintf(struct buf *b, const char *format, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(b->cap > b->len ? b->data + b->len : NULL, b->cap - b->len, format, ap);
	if (n >= 0 && (size_t)n >= b->cap - b->len) {
		buf_reserve(b, (size_t)n + 1);
		n = vsnprintf(b->data + b->len, b->cap - b->len, format, again);
	}
	if (n > 0)
		b->len += (size_t)n;
	va_end(again);
}

void buf_printf(struct buf *b, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	buf_vprintf(b, format, ap);
	va_end(ap);
}

void buf_int(struct buf *b, int64_t n)
{
	char digits[20];
	size_t at = sizeof(digits);
	uint64_t left = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
	do {
		digits[--at] = (char)('0' + left % 10);
		left /= 10;
	} while (left);
	if (n < 0)
		buf_char(b, '-');
	buf_append(b, digits + at, sizeof(digits) - at);
}

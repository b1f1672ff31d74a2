/* Bytes as ASCII, whatever the locale: digits, letters, hexadecimal. Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

static inline bool ascii_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static inline char ascii_upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c & ~0x20) : c;
}

static inline bool ascii_is_letter(char c)
{
	return ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z';
}

/* What a hexadecimal digit of either case stands for; -1: it is none. */
static inline int ascii_hex_value(char c)
{
	if (ascii_is_digit(c))
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The digit, in lower case, of the lowest four bits of n. */
static inline char ascii_hex_digit(uint64_t n)
{
	return "0123456789abcdef"[n & 15];
}

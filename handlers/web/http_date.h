/* Dates as HTTP writes them (RFC 9110, 5.6.7): seconds since 1970. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_DATE_SIZE = 32 };

/* "Sun, 06 Nov 1994 08:49:37 GMT", NUL-terminated. */
void http_date_print(char out[HTTP_DATE_SIZE], int64_t seconds);
/* Any of the three forms that clients may send. False: it is none. */
bool http_date_parse(const char *text, size_t len, int64_t *seconds);

/* How much was read from a socket, whoever read it: libpq holds an unfinished result without saying how large it is,
 * but the kernel counts. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Bytes that were read from fd, a TCP or Unix socket, since some moment that only begin changes; a difference of two
 * below 1 GiB is exact. -1: the kernel does not say. */
int64_t pg_received(int fd, bool begin);

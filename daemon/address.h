/* Addresses of sockets, as the configuration and people write them. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "config/config.h"

struct address {
	struct sockaddr_storage sa;
	socklen_t len;
};

/* A TCP listener's or a Unix socket's. False: the host is not numeric, or the path is too long. */
bool address_make(struct address *a, const struct config_listen *l);
/* What fd is bound to. False: it is not a socket. */
bool address_of_socket(struct address *a, int fd);
bool address_equal(const struct address *a, const struct address *b);
/* 0 for a Unix socket. */
uint16_t address_port(const struct address *a);
/* "127.0.0.1:8080", "[::1]:8080", "unix:/run/x". */
void address_name(const struct address *a, char *out, size_t size);

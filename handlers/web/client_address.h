/* Who the client is: the peer, or, behind proxies that are trusted, whoever they say it is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "config/config.h"
#include "handlers/web/exchange.h"

struct address {
	int family;              /* AF_INET, AF_INET6, AF_UNIX */
	unsigned char bytes[16]; /* in network order; 4 of them, 16, none */
};

/* As proxies write them: 192.0.2.1, 192.0.2.1:4711, 2001:db8::1, [2001:db8::1], [2001:db8::1]:4711; and "unix", a peer
 * on a Unix socket. An IPv4 address that is mapped into IPv6 is an IPv4 address. Returns false for anything else. */
bool address_parse(struct address *out, const char *text, size_t len) must_check;
bool address_within(const struct address *a, const struct config_network *n);

/* The rightmost address of list (X-Forwarded-For) that is not of a trusted proxy: each proxy appends whom it heard, so
 * what stands left of the first stranger may be a lie. `peer` where it is a stranger itself or the list is empty; the
 * leftmost where all are trusted. What is not an address ends the list there. */
struct address client_behind(struct address peer, struct span list, const struct config_network *trusted,
			     size_t trusted_count);

/* Set x->peer to the client's address. Before the reply; loop thread. */
void client_address_set(struct exchange *x, const struct config_server *s);

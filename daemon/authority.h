/* The authority of an http URI without user information (RFC 3986, 3.2): what a Host field and an absolute request
 * target hold. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Is it host [":" port], with a host that is not empty? A host is a name, an IPv4 address or an IP literal in brackets;
 * a port is a number up to 65535 or nothing. */
bool authority_is_valid(const char *s, size_t len);

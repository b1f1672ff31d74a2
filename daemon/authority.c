/* host [":" port], as RFC 3986 spells it. */
#include "daemon/authority.h"

#include <arpa/inet.h>
#include <string.h>

enum { MAX_PORT = 65535 };

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* unreserved or sub-delims */
static bool is_plain(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c && strchr("-._~!$&'()*+,;=", c));
}

/* How many bytes from s are a name; an IPv4 address is spelled as one. */
static size_t name_span(const char *s, size_t len)
{
	size_t n = 0;
	while (n < len) {
		if (is_plain(s[n]))
			n++;
		else if (s[n] == '%' && len - n > 2 && is_hex(s[n + 1]) && is_hex(s[n + 2]))
			n += 3;
		else
			break;
	}
	return n;
}

/* "v" hex digits "." anything plain: addresses that are not known yet. */
static bool is_future_address(const char *s, size_t len)
{
	size_t n = 1;
	while (n < len && is_hex(s[n]))
		n++;
	if (n == 1 || n + 1 >= len || (*s != 'v' && *s != 'V') || s[n] != '.')
		return false;
	for (n++; n < len; n++)
		if (!is_plain(s[n]) && s[n] != ':')
			return false;
	return true;
}

static bool is_ipv6(const char *s, size_t len)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr address;
	if (len == 0 || len >= sizeof(text) || memchr(s, '\0', len))
		return false;
	memcpy(text, s, len);
	text[len] = '\0';
	return inet_pton(AF_INET6, text, &address) == 1;
}

/* How many bytes from s are a host; 0: none. */
static size_t host_span(const char *s, size_t len)
{
	if (len == 0 || *s != '[')
		return name_span(s, len);
	const char *end = memchr(s, ']', len);
	if (!end)
		return 0;
	size_t inner = (size_t)(end - s) - 1;
	return is_ipv6(s + 1, inner) || (inner > 0 && is_future_address(s + 1, inner)) ? inner + 2 : 0;
}

/* ":" and digits, ":" alone, or nothing. */
static bool is_port(const char *s, size_t len)
{
	unsigned port = 0;
	if (len > 0 && *s != ':')
		return false;
	for (size_t i = 1; i < len; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		port = port * 10 + (unsigned)(s[i] - '0');
		if (port > MAX_PORT)
			return false;
	}
	return true;
}

bool authority_is_valid(const char *s, size_t len)
{
	size_t host = host_span(s, len);
	return host > 0 && is_port(s + host, len - host);
}

/* The client's address, read from the right end of X-Forwarded-For. */
#include "handlers/web/client_address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static bool parse_ipv4(struct address *out, const char *text)
{
	*out = (struct address){.family = AF_INET};
	return inet_pton(AF_INET, text, out->bytes) == 1;
}

static bool parse_ipv6(struct address *out, const char *text)
{
	static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
	*out = (struct address){.family = AF_INET6};
	if (inet_pton(AF_INET6, text, out->bytes) != 1)
		return false;
	if (memcmp(out->bytes, mapped, sizeof(mapped)) == 0) {
		out->family = AF_INET;
		memmove(out->bytes, out->bytes + sizeof(mapped), 4);
		memset(out->bytes + 4, 0, sizeof(out->bytes) - 4);
	}
	return true;
}

static bool is_port(const char *s)
{
	return s[0] == ':' && s[1] && strlen(s) <= 6 && strspn(s + 1, "0123456789") == strlen(s + 1);
}

bool address_parse(struct address *out, const char *text, size_t len)
{
	char copy[64];
	if (len == 0 || len >= sizeof(copy) || memchr(text, '\0', len))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (strcmp(copy, "unix") == 0) {
		*out = (struct address){.family = AF_UNIX};
		return true;
	}
	if (copy[0] == '[') {
		char *end = strchr(copy, ']');
		if (!end || (end[1] && !is_port(end + 1)))
			return false;
		*end = '\0';
		return parse_ipv6(out, copy + 1);
	}
	char *colon = strchr(copy, ':');
	if (colon && strchr(copy, '.') && is_port(colon))
		*colon = '\0';
	return strchr(copy, ':') ? parse_ipv6(out, copy) : parse_ipv4(out, copy);
}

bool address_within(const struct address *a, const struct config_network *n)
{
	unsigned whole = n->bits / 8, rest = n->bits % 8;
	if (a->family != n->family || memcmp(a->bytes, n->address, whole) != 0)
		return false;
	return rest == 0 || ((a->bytes[whole] ^ n->address[whole]) & (0xff00u >> rest & 0xffu)) == 0;
}

static bool is_trusted(const struct address *a, const struct config_network *trusted, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (address_within(a, &trusted[i]))
			return true;
	}
	return false;
}

/* Take the last element off a list of a header field. */
static struct span take_last(struct span *list)
{
	const char *end = list->base + list->len, *start = end;
	while (start > list->base && start[-1] != ',')
		start--;
	list->len = start > list->base ? (size_t)(start - 1 - list->base) : 0;
	while (start < end && (*start == ' ' || *start == '\t'))
		start++;
	while (end > start && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return (struct span){start, (size_t)(end - start)};
}

struct address client_behind(struct address peer, struct span list, const struct config_network *trusted,
			     size_t trusted_count)
{
	struct address client = peer, next;
	while (list.len > 0 && is_trusted(&client, trusted, trusted_count)) {
		struct span last = take_last(&list);
		if (last.len == 0)
			continue; /* an empty element of a list counts for nothing */
		if (!address_parse(&next, last.base, last.len) || next.family == AF_UNIX)
			break;
		client = next;
	}
	return client;
}

void client_address_set(struct exchange *x, const struct config_server *s)
{
	struct address peer;
	if (s->trusted_proxy_count == 0 || !address_parse(&peer, x->peer, strlen(x->peer)) ||
	    !is_trusted(&peer, s->trusted_proxies, s->trusted_proxy_count))
		return;
	struct span list = exchange_header_list(x, "x-forwarded-for");
	struct address client = client_behind(peer, list, s->trusted_proxies, s->trusted_proxy_count);
	if (client.family != AF_UNIX)
		inet_ntop(client.family, client.bytes, x->peer, sizeof(x->peer));
}

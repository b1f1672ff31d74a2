/* The proxy of the environment, for sources that ask for it: http_proxy, https_proxy, all_proxy and no_proxy, read when
 * the configuration is loaded. */
#include "drivers/http/proxy.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Is host the name at `entry`, or below it? "*" is everybody. */
static bool covers(const char *entry, size_t len, const char *host)
{
	size_t host_len = strlen(host);

	if (len == 1 && *entry == '*')
		return true;
	if (len > 0 && *entry == '.')
		entry++, len--;
	if (len == 0 || host_len < len || strncasecmp(host + host_len - len, entry, len) != 0)
		return false;
	return host_len == len || host[host_len - len - 1] == '.';
}

static bool is_excepted(const char *list, const char *host)
{
	static const char separators[] = ", \t";

	while (list && *list) {
		size_t len = strcspn(list, separators);
		if (covers(list, len, host))
			return true;
		list += len;
		list += strspn(list, separators);
	}
	return false;
}

static const char *variable(const char *lower, const char *upper)
{
	const char *value = getenv(lower);

	if (!value && upper)
		value = getenv(upper);
	return value && *value ? value : NULL;
}

/* The host of a URL that http_origin_parse made: behind "//", up to the last colon. */
static const char *host_of(const struct http_origin *o, struct arena *a)
{
	const char *host = strstr(o->url, "//") + 2, *colon = strrchr(host, ':');

	return arena_strndup(a, host, (size_t)(colon - host));
}

int http_proxy_of_environment(struct http_origin *out, struct arena *a, const struct http_origin *o, const char **why)
{
	/* HTTP_PROXY in capitals is what a CGI program sees of a request's header Proxy: never believed. */
	const char *proxy = o->tls ? variable("https_proxy", "HTTPS_PROXY") : variable("http_proxy", NULL);

	if (!proxy)
		proxy = variable("all_proxy", "ALL_PROXY");
	if (!proxy || o->socket || is_excepted(variable("no_proxy", "NO_PROXY"), host_of(o, a)))
		return -ENOENT;
	if (!strstr(proxy, "://"))
		proxy = arena_printf(a, "http://%s", proxy);
	return http_origin_parse(out, a, proxy, why);
}

/* Taking URLs apart with libcurl's own parser, so that what is checked here is what is connected to later. */
#include "drivers/http/origin.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

static const char unix_scheme[] = "http+unix:";

/* A part of u, copied to a; NULL if it has none. */
static const char *part_of(CURLU *u, CURLUPart part, unsigned flags, struct arena *a)
{
	char *text = NULL;

	if (curl_url_get(u, part, &text, flags) != CURLUE_OK || !text)
		return NULL;
	const char *copy = arena_strdup(a, text);
	curl_free(text);
	return copy;
}

static const char *without_slashes_behind(const char *path, struct arena *a)
{
	size_t len = strlen(path);

	while (len > 0 && path[len - 1] == '/')
		len--;
	return arena_strndup(a, path, len);
}

/* Blanks, control characters and what is not ASCII have to be percent-encoded in a URL. */
static bool is_plain(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s <= ' ' || (unsigned char)*s >= 0x7F)
			return false;
	return true;
}

static int parse_socket(struct http_origin *out, struct arena *a, const char *rest, const char **why)
{
	if (strncmp(rest, "//", 2) == 0)
		rest += 2;
	const char *colon = strstr(rest, ":/");
	size_t len = colon ? (size_t)(colon - rest) : strlen(rest);

	*why = "expected http+unix:///path/to/socket, and behind a colon the path that calls begin with";
	if (rest[0] != '/' || len < 2 || strpbrk(rest, "?#"))
		return -EINVAL;
	if (len >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		*why = "the socket's path is too long";
		return -EINVAL;
	}
	out->url = "http://localhost/";
	out->socket = arena_strndup(a, rest, len);
	out->base = without_slashes_behind(colon ? colon + 1 : "", a);
	return is_plain(out->base) ? 0 : -EINVAL;
}

static bool is_numeric(const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];

	return host[0] == '[' || inet_pton(AF_INET, host, address) == 1;
}

static int read_parts(struct http_origin *out, struct arena *a, CURLU *u, const char **why)
{
	const char *scheme = part_of(u, CURLUPART_SCHEME, 0, a);
	const char *host = part_of(u, CURLUPART_HOST, 0, a);
	const char *port = part_of(u, CURLUPART_PORT, CURLU_DEFAULT_PORT, a);
	const char *path = part_of(u, CURLUPART_PATH, 0, a);

	*why = "expected a URL such as http://host:port/path, https://… or http+unix:///path/to/socket";
	if (!scheme || !host || !port || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
		return -EINVAL;
	if (part_of(u, CURLUPART_QUERY, 0, a) || part_of(u, CURLUPART_FRAGMENT, 0, a)) {
		*why = "it has a query or a fragment: a query belongs to the steps";
		return -EINVAL;
	}
	/* The dot of a fully qualified name stands in no certificate, and libcurl looks names up without it. */
	size_t host_len = strlen(host);
	if (host_len > 1 && host[host_len - 1] == '.')
		host = arena_strndup(a, host, host_len - 1);
	out->tls = strcmp(scheme, "https") == 0;
	out->url = arena_printf(a, "%s://%s:%s/", scheme, host, port);
	out->port = (unsigned)strtoul(port, NULL, 10);
	out->host = is_numeric(host) ? NULL : host;
	out->user = part_of(u, CURLUPART_USER, CURLU_URLDECODE, a);
	out->password = part_of(u, CURLUPART_PASSWORD, CURLU_URLDECODE, a);
	out->base = without_slashes_behind(path ? path : "", a);
	return 0;
}

int http_origin_parse(struct http_origin *out, struct arena *a, const char *url, const char **why)
{
	*out = (struct http_origin){0};
	if (strncmp(url, unix_scheme, sizeof(unix_scheme) - 1) == 0)
		return parse_socket(out, a, url + sizeof(unix_scheme) - 1, why);

	CURLU *u = curl_url();
	*why = "expected a URL such as http://host:port/path, https://… or http+unix:///path/to/socket";
	int r = -EINVAL;
	if (u && is_plain(url) && curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS) == CURLUE_OK)
		r = read_parts(out, a, u, why);
	curl_url_cleanup(u);
	return r;
}

const char *http_origin_follow(const struct http_origin *o, struct arena *a, const char *target, const char *location)
{
	CURLU *u = curl_url();
	const char *followed = NULL;

	/* `o->url` ends with "/", which the target begins with. */
	const char *from = arena_printf(a, "%s%s", o->url, target + 1);
	if (u && is_plain(location) && curl_url_set(u, CURLUPART_URL, from, CURLU_PATH_AS_IS) == CURLUE_OK &&
	    curl_url_set(u, CURLUPART_URL, location, CURLU_PATH_AS_IS) == CURLUE_OK) {
		struct http_origin there;
		const char *why, *path = part_of(u, CURLUPART_PATH, 0, a), *query = part_of(u, CURLUPART_QUERY, 0, a);
		curl_url_set(u, CURLUPART_QUERY, NULL, 0);
		curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
		if (read_parts(&there, a, u, &why) == 0 && strcmp(there.url, o->url) == 0 && !there.user)
			followed = query ? arena_printf(a, "%s?%s", path, query) : path;
	}
	curl_url_cleanup(u);
	return followed;
}

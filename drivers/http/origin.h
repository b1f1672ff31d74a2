/* Where a source's calls go: its URL, taken apart once when the configuration is loaded.
 *
 *   http://host[:port][/base]      https://[user[:password]@]host[:port][/base]
 *   http+unix:///run/x.sock[:/base]     (also http+unix:/run/x.sock…): HTTP over a Unix socket
 *
 * A call's target is `base` and the step's path; it never leaves the origin. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/compiler.h"

struct http_origin {
	const char *url;    /* scheme, host and port, with "/" behind: what a connection is made to; no secrets */
	const char *host;   /* a name that has to be resolved; NULL: numeric, or a socket */
	unsigned port;      /* of host */
	const char *socket; /* path of the Unix socket, or NULL */
	const char *base;   /* path that targets begin with, without a "/" at its end: "" or "/api" */
	const char *user, *password; /* NULL: none */
	bool tls;
};

/* Texts live in a. Returns 0, or -EINVAL with *why: what was expected (it quotes nothing of the URL). Any thread. */
int http_origin_parse(struct http_origin *out, struct arena *a, const char *url, const char **why) must_check;

/* Where a redirection from `target` to `location` leads: the new target, in a; NULL if it leaves the origin, or is
 * no URL. */
const char *http_origin_follow(const struct http_origin *o, struct arena *a, const char *target, const char *location);

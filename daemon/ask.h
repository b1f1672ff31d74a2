/* Asking a running daemon, for the commands that do: libcurl, set up for one address, with bounds. */
#pragma once

#include <curl/curl.h>
#include <stddef.h>

#include "base/buf.h"

enum {
	ASK_TIMEOUT_MS = 5000,
	ASK_SILENCE_MAX_S = 2, /* then it is a blocked worker that has the connection: others answer within a second */
	ASK_ATTEMPTS = 5,      /* to reach one that is not */
};

struct ask {
	CURL *curl; /* for further options */
	struct buf body;
	char why[CURL_ERROR_SIZE + 100]; /* nothing came back */
};

/* Set a up to ask for what is at `target` ("/-/tasks") of the daemon at address: HOST:PORT or unix:/path. Returns
 * false: the address is none. a must not move; ask_close either way. */
bool ask_open(struct ask *a, const char *address, const char *target);
void ask_close(struct ask *a);
/* Ask, also again if nothing is said for too long: for questions that may be asked twice. Returns the HTTP status, with
 * a->body filled; or 0: there is no answer, and a->why and *errnum (0: not known) say why. */
long ask(struct ask *a, int *errnum);
/* The same, once. */
long ask_once(struct ask *a, int *errnum);

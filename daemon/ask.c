/* HTTP to ourselves. */
#include "daemon/ask.h"

#include <stdio.h>
#include <string.h>

#include "base/compiler.h"

enum { ANSWER_MAX_BYTES = 64 * 1024 * 1024 }; /* the pages are bounded: more is not gatherd's */

static size_t take_body(char *data, size_t size, size_t count, void *arg)
{
	struct ask *a = arg;
	size_t n = size * count;
	if (a->body.len + n > ANSWER_MAX_BYTES)
		return 0;
	buf_append(&a->body, data, n);
	return n;
}

bool ask_open(struct ask *a, const char *address, const char *target)
{
	bool is_unix = strncmp(address, "unix:/", 6) == 0;
	char url[300];
	int n = snprintf(url, sizeof(url), "http://%s%s", is_unix ? "localhost" : address, target);
	*a = (struct ask){.curl = curl_easy_init()};
	if (!a->curl || n >= (int)sizeof(url) || (!is_unix && strpbrk(address, "@#?/")))
		return false;
	CURL *c = a->curl;
	return curl_easy_setopt(c, CURLOPT_URL, url) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, is_unix ? address + 5 : NULL) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http") == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_NOPROXY, "*") == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)ASK_TIMEOUT_MS) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)ASK_SILENCE_MAX_S) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_ERRORBUFFER, a->why) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body) == CURLE_OK &&
	       curl_easy_setopt(c, CURLOPT_WRITEDATA, a) == CURLE_OK;
}

void ask_close(struct ask *a)
{
	curl_easy_cleanup(a->curl);
	buf_done(&a->body);
}

static CURLcode perform(struct ask *a)
{
	a->body.len = 0;
	a->why[0] = '\0';
	return curl_easy_perform(a->curl);
}

static long answer(struct ask *a, CURLcode code, int *errnum)
{
	long status = 0, number = 0;
	if (code == CURLE_OK) {
		curl_easy_getinfo(a->curl, CURLINFO_RESPONSE_CODE, &status);
		return status;
	}
	curl_easy_getinfo(a->curl, CURLINFO_OS_ERRNO, &number);
	*errnum = (int)number;
	if (!a->why[0])
		snprintf(a->why, sizeof(a->why), "%s", curl_easy_strerror(code));
	return 0;
}

long ask_once(struct ask *a, int *errnum)
{
	return answer(a, perform(a), errnum);
}

/* Each attempt after the first has a connection of its own. */
long ask(struct ask *a, int *errnum)
{
	CURLcode code = CURLE_OPERATION_TIMEDOUT;
	for (int i = 0; i < ASK_ATTEMPTS && code == CURLE_OPERATION_TIMEDOUT; i++)
		code = perform(a);
	return answer(a, code, errnum);
}

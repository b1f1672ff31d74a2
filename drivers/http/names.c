/* getaddrinfo may block for seconds and wants more stack than a task has: it runs on the executor. */
#include "drivers/http/names.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

enum { FRESH_US = 60000000, RETRY_US = 1000000, LOOK_UP_US = 30000000, MAX_ADDRESSES = 16 };

struct look_up {
	struct job job;
	char *host;
	int result; /* of getaddrinfo */
	struct addrinfo *found;
};

static void look_up_run(struct job *j)
{
	struct look_up *l = container_of(j, struct look_up, job);
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};

	l->result = getaddrinfo(l->host, NULL, &hints, &l->found);
	if (l->result == EAI_NONAME || l->result == EAI_ADDRFAMILY) {
		/* A machine with nothing but loopback addresses. */
		hints.ai_flags = 0;
		l->result = getaddrinfo(l->host, NULL, &hints, &l->found);
	}
}

static void look_up_free(struct job *j)
{
	struct look_up *l = container_of(j, struct look_up, job);

	if (l->found)
		freeaddrinfo(l->found);
	free(l->host);
	free(l);
}

/* "[::1]" or "127.0.0.1", behind a comma where it is not the first. */
static bool add_address(struct buf *entry, const struct addrinfo *a, bool first)
{
	char text[INET6_ADDRSTRLEN];
	const void *address = a->ai_family == AF_INET
				      ? (const void *)&((const struct sockaddr_in *)(void *)a->ai_addr)->sin_addr
				      : (const void *)&((const struct sockaddr_in6 *)(void *)a->ai_addr)->sin6_addr;

	if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) ||
	    !inet_ntop(a->ai_family, address, text, sizeof(text)))
		return false;
	buf_printf(entry, a->ai_family == AF_INET ? "%s%s" : "%s[%s]", first ? "" : ",", text);
	return true;
}

static int keep(struct http_names *n, const struct look_up *l)
{
	struct buf entry = BUF_INIT;
	unsigned count = 0;

	buf_printf(&entry, "%s:%u:", n->host, n->port);
	for (const struct addrinfo *a = l->found; a && count < MAX_ADDRESSES; a = a->ai_next)
		count += add_address(&entry, a, count == 0);
	if (count == 0) {
		snprintf(n->why, sizeof(n->why), "%s", l->result ? gai_strerror(l->result) : "it has no address");
		buf_done(&entry);
		return -EHOSTUNREACH;
	}
	if (!n->entry || strcmp(n->entry, buf_cstr(&entry)) != 0) {
		free(n->entry);
		n->entry = mem_strdup(buf_cstr(&entry));
		n->version++;
	}
	buf_done(&entry);
	return 0;
}

/* A task of its own: whoever asked first may be cancelled while others wait. */
static int look_up_task(void *arg)
{
	struct http_names *n = arg;
	struct look_up *l = mem_zalloc(sizeof(*l));

	l->job = (struct job){.run = look_up_run, .free = look_up_free};
	l->host = mem_strdup(n->host);
	int r = executor_run(n->executor, &l->job, deadline_in_us(LOOK_UP_US));
	if (r == 0) {
		r = keep(n, l);
		look_up_free(&l->job);
	} else {
		snprintf(n->why, sizeof(n->why), "the look-up was given up");
	}
	n->fresh = deadline_in_us(r == 0 ? FRESH_US : RETRY_US);
	n->looking = false;
	future_resolve(&n->done, r == -ECANCELED || r == -ETIMEDOUT ? -EHOSTUNREACH : r);
	return 0; /* those who wait have been told */
}

static int start(struct http_names *n)
{
	struct task_options options = {.name = "look up a name", .detached = true};
	struct shield shield;

	/* It is not bound by the deadline of who happens to start it. */
	task_shield(&shield, DEADLINE_NEVER);
	future_init(&n->done);
	n->looking = true;
	int r = task_spawn(NULL, look_up_task, n, &options);
	if (r < 0)
		n->looking = false;
	task_unshield(&shield);
	return r;
}

void http_names_init(struct http_names *n, const char *host, unsigned port, struct executor *executor)
{
	*n = (struct http_names){.host = host, .port = port, .executor = executor};
}

int http_names_await(struct http_names *n, deadline_t by)
{
	if (!n->host || (n->entry && (n->looking || !deadline_passed(n->fresh))))
		return 0;
	int r = n->looking ? 0 : start(n);
	if (n->entry)
		return 0;
	return r < 0 ? r : future_await(&n->done, by);
}

void http_names_doubt(struct http_names *n)
{
	n->fresh = deadline_min(n->fresh, deadline_in_us(RETRY_US));
}

void http_names_done(struct http_names *n)
{
	struct shield shield;

	task_shield(&shield, DEADLINE_NEVER);
	if (n->looking) {
		int r = future_await(&n->done, DEADLINE_NEVER);
		(void)r;
	}
	task_unshield(&shield);
	free(n->entry);
	n->entry = NULL;
}

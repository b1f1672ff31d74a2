/* Names: numeric ones are read here, the others by getaddrinfo on the executor, since it may block for seconds and
 * wants more stack than a task has. */
#include "drivers/mongo/wire/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/mem.h"

struct lookup {
	struct job job;
	char host[BSON_HOST_NAME_MAX + 1];
	char port[8];
	int family;
	int result; /* of getaddrinfo */
	struct addrinfo *found;
};

static void lookup_run(struct job *j)
{
	struct lookup *l = container_of(j, struct lookup, job);
	struct addrinfo hints = {.ai_family = l->family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};

	l->result = getaddrinfo(l->host, l->port, &hints, &l->found);
	if (l->result == EAI_NONAME || l->result == EAI_ADDRFAMILY) {
		/* A machine with nothing but loopback addresses. */
		hints.ai_flags = 0;
		l->result = getaddrinfo(l->host, l->port, &hints, &l->found);
	}
}

static void lookup_free(struct job *j)
{
	struct lookup *l = container_of(j, struct lookup, job);

	if (l->found)
		freeaddrinfo(l->found);
	free(l);
}

static int look_up(struct mongo_addresses *out, const mongoc_host_list_t *host, struct executor *ex, deadline_t by,
		   char *why, size_t why_size)
{
	struct lookup *l = mem_zalloc(sizeof(*l));

	l->job = (struct job){.run = lookup_run, .free = lookup_free};
	snprintf(l->host, sizeof(l->host), "%s", host->host);
	snprintf(l->port, sizeof(l->port), "%u", (unsigned)host->port);
	l->family = host->family;
	int r = executor_run(ex, &l->job, by);
	if (r < 0) {
		snprintf(why, why_size, "resolving the name was given up");
		return r;
	}
	if (l->result != 0)
		snprintf(why, why_size, "resolving the name: %s", gai_strerror(l->result));
	for (struct addrinfo *a = l->found; a && out->count < ADDRESSES_MAX; a = a->ai_next) {
		memcpy(&out->item[out->count].at, a->ai_addr, a->ai_addrlen);
		out->item[out->count++].len = a->ai_addrlen;
	}
	lookup_free(&l->job);
	return out->count ? 0 : -EHOSTUNREACH;
}

static bool numeric(struct mongo_addresses *out, const mongoc_host_list_t *host)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&out->item[0].at;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->item[0].at;

	if (inet_pton(AF_INET, host->host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(host->port);
		out->item[0].len = sizeof(*v4);
	} else if (inet_pton(AF_INET6, host->host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(host->port);
		out->item[0].len = sizeof(*v6);
	} else {
		return false;
	}
	out->count = 1;
	return true;
}

int mongo_resolve(struct mongo_addresses *out, const mongoc_host_list_t *host, struct executor *ex, deadline_t by,
		  char *why, size_t why_size)
{
	memset(out, 0, sizeof(*out));
	if (host->family == AF_UNIX) {
		struct sockaddr_un *un = (struct sockaddr_un *)&out->item[0].at;
		size_t len = strlen(host->host);
		if (len >= sizeof(un->sun_path)) {
			snprintf(why, why_size, "the socket's path is too long");
			return -ENAMETOOLONG;
		}
		un->sun_family = AF_UNIX;
		memcpy(un->sun_path, host->host, len + 1);
		out->item[0].len = sizeof(*un);
		out->count = 1;
		return 0;
	}
	if (numeric(out, host))
		return 0;
	return look_up(out, host, ex, by, why, why_size);
}

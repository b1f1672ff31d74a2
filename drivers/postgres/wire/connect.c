/* libpq resolves names in PQconnectStart and, for the second host, in PQconnectPoll; and Start reads files. So every
 * host's addresses are looked up on the executor and handed over as `hostaddr`, Start runs there too, and what is left
 * for the loop is Poll, which only waits for the socket. libpq closes and opens sockets while it goes from address to
 * address, often under the same number: interest is registered anew for each wait. */
#include "drivers/postgres/wire/connect.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "async/executor.h"
#include "async/fd.h"
#include "base/mem.h"
#include "drivers/postgres/wire/pool.h"

#define CONNECT_TIMEOUT_US 5000000 /* where the URL has no connect_timeout */
#define MAX_ADDRESSES      32

/* --- what libpq is told --- */

static void set(struct pg_conninfo *info, const char *keyword, const char *value)
{
	unsigned i = 0;
	while (i < info->count && strcmp(info->keywords[i], keyword) != 0)
		i++;
	if (i < info->count) {
		free(info->values[i]);
	} else {
		info->count++;
		info->keywords = mem_realloc_array(info->keywords, info->count + 1, sizeof(*info->keywords));
		info->values = mem_realloc_array(info->values, info->count + 1, sizeof(*info->values));
		info->keywords[i] = mem_strdup(keyword);
		info->keywords[info->count] = NULL;
		info->values[info->count] = NULL;
	}
	info->values[i] = mem_strdup(value);
}

const char *pg_conninfo_get(const struct pg_conninfo *info, const char *keyword)
{
	for (unsigned i = 0; i < info->count; i++) {
		if (strcmp(info->keywords[i], keyword) == 0)
			return info->values[i];
	}
	return NULL;
}

static void set_default(struct pg_conninfo *info, const char *keyword, const char *value)
{
	if (!pg_conninfo_get(info, keyword))
		set(info, keyword, value);
}

void pg_conninfo_drop(struct pg_conninfo *info)
{
	if (!info || atomic_fetch_sub_explicit(&info->references, 1, memory_order_acq_rel) > 1)
		return;
	for (unsigned i = 0; i < info->count; i++) {
		free(info->keywords[i]);
		if (strcmp(info->values[i], "") != 0)
			explicit_bzero(info->values[i], strlen(info->values[i]));
		free(info->values[i]);
	}
	free(info->keywords);
	free(info->values);
	free(info);
}

static struct pg_conninfo *copy_of(const struct pg_conninfo *info)
{
	struct pg_conninfo *copy = mem_zalloc(sizeof(*copy));
	atomic_init(&copy->references, 1);
	for (unsigned i = 0; i < info->count; i++)
		set(copy, info->keywords[i], info->values[i]);
	return copy;
}

/* What to_json needs may be overruled by the URL's own options, but never that shared sessions only read. */
static void set_session(struct pg_conninfo *info, const struct config_source *config)
{
	struct buf options = BUF_INIT;
	const char *own = pg_conninfo_get(info, "options");
	int64_t longest_ms = config->longest_us / 1000 + 1000;

	if (!config->prepare)
		return;
	buf_printf(&options,
		   "-c DateStyle=ISO -c IntervalStyle=postgres -c TimeZone=UTC -c statement_timeout=%lld %s "
		   "-c standard_conforming_strings=on -c default_transaction_read_only=on",
		   (long long)(longest_ms > INT32_MAX ? INT32_MAX : longest_ms), own ? own : "");
	set(info, "options", buf_cstr(&options));
	buf_done(&options);
}

struct pg_conninfo *pg_conninfo_new(const struct config_source *config, struct error *e)
{
	char *why = NULL;
	PQconninfoOption *parsed = PQconninfoParse(config->url, &why);

	if (!parsed) {
		/* libpq's message may quote the URL, and with it a password. */
		PQfreemem(why);
		error_set(e, -EINVAL, 500, NULL, "source %s: the URL can't be read", config->name);
		return NULL;
	}
	struct pg_conninfo *info = mem_zalloc(sizeof(*info));
	atomic_init(&info->references, 1);
	for (PQconninfoOption *o = parsed; o->keyword; o++) {
		if (o->val)
			set(info, o->keyword, o->val);
	}
	PQconninfoFree(parsed);
	if (config->password.set)
		set(info, "password", config->password.value);
	set(info, "client_encoding", "UTF8");
	set(info, "gssencmode", "disable");
	set_default(info, "fallback_application_name", "gatherd");
	set_default(info, "keepalives_idle", "30");
	set_default(info, "keepalives_interval", "10");
	set_default(info, "keepalives_count", "3");
	set_default(info, "tcp_user_timeout", "15000");
	set_session(info, config);
	return info;
}

int64_t pg_connect_timeout_us(const struct pg_conninfo *info)
{
	const char *seconds = pg_conninfo_get(info, "connect_timeout");
	long n = seconds ? strtol(seconds, NULL, 10) : 0;
	return n > 0 && n < 3600 ? (int64_t)n * 1000000 : CONNECT_TIMEOUT_US;
}

void pg_conninfo_check(const struct config_source *config, struct diagnostics *d)
{
	char *why = NULL;
	PQconninfoOption *parsed = PQconninfoParse(config->url, &why);

	PQfreemem(why);
	if (!parsed) {
		diagnostics_error(d, config->url_at,
				  "not a PostgreSQL URL: expected "
				  "postgresql://user@host:port/database?keyword=value with libpq's keywords");
		return;
	}
	for (PQconninfoOption *o = parsed; o->keyword; o++) {
		if (!o->val)
			continue;
		if (strcmp(o->keyword, "client_encoding") == 0 && strcasecmp(o->val, "utf8") != 0 &&
		    strcasecmp(o->val, "utf-8") != 0)
			diagnostics_error(d, config->url_at, "client_encoding: only UTF8 is possible");
		if (strcmp(o->keyword, "replication") == 0)
			diagnostics_error(d, config->url_at, "replication: a replication connection runs no steps");
	}
	PQconninfoFree(parsed);
}

/* --- on the executor: resolve, start --- */

struct connect_job {
	struct job job;
	struct pg_conninfo *info;
	PGconn *pg;
	char why[256]; /* "": fine */
};

struct addresses {
	struct buf host, hostaddr, port;
	unsigned count;
};

static void add_address(struct addresses *a, const char *host, size_t host_len, const char *address, const char *port,
			size_t port_len)
{
	if (a->count++) {
		buf_char(&a->host, ',');
		buf_char(&a->hostaddr, ',');
		buf_char(&a->port, ',');
	}
	buf_append(&a->host, host, host_len);
	buf_str(&a->hostaddr, address);
	buf_append(&a->port, port, port_len);
}

/* One host of the list, with each of its addresses. A Unix socket has none. */
static void resolve_host(struct connect_job *j, struct addresses *a, const char *host, size_t host_len,
			 const char *port, size_t port_len)
{
	if (host_len == 0 || *host == '/' || *host == '@') {
		add_address(a, host, host_len, "", port, port_len);
		return;
	}
	char *name = mem_strndup(host, host_len);
	struct addrinfo *list = NULL;
	int r = getaddrinfo(name, NULL, &(struct addrinfo){.ai_socktype = SOCK_STREAM}, &list);
	if (r != 0)
		snprintf(j->why, sizeof(j->why), "the address of %s is not known: %s", name, gai_strerror(r));
	for (struct addrinfo *i = list; i && r == 0 && a->count < MAX_ADDRESSES; i = i->ai_next) {
		char address[NI_MAXHOST];
		if (getnameinfo(i->ai_addr, i->ai_addrlen, address, sizeof(address), NULL, 0, NI_NUMERICHOST) == 0)
			add_address(a, host, host_len, address, port, port_len);
	}
	if (r == 0)
		freeaddrinfo(list);
	free(name);
}

static size_t item_len(const char *list)
{
	return strcspn(list, ",");
}

/* Replace host by hosts with their addresses. False: none is known. */
static bool resolve(struct connect_job *j, struct pg_conninfo *info)
{
	const char *host = pg_conninfo_get(info, "host");
	const char *port = pg_conninfo_get(info, "port");
	struct addresses a = {0};

	if (!host || pg_conninfo_get(info, "hostaddr"))
		return true;
	if (!port)
		port = "";
	bool more = true;
	while (more) {
		size_t host_len = item_len(host), port_len = item_len(port);
		resolve_host(j, &a, host, host_len, port, port_len);
		more = host[host_len] == ',';
		host += host_len + more;
		/* One port serves all hosts. */
		if (port[port_len] == ',')
			port += port_len + 1;
	}
	if (a.count > 0) {
		set(info, "host", buf_cstr(&a.host));
		set(info, "hostaddr", buf_cstr(&a.hostaddr));
		set(info, "port", buf_cstr(&a.port));
	}
	buf_done(&a.host);
	buf_done(&a.hostaddr);
	buf_done(&a.port);
	return a.count > 0;
}

static void connect_run(struct job *job)
{
	struct connect_job *j = container_of(job, struct connect_job, job);
	struct pg_conninfo *info = copy_of(j->info);

	if (resolve(j, info)) {
		j->why[0] = '\0';
		j->pg = PQconnectStartParams((const char *const *)info->keywords, (const char *const *)info->values, 0);
		if (!j->pg)
			snprintf(j->why, sizeof(j->why), "no memory for a connection");
	}
	pg_conninfo_drop(info);
}

static void connect_free(struct job *job)
{
	struct connect_job *j = container_of(job, struct connect_job, job);
	PQfinish(j->pg);
	pg_conninfo_drop(j->info);
	free(j);
}

/* --- on the loop --- */

static int failed(struct pg_connection *conn, struct error *e, int r, const char *why)
{
	return error_set(e, r, 503, "The data source is not available.", "source %s: can't connect: %.*s",
			 conn->client->source->config->name, (int)strcspn(why, "\n"), why);
}

/* Suspends. */
static int start(struct pg_connection *conn, deadline_t by, PGconn **pg, struct error *e)
{
	struct pg_source *source = conn->client->source;
	struct connect_job *j = mem_zalloc(sizeof(*j));

	j->job.run = connect_run;
	j->job.free = connect_free;
	j->info = source->conninfo;
	atomic_fetch_add_explicit(&j->info->references, 1, memory_order_relaxed);
	int r = executor_run(source->executor, &j->job, by);
	if (r < 0)
		return failed(conn, e, r, r == -EBUSY ? "too many jobs wait" : "looking up the address took too long");
	*pg = j->pg;
	j->pg = NULL;
	if (!*pg)
		r = failed(conn, e, -ECONNREFUSED, j->why);
	connect_free(&j->job);
	return r;
}

/* Suspends. */
static int poll_until_connected(struct pg_connection *conn, PGconn *pg, deadline_t by, struct error *e)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	if (PQstatus(pg) == CONNECTION_BAD)
		return failed(conn, e, -ECONNREFUSED, PQerrorMessage(pg));
	while (status != PGRES_POLLING_OK) {
		uint32_t events = status == PGRES_POLLING_WRITING ? EPOLLOUT : EPOLLIN;
		int r = await_fd(PQsocket(pg), events, by);
		if (r == -ETIMEDOUT)
			return failed(conn, e, r, "the server did not answer in time");
		if (r < 0)
			return failed(conn, e, r, "waiting for the server failed");
		status = PQconnectPoll(pg);
		if (status == PGRES_POLLING_FAILED)
			return failed(conn, e, -ECONNREFUSED, PQerrorMessage(pg));
	}
	return 0;
}

/* Suspends. Send something before the connection becomes a pipe, until its results are there. */
static int send_and_wait(struct pg_connection *conn, PGconn *pg, const char *sql, deadline_t by, struct error *e)
{
	if (PQsetnonblocking(pg, 1) != 0 || !PQsendQuery(pg, sql))
		return failed(conn, e, -ECONNREFUSED, PQerrorMessage(pg));
	while (PQflush(pg) > 0 || PQisBusy(pg)) {
		int r = await_fd(PQsocket(pg), EPOLLIN, by);
		if (r < 0)
			return failed(conn, e, r, "waiting for the server failed");
		if (!PQconsumeInput(pg))
			return failed(conn, e, -ECONNREFUSED, PQerrorMessage(pg));
	}
	return 0;
}

/* Suspends. */
static int command(struct pg_connection *conn, PGconn *pg, const char *sql, deadline_t by, struct error *e)
{
	PGresult *result;
	bool fine = true;

	int r = send_and_wait(conn, pg, sql, by, e);
	if (r < 0)
		return r;
	while ((result = PQgetResult(pg))) {
		fine = fine && PQresultStatus(result) == PGRES_COMMAND_OK;
		PQclear(result);
	}
	return fine ? 0 : failed(conn, e, -ECONNREFUSED, PQerrorMessage(pg));
}

/* Servers before 14 do not say it by themselves. */
static int ask_read_only(struct pg_connection *conn, PGconn *pg, deadline_t by, bool *on, struct error *e)
{
	PGresult *result;

	int r = send_and_wait(conn, pg, "show default_transaction_read_only", by, e);
	while (r == 0 && (result = PQgetResult(pg))) {
		*on |= PQntuples(result) == 1 && strcmp(PQgetvalue(result, 0, 0), "on") == 0;
		PQclear(result);
	}
	return r;
}

/* That sessions only read is what keeps a GET from writing: a pooler may be told to ignore what we ask for. */
static int check_options(struct pg_connection *conn, PGconn *pg, deadline_t by, struct error *e)
{
	const char *read_only = PQparameterStatus(pg, "default_transaction_read_only");
	bool on = read_only && strcmp(read_only, "on") == 0;
	int r = 0;

	if (!read_only)
		r = ask_read_only(conn, pg, by, &on, e);
	if (r == 0 && !on)
		r = failed(conn, e, -EPROTO,
			   "a pooler ignores the options of the session, default_transaction_read_only among them: the "
			   "source needs `prepare: false`");
	return r;
}

/* JSON has ISO dates, whatever style the URL asks for: that is how to_json does it. */
static int begin_session(struct pg_connection *conn, PGconn *pg, deadline_t by, struct error *e)
{
	const char *style = PQparameterStatus(pg, "DateStyle");

	if (!conn->client->source->config->prepare)
		return 0;
	int r = check_options(conn, pg, by, e);
	if (r < 0 || !style || strncmp(style, "ISO", 3) == 0)
		return r;
	return command(conn, pg, "set DateStyle = ISO", by, e);
}

static int connect_task(void *arg)
{
	struct pg_connection *conn = arg;
	struct pg_client *c = conn->client;
	deadline_t by = deadline_in_us(c->source->connect_timeout_us);
	PGconn *pg = NULL;
	struct error e = ERROR_INIT;

	int r = start(conn, by, &pg, &e);
	if (r == 0)
		r = poll_until_connected(conn, pg, by, &e);
	if (r == 0)
		r = begin_session(conn, pg, by, &e);
	conn->connector = NULL;
	if (r < 0) {
		PQfinish(pg);
		pg_connection_close(conn, e.what);
	} else {
		pg_connection_established(conn, pg);
	}
	pg_pool_connected(c, r, &e);
	return 0; /* the pool has been told */
}

int pg_connect_start(struct pg_connection *conn)
{
	struct task_options options = {.name = "postgres connect", .detached = true};
	return task_spawn(&conn->connector, connect_task, conn, &options);
}

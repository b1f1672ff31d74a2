/* Making a connection: a walk over the hosts and over the addresses of each, one attempt after another, each with a
 * budget of its own, until one leads to a server that will do.
 *
 * libpq would do that by itself, but under one time-out for all, always from the first on, and with names that it
 * resolves on our thread, in PQconnectStart and for the second host in PQconnectPoll. So it gets one address at a time:
 * names are looked up on the executor; PQconnectStart, which reads files, runs there too; the loop is left with
 * PQconnectPoll, which only waits for the socket. Whether the server will do (target_session_attrs) we ask it
 * ourselves, as libpq asks: then a server that will not do is told apart from one that failed. */
#include "drivers/postgres/wire/connect.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "async/executor.h"
#include "async/fd.h"
#include "base/mem.h"
#include "drivers/postgres/wire/pool.h"

enum verdict {
	CONNECTED,
	UNFIT,     /* the server is fine, but not what target_session_attrs asks for */
	FAILED,    /* the next one may do */
	CANCELLED, /* the pool closes */
};

/* One walk: a connection that is being made. */
struct walk {
	struct pg_connection *conn;
	struct pg_source *source;
	enum pg_target wanted; /* in this pass */
	const struct pg_host *host;
	const char *address;
	deadline_t by; /* of this attempt */
	PGconn *pg;    /* of this attempt */
	struct buf reasons;
};

/* --- why it failed --- */

/* A message of libpq's has several lines, of which each may be the one that matters: they become one. */
static void add_line(struct buf *out, const char *message)
{
	while (*message) {
		size_t len = strcspn(message, "\n");
		buf_append(out, message, len);
		message += len;
		message += strspn(message, "\n\t ");
		if (*message)
			buf_lit(out, "; ");
	}
}

static void next_reason(struct walk *w)
{
	if (w->reasons.len > 0)
		buf_lit(&w->reasons, "; ");
}

/* libpq's own words, which say to which server it was. */
static enum verdict libpq_failed(struct walk *w)
{
	next_reason(w);
	add_line(&w->reasons, w->pg ? PQerrorMessage(w->pg) : "no memory for a connection");
	return FAILED;
}

/* Ours, in libpq's form. */
static enum verdict failed(struct walk *w, const char *why)
{
	const struct pg_host *h = w->host;
	const char *port = *h->port ? h->port : w->pg && PQport(w->pg) && *PQport(w->pg) ? PQport(w->pg) : "5432";
	const char *name = *h->name ? h->name : *h->address ? h->address : w->pg && PQhost(w->pg) ? PQhost(w->pg) : "";
	bool local = *name == '/' || *name == '@';

	next_reason(w);
	if (local)
		buf_printf(&w->reasons, "connection to server on socket \"%s/.s.PGSQL.%s\" failed: %s", name, port,
			   why);
	else if (w->address && *w->address && strcmp(w->address, name) != 0)
		buf_printf(&w->reasons, "connection to server at \"%s\" (%s), port %s failed: %s", name, w->address,
			   port, why);
	else
		buf_printf(&w->reasons, "connection to server at \"%s\", port %s failed: %s", name, port, why);
	return FAILED;
}

static enum verdict wait_failed(struct walk *w, int r)
{
	if (r == -ECANCELED)
		return CANCELLED;
	return failed(w, r == -ETIMEDOUT ? "no answer in time" : "waiting for the server failed");
}

/* --- on the executor: names --- */

struct lookup_job {
	struct job job;
	char *name;
	int result; /* of getaddrinfo */
	unsigned count;
	pg_address addresses[PG_ADDRESSES];
};

static void lookup_run(struct job *job)
{
	struct lookup_job *j = container_of(job, struct lookup_job, job);
	struct addrinfo *list = NULL;

	j->result = getaddrinfo(j->name, NULL, &(struct addrinfo){.ai_socktype = SOCK_STREAM}, &list);
	if (j->result != 0)
		return;
	for (struct addrinfo *i = list; i && j->count < PG_ADDRESSES; i = i->ai_next) {
		if (getnameinfo(i->ai_addr, i->ai_addrlen, j->addresses[j->count], sizeof(pg_address), NULL, 0,
				NI_NUMERICHOST) == 0)
			j->count++;
	}
	freeaddrinfo(list);
}

static void lookup_free(struct job *job)
{
	struct lookup_job *j = container_of(job, struct lookup_job, job);
	free(j->name);
	free(j);
}

/* Suspends. The addresses of the host; a Unix socket, a hostaddr and libpq's default have none to choose from. */
static enum verdict look_up(struct walk *w, pg_address *addresses, unsigned *count)
{
	const struct pg_host *h = w->host;

	*count = 1;
	addresses[0][0] = '\0';
	if (*h->address || !*h->name || *h->name == '/' || *h->name == '@')
		return CONNECTED;
	struct lookup_job *j = mem_zalloc(sizeof(*j));
	j->job.run = lookup_run;
	j->job.free = lookup_free;
	j->name = mem_strdup(h->name);
	int r = executor_run(w->source->executor, &j->job, w->by);
	if (r == -ECANCELED)
		return CANCELLED;
	if (r < 0)
		return failed(w, r == -EBUSY ? "too many jobs wait" : "looking up the address took too long");
	enum verdict v = CONNECTED;
	*count = j->count;
	memcpy(addresses, j->addresses, j->count * sizeof(pg_address));
	if (j->count == 0) {
		char why[160];
		snprintf(why, sizeof(why), "the address is not known: %s", gai_strerror(j->result));
		v = failed(w, why);
	}
	lookup_free(&j->job);
	return v;
}

/* --- on the executor: libpq's start --- */

struct start_job {
	struct job job;
	struct pg_conninfo *info; /* the job's own */
	PGconn *pg;
};

static void start_run(struct job *job)
{
	struct start_job *j = container_of(job, struct start_job, job);
	const struct pg_conninfo *info = j->info;

	j->pg = PQconnectStartParams((const char *const *)info->keywords, (const char *const *)info->values, 0);
}

static void start_free(struct job *job)
{
	struct start_job *j = container_of(job, struct start_job, job);
	PQfinish(j->pg);
	pg_conninfo_drop(j->info);
	free(j);
}

/* Suspends. */
static enum verdict start(struct walk *w)
{
	struct start_job *j = mem_zalloc(sizeof(*j));

	j->job.run = start_run;
	j->job.free = start_free;
	j->info = pg_conninfo_for(w->conn->client->conninfo, w->host, w->address);
	int r = executor_run(w->source->executor, &j->job, w->by);
	if (r == -EBUSY)
		return failed(w, "too many jobs wait");
	if (r < 0)
		return wait_failed(w, r);
	w->pg = j->pg;
	j->pg = NULL;
	start_free(&j->job);
	return w->pg && PQstatus(w->pg) != CONNECTION_BAD ? CONNECTED : libpq_failed(w);
}

/* --- on the loop --- */

/* Suspends. libpq closes and opens sockets meanwhile, often under the same number: interest is registered again for
 * each wait. */
static enum verdict poll_until_connected(struct walk *w)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK) {
		int r = await_fd(PQsocket(w->pg), status == PGRES_POLLING_WRITING ? EPOLLOUT : EPOLLIN, w->by);
		if (r < 0)
			return wait_failed(w, r);
		status = PQconnectPoll(w->pg);
		if (status == PGRES_POLLING_FAILED)
			return libpq_failed(w);
	}
	return PQsetnonblocking(w->pg, 1) == 0 ? CONNECTED : libpq_failed(w);
}

/* Suspends. Run sql before the connection becomes a pipe. *value, of size bytes, takes the first value of the last
 * result, or "". */
static enum verdict ask(struct walk *w, const char *sql, char *value, size_t size)
{
	PGresult *result;
	bool fine = true;

	*value = '\0';
	if (!PQsendQuery(w->pg, sql))
		return libpq_failed(w);
	while (PQflush(w->pg) > 0 || PQisBusy(w->pg)) {
		int r = await_fd(PQsocket(w->pg), EPOLLIN, w->by);
		if (r < 0)
			return wait_failed(w, r);
		if (!PQconsumeInput(w->pg))
			return libpq_failed(w);
	}
	while ((result = PQgetResult(w->pg))) {
		ExecStatusType status = PQresultStatus(result);
		fine = fine && (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK);
		if (PQntuples(result) == 1)
			snprintf(value, size, "%s", PQgetvalue(result, 0, 0));
		PQclear(result);
	}
	return fine ? CONNECTED : libpq_failed(w);
}

/* --- will this server do? --- */

/* Suspends. Servers before 14 do not say it by themselves; those before 9.0 are never standbys. */
static enum verdict is_standby(struct walk *w, bool *standby)
{
	const char *said = PQparameterStatus(w->pg, "in_hot_standby");
	char value[16] = "";
	enum verdict v = CONNECTED;

	if (!said && PQserverVersion(w->pg) >= 90000)
		v = ask(w, "select pg_catalog.pg_is_in_recovery()", value, sizeof(value));
	*standby = said ? strcmp(said, "on") == 0 : strcmp(value, "t") == 0;
	return v;
}

/* Suspends. Is what a session does read-only unless it asks for something else? */
static enum verdict is_read_only(struct walk *w, bool *read_only)
{
	const char *by_default = PQparameterStatus(w->pg, "default_transaction_read_only");
	const char *standby = PQparameterStatus(w->pg, "in_hot_standby");
	char value[16] = "";
	enum verdict v = CONNECTED;

	if (by_default && standby) {
		*read_only = strcmp(by_default, "on") == 0 || strcmp(standby, "on") == 0;
		return v;
	}
	v = ask(w, "show transaction_read_only", value, sizeof(value));
	*read_only = strcmp(value, "on") == 0;
	return v;
}

/* Suspends. */
static enum verdict check_target(struct walk *w)
{
	bool looks_at_default = pg_target_looks_at_default(w->wanted), is = false;
	enum verdict v = CONNECTED;

	if (w->wanted == PG_ANY)
		return CONNECTED;
	v = looks_at_default ? is_read_only(w, &is) : is_standby(w, &is);
	bool fits = is == (w->wanted == PG_READ_ONLY || w->wanted == PG_STANDBY);
	if (v != CONNECTED || fits)
		return v;
	if (looks_at_default)
		failed(w, is ? "session is read-only" : "session is not read-only");
	else
		failed(w, is ? "server is in hot standby mode" : "server is not in hot standby mode");
	return UNFIT;
}

/* --- the session --- */

static enum verdict refuse_pooler(struct walk *w)
{
	return failed(w, "a pooler ignores the options of the session, default_transaction_read_only among them: the "
			 "source needs `prepare: false`");
}

/* Suspends. That sessions only read is what keeps a GET from writing: a pooler may be told to ignore what we ask for.
 * Servers before 14 do not say it by themselves. */
static enum verdict check_options(struct walk *w)
{
	const char *read_only = PQparameterStatus(w->pg, "default_transaction_read_only");
	char value[16] = "";
	enum verdict v = CONNECTED;

	if (!read_only)
		v = ask(w, "show default_transaction_read_only", value, sizeof(value));
	if (v == CONNECTED && strcmp(read_only ? read_only : value, "on") != 0)
		return refuse_pooler(w);
	return v;
}

/* Suspends. The default that the server has without us was looked at. */
static enum verdict set_read_only(struct walk *w)
{
	char value[16] = "";

	enum verdict v = ask(w, "select pg_catalog.current_setting('gatherd.options', true)", value, sizeof(value));
	if (v == CONNECTED && strcmp(value, "on") != 0)
		return refuse_pooler(w);
	return v == CONNECTED ? ask(w, "set default_transaction_read_only = on", value, sizeof(value)) : v;
}

/* Suspends. */
static enum verdict begin_session(struct walk *w)
{
	if (!w->source->prepare)
		return CONNECTED;
	return pg_target_looks_at_default(w->wanted) ? set_read_only(w) : check_options(w);
}

/* --- the walk --- */

static int64_t now_us(const struct walk *w)
{
	return loop_now_us(w->conn->client->loop);
}

/* Suspends. One attempt: CONNECTED leaves w->pg, everything else nothing. */
static enum verdict try_address(struct walk *w, unsigned host, const char *address, int64_t budget_us)
{
	struct pg_hosts *memory = &w->source->hosts;

	w->address = address;
	w->by = deadline_in_us(budget_us);
	enum verdict v = start(w);
	if (v == CONNECTED)
		v = poll_until_connected(w);
	if (v == CONNECTED)
		v = check_target(w);
	if (v == CONNECTED)
		v = begin_session(w);
	w->address = NULL;
	if (v == CONNECTED) {
		pg_hosts_good(memory, host, address, now_us(w));
		return v;
	}
	PQfinish(w->pg);
	w->pg = NULL;
	if (v == FAILED)
		pg_hosts_address_failed(memory, host, address, now_us(w));
	return v;
}

/* Suspends. */
static enum verdict try_host(struct walk *w, unsigned host)
{
	const struct pg_conninfo *info = w->source->conninfo;
	struct pg_hosts *memory = &w->source->hosts;
	pg_address addresses[PG_ADDRESSES];
	unsigned count;
	bool unfit = false;

	w->host = &info->hosts[host];
	w->by = deadline_in_us(pg_conninfo_budget_us(info, info->host_count));
	enum verdict v = look_up(w, addresses, &count);
	if (v == CONNECTED) {
		pg_hosts_order_addresses(memory, host, now_us(w), addresses, count);
		int64_t budget_us = pg_conninfo_budget_us(info, info->host_count + count - 1);
		v = FAILED;
		for (unsigned i = 0; i < count && v != CONNECTED && v != CANCELLED; i++) {
			v = try_address(w, host, addresses[i], budget_us);
			unfit |= v == UNFIT;
		}
	}
	if (v == FAILED && !unfit)
		pg_hosts_failed(memory, host, now_us(w));
	if (v == CONNECTED)
		w->conn->host = host;
	return v;
}

/* Suspends. wanted: of whom it is the turn; lately: those that failed a moment ago, too. */
static enum verdict pass(struct walk *w, enum pg_target wanted, bool lately)
{
	struct pg_hosts *memory = &w->source->hosts;
	unsigned *order = mem_array(memory->count, sizeof(*order));
	unsigned count = pg_hosts_order(memory, now_us(w), order);
	enum verdict v = FAILED;

	w->wanted = wanted;
	if (lately)
		count = memory->count;
	for (unsigned i = 0; i < count && v != CONNECTED && v != CANCELLED; i++)
		v = try_host(w, order[i]);
	free(order);
	return v;
}

/* Suspends. */
static enum verdict walk(struct walk *w)
{
	enum pg_target target = w->source->conninfo->target;

	if (target != PG_PREFER_STANDBY)
		return pass(w, target, true);
	/* Standbys first; one that failed a moment ago keeps nobody waiting while there is a primary. */
	enum verdict v = pass(w, PG_STANDBY, false);
	if (v == CONNECTED || v == CANCELLED)
		return v;
	w->reasons.len = 0;
	return pass(w, PG_ANY, true);
}

/* Suspends. */
static int connect_task(void *arg)
{
	struct pg_connection *conn = arg;
	struct pg_client *c = conn->client;
	struct walk w = {.conn = conn, .source = c->source};
	struct error e = ERROR_INIT;
	int r = 0;

	enum verdict v = walk(&w);
	conn->connector = NULL;
	if (v == CONNECTED) {
		pg_connection_established(conn, w.pg);
	} else {
		const char *why = v == CANCELLED ? "cancelled" : buf_cstr(&w.reasons);
		r = error_say(&e, v == CANCELLED ? -ECANCELED : -ECONNREFUSED, REASON_UNAVAILABLE,
			      "source %s: can't connect: %s", c->source->base.name, why);
		if (v != CANCELLED)
			health_failed(&c->source->health, why);
		pg_connection_close(conn, e.what);
	}
	buf_done(&w.reasons);
	pg_pool_connected(c, r, &e);
	return 0; /* the pool has been told */
}

int pg_connect_start(struct pg_connection *conn)
{
	struct task_options options = {.name = "postgres connect", .detached = true};
	return task_spawn(&conn->connector, connect_task, conn, &options);
}

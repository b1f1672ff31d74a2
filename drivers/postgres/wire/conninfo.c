/* The URL is taken apart here: libpq would walk through its hosts by itself, one after another under one time-out, and
 * would always begin with the first. So each attempt gets one host with one address (connect.c). libpq's variables
 * count for what we take from it: PGHOST, PGHOSTADDR, PGPORT, PGTARGETSESSIONATTRS, PGCONNECT_TIMEOUT. */
#include "drivers/postgres/wire/conninfo.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "drivers/postgres/keys.h"

#define ONE_HOST_US      5000000 /* connect_timeout if nothing else is said */
#define SEVERAL_HOSTS_US 3000000 /* … for the hosts together */
#define BUDGET_LEAST_US  1000000

static const char *const target_names[] = {
	[PG_ANY] = "any",         [PG_READ_WRITE] = "read-write", [PG_READ_ONLY] = "read-only",
	[PG_PRIMARY] = "primary", [PG_STANDBY] = "standby",       [PG_PREFER_STANDBY] = "prefer-standby",
};

/* --- keywords and values --- */

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

static struct pg_conninfo *new_empty(void)
{
	struct pg_conninfo *info = mem_zalloc(sizeof(*info));
	atomic_init(&info->references, 1);
	return info;
}

struct pg_conninfo *pg_conninfo_keep(struct pg_conninfo *info)
{
	atomic_fetch_add_explicit(&info->references, 1, memory_order_relaxed);
	return info;
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
	for (unsigned i = 0; i < info->host_count; i++) {
		free(info->hosts[i].name);
		free(info->hosts[i].address);
		free(info->hosts[i].port);
	}
	free(info->hosts);
	free(info->keywords);
	free(info->values);
	free(info);
}

/* --- hosts --- */

static unsigned item_count(const char *list)
{
	unsigned n = 1;

	if (!list || !*list)
		return 0;
	for (; *list; list++)
		n += *list == ',';
	return n;
}

/* The i-th item of a list that is separated by commas, as libpq reads it; "" beyond its end. */
static char *item(const char *list, unsigned i)
{
	for (; list && i > 0; i--) {
		list = strchr(list, ',');
		list = list ? list + 1 : NULL;
	}
	return list ? mem_strndup(list, strcspn(list, ",")) : mem_strdup("");
}

static unsigned count_hosts(const char *host, const char *hostaddr)
{
	unsigned n = *hostaddr ? item_count(hostaddr) : item_count(host);
	return n ? n : 1;
}

/* NULL: the lists fit each other. */
static const char *list_mistake(const char *host, const char *hostaddr, const char *port)
{
	unsigned hosts = count_hosts(host, hostaddr);

	if (*host && *hostaddr && item_count(host) != hosts)
		return "host and hostaddr must have as many items as each other";
	if (item_count(port) > 1 && item_count(port) != hosts)
		return "port takes one number for all hosts, or one for each";
	for (unsigned i = 0; i < item_count(port); i++) {
		char *number = item(port, i), *end;
		long n = strtol(number, &end, 10);
		bool good = !*number || (!*end && n > 0 && n < 65536);
		free(number);
		if (!good)
			return "port must be a number between 1 and 65535";
	}
	return NULL;
}

static const char *or_empty(const char *value)
{
	return value ? value : "";
}

static void find_hosts(struct pg_conninfo *info)
{
	const char *host = or_empty(pg_conninfo_get(info, "host"));
	const char *hostaddr = or_empty(pg_conninfo_get(info, "hostaddr"));
	const char *port = or_empty(pg_conninfo_get(info, "port"));
	bool one_port = item_count(port) == 1;

	info->host_count = count_hosts(host, hostaddr);
	info->hosts = mem_array(info->host_count, sizeof(*info->hosts));
	for (unsigned i = 0; i < info->host_count; i++)
		info->hosts[i] = (struct pg_host){
			.name = item(host, i), .address = item(hostaddr, i), .port = item(port, one_port ? 0 : i)};
}

struct pg_conninfo *pg_conninfo_for(const struct pg_conninfo *info, const struct pg_host *host, const char *address)
{
	struct pg_conninfo *copy = new_empty();

	for (unsigned i = 0; i < info->count; i++)
		set(copy, info->keywords[i], info->values[i]);
	/* A service says by itself which hosts there are: libpq walks through them. */
	if (info->host_count == 1 && !*host->name && !*host->address)
		return copy;
	set(copy, "host", host->name);
	set(copy, "hostaddr", *address ? address : host->address);
	set(copy, "port", host->port);
	set(copy, "target_session_attrs", "any");
	return copy;
}

/* --- from the URL --- */

static bool read_target(const char *name, enum pg_target *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(target_names); i++) {
		if (strcmp(name, target_names[i]) == 0) {
			*out = (enum pg_target)i;
			return true;
		}
	}
	return false;
}

/* What the environment says of what we take from libpq. */
static void add_environment(struct pg_conninfo *info)
{
	static const char *const taken[] = {"host", "hostaddr", "port", "target_session_attrs", "connect_timeout"};
	PQconninfoOption *defaults = pg_conninfo_get(info, "service") ? NULL : PQconndefaults();

	for (PQconninfoOption *o = defaults; o && o->keyword; o++) {
		for (size_t i = 0; i < ARRAY_SIZE(taken); i++) {
			if (o->val && strcmp(o->keyword, taken[i]) == 0)
				set_default(info, o->keyword, o->val);
		}
	}
	PQconninfoFree(defaults);
}

/* What to_json needs may be overruled by the URL's own options, but never that shared sessions only read. If the target
 * depends on what the session's default is without us, ours is set after that has been seen; that this was not ignored
 * by a pooler is then told by a setting of our own. */
static void set_session(struct pg_conninfo *info, const struct config_source *config)
{
	struct buf options = BUF_INIT;
	const char *own = pg_conninfo_get(info, "options");
	int64_t longest_ms = config->longest_us / 1000 + 1000;

	if (!((const struct pg_source_keys *)config->own)->prepare)
		return;
	/* JSON has ISO dates, whatever style the URL asks for: that is how to_json does it. */
	buf_printf(&options,
		   "-c IntervalStyle=postgres -c TimeZone=UTC -c extra_float_digits=1 -c statement_timeout=%lld %s "
		   "-c DateStyle=ISO -c standard_conforming_strings=on %s",
		   (long long)(longest_ms > INT32_MAX ? INT32_MAX : longest_ms), own ? own : "",
		   pg_target_looks_at_default(info->target) ? "-c gatherd.options=on"
							    : "-c default_transaction_read_only=on");
	set(info, "options", buf_cstr(&options));
	buf_done(&options);
}

static void set_defaults(struct pg_conninfo *info)
{
	set(info, "client_encoding", "UTF8");
	set(info, "gssencmode", "disable");
	set_default(info, "fallback_application_name", "gatherd");
	set_default(info, "keepalives_idle", "10");
	set_default(info, "keepalives_interval", "3");
	set_default(info, "keepalives_count", "3");
	set_default(info, "tcp_user_timeout", "10000");
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
	struct pg_conninfo *info = new_empty();
	for (PQconninfoOption *o = parsed; o->keyword; o++) {
		if (o->val)
			set(info, o->keyword, o->val);
	}
	PQconninfoFree(parsed);
	if (config->password.set)
		set(info, "password", config->password.value);
	add_environment(info);
	find_hosts(info);
	const char *mistake = list_mistake(or_empty(pg_conninfo_get(info, "host")),
					   or_empty(pg_conninfo_get(info, "hostaddr")),
					   or_empty(pg_conninfo_get(info, "port")));
	const char *target = pg_conninfo_get(info, "target_session_attrs");
	if (!mistake && target && !read_target(target, &info->target))
		mistake = "target_session_attrs is none of libpq's";
	if (mistake) {
		error_set(e, -EINVAL, 500, NULL, "source %s: %s", config->name, mistake);
		pg_conninfo_drop(info);
		return NULL;
	}
	set_defaults(info);
	set_session(info, config);
	return info;
}

int64_t pg_conninfo_budget_us(const struct pg_conninfo *info, unsigned targets)
{
	const char *seconds = pg_conninfo_get(info, "connect_timeout");
	long n = seconds ? strtol(seconds, NULL, 10) : 0;
	int64_t all_us = targets > 1 ? SEVERAL_HOSTS_US : ONE_HOST_US;

	if (n > 0 && n < 3600)
		all_us = (int64_t)n * 1000000;
	int64_t us = all_us / (targets ? targets : 1);
	return us < BUDGET_LEAST_US ? BUDGET_LEAST_US : us;
}

/* --- check --- */

static void check_option(const struct config_source *config, const PQconninfoOption *o, struct diagnostics *d)
{
	enum pg_target target;

	if (strcmp(o->keyword, "client_encoding") == 0 && strcasecmp(o->val, "utf8") != 0 &&
	    strcasecmp(o->val, "utf-8") != 0)
		diagnostics_error(d, config->url_at, "client_encoding: only UTF8 is possible");
	if (strcmp(o->keyword, "replication") == 0)
		diagnostics_error(d, config->url_at, "replication: a replication connection runs no steps");
	if (strcmp(o->keyword, "target_session_attrs") == 0 && !read_target(o->val, &target))
		diagnostics_error(d, config->url_at,
				  "target_session_attrs must be any, read-write, read-only, primary, standby or "
				  "prefer-standby");
}

void pg_conninfo_check(const struct config_source *config, struct diagnostics *d)
{
	const char *host = "", *hostaddr = "", *port = "";
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
		check_option(config, o, d);
		if (strcmp(o->keyword, "host") == 0)
			host = o->val;
		else if (strcmp(o->keyword, "hostaddr") == 0)
			hostaddr = o->val;
		else if (strcmp(o->keyword, "port") == 0)
			port = o->val;
	}
	/* Without a host the environment may name several. */
	const char *mistake = *host || *hostaddr ? list_mistake(host, hostaddr, port) : NULL;
	if (mistake)
		diagnostics_error(d, config->url_at, "%s", mistake);
	PQconninfoFree(parsed);
}

/* Takes a URL apart, option by option, by a table: an option that libmongoc would honour wrongly together with streams
 * of our own must not reach it, and one that nobody knows is a mistake of the writer. */
#include "drivers/mongo/wire/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/ascii.h"

/* libmongoc's 10 s would let one member that swallows packets hold up every look for the servers that long. */
#define CONNECT_TIMEOUT_MS 2000

enum option_use {
	PASS,            /* libmongoc's */
	DROP,            /* harmless, and decided here */
	CONNECT_TIMEOUT, /* libmongoc's and ours */
	TLS_ON,
	TLS_CA_FILE,
	TLS_KEY_FILE,
	TLS_KEY_PASSWORD,
	MECHANISM,
	REFUSE
};

struct option {
	const char *name;
	enum option_use use;
	const char *why; /* DROP (may be NULL), REFUSE */
};

static const char by_pool[] = "the number of connections is pool.size";
static const char uncompressed[] = "what comes from the server is checked on its way, and is not compressed";
static const char verified[] = "the server's certificate is always verified; name its authority with tlsCAFile";

static const struct option options[] = {
	{"appname", PASS, NULL},
	{"authMechanism", MECHANISM, NULL},
	{"authMechanismProperties", REFUSE, "not supported by this build"},
	{"authSource", PASS, NULL},
	{"compressors", DROP, uncompressed},
	{"connectTimeoutMS", CONNECT_TIMEOUT, NULL},
	{"directConnection", PASS, NULL},
	{"gssapiServiceName", REFUSE, "not supported by this build"},
	{"heartbeatFrequencyMS", PASS, NULL},
	{"journal", PASS, NULL},
	{"loadBalanced", PASS, NULL},
	{"localThresholdMS", PASS, NULL},
	{"maxPoolSize", DROP, by_pool},
	{"maxStalenessSeconds", PASS, NULL},
	{"minPoolSize", DROP, by_pool},
	{"readConcernLevel", PASS, NULL},
	{"readPreference", PASS, NULL},
	{"readPreferenceTags", PASS, NULL},
	{"replicaSet", PASS, NULL},
	{"retryReads", DROP, NULL},
	{"retryWrites", DROP, NULL},
	{"serverSelectionTimeoutMS", DROP, "how long to wait for a server is pool.acquire_timeout"},
	{"serverSelectionTryOnce", DROP, NULL},
	{"socketCheckIntervalMS", PASS, NULL},
	{"socketTimeoutMS", PASS, NULL},
	{"ssl", TLS_ON, NULL},
	{"tls", TLS_ON, NULL},
	{"tlsAllowInvalidCertificates", REFUSE, verified},
	{"tlsAllowInvalidHostnames", REFUSE, verified},
	{"tlsCAFile", TLS_CA_FILE, NULL},
	{"tlsCertificateKeyFile", TLS_KEY_FILE, NULL},
	{"tlsCertificateKeyFilePassword", TLS_KEY_PASSWORD, NULL},
	{"tlsDisableCertificateRevocationCheck", DROP, NULL},
	{"tlsDisableOCSPEndpointCheck", DROP, NULL},
	{"tlsInsecure", REFUSE, verified},
	{"w", PASS, NULL},
	{"waitQueueTimeoutMS", DROP, "how long to wait for a connection is pool.acquire_timeout"},
	{"wtimeoutMS", PASS, NULL},
	{"zlibCompressionLevel", DROP, uncompressed},
};

/* The options of every client beyond the URL's own: tried once (waiting is the pool's, libmongoc would sleep on the
 * thread), no second attempts that the pool knows nothing of. */
static const char forced[] = "serverSelectionTryOnce=true&retryReads=false&retryWrites=false";

struct parser {
	struct mongo_url *out;
	struct arena *arena;
	const struct config_source *config;
	struct diagnostics *diagnostics;
	struct buf passed; /* options for libmongoc */
	long connect_timeout_ms;
	bool wrong;
};

static void complain(struct parser *p, const char *what)
{
	diagnostics_error(p->diagnostics, p->config->url_at, "source %s: %s", p->config->name, what);
	p->wrong = true;
}

static const char *decoded(struct parser *p, const char *s, size_t len)
{
	char *out = arena_strndup(p->arena, s, len);
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		bool escape = s[i] == '%' && i + 2 < len;
		int high = escape ? ascii_hex_value(s[i + 1]) : -1, low = escape ? ascii_hex_value(s[i + 2]) : -1;
		if (high >= 0 && low >= 0) {
			out[n++] = (char)(high << 4 | low);
			i += 2;
		} else {
			out[n++] = s[i];
		}
	}
	out[n] = '\0';
	return out;
}

static const struct option *find_option(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if (strlen(options[i].name) == len && strncasecmp(options[i].name, name, len) == 0)
			return &options[i];
	}
	return NULL;
}

static void unknown_option(struct parser *p, const char *name)
{
	const char *names[ARRAY_SIZE(options)];

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		names[i] = options[i].name;
	if (p->config->url_expanded) {
		complain(p, "unknown option in the URL, part of which is from the environment");
		return;
	}
	const char *near = nearest_name(name, names, ARRAY_SIZE(names));
	complain(p, arena_printf(p->arena, "unknown option \"%s\" in the URL%s%s%s", name,
				 near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : ""));
}

static void read_tls_on(struct parser *p, const char *name, const char *value)
{
	if (strcasecmp(value, "true") == 0)
		p->out->tls = true;
	else if (strcasecmp(value, "false") != 0)
		complain(p, arena_printf(p->arena, "%s must be true or false", name));
}

static void read_connect_timeout(struct parser *p, const char *value)
{
	char *end;

	p->connect_timeout_ms = strtol(value, &end, 10);
	if (end == value || *end || p->connect_timeout_ms < 1 || p->connect_timeout_ms > 3600000)
		complain(p, "connectTimeoutMS must be a number of milliseconds between 1 and 3600000");
}

static void read_mechanism(struct parser *p, const char *value)
{
	static const char *const known[] = {"SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN"};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		if (strcmp(known[i], value) == 0)
			return;
	}
	complain(p, "authMechanism must be SCRAM-SHA-256, SCRAM-SHA-1 or PLAIN; no other is supported by this build");
}

static void pass(struct parser *p, const char *text, size_t len)
{
	buf_append(&p->passed, text, len);
	buf_char(&p->passed, '&');
}

static void read_option(struct parser *p, const char *text, size_t len)
{
	const char *equals = memchr(text, '=', len);
	size_t name_len = equals ? (size_t)(equals - text) : len;
	const char *name = arena_strndup(p->arena, text, name_len);
	const char *value = equals ? decoded(p, equals + 1, len - name_len - 1) : "";
	const struct option *o = find_option(name, name_len);

	if (!o) {
		unknown_option(p, name);
		return;
	}
	switch (o->use) {
	case DROP:
		if (o->why)
			diagnostics_warning(p->diagnostics, p->config->url_at, "source %s: %s has no effect: %s",
					    p->config->name, o->name, o->why);
		break;
	case REFUSE:
		complain(p, arena_printf(p->arena, "%s: %s", o->name, o->why));
		break;
	case TLS_ON:
		read_tls_on(p, o->name, value);
		break;
	case TLS_CA_FILE:
		p->out->tls_options.ca_file = value;
		break;
	case TLS_KEY_FILE:
		p->out->tls_options.certificate_file = value;
		break;
	case TLS_KEY_PASSWORD:
		p->out->tls_options.key_password = value;
		break;
	case CONNECT_TIMEOUT:
		read_connect_timeout(p, value);
		break;
	case MECHANISM:
		read_mechanism(p, value);
		pass(p, text, len);
		break;
	case PASS:
		pass(p, text, len);
		break;
	}
}

static void read_options(struct parser *p, const char *text)
{
	while (*text) {
		size_t len = strcspn(text, "&");
		if (len)
			read_option(p, text, len);
		text += len;
		if (*text)
			text++;
	}
	const struct mongo_tls_options *t = &p->out->tls_options;
	if (!p->out->tls && (t->ca_file || t->certificate_file || t->key_password))
		complain(p, "TLS options without tls=true");
}

static void set_password(struct parser *p)
{
	mongoc_uri_t *uri = p->out->uri;

	if (!p->config->password.set)
		return;
	if (!mongoc_uri_get_username(uri))
		complain(p, "a password, but the URL names no user: mongodb://USER@HOST/DATABASE");
	else if (mongoc_uri_get_password(uri) && *mongoc_uri_get_password(uri))
		complain(p, "the password stands in the URL and in `password`; give it once");
	else if (!mongoc_uri_set_password(uri, p->config->password.value))
		complain(p, "the password is not UTF-8");
}

static void check_uri(struct parser *p)
{
	const mongoc_uri_t *uri = p->out->uri;
	const char *database = mongoc_uri_get_database(uri);

	if (!database || !*database)
		complain(p, "the URL names no database: mongodb://HOST/DATABASE");
	else
		p->out->database = arena_strdup(p->arena, database);
	for (const mongoc_host_list_t *h = mongoc_uri_get_hosts(uri); h && p->out->tls; h = h->next) {
		if (h->family == AF_UNIX)
			complain(p, "TLS over a Unix socket");
	}
}

/* `head` is everything before the options. */
static void make_uri(struct parser *p, const char *head, size_t head_len)
{
	bson_error_t error;
	bool slash = memchr(head + strlen("mongodb://"), '/', head_len - strlen("mongodb://")) != NULL;
	const char *text = arena_printf(p->arena, "%.*s%s?%.*sconnectTimeoutMS=%ld&%s", (int)head_len, head,
					slash ? "" : "/", (int)p->passed.len, p->passed.data ? p->passed.data : "",
					p->connect_timeout_ms, forced);

	p->out->connect_timeout_us = (int64_t)p->connect_timeout_ms * 1000;
	p->out->uri = mongoc_uri_new_with_error(text, &error);
	if (!p->out->uri) {
		/* libmongoc quotes what it does not like: not if that may be a password. */
		bool secret = memchr(head, '@', head_len) != NULL;
		complain(p, arena_printf(p->arena, "the URL is wrong%s%s", secret ? "" : ": ",
					 secret ? "" : error.message));
		return;
	}
	set_password(p);
	check_uri(p);
}

bool mongo_url_parse(struct mongo_url *out, struct arena *a, const struct config_source *config, struct diagnostics *d)
{
	struct parser p = {
		.out = out, .arena = a, .config = config, .diagnostics = d, .connect_timeout_ms = CONNECT_TIMEOUT_MS};
	const char *url = config->url;
	size_t head = strcspn(url, "?");

	*out = (struct mongo_url){0};
	if (strncmp(url, "mongodb+srv://", strlen("mongodb+srv://")) == 0) {
		complain(&p,
			 "mongodb+srv:// is not supported by this build; name the hosts: mongodb://HOST,HOST/DATABASE");
		return false;
	}
	if (strncmp(url, "mongodb://", strlen("mongodb://")) != 0) {
		complain(&p, "a MongoDB URL begins with mongodb://");
		return false;
	}
	read_options(&p, url[head] ? url + head + 1 : "");
	if (!p.wrong)
		make_uri(&p, url, head);
	buf_done(&p.passed);
	if (p.wrong)
		mongo_url_done(out);
	return !p.wrong;
}

void mongo_url_done(struct mongo_url *u)
{
	if (u->uri)
		mongoc_uri_destroy(u->uri);
	u->uri = NULL;
}

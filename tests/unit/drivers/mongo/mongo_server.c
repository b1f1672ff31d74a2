/* The scripted MongoDB: its threads, and what they answer. */
#include "tests/unit/drivers/mongo/mongo_server.h"

#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* --- bytes --- */

static bool peer_read(struct peer *p, void *out, size_t size)
{
	for (size_t done = 0; done < size;) {
		size_t want = size - done;
		long limit = atomic_load(&p->server->cut_requests);
		if (limit >= p->received && (long)want > limit - p->received)
			want = (size_t)(limit - p->received);
		if (want == 0) {
			if (atomic_fetch_sub(&p->server->cuts, 1) > 0)
				return false;
			atomic_store(&p->server->cut_requests, -1);
			continue;
		}
		ssize_t n = p->ssl ? SSL_read(p->ssl, (char *)out + done, (int)want)
				   : recv(p->fd, (char *)out + done, want, 0);
		if (n <= 0)
			return false;
		done += (size_t)n;
		p->received += n;
	}
	return true;
}

static bool peer_write(struct peer *p, const void *data, size_t size)
{
	long limit = atomic_load(&p->server->cut_after);
	bool cut = limit >= p->sent && p->sent + (long)size > limit && atomic_fetch_sub(&p->server->cuts, 1) > 0;
	if (cut)
		size = (size_t)(limit - p->sent);
	for (size_t done = 0; done < size;) {
		ssize_t n = p->ssl ? SSL_write(p->ssl, (const char *)data + done, (int)(size - done))
				   : send(p->fd, (const char *)data + done, size - done, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		done += (size_t)n;
		p->sent += n;
	}
	return !cut;
}

/* --- answers --- */

static void put32(uint8_t *at, int32_t n)
{
	memcpy(at, &n, sizeof(n));
}

bool answer(struct peer *p, int32_t request, bool legacy, const bson_t *document)
{
	size_t head = legacy ? 36 : 21, size = head + document->len;
	uint8_t *message = calloc(1, size);

	put32(message, (int32_t)size);
	put32(message + 8, request);
	put32(message + 12, legacy ? 1 : 2013);
	if (legacy) {
		put32(message + 16, 8);
		put32(message + 32, 1);
	}
	memcpy(message + head, bson_get_data(document), document->len);
	bool good = peer_write(p, message, size);
	free(message);
	return good;
}

static void say_hello(struct server *s, bson_t *reply)
{
	BSON_APPEND_BOOL(reply, "helloOk", true);
	int document_max = atomic_load(&s->document_max), statements_max = atomic_load(&s->statements_max);
	int wire = atomic_load(&s->wire);
	bool secondary = atomic_load(&s->secondary);

	BSON_APPEND_BOOL(reply, "ismaster", !secondary);
	if (secondary) {
		BSON_APPEND_BOOL(reply, "secondary", true);
	}
	if (secondary || atomic_load(&s->replica))
		BSON_APPEND_UTF8(reply, "setName", "rs");
	BSON_APPEND_INT32(reply, "maxBsonObjectSize", document_max ? document_max : 16777216);
	BSON_APPEND_INT32(reply, "maxMessageSizeBytes", 48000000);
	BSON_APPEND_INT32(reply, "maxWriteBatchSize", statements_max ? statements_max : 100000);
	if (!atomic_load(&s->old))
		BSON_APPEND_INT32(reply, "logicalSessionTimeoutMinutes", 30);
	BSON_APPEND_INT32(reply, "minWireVersion", 0);
	BSON_APPEND_INT32(reply, "maxWireVersion", wire ? wire : 17);
}

void say_error(bson_t *reply, int code)
{
	BSON_APPEND_DOUBLE(reply, "ok", 0);
	BSON_APPEND_INT32(reply, "code", code);
	BSON_APPEND_UTF8(reply, "codeName", "Scripted");
	BSON_APPEND_UTF8(reply, "errmsg", "secret internals");
}

void say_batch(bson_t *reply, const char *name, const char *collection, int64_t cursor, int from, int count)
{
	bson_t c, list, document;
	char ns[128], key[16];

	snprintf(ns, sizeof(ns), "catalog.%s", collection);
	BSON_APPEND_DOCUMENT_BEGIN(reply, "cursor", &c);
	BSON_APPEND_INT64(&c, "id", cursor);
	BSON_APPEND_UTF8(&c, "ns", ns);
	BSON_APPEND_ARRAY_BEGIN(&c, name, &list);
	for (int i = 0; i < count; i++) {
		snprintf(key, sizeof(key), "%d", i);
		BSON_APPEND_DOCUMENT_BEGIN(&list, key, &document);
		BSON_APPEND_INT32(&document, "n", from + i);
		bson_append_document_end(&list, &document);
	}
	bson_append_array_end(&c, &list);
	bson_append_document_end(reply, &c);
}

static void say_document(bson_t *reply, const char *collection, const bson_t *document)
{
	bson_t c, list;
	char ns[128];

	snprintf(ns, sizeof(ns), "catalog.%s", collection);
	BSON_APPEND_DOCUMENT_BEGIN(reply, "cursor", &c);
	BSON_APPEND_INT64(&c, "id", 0);
	BSON_APPEND_UTF8(&c, "ns", ns);
	BSON_APPEND_ARRAY_BEGIN(&c, "firstBatch", &list);
	BSON_APPEND_DOCUMENT(&list, "0", document);
	bson_append_array_end(&c, &list);
	bson_append_document_end(reply, &c);
}

static void say_nested(bson_t *reply, const char *collection, int levels)
{
	bson_t *inner = bson_new();
	for (int i = 0; i < levels; i++) {
		bson_t *outer = bson_new();
		BSON_APPEND_DOCUMENT(outer, "d", inner);
		bson_destroy(inner);
		inner = outer;
	}
	say_document(reply, collection, inner);
	bson_destroy(inner);
}

static void note_session(struct peer *p, const bson_t *command, bool must_match)
{
	bson_iter_t i, inner;
	if (!bson_iter_init_find(&i, command, "lsid") || !bson_iter_recurse(&i, &inner) || !bson_iter_next(&inner))
		return;
	uint32_t len;
	const uint8_t *id;
	bson_subtype_t subtype;
	bson_iter_binary(&inner, &subtype, &len, &id);
	if (must_match && (!p->has_lsid || memcmp(p->lsid, id, 16) != 0))
		atomic_fetch_add(&p->server->other_session, 1);
	memcpy(p->lsid, id, 16);
	p->has_lsid = true;
}

/* What a collection's name says. Returns false where there is to be no answer. */
static bool say_scripted(struct peer *p, bson_t *reply, const bson_t *command, const char *name)
{
	struct server *s = p->server;
	int n, m;

	if (atomic_load(&s->not_primary)) {
		say_error(reply, 10107);
	} else if (sscanf(name, "many_%d_%d", &n, &m) == 2) {
		say_batch(reply, "firstBatch", name, m > 1 ? (int64_t)(m - 1) << 32 | n : 0, 0, n);
	} else if (strcmp(name, "endless") == 0) {
		say_batch(reply, "firstBatch", name, INT64_C(1000000) << 32 | 1000, 0, 1000);
	} else if (sscanf(name, "stuck_%d", &n) == 1) {
		say_batch(reply, "firstBatch", name, 1, 0, n);
	} else if (sscanf(name, "docs_%d", &n) == 1) {
		say_batch(reply, "firstBatch", name, 0, 0, n);
	} else if (sscanf(name, "error_%d", &n) == 1) {
		say_error(reply, n);
	} else if (sscanf(name, "nested_%d", &n) == 1) {
		say_nested(reply, name, n);
	} else if (strcmp(name, "echo") == 0) {
		say_document(reply, name, command);
	} else if (sscanf(name, "slow_%d", &n) == 1) {
		usleep((useconds_t)n * 1000);
		say_batch(reply, "firstBatch", name, 0, 0, 1);
	} else if (strcmp(name, "hang") == 0) {
		return false;
	}
	return true;
}

/* --- writes --- */

static void note_write(struct server *s, const bson_t *command)
{
	bson_t shown = BSON_INITIALIZER;

	bson_copy_to_excluding_noinit(command, &shown, "maxTimeMS", "lsid", "$db", "$readPreference", NULL);
	char *json = bson_as_relaxed_extended_json(&shown, NULL);
	pthread_mutex_lock(&s->lock);
	snprintf(s->last, sizeof(s->last), "%s", json);
	pthread_mutex_unlock(&s->lock);
	bson_free(json);
	bson_destroy(&shown);
	atomic_fetch_add(&s->writes, 1);
}

static void say_upserts(bson_t *reply, const bson_t *statements)
{
	bson_t list, one;
	bson_iter_t i, inner;
	char key[16];
	unsigned n = 0;

	BSON_APPEND_ARRAY_BEGIN(reply, "upserted", &list);
	bson_iter_init(&i, statements);
	for (int index = 0; bson_iter_next(&i); index++) {
		if (!bson_iter_recurse(&i, &inner) || !bson_iter_find(&inner, "upsert"))
			continue;
		snprintf(key, sizeof(key), "%u", n++);
		BSON_APPEND_DOCUMENT_BEGIN(&list, key, &one);
		BSON_APPEND_INT32(&one, "index", index);
		BSON_APPEND_INT32(&one, "_id", 1000 + index);
		bson_append_document_end(&list, &one);
	}
	bson_append_array_end(reply, &list);
}

static void say_write_error(bson_t *reply, int index, int code)
{
	bson_t list, one;

	BSON_APPEND_ARRAY_BEGIN(reply, "writeErrors", &list);
	BSON_APPEND_DOCUMENT_BEGIN(&list, "0", &one);
	BSON_APPEND_INT32(&one, "index", index);
	BSON_APPEND_INT32(&one, "code", code);
	BSON_APPEND_UTF8(&one, "errmsg", "secret internals");
	bson_append_document_end(&list, &one);
	bson_append_array_end(reply, &list);
}

void say_concern(bson_t *reply, int code)
{
	bson_t concern;

	BSON_APPEND_DOCUMENT_BEGIN(reply, "writeConcernError", &concern);
	BSON_APPEND_INT32(&concern, "code", code);
	BSON_APPEND_UTF8(&concern, "errmsg", "waiting for replication timed out");
	bson_append_document_end(reply, &concern);
}

/* list: the member that holds the statements. Returns false where there is to be no answer. */
static bool say_written(struct peer *p, bson_t *reply, const bson_t *command, const char *name, const char *list)
{
	struct server *s = p->server;
	bson_iter_t i;
	bson_t statements;
	uint32_t len;
	const uint8_t *data;
	int n = 0, bad, code;

	note_write(s, command);
	bool ordered = !bson_iter_init_find(&i, command, "ordered") || bson_iter_bool(&i);
	if (!bson_iter_init_find(&i, command, list) || !BSON_ITER_HOLDS_ARRAY(&i))
		return false;
	bson_iter_array(&i, &len, &data);
	bson_init_static(&statements, data, len);
	n = (int)bson_count_keys(&statements);
	atomic_fetch_add(&s->statements, n);
	if (atomic_load(&s->not_primary)) {
		say_error(reply, 10107);
		return true;
	}
	if (sscanf(name, "error_%d", &code) == 1) {
		say_error(reply, code);
		return true;
	}
	if (strcmp(name, "hang") == 0)
		return false;
	if (sscanf(name, "bad_%d_%d", &bad, &code) == 2 && bad < n) {
		say_write_error(reply, bad, code);
		n = ordered ? bad : n - 1;
	}
	if (strcmp(name, "wordless") != 0)
		BSON_APPEND_INT32(reply, "n", n);
	if (strcmp(list, "updates") == 0) {
		BSON_APPEND_INT32(reply, "nModified", n);
		say_upserts(reply, &statements);
	}
	if (strcmp(name, "concern") == 0)
		say_concern(reply, 64);
	return true;
}

static bool say_modified(struct peer *p, bson_t *reply, const bson_t *command, const char *name)
{
	int code;

	note_write(p->server, command);
	if (sscanf(name, "error_%d", &code) == 1)
		say_error(reply, code);
	else if (strcmp(name, "echo") == 0)
		BSON_APPEND_DOCUMENT(reply, "value", command);
	else
		BSON_APPEND_NULL(reply, "value");
	if (strcmp(name, "concern") == 0)
		say_concern(reply, 64);
	return strcmp(name, "hang") != 0;
}

static void say_more(struct peer *p, bson_t *reply, const bson_t *command)
{
	bson_iter_t i;
	bson_iter_init_find(&i, command, "getMore");
	int64_t cursor = bson_iter_int64(&i);
	int left = (int)(cursor >> 32), count = (int)(cursor & 0xffffffff);
	bson_iter_init_find(&i, command, "collection");
	bson_iter_t size;
	atomic_store(&p->server->last_batch_size,
		     bson_iter_init_find(&size, command, "batchSize") ? bson_iter_int32(&size) : 0);
	atomic_fetch_add(&p->server->get_mores, 1);
	say_batch(reply, "nextBatch", bson_iter_utf8(&i, NULL), left > 1 ? (int64_t)(left - 1) << 32 | count : 0, 0,
		  count);
}

static bool refuses_concern(const bson_t *command, const char *name)
{
	static const char *const readers[] = {"aggregate", "count", "distinct", "find"};

	if (!bson_has_field(command, "readConcern") || bson_has_field(command, "startTransaction"))
		return false;
	for (size_t i = 0; i < sizeof(readers) / sizeof(*readers); i++)
		if (strcmp(name, readers[i]) == 0)
			return false;
	return true;
}

static bool respond(struct peer *p, int32_t request, bool legacy, const bson_t *command)
{
	struct server *s = p->server;
	bson_t reply = BSON_INITIALIZER;
	bson_iter_t i;
	bool good = bson_iter_init(&i, command) && bson_iter_next(&i);
	const char *name = good ? bson_iter_key(&i) : "";
	const char *collection = good && BSON_ITER_HOLDS_UTF8(&i) ? bson_iter_utf8(&i, NULL) : "";
	bool answered = true;

	enum script script = s->script ? s->script(s, name, command, &reply) : SCRIPT_NOTHING;
	bool alone = !bson_has_field(command, "txnNumber");
	if (alone)
		note_session(p, command, strcmp(name, "getMore") == 0 || strcmp(name, "killCursors") == 0);
	if (bson_iter_init_find(&i, command, "maxTimeMS"))
		atomic_store(&s->last_max_time_ms, bson_iter_int32(&i));
	if (script == SCRIPT_CUT) {
		good = false;
	} else if (script != SCRIPT_NOTHING) {
		answered = script == SCRIPT_ANSWER;
	} else if (refuses_concern(command, name)) {
		say_error(&reply, 72);
	} else if (!alone && strcmp(name, "count") == 0) {
		say_error(&reply, 263);
	} else if (strcasecmp(name, "hello") == 0 || strcasecmp(name, "ismaster") == 0) {
		say_hello(s, &reply);
	} else if (strcmp(name, "getMore") == 0) {
		say_more(p, &reply, command);
		answered = bson_iter_init_find(&i, command, "getMore") && bson_iter_int64(&i) != 1;
	} else if (strcmp(name, "insert") == 0) {
		answered = say_written(p, &reply, command, collection, "documents");
	} else if (strcmp(name, "update") == 0) {
		answered = say_written(p, &reply, command, collection, "updates");
	} else if (strcmp(name, "delete") == 0) {
		answered = say_written(p, &reply, command, collection, "deletes");
	} else if (strcmp(name, "findAndModify") == 0) {
		answered = say_modified(p, &reply, command, collection);
	} else if (strcmp(name, "killCursors") == 0) {
		atomic_fetch_add(&s->killed, 1);
	} else if (strcmp(name, "endSessions") == 0) {
		atomic_fetch_add(&s->goodbyes, 1);
	} else if (strcmp(name, "count") == 0) {
		BSON_APPEND_INT32(&reply, "n", 41);
	} else if (strcmp(name, "distinct") == 0 && strncmp(collection, "docs", 4) == 0) {
		bson_t list;
		BSON_APPEND_ARRAY_BEGIN(&reply, "values", &list);
		BSON_APPEND_UTF8(&list, "0", "a");
		BSON_APPEND_INT32(&list, "1", 2);
		bson_append_array_end(&reply, &list);
	} else if (strcmp(name, "ping") != 0 && !strstr(name, "Transaction")) {
		atomic_fetch_add(&s->finds, 1);
		answered = say_scripted(p, &reply, command, collection);
	}
	if (!bson_has_field(&reply, "ok"))
		BSON_APPEND_DOUBLE(&reply, "ok", 1);
	good = good && (!answered || answer(p, request, legacy, &reply));
	bson_destroy(&reply);
	return good;
}

/* --- connections --- */

static bool serve_one(struct peer *p)
{
	int32_t head[4];
	bson_t command;

	if (!peer_read(p, head, sizeof(head)) || head[0] < 16 || head[0] > 48000000)
		return false;
	size_t size = (size_t)head[0] - sizeof(head);
	uint8_t *body = malloc(size);
	bool good = peer_read(p, body, size);
	uint32_t len = 0;
	size_t at = 5;
	if (good && head[3] == 2004)
		at = 4 + strlen((char *)body + 4) + 1 + 8;
	if (good)
		memcpy(&len, body + at, sizeof(len));
	good = good && bson_init_static(&command, body + at, len) && respond(p, head[1], head[3] == 2004, &command);
	free(body);
	return good;
}

static void *serve(void *arg)
{
	struct peer *p = arg;
	struct server *s = p->server;

	if (s->tls) {
		p->ssl = SSL_new(s->tls);
		SSL_set_fd(p->ssl, p->fd);
	}
	if (!p->ssl || SSL_accept(p->ssl) == 1) {
		while (serve_one(p))
			;
	}
	SSL_free(p->ssl);
	pthread_mutex_lock(&s->lock);
	close(p->fd);
	s->sockets[p->index] = -1;
	s->open--;
	pthread_cond_broadcast(&s->changed);
	pthread_mutex_unlock(&s->lock);
	free(p);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct server *s = arg;
	pthread_attr_t detached;
	pthread_t thread;
	int fd, one = 1;

	pthread_attr_init(&detached);
	pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	while ((fd = accept(s->listener, NULL, NULL)) >= 0) {
		struct peer *p = calloc(1, sizeof(*p));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		pthread_mutex_lock(&s->lock);
		ck_assert_uint_lt(s->accepted, SERVER_CONNECTIONS_MAX);
		*p = (struct peer){.server = s, .fd = fd, .index = s->accepted};
		s->sockets[s->accepted++] = fd;
		s->open++;
		pthread_mutex_unlock(&s->lock);
		ck_assert_int_eq(pthread_create(&thread, &detached, serve, p), 0);
	}
	pthread_attr_destroy(&detached);
	return NULL;
}

/* --- life --- */

/* Everything but the listener is ready. */
static void server_run(struct server *s)
{
	s->running = true;
	s->accepted = s->open = 0;
	atomic_store(&s->cut_after, -1);
	atomic_store(&s->cut_requests, -1);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	ck_assert_int_eq(listen(s->listener, 128), 0);
	ck_assert_int_eq(pthread_create(&s->acceptor, NULL, accept_all, s), 0);
}

void server_start_unix(struct server *s, const char *path)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(s->listener, (struct sockaddr *)&at, sizeof(at)), 0);
	server_run(s);
}

void server_start(struct server *s, uint16_t port)
{
	struct sockaddr_in at = {
		.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int one = 1;

	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	ck_assert_int_eq(bind(s->listener, (struct sockaddr *)&at, sizeof(at)), 0);
	getsockname(s->listener, (struct sockaddr *)&at, &len);
	s->port = ntohs(at.sin_port);
	server_run(s);
}

void server_drop_all(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->accepted; i++) {
		if (s->sockets[i] >= 0)
			shutdown(s->sockets[i], SHUT_RDWR);
	}
	pthread_mutex_unlock(&s->lock);
}

void server_stop(struct server *s)
{
	s->running = false;
	shutdown(s->listener, SHUT_RDWR);
	pthread_join(s->acceptor, NULL);
	close(s->listener);
	server_drop_all(s);
	pthread_mutex_lock(&s->lock);
	while (s->open > 0)
		pthread_cond_wait(&s->changed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->changed);
}

unsigned server_accepted(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	unsigned n = s->accepted;
	pthread_mutex_unlock(&s->lock);
	return n;
}

unsigned server_open(struct server *s)
{
	if (!s->running)
		return 0;
	pthread_mutex_lock(&s->lock);
	unsigned n = s->open;
	pthread_mutex_unlock(&s->lock);
	return n;
}

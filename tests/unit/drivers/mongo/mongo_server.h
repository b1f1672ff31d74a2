/* A scripted MongoDB for the tests of the driver: a thread a connection, on a free port, that speaks OP_MSG. What a
 * command gets for an answer is said by the name of its collection:
 *   docs_N        N documents {n: 0}, {n: 1}, … in one batch
 *   many_N_M      M batches of N documents each
 *   endless       batches without end
 *   echo          one document: the command itself
 *   error_N       the error N
 *   hang          no answer
 *   slow_N        one document, after N milliseconds
 *   nonsense      an answer without a cursor
 *   nested_N      one document with N levels of documents in it
 *   stuck_N       a first batch of N documents, and no answer to getMore
 * What writes get (else: all statements are done; updates match and change one document each, upserts make one):
 *   bad_N_CODE    statement N of each command fails with that code
 *   concern       done, but not confirmed (writeConcernError 64)
 *   wordless      an answer without a count
 *   echo          findAndModify: the command itself; docs_0: null
 * Refused as MongoDB refuses it: a read concern (72) with what does not read collections and begins no transaction,
 * `count` in a transaction (263). A test may look at each command first, and answer it itself: `script`. */
#pragma once

#include <bson/bson.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SERVER_CONNECTIONS_MAX 4096

struct server;

/* What becomes of a command. */
enum script {
	SCRIPT_NOTHING, /* it is answered as ever; what stands in the reply is added */
	SCRIPT_ANSWER,  /* the reply is the answer, and "ok" where it says nothing of that */
	SCRIPT_HANG,
	SCRIPT_CUT, /* the connection */
};
typedef enum script script_fn(struct server *s, const char *name, const bson_t *command, bson_t *reply);

struct server {
	bool running;
	int listener;
	uint16_t port;
	SSL_CTX *tls; /* NULL: clear text */
	pthread_t acceptor;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int sockets[SERVER_CONNECTIONS_MAX]; /* under lock; -1: closed */
	unsigned accepted;                   /* under lock */
	unsigned open;                       /* under lock */
	atomic_bool stopping;

	/* what to do wrong */
	atomic_long cut_after;    /* bytes of answers on a connection, after which it is closed; below 0: never */
	atomic_long cut_requests; /* the same for bytes of requests */
	atomic_int cuts;          /* how many connections are cut */
	atomic_bool old;          /* no sessions */
	atomic_bool not_primary;  /* finds and writes fail with 10107 */
	atomic_bool secondary;    /* says that it is one */
	atomic_bool replica;      /* says that it is the primary of a replica set */
	script_fn *script;        /* on the connection's thread; NULL: none */
	void *script_state;
	atomic_int statements_max, document_max, wire; /* what hello says; 0: the usual */

	/* what was seen */
	atomic_int finds, get_mores, killed, goodbyes, other_session;
	atomic_int last_max_time_ms;
	atomic_int writes, statements, last_batch_size;
	char last[4096]; /* under lock: the last write but its maxTimeMS and what libmongoc adds, as JSON */
};

struct peer {
	struct server *server;
	int fd;
	unsigned index;
	SSL *ssl;
	long sent, received;
	uint8_t lsid[16];
	bool has_lsid;
};

/* --- answers --- */

bool answer(struct peer *p, int32_t request, bool legacy, const bson_t *document);
void say_error(bson_t *reply, int code);
/* cursor: batches that are left, and documents in each. */
void say_batch(bson_t *reply, const char *name, const char *collection, int64_t cursor, int from, int count);

/* --- writes --- */

void say_concern(bson_t *reply, int code);

/* --- life --- */

void server_start_unix(struct server *s, const char *path);
/* port 0: a free one. */
void server_start(struct server *s, uint16_t port);
/* Close every connection that is open. */
void server_drop_all(struct server *s);
void server_stop(struct server *s);
unsigned server_accepted(struct server *s);
unsigned server_open(struct server *s);

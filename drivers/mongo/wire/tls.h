/* TLS for the streams: OpenSSL on a non-blocking socket, the server's chain and name always verified.
 *
 * libmongoc's own TLS does not work together with a stream initiator (it silently speaks clear text), so its options
 * are taken out of the URL and honoured here. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/error.h"

struct mongo_tls; /* settings of a source; read-only once made, any thread */

struct mongo_tls_options {
	const char *ca_file;          /* NULL: the system's */
	const char *certificate_file; /* PEM, certificate and key; NULL: none */
	const char *key_password;     /* NULL: none */
};

/* Reads the files: main thread. Returns 0 or -errno with e filled. */
int mongo_tls_new(struct mongo_tls **out, const struct mongo_tls_options *options, struct error *e) must_check;
/* NULL is allowed. */
void mongo_tls_free(struct mongo_tls *t);

/* The outcome of a call on a session; none of them suspends. */
enum mongo_tls_step { TLS_DONE, TLS_WANT_READ, TLS_WANT_WRITE, TLS_CLOSED, TLS_BROKEN };

/* A session that will verify that the other end of fd is `host`. NULL: out of memory. */
SSL *mongo_tls_session_new(const struct mongo_tls *t, int fd, const char *host);
/* The reason of TLS_BROKEN is written to why. */
enum mongo_tls_step mongo_tls_handshake(SSL *session, char *why, size_t why_size);
enum mongo_tls_step mongo_tls_read(SSL *session, void *p, size_t size, size_t *got);
enum mongo_tls_step mongo_tls_write(SSL *session, const void *p, size_t size, size_t *put);
/* Say good-bye if that takes no waiting, and free. NULL is allowed. */
void mongo_tls_session_free(SSL *session, bool sound);

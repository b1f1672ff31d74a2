/* Whom HTTPS calls believe: certificate authorities, read once for a source and used for all of its connections.
 *
 * libcurl would read the system's bundle, some 140 certificates, on the loop's thread, and again for each worker. */
#pragma once

#include "base/compiler.h"
#include "base/error.h"

struct http_trust;
struct x509_store_st; /* X509_STORE */

/* ca_file: PEM; NULL: the system's authorities. Reads files: not on a loop thread. Returns 0 or -errno with e filled.
 * Read-only once it is made; any thread. */
int http_trust_new(struct http_trust **out, const char *ca_file, struct error *e) must_check;
/* NULL is allowed. */
void http_trust_free(struct http_trust *t);

/* The authorities as a store for the connections of one thread; http_trust_store_free's. NULL: out of memory. */
struct x509_store_st *http_trust_store(const struct http_trust *t);
void http_trust_store_free(struct x509_store_st *store);
/* Make an easy handle (CURL *) verify with the store, and only with it. */
void http_trust_apply(struct x509_store_st *store, void *easy);

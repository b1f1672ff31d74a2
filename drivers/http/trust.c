/* The certificates are shared by all threads (OpenSSL counts their users); the stores that hold them are not, because
 * libcurl sets flags of the store that it is lent. */
#include "drivers/http/trust.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

#include "base/mem.h"

struct http_trust {
	STACK_OF(X509) * certificates;
};

static const char *reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());
	return text ? text : "unknown reason";
}

/* The file that curl itself would read. */
static const char *system_authorities(void)
{
	const char *named = getenv("SSL_CERT_FILE");
	const curl_version_info_data *about = curl_version_info(CURLVERSION_NOW);

	if (named && *named)
		return named;
	return about->age >= CURLVERSION_SEVENTH && about->cainfo ? about->cainfo
								  : "/etc/ssl/certs/ca-certificates.crt";
}

int http_trust_new(struct http_trust **out, const char *ca_file, struct error *e)
{
	const char *file = ca_file ? ca_file : system_authorities();
	STACK_OF(X509) *certificates = NULL;

	ERR_clear_error();
	X509_STORE *store = X509_STORE_new();
	if (store && X509_STORE_load_file(store, file) == 1)
		certificates = X509_STORE_get1_all_certs(store);
	X509_STORE_free(store);
	if (!certificates) {
		error_set(e, -EINVAL, 500, NULL, "certificate authorities of %s: %s", file, reason());
		ERR_clear_error();
		return -EINVAL;
	}
	*out = mem_alloc(sizeof(**out));
	(*out)->certificates = certificates;
	return 0;
}

void http_trust_free(struct http_trust *t)
{
	if (!t)
		return;
	sk_X509_pop_free(t->certificates, X509_free);
	free(t);
}

struct x509_store_st *http_trust_store(const struct http_trust *t)
{
	X509_STORE *store = X509_STORE_new();

	for (int i = 0; store && i < sk_X509_num(t->certificates); i++) {
		if (X509_STORE_add_cert(store, sk_X509_value(t->certificates, i)) == 1)
			continue;
		X509_STORE_free(store);
		store = NULL;
	}
	ERR_clear_error();
	return store;
}

void http_trust_store_free(struct x509_store_st *store)
{
	X509_STORE_free(store);
}

/* libcurl calls it for each new connection; its verification of chain and name stays on. */
static CURLcode lend(CURL *easy, void *context, void *store)
{
	(void)easy;
	SSL_CTX_set1_cert_store(context, store);
	return CURLE_OK;
}

void http_trust_apply(struct x509_store_st *store, void *easy)
{
	curl_easy_setopt(easy, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, lend);
	curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, store);
}

/* OpenSSL, one call at a time. Its errors stand in a queue of the thread, which tasks share: it is cleared before each
 * call and read right after it, and no call suspends in between. */
#include "drivers/mongo/wire/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

struct mongo_tls {
	SSL_CTX *context;
};

static const char *reason(void)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());
	return text ? text : "unknown reason";
}

static int give_password(char *out, int size, int writing, void *password)
{
	int len = snprintf(out, (size_t)size, "%s", password ? (const char *)password : "");

	(void)writing;
	return len < size ? len : -1;
}

static int load_certificate(SSL_CTX *context, const struct mongo_tls_options *options, struct error *e)
{
	const char *file = options->certificate_file;

	if (!file)
		return 0;
	SSL_CTX_set_default_passwd_cb(context, give_password);
	SSL_CTX_set_default_passwd_cb_userdata(context, (void *)options->key_password);
	bool good = SSL_CTX_use_certificate_chain_file(context, file) == 1 &&
		    SSL_CTX_use_PrivateKey_file(context, file, SSL_FILETYPE_PEM) == 1 &&
		    SSL_CTX_check_private_key(context) == 1;
	SSL_CTX_set_default_passwd_cb_userdata(context, NULL);
	if (good)
		return 0;
	return error_set(e, -EINVAL, 500, NULL, "tlsCertificateKeyFile %s: %s", file, reason());
}

static int load_authorities(SSL_CTX *context, const struct mongo_tls_options *options, struct error *e)
{
	if (!options->ca_file) {
		if (SSL_CTX_set_default_verify_paths(context) == 1)
			return 0;
		return error_set(e, -EINVAL, 500, NULL, "the system's certificate authorities: %s", reason());
	}
	if (SSL_CTX_load_verify_file(context, options->ca_file) == 1)
		return 0;
	return error_set(e, -EINVAL, 500, NULL, "tlsCAFile %s: %s", options->ca_file, reason());
}

int mongo_tls_new(struct mongo_tls **out, const struct mongo_tls_options *options, struct error *e)
{
	ERR_clear_error();
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	if (!context)
		return error_set(e, -ENOMEM, 500, NULL, "TLS: %s", reason());
	SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					  SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	int r = load_authorities(context, options, e);
	if (r == 0)
		r = load_certificate(context, options, e);
	if (r < 0) {
		SSL_CTX_free(context);
		return r;
	}
	*out = mem_zalloc(sizeof(**out));
	(*out)->context = context;
	return 0;
}

void mongo_tls_free(struct mongo_tls *t)
{
	if (!t)
		return;
	SSL_CTX_free(t->context);
	free(t);
}

/* A name is verified as such and sent as SNI; an address is looked for among the certificate's addresses. */
static bool expect_host(SSL *session, const char *host)
{
	unsigned char address[sizeof(struct in6_addr)];

	if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), host) == 1;
	SSL_set_hostflags(session, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(session, host) == 1 && SSL_set_tlsext_host_name(session, host) == 1;
}

SSL *mongo_tls_session_new(const struct mongo_tls *t, int fd, const char *host)
{
	ERR_clear_error();
	SSL *session = SSL_new(t->context);
	if (!session)
		return NULL;
	if (SSL_set_fd(session, fd) != 1 || !expect_host(session, host)) {
		SSL_free(session);
		return NULL;
	}
	SSL_set_connect_state(session);
	return session;
}

static enum mongo_tls_step step_of(SSL *session, int result)
{
	switch (SSL_get_error(session, result)) {
	case SSL_ERROR_NONE:
		return TLS_DONE;
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_CLOSED;
	default:
		return TLS_BROKEN;
	}
}

enum mongo_tls_step mongo_tls_handshake(SSL *session, char *why, size_t why_size)
{
	ERR_clear_error();
	errno = 0;
	int result = SSL_do_handshake(session);
	enum mongo_tls_step step = step_of(session, result);
	if (step != TLS_BROKEN)
		return step;
	long verdict = SSL_get_verify_result(session);
	if (verdict != X509_V_OK)
		snprintf(why, why_size, "TLS: the server's certificate was refused: %s (verify=%ld)",
			 X509_verify_cert_error_string(verdict), verdict);
	else if (ERR_peek_last_error() == 0)
		snprintf(why, why_size, "TLS: the server broke off the handshake");
	else
		snprintf(why, why_size, "TLS: %s", reason());
	return step;
}

enum mongo_tls_step mongo_tls_read(SSL *session, void *p, size_t size, size_t *got)
{
	*got = 0;
	ERR_clear_error();
	return step_of(session, SSL_read_ex(session, p, size, got));
}

enum mongo_tls_step mongo_tls_write(SSL *session, const void *p, size_t size, size_t *put)
{
	*put = 0;
	ERR_clear_error();
	return step_of(session, SSL_write_ex(session, p, size, put));
}

void mongo_tls_session_free(SSL *session, bool sound)
{
	if (!session)
		return;
	ERR_clear_error();
	if (sound && SSL_is_init_finished(session))
		SSL_shutdown(session);
	ERR_clear_error();
	SSL_free(session);
}

/* TLS: the right server is believed, one with another name or of another authority is not. */
#include "async/run.h"
#include "tests/unit/drivers/mongo/mongo_fixture.h"

/* An authority, a certificate of its for localhost and 127.0.0.1, one for another name, and a stranger's authority. */
static const char make_certificates[] =
	"set -e; cd %s\n"
	"key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $1.key; }\n"
	"authority() { key $1; openssl req -x509 -new -key $1.key -subj /CN=$1 -days 2 -out $1.pem; }\n"
	"server() { key $1; openssl req -new -key $1.key -subj /CN=$1 -out $1.csr;"
	" echo subjectAltName=$2 >$1.ext;"
	" openssl x509 -req -in $1.csr -CA ours.pem -CAkey ours.key -CAcreateserial -days 2 -extfile $1.ext -out "
	"$1.crt;"
	" cat $1.crt $1.key >$1.both; }\n"
	"{ authority ours; authority theirs; server right DNS:localhost,IP:127.0.0.1; server wrong DNS:other.example; }"
	" >log 2>&1\n";

static char folder[] = "/tmp/gatherd-test-XXXXXX";

static void make_folder(void)
{
	char script[sizeof(make_certificates) + sizeof(folder)];

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(script, sizeof(script), make_certificates, folder);
	ck_assert_int_eq(system(script), 0);
}

static void remove_folder(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static const char *file_of(struct fixture *f, const char *name)
{
	return arena_printf(&f->arena, "%s/%s", folder, name);
}

struct tls_case {
	const char *certificate; /* the server's */
	const char *host;
	const char *authority; /* tlsCAFile; NULL: the system's */
	bool client_certificate;
	const char *why; /* NULL: it works */
};

static const struct tls_case cases[] = {
	{"right", "127.0.0.1", "ours.pem", false, NULL},        {"right", "localhost", "ours.pem", false, NULL},
	{"right", "localhost", "ours.pem", true, NULL},         {"wrong", "localhost", "ours.pem", false, "verify=62"},
	{"wrong", "127.0.0.1", "ours.pem", false, "verify=64"}, {"right", "127.0.0.1", "theirs.pem", false, "verify="},
	{"right", "127.0.0.1", NULL, false, "verify="},
};

static const struct tls_case *current;

static int tls_main(void *arg)
{
	struct fixture *f = arg;
	struct buf json = BUF_INIT;
	struct error e;

	fixture_open(f);
	struct action *a = compile(f, "{ find: many_100_30 }");
	int r = run_for(f, a, NULL, 60000000, &json, &e);
	if (current->why) {
		ck_assert_int_eq(r, -EHOSTUNREACH);
		ck_assert_int_eq(e.status, 503);
		ck_assert_msg(strstr(e.what, current->why), "%s", e.what);
		ck_assert_int_eq(atomic_load(&f->server.finds), 0);
	} else {
		ck_assert_msg(r == 0, "%s", e.what);
		ck_assert_int_eq(atomic_load(&f->server.get_mores), 29);
		/* A handshake that was cut, and one that hangs. */
		server_drop_all(&f->server);
		ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
		ck_assert_int_eq(run_for(f, compile(f, "{ find: hang }"), NULL, 20000, &json, &e), -ETIMEDOUT);
		ck_assert_str_eq(ask(f, "{ find: docs_2 }", NULL), "[{\"n\":0},{\"n\":1}]");
	}
	buf_done(&json);
	fixture_close(f);
	return 0;
}

static SSL_CTX *server_context(struct fixture *f, const struct tls_case *c)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	const char *both = file_of(f, arena_printf(&f->arena, "%s.both", c->certificate));

	ck_assert_int_eq(SSL_CTX_use_certificate_file(context, both, SSL_FILETYPE_PEM), 1);
	ck_assert_int_eq(SSL_CTX_use_PrivateKey_file(context, both, SSL_FILETYPE_PEM), 1);
	if (c->client_certificate) {
		ck_assert_int_eq(SSL_CTX_load_verify_file(context, file_of(f, "ours.pem")), 1);
		SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	}
	return context;
}

START_TEST(certificates_are_verified)
{
	struct fixture *f = malloc(sizeof(*f));

	current = &cases[_i];
	make_folder();
	fixture_config(f);
	f->config.pool.acquire_timeout_us = current->why ? 300000 : 3000000;
	f->server.tls = server_context(f, current);
	server_start(&f->server, 0);
	snprintf(f->url, sizeof(f->url), "mongodb://%s:%u/catalog?tls=true%s%s%s%s", current->host, f->server.port,
		 current->authority ? "&tlsCAFile=" : "", current->authority ? file_of(f, current->authority) : "",
		 current->client_certificate ? "&tlsCertificateKeyFile=" : "",
		 current->client_certificate ? file_of(f, "right.both") : "");
	ck_assert_int_eq(loop_run_main(tls_main, f), 0);
	server_stop(&f->server);
	SSL_CTX_free(f->server.tls);
	fixture_done(f);
	free(f);
	remove_folder();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mongo tls");
	TCase *c = async_tcase(s, "tls");

	tcase_add_loop_test(c, certificates_are_verified, 0, (int)ARRAY_SIZE(cases));
	return run_suite(s);
}

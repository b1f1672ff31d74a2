/* URLs: what libmongoc gets of them, what is done here, what is refused; and that no password is ever shown. */
#include <mongoc/mongoc.h>

#include "drivers/mongo/wire/url.h"
#include "tests/unit/drivers/mongo/mongo_fixture.h"

static struct fixture *f;

static void setup(void)
{
	f = malloc(sizeof(*f));
	fixture_config(f);
}

static void teardown(void)
{
	arena_done(&f->arena);
	diagnostics_done(&f->diagnostics);
	free(f);
}

static bool parse(struct mongo_url *u, const char *url)
{
	snprintf(f->url, sizeof(f->url), "%s", url);
	return mongo_url_parse(u, &f->arena, &f->config, &f->diagnostics);
}

START_TEST(what_is_in_a_url)
{
	struct mongo_url u;

	ck_assert(parse(
		&u, "mongodb://me:pass%40word@a:1,b/shop?replicaSet=rs&readPreference=nearest&tls=true"
		    "&tlsCAFile=%2Fetc%2Fca.pem&tlsCertificateKeyFile=k.pem&connectTimeoutMS=1234&authSource=admin"));
	ck_assert_str_eq(u.database, "shop");
	ck_assert(u.tls);
	ck_assert_str_eq(u.tls_options.ca_file, "/etc/ca.pem");
	ck_assert_str_eq(u.tls_options.certificate_file, "k.pem");
	ck_assert_int_eq(u.connect_timeout_us, 1234000);
	/* libmongoc must not know of TLS, must not retry, and must not sleep while it looks for servers. */
	ck_assert(!mongoc_uri_get_tls(u.uri));
	ck_assert(!mongoc_uri_get_option_as_bool(u.uri, MONGOC_URI_RETRYREADS, true));
	ck_assert(!mongoc_uri_get_option_as_bool(u.uri, MONGOC_URI_RETRYWRITES, true));
	ck_assert(mongoc_uri_get_option_as_bool(u.uri, MONGOC_URI_SERVERSELECTIONTRYONCE, false));
	ck_assert_str_eq(mongoc_uri_get_password(u.uri), "pass@word");
	ck_assert_str_eq(mongoc_uri_get_replica_set(u.uri), "rs");
	ck_assert_ptr_nonnull(mongoc_uri_get_hosts(u.uri)->next);
	mongo_url_done(&u);
}
END_TEST

START_TEST(what_is_not_in_a_url)
{
	struct mongo_url u;

	ck_assert(parse(&u, "mongodb://localhost/shop"));
	ck_assert(!u.tls);
	ck_assert_int_eq(u.connect_timeout_us, 2000000);
	mongo_url_done(&u);
}
END_TEST

START_TEST(a_password_of_its_own)
{
	struct mongo_url u;

	f->config.password = (struct config_secret){.set = true, .value = "pass@word"};
	ck_assert(parse(&u, "mongodb://me@localhost/shop"));
	ck_assert_str_eq(mongoc_uri_get_password(u.uri), "pass@word");
	mongo_url_done(&u);
	ck_assert(!parse(&u, "mongodb://me:other@localhost/shop"));
	ck_assert(!parse(&u, "mongodb://localhost/shop"));
}
END_TEST

static const struct {
	const char *url, *why;
	bool fine; /* just a warning */
} odd[] = {
	{"postgresql://localhost/shop", "begins with mongodb://", false},
	{"mongodb+srv://cluster.example/shop", "mongodb+srv:// is not supported", false},
	{"mongodb://localhost", "names no database", false},
	{"mongodb://localhost/", "names no database", false},
	{"mongodb://localhost?tls=true", "names no database", false},
	{"mongodb://", "wrong", false},
	{"mongodb://localhost:99999/shop", "wrong", false},
	{"mongodb://me:hunter2@local host:x/shop", "wrong", false},
	{"mongodb://localhost/shop?readPreferenc=nearest", "did you mean \"readPreference\"", false},
	{"mongodb://localhost/shop?tlsInsecure=true", "always verified", false},
	{"mongodb://localhost/shop?tls=true&tlsAllowInvalidCertificates=true", "always verified", false},
	{"mongodb://localhost/shop?tls=true&tlsAllowInvalidHostnames=true", "always verified", false},
	{"mongodb://localhost/shop?tlsCAFile=x", "without tls=true", false},
	{"mongodb://localhost/shop?tls=yes", "true or false", false},
	{"mongodb://localhost/shop?authMechanism=GSSAPI", "authMechanism", false},
	{"mongodb://localhost/shop?connectTimeoutMS=soon", "connectTimeoutMS", false},
	{"mongodb://%2Ftmp%2Fx.sock/shop?tls=true", "Unix socket", false},
	{"mongodb://localhost/shop?maxPoolSize=5", "has no effect", true},
	{"mongodb://localhost/shop?compressors=zstd,snappy,zlib", "compressors has no effect", true},
	{"mongodb://localhost/shop?zlibCompressionLevel=9", "has no effect", true},
	{"mongodb://localhost/shop?retryWrites=true&w=majority", NULL, true},
};

START_TEST(odd_urls)
{
	struct mongo_url u;

	ck_assert_int_eq(parse(&u, odd[_i].url), odd[_i].fine);
	if (odd[_i].why)
		ck_assert_uint_ge(f->diagnostics.count, 1);
	for (size_t i = 0; i < f->diagnostics.count; i++)
		ck_assert_ptr_null(strstr(f->diagnostics.items[i].text, "hunter2"));
	if (odd[_i].why)
		ck_assert_msg(strstr(f->diagnostics.items[0].text, odd[_i].why), "%s", f->diagnostics.items[0].text);
	if (odd[_i].fine) {
		/* Then the server would compress its answers. */
		ck_assert_ptr_null(strstr(mongoc_uri_get_string(u.uri), "compressors"));
		mongo_url_done(&u);
	}
}
END_TEST

START_TEST(a_source_checks_its_url)
{
	struct error e = ERROR_INIT;
	struct source *s = NULL;

	snprintf(f->url, sizeof(f->url), "mongodb://localhost/shop?tls=true&tlsCAFile=/no/such/file");
	mongo_driver.source_check(&f->config, &f->diagnostics);
	ck_assert_uint_eq(f->diagnostics.errors, 0);
	ck_assert_int_lt(mongo_driver.source_new(&s, &f->config, NULL, 1, &e), 0);
	ck_assert_ptr_nonnull(strstr(e.what, "/no/such/file"));
	snprintf(f->url, sizeof(f->url), "mongodb://localhost");
	mongo_driver.source_check(&f->config, &f->diagnostics);
	ck_assert_uint_eq(f->diagnostics.errors, 1);
	ck_assert_int_lt(mongo_driver.source_new(&s, &f->config, NULL, 1, &e), 0);
}
END_TEST

int main(void)
{
	mongoc_log_set_handler(NULL, NULL);
	Suite *s = suite_create("mongo url");
	TCase *c = async_tcase(s, "urls");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, what_is_in_a_url);
	tcase_add_test(c, what_is_not_in_a_url);
	tcase_add_test(c, a_password_of_its_own);
	tcase_add_loop_test(c, odd_urls, 0, (int)ARRAY_SIZE(odd));
	tcase_add_test(c, a_source_checks_its_url);
	return run_suite(s);
}

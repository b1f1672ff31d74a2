/* Asking the libraries for their versions. */
#include "handlers/admin/versions.h"

#include <curl/curl.h>
#include <h2o/version.h>
#include <libpq-fe.h>
#include <mongoc/mongoc.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <yaml.h>
#include <zlib.h>

#include "base/compiler.h"

static const char *gatherd(void)
{
	return GATHERD_VERSION;
}

static const char *h2o(void)
{
	return H2O_VERSION;
}

/* 150008 is 15.8. */
static const char *libpq(void)
{
	static _Thread_local char text[24];
	snprintf(text, sizeof(text), "%d.%d", PQlibVersion() / 10000, PQlibVersion() % 10000);
	return text;
}

static const char *libcurl(void)
{
	return curl_version_info(CURLVERSION_NOW)->version;
}

static const char *openssl(void)
{
	return OpenSSL_version(OPENSSL_VERSION_STRING);
}

static const struct {
	const char *name;
	const char *(*version)(void);
} libraries[] = {
	{"version", gatherd}, {"h2o", h2o},
	{"libpq", libpq},     {"libmongoc", mongoc_get_version},
	{"libcurl", libcurl}, {"libyaml", yaml_get_version_string},
	{"openssl", openssl}, {"zlib", zlibVersion},
};
const unsigned library_count = ARRAY_SIZE(libraries);

struct library_version library_version(unsigned i)
{
	return (struct library_version){libraries[i].name, libraries[i].version()};
}

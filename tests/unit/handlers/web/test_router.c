/* Routing: which endpoint, which values, which status; hostile paths. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "handlers/web/router.h"

static const struct {
	enum http_method method;
	const char *path;
} declared[] = {
	{METHOD_GET, "/"},
	{METHOD_GET, "/customers"},
	{METHOD_POST, "/customers"},
	{METHOD_GET, "/customers/{id}"},
	{METHOD_DELETE, "/customers/{key}"},
	{METHOD_GET, "/customers/new"},
	{METHOD_GET, "/customers/{id}/orders/{order}"},
	{METHOD_PUT, "/customers/new/orders/{n}"},
	{METHOD_GET, "/files/{path*}"},
	{METHOD_GET, "/files/special/{x}"},
	{METHOD_GET, "/trailing/"},
	{METHOD_GET, "/double//slash"},
	{METHOD_GET, "/caf\xC3\xA9"},
	{METHOD_GET, "/a%20b"},
	{METHOD_HEAD, "/head"},
	{METHOD_OPTIONS, "/options"},
	{METHOD_GET, "/deep/{a}/x"},
	{METHOD_GET, "/deep/lit/y"},
	{METHOD_GET, "/deep/{rest*}"},
	{METHOD_PATCH, "/{any}"},
};

static struct config config;
static struct config_endpoint endpoints[ARRAY_SIZE(declared)];
static struct arena arena, request;
static struct diagnostics diagnostics;
static struct router *router;

static void setup(void)
{
	arena_init(&arena);
	arena_init(&request);
	diagnostics_init(&diagnostics);
	for (size_t i = 0; i < ARRAY_SIZE(declared); i++)
		endpoints[i] = (struct config_endpoint){.sound = true,
							.method = declared[i].method,
							.path = declared[i].path,
							.name = declared[i].path};
	config = (struct config){.endpoints = endpoints, .endpoint_count = ARRAY_SIZE(endpoints)};
	router = router_new(&config, &arena, &diagnostics);
	ck_assert_uint_eq(diagnostics.errors, 0);
}

static void teardown(void)
{
	arena_done(&arena);
	arena_done(&request);
	diagnostics_done(&diagnostics);
}

/* The path stands in memory of exactly its size, which is gone when the match is looked at. */
static int match_bytes(enum http_method method, const char *path, size_t len, struct route_match *m)
{
	char *copy = mem_alloc(len ? len : 1);

	memcpy(copy, path, len);
	arena_reset(&request);
	int r = router_match(router, method, (struct span){copy, len}, &request, m);
	free(copy);
	return r;
}

#define GET_HEAD (BIT(METHOD_GET) | BIT(METHOD_HEAD) | BIT(METHOD_OPTIONS))

static const struct {
	enum http_method method;
	const char *path;
	int result;
	const char *matched; /* the endpoint's path */
	const char *values;  /* "name=value;…" */
	unsigned allowed;
} cases[] = {
	{METHOD_GET, "/", 0, "/", "", GET_HEAD},
	{METHOD_HEAD, "/", 0, "/", "", GET_HEAD},
	{METHOD_POST, "/", -EOPNOTSUPP, NULL, NULL, GET_HEAD},
	{METHOD_OPTIONS, "/", -EOPNOTSUPP, NULL, NULL, GET_HEAD},
	{METHOD_COUNT, "/", -EOPNOTSUPP, NULL, NULL, GET_HEAD},
	{METHOD_GET, "//", -ENOENT, NULL, NULL, 0},
	{METHOD_GET, "", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "customers", -EBADMSG, NULL, NULL, 0},
	{METHOD_OPTIONS, "*", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/customers", 0, "/customers", "", GET_HEAD | BIT(METHOD_POST) | BIT(METHOD_PATCH)},
	{METHOD_POST, "/customers", 0, "/customers", "", GET_HEAD | BIT(METHOD_POST) | BIT(METHOD_PATCH)},
	{METHOD_PATCH, "/customers", 0, "/{any}", "any=customers;", GET_HEAD | BIT(METHOD_POST) | BIT(METHOD_PATCH)},
	{METHOD_GET, "/customers/", -ENOENT, NULL, NULL, 0},
	{METHOD_GET, "//customers", -ENOENT, NULL, NULL, 0},
	{METHOD_GET, "/Customers", -EOPNOTSUPP, NULL, NULL, BIT(METHOD_PATCH) | BIT(METHOD_OPTIONS)},
	{METHOD_GET, "/customers/7", 0, "/customers/{id}", "id=7;", GET_HEAD | BIT(METHOD_DELETE)},
	{METHOD_DELETE, "/customers/7", 0, "/customers/{key}", "key=7;", GET_HEAD | BIT(METHOD_DELETE)},
	{METHOD_PUT, "/customers/7", -EOPNOTSUPP, NULL, NULL, GET_HEAD | BIT(METHOD_DELETE)},
	{METHOD_GET, "/customers/new", 0, "/customers/new", "", GET_HEAD | BIT(METHOD_DELETE)},
	{METHOD_GET, "/customers/n%65w", 0, "/customers/new", "", GET_HEAD | BIT(METHOD_DELETE)},
	{METHOD_DELETE, "/customers/new", 0, "/customers/{key}", "key=new;", GET_HEAD | BIT(METHOD_DELETE)},
	{METHOD_GET, "/customers/a%2Fb", 0, "/customers/{id}", "id=a/b;", GET_HEAD | BIT(METHOD_DELETE)},
	{METHOD_GET, "/customers/a+b", 0, "/customers/{id}", "id=a+b;", GET_HEAD | BIT(METHOD_DELETE)},
	{METHOD_GET, "/customers/%7Bid%7D", 0, "/customers/{id}", "id={id};", GET_HEAD | BIT(METHOD_DELETE)},
	{METHOD_GET, "/customers/%25%32%46", 0, "/customers/{id}", "id=%2F;", GET_HEAD | BIT(METHOD_DELETE)},
	{METHOD_GET, "/customers/%C3%BC", 0, "/customers/{id}", "id=\xC3\xBC;", GET_HEAD | BIT(METHOD_DELETE)},
	{METHOD_GET, "/customers/7/orders/9", 0, "/customers/{id}/orders/{order}", "id=7;order=9;", GET_HEAD},
	{METHOD_GET, "/customers/new/orders/9", 0, "/customers/{id}/orders/{order}", "id=new;order=9;",
	 GET_HEAD | BIT(METHOD_PUT)},
	{METHOD_PUT, "/customers/new/orders/9", 0, "/customers/new/orders/{n}", "n=9;", GET_HEAD | BIT(METHOD_PUT)},
	{METHOD_GET, "/customers//orders/9", -ENOENT, NULL, NULL, 0},
	{METHOD_GET, "/customers/7/orders/", -ENOENT, NULL, NULL, 0},
	{METHOD_GET, "/customers/7/orders", -ENOENT, NULL, NULL, 0},
	{METHOD_GET, "/files/a", 0, "/files/{path*}", "path=a;", GET_HEAD},
	{METHOD_GET, "/files/a/b/c%20d", 0, "/files/{path*}", "path=a/b/c d;", GET_HEAD},
	{METHOD_GET, "/files/special/x", 0, "/files/special/{x}", "x=x;", GET_HEAD},
	{METHOD_GET, "/files/special/x/y", 0, "/files/{path*}", "path=special/x/y;", GET_HEAD},
	{METHOD_GET, "/files/special", 0, "/files/{path*}", "path=special;", GET_HEAD},
	{METHOD_GET, "/files", -EOPNOTSUPP, NULL, NULL, BIT(METHOD_PATCH) | BIT(METHOD_OPTIONS)},
	{METHOD_GET, "/files/", -ENOENT, NULL, NULL, 0},
	{METHOD_GET, "/files/a/", -ENOENT, NULL, NULL, 0},
	{METHOD_GET, "/files/a//b", -ENOENT, NULL, NULL, 0},
	{METHOD_GET, "/files/a%2Fb", -EBADMSG, NULL, NULL, GET_HEAD},
	{METHOD_GET, "/files/x/..%2F..%2Fetc", -EBADMSG, NULL, NULL, GET_HEAD},
	{METHOD_GET, "/files/a..b/.c", 0, "/files/{path*}", "path=a..b/.c;", GET_HEAD},
	{METHOD_GET, "/files/...", 0, "/files/{path*}", "path=...;", GET_HEAD},
	{METHOD_GET, "/files/../x", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/files/%2e%2E/x", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/files/.%2e", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/files/./x", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/files/%2e", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/.", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/none/../..", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/customers/a%00", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/customers/%", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/customers/%4", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/customers/%4g", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/customers/%g4", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/customers/%%34", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/customers/%FF", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/customers/\xC3", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/customers/%C0%AE", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/customers/%C3/%BC", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/no/such/path/%FF", -EBADMSG, NULL, NULL, 0},
	{METHOD_GET, "/no/such/path/at/all", -ENOENT, NULL, NULL, 0},
	{METHOD_GET, "/trailing/", 0, "/trailing/", "", GET_HEAD},
	{METHOD_GET, "/trailing", -EOPNOTSUPP, NULL, NULL, BIT(METHOD_PATCH) | BIT(METHOD_OPTIONS)},
	{METHOD_GET, "/double//slash", 0, "/double//slash", "", GET_HEAD},
	{METHOD_GET, "/double/slash", -ENOENT, NULL, NULL, 0},
	{METHOD_GET, "/caf\xC3\xA9", 0, "/caf\xC3\xA9", "", GET_HEAD | BIT(METHOD_PATCH)},
	{METHOD_GET, "/caf%c3%a9", 0, "/caf\xC3\xA9", "", GET_HEAD | BIT(METHOD_PATCH)},
	{METHOD_GET, "/a%20b", 0, "/a%20b", "", GET_HEAD | BIT(METHOD_PATCH)},
	{METHOD_GET, "/head", -EOPNOTSUPP, NULL, NULL, BIT(METHOD_HEAD) | BIT(METHOD_PATCH) | BIT(METHOD_OPTIONS)},
	{METHOD_HEAD, "/head", 0, "/head", "", BIT(METHOD_HEAD) | BIT(METHOD_PATCH) | BIT(METHOD_OPTIONS)},
	{METHOD_OPTIONS, "/options", 0, "/options", "", BIT(METHOD_PATCH) | BIT(METHOD_OPTIONS)},
	{METHOD_GET, "/deep/lit/x", 0, "/deep/{a}/x", "a=lit;", GET_HEAD},
	{METHOD_GET, "/deep/lit/y", 0, "/deep/lit/y", "", GET_HEAD},
	{METHOD_GET, "/deep/q/y", 0, "/deep/{rest*}", "rest=q/y;", GET_HEAD},
	{METHOD_GET, "/deep/lit", 0, "/deep/{rest*}", "rest=lit;", GET_HEAD},
};

START_TEST(routes)
{
	struct route_match m;
	char values[256] = "";
	int r = match_bytes(cases[_i].method, cases[_i].path, strlen(cases[_i].path), &m);

	ck_assert_msg(r == cases[_i].result, "%s: %d", cases[_i].path, r);
	ck_assert_msg(m.allowed == cases[_i].allowed, "%s: %#x", cases[_i].path, m.allowed);
	if (r < 0) {
		ck_assert_ptr_null(m.endpoint);
		return;
	}
	ck_assert_str_eq(m.endpoint->path, cases[_i].matched);
	ck_assert_ptr_eq(m.endpoint, &endpoints[m.index]);
	for (size_t i = 0; i < m.count; i++) {
		size_t n = strlen(values);

		snprintf(values + n, sizeof(values) - n, "%s=%.*s;", m.names[i], (int)m.values[i].len,
			 m.values[i].base);
	}
	ck_assert_str_eq(values, cases[_i].values);
}
END_TEST

START_TEST(nul_in_path)
{
	struct route_match m;

	ck_assert_int_eq(match_bytes(METHOD_GET, "/customers/a\0b", 14, &m), -EBADMSG);
}
END_TEST

/* Paths of a megabyte: the answer comes, and memory stays in proportion. */
START_TEST(long_paths)
{
	enum { LEN = 1 << 20 };
	char *path = mem_alloc(LEN);
	struct route_match m;

	memset(path, '/', LEN);
	ck_assert_int_eq(match_bytes(METHOD_GET, path, LEN, &m), -ENOENT);
	ck_assert_uint_lt(request.used, LEN + 4096);
	for (size_t i = 1; i < LEN; i += 2)
		path[i] = 'a';
	ck_assert_int_eq(match_bytes(METHOD_GET, path, LEN, &m), -ENOENT);
	memcpy(path, "/files/", 7);
	ck_assert_int_eq(match_bytes(METHOD_GET, path, LEN, &m), 0);
	ck_assert_uint_eq(m.values[0].len, LEN - 7);
	free(path);
}
END_TEST

/* Routes that fork at every segment: nodes are visited once, not once for each way of choosing. */
START_TEST(backtracking)
{
	enum { LEVELS = 11, ROUTES = 1 << LEVELS };
	struct config_endpoint *many = arena_array(&arena, ROUTES, sizeof(*many));
	struct config c = {.endpoints = many, .endpoint_count = ROUTES};
	struct route_match m;
	char path[LEVELS * 2 + 3];

	for (size_t i = 0; i < ROUTES; i++) {
		char text[LEVELS * 4 + 3] = "";

		for (int k = 0; k < LEVELS; k++)
			strcat(text, i >> k & 1 ? "/{p}" : "/a");
		strcat(text, "/b");
		many[i] = (struct config_endpoint){
			.sound = true, .method = METHOD_GET, .path = arena_strdup(&arena, text)};
		many[i].name = many[i].path;
	}
	router = router_new(&c, &arena, &diagnostics);
	ck_assert_uint_eq(diagnostics.errors, 0);
	for (int k = 0; k < LEVELS; k++)
		memcpy(path + k * 2, "/a", 2);
	memcpy(path + LEVELS * 2, "/c", 2);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(match_bytes(METHOD_GET, path, LEVELS * 2 + 2, &m), -ENOENT);
	path[LEVELS * 2 + 1] = 'b';
	ck_assert_int_eq(match_bytes(METHOD_GET, path, LEVELS * 2 + 2, &m), 0);
	ck_assert_uint_eq(m.index, 0);
}
END_TEST

START_TEST(mistakes)
{
	static const struct {
		const char *first, *second;
		size_t errors;
	} pairs[] = {
		{"/a/{x}", "/a/{y}", 1},
		{"/a/{x*}", "/a/{y*}", 1},
		{"/a/{x}", "/a/{x*}", 0},
		{"/a/b", "/a/%62", 1},
		{"/a", "/a/", 0},
		{"/a/{x*}/b", "/a/{x}/b", 1},
		{"a", "/a", 1},
		{"/a/%zz", "/a", 1},
		{"/a/%2e%2e/b", "/a/..", 2},
		{"/{a}/{b}/{a1}", "/x", 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct config_endpoint two[] = {{.sound = true, .path = pairs[i].first, .name = pairs[i].first},
						{.sound = true, .path = pairs[i].second, .name = pairs[i].second}};
		struct config c = {.endpoints = two, .endpoint_count = 2};
		size_t before = diagnostics.errors;

		ck_assert_ptr_nonnull(router_new(&c, &arena, &diagnostics));
		ck_assert_msg(diagnostics.errors - before == pairs[i].errors, "%s %s", pairs[i].first, pairs[i].second);
	}
}
END_TEST

START_TEST(too_many_parameters)
{
	char text[ROUTE_MAX_PARAMETERS * 5 + 6] = "";
	struct config_endpoint one = {.sound = true, .path = text, .name = text};
	struct config c = {.endpoints = &one, .endpoint_count = 1};

	for (int i = 0; i < ROUTE_MAX_PARAMETERS; i++)
		strcat(text, "/{p}");
	ck_assert_ptr_nonnull(router_new(&c, &arena, &diagnostics));
	ck_assert_uint_eq(diagnostics.errors, 0);
	strcat(text, "/{p}");
	ck_assert_ptr_nonnull(router_new(&c, &arena, &diagnostics));
	ck_assert_uint_eq(diagnostics.errors, 1);
}
END_TEST

START_TEST(no_endpoints)
{
	struct config c = {0};
	struct route_match m;

	router = router_new(&c, &arena, &diagnostics);
	ck_assert_int_eq(match_bytes(METHOD_GET, "/", 1, &m), -ENOENT);
	ck_assert_int_eq(match_bytes(METHOD_GET, "/a/b", 4, &m), -ENOENT);
}
END_TEST

/* Random paths from pieces that matter. */
START_TEST(random_paths)
{
	static const char *const pieces[] = {"/",    "a", "files", "%2e", "%2F", "%00",      "..",
					     ".",    "%", "{",     "new", "{}",  "%C3",      "%BC",
					     "\xC3", "+", "deep",  "lit", "/x",  "customers"};
	uint64_t state = 7;

	for (int round = 0; round < 200000; round++) {
		char path[128] = "/";
		struct route_match m;

		for (int i = 0; i < 8; i++) {
			state = state * 6364136223846793005u + 1442695040888963407u;
			if (state >> 62)
				strcat(path, pieces[(state >> 33) % ARRAY_SIZE(pieces)]);
		}
		int r = match_bytes(METHOD_GET, path, strlen(path), &m);
		ck_assert(r == 0 || r == -ENOENT || r == -EBADMSG || r == -EOPNOTSUPP);
		for (size_t i = 0; r == 0 && i < m.count; i++)
			ck_assert(m.values[i].len > 0 && !memchr(m.values[i].base, '\0', m.values[i].len));
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("router");
	TCase *t = tcase_create("router");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, routes, 0, ARRAY_SIZE(cases));
	tcase_add_test(t, nul_in_path);
	tcase_add_test(t, long_paths);
	tcase_add_test(t, backtracking);
	tcase_add_test(t, mistakes);
	tcase_add_test(t, too_many_parameters);
	tcase_add_test(t, no_endpoints);
	tcase_add_test(t, random_paths);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}

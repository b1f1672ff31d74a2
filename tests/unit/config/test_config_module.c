/* modules and handler: where their files are, how often each is named, and what the sources are told. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "config/config.h"
#include "drivers/drivers.h"

static struct config *load(struct diagnostics *d, const char *name, const char *text)
{
	diagnostics_init(d);
	struct config *c = config_load_text(name, text, strlen(text), &drivers_language, d);
	struct buf said = BUF_INIT;
	diagnostics_print(d, &said);
	ck_assert_msg(d->errors == 0, "%s", buf_cstr(&said));
	buf_done(&said);
	return c;
}

static const char text[] = "modules: [ sub/poller.so, /srv/other.so, sub/poller.so ]\n"
			   "endpoints:\n"
			   "  \"GET /a\": { handler: \"a.so:first\" }\n"
			   "  \"GET /b\": { handler: \"a.so:second\" }\n"
			   "  \"GET /c\": { handler: \"sub/poller.so:_3\" }\n"
			   "  \"GET /d\": { handler: \"a:b.so:f\" }\n"
			   "  \"GET /e\": { respond: 1 }\n";

START_TEST(a_module_is_named_once)
{
	struct diagnostics d;
	struct config *c = load(&d, "conf/gatherd.yaml", text);
	static const char *const paths[] = {"conf/sub/poller.so", "/srv/other.so", "conf/a.so", "conf/a:b.so"};
	ck_assert_uint_eq(c->module_count, 4);
	for (size_t i = 0; i < 4; i++)
		ck_assert_str_eq(c->modules[i].path, paths[i]);
	static const struct {
		size_t module;
		const char *function;
	} handlers[] = {{2, "first"}, {2, "second"}, {0, "_3"}, {3, "f"}};
	for (size_t i = 0; i < 4; i++) {
		ck_assert(c->endpoints[i].sound);
		ck_assert_uint_eq(c->endpoints[i].handler.module, handlers[i].module);
		ck_assert_str_eq(c->endpoints[i].handler.function, handlers[i].function);
	}
	ck_assert_ptr_null(c->endpoints[4].handler.function);
	ck_assert_uint_eq(c->modules[2].at.line, 3);
	config_free(c);
	diagnostics_done(&d);
}
END_TEST

/* Without a slash the dynamic linker would look in the system's folders. */
START_TEST(a_file_beside_the_configuration_has_a_slash)
{
	struct diagnostics d;
	struct config *c = load(&d, "gatherd.yaml", text);
	ck_assert_str_eq(c->modules[0].path, "sub/poller.so");
	ck_assert_str_eq(c->modules[2].path, "./a.so");
	config_free(c);
	diagnostics_done(&d);
}
END_TEST

#define SOURCES                                                                                                        \
	"server: { request_timeout: 4s }\n"                                                                            \
	"sources:\n"                                                                                                   \
	"  a: { postgres: \"postgresql:///x\" }\n"                                                                     \
	"  b: { postgres: \"postgresql:///x\", timeout: 6s }\n"                                                        \
	"endpoints:\n"                                                                                                 \
	"  \"GET /s\": { timeout: 2s, gather: { a: { from: a, sql: \"select 1\", timeout: 1s } } }\n"

/* statement_timeout must leave room for what handlers may do: any of them may call any source. */
START_TEST(a_handler_may_call_every_source)
{
	static const struct {
		const char *more;
		int64_t a_us, b_us;
	} cases[] = {
		{"", 1000000, 6000000},
		{"  \"GET /h\": { timeout: 9s, handler: \"a.so:f\" }\n", 9000000, 6000000},
		{"  \"GET /h\": { timeout: 3s, handler: \"a.so:f\" }\n", 4000000, 6000000},
		{"modules: [ a.so ]\n", 4000000, 6000000},
	};
	for (size_t i = 0; i < 4; i++) {
		struct diagnostics d;
		char whole[1024];
		snprintf(whole, sizeof(whole), "%s%s", SOURCES, cases[i].more);
		struct config *c = load(&d, "gatherd.yaml", whole);
		ck_assert_int_eq(c->sources[0].longest_us, cases[i].a_us);
		ck_assert_int_eq(c->sources[1].longest_us, cases[i].b_us);
		config_free(c);
		diagnostics_done(&d);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config_module");
	TCase *c = tcase_create("modules");
	tcase_add_test(c, a_module_is_named_once);
	tcase_add_test(c, a_file_beside_the_configuration_has_a_slash);
	tcase_add_test(c, a_handler_may_call_every_source);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* No text makes config_load misbehave: a configuration that uses the whole language, cut after each byte and with each
 * byte replaced, ends in a configuration or in diagnostics. The sanitized build is the one that looks. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "drivers/drivers.h"
#include "handlers/generation.h"

static const char sample[] =
	"server:\n"
	" listen: [ '127.0.0.1:1', \"[::1]:2\", { address: 'unix:/a', mode: \"0600\" } ]\n"
	" threads: 2\n"
	" body_limit: 1.5KiB\n"
	" trusted_proxies: [ 10.0.0.0/8, '::1' ]\n"
	"log: &log { level: info }\n"
	"semaphores: { s: 3, t: { permits: 1 } }\n"
	"sources:\n"
	" p: { postgres: 'postgresql:///p', pool: { size: 2 }, password: { env: TEST_WORD } }\n"
	" m: { mongodb: \"mongodb://h/${TEST_WORD:-m}\", json: plain }\n"
	" h: { http: 'http://h/a', headers: { A: { env: TEST_WORD }, B: '{{' }, retry: { attempts: 2 }, semaphore: s "
	"}\n"
	" f: { files: tests, write: true, max_size: 1KiB }\n"
	"endpoints:\n"
	" 'GET /a/{id}/{r*}':\n"
	"  parameters:\n"
	"   id: { type: integer, minimum: 1 }\n"
	"   n: { type: number, minimum: -1.5e3, default: 2, enum: [ 2, 3.0 ] }\n"
	"   q: { type: [ string, 'null' ], pattern: '^(a|b)+$', maxLength: 3, default: ab }\n"
	"   t: { type: array, items: { type: string, format: uuid }, required: false }\n"
	"  gather:\n"
	"   a:\n"
	"    from: p\n"
	"    sql: |\n"
	"     select {id}\n"
	"      , 'x'\n"
	"    on_error: { default: *log }\n"
	"   b: { from: m, find: c, filter: { x: \"{id}\" }, limit: 1, expect: one }\n"
	"   c: { from: h, get: '/{a[0].id}', pick: 'x[0].y', cache: { ttl: 1s }, on_error: stale, semaphore: t }\n"
	"   d: { from: p, sql: { file: tests/config/good/queries/orders.sql },\n"
	"    join: { into: a, key: k, equals: k, as: d } }\n"
	"  respond: >-\n"
	"   folded\n"
	"   text\n"
	"  headers: { X-A: !!str 1 }\n"
	" 'GET /c': { respond: 1, <<: &m { rate: 5/m, timeout: 1s } }\n"
	" 'GET /d': { <<: [ *m, { respond: 2 } ], cache: 1s }\n"
	" 'POST /e': { gather: { w: { from: f, write: a, content: { x: 1 } } } }\n"
	" \"POST /b\": { body: { type: object, properties: { a: {} }, required: [ a ] }, respond: ~ }\n";

static void load(const char *text, size_t len)
{
	struct diagnostics d;
	struct buf out = BUF_INIT;

	diagnostics_init(&d);
	struct config *c = config_load_text("fuzz.yaml", text, len, &drivers_language, &d);
	ck_assert_msg(c || d.errors > 0, "no configuration, and no word why");
	if (c) {
		struct generation *g = generation_compile(c, &d); /* the second half looks at what is sound of it */
		ck_assert_msg((g != NULL) == (d.errors == 0), "%zu errors", d.errors);
		generation_drop(g);
	}
	for (size_t i = 0; i < d.count; i++)
		ck_assert(d.items[i].text && d.items[i].at.line >= 1 && d.items[i].at.column >= 1);
	diagnostics_print(&d, &out);
	buf_done(&out);
	diagnostics_done(&d);
}

/* It is right as it is: what is cut and replaced is a configuration that loads. */
START_TEST(whole)
{
	struct diagnostics d;
	diagnostics_init(&d);
	struct config *c = config_load_text("fuzz.yaml", sample, sizeof(sample) - 1, &drivers_language, &d);
	ck_assert_msg(c != NULL, "%s", d.count ? d.items[0].text : "");
	config_free(c);
	diagnostics_done(&d);
}
END_TEST

/* Copies of the exact size, so that a read beyond the end is seen. */
START_TEST(cut)
{
	for (size_t len = 0; len < sizeof(sample); len++) {
		char *text = malloc(len ? len : 1);
		memcpy(text, sample, len);
		load(text, len);
		free(text);
	}
}
END_TEST

static void replace_all(char by)
{
	size_t len = sizeof(sample) - 1;
	char *text = malloc(len);

	memcpy(text, sample, len);
	for (size_t i = 0; i < len; i++) {
		text[i] = by;
		load(text, len);
		text[i] = sample[i];
	}
	free(text);
}

static const char bytes[] = "{\n:'\0\xff"
			    "9";

START_TEST(replaced)
{
	replace_all(bytes[_i]);
}
END_TEST

/* One byte more, one line less. */
START_TEST(moved)
{
	size_t len = sizeof(sample) - 1;
	for (const char *line = sample; *line; line = strchr(line, '\n') + 1) {
		size_t before = (size_t)(line - sample), size = (size_t)(strchr(line, '\n') + 1 - line);
		char *text = malloc(len + size);
		memcpy(text, sample, before);
		memcpy(text + before, line + size, len - before - size);
		load(text, len - size);
		memcpy(text + before, line, size); /* twice */
		memcpy(text + before + size, line, len - before);
		load(text, len + size);
		text[before] = ' ';
		load(text, len + size);
		free(text);
	}
}
END_TEST

/* Large and deep. */
START_TEST(bounds)
{
	size_t len = 1 << 20;
	char *text = malloc(len);
	static const char *const patterns[] = {"[",   "{", "[a,", "- ",     "{a: ", "a: b\n", "&a [", "? ", "\"",
					       "|\n", "x", "*a ", "!!str ", "a,",   "# \n",   "${",   "{a"};
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		size_t size = strlen(patterns[i]);
		size_t used = len / 16 / size * size; /* libyaml takes a square of time for some */
		for (size_t at = 0; at < used; at += size)
			memcpy(text + at, patterns[i], size);
		load(text, used);
	}
	free(text);
}
END_TEST

int main(void)
{
	setenv("TEST_WORD", "word", 1);
	Suite *s = suite_create("config_fuzz");
	TCase *t = tcase_create("fuzz");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, whole);
	tcase_add_test(t, cut);
	tcase_add_loop_test(t, replaced, 0, (int)sizeof(bytes) - 1);
	tcase_add_test(t, moved);
	tcase_add_test(t, bounds);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

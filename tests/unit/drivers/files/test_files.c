/* File sources: what is read, listed, written; what is refused; that nothing leaves the folder and nothing is lost. */
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "async/executor.h"
#include "config/yaml.h"
#include "drivers/files/driver.h"
#include "drivers/files/file.h"
#include "drivers/files/keys.h"
#include "drivers/files/media_type.h"
#include "drivers/files/root.h"
#include "tests/unit/async/async_fixture.h"

enum { MAX_SLOTS = 8, THREADS = 2 };

struct fixture {
	char folder[64]; /* of the test; the source is its folder "root" */
	char root[80];
	struct config_source config;
	struct files_source_keys keys;
	struct config_endpoint endpoint;
	struct arena arena;
	struct executor *executor;
	struct source *source;
	struct client *client;
	int64_t timeout_us;
};

/* Slots in the order in which references come; the same text is the same slot. */
struct slots {
	struct reference_sink sink;
	const char *texts[MAX_SLOTS];
	int count;
};

static int add_slot(struct reference_sink *sink, const struct reference *ref)
{
	struct slots *s = container_of(sink, struct slots, sink);

	for (int i = 0; i < s->count; i++)
		if (strcmp(s->texts[i], ref->text) == 0)
			return i;
	ck_assert_int_lt(s->count, MAX_SLOTS);
	s->texts[s->count] = ref->text;
	return s->count++;
}

/* --- a test's own ---------------------------------------------------------------------------------------------- */

/* A file below the test's folder; its folders are made, too. */
static void put_bytes(const struct fixture *f, const char *name, const void *bytes, size_t len)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", f->folder, name);
	for (char *slash = path + strlen(f->folder) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
		*slash = '\0';
		mkdir(path, 0755);
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

static void put(const struct fixture *f, const char *name, const char *text)
{
	put_bytes(f, name, text, strlen(text));
}

/* What a file below the test's folder holds, or NULL. */
static const char *content_of(struct fixture *f, const char *name)
{
	char path[256], text[4096];

	snprintf(path, sizeof(path), "%s/%s", f->folder, name);
	int fd = open(path, O_RDONLY);
	if (fd < 0)
		return NULL;
	ssize_t n = read(fd, text, sizeof(text));
	close(fd);
	ck_assert_int_ge(n, 0);
	return arena_strndup(&f->arena, text, (size_t)n);
}

static void make_link(const struct fixture *f, const char *target, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", f->folder, name);
	ck_assert_int_eq(symlink(target, path), 0);
}

static void make_fifo(const struct fixture *f, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", f->folder, name);
	ck_assert_int_eq(mkfifo(path, 0644), 0);
}

static void make_socket(const struct fixture *f, const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", f->folder, name);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
}

static void fixture_open(struct fixture *f)
{
	struct error e = ERROR_INIT;

	ck_assert_int_eq(executor_new(&f->executor, THREADS, 100), 0);
	ck_assert_msg(files_driver.source_new(&f->source, &f->config, f->executor, 1, &e) == 0, "%s", e.what);
	ck_assert_int_eq(files_driver.client_open(&f->client, f->source, &e), 0);
	ck_assert(files_driver.source_ready(f->source));
}

static void fixture_init(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	arena_init(&f->arena);
	snprintf(f->folder, sizeof(f->folder), "/tmp/test_files.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(f->folder));
	snprintf(f->root, sizeof(f->root), "%s/root", f->folder);
	ck_assert_int_eq(mkdir(f->root, 0755), 0);
	f->keys = (struct files_source_keys){.max_size = 1 << 20, .write = true};
	f->config = (struct config_source){.own = &f->keys, .name = "papers", .kind = &files_kind, .url = f->root};
	f->endpoint = (struct config_endpoint){.path = "/files/{way*}"};
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static void fixture_close(struct fixture *f)
{
	ck_assert(files_driver.client_idle(f->client));
	files_driver.client_close(f->client);
	files_driver.source_free(f->source);
	executor_free(f->executor);
	settle(); /* jobs that were left behind come home */
	arena_done(&f->arena);
	ck_assert_int_eq(nftw(f->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 1);
}

#define FILES_TEST(name)                                                                                               \
	static void name##_body(struct fixture *f);                                                                    \
	LOOP_TEST(name)                                                                                                \
	{                                                                                                              \
		struct fixture f;                                                                                      \
		int fds = open_fds();                                                                                  \
		fixture_init(&f);                                                                                      \
		fixture_open(&f);                                                                                      \
		name##_body(&f);                                                                                       \
		fixture_close(&f);                                                                                     \
		ck_assert_int_eq(open_fds(), fds);                                                                     \
		return 0;                                                                                              \
	}                                                                                                              \
	static void name##_body(struct fixture *f)

static const struct node *yaml(struct fixture *f, const char *text)
{
	struct diagnostics d;

	diagnostics_init(&d);
	const struct node *n = yaml_parse(&f->arena, "test.yaml", text, strlen(text), &d);
	ck_assert_msg(n && d.errors == 0, "%s", text);
	diagnostics_done(&d);
	return n;
}

static void step_from(struct fixture *f, struct config_step *step, const char *text)
{
	static const struct {
		const char *name;
		enum files_action_kind kind;
	} actions[] = {{"read", ACTION_READ},    {"stat", ACTION_STAT},   {"list", ACTION_LIST},
		       {"send", ACTION_SEND},    {"write", ACTION_WRITE}, {"append", ACTION_APPEND},
		       {"remove", ACTION_REMOVE}};
	const struct node *n = yaml(f, text), *as = node_member(n, "as");

	struct files_step_keys *own = arena_zalloc(&f->arena, sizeof(*own));

	own->content = node_member(n, "content");
	*step = (struct config_step){.own = own, .name = "paper", .source = &f->config};
	if (as)
		own->as = strcmp(as->text, "json") == 0 ? FILE_AS_JSON : FILE_AS_BASE64;
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++)
		if (node_member(n, actions[i].name)) {
			step->action = actions[i].kind;
			step->action_value = node_member(n, actions[i].name);
		}
}

static struct action *compile(struct fixture *f, const char *text)
{
	struct slots slots = {.sink.add = add_slot};
	struct diagnostics d;
	struct config_step *step = arena_alloc(&f->arena, sizeof(*step));
	struct action_env env = {
		.arena = &f->arena, .diagnostics = &d, .references = &slots.sink, .endpoint = &f->endpoint};

	diagnostics_init(&d);
	step_from(f, step, text);
	struct action *a = files_driver.action_new(&f->config, step, &env);
	ck_assert_msg(a, "%s: %s", text, d.count ? d.items[0].text : "");
	diagnostics_done(&d);
	return a;
}

static int run(struct fixture *f, const char *text, const struct value *args, struct result **out, struct error *e)
{
	struct run_options options = {.timeout_us = f->timeout_us, .arena = &f->arena};

	*e = ERROR_INIT;
	return files_driver.run(f->client, compile(f, text), args, &options, out, e);
}

/* The result's JSON, or "! status public | what". */
static const char *call(struct fixture *f, const char *text, const struct value *args)
{
	struct result *result;
	struct error e;
	struct buf out = BUF_INIT;

	if (run(f, text, args, &result, &e) == 0) {
		result->ops->render(result, &out);
		result_free(result);
	} else {
		buf_printf(&out, "! %d %s | %s", e.status, e.public, e.what);
	}
	const char *kept = arena_strndup(&f->arena, out.data, out.len);
	buf_done(&out);
	return kept;
}

static void expect_status(struct fixture *f, const char *text, const struct value *args, int status)
{
	struct result *result = NULL;
	struct error e;
	int r = run(f, text, args, &result, &e);

	if (r == 0)
		result_free(result);
	ck_assert_msg((r == 0 ? 200 : e.status) == status, "%s: %d %s", text, r == 0 ? 200 : e.status, e.what);
}

static struct value given(const char *s)
{
	struct value v = value_string(s, strlen(s));

	v.from_request = true;
	return v;
}

/* --- reading --------------------------------------------------------------------------------------------------- */

FILES_TEST(files_become_json)
{
	put(f, "root/a.txt", "line \"1\"\n\xC3\xA9");
	put(f, "root/empty", "");
	put(f, "root/sub/b.json", "\xEF\xBB\xBF { \"a\" : [ 1e999 , 0.10 ] , \"a\" : 2 }\n");
	put(f, "root/c.json", "[1]");
	put_bytes(f, "root/d.bin", "\xFF\x00\x01", 3);
	ck_assert_str_eq(call(f, "{ read: a.txt }", NULL), "\"line \\\"1\\\"\\n\xC3\xA9\"");
	ck_assert_str_eq(call(f, "{ read: empty }", NULL), "\"\"");
	ck_assert_str_eq(call(f, "{ read: empty, as: base64 }", NULL), "\"\"");
	ck_assert_str_eq(call(f, "{ read: sub/b.json, as: json }", NULL), "{\"a\":[1e999,0.10],\"a\":2}");
	ck_assert_str_eq(call(f, "{ read: c.json, as: json }", NULL), "[1]");
	ck_assert_str_eq(call(f, "{ read: d.bin, as: base64 }", NULL), "\"/wAB\"");
	ck_assert_str_eq(call(f, "{ read: ./sub//b.json, as: base64 }", NULL),
			 "\"77u/IHsgImEiIDogWyAxZTk5OSAsIDAuMTAgXSAsICJhIiA6IDIgfQo=\"");
}

FILES_TEST(what_is_no_text_and_no_json_is_a_502)
{
	static char deep[100000];

	memset(deep, '[', sizeof(deep));
	put_bytes(f, "root/deep", deep, sizeof(deep));
	put_bytes(f, "root/nul", "a\0b", 3);
	put(f, "root/utf8", "abc\xC3");
	put(f, "root/cut", "{\"a\":");
	put(f, "root/empty", "");
	ck_assert_str_eq(call(f, "{ read: nul }", NULL),
			 "! 502 The file is not text. | step paper, source papers: read "
			 "nul: it holds a NUL: it is no text (as: base64 reads it)");
	ck_assert_str_eq(call(f, "{ read: utf8 }", NULL),
			 "! 502 The file is not UTF-8 text. | step paper, source papers: read utf8: it is not UTF-8: "
			 "wrong at byte 3");
	const char *const texts[] = {"nul", "utf8", "cut", "deep", "empty"};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		expect_status(f, arena_printf(&f->arena, "{ read: %s, as: json }", texts[i]), NULL, 502);
}

FILES_TEST(sizes_are_bounded)
{
	char path[256];

	f->keys.max_size = 1000;
	put(f, "root/small", "1");
	snprintf(path, sizeof(path), "%s/root/small", f->folder);
	ck_assert_int_eq(truncate(path, 1000), 0);
	expect_status(f, "{ read: small, as: base64 }", NULL, 200);
	ck_assert_int_eq(truncate(path, 1001), 0);
	ck_assert_str_eq(call(f, "{ read: small, as: base64 }", NULL),
			 "! 502 The file is larger than may be read. | step paper, source papers: read small: it is "
			 "larger than max_size (1000 bytes)");
	ck_assert_int_eq(truncate(path, INT64_C(1) << 40), 0); /* sparse: nothing of it is touched */
	expect_status(f, "{ read: small }", NULL, 502);
}

FILES_TEST(references_look_inside)
{
	struct result *result;
	struct error e;
	const struct path_segment segments[] = {{.kind = PATH_MEMBER, .name = "a", .name_len = 1},
						{.kind = PATH_INDEX, .index = 1}};

	put(f, "root/c.json", "{\"a\":[1,\"x\\ny\"]}");
	ck_assert_int_eq(run(f, "{ read: c.json, as: json }", NULL, &result, &e), 0);
	struct value v = result->ops->get(result, &(struct path){segments, 2}, &f->arena);
	ck_assert_int_eq(v.kind, VALUE_STRING);
	ck_assert(v.len == 3 && memcmp(v.text, "x\ny", 3) == 0);
	result_free(result);
	ck_assert_int_eq(run(f, "{ read: c.json }", NULL, &result, &e), 0);
	v = result->ops->get(result, &(struct path){NULL, 0}, &f->arena);
	ck_assert(v.kind == VALUE_STRING && v.len == 16);
	result_free(result);
}

/* /proc: files without a size, links in every folder, some that nobody may read. */
FILES_TEST(files_without_a_size_are_read)
{
	struct config_source proc = f->config;
	struct source *source;
	struct client *client;
	struct result *result;
	struct error e = ERROR_INIT;
	struct run_options options = {.arena = &f->arena};

	proc.url = "/proc";
	ck_assert_int_eq(files_driver.source_new(&source, &proc, f->executor, 1, &e), 0);
	ck_assert_int_eq(files_driver.client_open(&client, source, &e), 0);
	struct action *a = compile(f, "{ read: sys/kernel/ostype }");
	ck_assert_int_eq(files_driver.run(client, a, NULL, &options, &result, &e), 0);
	struct value v = result->ops->get(result, &(struct path){NULL, 0}, &f->arena);
	ck_assert(v.len == 6 && memcmp(v.text, "Linux\n", 6) == 0);
	result_free(result);
	const char *const links[] = {"{ read: self/status }", "{ read: 1/root/etc/passwd }", "{ read: 1/cwd/etc }"};
	for (size_t i = 0; i < ARRAY_SIZE(links); i++) {
		ck_assert_int_lt(files_driver.run(client, compile(f, links[i]), NULL, &options, &result, &e), 0);
		ck_assert_int_eq(e.status, 404);
	}
	files_driver.client_close(client);
	files_driver.source_free(source);
}

/* --- what there is --------------------------------------------------------------------------------------------- */

FILES_TEST(files_are_described)
{
	char path[256];

	put(f, "root/sub/a \"b\".txt", "abc");
	snprintf(path, sizeof(path), "%s/root/sub/a \"b\".txt", f->folder);
	const struct timespec times[2] = {{.tv_sec = 1700000000, .tv_nsec = 1234567},
					  {.tv_sec = 1700000000, .tv_nsec = 1999999}};
	ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
	ck_assert_str_eq(call(f, "{ stat: 'sub/a \"b\".txt' }", NULL),
			 "{\"name\":\"a "
			 "\\\"b\\\".txt\",\"size\":3,\"modified\":\"2023-11-14T22:13:20.001Z\",\"type\":\"file\"}");
}

/* The names of a list, in its order: "a,b". */
static const char *names_in(struct fixture *f, const char *list)
{
	struct buf out = BUF_INIT;

	for (const char *at = list; (at = strstr(at, "\"name\":\"")); at++) {
		at += 8;
		buf_printf(&out, "%s%.*s", out.len ? "," : "", (int)strcspn(at, "\""), at);
	}
	const char *kept = arena_strndup(&f->arena, out.data, out.len);
	buf_done(&out);
	return kept;
}

FILES_TEST(folders_are_listed_by_name)
{
	put(f, "root/sub/b", "2");
	put(f, "root/sub/B", "");
	put(f, "root/sub/a", "1");
	put(f, "root/sub/folder/x", "");
	put(f, "root/sub/.gatherd-0123456789abcdef", "half");
	put(f, "root/sub/\xFF", "");
	make_link(f, "a", "root/sub/link");
	make_fifo(f, "root/sub/fifo");
	make_socket(f, "root/sub/socket");
	const char *list = call(f, "{ list: sub }", NULL);
	ck_assert_str_eq(names_in(f, list), "B,a,b,folder");
	ck_assert_ptr_nonnull(strstr(list, "{\"name\":\"b\",\"size\":1,\"modified\":\""));
	ck_assert_ptr_nonnull(strstr(list, "\"type\":\"folder\"}]"));
	ck_assert_str_eq(names_in(f, call(f, "{ list: . }", NULL)), "sub");
	ck_assert_ptr_null(strstr(list, "\"type\":\"link"));
	expect_status(f, "{ list: sub/a }", NULL, 404);
	expect_status(f, "{ list: sub/none }", NULL, 404);
	expect_status(f, "{ list: sub/link }", NULL, 404);
	expect_status(f, "{ list: sub/fifo }", NULL, 404);
}

FILES_TEST(long_lists_are_refused)
{
	char name[128];

	for (int i = 0; i < 10001; i++) {
		snprintf(name, sizeof(name), "%s/%d", f->root, i);
		close(open(name, O_WRONLY | O_CREAT, 0600));
	}
	expect_status(f, "{ list: . }", NULL, 502);
	ck_assert_int_eq(unlink(name), 0);
	expect_status(f, "{ list: . }", NULL, 200);
}

/* --- what is refused ------------------------------------------------------------------------------------------- */

static const char *const verbs[] = {"read", "stat", "write", "append", "remove"};

FILES_TEST(only_regular_files_inside_are_files)
{
	static const char *const paths[] = {"none",        "none/a",   "sub",        "sub/", "a/b",
					    "link",        "link_out", "dir_link/a", "fifo", "socket",
					    "/etc/passwd", "loop",     "sub/.",      ".",    "out/secret"};
	put(f, "secret", "s3cret");
	put(f, "root/a", "a");
	put(f, "root/sub/a", "a");
	make_link(f, "a", "root/link");
	make_link(f, "../secret", "root/link_out");
	make_link(f, "..", "root/out");
	make_link(f, "sub", "root/dir_link");
	make_link(f, "loop", "root/loop");
	make_fifo(f, "root/fifo");
	make_socket(f, "root/socket");
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		for (size_t v = 0; v < ARRAY_SIZE(verbs); v++) {
			bool creates = verbs[v][0] == 'w' || verbs[v][0] == 'a';
			if (creates && strcmp(paths[i], "none") == 0)
				continue;
			expect_status(f,
				      arena_printf(&f->arena, "{ %s: \"%s\"%s }", verbs[v], paths[i],
						   creates ? ", content: x" : ""),
				      NULL, 404);
		}
	}
	ck_assert_str_eq(content_of(f, "secret"), "s3cret");
	ck_assert_str_eq(content_of(f, "root/a"), "a");
	ck_assert_str_eq(names_in(f, call(f, "{ list: . }", NULL)), "a,sub");
}

/* What config and templates refuse already, the kernel refuses as well. */
FILES_TEST(the_kernel_refuses_ways_out)
{
	static const struct {
		const char *path;
		int error;
	} cases[] = {{"..", -EXDEV},          {"../secret", -EXDEV}, {"sub/../../secret", -EXDEV},
		     {"/etc/passwd", -EXDEV}, {"/", -EXDEV},         {"out/secret", -ELOOP},
		     {"link", -ELOOP},        {"", -ENOENT},         {"fifo", -ENOENT}};
	struct root *root;
	struct stat st;

	put(f, "secret", "s3cret");
	put(f, "root/sub/a", "a");
	make_link(f, "sub/a", "root/link");
	make_link(f, "..", "root/out");
	make_fifo(f, "root/fifo");
	ck_assert_int_eq(root_open(&root, f->root), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		ck_assert_int_eq(root_open_regular(root, cases[i].path, O_RDONLY, 0, &st), cases[i].error);
	int fd = root_open_regular(root, "sub/../sub/a", O_RDONLY, 0, &st);
	ck_assert_int_ge(fd, 0);
	close(fd);
	root_drop(root);
}

/* The folder is the one that was there at the start, wherever it is now. */
FILES_TEST(the_root_does_not_move)
{
	char moved[96];

	put(f, "root/a", "old");
	snprintf(moved, sizeof(moved), "%s/moved", f->folder);
	ck_assert_int_eq(rename(f->root, moved), 0);
	put(f, "root/a", "new");
	ck_assert_str_eq(call(f, "{ read: a }", NULL), "\"old\"");
}

static const struct {
	const char *path, *value; /* NULL: null */
	int status;
} names[] = {
	{"{x}", "a", 200},
	{"sub/{x}.txt", "a", 200},
	{"sub/{x}.txt", "...", 404},
	{"{x}", "none", 404},
	{"{x}", NULL, 400},
	{"{x}", "", 400},
	{"sub/{x}.txt", "", 400},
	{"{x}", ".", 400},
	{"{x}", "..", 400},
	{"sub/{x}/a", "..", 400},
	{"sub/.{x}/../a", ".", 400},
	{"{x}", "/etc/passwd", 400},
	{"{x}", "sub/a.txt", 400},
	{"sub{x}", "/a.txt", 400},
	{"{x}", "../secret", 400},
	{"{way}", "sub/a.txt", 200},
	{"{way}", "sub/../a", 400},
	{"{way}", "/etc/passwd", 400},
	{"{way}", "sub//a.txt", 400},
	{"{way}", "sub/", 400},
	{"{way}", "./a", 400},
	{"{way}", "..", 400},
	{"{way}", "none/x", 404},
};

FILES_TEST(values_stay_in_their_segment)
{
	put(f, "secret", "s3cret");
	put(f, "root/a", "a");
	put(f, "root/sub/a.txt", "a");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct value v = names[i].value ? given(names[i].value) : VALUE_OF_NULL;
		v.from_request = true;
		expect_status(f, arena_printf(&f->arena, "{ read: \"%s\" }", names[i].path), &v, names[i].status);
		if (names[i].status == 400) { /* what another step brought is no fault of the client */
			v.from_request = false;
			expect_status(f, arena_printf(&f->arena, "{ read: \"%s\" }", names[i].path), &v, 500);
		}
	}
	struct value nul = value_string("a\0b", 3);
	nul.from_request = true;
	ck_assert_str_eq(
		call(f, "{ read: \"{x}\" }", &nul),
		"! 400 {x} holds a NUL character, and can't stand in a file's name. | step paper, source papers: read "
		"{x}: {x} holds a NUL character, and can't stand in a file's name.");
	struct value number = value_int(7);
	put(f, "root/7", "seven");
	ck_assert_str_eq(call(f, "{ read: \"{x}\" }", &number), "\"seven\"");
	struct value list = {.kind = VALUE_LIST};
	expect_status(f, "{ read: \"{x}\" }", &list, 500);
	char long_name[300];
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	struct value v = given(long_name);
	expect_status(f, "{ read: \"{x}\" }", &v, 404);
	expect_status(f, "{ write: \"{x}\", content: a }", &v, 400);
}

/* --- writing --------------------------------------------------------------------------------------------------- */

FILES_TEST(files_are_written)
{
	struct value args[] = {given("n"), given("text \"x\"")};
	char path[256];
	struct stat st;

	put(f, "root/sub/a", "");
	const char *said = call(f, "{ write: \"sub/{x}\", content: \"{y}\" }", args);
	ck_assert_ptr_nonnull(strstr(said, "{\"name\":\"n\",\"size\":8,"));
	ck_assert_str_eq(content_of(f, "root/sub/n"), "text \"x\"");
	call(f, "{ write: \"sub/{x}\", content: \"<{y}>\\n\" }", args);
	ck_assert_str_eq(content_of(f, "root/sub/n"), "<text \"x\">\n");
	call(f, "{ write: \"sub/{x}\", content: { a: \"{y}\", b: [ 1, null ] } }", args);
	ck_assert_str_eq(content_of(f, "root/sub/n"), "{\"a\":\"text \\\"x\\\"\",\"b\":[1,null]}\n");
	ck_assert_str_eq(names_in(f, call(f, "{ list: sub }", NULL)), "a,n");
	snprintf(path, sizeof(path), "%s/sub/n", f->root);
	ck_assert_int_eq(chmod(path, 0640), 0);
	call(f, "{ write: \"sub/{x}\", content: again }", args);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0640);
	expect_status(f, "{ remove: sub/n }", NULL, 200);
	expect_status(f, "{ remove: sub/n }", NULL, 404);
	ck_assert_ptr_null(content_of(f, "root/sub/n"));
}

FILES_TEST(files_grow)
{
	struct value line = given("1");

	put(f, "root/sub/a", "");
	call(f, "{ append: sub/log, content: \"{x}\\n\" }", &line);
	line = given("2");
	const char *said = call(f, "{ append: sub/log, content: \"{x}\\n\" }", &line);
	ck_assert_ptr_nonnull(strstr(said, "\"size\":4,"));
	ck_assert_str_eq(content_of(f, "root/sub/log"), "1\n2\n");
	expect_status(f, "{ append: none/log, content: x }", NULL, 404);
}

FILES_TEST(what_is_written_is_bounded)
{
	struct value v = given("12345");

	f->keys.max_size = 8;
	expect_status(f, "{ append: log, content: \"{x}\" }", &v, 200);
	expect_status(f, "{ append: log, content: \"{x}\" }", &v, 413);
	ck_assert_str_eq(content_of(f, "root/log"), "12345");
	expect_status(f, "{ append: none, content: \"{x}{x}\" }", &v, 413);
	expect_status(f, "{ write: log, content: \"{x}{x}\" }", &v, 413);
	expect_status(f, "{ write: log, content: 123456789 }", &v, 500);
	ck_assert_str_eq(names_in(f, call(f, "{ list: . }", NULL)), "log");
}

/* --- at once --------------------------------------------------------------------------------------------------- */

enum { WHOLE = 100000 };

static void *read_over_and_over(void *arg)
{
	struct fixture *f = arg;
	static char text[WHOLE + 1];
	char path[128];
	intptr_t reads = 0;

	snprintf(path, sizeof(path), "%s/whole", f->root);
	for (;;) {
		int fd = open(path, O_RDONLY);
		ssize_t n = read(fd, text, sizeof(text));
		close(fd);
		if (n == 1)
			return (void *)reads;
		for (ssize_t i = 0; i < n; i++)
			if (text[i] != text[0])
				return (void *)-1;
		if (n != WHOLE)
			return (void *)-2;
		reads++;
	}
}

FILES_TEST(readers_see_the_old_or_the_new)
{
	static char text[WHOLE + 1];
	pthread_t reader;
	void *reads;

	memset(text, 'a', WHOLE);
	put(f, "root/whole", text);
	ck_assert_int_eq(pthread_create(&reader, NULL, read_over_and_over, f), 0);
	for (int i = 0; i < SLOWER(200); i++) {
		memset(text, 'a' + i % 26, WHOLE);
		struct value v = given(text);
		expect_status(f, "{ write: whole, content: \"{x}\" }", &v, 200);
	}
	expect_status(f, "{ write: whole, content: \".\" }", NULL, 200);
	ck_assert_int_eq(pthread_join(reader, &reads), 0);
	ck_assert_int_gt((intptr_t)reads, 0);
}

struct appender {
	struct fixture *f;
	char letter;
};

static int append_lines(void *arg)
{
	struct appender *a = arg;
	char line[201];

	memset(line, a->letter, sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	for (int i = 0; i < 20; i++) {
		struct value v = given(line);
		expect_status(a->f, "{ append: log, content: \"{x}\\n\" }", &v, 200);
	}
	return 0;
}

FILES_TEST(appended_lines_do_not_mix)
{
	struct appender a = {f, 'a'}, b = {f, 'b'};
	struct task *one = spawn(append_lines, &a), *two = spawn(append_lines, &b);
	struct error e;
	struct result *result;
	int lines = 0;

	ck_assert_int_eq(join(one), 0);
	ck_assert_int_eq(join(two), 0);
	ck_assert_int_eq(run(f, "{ read: log }", NULL, &result, &e), 0);
	struct value v = result->ops->get(result, &(struct path){NULL, 0}, &f->arena);
	for (const char *line = v.text, *end; line < v.text + v.len; line = end + 1, lines++) {
		end = memchr(line, '\n', (size_t)(v.text + v.len - line));
		ck_assert_ptr_nonnull(end);
		ck_assert_int_eq(end - line, 200);
		for (const char *c = line; c < end; c++)
			ck_assert(*c == *line);
	}
	ck_assert_int_eq(lines, 40);
	result_free(result);
}

/* --- leaving --------------------------------------------------------------------------------------------------- */

static sem_t gate;

static void wait_at_gate(struct job *j)
{
	(void)j;
	while (sem_wait(&gate) < 0)
		;
}

static void free_job(struct job *j)
{
	free(j);
}

static void occupy(struct fixture *f)
{
	sem_init(&gate, 0, 0);
	for (int i = 0; i < THREADS; i++) {
		struct job *j = calloc(1, sizeof(*j));
		*j = (struct job){.run = wait_at_gate, .free = free_job};
		ck_assert_int_eq(executor_submit(f->executor, j), 0);
	}
}

static void let_go(void)
{
	for (int i = 0; i < THREADS; i++)
		sem_post(&gate);
}

static int read_big(void *arg)
{
	struct fixture *f = arg;
	struct result *result;
	struct error e;
	int r = run(f, "{ read: big }", NULL, &result, &e);

	if (r == 0)
		result_free(result);
	return r;
}

static void put_big(struct fixture *f)
{
	static char text[900000];

	memset(text, 'x', sizeof(text));
	put_bytes(f, "root/big", text, sizeof(text));
}

FILES_TEST(one_that_leaves_leaves_nothing)
{
	put_big(f);
	occupy(f);
	struct task *queued = spawn(read_big, f);
	settle();
	ck_assert(!files_driver.client_idle(f->client));
	task_cancel(queued);
	ck_assert_int_eq(join(queued), -ECANCELED);
	ck_assert(files_driver.client_idle(f->client));
	let_go();
	for (int i = 0; i < 50; i++) { /* at every stage of the work */
		struct task *running = spawn(read_big, f);
		settle();
		usleep((useconds_t)(i * 20));
		task_cancel(running);
		int r = join(running);
		ck_assert(r == 0 || r == -ECANCELED);
	}
}

FILES_TEST(the_timeout_is_a_504)
{
	put_big(f);
	occupy(f);
	f->timeout_us = 10000;
	ck_assert_str_eq(call(f, "{ read: big }", NULL),
			 "! 504  | step paper, source papers: read big: the disk took longer than the time-out");
	let_go();
}

FILES_TEST(a_full_queue_is_a_503)
{
	struct task *tasks[100];

	put_big(f);
	occupy(f);
	ck_assert_int_eq(task_sleep_ms(20), 0); /* both are running */
	for (int i = 0; i < 100; i++)
		tasks[i] = spawn(read_big, f);
	settle();
	expect_status(f, "{ read: big }", NULL, 503);
	for (int i = 0; i < 100; i++) {
		task_cancel(tasks[i]);
		ck_assert_int_eq(join(tasks[i]), -ECANCELED);
	}
	let_go();
}

/* --- piece by piece -------------------------------------------------------------------------------------------- */

static int open_big(struct fixture *f, struct file **file, struct file_info *info, size_t ahead, struct error *e)
{
	struct run_options options = {.arena = &f->arena};

	*e = ERROR_INIT;
	*file = NULL;
	return file_open(file, info, f->client, compile(f, "{ send: big }"), NULL, &options, ahead, e);
}

FILES_TEST(files_are_read_piece_by_piece)
{
	struct file *file;
	struct file_info info;
	struct error e;
	struct buf b = BUF_INIT;
	char path[256];

	ck_assert_int_lt(open_big(f, &file, &info, 0, &e), 0);
	ck_assert_int_eq(e.status, 404);
	put(f, "root/big", "0123456789");
	ck_assert_int_eq(open_big(f, &file, &info, 0, &e), 0);
	ck_assert_str_eq(info.name, "big");
	ck_assert_uint_eq(info.size, 10);
	ck_assert_int_eq(file_read(&file, 3, 4, &b, DEADLINE_NEVER, &e), 0);
	ck_assert_int_eq(file_read(&file, 0, 1, &b, DEADLINE_NEVER, &e), 0);
	ck_assert_str_eq(buf_cstr(&b), "34560");
	snprintf(path, sizeof(path), "%s/big", f->root);
	ck_assert_int_eq(truncate(path, 5), 0);
	ck_assert_int_eq(file_read(&file, 3, 4, &b, DEADLINE_NEVER, &e), -EIO);
	ck_assert_ptr_null(file);
	ck_assert_ptr_null(b.data);
	file_close(file);
}

FILES_TEST(small_files_are_read_ahead)
{
	struct file *file;
	struct file_info info;
	struct error e;
	struct buf b = BUF_INIT;

	put(f, "root/big", "0123456789");
	for (size_t ahead = 0; ahead < 12; ahead++) {
		ck_assert_int_eq(open_big(f, &file, &info, ahead, &e), 0);
		ck_assert_int_eq(file_read(&file, 2, 3, &b, DEADLINE_NEVER, &e), 0);
		ck_assert_int_eq(file_read(&file, 9, 1, &b, DEADLINE_NEVER, &e), 0);
		ck_assert_int_eq(file_read(&file, 0, 2, &b, DEADLINE_NEVER, &e), 0);
		ck_assert_str_eq(buf_cstr(&b), "234901");
		b.len = 0;
		file_close(file);
	}
	buf_done(&b);
	put(f, "root/big", "");
	ck_assert_int_eq(open_big(f, &file, &info, 10, &e), 0);
	ck_assert_uint_eq(info.size, 0);
	file_close(file);
}

static int read_pieces(void *arg)
{
	struct file *file;
	struct file_info info;
	struct error e;
	struct buf b = BUF_INIT;
	int r = open_big(arg, &file, &info, 100000, &e);

	for (uint64_t at = 0; r == 0 && at + 100000 <= info.size; at += 100000) {
		b.len = 0;
		r = file_read(&file, at, 100000, &b, DEADLINE_NEVER, &e);
	}
	buf_done(&b);
	file_close(file);
	return r;
}

FILES_TEST(one_that_leaves_a_file_closes_it)
{
	put_big(f);
	for (int i = 0; i < 50; i++) {
		struct task *t = spawn(read_pieces, f);
		for (int yields = 0; yields < i; yields++)
			ck_assert_int_eq(task_yield(), 0);
		task_cancel(t);
		int r = join(t);
		ck_assert(r == 0 || r == -ECANCELED);
	}
}

START_TEST(types_go_by_the_name)
{
	ck_assert_str_eq(media_type_of("a.txt"), "text/plain; charset=utf-8");
	ck_assert_str_eq(media_type_of("a.b.HTML"), "text/html; charset=utf-8");
	ck_assert_str_eq(media_type_of("a.json"), "application/json");
	ck_assert_str_eq(media_type_of("a.tar.gz"), "application/gzip");
	ck_assert_str_eq(media_type_of("png"), "application/octet-stream");
	ck_assert_str_eq(media_type_of("a."), "application/octet-stream");
	ck_assert_str_eq(media_type_of(".png"), "image/png");
}
END_TEST

START_TEST(a_folder_that_is_not_there)
{
	struct files_source_keys keys = {0};
	struct config_source config = {.own = &keys, .name = "papers", .url = "/none/there"};
	struct source *source;
	struct error e;

	ck_assert_int_eq(files_driver.source_new(&source, &config, NULL, 1, &e), -ENOENT);
	ck_assert_str_eq(e.what, "source papers: /none/there: No such file or directory");
	files_driver.source_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("files");
	TCase *c = async_tcase(s, "reading");
	tcase_add_test(c, files_become_json);
	tcase_add_test(c, what_is_no_text_and_no_json_is_a_502);
	tcase_add_test(c, sizes_are_bounded);
	tcase_add_test(c, references_look_inside);
	tcase_add_test(c, files_without_a_size_are_read);
	tcase_add_test(c, files_are_described);
	tcase_add_test(c, folders_are_listed_by_name);
	tcase_add_test(c, long_lists_are_refused);
	c = async_tcase(s, "refused");
	tcase_add_test(c, only_regular_files_inside_are_files);
	tcase_add_test(c, the_kernel_refuses_ways_out);
	tcase_add_test(c, the_root_does_not_move);
	tcase_add_test(c, values_stay_in_their_segment);
	tcase_add_test(c, a_folder_that_is_not_there);
	c = async_tcase(s, "writing");
	tcase_add_test(c, files_are_written);
	tcase_add_test(c, files_grow);
	tcase_add_test(c, what_is_written_is_bounded);
	tcase_add_test(c, readers_see_the_old_or_the_new);
	tcase_add_test(c, appended_lines_do_not_mix);
	c = async_tcase(s, "leaving");
	tcase_add_test(c, one_that_leaves_leaves_nothing);
	tcase_add_test(c, the_timeout_is_a_504);
	tcase_add_test(c, a_full_queue_is_a_503);
	c = async_tcase(s, "piece by piece");
	tcase_add_test(c, files_are_read_piece_by_piece);
	tcase_add_test(c, small_files_are_read_ahead);
	tcase_add_test(c, one_that_leaves_a_file_closes_it);
	tcase_add_test(c, types_go_by_the_name);
	return run_suite(s);
}

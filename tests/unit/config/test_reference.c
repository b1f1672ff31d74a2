/* References and templates: what is one, how much of the text it takes, and what is said about what is none. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "config/reference.h"
#include "config/yaml.h"

static struct arena arena;
static struct diagnostics d;

static void setup(void)
{
	arena_init(&arena);
	diagnostics_init(&d);
}

static void teardown(void)
{
	diagnostics_done(&d);
	arena_done(&arena);
}

/* The path as it would be written. */
static const char *path_of(const struct reference *r)
{
	const char *text = r->root;
	for (size_t i = 0; i < r->path.count; i++) {
		const struct path_segment *s = &r->path.segments[i];
		if (s->kind == PATH_MEMBER)
			text = arena_printf(&arena, "%s.%.*s", text, (int)s->name_len, s->name);
		else if (s->kind == PATH_INDEX)
			text = arena_printf(&arena, "%s[%u]", text, s->index);
		else
			text = arena_printf(&arena, "%s[*]", text);
	}
	return text;
}

static const struct {
	const char *text;
	size_t size;
	const char *path;
} references[] = {
	{"{id}", 4, "id"},
	{"{id} rest}", 4, "id"},
	{"{_a-b1}", 7, "_a-b1"},
	{"{customer.address.city}", 23, "customer.address.city"},
	{"{orders[0]}", 11, "orders[0]"},
	{"{orders[4294967295].id}", 23, "orders[4294967295].id"},
	{"{orders[*].product_id}}", 22, "orders[*].product_id"},
	{"{a[*][2].b[*]}", 14, "a[*][2].b[*]"},
	{"{headers.X-Tenant}", 18, "headers.X-Tenant"},
	{"{request.id}{", 12, "request.id"},
};

START_TEST(is_reference)
{
	struct reference r;
	const char *why = NULL, *text = references[_i].text;
	size_t size = reference_parse(&r, &arena, text, strlen(text), (struct mark){"x", 3, 4}, &why);
	ck_assert_uint_eq(size, references[_i].size);
	ck_assert_str_eq(path_of(&r), references[_i].path);
	ck_assert_str_eq(r.text, arena_strndup(&arena, text, size));
	ck_assert_uint_eq(r.at.line, 3);
}
END_TEST

static const struct {
	const char *text, *why;
} others[] = {
	{"", "expected \"{\""},
	{"id", "expected \"{\""},
	{"{", "expected a name right behind \"{\""},
	{"{}", "it is empty: expected a name, such as {id}"},
	{"{ id}", "expected a name right behind \"{\""},
	{"{\"a\": 1}", "expected a name right behind \"{\""},
	{"{1}", "expected a name right behind \"{\""},
	{"{id", "its \"}\" is missing"},
	{"{id }", "expected \".\", \"[\" or \"}\" behind a name"},
	{"{id:1}", "expected \".\", \"[\" or \"}\" behind a name"},
	{"{id.a?}", "\"?\" asks whether a member of the body was sent: {body.name?}"},
	{"{body?}", "\"?\" asks whether a member of the body was sent: {body.name?}"},
	{"{body.a[0]?}", "\"?\" asks whether a member of the body was sent: {body.name?}"},
	{"{body.a?b}", "expected \"}\" behind \"?\""},
	{"{body.a?", "expected \"}\" behind \"?\""},
	{"{id.}", "expected a name behind \".\""},
	{"{id..a}", "expected a name behind \".\""},
	{"{id.1}", "expected a name behind \".\""},
	{"{id[}", "expected a number or \"*\" behind \"[\""},
	{"{id[-1]}", "expected a number or \"*\" behind \"[\""},
	{"{id[4294967296]}", "expected a number or \"*\" behind \"[\""},
	{"{id[99999999999999999999999999]}", "expected a number or \"*\" behind \"[\""},
	{"{id[0}", "expected \"]\""},
	{"{id[*", "expected \"]\""},
	{"{id[0]", "its \"}\" is missing"},
	{"{id[0]a}", "expected \".\", \"[\" or \"}\" behind a name"},
	{"{a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a."
	 "a."
	 "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a}",
	 "too long"},
};

START_TEST(is_none)
{
	struct reference r;
	const char *why = NULL;
	/* The exact size, so that a read beyond the end is seen. */
	size_t len = strlen(others[_i].text);
	char *text = malloc(len ? len : 1);
	memcpy(text, others[_i].text, len);
	ck_assert_uint_eq(reference_parse(&r, &arena, text, len, (struct mark){0}, &why), 0);
	ck_assert_str_eq(why, others[_i].why);
	free(text);
}
END_TEST

static const struct node *node_of(const char *yaml)
{
	const struct node *n = yaml_parse(&arena, "t.yaml", yaml, strlen(yaml), &d);
	ck_assert(n && d.errors == 0);
	return n;
}

/* A template's pieces: literals as they are, references in <>. */
static const char *pieces_of(const struct template *t)
{
	const char *text = "";
	for (size_t i = 0; i < t->count; i++) {
		const struct template_piece *p = &t->pieces[i];
		text = p->text ? arena_printf(&arena, "%s%.*s|", text, (int)p->len, p->text)
			       : arena_printf(&arena, "%s<%s>|", text, path_of(&p->reference));
	}
	return text;
}

static const struct {
	const char *yaml, *pieces;
	bool reference, literal;
} templates[] = {
	{"''", "", false, true},
	{"plain", "plain|", false, true},
	{"5", "5|", false, true},
	{"'{id}'", "<id>|", true, false},
	{"'/a/{id}/b'", "/a/|<id>|/b|", false, false},
	{"'{a}{b.c}'", "<a>|<b.c>|", false, false},
	{"'{{id}}'", "{id}|", false, true},
	{"'{{{id}}}'", "{|<id>|}|", false, false},
	{"'}}{{'", "}{|", false, true},
	{"' {id}'", " |<id>|", false, false},
};

START_TEST(template)
{
	struct template t;
	ck_assert(template_parse(&t, &arena, node_of(templates[_i].yaml), &d));
	ck_assert_str_eq(pieces_of(&t), templates[_i].pieces);
	ck_assert_int_eq(template_is_reference(&t), templates[_i].reference);
	ck_assert_int_eq(template_is_literal(&t), templates[_i].literal);
}
END_TEST

/* Every mistake of a text, where it stands in the file. */
START_TEST(mistakes)
{
	struct template t;
	struct buf out = BUF_INIT;
	const struct node *n = node_of("# a comment\n- |\n   one {id\n   two } three {}\n   ä {1} {ok}\n- \"a { b\"\n");

	ck_assert(!template_parse(&t, &arena, n->items[0], &d));
	ck_assert(!template_parse(&t, &arena, n->items[1], &d));
	diagnostics_sort(&d);
	diagnostics_print(&d, &out);
	ck_assert_str_eq(
		buf_cstr(&out),
		"t.yaml:3:8: not a reference: expected \".\", \"[\" or \"}\" behind a name; a literal brace is "
		"\"{{\"\n"
		"t.yaml:4:16: not a reference: it is empty: expected a name, such as {id}; a literal brace is "
		"\"{{\"\n"
		"t.yaml:5:6: not a reference: expected a name right behind \"{\"; a literal brace is \"{{\"\n"
		"t.yaml:6:6: not a reference: expected a name right behind \"{\"; a literal brace is \"{{\"\n");
	buf_done(&out);
}
END_TEST

START_TEST(lone_brace)
{
	struct template t;
	ck_assert(!template_parse(&t, &arena, node_of("'a } b'"), &d));
	ck_assert_str_eq(d.items[0].text, "\"}\" without \"{\": a literal brace is \"}}\"");
	ck_assert_uint_eq(d.items[0].at.column, 4);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("reference");
	TCase *t = tcase_create("references");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, is_reference, 0, ARRAY_SIZE(references));
	tcase_add_loop_test(t, is_none, 0, ARRAY_SIZE(others));
	tcase_add_loop_test(t, template, 0, ARRAY_SIZE(templates));
	tcase_add_test(t, mistakes);
	tcase_add_test(t, lone_brace);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}

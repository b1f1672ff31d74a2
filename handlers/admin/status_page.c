/* The status page, filled in.
 *
 * page.html says by attributes what stands where: data-value (a path into /-/status.json) of an element, data-rows of a
 * table and data-from of its columns, data-as for how it is said. The script reads the same attributes in the browser,
 * so there is one list of columns, and it is where people look for it. page.html is ours: this reads no more of HTML
 * than that it uses. */
#include "handlers/admin/status_page.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/json_out.h"
#include "handlers/admin/status_words.h"

enum { MAX_COLUMNS = 12 };

/* A piece of text. */
struct piece {
	const char *base;
	size_t len;
};

/* A file of the page, put into the program by the assembler. */
#define EMBED(name, file)                                                                                              \
	__asm__(".pushsection .rodata\n" #name ":\n.incbin \"handlers/admin/status/" file "\"\n" #name                 \
		"_end:\n.byte 0\n.popsection\n");                                                                      \
	extern const char name[] __attribute__((visibility("hidden")));                                                \
	extern const char name##_end[] __attribute__((visibility("hidden")))
EMBED(status_html, "page.html");
EMBED(status_style, "style.css");
EMBED(status_script, "script.js");
#define FILE_OF(name) ((struct piece){name, (size_t)((uintptr_t)name##_end - (uintptr_t)name)})

struct column {
	struct piece from, as, class;
	bool head; /* its cells are the headers of their rows */
};

struct table {
	struct piece rows, empty;
	struct column columns[MAX_COLUMNS];
	size_t count;
};

struct filling {
	struct buf *out;
	const struct json *status;
	struct table table; /* that is being read */
};

/* --- the page's attributes --- */

/* The value of an attribute of a tag; base NULL: it has none of that name. */
static struct piece attribute(struct piece tag, const char *name)
{
	char pattern[32];
	int len = snprintf(pattern, sizeof(pattern), " %s=\"", name);
	const char *begin = memmem(tag.base, tag.len, pattern, (size_t)len);
	if (!begin)
		return (struct piece){0};
	begin += len;
	const char *end = memchr(begin, '"', (size_t)(tag.base + tag.len - begin));
	return end ? (struct piece){begin, (size_t)(end - begin)} : (struct piece){0};
}

static bool has_word(struct piece tag, const char *word)
{
	return memmem(tag.base, tag.len, word, strlen(word)) != NULL;
}

static bool begins(struct piece tag, const char *with)
{
	size_t len = strlen(with);
	return tag.len >= len && memcmp(tag.base, with, len) == 0;
}

static void put(struct buf *out, struct piece p)
{
	buf_append(out, p.base, p.len);
}

/* --- the document's values --- */

/* Of a list the last element that is not null: what a history has come to. */
static const struct json *newest(const struct json *v)
{
	const struct json *found = NULL;
	for (const struct json *each = v->child; each; each = each->next)
		found = each->kind == JSON_NULL ? found : each;
	return found;
}

/* "a.b" is a member of a member, "." v itself. */
static const struct json *look(const struct json *v, struct piece path)
{
	bool history = begins(path, "history.");
	while (v && path.len > 0 && !(path.len == 1 && path.base[0] == '.')) {
		const char *dot = memchr(path.base, '.', path.len);
		size_t len = dot ? (size_t)(dot - path.base) : path.len;
		v = json_member(v, path.base, len);
		path.base += dot ? len + 1 : len;
		path.len -= dot ? len + 1 : len;
	}
	return v && history && v->kind == JSON_ARRAY ? newest(v) : v;
}

static void say(struct filling *f, struct piece as, const struct json *v)
{
	status_words_say(f->out, as.base ? as.base : "", as.len, v, f->status);
}

/* --- tables --- */

static void put_cell(struct filling *f, const struct column *c, const struct json *row)
{
	bool health = c->as.len == 6 && memcmp(c->as.base, "health", 6) == 0;
	buf_str(f->out, c->head ? "<th scope=\"row\"" : "<td");
	if (c->class.len || health) {
		buf_lit(f->out, " class=\"");
		put(f->out, health ? c->as : c->class);
		buf_char(f->out, '"');
	}
	buf_char(f->out, '>');
	say(f, c->as, look(row, c->from));
	buf_str(f->out, c->head ? "</th>" : "</td>");
}

static void put_rows(struct filling *f)
{
	const struct table *t = &f->table;
	const struct json *rows = look(f->status, t->rows);
	const struct json *row = rows && rows->kind == JSON_ARRAY ? rows->child : NULL;
	if (!row) {
		buf_printf(f->out, "<tr><td colspan=\"%zu\">", t->count);
		put(f->out, t->empty);
		buf_lit(f->out, "</td></tr>\n");
	}
	for (; row; row = row->next) {
		buf_lit(f->out, "<tr>");
		for (size_t i = 0; i < t->count; i++)
			put_cell(f, &t->columns[i], row);
		buf_lit(f->out, "</tr>\n");
	}
}

/* --- the page --- */

/* A tag from its '<' to its '>', and what comes after it of ours. */
static void put_tag(struct filling *f, struct piece tag)
{
	struct piece class = attribute(tag, "data-class"), value = attribute(tag, "data-value");
	struct piece rows = attribute(tag, "data-rows"), from = attribute(tag, "data-from");
	if (class.base) {
		buf_append(f->out, tag.base, tag.len - 1);
		buf_lit(f->out, " class=\"");
		say(f, (struct piece){0}, look(f->status, class));
		buf_lit(f->out, "\">");
	} else {
		put(f->out, tag);
	}
	if (value.base)
		say(f, attribute(tag, "data-as"), look(f->status, value));
	else if (rows.base)
		f->table = (struct table){.rows = rows, .empty = attribute(tag, "data-empty")};
	else if (from.base && f->table.count < MAX_COLUMNS)
		f->table.columns[f->table.count++] = (struct column){.from = from,
								     .as = attribute(tag, "data-as"),
								     .class = attribute(tag, "class"),
								     .head = has_word(tag, " data-head")};
	else if (begins(tag, "<tbody>"))
		put_rows(f);
	else if (begins(tag, "<style>"))
		put(f->out, FILE_OF(status_style));
	else if (begins(tag, "<script>"))
		put(f->out, FILE_OF(status_script));
}

static void fill(struct filling *f, struct piece page)
{
	const char *at = page.base, *end = page.base + page.len;
	while (at < end) {
		const char *open = memchr(at, '<', (size_t)(end - at));
		const char *close = open ? memchr(open, '>', (size_t)(end - open)) : NULL;
		if (!close)
			break;
		put(f->out, (struct piece){at, (size_t)(open - at)});
		put_tag(f, (struct piece){open, (size_t)(close + 1 - open)});
		at = close + 1;
	}
	put(f->out, (struct piece){at, (size_t)(end - at)});
}

int status_page_render(struct buf *out, const char *json, size_t len)
{
	struct arena memory;
	struct json *status;
	char what[80];
	arena_init(&memory);
	int r = json_parse(&status, &memory, json, len, JSON_MAX_DEPTH, what, sizeof(what));
	if (r == 0) {
		struct filling f = {.out = out, .status = status};
		fill(&f, FILE_OF(status_html));
	}
	arena_done(&memory);
	return r == 0 ? 0 : -EBADMSG;
}

/* --- what it may do --- */

static char policy[320];

/* 'sha256-…', as CSP wants it. */
static void put_hash(struct buf *out, struct piece file)
{
	unsigned char hash[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	struct buf quoted = BUF_INIT;
	if (!EVP_Digest(file.base, file.len, hash, &len, EVP_sha256(), NULL))
		len = 0; /* no memory: the page then shows its tables alone */
	json_base64(&quoted, hash, len);
	buf_lit(out, "'sha256-");
	buf_append(out, quoted.data + 1, quoted.len - 2);
	buf_char(out, '\'');
	buf_done(&quoted);
}

static void make_policy(void)
{
	struct buf out = BUF_INIT;
	buf_lit(&out, "default-src 'none'; img-src data:; style-src ");
	put_hash(&out, FILE_OF(status_style));
	buf_lit(&out, "; script-src ");
	put_hash(&out, FILE_OF(status_script));
	buf_lit(&out, "; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
	snprintf(policy, sizeof(policy), "%s", buf_cstr(&out));
	buf_done(&out);
}

const char *status_page_policy(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, make_policy);
	return policy;
}

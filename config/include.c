/* include: more files, whose sources, semaphores and endpoints stand beside those of the first one.
 *
 * Each file is parsed by itself, so that every place in the tree names its file; then the mappings of the same name are
 * laid together, and one tree goes to the decoder. */
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "config/language.h"
#include "config/yaml.h"

#define MAX_FILES 1000

/* What an included file may hold. */
static const char *const shared[] = {"semaphores", "schemas", "sources", "endpoints"};

static bool is_shared(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(shared); i++) {
		if (strcmp(shared[i], name) == 0)
			return true;
	}
	return false;
}

struct file {
	const char *path;
	const struct node *at; /* the pattern that found it */
	dev_t device;
	ino_t inode;
};

struct files {
	struct file items[MAX_FILES + 1]; /* the including file is the first */
	size_t count;
	size_t bytes; /* read so far */
	const struct node **roots;
	size_t root_count;
};

/* --- finding --------------------------------------------------------------------------------------------------- */

/* One that was found before, or that includes the others, is taken once. */
static void add_file(struct decoder *dc, struct files *f, const struct node *at, const char *path)
{
	struct file *file = &f->items[f->count];
	struct stat st;

	*file = (struct file){.path = arena_strdup(dc->arena, path), .at = at};
	if (stat(path, &st) == 0) {
		file->device = st.st_dev;
		file->inode = st.st_ino;
		for (size_t i = 0; i < f->count; i++) {
			if (f->items[i].device == st.st_dev && f->items[i].inode == st.st_ino)
				return;
		}
	}
	if (f->count == MAX_FILES)
		decode_error(dc, at->at, "include: more than %d files", MAX_FILES);
	else
		f->count++;
}

static int compare_names(const void *p, const void *q)
{
	return strcmp(*(char *const *)p, *(char *const *)q);
}

/* The files of one pattern, by name. A pattern may find nothing; a name must be there. */
static void find_files(struct decoder *dc, struct files *f, const struct node *n)
{
	glob_t found = {0};

	if (!decode_is_text(dc, "include", n))
		return;
	const char *pattern = decode_path(dc, n->at, n->text);
	if (!strpbrk(pattern, "*?[")) {
		add_file(dc, f, n, pattern);
		return;
	}
	int r = glob(pattern, GLOB_ERR | GLOB_NOSORT, NULL, &found);
	if (r != 0 && r != GLOB_NOMATCH)
		decode_error(dc, n->at, "include: there is no such folder, or it can't be read");
	if (found.gl_pathc)
		qsort(found.gl_pathv, found.gl_pathc, sizeof(*found.gl_pathv), compare_names);
	for (size_t i = 0; i < found.gl_pathc && f->count < MAX_FILES; i++)
		add_file(dc, f, n, found.gl_pathv[i]);
	globfree(&found);
}

/* --- reading --------------------------------------------------------------------------------------------------- */

static void check_keys(struct decoder *dc, const struct node *root)
{
	for (size_t i = 0; i < root->count; i++) {
		const struct node *key = root->members[i].key;
		if (is_shared(key->text))
			continue;
		if (section_find(&section_root, key->text))
			decode_error(dc, key->at, "%s: it stands in the first file only, not in one that is included",
				     key->text);
		else
			decode_unknown(dc, key->at, "key of an included file", key->text, shared, ARRAY_SIZE(shared));
	}
}

static void read_file(struct decoder *dc, struct files *f, const struct file *file)
{
	size_t len = 0;
	const char *text = read_text_file(dc, file->at, file->path, YAML_MAX_SIZE, &len);

	f->bytes += len;
	if (f->bytes > YAML_MAX_SIZE) {
		decode_error(dc, file->at->at, "include: more than %u MiB in all", YAML_MAX_SIZE >> 20);
		return;
	}
	const struct node *root = text ? yaml_parse(dc->arena, file->path, text, len, dc->diagnostics) : NULL;
	if (!root || node_is_absent(root) || !decode_is_mapping(dc, "an included file", root))
		return;
	check_keys(dc, root);
	f->roots[f->root_count++] = root;
}

/* --- laying together ------------------------------------------------------------------------------------------- */

struct laying {
	struct decoder *decoder;
	const char *what;
};

/* A name that another file has too: the first one stays. */
static void on_twice(void *arg, const struct node *key, size_t index, const struct node *first)
{
	const struct laying *l = arg;
	(void)index;
	decode_error(l->decoder, key->at, "%s: \"%.100s\" is defined already, at %s:%u:%u", l->what, key->text,
		     first->at.file, first->at.line, first->at.column);
}

/* The mapping `name` of all files; NULL if no file has it. One that is not a mapping stays: the decoder says so. */
static const struct node *lay_together(struct decoder *dc, const struct files *f, const char *name)
{
	const struct node *first = NULL;
	size_t count = 0;

	for (size_t i = 0; i < f->root_count; i++) {
		const struct node *n = node_member(f->roots[i], name);
		if (n && n->kind != NODE_MAPPING)
			return n;
		if (n && !first)
			first = n;
		count += n ? n->count : 0;
	}
	if (!first)
		return NULL;
	struct node *all = arena_zalloc(dc->arena, sizeof(*all));
	struct node_member *members = arena_array(dc->arena, count, sizeof(*members));
	*all = *first;
	all->members = members;
	all->count = 0;
	for (size_t i = 0; i < f->root_count; i++) {
		const struct node *n = node_member(f->roots[i], name);
		for (size_t j = 0; n && j < n->count; j++)
			members[all->count++] = n->members[j];
	}
	all->count = node_members_unique(members, all->count, on_twice, &(struct laying){dc, name});
	return all;
}

static const struct node *name_node(struct decoder *dc, const char *name, struct mark at)
{
	struct node *n = arena_zalloc(dc->arena, sizeof(*n));
	*n = (struct node){.kind = NODE_STRING, .at = at, .body_at = at, .text = name, .len = strlen(name)};
	return n;
}

static const struct node *root_of_all(struct decoder *dc, const struct files *f)
{
	const struct node *first = f->roots[0];
	struct node *root = arena_zalloc(dc->arena, sizeof(*root));
	struct node_member *members = arena_array(dc->arena, first->count + ARRAY_SIZE(shared), sizeof(*members));

	*root = *first;
	root->members = members;
	root->count = 0;
	for (size_t i = 0; i < first->count; i++) {
		if (!is_shared(first->members[i].key->text))
			members[root->count++] = first->members[i];
	}
	for (size_t i = 0; i < ARRAY_SIZE(shared); i++) {
		const struct node *n = lay_together(dc, f, shared[i]);
		if (n)
			members[root->count++] = (struct node_member){name_node(dc, shared[i], n->at), n};
	}
	return root;
}

const struct node *include_files(struct decoder *dc, const struct node *root)
{
	const struct node *include = node_member(root, "include");

	if (!include || (include->kind != NODE_SEQUENCE && include->kind != NODE_STRING))
		return root;
	struct files *f = mem_zalloc(sizeof(*f));
	add_file(dc, f, root, root->at.file);
	if (include->kind == NODE_STRING)
		find_files(dc, f, include);
	for (size_t i = 0; include->kind == NODE_SEQUENCE && i < include->count; i++)
		find_files(dc, f, include->items[i]);
	f->roots = arena_array(dc->arena, f->count, sizeof(*f->roots));
	f->roots[f->root_count++] = root;
	for (size_t i = 1; i < f->count && f->bytes <= YAML_MAX_SIZE; i++)
		read_file(dc, f, &f->items[i]);
	const struct node *all = root_of_all(dc, f);
	free(f);
	return all;
}

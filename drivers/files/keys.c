/* The keys and actions of files sources. */
#include "drivers/files/keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/rows.h"

/* --- sources --------------------------------------------------------------------------------------------------- */

/* The folder, absolute. */
static void decode_folder(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	const char **place = (const char **)(void *)((char *)object + k->offset);
	struct stat st;

	if (!decode_is_text(dc, k->name, n))
		return;
	const char *path = decode_path(dc, n->at, n->text);
	const char *shown = n->expanded ? "a folder from the environment" : path;
	char *real = realpath(path, NULL);
	if (!real)
		decode_error(dc, n->at, "files: %.200s: %s", shown, strerror(errno));
	else if (stat(real, &st) < 0 || !S_ISDIR(st.st_mode))
		decode_error(dc, n->at, "files: %.200s: it is no folder", shown);
	else
		*place = arena_strdup(dc->arena, real);
	free(real);
}

static const struct key files_keys[] = {
	{"files", KEY_CUSTOM, .required = true, .decode = decode_folder, INTO(struct config_source, url),
	 .shape = "{\"type\":\"string\",\"minLength\":1}",
	 .help = "A folder, absolute or relative to the configuration; nothing outside it is ever read."},
	{"write", KEY_BOOL, OWN(struct files_source_keys, write), .initial = "false",
	 .help = "Steps may write, append and remove."},
	{"max_size", KEY_SIZE, OWN(struct files_source_keys, max_size), .minimum = 1, .maximum = 1 << 30,
	 .initial = "8MiB", .help = "The largest file that is read or written; send has no bound."},
};
static const struct section section_files = {.name = "files",
					     .what = "a files source",
					     SECTION(files_keys),
					     .shared = &section_source,
					     .check = check_source};

/* --- steps ----------------------------------------------------------------------------------------------------- */

/* Of a step of a files source: the path of the file to write, or true beside another action. */
static void decode_write(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_step *s = object;

	const struct node *said = node_unquoted(n, dc->arena);

	if (said->kind == NODE_BOOL)
		s->write = said->boolean;
	else if (n->kind != NODE_STRING)
		decode_unexpected(dc, k->name, n, "the path of a file, or true beside append or remove");
}

/* clang-format off */
#define ON_FILE(action, does) {action, KEY_NODE, .kinds = TEXT, .help = does " The value is its path below the folder."}
/* clang-format on */
static const char *const as_words[] = {"text", "json", "base64", NULL};
static const struct key files_step_keys[] = {
	ON_FILE("read", "What a file holds."),
	ON_FILE("stat", "Size, time and kind of a file."),
	ON_FILE("list", "The files of a folder."),
	ON_FILE("send", "The file itself as the endpoint's reply."),
	{"write", KEY_CUSTOM, .decode = decode_write, .shape = "{\"type\":[\"string\",\"boolean\"]}",
	 .help = "Write a whole file, at once for all who read it. The value is its path below the folder. Beside "
		 "append "
		 "and remove: true."},
	ON_FILE("append", "Write at the end of a file."),
	ON_FILE("remove", "Remove a file."),
	{"as", KEY_ENUM, OWN(struct files_step_keys, as), .words = as_words, .initial = "text",
	 .help = "What read makes of the file."},
	{"content", KEY_NODE, OWN(struct files_step_keys, content),
	 .help = "What write and append write, with references: a text, or JSON where it is none."},
};
static const struct section section_files_step = {
	.name = "files_step",
	.what = "a step of a files source",
	SECTION(files_step_keys),
	.shared = &section_step,
	.check = check_step,
	.stranger = step_stranger,
	.shape = ",\"anyOf\":[{\"required\":[\"read\"]},{\"required\":[\"stat\"]},{\"required\":[\"list\"]},{"
		 "\"required\":[\"send\"]},{\"required\":[\"write\",\"content\"]},{\"required\":[\"append\","
		 "\"content\"]},{\"required\":[\"remove\"]}]",
};

static const struct action_row actions[] = {
	[ACTION_READ] = {"read", EXPECT_JSON, .keys = " as ", ALLOW(BIT(EXPECT_JSON))},
	[ACTION_STAT] = {"stat", EXPECT_JSON, .keys = "", .no_rows = true, ALLOW(BIT(EXPECT_JSON))},
	[ACTION_LIST] = {"list", EXPECT_JSON, .keys = "", ALLOW(BIT(EXPECT_JSON))},
	[ACTION_SEND] = {"send", EXPECT_JSON, .keys = "", .no_rows = true, .is_reply = true, ALLOW(BIT(EXPECT_JSON))},
	[ACTION_WRITE] = {"write", EXPECT_JSON, .also_flag = true, .keys = " content write ", .required = "content",
			  .writes = true, .no_rows = true, ALLOW(BIT(EXPECT_JSON))},
	[ACTION_APPEND] = {"append", EXPECT_JSON, .keys = " content write ", .required = "content", .writes = true,
			   .no_rows = true, ALLOW(BIT(EXPECT_JSON))},
	[ACTION_REMOVE] = {"remove", EXPECT_JSON, .keys = " write ", .writes = true, .no_rows = true,
			   ALLOW(BIT(EXPECT_JSON))},
};

/* Below the folder, whatever its references bring. */
static void check_file_path(struct decoder *dc, const struct action_row *row, const struct node *n)
{
	if (n->kind != NODE_STRING || n->refused)
		return;
	if (n->len == 0 || n->text[0] == '/') {
		decode_unexpected(dc, row->name, n, "a path below the source's folder (\".\" is the folder itself)");
		return;
	}
	for (const char *segment = n->text; *segment; segment += strspn(segment, "/")) {
		size_t len = strcspn(segment, "/");
		if (len == 2 && memcmp(segment, "..", 2) == 0)
			decode_error(dc, node_mark_at(n, (size_t)(segment - n->text)),
				     "%s: \"..\" leads out of a folder", row->name);
		segment += len;
	}
}

static void check_files_step(struct decoder *dc, const struct node *mapping, struct config_step *s,
			     const struct action_row *action)
{
	const struct files_source_keys *source = s->source->own;
	const struct files_step_keys *own = s->own;

	if (!action)
		return;
	check_file_path(dc, action, s->action_value);
	if (action->writes && !source->write)
		decode_report(dc, mapping, action->name,
			      arena_printf(&dc->diagnostics->arena, "the source \"%s\" does not say \"write: true\"",
					   s->source->name));
	if (s->action == ACTION_READ)
		s->no_rows = own->as != FILE_AS_JSON;
}

const struct source_kind files_kind = {
	.name = "files",
	.article = "a",
	.value = "a folder",
	.source = &section_files,
	.source_size = sizeof(struct files_source_keys),
	.step = &section_files_step,
	.step_size = sizeof(struct files_step_keys),
	.actions = actions,
	.action_count = ARRAY_SIZE(actions),
	.check_step = check_files_step,
};

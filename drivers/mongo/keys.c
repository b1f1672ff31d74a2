/* The keys and actions of mongodb sources. */
#include "drivers/mongo/keys.h"

#include "config/rows.h"

/* --- sources --------------------------------------------------------------------------------------------------- */

static const struct key mongodb_pool_keys[] = {
	{"size", KEY_INTEGER, INTO(struct config_pool, size), .minimum = 1, .maximum = 10000, .initial = "16",
	 .help = "The most clients of the whole process."},
};
static const struct section section_mongodb_pool = {
	.name = "mongodb_pool", .what = "pool", SECTION(mongodb_pool_keys), .shared = &section_pool};

static const char *const mongo_json_words[] = {"plain", "relaxed", NULL};
static const struct key mongodb_keys[] = {
	{"mongodb", KEY_STRING, .required = true, INTO(struct config_source, url),
	 .help = "The server: mongodb://user@host/database."},
	PASSWORD,
	{"pool", KEY_SECTION, .section = &section_mongodb_pool, .offset = offsetof(struct config_source, pool),
	 .help = "The clients."},
	{"json", KEY_ENUM, OWN(struct mongo_source_keys, json), .words = mongo_json_words, .initial = "plain",
	 .help = "plain: ObjectId as hex, dates as ISO 8601, numbers as numbers; relaxed: MongoDB's relaxed extended "
		 "JSON."},
};
static const struct section section_mongodb = {.name = "mongodb",
					       .what = "a mongodb source",
					       SECTION(mongodb_keys),
					       .shared = &section_source,
					       .check = check_source};

/* --- steps ----------------------------------------------------------------------------------------------------- */

/* clang-format off */
#define COLLECTION(action, does) {action, KEY_NODE, .kinds = TEXT, .help = does " The value is the collection."}
/* clang-format on */
static const struct key mongodb_step_keys[] = {
	COLLECTION("find", "The documents that match."),
	COLLECTION("find_one", "The first document that matches, or null."),
	COLLECTION("aggregate", "What a pipeline makes of a collection."),
	COLLECTION("count", "The number of documents that match."),
	COLLECTION("distinct", "The values of one key."),
	{"filter", KEY_NODE, OWN(struct mongo_step_keys, filter), .kinds = MAPPING | TEXT, .help = "What to match."},
	{"projection", KEY_NODE, OWN(struct mongo_step_keys, projection), .kinds = MAPPING, .help = "Which members."},
	{"sort", KEY_NODE, OWN(struct mongo_step_keys, sort), .kinds = MAPPING, .help = "The order: 1 or -1 by key."},
	{"limit", KEY_NODE, OWN(struct mongo_step_keys, limit), .kinds = BIT(NODE_INT) | TEXT,
	 .help = "At most so many; a number or a reference."},
	{"skip", KEY_NODE, OWN(struct mongo_step_keys, skip), .kinds = BIT(NODE_INT) | TEXT,
	 .help = "Leave out the first so many; a number or a reference."},
	{"pipeline", KEY_NODE, OWN(struct mongo_step_keys, pipeline), .kinds = BIT(NODE_SEQUENCE),
	 .help = "The stages."},
	{"key", KEY_NODE, OWN(struct mongo_step_keys, key), .kinds = TEXT, .help = "The key of distinct."},
	EXPECT_ROWS,
	LATER("insert_one"),
	LATER("insert_many"),
	LATER("update_one"),
	LATER("update_many"),
	LATER("replace_one"),
	LATER("delete_one"),
	LATER("delete_many"),
	LATER("find_one_and_update"),
	LATER("find_one_and_replace"),
	LATER("find_one_and_delete"),
	LATER("document"),
	LATER("documents"),
	LATER("update"),
	LATER("replacement"),
	LATER("upsert"),
};
static const struct section section_mongodb_step = {
	.name = "mongodb_step",
	.what = "a step of a mongodb source",
	SECTION(mongodb_step_keys),
	.shared = &section_step,
	.check = check_step,
	.stranger = step_stranger,
	.shape = ",\"oneOf\":[{\"required\":[\"find\"]},{\"required\":[\"find_one\"]},{\"required\":[\"aggregate\","
		 "\"pipeline\"]},{\"required\":[\"count\"]},{\"required\":[\"distinct\",\"key\"]}]",
};

static const struct action_row actions[] = {
	[ACTION_FIND] = {"find", EXPECT_MANY, .keys = " filter projection sort limit skip ",
			 ALLOW(BIT(EXPECT_MANY) | BIT(EXPECT_ONE) | BIT(EXPECT_MAYBE))},
	[ACTION_FIND_ONE] = {"find_one", EXPECT_MAYBE, .keys = " filter projection sort skip ",
			     ALLOW(BIT(EXPECT_ONE) | BIT(EXPECT_MAYBE))},
	[ACTION_AGGREGATE] = {"aggregate", EXPECT_MANY, .keys = " pipeline ", .required = "pipeline",
			      ALLOW(BIT(EXPECT_MANY) | BIT(EXPECT_ONE) | BIT(EXPECT_MAYBE))},
	[ACTION_COUNT] = {"count", EXPECT_VALUE, .keys = " filter limit skip ", ALLOW(BIT(EXPECT_VALUE))},
	[ACTION_DISTINCT] = {"distinct", EXPECT_MANY, .keys = " key filter ", .required = "key", .no_rows = true,
			     ALLOW(BIT(EXPECT_MANY))},
};

static void check_amount(struct decoder *dc, const char *name, const struct node *n, int64_t least)
{
	if (n && n->kind == NODE_INT && n->integer < least)
		decode_error(dc, n->at, "%s: expected %s, found %s", name, least ? "1 or more" : "0 or more",
			     decode_shown(dc, n));
}

static void check_mongo_step(struct decoder *dc, const struct node *mapping, struct config_step *s,
			     const struct action_row *action)
{
	const struct mongo_step_keys *m = s->own;

	(void)mapping;
	check_amount(dc, "limit", m->limit, 1);
	check_amount(dc, "skip", m->skip, 0);
	if (action && s->action_value->kind == NODE_STRING && s->action_value->len == 0)
		decode_unexpected(dc, action->name, s->action_value, "the name of a collection");
}

const struct source_kind mongo_kind = {
	.name = "mongodb",
	.article = "a",
	.value = "a URL",
	.source = &section_mongodb,
	.source_parts = {&section_mongodb_pool},
	.source_size = sizeof(struct mongo_source_keys),
	.step = &section_mongodb_step,
	.step_size = sizeof(struct mongo_step_keys),
	.actions = actions,
	.action_count = ARRAY_SIZE(actions),
	.check_step = check_mongo_step,
};

/* The keys and actions of mongodb sources. */
#include "drivers/mongo/keys.h"

#include <string.h>

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
static const char *const mongo_return_words[] = {"before", "after", NULL};

struct retry_words {
	unsigned attempts;
};
static const struct key retry_keys[] = {
	{"attempts", KEY_INTEGER, .required = true, INTO(struct retry_words, attempts), .minimum = 1, .maximum = 20,
	 .help = "Attempts in all."},
};
static const struct section section_retry = {.name = "mongodb_retry", .what = "retry", SECTION(retry_keys)};

static decode_fn decode_transaction;

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
	AFFECTED,
	EACH,
	{"transaction", KEY_CUSTOM, .decode = decode_transaction,
	 .shape = "{\"type\":\"array\",\"minItems\":1,\"maxItems\":32,\"items\":{\"type\":\"object\",\"minProperties\":"
		  "1,"
		  "\"maxProperties\":1,\"additionalProperties\":{\"$ref\":\"#/$defs/mongodb_transaction_step\"}}}",
	 .help = "Steps, each with a name, that run in order and are committed together, or not at all."},
	{"retry", KEY_SECTION, .section = &section_retry, .own = true,
	 .offset = offsetof(struct mongo_step_keys, attempts),
	 .help = "Of a transaction: begin it again if the server says that this may help."},
	COLLECTION("insert_one", "Store a document."),
	COLLECTION("insert_many", "Store documents."),
	COLLECTION("update_one", "Change the first document that matches."),
	COLLECTION("update_many", "Change the documents that match."),
	COLLECTION("replace_one", "Put a document in the place of the first that matches."),
	COLLECTION("delete_one", "Remove the first document that matches."),
	COLLECTION("delete_many", "Remove the documents that match."),
	COLLECTION("find_one_and_update", "Change the first document that matches, and get it."),
	COLLECTION("find_one_and_replace", "Put a document in the place of the first that matches, and get it."),
	COLLECTION("find_one_and_delete", "Remove the first document that matches, and get it."),
	{"document", KEY_NODE, OWN(struct mongo_step_keys, document), .kinds = MAPPING | TEXT,
	 .help = "What insert_one stores: a document, or a reference to one."},
	{"documents", KEY_NODE, OWN(struct mongo_step_keys, documents), .kinds = BIT(NODE_SEQUENCE) | TEXT,
	 .help = "What insert_many stores: a list of documents, or a reference to one."},
	{"update", KEY_NODE, OWN(struct mongo_step_keys, update), .kinds = MAPPING | BIT(NODE_SEQUENCE),
	 .help = "The change: { $set: … }, a pipeline, or { merge: X } (RFC 7386)."},
	{"replacement", KEY_NODE, OWN(struct mongo_step_keys, replacement), .kinds = MAPPING | TEXT,
	 .help = "The document that is put in the place of another, or a reference to one."},
	{"upsert", KEY_BOOL, OWN(struct mongo_step_keys, upsert), .initial = "false",
	 .help = "Store a new document if none matches."},
	{"array_filters", KEY_NODE, OWN(struct mongo_step_keys, array_filters), .kinds = BIT(NODE_SEQUENCE),
	 .help = "Which elements of arrays an update changes."},
	{"ordered", KEY_BOOL, OWN(struct mongo_step_keys, ordered), .initial = "true",
	 .help = "insert_many ends at the first document that fails."},
	{"return", KEY_ENUM, OWN(struct mongo_step_keys, returned), .words = mongo_return_words, .initial = "before",
	 .help = "The document as it was before the change, or as it is after it."},
	{"hint", KEY_NODE, OWN(struct mongo_step_keys, hint), .kinds = MAPPING | TEXT,
	 .help = "The index to use: its name, or its keys."},
};
/* clang-format off */
#define ONE_ACTION ",\"oneOf\":[{\"required\":[\"find\"]},{\"required\":[\"find_one\"]},{\"required\":[\"aggregate\"," \
		 "\"pipeline\"]},{\"required\":[\"count\"]},{\"required\":[\"distinct\",\"key\"]}," \
		 "{\"required\":[\"insert_one\",\"document\"]},{\"required\":[\"insert_many\",\"documents\"]}," \
		 "{\"required\":[\"update_one\",\"filter\",\"update\"]}," \
		 "{\"required\":[\"update_many\",\"filter\",\"update\"]}," \
		 "{\"required\":[\"replace_one\",\"filter\",\"replacement\"]}," \
		 "{\"required\":[\"delete_one\",\"filter\"]},{\"required\":[\"delete_many\",\"filter\"]}," \
		 "{\"required\":[\"find_one_and_update\",\"filter\",\"update\"]}," \
		 "{\"required\":[\"find_one_and_replace\",\"filter\",\"replacement\"]}," \
		 "{\"required\":[\"find_one_and_delete\",\"filter\"]}"
/* clang-format on */
static const struct section section_mongodb_step = {
	.name = "mongodb_step",
	.what = "a step of a mongodb source",
	SECTION(mongodb_step_keys),
	.shared = &section_step,
	.check = check_step,
	.stranger = step_stranger,
	.shape = ONE_ACTION ",{\"required\":[\"transaction\"]}]",
};

/* What a step of a transaction has beside its action. */
static const struct key inner_common_keys[] = {
	{"when", KEY_NODE, INTO(struct config_step, when), .kinds = TEXT,
	 .help = "A reference; if it is false, null, 0 or empty the step is skipped and its result is null."},
};
static const struct section section_inner_common = {
	.name = "mongodb_transaction_common", .what = "a step of a transaction", SECTION(inner_common_keys)};
static const struct section section_inner = {
	.name = "mongodb_transaction_step",
	.what = "a step of a transaction",
	SECTION(mongodb_step_keys),
	.shared = &section_inner_common,
	.check = check_step,
	.stranger = step_stranger,
	.shape = ONE_ACTION "]",
};

static void decode_transaction(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	decode_inner_steps(dc, k->name, n, object, &section_inner, "name: { … }");
}

/* What writes brings its counts, or the document that it has changed. */
#define WRITES   EXPECT_ONE, .writes = true, .no_rows = true, ALLOW(BIT(EXPECT_ONE) | BIT(EXPECT_NONE))
#define MODIFIES EXPECT_MAYBE, .writes = true, ALLOW(BIT(EXPECT_ONE) | BIT(EXPECT_MAYBE) | BIT(EXPECT_NONE))

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
	[ACTION_INSERT_ONE] = {"insert_one", WRITES, .keys = " document affected each ", .required = "document"},
	[ACTION_INSERT_MANY] = {"insert_many", WRITES, .keys = " documents ordered affected ", .required = "documents"},
	[ACTION_UPDATE_ONE] = {"update_one", WRITES, .keys = " filter update upsert array_filters hint affected each ",
			       .required = "update"},
	[ACTION_UPDATE_MANY] = {"update_many", WRITES,
				.keys = " filter update upsert array_filters hint affected each ",
				.required = "update"},
	[ACTION_REPLACE_ONE] = {"replace_one", WRITES, .keys = " filter replacement upsert hint affected each ",
				.required = "replacement"},
	[ACTION_DELETE_ONE] = {"delete_one", WRITES, .keys = " filter hint affected each "},
	[ACTION_DELETE_MANY] = {"delete_many", WRITES, .keys = " filter hint affected each "},
	[ACTION_FIND_ONE_AND_UPDATE] =
		{"find_one_and_update", MODIFIES,
		 .keys = " filter update upsert array_filters hint sort projection return affected ",
		 .required = "update"},
	[ACTION_FIND_ONE_AND_REPLACE] = {"find_one_and_replace", MODIFIES,
					 .keys = " filter replacement upsert hint sort projection return affected ",
					 .required = "replacement"},
	[ACTION_TRANSACTION] = {"transaction", EXPECT_MANY, .keys = " retry ", .may_write = true, .no_rows = true,
				ALLOW(BIT(EXPECT_MANY))},
	[ACTION_FIND_ONE_AND_DELETE] = {"find_one_and_delete", MODIFIES,
					.keys = " filter hint sort projection affected "},
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

	check_amount(dc, "limit", m->limit, 1);
	check_amount(dc, "skip", m->skip, 0);
	/* Without one an action that was misspelt elsewhere would be for every document. */
	if (action && action->writes && strstr(action->keys, " filter ") && !node_member(mapping, "filter"))
		decode_error(dc, mapping->at, "%s: \"filter\" is missing; {} is every document", action->name);
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
	.step_parts = {&section_inner, &section_retry},
	.step_size = sizeof(struct mongo_step_keys),
	.actions = actions,
	.action_count = ARRAY_SIZE(actions),
	.check_step = check_mongo_step,
};

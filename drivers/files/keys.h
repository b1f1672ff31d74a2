/* What a configuration says of a files source and of its steps, beside what it says of any. */
#pragma once

#include "config/config.h"

/* What `own` of its config_source points to. The source's url is the folder, absolute. */
struct files_source_keys {
	bool write;
	size_t max_size; /* bytes of a file that is read or written */
};

/* Of a step; action_value is the path below the folder, a text. */
enum files_action_kind {
	ACTION_READ,
	ACTION_STAT,
	ACTION_LIST,
	ACTION_SEND,
	ACTION_WRITE,
	ACTION_APPEND,
	ACTION_REMOVE,
};

enum file_as { FILE_AS_TEXT, FILE_AS_JSON, FILE_AS_BASE64 };

/* What `own` of a config_step points to. */
struct files_step_keys {
	enum file_as as;
	const struct node *content; /* of write and append: text, or JSON if it is not a text; NULL: absent */
};

extern const struct source_kind files_kind;

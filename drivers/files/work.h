/* One action as a job of the executor. It owns all that it touches: whoever waited may have left. */
#pragma once

#include "async/executor.h"
#include "base/buf.h"
#include "base/error.h"
#include "drivers/files/keys.h"
#include "drivers/files/root.h"

struct work {
	struct job job;
	struct root *root; /* held */
	enum files_action_kind kind;
	enum file_as as;
	bool as_value; /* read: to bytes and is_text, instead of json */
	size_t max_size;
	bool from_request; /* the request supplied the path or the content: what is wrong with it is its own fault */
	struct buf path;   /* NUL-terminated */
	struct buf content;
	/* when it has run */
	int result;         /* 0 or -errno with error filled */
	struct error error; /* what: without the names of step and file */
	struct buf json;    /* the step's result */
	size_t rows;
	struct buf bytes;
	bool is_text; /* they are UTF-8, without a NUL */
};

static inline bool files_action_writes(enum files_action_kind kind)
{
	return kind == ACTION_WRITE || kind == ACTION_APPEND || kind == ACTION_REMOVE;
}

struct work *work_new(struct root *root, enum files_action_kind kind);
void work_free(struct work *w);

/* The actions, by kind: all block. Return 0 or -errno with w->error filled. */
int work_read(struct work *w) must_check;
int work_stat(struct work *w) must_check;
int work_list(struct work *w) must_check;
int work_write(struct work *w) must_check;
int work_append(struct work *w) must_check;
int work_remove(struct work *w) must_check;

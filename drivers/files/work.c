/* Jobs: their life, and which action is which function. */
#include "drivers/files/work.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"

static int (*const actions[])(struct work *w) = {
	[ACTION_READ] = work_read,   [ACTION_STAT] = work_stat,     [ACTION_LIST] = work_list,
	[ACTION_WRITE] = work_write, [ACTION_APPEND] = work_append, [ACTION_REMOVE] = work_remove,
};

static void run_job(struct job *j)
{
	struct work *w = container_of(j, struct work, job);

	w->result = actions[w->kind](w);
}

static void free_job(struct job *j)
{
	work_free(container_of(j, struct work, job));
}

struct work *work_new(struct root *root, enum files_action_kind kind)
{
	struct work *w = mem_zalloc(sizeof(*w));

	w->job.run = run_job;
	w->job.free = free_job;
	w->root = root_hold(root);
	w->kind = kind;
	return w;
}

void work_free(struct work *w)
{
	if (!w)
		return;
	root_drop(w->root);
	buf_done(&w->path);
	buf_done(&w->content);
	buf_done(&w->json);
	buf_done(&w->bytes);
	free(w);
}

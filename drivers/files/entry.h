/* What an entry of a folder is to those who list it, and which entries they never see. Any thread. */
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

#include "base/buf.h"

/* How the names of files begin that are being written. */
#define ENTRY_UNFINISHED ".gatherd-"

/* Is it the name of a file that is being written? */
bool entry_is_unfinished(const char *name);
/* Append { name, size, modified, type } of the file at path. */
void entry_render(struct buf *out, const char *path, const struct stat *st);

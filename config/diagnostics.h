/* What is wrong with a configuration: every mistake of one run, each where it stands. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/compiler.h"

/* A place in a file. Lines and columns count from 1; columns count characters. */
struct mark {
	const char *file;
	unsigned line, column;
};

enum severity { SEVERITY_ERROR, SEVERITY_WARNING };

struct diagnostic {
	struct mark at;
	enum severity severity;
	const char *text;
};

struct diagnostics {
	struct arena arena;
	struct diagnostic *items;
	size_t count, capacity;
	size_t errors; /* of them */
};

void diagnostics_init(struct diagnostics *d);
void diagnostics_done(struct diagnostics *d);
/* The file's name and the text are copied: they outlive what they were made from. Control characters in the text are
 * escaped. Callers clip what they quote from the file. */
void diagnostics_error(struct diagnostics *d, struct mark at, const char *format, ...) printf_like(3, 4);
void diagnostics_warning(struct diagnostics *d, struct mark at, const char *format, ...) printf_like(3, 4);
/* In the order of files, lines and columns; the same text at the same place once. */
void diagnostics_sort(struct diagnostics *d);
/* A line each: `file:line:column: text`, with "warning: " before the text of a warning. */
void diagnostics_print(const struct diagnostics *d, struct buf *out);
/* For people: `file:line:column: error: text`, or warning. */
void diagnostic_report(const struct diagnostic *item, struct buf *out);
/* A line each, and one that says how many there are, as `gatherd check` has it; nothing if there are none. */
void diagnostics_report(const struct diagnostics *d, struct buf *out);

/* The name of names (count of them) that is nearest to word by edit distance (insert, drop, replace, swap neighbours;
 * case aside), or NULL if none is near. */
const char *nearest_name(const char *word, const char *const *names, size_t count);

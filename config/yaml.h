/* YAML text to a tree of nodes, by libyaml. */
#pragma once

#include <stddef.h>

#include "base/arena.h"
#include "config/diagnostics.h"
#include "config/node.h"

#define YAML_MAX_SIZE (32u << 20) /* bytes of a file */

/* Parse text, one document of at most YAML_MAX_SIZE bytes. name stands in the marks and must live as long as the tree,
 * which lives in a; text may go. Mistakes go to d. Returns the root, absent (node_is_absent) where the text says
 * nothing; NULL if there is no tree to look at (a syntax error, over a bound). A root may come with mistakes: nodes
 * that are `refused`. */
const struct node *yaml_parse(struct arena *a, const char *name, const char *text, size_t len, struct diagnostics *d);

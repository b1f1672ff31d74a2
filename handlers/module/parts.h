/* Lists and documents that handlers put together: for those who make them (gd_list, gd_doc, gd_build). */
#pragma once

#include "handlers/module/internal.h"

/* An empty VALUE_LIST or VALUE_DOCUMENT of s. */
gd_value *parts_new(struct gd_scope *s, enum value_kind kind);
/* Put v at the end of list. Returns 0, or -EINVAL: v failed, is pending or NULL, or it would be too deep: list is that
 * failure then. `what`: what v is, for its message. */
int parts_append(gd_value *list, const gd_value *v, const char *what);
/* The same as the member of that name, in the place of one that is there. name is UTF-8 without NUL. */
int parts_set(gd_value *doc, const char *name, size_t len, const gd_value *v);
/* Where the members of a document are, again. */
void parts_index(gd_value *doc);

/* Columns from what libpq says of a description or of rows. */
#include "drivers/postgres/types/layout.h"

#include <stdlib.h>
#include <string.h>

#include "base/json_out.h"
#include "base/mem.h"

struct pg_layout *pg_layout_new(const PGresult *names, const struct pg_types *types)
{
	unsigned count = (unsigned)PQnfields(names);
	struct buf text = BUF_INIT;
	struct pg_layout *layout = mem_zalloc(sizeof(*layout) + count * sizeof(*layout->columns));

	layout->references = 1;
	layout->count = count;
	for (unsigned i = 0; i < count; i++) {
		struct pg_column *c = &layout->columns[i];
		const char *name = PQfname(names, (int)i);
		if (!pg_types_find(types, PQftype(names, (int)i), &c->type))
			c->type = (struct pg_type){.oid = PQftype(names, (int)i), .shape = PG_SHAPE_STRING};
		c->name = mem_strdup(name);
		c->name_len = strlen(name);
		text.len = 0;
		json_string(&text, name, c->name_len);
		buf_char(&text, ':');
		c->key = mem_strndup(text.data, text.len);
		c->key_len = text.len;
	}
	buf_done(&text);
	return layout;
}

struct pg_layout *pg_layout_renamed(const PGresult *names, const PGresult *rows, const struct pg_types *types)
{
	struct pg_layout *layout = pg_layout_new(names, types);
	unsigned count = (unsigned)PQnfields(rows);

	/* Columns that were added are at the end of what the statement inside knows. */
	for (; layout->count > count; layout->count--) {
		free((void *)layout->columns[layout->count - 1].name);
		free((void *)layout->columns[layout->count - 1].key);
	}
	for (unsigned i = 0; i < layout->count; i++) {
		if (!pg_types_find(types, PQftype(rows, (int)i), &layout->columns[i].type))
			layout->columns[i].type = (struct pg_type){.oid = PQftype(rows, (int)i)};
	}
	layout->wrapped = true;
	return layout;
}

bool pg_layout_fits(const struct pg_layout *layout, const PGresult *rows)
{
	if (PQnfields(rows) != (int)layout->count)
		return false;
	for (unsigned i = 0; i < layout->count; i++) {
		const struct pg_column *c = &layout->columns[i];
		if (PQftype(rows, (int)i) != c->type.oid)
			return false;
		if (!layout->wrapped && strcmp(PQfname(rows, (int)i), c->name) != 0)
			return false;
	}
	return true;
}

struct pg_layout *pg_layout_keep(struct pg_layout *layout)
{
	layout->references++;
	return layout;
}

void pg_layout_drop(struct pg_layout *layout)
{
	if (!layout || --layout->references > 0)
		return;
	for (unsigned i = 0; i < layout->count; i++) {
		free((void *)layout->columns[i].name);
		free((void *)layout->columns[i].key);
	}
	free(layout);
}

/* Values are bound as text, which the server reads by the type that it wants: a table says which texts it can read. It
 * errs on the side of saying nothing: types that somebody created may read anything. */
#include "drivers/postgres/types/fit.h"

#include "base/compiler.h"

/* What the server wants. */
enum wanted { ANYTHING, INTEGER, NUMBER, BOOLEAN, DATE, TIMESTAMP, UUID, JSON, ARRAY, WANTED };

static const struct {
	Oid oid, array;
	enum wanted wanted;
	const char *name;
} types[] = {
	{16, 1000, BOOLEAN, "boolean"},
	{20, 1016, INTEGER, "bigint"},
	{21, 1005, INTEGER, "smallint"},
	{23, 1007, INTEGER, "integer"},
	{25, 1009, ANYTHING, "text"},
	{114, 199, JSON, "json"},
	{700, 1021, NUMBER, "real"},
	{701, 1022, NUMBER, "double precision"},
	{1043, 1015, ANYTHING, "character varying"},
	{1082, 1182, DATE, "date"},
	{1114, 1115, TIMESTAMP, "timestamp without time zone"},
	{1184, 1185, TIMESTAMP, "timestamp with time zone"},
	{1700, 1231, NUMBER, "numeric"},
	{2950, 2951, UUID, "uuid"},
	{3802, 3807, JSON, "jsonb"},
};

/* Of types that are not in the table: domains and arrays of them. */
static const struct {
	enum wanted wanted;
	const char *name;
} shapes[] = {
	[PG_SHAPE_STRING] = {ANYTHING, "text"},          [PG_SHAPE_INTEGER] = {INTEGER, "integer"},
	[PG_SHAPE_NUMBER] = {NUMBER, "numeric"},         [PG_SHAPE_BOOLEAN] = {BOOLEAN, "boolean"},
	[PG_SHAPE_TIMESTAMP] = {TIMESTAMP, "timestamp"}, [PG_SHAPE_JSON] = {JSON, "json"},
	[PG_SHAPE_VECTOR] = {ANYTHING, "vector"},        [PG_SHAPE_ARRAY] = {ARRAY, "array"},
	[PG_SHAPE_SERVER] = {ANYTHING, "record"},
};

/* What was declared. */
enum declared { TEXT, TEXT_DATE, TEXT_DATE_TIME, TEXT_UUID, TEXT_OTHER, WHOLE, NUMERIC, TRUTH, LIST, OBJECT, DECLARED };

enum { F = PG_FITS, M = PG_MAY_FIT, X = PG_CANNOT_FIT };
/* clang-format off */
static const uint8_t fits[DECLARED][WANTED] = {
	/*                    any int num bool date time uuid json array */
	[TEXT]           = {   F,  M,  M,  M,   M,   M,   M,   F,   M},
	[TEXT_DATE]      = {   F,  X,  X,  X,   F,   F,   X,   F,   X},
	[TEXT_DATE_TIME] = {   F,  X,  X,  X,   F,   F,   X,   F,   X},
	[TEXT_UUID]      = {   F,  X,  X,  X,   X,   X,   F,   F,   X},
	[TEXT_OTHER]     = {   F,  X,  X,  X,   X,   X,   X,   F,   X},
	[WHOLE]          = {   F,  F,  F,  M,   M,   M,   X,   F,   X},
	[NUMERIC]        = {   F,  M,  F,  M,   M,   M,   X,   F,   X},
	[TRUTH]          = {   F,  X,  X,  F,   X,   X,   X,   F,   X},
	[LIST]           = {   F,  X,  X,  X,   X,   X,   X,   F,   F},
	[OBJECT]         = {   F,  X,  X,  X,   X,   X,   X,   F,   X},
};
/* clang-format on */

static int row_of(Oid oid)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		if (types[i].oid == oid || types[i].array == oid)
			return (int)i;
	}
	return -1;
}

static enum wanted wanted_of(const struct pg_type *t)
{
	int row = row_of(t->oid);

	if (row < 0 || t->shape == PG_SHAPE_ARRAY)
		return shapes[t->shape].wanted;
	return types[row].wanted;
}

static enum wanted wanted_element(const struct pg_type *t)
{
	int row = row_of(t->oid);

	return row < 0 ? shapes[t->element].wanted : types[row].wanted;
}

static enum declared declared_of(const struct config_schema *s)
{
	static const enum declared formats[] = {
		[FORMAT_NONE] = TEXT,       [FORMAT_DATE] = TEXT_DATE,   [FORMAT_DATE_TIME] = TEXT_DATE_TIME,
		[FORMAT_UUID] = TEXT_UUID,  [FORMAT_EMAIL] = TEXT_OTHER, [FORMAT_URI] = TEXT_OTHER,
		[FORMAT_IPV4] = TEXT_OTHER, [FORMAT_IPV6] = TEXT_OTHER,  [FORMAT_OBJECTID] = TEXT_OTHER,
	};
	static const enum declared kinds[] = {
		[TYPE_STRING] = TEXT, [TYPE_INTEGER] = WHOLE, [TYPE_NUMBER] = NUMERIC, [TYPE_BOOLEAN] = TRUTH,
		[TYPE_ARRAY] = LIST,  [TYPE_OBJECT] = OBJECT, [TYPE_ANY] = DECLARED,
	};
	return s->type == TYPE_STRING ? formats[s->format] : kinds[s->type];
}

/* A pattern or a list of values keeps out what does not fit, if the author minds. */
static bool is_narrowed(const struct config_schema *s)
{
	return s->pattern || s->enumeration_count > 0;
}

enum pg_fit pg_fit(const struct config_schema *s, const struct pg_type *t)
{
	enum wanted wanted = wanted_of(t);

	if (wanted == ARRAY && s->type == TYPE_ARRAY) {
		/* A list of lists is an array of more dimensions. */
		while (s && s->type == TYPE_ARRAY)
			s = s->items;
		wanted = wanted_element(t);
	}
	enum declared declared = s ? declared_of(s) : DECLARED;
	if (declared == DECLARED)
		return PG_FITS;
	enum pg_fit fit = fits[declared][wanted];
	return fit == PG_MAY_FIT && is_narrowed(s) ? PG_FITS : fit;
}

void pg_declared_name(struct buf *out, const struct config_schema *s)
{
	static const char *const kinds[] = {
		[TYPE_STRING] = "string",   [TYPE_INTEGER] = "integer", [TYPE_NUMBER] = "number",
		[TYPE_BOOLEAN] = "boolean", [TYPE_ARRAY] = "array",     [TYPE_OBJECT] = "object",
		[TYPE_ANY] = "anything",
	};
	static const char *const formats[] = {
		[FORMAT_DATE] = "date", [FORMAT_DATE_TIME] = "date-time",
		[FORMAT_UUID] = "uuid", [FORMAT_EMAIL] = "email",
		[FORMAT_URI] = "uri",   [FORMAT_IPV4] = "ipv4",
		[FORMAT_IPV6] = "ipv6", [FORMAT_OBJECTID] = "objectid",
	};
	for (; s->type == TYPE_ARRAY && s->items; s = s->items)
		buf_lit(out, "array of ");
	buf_str(out, kinds[s->type]);
	if (s->type == TYPE_STRING && s->format != FORMAT_NONE)
		buf_printf(out, " (%s)", formats[s->format]);
}

void pg_type_name(struct buf *out, const struct pg_type *t)
{
	int row = row_of(t->oid);
	bool is_array = t->shape == PG_SHAPE_ARRAY;

	if (row < 0)
		buf_str(out, shapes[is_array ? t->element : t->shape].name);
	else
		buf_str(out, types[row].name);
	if (is_array)
		buf_lit(out, "[]");
}

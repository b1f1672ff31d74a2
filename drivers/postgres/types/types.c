/* The built-in types, and how the others are looked up. */
#include "drivers/postgres/types/types.h"

#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/mem.h"

/* clang-format off */
#define SCALAR(oid, shape)             {oid, PG_SHAPE_##shape, PG_SHAPE_STRING, ','}
#define VECTOR(oid, element)           {oid, PG_SHAPE_VECTOR, PG_SHAPE_##element, ' '}
#define ARRAY(oid, element, delimiter) {oid, PG_SHAPE_ARRAY, PG_SHAPE_##element, delimiter}

/* By oid, which no release of PostgreSQL changes. */
static const struct pg_type builtin[] = {
	SCALAR(16, BOOLEAN), /* bool */
	SCALAR(17, STRING), /* bytea */
	SCALAR(18, STRING), /* char */
	SCALAR(19, STRING), /* name */
	SCALAR(20, INTEGER), /* int8 */
	SCALAR(21, INTEGER), /* int2 */
	VECTOR(22, INTEGER), /* int2vector */
	SCALAR(23, INTEGER), /* int4 */
	SCALAR(24, STRING), /* regproc */
	SCALAR(25, STRING), /* text */
	SCALAR(26, STRING), /* oid */
	SCALAR(27, STRING), /* tid */
	SCALAR(28, STRING), /* xid */
	VECTOR(30, STRING), /* oidvector */
	SCALAR(114, JSON), /* json */
	SCALAR(142, STRING), /* xml */
	ARRAY(143, STRING, ','), /* xml[] */
	ARRAY(199, JSON, ','), /* json[] */
	ARRAY(271, STRING, ','), /* xid8[] */
	SCALAR(600, STRING), /* point */
	SCALAR(601, STRING), /* lseg */
	SCALAR(602, STRING), /* path */
	SCALAR(603, STRING), /* box */
	SCALAR(604, STRING), /* polygon */
	SCALAR(628, STRING), /* line */
	ARRAY(629, STRING, ','), /* line[] */
	SCALAR(650, STRING), /* cidr */
	ARRAY(651, STRING, ','), /* cidr[] */
	SCALAR(700, NUMBER), /* float4 */
	SCALAR(701, NUMBER), /* float8 */
	SCALAR(705, STRING), /* unknown */
	SCALAR(718, STRING), /* circle */
	ARRAY(719, STRING, ','), /* circle[] */
	SCALAR(774, STRING), /* macaddr8 */
	ARRAY(775, STRING, ','), /* macaddr8[] */
	SCALAR(790, STRING), /* money */
	ARRAY(791, STRING, ','), /* money[] */
	SCALAR(829, STRING), /* macaddr */
	SCALAR(869, STRING), /* inet */
	ARRAY(1000, BOOLEAN, ','), /* bool[] */
	ARRAY(1001, STRING, ','), /* bytea[] */
	ARRAY(1002, STRING, ','), /* char[] */
	ARRAY(1003, STRING, ','), /* name[] */
	ARRAY(1005, INTEGER, ','), /* int2[] */
	SCALAR(1006, SERVER), /* int2vector[] */
	ARRAY(1007, INTEGER, ','), /* int4[] */
	ARRAY(1008, STRING, ','), /* regproc[] */
	ARRAY(1009, STRING, ','), /* text[] */
	ARRAY(1010, STRING, ','), /* tid[] */
	ARRAY(1011, STRING, ','), /* xid[] */
	SCALAR(1013, SERVER), /* oidvector[] */
	ARRAY(1014, STRING, ','), /* bpchar[] */
	ARRAY(1015, STRING, ','), /* varchar[] */
	ARRAY(1016, INTEGER, ','), /* int8[] */
	ARRAY(1017, STRING, ','), /* point[] */
	ARRAY(1018, STRING, ','), /* lseg[] */
	ARRAY(1019, STRING, ','), /* path[] */
	ARRAY(1020, STRING, ';'), /* box[] */
	ARRAY(1021, NUMBER, ','), /* float4[] */
	ARRAY(1022, NUMBER, ','), /* float8[] */
	ARRAY(1027, STRING, ','), /* polygon[] */
	ARRAY(1028, STRING, ','), /* oid[] */
	ARRAY(1040, STRING, ','), /* macaddr[] */
	ARRAY(1041, STRING, ','), /* inet[] */
	SCALAR(1042, STRING), /* bpchar */
	SCALAR(1043, STRING), /* varchar */
	SCALAR(1082, STRING), /* date */
	SCALAR(1083, STRING), /* time */
	SCALAR(1114, TIMESTAMP), /* timestamp */
	ARRAY(1115, TIMESTAMP, ','), /* timestamp[] */
	ARRAY(1182, STRING, ','), /* date[] */
	ARRAY(1183, STRING, ','), /* time[] */
	SCALAR(1184, TIMESTAMP), /* timestamptz */
	ARRAY(1185, TIMESTAMP, ','), /* timestamptz[] */
	SCALAR(1186, STRING), /* interval */
	ARRAY(1187, STRING, ','), /* interval[] */
	ARRAY(1231, NUMBER, ','), /* numeric[] */
	SCALAR(1266, STRING), /* timetz */
	ARRAY(1270, STRING, ','), /* timetz[] */
	SCALAR(1560, STRING), /* bit */
	ARRAY(1561, STRING, ','), /* bit[] */
	SCALAR(1562, STRING), /* varbit */
	ARRAY(1563, STRING, ','), /* varbit[] */
	SCALAR(1700, NUMBER), /* numeric */
	SCALAR(2205, STRING), /* regclass */
	SCALAR(2206, STRING), /* regtype */
	ARRAY(2210, STRING, ','), /* regclass[] */
	ARRAY(2211, STRING, ','), /* regtype[] */
	SCALAR(2249, SERVER), /* record */
	SCALAR(2275, STRING), /* cstring */
	SCALAR(2277, SERVER), /* anyarray */
	SCALAR(2278, STRING), /* void */
	SCALAR(2287, SERVER), /* record[] */
	SCALAR(2950, STRING), /* uuid */
	ARRAY(2951, STRING, ','), /* uuid[] */
	SCALAR(3220, STRING), /* pg_lsn */
	ARRAY(3221, STRING, ','), /* pg_lsn[] */
	SCALAR(3614, STRING), /* tsvector */
	SCALAR(3615, STRING), /* tsquery */
	ARRAY(3643, STRING, ','), /* tsvector[] */
	ARRAY(3645, STRING, ','), /* tsquery[] */
	SCALAR(3802, JSON), /* jsonb */
	ARRAY(3807, JSON, ','), /* jsonb[] */
	SCALAR(3904, STRING), /* int4range */
	ARRAY(3905, STRING, ','), /* int4range[] */
	SCALAR(3906, STRING), /* numrange */
	ARRAY(3907, STRING, ','), /* numrange[] */
	SCALAR(3908, STRING), /* tsrange */
	ARRAY(3909, STRING, ','), /* tsrange[] */
	SCALAR(3910, STRING), /* tstzrange */
	ARRAY(3911, STRING, ','), /* tstzrange[] */
	SCALAR(3912, STRING), /* daterange */
	ARRAY(3913, STRING, ','), /* daterange[] */
	SCALAR(3926, STRING), /* int8range */
	ARRAY(3927, STRING, ','), /* int8range[] */
	SCALAR(4072, STRING), /* jsonpath */
	ARRAY(4073, STRING, ','), /* jsonpath[] */
	SCALAR(4451, STRING), /* int4multirange */
	SCALAR(4532, STRING), /* nummultirange */
	SCALAR(4533, STRING), /* tsmultirange */
	SCALAR(4534, STRING), /* tstzmultirange */
	SCALAR(4535, STRING), /* datemultirange */
	SCALAR(4536, STRING), /* int8multirange */
	SCALAR(5069, STRING), /* xid8 */
	ARRAY(6150, STRING, ','), /* int4multirange[] */
	ARRAY(6151, STRING, ','), /* nummultirange[] */
	ARRAY(6152, STRING, ','), /* tsmultirange[] */
	ARRAY(6153, STRING, ','), /* tstzmultirange[] */
	ARRAY(6155, STRING, ','), /* datemultirange[] */
	ARRAY(6157, STRING, ','), /* int8multirange[] */
};
/* clang-format on */

/* typcategory A, variable length and an element type: an array as to_json sees it. */
const char pg_types_query[] =
	"with recursive t(oid) as ("
	"select pg_catalog.unnest($1::pg_catalog.oid[]) "
	"union select x from t join pg_catalog.pg_type p on p.oid = t.oid, "
	"pg_catalog.unnest(array[p.typbasetype, case when p.typcategory = 'A' then p.typelem else 0 end]) x where x <> "
	"0) "
	"select p.oid, p.typtype, p.typbasetype, "
	"case when p.typcategory = 'A' and p.typlen = -1 then p.typelem else 0 end, p.typdelim, "
	"exists (select from pg_catalog.pg_cast c where c.castsource = p.oid and c.casttarget = 114 "
	"and c.castmethod = 'f') "
	"from t join pg_catalog.pg_type p using (oid)";

const char pg_types_text_query[] =
	"select pg_catalog.string_agg(pg_catalog.concat_ws(' ', t.oid, t.typname, t.typtype, t.typbasetype, t.typelem, "
	"t.typcategory, t.typdelim, e.typname, e.typtype, e.typbasetype, b.typname, b.typtype, b.typbasetype), ',' "
	"order by t.oid) from pg_catalog.pg_type t left join pg_catalog.pg_type e on e.oid = t.typelem "
	"left join pg_catalog.pg_type b on b.oid = case t.typbasetype when 0 then e.typbasetype else t.typbasetype end "
	"where t.oid = any ($1::pg_catalog.oid[])";

enum { COLUMN_OID, COLUMN_KIND, COLUMN_BASE, COLUMN_ELEMENT, COLUMN_DELIMITER, COLUMN_CAST };

/* A domain of a domain of … : more levels than anybody has. */
#define MAX_LEVELS 16

void pg_types_done(struct pg_types *types)
{
	free(types->items);
	*types = (struct pg_types){0};
}

static int compare_oid(const void *a, const void *b)
{
	Oid x = *(const Oid *)a, y = ((const struct pg_type *)b)->oid;
	return (x > y) - (x < y);
}

bool pg_types_find(const struct pg_types *types, Oid oid, struct pg_type *out)
{
	const struct pg_type *t = bsearch(&oid, builtin, ARRAY_SIZE(builtin), sizeof(*builtin), compare_oid);
	for (size_t i = 0; !t && i < types->count; i++) {
		if (types->items[i].oid == oid)
			t = &types->items[i];
	}
	if (!t)
		return false;
	*out = *t;
	return true;
}

static void add(struct pg_types *types, struct pg_type t)
{
	if (types->count == types->capacity) {
		types->capacity = types->capacity ? 2 * types->capacity : 16;
		types->items = mem_realloc_array(types->items, types->capacity, sizeof(*types->items));
	}
	types->items[types->count++] = t;
}

static Oid oid_at(const PGresult *rows, int row, int column)
{
	return (Oid)strtoul(PQgetvalue(rows, row, column), NULL, 10);
}

static int row_of(const PGresult *rows, Oid oid)
{
	for (int i = 0; i < PQntuples(rows); i++) {
		if (oid_at(rows, i, COLUMN_OID) == oid)
			return i;
	}
	return -1;
}

/* The type that a domain stands for, or oid itself. */
static Oid base_of(const PGresult *rows, Oid oid)
{
	for (int level = 0; level < MAX_LEVELS; level++) {
		int row = row_of(rows, oid);
		if (row < 0 || *PQgetvalue(rows, row, COLUMN_KIND) != 'd')
			break;
		oid = oid_at(rows, row, COLUMN_BASE);
	}
	return oid;
}

/* Of a type that is not a domain and no array. */
static uint8_t scalar_shape(const PGresult *rows, Oid oid)
{
	struct pg_type t;
	if (pg_types_find(&(struct pg_types){0}, oid, &t))
		return t.shape;
	int row = row_of(rows, oid);
	if (row < 0)
		return PG_SHAPE_STRING;
	bool composite = *PQgetvalue(rows, row, COLUMN_KIND) == 'c';
	bool cast = oid >= 16384 && *PQgetvalue(rows, row, COLUMN_CAST) == 't';
	return composite || cast ? PG_SHAPE_SERVER : PG_SHAPE_STRING;
}

static struct pg_type resolve(const PGresult *rows, Oid oid)
{
	Oid base = base_of(rows, oid);
	struct pg_type t;

	if (pg_types_find(&(struct pg_types){0}, base, &t)) {
		t.oid = oid;
		return t;
	}
	t = (struct pg_type){.oid = oid, .delimiter = ','};
	int row = row_of(rows, base);
	Oid element = row < 0 ? 0 : oid_at(rows, row, COLUMN_ELEMENT);
	if (!element) {
		t.shape = scalar_shape(rows, base);
		return t;
	}
	t.shape = PG_SHAPE_ARRAY;
	t.delimiter = *PQgetvalue(rows, row, COLUMN_DELIMITER);
	Oid element_base = base_of(rows, element);
	row = row_of(rows, element_base);
	bool nested = row >= 0 && oid_at(rows, row, COLUMN_ELEMENT) != 0;
	t.element = nested ? PG_SHAPE_SERVER : scalar_shape(rows, element_base);
	/* Elements that only the server can render, or that are arrays by themselves (of a domain over an array). */
	if (t.element == PG_SHAPE_SERVER || t.element == PG_SHAPE_ARRAY || t.element == PG_SHAPE_VECTOR)
		t.shape = PG_SHAPE_SERVER;
	return t;
}

void pg_types_learn(struct pg_types *types, const PGresult *rows, const Oid *asked, size_t asked_count)
{
	for (size_t i = 0; i < asked_count; i++) {
		struct pg_type known;
		if (!pg_types_find(types, asked[i], &known))
			add(types, resolve(rows, asked[i]));
	}
}

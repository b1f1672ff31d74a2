/* PostgreSQL's types as JSON sees them: the categories that its own to_json makes (json_categorize_type in json.c of
 * the server), so that what is rendered here equals what the server would have rendered.
 *
 * The built-in types stand in a table; a type that somebody created is looked up in pg_type once a worker. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum pg_shape {
	PG_SHAPE_STRING,    /* its text as a JSON string */
	PG_SHAPE_INTEGER,   /* as it is */
	PG_SHAPE_NUMBER,    /* as it is if that is a JSON number, else a string: NaN, Infinity */
	PG_SHAPE_BOOLEAN,   /* t and f */
	PG_SHAPE_TIMESTAMP, /* a string of the XML Schema form: T in the middle, minutes in the offset */
	PG_SHAPE_JSON,      /* as it is */
	PG_SHAPE_VECTOR,    /* int2vector, oidvector: "1 2" */
	PG_SHAPE_ARRAY,     /* of `element` */
	PG_SHAPE_SERVER,    /* rows and types with a cast to json: only the server can */
};

struct pg_type {
	Oid oid;
	uint8_t shape;
	uint8_t element; /* PG_SHAPE_ARRAY: the shape of its elements */
	char delimiter;  /* PG_SHAPE_ARRAY: between its elements */
};

/* What a worker has learned of types that are not built in. */
struct pg_types {
	struct pg_type *items;
	size_t count, capacity;
};

void pg_types_done(struct pg_types *types);
/* The type, built in or learned. False: look it up first. */
bool pg_types_find(const struct pg_types *types, Oid oid, struct pg_type *out);

/* One statement for pg_types_learn; $1 is an array of type oids. It also gives the domains' bases and the arrays'
 * elements. */
extern const char pg_types_query[];
/* Take in the rows of pg_types_query. A type of `asked` that has no row becomes a string. */
void pg_types_learn(struct pg_types *types, const PGresult *rows, const Oid *asked, size_t asked_count);

/* What makes types what they are, in one text; $1 is an array of type oids. Another database behind the same address,
 * or one that was restored, may use an oid for something else: what was learned is good if the text is the same. */
extern const char pg_types_text_query[];
/* Is it a type of the database's own, and not one that all servers have? */
static inline bool pg_type_is_own(Oid oid)
{
	return oid >= 16384;
}

/* The oids of the types that a declared parameter is given where the server can't tell. */
enum {
	PG_OID_BOOL = 16,
	PG_OID_BYTEA = 17,
	PG_OID_INT8 = 20,
	PG_OID_TEXT = 25,
	PG_OID_JSON = 114,
	PG_OID_DATE = 1082,
	PG_OID_TIMESTAMPTZ = 1184,
	PG_OID_NUMERIC = 1700,
	PG_OID_UUID = 2950,
	PG_OID_JSONB = 3802,
	PG_OID_BOOL_ARRAY = 1000,
	PG_OID_BYTEA_ARRAY = 1001,
	PG_OID_TEXT_ARRAY = 1009,
	PG_OID_INT8_ARRAY = 1016,
	PG_OID_DATE_ARRAY = 1182,
	PG_OID_TIMESTAMPTZ_ARRAY = 1185,
	PG_OID_NUMERIC_ARRAY = 1231,
	PG_OID_UUID_ARRAY = 2951,
	PG_OID_JSONB_ARRAY = 3807,
};

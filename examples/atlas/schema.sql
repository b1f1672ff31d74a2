-- Countries and their subdivisions (ISO 3166), in a schema of their own: loading again begins anew, and touches nothing else.
create extension if not exists unaccent;
create extension if not exists pg_trgm;

drop schema if exists atlas cascade;
create schema atlas;

-- "Côte d'Ivoire" and "cote d'ivoire" are the same to who searches. unaccent() is not marked immutable, because its dictionary may be
-- changed; named as here it is immutable enough for an index.
create function atlas.folded(text) returns text
	language sql immutable strict parallel safe
	return lower(public.unaccent('public.unaccent', $1));

-- The LIKE pattern of the names that contain a text, whatever signs are in it.
create function atlas.containing(text) returns text
	language sql immutable strict parallel safe
	return '%' || regexp_replace(atlas.folded($1), '([\\%_])', '\\\1', 'g') || '%';

create table atlas.countries (
	alpha_2        text primary key check (alpha_2 ~ '^[A-Z]{2}$'),
	alpha_3        text not null unique check (alpha_3 ~ '^[A-Z]{3}$'),
	numeric_code   text not null unique check (numeric_code ~ '^[0-9]{3}$'),  -- text: Afghanistan's is 004
	name           text not null,
	official_name  text,
	common_name    text,
	flag           text not null,
	names          text not null generated always as
		(atlas.folded(name || coalesce(' / ' || common_name, '') || coalesce(' / ' || official_name, ''))) stored
);

create table atlas.subdivisions (
	code     text primary key check (code ~ '^[A-Z]{2}-[A-Z0-9]{1,3}$'),
	country  text not null references atlas.countries,
	name     text not null,
	type     text not null,
	parent   text references atlas.subdivisions deferrable initially deferred,
	check (code like country || '-%')
);

create index on atlas.countries (name);
create index on atlas.countries using gin (names public.gin_trgm_ops);
create index on atlas.subdivisions (country, code);
create index on atlas.subdivisions (parent);
create index on atlas.subdivisions using gin (atlas.folded(name) public.gin_trgm_ops);

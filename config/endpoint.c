/* endpoints: "METHOD /path", parameters, and what is around the steps. */
#include <ctype.h>
#include <string.h>

#include "base/token.h"
#include "config/language.h"

#define MAX_PATH_PARAMETERS 32

const char *const http_method_names[METHOD_COUNT] = {
	[METHOD_GET] = "GET",     [METHOD_HEAD] = "HEAD",     [METHOD_POST] = "POST",       [METHOD_PUT] = "PUT",
	[METHOD_PATCH] = "PATCH", [METHOD_DELETE] = "DELETE", [METHOD_OPTIONS] = "OPTIONS",
};

/* --- "METHOD /path" -------------------------------------------------------------------------------------------- */

/* The method of the first len bytes of key. Where it is wrong *method is one that lets everything else stand. */
static void parse_method(struct decoder *dc, const struct node *key, size_t len, enum http_method *method)
{
	static const char *const declared[] = {"GET", "POST", "PUT", "PATCH", "DELETE"};
	const char *name = arena_strndup(&dc->diagnostics->arena, key->text, len);

	*method = METHOD_POST;
	if (strcmp(name, "HEAD") == 0 || strcmp(name, "OPTIONS") == 0) {
		decode_error(dc, key->at, "%s is answered by itself wherever the path exists%s", name,
			     *name == 'H' ? ": declare GET" : "");
		return;
	}
	for (unsigned m = 0; m < METHOD_COUNT; m++) {
		if (strcmp(http_method_names[m], name) == 0) {
			*method = (enum http_method)m;
			return;
		}
	}
	decode_unknown(dc, key->at, "method", name, declared, ARRAY_SIZE(declared));
}

/* One character that a literal segment of a path can't hold, or 0. Characters stand for themselves: the request's
 * percent-encoding is undone before it is compared. */
static char wrong_character(const char *segment, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)segment[i];
		if (c <= ' ' || c == 0x7f || strchr("%?#{}*\\", c))
			return (char)c;
	}
	return 0;
}

/* Does the segment look like a parameter of another framework: :id, <id>, <int:id>, [id], $id? */
static bool is_foreign_parameter(const char *segment, size_t len)
{
	static const char pairs[] = "<>[]";
	const char *open = len > 2 ? strchr(pairs, segment[0]) : NULL;
	bool prefixed = len > 1 && (segment[0] == ':' || segment[0] == '$') &&
			(isalpha((unsigned char)segment[1]) || segment[1] == '_');

	return prefixed || (open && segment[len - 1] == open[1]);
}

static void check_literal(struct decoder *dc, const struct node *key, const char *segment, size_t len)
{
	struct mark at = node_mark_at(key, (size_t)(segment - key->text));
	char wrong = wrong_character(segment, len);

	if (wrong == '%')
		decode_error(dc, at, "path: write the character itself instead of its percent-encoding");
	else if (wrong == '{' || wrong == '}' || wrong == '*')
		decode_error(dc, at,
			     "path: \"%.*s\": a parameter is a whole segment: {name}, or {name*} as the last one",
			     (int)(len < 60 ? len : 60), segment);
	else if (wrong)
		decode_error(dc, at, "path: a path can't hold \"%c\"", wrong);
	else if ((len == 1 && segment[0] == '.') || (len == 2 && memcmp(segment, "..", 2) == 0))
		decode_error(dc, at, "path: \".\" and \"..\" are never answered");
	else if (is_foreign_parameter(segment, len))
		diagnostics_warning(
			dc->diagnostics, at,
			"path: \"%.*s\" is matched as it stands: a parameter is written {name}, the rest of a "
			"path {name*}",
			(int)(len < 60 ? len : 60), segment);
}

struct declared_path {
	struct path_name names[MAX_PATH_PARAMETERS];
	size_t count;
};

/* What other frameworks write in the braces has its place elsewhere. */
static void refuse_path_name(struct decoder *dc, struct mark at, const char *name)
{
	size_t len = strlen(name);

	if (strchr(name, ':'))
		decode_error(dc, at,
			     "path: {%.60s}: a parameter is written {name}: its type and its pattern stand in "
			     "\"parameters\"",
			     name);
	else if (name[0] == '*' || (len > 3 && strcmp(name + len - 3, "...") == 0))
		decode_error(dc, at, "path: {%.60s}: the rest of a path is written {name*}", name);
	else if (len > 1 && name[len - 1] == '?')
		decode_error(dc, at,
			     "path: {%.60s}: a parameter in a path is always there: declare the path without it, too",
			     name);
	else
		decode_error(dc, at, "path: {%.60s}: " NAME_RULE, name);
}

/* {name} or {name*}. */
static void add_path_name(struct decoder *dc, const struct node *key, const char *segment, size_t len, bool last,
			  struct declared_path *path)
{
	struct mark at = node_mark_at(key, (size_t)(segment - key->text));
	bool rest = len > 3 && segment[len - 2] == '*';
	const char *name = arena_strndup(dc->arena, segment + 1, len - 2 - rest);
	bool twice = false;

	for (size_t i = 0; i < path->count; i++)
		twice = twice || strcmp(path->names[i].name, name) == 0;
	if (!is_name(name))
		refuse_path_name(dc, at, name);
	else if (is_reserved_name(name))
		decode_error(dc, at, "path: {%s}: the name is taken: it is of the request", name);
	else if (rest && !last)
		decode_error(dc, at, "path: {%s*} takes the rest of the path: it must be the last segment", name);
	else if (twice)
		decode_error(dc, at, "path: {%s} stands in it twice", name);
	else if (path->count == MAX_PATH_PARAMETERS)
		decode_error(dc, at, "path: more than %d parameters", MAX_PATH_PARAMETERS);
	else
		path->names[path->count++] = (struct path_name){name, rest};
}

static void parse_path(struct decoder *dc, const struct node *key, const char *text, struct declared_path *path)
{
	if (strncmp(text, "/-/", 3) == 0 || strcmp(text, "/-") == 0) {
		decode_error(dc, key->at, "path: what begins with /-/ is gatherd's own");
		return;
	}
	for (const char *segment = text; *segment == '/';) {
		segment++;
		size_t len = strcspn(segment, "/");
		bool last = segment[len] == '\0';
		bool parameter = len > 2 && segment[0] == '{' && segment[len - 1] == '}';
		if (parameter)
			add_path_name(dc, key, segment, len, last, path);
		else
			check_literal(dc, key, segment, len);
		segment += len;
	}
}

/* The key: sets e's method and path. */
static void parse_key(struct decoder *dc, const struct node *key, struct config_endpoint *e, struct declared_path *path)
{
	const char *space = strchr(key->text, ' ');

	e->path = "/";
	e->method = METHOD_POST;
	if (!space || space[1] != '/') {
		decode_error(dc, key->at,
			     "endpoint \"%.100s\": expected \"METHOD /path\", such as \"GET /customers/{id}\"",
			     key->text);
		return;
	}
	e->path = space + 1;
	parse_method(dc, key, (size_t)(space - key->text), &e->method);
	parse_path(dc, key, e->path, path);
}

/* --- parameters ------------------------------------------------------------------------------------------------ */

void decode_parameters(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_endpoint *e = object;

	if (!decode_is_mapping(dc, k->name, n))
		return;
	/* Room for those that only the path names. */
	e->parameters = arena_array(dc->arena, n->count + dc->path_name_count, sizeof(*e->parameters));
	for (size_t i = 0; i < n->count; i++) {
		const struct node *name = n->members[i].key;
		if (!is_name(name->text))
			decode_error(dc, name->at, "parameter \"%.100s\": " NAME_RULE, name->text);
		else if (is_reserved_name(name->text))
			decode_error(dc, name->at, "parameter \"%s\": the name is taken: {%s} is of the request",
				     name->text, name->text);
		struct config_parameter *p = &e->parameters[e->parameter_count++];
		*p = (struct config_parameter){
			.name = name->text, .at = name->at, .schema.at = n->members[i].value->at};
		struct schema_document d;
		schema_document_begin(dc, &d, n->members[i].value, &p->schema);
		decode_section(dc, &section_parameter, name->text, n->members[i].value, p);
		schema_document_end(dc);
	}
}

static const struct config_parameter *find_parameter(const struct config_endpoint *e, const char *name)
{
	for (size_t i = 0; i < e->parameter_count; i++) {
		if (strcmp(e->parameters[i].name, name) == 0)
			return &e->parameters[i];
	}
	return NULL;
}

/* Parameters that only the path names are strings. */
static void add_path_parameters(struct decoder *dc, struct config_endpoint *e)
{
	if (!e->parameters)
		e->parameters = arena_array(dc->arena, dc->path_name_count, sizeof(*e->parameters));
	for (size_t i = 0; i < dc->path_name_count; i++) {
		if (find_parameter(e, dc->path_names[i].name))
			continue;
		e->parameters[e->parameter_count++] = (struct config_parameter){
			.name = dc->path_names[i].name,
			.at = e->at,
			.schema = {.type = TYPE_STRING, .additional = true, .at = e->at},
			.in = IN_PATH,
			.required = true,
		};
	}
}

/* --- the reply ------------------------------------------------------------------------------------------------- */

/* Headers that are the server's business. */
static bool is_own_header(const char *name)
{
	static const char *const own[] = {
		"connection",  "content-length", "date", "gatherd-complete", "gatherd-missing",   "keep-alive",
		"location",    "server",         "te",   "trailer",          "transfer-encoding", "upgrade",
		"x-request-id"};
	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		if (strcasecmp(own[i], name) == 0)
			return true;
	}
	return false;
}

static void check_headers(struct decoder *dc, const struct node *headers)
{
	if (headers->count > CONFIG_MAX_REPLY_HEADERS)
		decode_error(dc, headers->at, "headers: more than %d", CONFIG_MAX_REPLY_HEADERS);
	for (size_t i = 0; i < headers->count; i++) {
		const struct node *name = headers->members[i].key, *value = headers->members[i].value;
		if (!is_token(name->text))
			decode_error(dc, name->at, "headers: \"%.60s\" is not a header's name", name->text);
		else if (is_own_header(name->text))
			decode_error(dc, name->at, "headers: %s is set by gatherd itself%s", name->text,
				     strcasecmp(name->text, "location") == 0 ? ", from \"location\"" : "");
		if (!node_is_scalar(value) || value->kind == NODE_NULL)
			decode_unexpected(dc, name->text, value, "a text");
		else if (strpbrk(value->text, "\r\n"))
			decode_error(dc, value->at, "%s: a header can't hold a line break", name->text);
	}
}

/* Is there another step of that name, in or around any transaction, before the inner step k of step i? */
static bool is_name_taken(const struct config_endpoint *e, size_t i, size_t k, const char *name)
{
	for (size_t s = 0; s < e->step_count; s++) {
		if (strcmp(e->steps[s].name, name) == 0)
			return true;
		size_t before = s < i ? e->steps[s].inner_count : s == i ? k : 0;
		for (size_t t = 0; t < before; t++) {
			if (strcmp(e->steps[s].inner[t].name, name) == 0)
				return true;
		}
	}
	return false;
}

static void check_name(struct decoder *dc, const struct config_endpoint *e, const struct config_step *s)
{
	if (find_parameter(e, s->name))
		decode_error(dc, s->at, "step \"%s\": a parameter has the same name", s->name);
}

static void check_names(struct decoder *dc, const struct config_endpoint *e)
{
	for (size_t i = 0; i < e->step_count; i++) {
		const struct config_step *s = &e->steps[i];
		check_name(dc, e, s);
		for (size_t k = 0; k < s->inner_count; k++) {
			check_name(dc, e, &s->inner[k]);
			if (is_name_taken(e, i, k, s->inner[k].name))
				decode_error(dc, s->inner[k].at, "step \"%s\": another step has the same name",
					     s->inner[k].name);
		}
	}
}

/* --- versions -------------------------------------------------------------------------------------------------- */

bool endpoint_hashes(const struct config_endpoint *e)
{
	return e->etag && e->etag->kind == NODE_STRING && strcmp(e->etag->text, "auto") == 0;
}

static void check_versions(struct decoder *dc, const struct node *mapping, const struct config_endpoint *e)
{
	if (e->etag && e->cache.ttl_us)
		decode_report(dc, mapping, "etag", "not beside \"cache\": what is kept has an ETag of its own");
	if (endpoint_hashes(e) && e->method != METHOD_GET)
		decode_report(dc, mapping, "etag",
			      "auto is for GET: a hash of this reply is no version of what is there");
	if (e->if_match_required && e->method == METHOD_GET)
		decode_report(dc, mapping, "if_match", "a GET endpoint changes nothing");
}

/* A hash of a representation never equals the version that a write is to find. */
static void check_hash(struct decoder *dc, const struct config *c, const struct config_endpoint *get)
{
	for (size_t i = 0; i < c->endpoint_count; i++) {
		const struct config_endpoint *e = &c->endpoints[i];
		if (e->if_match_required && strcmp(e->path, get->path) == 0)
			decode_error(dc, get->etag->at,
				     "etag: auto never equals what the If-Match of \"%s\" is compared with: name the "
				     "version, as \"{step.version}\"",
				     e->name);
	}
}

static void check_created(struct decoder *dc, const struct node *mapping, const struct config_endpoint *e)
{
	if (!e->created)
		return;
	decode_report(dc, mapping, "status", "not beside \"created\", which makes it 201 or 200");
	if (e->method == METHOD_GET)
		decode_report(dc, mapping, "created", "a GET endpoint creates nothing");
}

void check_endpoint(struct decoder *dc, const struct node *mapping, void *object)
{
	struct config_endpoint *e = object;

	add_path_parameters(dc, e);
	check_names(dc, e);
	bool handler = node_member(mapping, "handler");
	if (handler)
		check_handler(dc, mapping);
	else if (!node_member(mapping, "gather") && !node_member(mapping, "respond"))
		decode_error(dc, mapping->at,
			     "%s: \"gather\" is missing (or \"respond\", for a constant; or \"handler\")", e->name);
	if (e->headers)
		check_headers(dc, e->headers);
	check_created(dc, mapping, e);
	check_versions(dc, mapping, e);
	check_idempotency(dc, mapping, e);
	check_endpoint_policies(dc, mapping, e);
	if (e->status == 0)
		e->status = e->method == METHOD_POST && e->location && !e->created ? 201 : 200;
}

/* --- endpoints ------------------------------------------------------------------------------------------------- */

static void decode_endpoint(struct decoder *dc, const struct node *key, const struct node *n)
{
	struct config_endpoint *e = &dc->config->endpoints[dc->config->endpoint_count++];
	struct declared_path path = {0};
	size_t errors = dc->diagnostics->errors;

	dc->broken = false;
	*e = (struct config_endpoint){.name = key->text, .at = key->at, .node = n, .semaphore = -1};
	parse_key(dc, key, e, &path);
	if (!decode_is_mapping(dc, key->text, n))
		return;
	dc->endpoint = e;
	dc->path_names = path.names;
	dc->path_name_count = path.count;
	decode_section(dc, &section_endpoint, key->text, n, e);
	dc->endpoint = NULL;
	dc->gather = NULL;
	dc->path_names = NULL;
	dc->path_name_count = 0;
	e->sound = dc->diagnostics->errors == errors && !dc->broken && node_is_sound(n);
}

void decode_endpoints(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config *c = object;

	if (!decode_is_mapping(dc, k->name, n))
		return;
	if (n->count == 0)
		decode_unexpected(dc, k->name, n, "at least one endpoint");
	c->endpoints = arena_array(dc->arena, n->count, sizeof(*c->endpoints));
	for (size_t i = 0; i < n->count; i++)
		decode_endpoint(dc, n->members[i].key, n->members[i].value);
	for (size_t i = 0; i < c->endpoint_count; i++) {
		if (endpoint_hashes(&c->endpoints[i]))
			check_hash(dc, c, &c->endpoints[i]);
	}
}

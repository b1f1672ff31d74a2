/* Secrets: a text, or where it is to be found. What was read is shown in no message. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "config/language.h"
#include "config/reference.h"

#define SECRET_MAX 65536 /* bytes of a file */

static const char *from_file(struct decoder *dc, const struct node *n, const char *path)
{
	const char *place = decode_path(dc, n->at, path);
	size_t len = 0;
	const char *text = read_text_file(dc, n, place, SECRET_MAX, &len);

	if (!text)
		return NULL;
	if (memchr(text, '\0', len)) {
		decode_error(dc, n->at, "%.200s: a secret can't hold a NUL byte",
			     n->expanded ? "a file from the environment" : place);
		return NULL;
	}
	if (len > 0 && text[len - 1] == '\n')
		len -= len > 1 && text[len - 2] == '\r' ? 2 : 1;
	return arena_strndup(dc->arena, text, len);
}

/* The name that a secret's place is. */
static const char *shown_name(const struct node *n)
{
	return n->expanded ? "from the environment" : n->text;
}

static const char *from_credential(struct decoder *dc, const struct node *n, const char *name)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");

	if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		diagnostics_error(dc->diagnostics, n->at, "credential: expected a name, not a path");
		return NULL;
	}
	if (!directory || *directory != '/') {
		diagnostics_error(
			dc->diagnostics, n->at,
			"credential %.100s: $CREDENTIALS_DIRECTORY is not set: the service manager sets it for "
			"LoadCredential=",
			shown_name(n));
		return NULL;
	}
	return from_file(dc, n, arena_printf(dc->arena, "%s/%s", directory, name));
}

static const char *from_environment(struct decoder *dc, const struct node *n, const char *name)
{
	const char *value = getenv(name);
	if (!value)
		diagnostics_error(dc->diagnostics, n->at, "the environment variable %.100s is not set", shown_name(n));
	return value ? arena_strdup(dc->arena, value) : NULL;
}

static const char *look_up(struct decoder *dc, const struct node *n, const char *name)
{
	struct secret_words words = {0};

	if (n->kind != NODE_MAPPING) {
		bool text = node_is_text(n);
		if (!text)
			diagnostics_error(dc->diagnostics, n->at,
					  "%s: expected a text, { env: NAME }, { file: PATH } or { credential: NAME }",
					  name);
		return text ? n->text : NULL;
	}
	size_t before = dc->diagnostics->errors;
	decode_section(dc, &section_secret, name, n, &words);
	if (!!words.env + !!words.file + !!words.credential != 1) {
		if (dc->diagnostics->errors == before)
			diagnostics_error(dc->diagnostics, n->at,
					  "%s: expected one of { env: NAME }, { file: PATH } or { credential: NAME }",
					  name);
		return NULL;
	}
	const struct node *place = n->members[0].value;
	return words.env    ? from_environment(dc, place, words.env)
	       : words.file ? from_file(dc, place, words.file)
			    : from_credential(dc, place, words.credential);
}

void decode_secret(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_secret *secret = (struct config_secret *)(void *)((char *)object + k->offset);
	const char *value = look_up(dc, n, k->name);

	if (value && !*value) {
		diagnostics_error(dc->diagnostics, n->at, "%s: it is empty", k->name);
		return;
	}
	if (value)
		*secret = (struct config_secret){.set = true, .value = value, .at = n->at};
}

/* --- headers --------------------------------------------------------------------------------------------------- */

/* A text that stands for another node's: a secret, or a text without its doubled braces. */
static const struct node *text_node(struct decoder *dc, const struct node *n, const char *text, size_t len, bool secret)
{
	struct node *made = arena_zalloc(dc->arena, sizeof(*made));

	*made = (struct node){.kind = NODE_STRING, .at = n->at, .body_at = n->at, .text = text, .len = len};
	made->expanded = secret || n->expanded; /* never shown */
	return made;
}

static const struct node *secret_header(struct decoder *dc, const char *name, const struct node *n)
{
	const char *value = look_up(dc, n, name);

	if (!value)
		return n;
	if (!utf8_valid(value, strlen(value)))
		decode_error(dc, n->at, "%.100s: the secret is not UTF-8", name);
	return text_node(dc, n, value, strlen(value), true);
}

static const struct node *plain_header(struct decoder *dc, const char *name, const struct node *n)
{
	struct template text;

	if (!node_is_scalar(n) || (n->kind == NODE_NULL && !n->variable)) {
		decode_unexpected(dc, name, n, "a text, { env: NAME }, { file: PATH } or { credential: NAME }");
		return n;
	}
	if (!template_parse(&text, dc->arena, n, dc->diagnostics))
		return n;
	if (!template_is_literal(&text)) {
		decode_error(dc, n->at, "%.100s: the headers of a source have no references: those of its steps may",
			     name);
		return n;
	}
	size_t len;
	const char *whole = template_text(&text, dc->arena, &len);
	return text_node(dc, n, whole, len, false);
}

/* A mapping of names to texts, secrets looked up. */
void decode_secret_headers(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	const struct node **place = (const struct node **)(void *)((char *)object + k->offset);

	if (!decode_is_mapping(dc, k->name, n))
		return;
	struct node *headers = arena_zalloc(dc->arena, sizeof(*headers));
	struct node_member *members = arena_array(dc->arena, n->count, sizeof(*members));
	for (size_t i = 0; i < n->count; i++) {
		const struct node *key = n->members[i].key, *value = n->members[i].value;
		bool secret = value->kind == NODE_MAPPING && !value->refused;
		members[i] = (struct node_member){key, secret ? secret_header(dc, key->text, value)
							      : plain_header(dc, key->text, value)};
	}
	*headers = *n;
	headers->members = members;
	*place = headers;
}

/* The body of a request, read as its endpoint says: JSON, a form, text, bytes, JSON a line, CSV. Whatever it is, a tree
 * of JSON is made of it for the checker; files and bytes stay beside it. Everything is in the exchange's arena, and
 * nothing points into what is h2o's. Loop thread. */
#pragma once

#include "base/error.h"
#include "base/value.h"
#include "config/config.h"
#include "handlers/web/exchange.h"
#include "handlers/web/mistakes.h"

/* A file of a form: in the tree an object of filename, type and size. */
struct body_file {
	const struct json *node;
	struct span content;
};

struct body {
	struct json *tree; /* NULL: there is none */
	struct span bytes; /* BODY_AS_BYTES; base NULL: there are none */
	struct body_file *files;
	size_t file_count;
};

/* Is that Content-Type one of such a body? */
bool body_is_of_type(enum body_as as, struct span type);
/* Fill e for a body of another type (415), and say in x's reply which would do (Accept). Returns e's errnum. */
int body_refuse_type(struct exchange *x, const struct config_endpoint *to, struct error *e);
/* Read x's body, which is not empty. False: it is not well-formed, which is in m. */
bool body_read(struct body *out, const struct config_endpoint *to, struct exchange *x, struct mistakes *m);
/* What it is to references; it was read and checked. */
struct value body_value(const struct body *b, const struct config_endpoint *to, struct arena *a);

/* --- of the files that read one kind each; text is a copy in a --- */

/* An object of the form's fields. */
bool body_read_form(struct body *out, const struct config_schema *s, struct span type, struct span text,
		    struct arena *a, struct mistakes *m);
/* A document of the members of the tree, files with their content. */
struct value body_form_value(const struct body *b, const struct config_schema *s, struct arena *a);
/* A list of objects (RFC 4180, the first line is the header). */
bool body_read_csv(struct body *out, const struct config_schema *s, struct span text, struct arena *a,
		   struct mistakes *m);

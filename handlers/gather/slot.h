/* A reference, compiled: where its value comes from, resolved once when the configuration is loaded. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/buf.h"
#include "config/config.h"
#include "config/reference.h"
#include "drivers/result.h"
#include "handlers/web/exchange.h"
#include "handlers/web/parameters.h"

enum { PLAN_MAX_STEPS = 64, PLAN_MAX_HEADERS = 32 };

/* SLOT_SENT: whether the body has that member. SLOT_IF_MATCH: the tags of If-Match, by the header's index. */
enum slot_kind {
	SLOT_PARAMETER,
	SLOT_STEP,
	SLOT_HEADER,
	SLOT_BODY,
	SLOT_SENT,
	SLOT_METHOD,
	SLOT_PATH,
	SLOT_ID,
	SLOT_IP,
	SLOT_IF_MATCH
};

struct slot {
	enum slot_kind kind;
	unsigned index;   /* of the parameter, the step, the header */
	struct path path; /* into its value */
};

/* The names that the references of one endpoint may use; filled while its plan is compiled. */
struct scope {
	const struct config_endpoint *endpoint;
	struct arena *arena;
	struct diagnostics *diagnostics;
	const char *headers[PLAN_MAX_HEADERS]; /* lower case; those that any reference names */
	unsigned header_count;
	unsigned kinds; /* bits of enum slot_kind: which were referred to */
};

/* Resolve ref. Returns 0, or -EINVAL with a diagnostic at its place. */
int slot_compile(struct slot *out, const struct reference *ref, struct scope *scope) must_check;
bool slot_same(const struct slot *a, const struct slot *b);

enum outcome_kind {
	OUTCOME_PENDING,
	OUTCOME_RESULT,  /* `result` is there */
	OUTCOME_SKIPPED, /* `when` was false: null */
	OUTCOME_NULL,    /* it failed, `on_error: null` */
	OUTCOME_DEFAULT, /* it failed, `on_error: { default: … }` */
	OUTCOME_OMITTED, /* it failed, `on_error: omit` */
	OUTCOME_STALE,   /* it failed, `on_error: stale`: an older result is there */
	OUTCOME_FAILED,  /* it failed, and so does the request */
};

/* How a step ended. */
struct outcome {
	enum outcome_kind kind;
	struct result *result;          /* owned by the run; NULL: there is none */
	const struct value *substitute; /* OUTCOME_DEFAULT */
};

/* The values that references may mean while a request runs. */
struct evaluation {
	struct exchange *exchange;
	struct parameters parameters;
	const struct span *headers; /* one for each of scope.headers */
	struct outcome *outcomes;   /* one for each step */
	struct arena *arena;
};

/* The value, borrowed from what it came from. */
struct value slot_value(const struct slot *s, const struct evaluation *e);
/* The same as JSON, without a detour for whole results. */
void slot_render(const struct slot *s, const struct evaluation *e, struct buf *out);

/* A text with references in it. */
struct text_piece {
	const char *literal; /* NULL: the slot's value */
	size_t len;
	struct slot slot;
};
struct text {
	const struct text_piece *pieces;
	size_t count;
};

enum text_escape { TEXT_PLAIN, TEXT_URL, TEXT_JSON };

int text_compile(struct text *out, const struct node *n, struct scope *scope) must_check;
/* Each value turned to text and escaped for where it stands; null is nothing. */
void text_eval(const struct text *t, const struct evaluation *e, enum text_escape escape, struct buf *out);

/* A step's action: compiled when the configuration is loaded, made a request of HTTP each time it runs. */
#pragma once

#include "drivers/driver.h"
#include "drivers/http/keys.h"
#include "drivers/http/lines.h"
#include "drivers/http/message.h"
#include "drivers/http/target.h"
#include "drivers/json_body.h"

struct http_action {
	const char *step; /* its name; NULL: a handler's call */
	const char *method;
	const char *shown; /* the path as it was declared, without its query: for messages */
	enum expect expect;
	bool idempotent;
	bool picks;
	struct path pick;
	struct target target;
	struct lines lines;
	struct body body;
};

/* NULL if the step is wrong: diagnostics say why. Main thread. */
struct http_action *http_action_new(const struct config_source *config, const struct config_step *step,
				    struct action_env *env);

/* What one run sends. Texts live in the arena of options; body is http_message_done's. */
struct http_message {
	struct http_request request;
	const char *lines[HTTP_MAX_LINES];
	struct buf target, body;
};

/* The request for args. Returns 0 or -EINVAL with e filled (400, or 500). http_message_done also after a failure. */
int http_message_make(struct http_message *out, const struct http_action *a, const struct value *args,
		      const struct run_options *options, uint64_t *random, struct error *e) must_check;
void http_message_done(struct http_message *m);

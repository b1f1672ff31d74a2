/* What a configuration says of an http source and of its steps, beside what it says of any. */
#pragma once

#include "config/config.h"

struct http_retry {
	unsigned attempts; /* in all; 0 and 1: no retry */
	int64_t backoff_us;
};

struct http_breaker {
	unsigned failures; /* in a row; 0: no breaker */
	int64_t cooldown_us;
};

/* What `own` of its config_source points to. */
struct http_source_keys {
	struct http_retry retry;
	struct http_breaker breaker;
	const struct node *headers; /* mapping of name to text, without references; NULL: none */
	unsigned redirects;
	bool proxy;      /* proxy: environment */
	size_t max_size; /* bytes of one answer */
};

/* Of a step; action_value is the path, a text. */
enum http_action_kind { ACTION_GET, ACTION_HEAD, ACTION_POST, ACTION_PUT, ACTION_PATCH, ACTION_DELETE };

/* What `own` of a config_step points to. NULL: absent. */
struct http_step_keys {
	const struct node *query, *headers, *body, *pick;
};

extern const struct source_kind http_kind;

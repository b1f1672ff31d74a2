/* The proxy of the environment. No network; when the configuration is loaded. */
#pragma once

#include "base/compiler.h"
#include "drivers/http/origin.h"

/* The proxy that the environment names for calls to o, into out; texts live in a. Returns 0, -ENOENT (none) or -EINVAL
 * with *why. Main thread. */
int http_proxy_of_environment(struct http_origin *out, struct arena *a, const struct http_origin *o,
			      const char **why) must_check;
